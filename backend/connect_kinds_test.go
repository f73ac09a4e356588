package backend

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// A key that buys tokens shows by the one that it buys. That one is nobody's, and the connection buys its own.
func TestConnectByKeyThatBuys(t *testing.T) {
	eachWith(t, withBought(t), func(t *testing.T, f *fixture) {
		file := f.robots(t)
		f.Write("config", map[string]any{"check_interval": 0}).OK(t)
		value, id := f.link(t, "r", map[string]any{"provider": "robots"}, alice)
		assert.Contains(t, f.shows(t, value), `<textarea id="field-0" name="key.file"`)
		f.provider.Next(providers.StepToken, providertest.Respond(http.StatusBadRequest, `{"error":"invalid_grant"}`))
		shown := f.posts(t, value, map[string]string{"key.file": file, "key.subject": "ada"})
		assert.Contains(t, said(shown), "does not take this key")
		f.provider.Next(providers.StepToken, outage)
		shown = f.posts(t, value, map[string]string{"key.file": file, "key.subject": "ada"})
		assert.Contains(t, said(shown), "cannot be asked now")
		shown = f.posts(t, value, map[string]string{"key.file": "{}", "key.subject": "ada"})
		assert.Contains(t, said(shown), "Look at: file.")
		bought := f.provider.Count(providers.StepToken)
		code := codeOn(t, f.posts(t, value, map[string]string{"key.file": file, "key.subject": "ada"}))
		assert.Equal(t, bought+1, f.provider.Count(providers.StepToken))
		assert.Zero(t, f.provider.Count(providers.StepRevoke), "which may end more than this one")

		x := map[string]any{"flow_id": id, "confirmation_code": code}
		f.provider.Next(providers.StepToken, outage)
		assert.Equal(t, http.StatusBadGateway, f.Write("exchange", x, alice).Status, "which loses nothing")
		f.Advance(time.Minute)
		answer := f.Write("exchange", x, alice).OK(t)
		assert.Equal(t, "active", answer["status"])
		assert.Equal(t, "ada", members(t, answer["account"])["id"])
		creds := f.Read("creds/r", nil).OK(t)
		assert.True(t, f.provider.Alive(creds["access_token"].(string)))
		assert.NotContains(t, creds, "file")
		f.restart(t)
		f.System.SetReplication(0)
		f.Write("exchange", x, alice).OK(t)

		value, _ = f.link(t, "other", map[string]any{"provider": "robots", "account": "bob"}, alice)
		shown = f.posts(t, value, map[string]string{"key.file": file, "key.subject": "ada"})
		assert.Contains(t, said(shown), "another account")
	})
}

// A consent without a code, as an administrator's, goes by a link too, for what the operator bound alone.
func TestLinkWithoutACode(t *testing.T) {
	eachWith(t, withBought(t), func(t *testing.T, f *fixture) {
		pem, public := someKey(t)
		f.provider.Trust(public)
		f.Write("providers/apps", map[string]any{
			"client_id": "app-1", "pem": pem, "endpoints": map[string]any{"token": f.provider.URL + "/token"},
			"inputs": map[string]any{"audience": f.provider.URL + "/token"}, "kinds": "jwt_bearer",
			"bound_inputs": map[string]any{"org/acme": map[string]any{"tenant": "one"}},
		}).OK(t)
		apps := map[string]any{"provider": "apps", "kind": "jwt_bearer"}
		f.Write("connect-link/org/acme/apps", with(apps, map[string]any{"inputs": "tenant=two"}), alice).
			Refused(t, http.StatusForbidden, "bound_inputs")
		f.Write("connect-link/self/apps", apps, alice).Refused(t, http.StatusForbidden, "organization")
		value, id := f.link(t, "org/acme/apps", apps, alice)
		assert.Contains(t, said(f.posts(t, value, map[string]string{"input.tenant": "two"})), "leads nowhere as it is")
		asked, err := url.Parse(ledTo(t, f.posts(t, value, map[string]string{"input.tenant": "one"})))
		require.NoError(t, err)
		assert.Equal(t, "/one/install", asked.Path)
		shown := f.callback(t, "apps", map[string]string{"state": asked.Query().Get("state"), "code": "stolen"})
		answer := f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": codeOn(t, shown)}, alice).OK(t)
		assert.Equal(t, "active", answer["status"])
		assert.Equal(t, map[string]any{"tenant": "one"}, members(t, answer["inputs"]))
	})
}

// Somebody else has a private connection connected again by a link: for the account that it was of, and it stays its
// owner's.
func TestReconnectByALinkOfOthers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "self/slack", alice)
		value, id := f.link(t, "user/e-alice/slack", nil, bob)
		code := f.consents(t, value)
		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"mallory"}`))
		f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code}, bob).
			Refused(t, http.StatusConflict, "for the account that it was of")
		value, id = f.link(t, "user/e-alice/slack", nil, bob)
		f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": f.consents(t, value)}, bob).OK(t)
		f.Read("creds/user/e-alice/slack", nil, bob).Refused(t, http.StatusForbidden, "is private")
		f.Read("creds/self/slack", nil, alice).OK(t)
	})
}

// The issuer's nonce and PKCE are made anew for each try.
func TestEachTryHasItsOwnProofs(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.issuer(t)
		value, id := f.link(t, "p", map[string]any{"provider": "idp"}, alice)
		first, second := f.leads(t, value), f.leads(t, value)
		for _, parameter := range []string{"state", "nonce", "code_challenge"} {
			assert.NotEmpty(t, query(t, first, parameter))
			assert.NotEqual(t, query(t, first, parameter), query(t, second, parameter), parameter)
		}
		back := f.provider.Consent(t, second)
		shown := f.callback(t, "idp", back)
		f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": codeOn(t, shown)}, alice).OK(t)

		value, id = f.link(t, "wrong", map[string]any{"provider": "idp"}, alice)
		back = f.provider.Consent(t, f.leads(t, value))
		back["iss"] = "https://another.example.com"
		shown = f.callback(t, "idp", back)
		f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": codeOn(t, shown)}, alice).
			Refused(t, http.StatusConflict, "start again with connect-link/org/default/wrong")
	})
}
