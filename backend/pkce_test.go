package backend

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// Some token endpoints refuse the app as soon as there is a code_verifier. Where the operator says what the service is,
// they can switch PKCE off, and are told what that means.
func TestPKCEOff(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		picky := func(s *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc) {
			if r.Form.Get("code_verifier") != "" {
				providertest.Respond(http.StatusUnauthorized, `{"error":"invalid_client"}`)(s, w, r, behave)
				return
			}
			behave(w, r)
		}
		assert.Equal(t, "s256", f.Read("providers/acme", nil).OK(t)["pkce"])
		f.provider.Next(providers.StepToken, picky)
		f.Write("exchange", f.own(t, "x", nil)).Refused(t, http.StatusConflict, "client_auth")

		r := f.Write("providers/acme", map[string]any{"pkce": "off"})
		assert.Equal(t, "off", r.OK(t)["pkce"])
		assert.Contains(t, strings.Join(r.Warnings, "\n"), "pkce=off: ")
		assert.Contains(t, strings.Join(r.Warnings, "\n"), "the confirmation code, and")
		r = f.Write("providers/acme", map[string]any{"confirm": false})
		assert.NotContains(t, strings.Join(r.Warnings, "\n"), "the confirmation code, and", "which is off too")
		f.Write("providers/acme", map[string]any{"confirm": true}).OK(t)
		r = f.Write("providers/acme", map[string]any{"scopes": "read"})
		assert.Contains(t, strings.Join(r.Warnings, "\n"), "pkce=off: ", "as long as it is")
		f.restart(t)
		assert.Equal(t, "off", f.Read("providers/acme", nil).OK(t)["pkce"])
		address := f.start(t, "x", nil)["url"].(string)
		assert.Empty(t, query(t, address, "code_challenge"))
		assert.Empty(t, query(t, address, "code_challenge_method"))
		f.provider.Next(providers.StepToken, picky)
		f.Write("exchange", f.own(t, "x", nil)).OK(t)

		r = f.Write("providers/acme", map[string]any{"pkce": "s256"})
		assert.Equal(t, "s256", r.OK(t)["pkce"])
		assert.Empty(t, r.Warnings)
		assert.NotEmpty(t, query(t, f.start(t, "x", nil)["url"].(string), "code_challenge"))
		f.Write("providers/acme", map[string]any{"pkce": "off"}).OK(t)
		assert.Equal(t, "s256", f.Write("providers/acme", map[string]any{"pkce": ""}).OK(t)["pkce"])
		assert.Equal(t, "active", f.Read("connections/x", nil).OK(t)["status"], "no grant is touched")
	})
}

func TestPKCEIsRefused(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.issuer(t)
		app := map[string]any{"client_id": "id", "client_secret": "s"}
		f.Write("providers/idp", map[string]any{"pkce": "off"}).OK(t)
		f.Write("providers/google", with(app, map[string]any{"pkce": "off"})).Refused(t, http.StatusBadRequest, "pkce")
		f.Write("providers/google", with(app, map[string]any{"pkce": "s256"})).OK(t)
		f.Write("providers/slack", with(app, map[string]any{"pkce": "s256"})).Refused(t, http.StatusBadRequest, "pkce")
		assert.Empty(t, f.Write("providers/slack", with(app, map[string]any{"pkce": "off"})).Warnings, "as ever")
		for _, word := range []any{"plain", "S256", "no", true, "offline"} {
			f.Write("providers/acme", map[string]any{"pkce": word, "scopes": "x"}).Refused(t, http.StatusBadRequest,
				"s256 or off")
		}
		assert.Equal(t, []string{"read", "write"}, texts(t, f.Read("providers/acme", nil).OK(t)["scopes"]))
	})
}

// A flow ends as it began, whatever the operator says meanwhile.
func TestPKCEOfOpenFlows(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		with := f.own(t, "with", nil)
		f.Write("providers/acme", map[string]any{"pkce": "off"}).OK(t)
		without := f.own(t, "without", nil)
		f.Write("exchange", with).OK(t)
		f.Write("providers/acme", map[string]any{"pkce": "s256"}).OK(t)
		f.Write("exchange", without).OK(t)
		asked := f.provider.Requests(providers.StepToken)
		require.Len(t, asked, 2)
		assert.NotEmpty(t, asked[0].Form.Get("code_verifier"))
		assert.NotContains(t, asked[1].Form, "code_verifier")
	})
}

// What stands against a code of somebody else's where PKCE is off: the flow that brings it first, and the confirmation
// code.
func TestCodesWithoutPKCE(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"pkce": "off"}).OK(t)
		x := f.trap(t, "acme", nil)
		flow, back := f.victim(t)
		code := shownCode.FindStringSubmatch(f.callback(t, "acme", back))
		require.NotNil(t, code)
		assert.False(t, x.springs(t, f, back["code"]))
		mine := map[string]any{"flow_id": flow["flow_id"], "confirmation_code": code[1] + code[2]}
		f.Write("exchange", mine, bob).Refused(t, http.StatusForbidden, "somebody else")
		f.Write("exchange", mine, alice).Refused(t, http.StatusConflict, disputed)

		_, back = f.victim(t)
		require.True(t, x.springs(t, f, back["code"]), "it is the first to bring it")
		f.Write("exchange", map[string]any{"flow_id": x.flow}, bob).Refused(t, http.StatusBadRequest, "confirmation_code")
		assert.Equal(t, neutral(t), f.callback(t, "acme", back), "which the person hears of")
		assert.Zero(t, f.provider.Count(providers.StepToken))
	})
}
