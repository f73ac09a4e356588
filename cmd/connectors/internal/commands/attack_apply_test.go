package commands

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/files"
)

// The commands that are shown for what a file names are to be copied: a shell runs nothing that is put there.
func TestAttackCommandsOfNamesInAFile(t *testing.T) {
	a := newApp(t)
	do := &applying{app: a, ledger: newLedger(nil)}
	steps := []*step{
		{
			Change: files.Change{Path: "connections/org/acme/x;id", Action: files.Connect},
			entry:  files.Entry{Path: "connections/org/acme/x;id", Fields: map[string]any{"provider": "p $(id) 'q'"}},
		},
		{
			Change: files.Change{Path: "connections/org/acme/slack", Action: files.Connect},
			entry:  files.Entry{Path: "connections/org/acme/slack"},
		},
		{Change: files.Change{Path: "connections/org/a`id`/x"}, status: "expired"},
	}
	do.tellBroken(steps)
	assert.Equal(t, codePerson, codeOf(t.Context(), do.tellWaiting(steps)))
	told, err := os.ReadFile(a.Err.Name())
	require.NoError(t, err)
	assert.Contains(t, string(told), `connectors connect 'p $(id) '\''q'\''' --as 'org/acme/x;id'`+"\n")
	assert.Contains(t, string(told), "connectors connect slack --as org/acme/slack\n")
	assert.Contains(t, string(told), "connectors reconnect 'org/a`id`/x'\n")
}

// Somebody who begins to connect keeps no operator from pruning, and loses nothing by it: nothing is there yet.
func TestAttackPruneCountsOpenFlows(t *testing.T) {
	mount := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answers := map[string]string{
			"/v1/connectors/connections/org/acme":      `{"keys": ["flow", "old"]}`,
			"/v1/connectors/connections/org/acme/":     `{"keys": ["flow", "old"]}`,
			"/v1/connectors/connections/org/acme/old":  `{"owner": "org/acme", "name": "old", "created_time": "x"}`,
			"/v1/connectors/connections/org/acme/flow": `{"owner": "org/acme", "name": "flow", "status": "pending"}`,
		}
		_, _ = io.WriteString(w, `{"data": `+answers[r.URL.Path]+`}`)
	}))
	defer mount.Close()
	t.Setenv("VAULT_ADDR", mount.URL)
	t.Setenv("VAULT_TOKEN", "a token")
	a := newApp(t)
	a.mount = "connectors"
	c, err := a.dial(t.Context())
	require.NoError(t, err)
	file, err := files.Parse("f", []byte("connections: {org/acme/kept: {}}"))
	require.NoError(t, err)
	do := &applying{app: a, ledger: newLedger(c), file: file, prune: true}
	require.NoError(t, do.spellPaths())
	doomed, err := do.doomed(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, doomed, 1)
	assert.Equal(t, "connections/org/acme/old", doomed[0].Path)
}

// An id of a person's may have a | in it, which is no pipe in the command that is told to somebody else.
func TestAttackCommandOfAPersonsId(t *testing.T) {
	a := newApp(t)
	a.output = "table"
	known := &client.Connection{Owner: "user/auth0|reboot", Name: "x"}
	require.NoError(t, a.showTransfer(known, &client.Transfer{To: "org/acme/user/u|id/x"}))
	told, err := os.ReadFile(a.Err.Name())
	require.NoError(t, err)
	assert.Contains(t, string(told), "connectors accept org/acme/self/x --from 'user/auth0|reboot/x'\n")
}
