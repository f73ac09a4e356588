package commands

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/files"
)

// The commands that are shown for what a file names are to be copied: a shell runs nothing that the file has put there.
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
