package files

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A file of somebody else's is looked at before it is applied, as where the plan of each proposal is shown. That
// shows which files are read, and nothing that is in them.
func TestAttackPlanThatShowsFiles(t *testing.T) {
	o := Options{ReadFile: func(string) (string, error) { return "content of a private file", nil }}
	for _, have := range []string{"", `{"definition_yaml": "x", "ca_pem": "y", "client_certificate": "z"}`} {
		change, problems := spec().Plan(entryOf(t, "providers/x",
			`{definition_yaml: "file:/home/me/.vault-token", ca_pem: "file:../key"}`), answered(t, have), o)
		require.Empty(t, problems)
		shown, err := json.Marshal(change)
		require.NoError(t, err)
		assert.NotContains(t, string(shown), "private")
		assert.Contains(t, string(shown), `"after":"file:/home/me/.vault-token"`)
		require.Len(t, change.Writes, 1)
		assert.Equal(t, "content of a private file", change.Writes[0]["definition_yaml"])
	}
}
