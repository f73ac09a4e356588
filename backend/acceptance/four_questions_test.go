package acceptance

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The chapter for security teams, run as it stands on a mount with several hundred connections of three people and two
// organizations.
func TestFourQuestions(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	const each = 100
	people := []*user{d.logIn(t, "ann", everything), d.logIn(t, "ben", everything), d.logIn(t, "cid", everything)}
	for _, who := range people {
		for i := range each {
			who.write(t, fmt.Sprintf("connections/self/key-%03d", i), key(apiKey))
		}
	}
	for i := range each {
		d.write(t, fmt.Sprintf("connections/org/beta/key-%03d", i), key(otherAPIKey))
	}
	d.write(t, "connections/org/acme/billing", key(otherAPIKey))
	d.write(t, "connections/org/acme/billing", map[string]any{"label": "Billing"})
	ann := people[0]
	ann.write(t, "connections/org/acme/self/openai", key(apiKey))
	ann.write(t, "shares/org/acme/self/openai", map[string]any{"entities": people[1].entity})

	require.NoError(t, os.WriteFile(filepath.Join(d.dir, "found.txt"), []byte(apiKey+"\n"), 0o600))
	steps := strings.ReplaceAll(commands(t, "## The four questions"), "/8b3f/", "/"+ann.entity+"/")
	out := d.shell(t, "cd \"$DESK\"\n"+steps, nil, "DESK="+d.dir)
	for _, found := range []string{
		"map[openai:402]", "map[active:402]", `"path": "org/acme/user/` + ann.entity + `/openai"`, `"field": "label"`,
		`"entity": "` + people[1].entity + `"`,
	} {
		assert.Contains(t, out, found)
	}
	for _, secret := range []string{apiKey, otherAPIKey} {
		assert.NotContains(t, out, secret)
	}

	jobs := d.list(t, "revoke")
	require.Len(t, jobs, 1)
	require.Eventually(t, func() bool { return d.read(t, "revoke/"+jobs[0].(string))["state"] == "done" },
		patience, 20*time.Millisecond)
	job := d.read(t, "revoke/"+jobs[0].(string))
	assert.Equal(t, json.Number(fmt.Sprint(each)), job["count"])
	assert.Equal(t, map[string]any{"key": json.Number(fmt.Sprint(each))}, job["outcomes"])
	ended := d.read(t, "connections/org/beta/key-000")
	assert.Equal(t, []any{"needs_reconnect", "revoked"}, []any{ended["status"], ended["status_reason"]})
	assert.Equal(t, apiKey, ann.read(t, "creds/self/key-000")["api_key"], "another owner's is as it was")

	// page by page, each once
	seen := map[string]bool{}
	for cursor := ""; ; {
		answer, err := d.vault.Client.Logical().ReadWithDataWithContext(t.Context(), d.path+"/inventory", url.Values{
			"limit": {"57"}, "cursor": {cursor},
		})
		require.NoError(t, err)
		page := answer.Data
		for _, row := range page["connections"].([]any) {
			path := row.(map[string]any)["path"].(string)
			assert.False(t, seen[path], path)
			seen[path] = true
		}
		if cursor = page["cursor"].(string); cursor == "" {
			break
		}
	}
	assert.Len(t, seen, 402)
	assert.True(t, seen["org/acme/billing"])
}
