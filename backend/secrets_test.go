package backend

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/webhook"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// What is planted. No other text of the tests holds any of these words.
const (
	plantedSecret  = "planted-client-secret-q1"
	plantedFormer  = "planted-former-secret-q2"
	plantedKey     = "planted-api-key-with-a-long-tail-q3"
	plantedAccess  = "planted-access-token-q4"
	plantedRefresh = "planted-refresh-token-q5"
	plantedCode    = "planted-authorization-code-q6"
	plantedParked  = "planted-authorization-code-q9"
	plantedSession = "planted-session-value-q7"
	plantedWords   = "planted words of the provider q8"
	plantedParam   = "planted-token-parameter-q9"
	plantedProxy   = "planted-password-of-the-proxy-q0"
	plantedSigning = "planted-signing-secret-with-a-long-tail-q11"
	plantedDevice  = "planted-device-code-q13"
	plantedFound   = "planted-secret-that-somebody-found-q14"
	plantedLinked  = "planted-key-of-a-link-with-a-long-tail-q14"
	plantedHook    = "planted-secret-of-a-webhook-with-a-long-tail-q12"
	plantedURL     = "planted-path-of-a-receiver-q14"
	plantedFailure = `{"error":"invalid_grant","error_description":"` + plantedWords + `","access_token":"` +
		plantedAccess + `"}`
)

// witness keeps every answer of a mount as a client sees it.
type witness struct {
	secrets []string
	answers []string
}

// see keeps an answer, without the secrets that it is there to give.
func (w *witness) see(t *testing.T, r testenv.Result, given ...string) testenv.Result {
	t.Helper()
	encoded, err := json.Marshal(r.Response)
	require.NoError(t, err)
	text := fmt.Sprintln(string(encoded), r.Text, r.Err)
	if r.Response != nil && r.Data[logical.HTTPRawBody] != nil {
		text += rawBody(t, r.Data)
	}
	for _, secret := range given {
		require.Contains(t, text, secret, "an answer that is there to give it")
		text = strings.ReplaceAll(text, secret, "")
	}
	w.answers = append(w.answers, text)
	return r
}

func TestSecretsStayInside(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		w := &witness{secrets: []string{
			plantedSecret, plantedFormer, plantedKey, plantedAccess, plantedRefresh, plantedCode, plantedParked, plantedSession,
			plantedWords, plantedParam, plantedProxy, plantedSigning, plantedHook,
			plantedDevice, plantedFound, plantedLinked,
		}}
		w.operators(t, f)
		w.people(t, f)
		w.devices(t, f)
		w.links(t, f)
		w.applications(t, f)
		w.checks(t, f)
		w.companions(t, f)
		w.lookups(t, f)
		w.failures(t, f)
		w.end(t, f)
		for _, secret := range w.secrets {
			for _, answer := range w.answers {
				assert.NotContains(t, answer, secret)
			}
			assert.NotContains(t, f.Logs.String(), secret)
		}
		assert.True(t, f.Logs.Contains("a refresh failed"), "the log was looked at")
	})
}

func (w *witness) operators(t *testing.T, f *fixture) {
	f.provider.SetClientSecret(plantedSecret)
	for _, secret := range []string{plantedFormer, plantedSecret} {
		w.see(t, f.Write("providers/acme", map[string]any{"client_secret": secret})).OK(t)
	}
	w.see(t, f.Write("providers/acme", map[string]any{"token_params": map[string]any{"assertion": plantedParam}})).OK(t)
	w.webhooks(t, f)
	w.see(t, f.Write("config", map[string]any{"proxy_url": "http://me:" + plantedProxy + "@127.0.0.1:1"})).OK(t)
	w.see(t, f.Write("providers/acme", map[string]any{
		"client_secret": plantedSecret, "scopes": "x", "allowed_scopes": "y",
	})).Refused(t, http.StatusBadRequest)
	w.see(t, f.Read("providers/acme", nil)).OK(t)
	w.see(t, f.List("providers/")).OK(t)
	w.see(t, f.Write("providers/http_header", map[string]any{
		"inputs": map[string]any{"base_url": "https://api.example.com"},
	})).OK(t)
	w.see(t, f.Read("config", nil)).OK(t)
}

func (w *witness) webhooks(t *testing.T, f *fixture) {
	r := newReceiver(t)
	r.answers(func(_ int, w http.ResponseWriter, _ *http.Request) { http.Error(w, plantedWords, http.StatusTeapot) })
	f.toldBefore(t, 1, "a")
	brought, next := webhook.NewSecret().Reveal(), webhook.NewSecret().Reveal()
	w.secrets = append(w.secrets, brought, next, plantedURL)
	url := r.URL + "/" + plantedURL // which operators read where they wrote it
	first := map[string]any{"url": url, "secret": brought, "from_start": true}
	w.see(t, f.Write("webhooks/siem", first), url).OK(t)
	w.see(t, f.Write("webhooks/siem", map[string]any{"secret": next}), url).OK(t)
	w.see(t, f.Write("webhooks/siem", map[string]any{"secret": brought + "\n", "generate_secret": true})).Refused(t,
		http.StatusBadRequest)
	w.see(t, f.Write("webhooks/siem", map[string]any{"secret": []string{brought}, "kinds": "x"})).Refused(t,
		http.StatusBadRequest)
	w.see(t, f.Write("webhooks/siem", map[string]any{"url": "http://me@h/" + plantedURL})).Refused(t, http.StatusBadRequest)
	f.soon(t, func() bool { return len(r.sent()) > 0 }, "it is sent")
	w.see(t, f.Write("webhooks/siem/test", nil)).OK(t)
	w.see(t, f.Read("webhooks/siem", nil), url).OK(t)
	w.see(t, f.List("webhooks/")).OK(t)
	made := f.Write("webhooks/siem", map[string]any{"generate_secret": true})
	secret := made.OK(t)["secret"].(string)
	w.secrets = append(w.secrets, secret)
	w.see(t, made, url, secret).OK(t)
	w.see(t, f.Read("status", nil)).OK(t)
	w.see(t, f.Read("metrics", nil)).OK(t)
	w.see(t, f.Delete("webhooks/siem", nil)).OK(t)
}

func (w *witness) people(t *testing.T, f *fixture) {
	key := map[string]any{"provider": "http_header", "api_key": plantedKey}
	w.see(t, f.Write("connections/key", key)).OK(t)
	w.see(t, f.Write("connections/key", with(key, map[string]any{"label": strings.Repeat("x", 300)}))).Refused(t,
		http.StatusBadRequest)
	w.see(t, f.Write("connections/key", map[string]any{"api_key": plantedKey + "\n"})).Refused(t, http.StatusBadRequest)

	r := f.Write("auth-code-url/own", map[string]any{
		"provider": "acme", "redirect_uri": appRedirect, "session_binding": sha256Of(plantedSession),
	})
	address := r.OK(t)["url"].(string)
	state := query(t, address, "state")
	w.secrets = append(w.secrets, state)
	w.see(t, r, state)
	f.provider.Next(providers.StepToken, providertest.Respond(http.StatusOK, `{"access_token":"`+plantedAccess+`","token_type":"bearer",
		"expires_in":3600,"refresh_token":"`+plantedRefresh+`","note":"`+plantedWords+`"}`))
	own := map[string]any{"state": state, "code": plantedCode, "session_binding_value": plantedSession}
	w.see(t, f.Write("exchange", own, bob)).Refused(t, http.StatusForbidden)
	w.see(t, f.Write("exchange", with(own, map[string]any{"session_binding_value": plantedSession + "x"}))).Refused(t,
		http.StatusForbidden)
	w.see(t, f.Write("exchange", own)).OK(t)
	w.see(t, f.Write("exchange", with(own, map[string]any{"code": plantedCode + "x"}))).Refused(t, http.StatusConflict)
	w.secrets = append(w.secrets, f.provider.Requests(providers.StepToken)[0].Form.Get("code_verifier"))

	r = f.Write("auth-code-url/parked", map[string]any{"provider": "acme"})
	address = r.OK(t)["url"].(string)
	state = query(t, address, "state")
	w.secrets = append(w.secrets, state)
	w.see(t, r, state)
	r = f.Read("callback/acme", map[string]any{"state": state, "code": plantedParked, "error_description": plantedWords},
		testenv.Nobody)
	shown := shownCode.FindStringSubmatch(page(t, r))
	require.NotNil(t, shown)
	code := shown[1] + shown[2]
	w.see(t, r, code, shown[1]+"-"+shown[2])
	w.secrets = append(w.secrets, code, shown[1]+"-"+shown[2])
	for _, stranger := range []map[string]any{
		{"state": state},
		{"state": state, "code": plantedParked},
		{"state": state, "code": "x"},
		{"state": state, "error": plantedWords},
	} {
		w.see(t, f.Read("callback/acme", stranger, testenv.Nobody)).OK(t)
	}
	w.see(t, f.Read("connections/parked", nil)).OK(t)
	w.see(t, f.Write("exchange", map[string]any{
		"flow_id":           flowOfState(state),
		"confirmation_code": code[:7] + "?",
	})).Refused(t, http.StatusBadRequest)
	f.provider.Next(providers.StepToken, providertest.Respond(http.StatusBadRequest, plantedFailure))
	w.see(t, f.Write("exchange", map[string]any{"flow_id": flowOfState(state), "confirmation_code": code})).Refused(t,
		http.StatusConflict)
	w.see(t, f.Write("exchange", map[string]any{"flow_id": flowOfState(state), "confirmation_code": code})).Refused(t,
		http.StatusConflict)
}

func (w *witness) applications(t *testing.T, f *fixture) {
	w.see(t, f.Read("creds/own", nil), plantedAccess).OK(t)
	w.see(t, f.Read("creds/key", nil), plantedKey).OK(t)
	w.see(t, f.Read("connections/own", nil)).OK(t)
	w.see(t, f.Read("connections/key", nil)).OK(t)
	w.see(t, f.List("connections/")).OK(t)
	w.see(t, f.Read("status", nil)).OK(t)
}

// checks shows the credentials to a service that says them again, and operators write back what they read.
func (w *witness) checks(t *testing.T, f *fixture) {
	echo := `{"error":"` + plantedWords + `","sub":{"x":"` + plantedWords + `"},"token":"` + plantedAccess + `"}`
	for _, status := range []int{200, 302, 400, 401, 403, 404, 429, 500} {
		f.Advance(time.Minute)
		f.provider.Next(providers.StepIdentity, providertest.Respond(status, echo, "Location", "https://x/?"+plantedWords))
		w.see(t, f.Write("check/own", nil)).OK(t)
	}
	w.see(t, f.Write("check/key", nil)).OK(t)
	w.see(t, f.Write("check/nobody", map[string]any{plantedKey: plantedKey})).Refused(t, http.StatusBadRequest)

	whole := w.see(t, f.Read("providers/acme", nil)).OK(t)
	whole["updated"], whole["circuit"] = plantedSecret, map[string]any{"state": plantedSecret}
	w.see(t, f.Write("providers/acme", whole)).OK(t)
	read := w.see(t, f.Read("connections/key", nil)).OK(t)
	read["status"], read["account"] = plantedKey, map[string]any{"id": plantedKey}
	w.see(t, f.Write("connections/key", read)).OK(t)
	for name, data := range map[string]map[string]any{
		"the same":         {"client_secret": plantedSecret, "former_secret_set": plantedSecret},
		"of a wrong type":  {"client_secret": []any{plantedSecret}},
		"in a wrong field": {"client_secret": plantedSecret, "secret": plantedSecret},
		"no mask of it":    {"client_secret": "****" + plantedSecret[:4]},
		"a number":         {"client_secret": 1e300},
		"null":             {"client_secret": nil, "drop_former": plantedSecret},
		"and no former":    {"client_secret": plantedSecret, "drop_former": true},
	} {
		r := w.see(t, f.Write("providers/acme/client-secret", data))
		assert.Contains(t, []int{200, 204, 400}, max(r.Status, 200), "%s: %s", name, r.Text)
	}
	f.provider.Next(providers.StepDiscovery, providertest.Respond(200, `{"issuer":"`+plantedWords+`"}`),
		providertest.Respond(200, `{"issuer":"`+plantedWords+`"}`))
	w.see(t, f.Write("providers/issuer", map[string]any{
		"definition": "oidc", "client_id": "x", "client_secret": plantedSecret, "issuer": f.provider.URL,
	})).OK(t)
	w.see(t, f.List("providers/")).OK(t)
}

// companions are answered to who asks for them and to whom they are for.
func (w *witness) companions(t *testing.T, f *fixture) {
	signing := map[string]any{"signing": plantedSigning}
	w.see(t, f.Write("providers/hooks", map[string]any{"definition_yaml": hooks, "companions": map[string]any{
		"signing": plantedSigning + "Q",
	}})).Refused(t, http.StatusBadRequest)
	w.see(t, f.Write("providers/hooks", map[string]any{
		"definition_yaml": strings.Replace(hooks, ", pattern: '[a-z-]+'", "", 1), "companions": signing,
	})).OK(t)
	key := map[string]any{"provider": "hooks", "api_key": plantedKey, "companions": map[string]any{"hook": plantedHook}}
	w.see(t, f.Write("connections/hooked", key)).OK(t)
	w.see(t, f.Write("connections/hooked", map[string]any{"companions": map[string]any{"signing": plantedHook}})).
		Refused(t, http.StatusBadRequest)
	w.see(t, f.Write("connections/hooked", map[string]any{"companions": plantedHook})).Refused(t, http.StatusBadRequest)
	w.see(t, f.Write("providers/hooks", map[string]any{"companions_for": "org/*"})).Refused(t, http.StatusForbidden)
	w.see(t, f.Read("creds/hooked", withIt), plantedKey, plantedHook).OK(t)
	w.see(t, f.Write("providers/hooks", map[string]any{"companions_for": "org/*", "companions": signing})).OK(t)
	w.see(t, f.Read("creds/hooked", nil), plantedKey).OK(t)
	w.see(t, f.Read("creds/hooked", withIt), plantedKey, plantedHook, plantedSigning).OK(t)
	for _, path := range []string{"providers/hooks", "connections/hooked", "catalog/provider:hooks", "status"} {
		w.see(t, f.Read(path, nil)).OK(t)
	}
	w.see(t, f.Delete("connections/hooked", nil)).OK(t)
}

// lookups are told secrets, those that there are among them, and tell none.
func (w *witness) lookups(t *testing.T, f *fixture) {
	for _, path := range []string{"lookup", "lookup/org/default", "lookup/org/acme"} {
		for _, secret := range []string{
			plantedFound, "Bearer " + plantedAccess, plantedRefresh, plantedKey, plantedSecret, plantedParam,
			plantedSigning, plantedHook,
		} {
			found := w.see(t, f.Write(path, map[string]any{"token": secret})).OK(t)
			if path == "lookup" {
				assert.Equal(t, secret != plantedFound, found["state"] == "found", secret)
			}
		}
		w.see(t, f.Write(path, map[string]any{"token": plantedFound[:19]})).Refused(t, http.StatusBadRequest)
		w.see(t, f.Write(path, map[string]any{"other": plantedFound, "token": plantedFound})).
			Refused(t, http.StatusBadRequest)
	}
}

func (w *witness) failures(t *testing.T, f *fixture) {
	f.provider.Next(providers.StepRefresh,
		providertest.Respond(http.StatusServiceUnavailable, plantedWords),
		providertest.Respond(http.StatusOK, "<h1>"+plantedWords),
		providertest.Respond(http.StatusOK, plantedWords), providertest.Respond(http.StatusUnauthorized, plantedFailure),
		providertest.Respond(http.StatusBadRequest, plantedFailure))
	for range 4 {
		f.Advance(20 * time.Minute)
		if r := w.see(t, f.Write("refresh/own", nil)); r.Status < 300 {
			break
		}
		if r := f.Read("creds/own", nil); r.Status < 300 {
			w.see(t, r, plantedAccess)
		} else {
			w.see(t, r)
		}
		w.see(t, f.Read("connections/own", nil)).OK(t)
	}
	f.Storage.Judge(func(testenv.Access) error { return testenv.ErrStorage })
	for _, path := range []string{"connections/key", "providers/acme", "status"} {
		w.see(t, f.Read(path, nil))
	}
	w.see(t, f.Write("connections/key", map[string]any{"api_key": plantedKey})).Refused(t, http.StatusInternalServerError)
	w.see(t, f.Write("providers/acme", map[string]any{"client_secret": plantedFormer})).Refused(t,
		http.StatusInternalServerError)
	f.Storage.Judge(nil)
	f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusBadRequest, plantedFailure))
	imported := map[string]any{"provider": "acme", "refresh_token": plantedRefresh}
	w.see(t, f.Write("connections/imported", imported)).Refused(t, http.StatusConflict)
	w.see(t, f.Write("connections/imported", with(imported, map[string]any{"verify": false}))).OK(t)
	f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusForbidden, plantedWords))
	w.see(t, f.Write("connections/imported2", map[string]any{"provider": "acme", "access_token": plantedAccess})).OK(t)
}

func (w *witness) end(t *testing.T, f *fixture) {
	f.provider.Next(providers.StepRevoke, providertest.Respond(http.StatusBadRequest, plantedFailure))
	for _, name := range []string{"own", "key", "imported", "imported2"} {
		w.see(t, f.Delete("connections/"+name, nil)).OK(t)
	}
	w.see(t, f.Write("providers/acme", map[string]any{"client_id": "moved"})).OK(t)
	f.periodic(t)
}

// Vault's framework quotes a value that has the wrong type. Ours must not: it may be a secret that somebody nested.
func TestSecretsOfTheWrongType(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "key")
		const secret = "planted-in-the-wrong-type"
		for path, fields := range map[string][]string{
			"providers/acme": {"client_secret", "client_id", "confirm", "assumed_ttl", "companions"},
			"providers/new":  {"client_secret"},
			"connections/key": {
				"refresh_token", "access_token", "api_key", "label", "disabled", "expires_in", "companions",
			},
			"connections/new":         {"refresh_token", "access_token", "api_key"},
			"connections/user/u1/new": {"refresh_token"},
			"auth-code-url/x":         {"session_binding", "login_hint"},
			"exchange":                {"state", "code", "confirmation_code", "session_binding_value", "allow_account_change"},
			"callback/acme":           {"state", "code", "iss", "other"},
			"lookup":                  {"token", "provider"},
			"lookup/org/acme":         {"token"},
			"config":                  {"proxy_url", "refresh_margin", "max_open_flows"},
			"refresh/key":             {"name"},
		} {
			for _, field := range fields {
				for _, value := range []any{
					map[string]any{"a": secret}, []any{map[string]any{"a": secret}}, map[string]any{
						"a": map[string]any{"b": []any{secret}},
					},
				} {
					r := f.Write(path, map[string]any{field: value})
					encoded, err := json.Marshal(r.Response)
					require.NoError(t, err)
					assert.NotContains(t, string(encoded)+r.Text+fmt.Sprint(r.Err), secret, "%s %s %T", path, field, value)
					if path != "callback/acme" && path != "refresh/key" { // those ignore what they do not know
						assert.Equal(t, http.StatusBadRequest, r.Status, "%s %s %T: %s", path, field, value, r.Text)
					}
				}
			}
		}
		for _, field := range []string{"confirm", "assumed_ttl"} {
			r := f.Write("providers/acme", map[string]any{field: secret})
			r.Refused(t, http.StatusBadRequest, field)
			assert.NotContains(t, r.Text, secret)
		}
		assert.NotContains(t, f.Logs.String(), secret)
		assert.Equal(t, openaiKey, f.Read("creds/key", nil).OK(t)["api_key"])
	})
}

// A storage key is not encrypted at rest in every backend, and a map's keys stand in clear in the audit log.
func TestSecretsAreNoNames(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Storage.Forget()
		own := f.own(t, "slack", nil)
		f.Write("exchange", own).OK(t)
		f.key(t, "key")
		_, back, code := f.parked(t, "parked", nil)
		for _, a := range f.Storage.History() {
			for _, secret := range []string{
				own["state"].(string), own["code"].(string), back["code"], code, openaiKey, providertest.ClientSecret,
			} {
				assert.NotContains(t, a.Key, secret)
			}
		}
	})
}

// devices has a person type a code, and another one whose service says odd things.
func (w *witness) devices(t *testing.T, f *fixture) {
	settings := f.acme()
	settings["endpoints"].(map[string]any)["device"] = f.provider.URL + "/device"
	settings["kinds"], settings["client_secret"] = "device_code", plantedSecret
	w.see(t, f.Write("providers/tv", settings)).OK(t)
	tokens := `{"access_token":"` + plantedAccess + `","refresh_token":"` + plantedRefresh + `","note":"` + plantedWords + `"}`
	for _, answer := range []providertest.Behavior{
		providertest.Respond(http.StatusOK, tokens), providertest.Respond(http.StatusBadRequest, plantedFailure),
		providertest.Respond(http.StatusBadGateway, plantedFailure),
	} {
		f.provider.Next(providers.StepDevice, providertest.Respond(http.StatusOK, `{"device_code":"`+plantedDevice+`",
			"user_code":"AB-CD","verification_uri":"https://example.com/d","expires_in":600,"note":"`+plantedWords+`"}`))
		f.provider.Next(providertest.StepPoll, answer)
		w.see(t, f.Write("device-code/tv", map[string]any{"provider": "tv"})).OK(t)
		f.polled(t, 5*time.Second)
		w.see(t, f.Read("device-code/tv", nil)).OK(t)
		w.see(t, f.Read("connections/tv", nil))
		w.see(t, f.Delete("device-code/tv", nil)).OK(t)
	}
}

// links has people use links: one who consents, one who brings a key, and one who mistypes it.
func (w *witness) links(t *testing.T, f *fixture) {
	link := func(name string, data map[string]any) (value, id string) {
		t.Helper()
		r := f.Write("connect-link/"+name, data, alice)
		address := r.OK(t)["url"].(string)
		value = query(t, address, "link")
		w.secrets = append(w.secrets, value)
		w.see(t, r, value)
		return value, r.Data["flow_id"].(string)
	}
	// the form holds the link, for whoever has it
	form := func(r testenv.Result, value string, given ...string) string {
		t.Helper()
		w.see(t, r, append(given, value)...)
		return page(t, r)
	}
	value, id := link("link", map[string]any{"provider": "acme", "purpose": "x"})
	form(f.Read("connect", map[string]any{"link": value}, testenv.Nobody), value)
	r := f.Write("connect", map[string]any{"link": value}, testenv.Nobody)
	address := ledTo(t, page(t, r))
	state := query(t, address, "state")
	w.secrets = append(w.secrets, state)
	w.see(t, r, state)
	r = f.Read("callback/acme", map[string]any{"state": state, "code": plantedCode + "L"}, testenv.Nobody)
	code := codeOn(t, page(t, r))
	w.secrets = append(w.secrets, code)
	w.see(t, r, code[:4]+"-"+code[4:])
	f.provider.Next(providers.StepToken, providertest.Respond(http.StatusBadRequest, plantedFailure))
	w.see(t, f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code}, alice)).Refused(t, http.StatusConflict)
	w.see(t, f.Read("connect-link/link", nil, alice)).OK(t)

	value, id = link("linked", map[string]any{"provider": "http_header"})
	shown := form(f.Write("connect", map[string]any{"link": value, "key.api_key": plantedLinked + "\nx"}, testenv.Nobody), value)
	require.Contains(t, said(shown), "Look at: api key")
	r = w.see(t, f.Write("connect", map[string]any{
		"link": value, "key.api_key": plantedLinked, plantedLinked: "x", "key." + plantedLinked: "x",
	}, testenv.Nobody))
	code = codeOn(t, page(t, r))
	for _, path := range []string{"connect-link/linked", "connections/linked", "status", "inventory"} {
		w.see(t, f.Read(path, nil, alice)).OK(t)
	}
	w.see(t, f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": "AAAAAAAA"}, alice)).Refused(t, 400)
	x := map[string]any{"flow_id": id, "confirmation_code": code}
	w.see(t, f.Write("exchange", x, alice)).OK(t)
	w.see(t, f.Write("exchange", x, alice)).OK(t)
	w.see(t, f.Read("creds/linked", nil), plantedLinked).OK(t)
	w.see(t, f.Read("history/linked", nil)).OK(t)
	w.see(t, f.Delete("connections/linked", nil)).OK(t)
}
