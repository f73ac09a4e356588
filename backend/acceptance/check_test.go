package acceptance

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// TestCheck asks real authorization servers whether what they gave works, and a scripted one that changes its mind.
func TestCheck(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.newOIDC(t, "idp", "basic", stack.OIDCOptions{RotateRefreshToken: "always"})
	e.connect(t, "idp", "idp")
	e.newEmulate(t)
	e.connect(t, "slack", "slack")
	for _, name := range []string{"idp", "slack"} {
		found := e.write(t, "check/"+name, nil)
		assert.Equal(t, []any{"active", "true", "well"}, []any{found["status"], found["token_valid"], found["service"]},
			"%s: %v", name, found["advice"])
		assert.NotEmpty(t, found["account"].(map[string]any)["id"], name)
	}
	table := e.cli(t, "write", "-f", "{mount}/check/slack")
	assert.Zero(t, table.exit)
	assert.Regexp(t, `(?m)^advice +the service takes the credential$`, table.out)

	s := e.newService(t, "service")
	before := s.adopt(t, "scripted")
	s.Next("identity", providertest.Respond(http.StatusUnauthorized, ""))
	found := e.write(t, "check/scripted", nil)
	assert.Equal(t, []any{"active", "true"}, []any{found["status"], found["token_valid"]}, "%v", found["advice"])
	assert.NotEqual(t, before, s.token(t, "scripted"), "it was renewed, once")
	assert.Equal(t, 1, s.Count("refresh"))

	s.adopt(t, "revoked")
	s.RevokeAll()
	found = e.write(t, "check/revoked", nil)
	assert.Equal(t, []any{"needs_reconnect", "grant_refused", "false"}, []any{
		found["status"], found["status_reason"], found["token_valid"],
	}, "%v", found["advice"])
}
