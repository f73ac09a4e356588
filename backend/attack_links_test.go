package backend

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// A link that is sent to a victim, who consents, connects nothing: the code stands in the victim's browser, whatever
// the provider's confirm says. Whoever sent it has five guesses.
func TestAttackLinkSentToAVictim(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"confirm": false}).OK(t)
		value, id := f.link(t, "self/theirs", nil, bob)
		code := f.consents(t, value) // in the victim's browser
		f.Write("exchange", map[string]any{"flow_id": id}, bob).
			Refused(t, http.StatusBadRequest, "confirmation_code is missing")
		state := f.Read("connect-link/self/theirs", nil, bob).OK(t)
		assert.NotContains(t, fmt.Sprint(state), code)
		for range store.MaxConfirmationTries {
			r := f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": "AAAAAAAA"}, bob)
			assert.GreaterOrEqual(t, r.Status, 400)
		}
		f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code}, bob).Refused(t, http.StatusBadRequest,
			"no such flow")
		assert.Zero(t, f.provider.Count(providers.StepToken), "the code is sent nowhere")
		assert.Equal(t, http.StatusNotFound, f.Read("connections/user/e-bob/theirs", nil, bob).Status)
	})
}

// A page of the attacker's posts the form in the victim's browser, where the service asks for no consent again. The
// browser is led to the application, as the victim: the session that started the link is another one.
func TestAttackAutoPostedLink(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		app := bob
		value, id := f.link(t, "user/attacker/slack", map[string]any{
			"return_url": "https://app.example.com/connected", "session_binding": sha256Of("the attacker's session"),
		}, app)
		to := ledTo(t, f.callback(t, "acme", f.provider.Consent(t, f.leads(t, value))))
		x := map[string]any{
			"flow_id": id, "confirmation_code": query(t, to, "confirmation_code"),
			"session_binding_value": "the victim's session",
		}
		f.Write("exchange", x, app).Refused(t, http.StatusForbidden, "does not belong to the session")
		assert.Zero(t, f.provider.Count(providers.StepToken))
		f.Read("creds/user/attacker/slack", nil).Refused(t, http.StatusConflict, "is pending")
	})
}

// Whoever reads a link in a log after its use learns nothing by it. Before that they can use it up with an account of
// their own, which a link for one account refuses; and they cannot finish it.
func TestAttackLinkOutOfALog(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		value, id := f.link(t, "slack", map[string]any{"account": providertest.AccountID}, alice)
		f.consents(t, value)
		f.Storage.Forget()
		assert.Equal(t, goneText(t), f.shows(t, value))
		assert.Equal(t, goneText(t), f.posts(t, value, nil))
		assert.Zero(t, f.Storage.Writes())

		early, id2 := f.link(t, "early", map[string]any{"account": providertest.AccountID}, alice)
		code := f.consents(t, early) // the stranger's browser
		x := map[string]any{"flow_id": id2, "confirmation_code": code}
		f.Write("exchange", x, bob).Refused(t, http.StatusForbidden, "started by somebody else")
		f.Read("connect-link/early", nil, bob).Refused(t, http.StatusForbidden)
		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"the stranger"}`))
		f.Write("exchange", x, alice).Refused(t, http.StatusConflict, "another account than the link was for")
		assert.Equal(t, http.StatusNotFound, f.Read("connections/early", nil).Status)
		assert.NotEqual(t, id, id2)
	})
}

// A starter never gets at a key before it is the connection's: by no answer, and by no second flow.
func TestAttackStarterWantsTheKey(t *testing.T) {
	eachWith(t, sited(t, pair), func(t *testing.T, f *fixture) {
		value, id := f.keys(t, nil, bob)
		codeOn(t, f.posts(t, value, f.aKeyOf("mine")))
		for _, r := range []struct{ status, want int }{
			{f.Read("creds/x", nil, bob).Status, http.StatusConflict},
			{f.Write("exchange", map[string]any{"flow_id": id}, bob).Status, http.StatusBadRequest},
			{f.Write("exchange", map[string]any{"state": value, "code": "x"}, bob).Status, http.StatusBadRequest},
			{f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": "AAAAAAAA"}, bob).Status, 400},
		} {
			assert.Equal(t, r.want, r.status)
		}
		assert.Equal(t, neutral(t), f.callback(t, "pair", map[string]string{"state": value, "code": "x"}))
		f.Delete("connect-link/x", nil, bob).OK(t)
		entry, err := f.Storage.Get(t.Context(), "flow/"+id)
		assert.NoError(t, err)
		assert.NotContains(t, string(entry.Value), "key-mine", "an ended flow holds it no longer")
	})
}

// A page of the attacker's posts the form in the victim's browser, with a host of the attacker's and without a key: the
// page that asks for the key anew shows no host that the person did not type there.
func TestAttackPrefilledHost(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.git(t, nil)
		value, _ := f.link(t, "g", map[string]any{"provider": "git", "kind": "api_key"}, bob)
		shown := f.posts(t, value, map[string]string{"input.base": "https://evil.example.com", "key.login": "ann"})
		assert.Contains(t, said(shown), "Look at: token.")
		assert.Contains(t, shown, `name="input.base"`)
		assert.NotContains(t, shown, "evil.example.com")
	})
}

// A mask stands for the key that is there. Whoever has a link has none of that.
func TestAttackMaskForAKey(t *testing.T) {
	eachWith(t, sited(t, pair), func(t *testing.T, f *fixture) {
		value, _ := f.keys(t, nil, alice)
		f.Write("connections/x", map[string]any{
			"provider": "pair", "key_id": "old", "api_key": "key-old", "verify": false,
		}, alice).OK(t)
		f.Storage.Forget()
		shown := f.posts(t, value, map[string]string{"key.key_id": "old", "key.api_key": "****"})
		assert.Contains(t, said(shown), "Look at: api key.")
		assert.Zero(t, f.Storage.Writes())
	})
}

// A link may be a day old: what the operator has stopped to allow meanwhile is asked of nobody.
func TestAttackLinkOlderThanAllowedScopes(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"allowed_scopes": "read,write,admin"}).OK(t)
		value, id := f.link(t, "slack", map[string]any{"scopes": "admin"}, alice)
		f.Write("providers/acme", map[string]any{"allowed_scopes": "read,write"}).OK(t)
		assert.Contains(t, said(f.posts(t, value, nil)), "leads nowhere as it is")
		assert.Zero(t, number(f.Read("connect-link/slack", nil, alice).OK(t)["tries"]))
		f.Write("providers/acme", map[string]any{"allowed_scopes": "read,write,admin"}).OK(t)
		x := map[string]any{"flow_id": id, "confirmation_code": f.consents(t, value)}
		f.Write("exchange", x, alice).OK(t)
	})
}

// Whoever makes a link leads nobody to a port of the machine on which it is opened, whatever listens there. A
// command line waits for a flow of its own.
func TestAttackLinkLeadsToAPort(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		const port = "http://127.0.0.1:54321/connected"
		data := map[string]any{"provider": "acme", "return_url": port}
		f.Write("connect-link/slack", data, bob).Refused(t, http.StatusBadRequest, "not on the list")
		f.Write("providers/acme", map[string]any{"return_urls": port}).OK(t)
		f.Write("connect-link/slack", data, bob).OK(t)
	})
}

// The provider is pointed elsewhere while storage takes the try, or the claim: a key goes where the person was told, or
// nowhere.
func TestAttackProviderMovesUnderAKey(t *testing.T) {
	moves := func(f *fixture, nth int) {
		f.Storage.Delay(testenv.Nth(nth, func(a testenv.Access) bool { return a.Write() && a.Under("flow/") }),
			func(testenv.Access) {
				endpoints := map[string]any{"identity": f.provider.URL + "/elsewhere"}
				f.Write("providers/pair", map[string]any{"endpoints": endpoints})
			})
	}
	eachWith(t, sited(t, pair), func(t *testing.T, f *fixture) {
		value, _ := f.keys(t, nil, alice)
		moves(f, 1)
		assert.Equal(t, goneText(t), f.posts(t, value, f.aKeyOf("mine")))

		f.Storage.Delay(nil, nil)
		value, id := f.keys(t, nil, alice)
		x := map[string]any{"flow_id": id, "confirmation_code": codeOn(t, f.posts(t, value, f.aKeyOf("mine")))}
		moves(f, 2) // after that of the code
		f.Write("exchange", x, alice).Refused(t, http.StatusConflict, "changed since the flow was started")
		assert.Equal(t, "pending", f.Read("connections/x", nil).OK(t)["status"], "the first link is there still")
	})
}
