package store

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseKey(t *testing.T) {
	for _, s := range []string{"org/acme/slack", "user/U1/slack", "user/self/slack", "org/acme/user/U1/slack"} {
		k, err := ParseKey(s)
		require.NoError(t, err, s)
		assert.Equal(t, s, k.String())
	}
	for _, s := range []string{
		"", "slack", "org/acme", "org/acme/slack/x", "team/acme/slack", "org/Acme/slack",
		"org//slack", "org/acme/", "user/../x", "org/self/x", "org/acme/self", "org/acme/user/slack", "org/acme/user//slack",
		"org//user/U1/slack", "user/U1/org/acme/slack", "org/acme/user/U1/x/slack", "org/a/org/b/x", "user/a/user/b/x",
		"org/Acme/user/U1/slack",
	} {
		_, err := ParseKey(s)
		assert.Error(t, err, "%q", s)
	}
}

func TestOwner(t *testing.T) {
	for s, personal := range map[string]bool{"org/acme": false, "user/U1": true, "org/acme/user/U1": true} {
		o, err := ParseOwner(s)
		require.NoError(t, err, s)
		assert.Equal(t, personal, o.Personal(), s)
	}
	_, err := ParseOwner(strings.Repeat("x", 5000))
	require.ErrorContains(t, err, "is no owner")
	assert.Less(t, len(err.Error()), 500)
}

func TestClassify(t *testing.T) {
	for key, want := range map[string][2]string{
		"config": {"config", ""}, "provider/slack": {"provider", "slack"}, "connection/org/acme/slack": {
			"connection", "org/acme/slack",
		},
		"flow/abc": {"flow", "abc"}, "code/abc": {"code", "abc"}, "wal/abc": {"intent", "abc"}, "other": {"other", ""},
		"import/a/b": {"import", "a/b"}, "history/abc": {"history", "abc"},
		"job/a": {"job", "a"}, "job/a/0": {"job", "a/0"}, "lookup/a": {"lookup", "a"}, "lookup-key": {"lookup-key", ""},
		"use/00f": {"use", "00f"}, "use/began": {"use", "began"},
	} {
		noun, name := Classify(key)
		assert.Equal(t, want, [2]string{noun, name}, key)
	}
}

func TestFlowID(t *testing.T) {
	id := FlowID("state")
	assert.True(t, ValidFlowID(id))
	assert.Equal(t, id, FlowID("state"))
	assert.NotEqual(t, id, FlowID("State"))
	for _, s := range []string{"", "state", "../" + id[3:], strings.ToUpper(id), id + "0", id[:63] + "/", id[:63] + "g"} {
		assert.False(t, ValidFlowID(s), s)
	}
}

// The names of intents have a fixed length and tell nothing, and no two connections share one.
func TestIntentKeys(t *testing.T) {
	seen := map[string]Key{}
	for _, k := range []Key{
		{Owner{Org: "a"}, "b"},
		{Owner{User: "a"}, "b"},
		{Owner{Org: "a"}, "c"},
		{Owner{Org: "b"}, "b"},
		{Owner{Org: "a", User: "a"}, "b"},
		{Owner{Org: "b", User: "a"}, "b"},
	} {
		h := k.hash()
		assert.Len(t, h, 64)
		assert.NotContains(t, seen, h)
		seen[h] = k
	}
}

func TestSealWrapped(t *testing.T) {
	assert.ElementsMatch(t,
		[]string{
			"config", "provider/", "connection/", "flow/", "code/", "wal/", "import/", "history/", "leavers", "job/",
			"lookup/", "lookup-key", "heartbeat", "use/", "notice/",
			"webhook/", "webhook-cursor/",
		},
		SealWrapped())
}
