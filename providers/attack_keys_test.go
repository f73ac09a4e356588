package providers

import (
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// heard is all that a service got, and what it answers.
type heard struct {
	*httptest.Server
	all    []string // heads and bodies, with what stands in Basic decoded
	forms  []url.Values
	answer func(form url.Values) (status int, body string)
}

func newHeard(t *testing.T, answer func(form url.Values) (int, string)) *heard {
	t.Helper()
	s := &heard{answer: answer}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		text, _ := url.QueryUnescape(string(body))
		basic, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(r.Header.Get("Authorization"), "Basic "))
		unescaped, _ := url.QueryUnescape(string(basic))
		query, _ := url.QueryUnescape(r.URL.String())
		s.all = append(s.all, query+"\n"+text+"\n"+string(basic)+"\n"+unescaped+"\n"+r.Header.Get("Authorization"))
		s.forms = append(s.forms, form)
		status, told := s.answer(form)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, told)
	}))
	t.Cleanup(s.Close)
	return s
}

func refusesClients(url.Values) (int, string) {
	return http.StatusUnauthorized, `{"error":"invalid_client"}`
}

// However the app is to prove itself, a private key is never what it says: not as the former secret beside one that
// is a text, not in a flow that began before the key was written, and not where a call wants the secret itself.
func TestPrivateKeyIsNeverSent(t *testing.T) {
	_, text, _, _ := clientKey(t)
	for _, style := range []string{"", "basic", "basic_raw", "post", "secret_as_user"} {
		t.Run(style, func(t *testing.T) {
			server := newHeard(t, refusesClients)
			definition := &Definition{
				ID: "mixed", Name: "Mixed", Kinds: []Kind{KindClientCredentials},
				Endpoints: map[Step]Template{StepToken: Template(server.URL), StepRevoke: Template(server.URL)},
			}
			app := &App{
				Definition: definition, ClientID: "app-1", ClientAuth: style,
				ClientSecret: NewSecret("words"), FormerSecret: NewSecret(text),
			}
			client := NewClient(server.Client(), time.Now, "test")
			res, err := client.Resolve(t.Context(), app, KindClientCredentials, nil)
			require.NoError(t, err)
			_, err = client.Issue(t.Context(), app, IssueRequest{Kind: KindClientCredentials, Resolved: res})
			var failure *Error
			require.ErrorAs(t, err, &failure)
			assert.Equal(t, "invalid_client", failure.Code, "what the service said")

			// the flow was frozen with the style of a secret that is a text
			app.ClientSecret, app.FormerSecret, app.ClientAuth = NewSecret(text), NewSecret("words"), ""
			_, _ = client.Exchange(t.Context(), app, ExchangeRequest{Resolved: res, Code: NewSecret("code")})
			g := &Grant{AccessToken: NewSecret("acc"), RefreshToken: NewSecret("ref")}
			_ = client.Revoke(t.Context(), app, res, KindClientCredentials, g)
			for _, call := range []Call{
				{Auth: "client_basic"},
				{Auth: "bearer_client_secret"},
				{Auth: "none", Method: "POST", Params: map[string]Template{"s": "{client_secret}"}},
				{Auth: "none", Headers: map[string]Template{"X-S": "{client_secret}"}},
			} {
				definition.Revoke = &Revoke{Call: call}
				_ = client.Revoke(t.Context(), app, res, KindClientCredentials, g)
			}
			require.NotEmpty(t, server.all)
			for _, said := range server.all {
				assert.NotContains(t, said, "PRIVATE KEY")
			}
		})
	}
}

// A secret that was replaced by a key serves as the fallback as it did before, and so does a key that a secret
// replaced.
func TestFormerSecretOfAnotherSort(t *testing.T) {
	key, text, _, _ := clientKey(t)
	signs := func(form url.Values) bool {
		signed, err := jose.ParseSignedCompact(form.Get("client_assertion"), []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			return false
		}
		_, err = signed.Verify(&key.PublicKey)
		return err == nil
	}
	for name, c := range map[string]struct {
		secret, former string
		takes          func(form url.Values) bool
	}{
		"a key after a secret": {text, "words", func(f url.Values) bool { return f.Get("client_secret") == "words" }},
		"a secret after a key": {"words", text, signs},
	} {
		t.Run(name, func(t *testing.T) {
			server := newHeard(t, func(form url.Values) (int, string) {
				if c.takes(form) {
					return http.StatusOK, `{"access_token":"acc"}`
				}
				return refusesClients(form)
			})
			app := &App{
				Definition: &Definition{
					ID: "mixed", Name: "Mixed", Kinds: []Kind{KindClientCredentials},
					Endpoints: map[Step]Template{StepToken: Template(server.URL)},
					Client:    ClientSpec{Auth: []string{"post", authPrivateKeyJWT}},
				},
				ClientID: "app-1", ClientSecret: NewSecret(c.secret), FormerSecret: NewSecret(c.former),
			}
			client := NewClient(server.Client(), time.Now, "test")
			res, err := client.Resolve(t.Context(), app, KindClientCredentials, nil)
			require.NoError(t, err)
			_, err = client.Issue(t.Context(), app, IssueRequest{Kind: KindClientCredentials, Resolved: res})
			require.NoError(t, err)
			assert.Len(t, server.all, 2)
		})
	}
}

// A service that knows keys by their ids is told that of the key which signs, the former one's too.
func TestFormerKeyHasItsOwnID(t *testing.T) {
	former, formerText, formerCertificate, formerThumbprint := clientKey(t)
	_, text, certificate, _ := clientKey(t)
	server := newKeyedServer(t)
	server.knows = &former.PublicKey
	app := &App{
		Definition: &Definition{
			ID: "signs", Kinds: []Kind{KindClientCredentials},
			Endpoints: map[Step]Template{StepToken: Template(server.URL + "/token")},
		},
		ClientID: "app-1", ClientSecret: NewSecret(text), ClientKeyID: "new", ClientCertificate: certificate,
		FormerSecret: NewSecret(formerText), FormerKeyID: "old", FormerCertificate: formerCertificate,
	}
	client := NewClient(server.Client(), time.Now, "test")
	res, err := client.Resolve(t.Context(), app, KindClientCredentials, nil)
	require.NoError(t, err)
	_, err = client.Issue(t.Context(), app, IssueRequest{Kind: KindClientCredentials, Resolved: res})
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"kid": "old", "typ": "JWT", "x5t#S256": formerThumbprint}, server.header[0])
	signed, err := jose.ParseSignedCompact(server.seen[0].Get("client_assertion"), []jose.SignatureAlgorithm{jose.ES256})
	require.NoError(t, err)
	assert.Equal(t, "new", signed.Signatures[0].Header.KeyID)
}

// A certificate is one whatever the secret is, or is not yet: reads answer it, so a key that stands there would be
// told.
func TestCertificateIsOneWithoutAKey(t *testing.T) {
	_, text, certificate, _ := clientKey(t)
	for _, wrong := range []string{
		text, certificate + text, text + certificate, "words\n" + certificate,
		certificate + "words",
	} {
		app := &App{Definition: &Definition{Name: "Test"}, ClientCertificate: wrong}
		err := app.CheckClientKey()
		require.ErrorContains(t, err, "client_certificate")
		assert.NotContains(t, err.Error(), "MI")
	}
	require.NoError(t, (&App{Definition: &Definition{Name: "Test"}, ClientCertificate: certificate}).CheckClientKey())
}

// Where the app proves itself beside the key, a refusal of the app is not the key's.
func TestRefusedAppIsNotTheKeys(t *testing.T) {
	for word, class := range map[string]Class{
		"invalid_client": Misconfigured, "unauthorized_client": Misconfigured, "invalid_grant": Rejected,
	} {
		server := newHeard(t, func(url.Values) (int, string) { return 401, `{"error":"` + word + `"}` })
		definition, err := Decode("acme.yaml", []byte(`id: acme
name: Acme
kinds: [key_exchange]
key: {fields: [{name: username, required: true}, {name: password, required: true, secret: true}]}
endpoints: {token: https://acme.example.com/token}
client: {auth: [post]}
token:
  by_kind: {key_exchange: {grant_type: password, params: {username: '{username}', password: '{password}'}}}
`))
		require.NoError(t, err)
		app := &App{
			Definition: definition, ClientID: "app-1", ClientSecret: NewSecret("words"),
			Endpoints: map[Step]string{StepToken: server.URL},
		}
		client := NewClient(server.Client(), time.Now, "test")
		res, err := client.Resolve(t.Context(), app, KindKeyExchange, nil)
		require.NoError(t, err)
		_, err = client.Issue(t.Context(), app, IssueRequest{Kind: KindKeyExchange, Resolved: res, Key: map[string]Secret{
			"username": NewSecret("ada"), "password": NewSecret("pass"),
		}})
		var failure *Error
		require.ErrorAs(t, err, &failure)
		assert.Equal(t, class, failure.Class, word)
	}
}

// A token that is bought with the operator's secret alone is the app's, whatever else the connection holds.
func TestOperatorsSecretBuysForTheApp(t *testing.T) {
	const text = `id: acme
name: Acme
kinds: [key_exchange, key_pair]
check: none
key:
  fields:
    - {name: master, set_by: provider, required: true, secret: true}
    - {name: tenant, required: true}
    - {name: signing, secret: true, handed_out: true}
endpoints: {token: https://acme.example.com/token}
token: {auth: none, params: {tenant: '{tenant}', password: '{master}'}}
`
	definition, err := Decode("acme.yaml", []byte(text))
	require.NoError(t, err)
	assert.True(t, definition.OfTheApp(KindKeyExchange), "or anybody's connection had what is the operator's")
	assert.False(t, definition.BuysWithKey(KindKeyExchange))
	signing := strings.Replace(text, "tenant: '{tenant}',", "signature: '{signing}',", 1)
	definition, err = Decode("acme.yaml", []byte(signing))
	require.NoError(t, err)
	assert.True(t, definition.BuysWithKey(KindKeyExchange), "without its own nothing is bought")
}

// The account's scopes are not the app's: the next token of the app is asked for as the first one was.
func TestBrokeredTokensAreAskedForAlike(t *testing.T) {
	for _, told := range []string{"", `,"scope":"mail.read"`} {
		server := newHeard(t, func(url.Values) (int, string) {
			return 200, `{"access_token":"acc","expires_in":60` + told + `}`
		})
		definition, err := Decode("acme.yaml", []byte(`id: acme
name: Acme
kinds: [brokered]
endpoints: {token: https://acme.example.com/token, upgrade: https://acme.example.com/account}
scopes: {default: [accounts]}
client: {auth: [post]}
upgrade: {method: POST, auth: bearer}
`))
		require.NoError(t, err)
		app := &App{
			Definition: definition, ClientID: "app-1", ClientSecret: NewSecret("words"),
			Endpoints: map[Step]string{StepToken: server.URL, StepUpgrade: server.URL},
		}
		client := NewClient(server.Client(), time.Now, "test")
		res, err := client.Resolve(t.Context(), app, KindBrokered, nil)
		require.NoError(t, err)
		g, err := client.Issue(t.Context(), app, IssueRequest{
			Kind: KindBrokered, Resolved: res, Scopes: app.ScopesOfTheApp(),
		})
		require.NoError(t, err)
		_, err = client.Refresh(t.Context(), app, res, KindBrokered, g)
		require.NoError(t, err)
		require.Len(t, server.forms, 4)
		assert.Equal(t, "accounts", server.forms[0].Get("scope"))
		assert.Equal(t, server.forms[0], server.forms[2])
	}
}

// What a run-time definition shows of a connection is no token, wherever its kinds say that tokens stand.
func TestRuntimeDefinitionsShowNoTokenOfAKind(t *testing.T) {
	const base = `kinds: [client_credentials]
endpoints: {token: https://acme.example.com/token}
`
	for name, more := range map[string]string{
		"scopes": `token: {by_kind: {client_credentials: {answer: {access_token: [t], scope: [t]}}}}
`,
		"the account": `token: {by_kind: {client_credentials: {answer: {access_token: [data.t]}}}}
account: {id: ['token:data.t']}
`,
		"the account, of another answer": `token: {by_kind: {client_credentials: {answer: {refresh_token: [data.r]}}}}
account: {label: ['token:data.r']}
`,
		"a capture": `token: {by_kind: {client_credentials: {answer: {access_token: [data.t]}}}}
connection_config: [{name: shown, from: token, path: [data.t]}]
`,
		"names of what is reached": `inputs: [{name: tenant, set_by: connection, required: true, pattern: '[a-z]+'}]
endpoints: {token: 'https://acme.example.com/{tenant}', reaches: https://acme.example.com/keys}
reaches: {auth: client, list: keys, id: id, name: access_token, input: tenant}
`,
		"ids of what is reached": `inputs: [{name: tenant, set_by: connection, required: true, pattern: '[a-z]+'}]
endpoints: {token: 'https://acme.example.com/{tenant}', reaches: https://acme.example.com/keys}
reaches: {auth: client, list: keys, id: client_secret, input: tenant}
`,
	} {
		t.Run(name, func(t *testing.T) {
			text := base
			if strings.Contains(more, "endpoints:") {
				text = "kinds: [client_credentials]\n"
			}
			_, err := emptyRegistry(t).DecodeRuntime("mine", []byte("name: Mine\n"+text+more))
			require.ErrorContains(t, err, "a token or a secret by its name")
		})
	}
}

// Claims hold texts as they are, whatever is in them.
func TestClaimsHoldWhatIsWritten(t *testing.T) {
	key, text, _, _ := clientKey(t)
	for _, value := range []string{
		"a\x00b", "a\nb", `"}],"admin":"yes`, "{pem}", "{+pem}", strings.Repeat("x", 60<<10),
		"<\u2028>",
	} {
		a := &Assertion{
			Alg: "ES256", Key: "pem", TTL: Duration{D: time.Minute}, Claims: map[string]Template{"sub": "{who}"},
			Lists: map[string][]Template{"aud": {"{who}", "{nobody}"}}, Header: map[string]Template{"kid": "{who}"},
		}
		token, _, err := a.sign(map[string]string{"pem": text, "who": value}, time.Now())
		require.NoError(t, err)
		claims, header := openedBy(t, &key.PublicKey, token.Reveal())
		assert.Equal(t, value, claims["sub"])
		assert.Equal(t, []any{value}, claims["aud"])
		assert.Equal(t, value, header)
		assert.Len(t, claims, 4)
	}
}

func openedBy(t *testing.T, key *ecdsa.PublicKey, token string) (claims map[string]any, kid string) {
	t.Helper()
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	require.NoError(t, err)
	payload, err := signed.Verify(key)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(payload, &claims))
	return claims, signed.Signatures[0].Header.KeyID
}

func emptyRegistry(t *testing.T) *Registry {
	t.Helper()
	r, err := NewRegistry(fstest.MapFS{})
	require.NoError(t, err)
	return r
}

// No section of a definition takes what is secret to where it is shown, to a browser, or to applications.
func TestSecretsOfKindsGoNowhereElse(t *testing.T) {
	const text = `id: acme
name: Acme
kinds: [jwt_bearer, client_credentials]
key:
  fields:
    - {name: master, set_by: provider, required: true, secret: true, multiline: true}
inputs: [{name: tenant, set_by: connection, required: true, pattern: '[a-z]+'}]
assertion: {alg: RS256, key: master, claims: {iss: '{client_id}'}, ttl: 1h}
endpoints:
  token: https://acme.example.com/{tenant}
  install: https://acme.example.com/install
  reaches: https://acme.example.com/all
install: {kinds: [jwt_bearer], params: {app: '{client_id}'}}
reaches: {auth: assertion, list: all, id: id, input: tenant}
token: {by_kind: {jwt_bearer: {auth: none}}}
`
	_, err := Decode("acme.yaml", []byte(text))
	require.NoError(t, err)
	for name, change := range map[string][2]string{
		"the browser's parameters":  {"app: '{client_id}'", "app: '{master}'"},
		"the browser's, the app's":  {"app: '{client_id}'", "app: '{client_secret}'"},
		"the browser's, signed":     {"app: '{client_id}'", "app: '{assertion}'"},
		"the browser's address":     {"example.com/install", "example.com/{master}"},
		"claims":                    {"iss: '{client_id}'", "iss: '{master}'"},
		"claims, the app's":         {"iss: '{client_id}'", "iss: '{client_secret}'"},
		"claims, signed":            {"iss: '{client_id}'", "iss: '{assertion}'"},
		"lists of claims":           {"ttl: 1h", "ttl: 1h, claim_lists: {aud: ['{master}']}"},
		"a header":                  {"ttl: 1h", "ttl: 1h, header: {kid: '{master}'}"},
		"the name of an algorithm":  {"ttl: 1h", "ttl: 1h, header: {alg: none}"},
		"a header that changes JWS": {"ttl: 1h", "ttl: 1h, header: {b64: 'false'}"},
		"what the client signs": {
			"token: {by_kind",
			"client: {auth: [private_key_jwt], assertion: {claims: {x: '{master}'}}}\ntoken: {by_kind",
		},
		"what the client signs, b64": {
			"token: {by_kind",
			"client: {auth: [private_key_jwt], assertion: {header: {b64: 'false'}}}\ntoken: {by_kind",
		},
		"scopes":                    {"auth: none}", "auth: none, scopes: ['{master}']}"},
		"scopes, signed":            {"auth: none}", "auth: none, scopes: ['{assertion}']}"},
		"what applications send":    {"token: {by_kind", "send: {headers: {X: '{assertion}'}}\ntoken: {by_kind"},
		"where applications call":   {"token: {by_kind", "api_base: 'https://acme.example.com/{master}'\ntoken: {by_kind"},
		"an input of any text":      {", pattern: '[a-z]+'", ""},
		"signed for the other kind": {"auth: none}", "auth: none}, client_credentials: {params: {a: '{assertion}'}}"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, text, change[0])
			_, err := Decode("acme.yaml", []byte(strings.Replace(text, change[0], change[1], 1)))
			require.Error(t, err)
		})
	}
}

// A refused key is plainly refused; what is too large is no grant; and what the app gets for itself is not traded.
func TestIssueOfKinds(t *testing.T) {
	definition, err := Decode("acme.yaml", []byte(`id: acme
name: Acme
kinds: [key_exchange, client_credentials]
key: {fields: [{name: password, required: true, secret: true}]}
endpoints: {token: https://acme.example.com/token, upgrade: https://acme.example.com/better}
client: {auth: [post]}
token: {by_kind: {key_exchange: {auth: none, params: {password: '{password}'}}}}
upgrade: {method: POST, auth: bearer}
`))
	require.NoError(t, err)
	answer, status := "", 200
	server := newHeard(t, func(url.Values) (int, string) { return status, answer })
	app := &App{
		Definition: definition, ClientID: "app-1", ClientSecret: NewSecret("words"),
		Endpoints: map[Step]string{StepToken: server.URL, StepUpgrade: server.URL + "/better"},
	}
	client := NewClient(server.Client(), time.Now, "test")
	issue := func(kind Kind, key map[string]Secret) error {
		res, err := client.Resolve(t.Context(), app, kind, nil)
		require.NoError(t, err)
		_, err = client.Issue(t.Context(), app, IssueRequest{Kind: kind, Resolved: res, Key: key})
		return err
	}
	key := map[string]Secret{"password": NewSecret("pass")}
	var failure *Error
	for _, word := range []string{"invalid_client", "invalid_scope"} {
		answer, status = `{"error":"`+word+`"}`, 401
		if word == "invalid_scope" {
			status = 400
		}
		require.ErrorAs(t, issue(KindKeyExchange, key), &failure)
		assert.True(t, failure.OfKey, word)
		assert.Equal(t, word == "invalid_scope", failure.SaysNo, "whether it is in doubt what is refused")
		require.ErrorAs(t, issue(KindClientCredentials, nil), &failure)
		assert.False(t, failure.OfKey, word)
		assert.Equal(t, Misconfigured, failure.Class)
	}
	status, answer = 200, `{"access_token":"acc"}`
	server.all = nil
	require.NoError(t, issue(KindClientCredentials, nil))
	assert.Len(t, server.all, 1)
	require.NoError(t, issue(KindKeyExchange, key))
	assert.Len(t, server.all, 3)
	var scopes []string
	for i := range 200 {
		scopes = append(scopes, fmt.Sprint(i)+strings.Repeat("s", 1000))
	}
	answer = `{"access_token":"acc","scope":"` + strings.Join(scopes, " ") + `"}`
	require.ErrorAs(t, issue(KindClientCredentials, nil), &failure)
	assert.Equal(t, ReasonGrantTooLarge, failure.Reason)
}

// A grant and the key that bought it fit into one entry together.
func TestGrantWithItsKeyIsBounded(t *testing.T) {
	key := map[string]Secret{
		"file":  NewSecret(strings.Repeat("k", 60<<10)),
		"other": NewSecret(strings.Repeat("k", 30<<10)),
	}
	assert.Nil(t, (&Grant{Key: key, AccessToken: NewSecret(strings.Repeat("a", maxToken))}).tooLarge(StepToken))
	grant := &Grant{Config: map[string]string{"a": strings.Repeat("c", 100<<10)}}
	assert.Nil(t, grant.tooLarge(StepToken))
	grant.Key = key
	assert.NotNil(t, grant.tooLarge(StepToken))
}

// A consent without a code is asked for at a safe address alone, with our state whatever else stands there.
func TestInstallURLIsSafe(t *testing.T) {
	app := &App{
		Definition: &Definition{
			ID: "acme", Name: "Acme", Kinds: []Kind{KindClientCredentials},
			Install: &Install{
				Kinds:  []Kind{KindClientCredentials},
				Params: map[string]Template{"app": "{client_id}", "scope": "{scopes}", "back": "{redirect_uri}"},
			},
		},
		ClientID: "app-1",
	}
	at := func(endpoint string) (string, error) {
		app.Endpoints = map[Step]string{StepInstall: endpoint}
		return InstallURL(app, AuthCodeURLRequest{
			State: "state-1", RedirectURI: "https://vault.example.com/back", Scopes: []string{"a", "b"},
		})
	}
	for _, endpoint := range []string{"http://acme.example.com/install", "", "https://{tenant}/install"} {
		_, err := at(endpoint)
		require.Error(t, err, endpoint)
	}
	text, err := at("https://acme.example.com/install?state=theirs&kept=1")
	require.NoError(t, err)
	asked, err := url.Parse(text)
	require.NoError(t, err)
	assert.Empty(t, asked.Fragment)
	assert.Equal(t, url.Values{
		"state": {"state-1"}, "kept": {"1"}, "app": {"app-1"}, "scope": {"a b"}, "back": {"https://vault.example.com/back"},
	}, asked.Query())
}

// What a service lists of an app's reach is taken as far as the input takes it, a hundred at most.
func TestReachedIsBounded(t *testing.T) {
	answer := ""
	server := newHeard(t, func(url.Values) (int, string) { return 200, answer })
	app := &App{
		Definition: &Definition{
			ID: "acme", Name: "Acme", Kinds: []Kind{KindClientCredentials},
			Inputs:  []Input{{Name: "tenant", Pattern: "[a-z0-9]+"}},
			Reaches: &Reaches{Call: Call{Auth: "client"}, ID: "id", Name: "name", Input: "tenant"},
		},
		ClientID: "app-1", ClientSecret: NewSecret("words"), Endpoints: map[Step]string{StepReaches: server.URL},
	}
	client := NewClient(server.Client(), time.Now, "test")
	var all []string
	for i := range 101 {
		all = append(all, fmt.Sprintf(`{"id":"t%d","name":"a\u202e\nb"}`, i))
	}
	all = append(all, `{"id":"UPPER"}`, `{"id":""}`, `{"id":"`+strings.Repeat("x", maxChoiceID+1)+`"}`, `7`, `null`)
	answer = "[" + strings.Join(all, ",") + "]"
	found, more, err := client.Reached(t.Context(), app)
	require.NoError(t, err)
	assert.Len(t, found, 100)
	assert.True(t, more)
	assert.NotContains(t, found[0].Name, "\u202e")
	assert.NotContains(t, found[0].Name, "\n")
	answer = "[" + strings.Join(all[99:], ",") + "]"
	found, more, err = client.Reached(t.Context(), app)
	require.NoError(t, err)
	assert.Len(t, found, 2)
	assert.False(t, more)
	for _, answer = range []string{`{"id":"t1"}`, `"t1"`, `{}`} {
		_, _, err = client.Reached(t.Context(), app)
		require.Error(t, err)
	}
}
