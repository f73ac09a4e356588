package backend

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// A refused code says what may be wrong with it and what cannot be, and only where that is known.
func TestRefusedCodeRulesOut(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for code, says := range map[string]bool{"invalid_grant": true, "access_denied": false} {
			own := f.own(t, "x", nil)
			f.provider.Next(providers.StepToken, providertest.Respond(http.StatusBadRequest, `{"error":"`+code+`"}`))
			r := f.Write("exchange", own)
			r.Refused(t, http.StatusConflict, "refused the code", code)
			for _, part := range []string{"it has expired", "not the redirect URI, the PKCE verifier or the client id"} {
				if says {
					assert.Contains(t, r.Text, part)
				} else {
					assert.NotContains(t, r.Text, part)
				}
			}
		}
	})
}

// The connection that is named like its provider is the default one.
func TestDefaultConnection(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		assert.Equal(t, true, f.connect(t, "acme")["is_default"])
		assert.Equal(t, false, f.connect(t, "x")["is_default"])
		assert.Equal(t, true, f.Read("connections/acme", nil).OK(t)["is_default"])
	})
}

// Who is refused a private connection is told whom to ask.
func TestAskTheOwner(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.people()
		f.connect(t, "self/x", alice)
		f.Read("creds/user/e-alice/x", nil, bob).Refused(t, http.StatusForbidden, "ask user/e-alice",
			"shares/user/e-alice/x")
	})
}
