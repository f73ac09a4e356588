package acceptance

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The audit log tells whose a token is that leaked, and who had it; who connected, shared and deleted; and it has no
// secret in the clear.
func TestLeakedToken(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	alice, bob, eve := d.logIn(t, "alice", everything), d.logIn(t, "bob", everything), d.logIn(t, "eve", everything)
	alice.write(t, "connections/self/openai", key(apiKey))
	eve.write(t, "connections/org/acme/openai", key(otherAPIKey))
	alice.write(t, "shares/self/openai", map[string]any{"entities": bob.entity})
	shared := "creds/shared/user/" + alice.entity + "/openai"
	assert.Equal(t, apiKey, bob.read(t, shared)["api_key"])
	assert.Equal(t, otherAPIKey, eve.read(t, "creds/org/acme/openai")["api_key"])
	d.remove(t, "connections/org/acme/openai")

	d.put(t, "found.txt", apiKey+"\n")
	steps := blocks(t, "../../scripts/recipes/README.md", "## Whose is a token that leaked, and who had it")[0]
	steps = strings.ReplaceAll(steps, "/var/log/vault/audit.log", d.vault.AuditFile)
	out := d.shell(t, "cd \"$DESK\"\n"+steps, nil, "DESK="+d.dir)
	for _, found := range []string{`"path":"connectors/` + shared + `"`, `"entity_id":"` + bob.entity + `"`} {
		assert.Contains(t, out, found)
	}
	assert.NotContains(t, out, eve.entity, "another key's readers are not named")
	assert.NotContains(t, out, apiKey)

	log, err := os.ReadFile(d.vault.AuditFile)
	require.NoError(t, err)
	for _, path := range []string{
		"connections/self/openai", "connections/org/acme/openai", "shares/self/openai", shared, "creds/org/acme/openai",
	} {
		assert.Contains(t, string(log), `"path":"connectors/`+path+`"`)
	}
	for _, secret := range []string{apiKey, otherAPIKey} {
		assert.NotContains(t, string(log), secret)
	}
}
