package backend

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// faults are documents that tell of a wrong issuer, and what is said of each.
func (f *fixture) faults() map[string]struct {
	answer providertest.Behavior
	says   string
} {
	document := func(body string) providertest.Behavior {
		return providertest.Respond(http.StatusOK, strings.ReplaceAll(body, "ISSUER", f.provider.URL))
	}
	type fault = struct {
		answer providertest.Behavior
		says   string
	}
	return map[string]fault{
		"a slash more": {document(`{"issuer":"ISSUER/"}`), `asked was "` + f.provider.URL + `", and its document says "` + f.provider.URL + `/"`},
		"of many tenants": {
			document(`{"issuer":"https://id.example.com/{tenantid}/v2.0"}`), `"https://id.example.com/{tenantid}/v2.0"`,
		},
		"no URL":        {document(`{"issuer":"words of the provider"}`), "no URL"},
		"no token call": {document(`{"issuer":"ISSUER"}`), "token_endpoint"},
		"in the clear":  {document(`{"issuer":"ISSUER","token_endpoint":"http://id.example.com/words"}`), "not https"},
		"not there":     {providertest.Respond(http.StatusNotFound, "words"), "status 404"},
	}
}

// A wrong issuer is the operator's to correct: the one who starts a flow, imports, or has a token issued is told which
// field it is and what was seen, with a status after which nobody tries again.
func TestWrongIssuerOfARequest(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.issuer(t)
		f.Write("providers/idp", map[string]any{"kinds": "authorization_code,client_credentials"}).OK(t)
		for name, fault := range f.faults() {
			for path, data := range map[string]map[string]any{
				"auth-code-url/x": {}, "connections/x": {"refresh_token": "r"},
				"connections/app": {"kind": "client_credentials"},
			} {
				f.Write("providers/idp", map[string]any{"scopes": ""}).OK(t) // what was read is forgotten
				f.provider.Next(providers.StepDiscovery, fault.answer)
				r := f.Write(path, with(map[string]any{"provider": "idp"}, data))
				require.Equal(t, http.StatusBadRequest, r.Status, "%s, %s: %s", name, path, r.Text)
				assert.Contains(t, r.Text, fault.says, name)
				assert.Contains(t, r.Text, "an operator corrects issuer on providers/idp", name)
				assert.NotContains(t, r.Text, "words", name)
			}
		}
		f.Write("providers/idp", map[string]any{"scopes": ""}).OK(t)
		f.publishes(`,"token_endpoint_auth_methods_supported":["private_key_jwt"]`)
		f.Write("auth-code-url/x", map[string]any{"provider": "idp"}).Refused(t, http.StatusBadRequest,
			"client_auth on providers/idp")
		f.Write("providers/idp", map[string]any{"scopes": ""}).OK(t)
		f.provider.Next(providers.StepDiscovery, providertest.Respond(http.StatusOK, "<html>words"))
		f.Write("auth-code-url/x", map[string]any{"provider": "idp"}).Refused(t, http.StatusBadGateway, "try again later",
			"issuer on providers/idp")
		assert.Zero(t, f.provider.Count(providers.StepToken)+f.provider.Count(providers.StepRefresh))
		f.start(t, "x", map[string]any{"provider": "idp"})
	})
}

// Where it comes up at a refresh, readers hear the same, and the connection is kept.
func TestWrongIssuerOfARefresh(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.issuer(t)
		own := f.own(t, "mine", map[string]any{"provider": "idp"})
		f.Write("exchange", with(own, map[string]any{"iss": f.provider.URL})).OK(t)
		f.restart(t)
		f.Advance(2 * time.Hour)
		f.provider.Next(providers.StepDiscovery, f.faults()["a slash more"].answer)
		for range 2 {
			r := f.Read("creds/mine", nil)
			r.Refused(t, http.StatusConflict, f.faults()["a slash more"].says, "correct issuer on providers/idp", "is kept",
				"the next try is at")
			assert.NotContains(t, r.Text, "client_secret")
		}
		view := f.Read("connections/mine", nil).OK(t)
		assert.Equal(t, "active", view["status"])
		failed := members(t, view["last_error"])
		assert.Equal(t, []any{"misconfigured", "wrong_issuer"}, []any{failed["class"], failed["code"]})
		assert.Contains(t, failed["reason"], "issuer_mismatch: ")
		assert.NotContains(t, f.Logs.String(), "its document says", "what an issuer wrote is in no log")
		f.Advance(10 * time.Minute)
		f.provider.Next(providers.StepDiscovery, f.faults()["not there"].answer)
		f.Read("creds/mine", nil).Refused(t, http.StatusBadGateway, "status 404", "correct issuer on providers/idp",
			"the next try is at")
		f.Advance(10 * time.Minute)
		f.Read("creds/mine", nil).OK(t)
	})
}

// Without keys no id_token can be checked, so the code is not spent.
func TestIssuerWithoutKeys(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.issuer(t)
		own := with(f.own(t, "mine", map[string]any{"provider": "idp"}), map[string]any{"iss": f.provider.URL})
		f.provider.Next("jwks", providertest.Respond(http.StatusOK, `{"keys":[]}`))
		f.Write("exchange", own).Refused(t, http.StatusConflict, f.provider.URL, "no key", "issuer on providers/idp")
		assert.Zero(t, f.provider.Count(providers.StepToken))
	})
}

// Of an app that is refused as a client, the way it says who it is may be what is wrong.
func TestRefusedClientNamesClientAuth(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.allowApp(t)
		for _, code := range []string{"invalid_client", "unauthorized_client"} {
			refuse := func(step providers.Step) {
				f.provider.Next(step, providertest.Respond(http.StatusUnauthorized, `{"error":"`+code+`"}`))
			}
			says := []string{code, "client_secret", "client_auth", "providers/acme"}
			own := f.own(t, "x", nil)
			refuse(providers.StepToken)
			f.Write("exchange", own).Refused(t, http.StatusConflict, says...)
			refuse(providers.StepToken)
			f.Write("connections/app", map[string]any{"provider": "acme", "kind": "client_credentials"}).
				Refused(t, http.StatusConflict, says...)
			refuse(providers.StepRefresh)
			f.Write("connections/imported", map[string]any{"provider": "acme", "refresh_token": "r"}).
				Refused(t, http.StatusConflict, says...)
			f.connect(t, "dead")
			f.Advance(2 * time.Hour)
			refuse(providers.StepRefresh)
			f.Read("creds/dead", nil).Refused(t, http.StatusConflict, says...)
			f.Delete("connections/dead", nil).OK(t)
		}
	})
}

// The write of a provider with an issuer reads what that publishes, once, and warns of what is wrong. It stores in any
// case.
func TestIssuerIsReadAtTheWrite(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		idp := map[string]any{
			"definition": "oidc", "issuer": f.provider.URL, "client_id": providertest.ClientID,
			"client_secret": providertest.ClientSecret,
		}
		write := func(data map[string]any) (warned string) {
			t.Helper()
			r := f.Write("providers/idp", data)
			assert.Equal(t, data["issuer"], r.OK(t)["issuer"])
			assert.Equal(t, data["issuer"], f.Read("providers/idp", nil).OK(t)["issuer"])
			return strings.Join(r.Warnings, "\n")
		}
		assert.Empty(t, write(idp))
		assert.Equal(t, 1, f.provider.Count(providers.StepDiscovery))
		f.start(t, "x", map[string]any{"provider": "idp"})
		assert.Equal(t, 1, f.provider.Count(providers.StepDiscovery), "what was read serves")
		f.Write("providers/idp", map[string]any{"scopes": "a"}).OK(t)
		assert.Equal(t, 1, f.provider.Count(providers.StepDiscovery), "no issuer is written")

		for name, fault := range f.faults() {
			f.provider.Next(providers.StepDiscovery, fault.answer)
			warned := write(idp)
			assert.Contains(t, warned, fault.says, name)
			assert.Contains(t, warned, "correct issuer on providers/idp", name)
			assert.NotContains(t, warned, "words", name)
		}
		f.provider.Next("jwks", providertest.Respond(http.StatusOK, `{"keys":[]}`))
		assert.Contains(t, write(idp), "no key")
		for name, answer := range map[string]providertest.Behavior{
			"down": providertest.Respond(http.StatusServiceUnavailable, "words"), "reset": providertest.Reset(),
			"a page": providertest.Respond(http.StatusOK, "<html>words"),
			"a rest": providertest.Respond(http.StatusTooManyRequests, "", "Retry-After", "60"),
		} {
			f.provider.Next(providers.StepDiscovery, answer)
			warned := write(idp)
			assert.Contains(t, warned, "could not be learned", name)
			assert.NotContains(t, warned, "words", name)
		}
		assert.Empty(t, write(idp), "a write lifts the rest")

		calls := f.provider.Count(providers.StepDiscovery)
		f.Write("providers/idp", with(idp, map[string]any{"issuer": "https://id.example.com/{tenantid}/v2.0"})).
			Refused(t, http.StatusBadRequest, "issuer", "{tenantid}")
		f.Write("providers/acme", map[string]any{"issuer": f.provider.URL}).OK(t)
		assert.Equal(t, calls, f.provider.Count(providers.StepDiscovery), "oauth2 asks for no document")
	})
}

// Nobody waits behind an operator whose issuer does not answer, and that one waits for seconds only.
func TestIssuerThatHangs(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Options{}, testenv.InProcess)
	f.issuer(t)
	f.provider.Next(providers.StepDiscovery, providertest.Hang())
	began := time.Now()
	done := make(chan testenv.Result, 1)
	go func() { done <- f.Write("providers/idp", map[string]any{"issuer": f.provider.URL}) }()
	require.Eventually(t, func() bool { return f.provider.Count(providers.StepDiscovery) == 2 }, time.Minute,
		time.Millisecond)
	f.Write("providers/acme", map[string]any{"scopes": "read"}).OK(t)
	f.Write("providers/idp", map[string]any{"scopes": "read"}).OK(t)
	f.Write("config", map[string]any{"poll_interval": 60}).OK(t)
	f.connect(t, "slack")
	f.start(t, "x", map[string]any{"provider": "idp"})
	select {
	case <-done:
		require.Fail(t, "the others waited for it")
	default:
	}
	r := <-done
	assert.Equal(t, f.provider.URL, r.OK(t)["issuer"])
	assert.Contains(t, strings.Join(r.Warnings, "\n"), "could not be learned")
	assert.Less(t, time.Since(began), 10*time.Second)
	assert.Equal(t, []string{"read"}, texts(t, f.Read("providers/idp", nil).OK(t)["scopes"]))
}
