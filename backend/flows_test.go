package backend

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestConfirmationCodes(t *testing.T) {
	drawn := map[rune]int{}
	const codes = 2000
	for range codes {
		code := newConfirmationCode()
		require.Len(t, code, 8)
		for _, r := range code {
			drawn[r]++
		}
	}
	assert.Len(t, drawn, len(confirmationAlphabet), "every letter is drawn")
	for r, n := range drawn {
		assert.Contains(t, confirmationAlphabet, string(r))
		// eight standard deviations
		assert.InDelta(t, codes*8/len(confirmationAlphabet), n, 200, "about as often as any other")
	}
	for _, confusing := range "0O1IL5S2Z8BUV" {
		assert.NotContains(t, confirmationAlphabet, string(confusing))
	}
}

func TestNormalCode(t *testing.T) {
	for typed, want := range map[string]string{
		"abcd-efgh": "ABCDEFGH", " AB CD EF GH ": "ABCDEFGH", "": "",
		"a--b": "AB",
	} {
		assert.Equal(t, want, normalCode(typed))
	}
}

func TestStates(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		s := newState()
		assert.Len(t, s, 43)
		assert.False(t, seen[s])
		seen[s] = true
	}
}

// What belongs to one field must not be readable as the end of the one before.
func TestDigest(t *testing.T) {
	assert.Equal(t, digest("a", "b"), digest("a", "b"))
	assert.NotEqual(t, digest("ab", ""), digest("a", "b"))
	assert.NotEqual(t, digest("a", "b"), digest("b", "a"))
	assert.NotEqual(t, digest("a"), digest("a", ""))
	assert.NotContains(t, digest("secret"), "secret")
}

func TestPeriodicRemovesExpiredFlows(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		flows := func() int {
			ids, err := f.Storage.List(t.Context(), "flow/")
			require.NoError(t, err)
			return len(ids)
		}
		f.start(t, "a", nil)
		f.connect(t, "b")
		f.Advance(5 * time.Minute)
		late := f.start(t, "c", nil)
		f.periodic(t)
		assert.Equal(t, 3, flows(), "none has expired")
		f.Advance(5 * time.Minute)
		f.restart(t)
		f.periodic(t)
		assert.Equal(t, 1, flows())
		assert.Equal(t, late["expire_time"], f.Read("connections/c", nil).OK(t)["open_flow_until"])
		f.Storage.Forget()
		f.periodic(t)
		assert.Zero(t, f.Storage.Writes())
		f.Advance(5 * time.Minute)
		f.periodic(t)
		assert.Zero(t, flows())
		f.Read("creds/b", nil).OK(t)
	})
}

// The latest flow of a connection is the one that its metadata tell of.
func TestLatestFlow(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.start(t, "x", nil)
		f.Advance(time.Minute)
		latest := f.start(t, "x", nil)
		f.Advance(time.Minute)
		f.start(t, "y", nil)
		assert.Equal(t, latest["expire_time"], f.Read("connections/x", nil).OK(t)["open_flow_until"])
	})
}

func TestFlowTTL(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		before := f.start(t, "x", nil)
		f.Write("config", map[string]any{"flow_ttl": "2m"}).OK(t)
		assert.Equal(t, "2026-03-01T12:02:00Z", f.start(t, "x", nil)["expire_time"])
		assert.Equal(t, "2026-03-01T12:10:00Z", before["expire_time"])
		assert.True(t, strings.HasPrefix(before["url"].(string), f.provider.URL))
	})
}

// A flow that storage does not give concerns nobody but who started it.
func TestLostFlow(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		lost := f.start(t, "slack", nil)
		f.start(t, "open", nil)
		f.loses("flow/" + lost["flow_id"].(string))
		f.restart(t)
		assert.Equal(t, "active", f.Read("connections/slack", nil).OK(t)["status"])
		assert.Equal(t, "pending", f.Read("connections/open", nil).OK(t)["status"], "nor does it hide others")
		assert.InDelta(t, 1, number(f.Read("status", nil).OK(t)["open_flows"]), 0)
		f.List("connections/").OK(t)
		f.Read("creds/slack", nil).OK(t)
		f.Read("creds/none", nil).Refused(t, http.StatusBadRequest, "no connection")
		f.Advance(time.Minute)
		assert.Equal(t, "active", f.Write("refresh/slack", nil).OK(t)["status"])
		f.Write("connections/slack", map[string]any{"label": "new"}).OK(t)
		f.connect(t, "another")
		f.Delete("connections/slack", nil).OK(t)
		f.Read("creds/slack", nil).Refused(t, http.StatusBadRequest, "no connection")
	})
}

// What cannot be decoded does not say when it ends, so it goes when any flow would that is open now.
func TestUndecodableFlowsAreTidied(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.start(t, "open", nil)
		f.undecodable(t, "flow/"+strings.Repeat("ab", 32))
		f.restart(t)
		f.periodic(t)
		assert.Len(t, f.stored(t, "flow/"), 2)
		f.Advance(longestLink - time.Second)
		f.periodic(t)
		assert.Len(t, f.stored(t, "flow/"), 1)
		f.Advance(time.Second)
		f.periodic(t)
		assert.Empty(t, f.stored(t, "flow/"))
	})
}
