package acceptance

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// signIn is a mount with an OpenID provider, and an application to which the provider may send browsers.
type signIn struct {
	*engine
	server *stack.OIDC
	app    *application
}

// newSignIn configures the provider "idp" with the client "basic", and one of the name of each further client.
func newSignIn(t *testing.T, clients ...string) *signIn {
	t.Helper()
	s := &signIn{engine: newEngine(t), app: newApplication(t)}
	redirects := []string{s.app.url}
	for _, client := range clients {
		redirects = append(redirects, s.callback(client))
	}
	s.server = s.newOIDC(t, "idp", "basic", stack.OIDCOptions{RedirectURIs: redirects})
	s.write(t, "providers/idp", map[string]any{"redirect_uris": s.app.url})
	for _, client := range clients {
		s.addProvider(t, client, client)
	}
	return s
}

// addProvider configures another client of the same server, as a provider of its own.
func (s *signIn) addProvider(t *testing.T, name, client string) {
	t.Helper()
	settings := map[string]any{
		"definition": "oidc", "issuer": s.server.Issuer, "client_id": client, "client_auth": client,
		"client_secret": appSecret,
		"scopes":        []string{"openid", "offline_access"}, "authorize_params": map[string]string{"prompt": "consent"},
		"redirect_uris": s.app.url,
	}
	switch client {
	case "public":
		settings["client_auth"] = "none"
		delete(settings, "client_secret")
	case "machine":
		settings["client_auth"], settings["scopes"] = "basic", "read"
		delete(settings, "authorize_params")
	}
	s.write(t, "providers/"+name, settings)
}

// start begins a flow of the provider "idp".
func (s *signIn) start(t *testing.T, name string, more map[string]any) map[string]any {
	t.Helper()
	request := map[string]any{"provider": "idp"}
	maps.Copy(request, more)
	return s.write(t, "auth-code-url/"+name, request)
}

// consent walks somebody's browser from the start of a flow to Vault's callback, without opening that.
func (s *signIn) consent(t *testing.T, login string, flow map[string]any) *http.Request {
	t.Helper()
	back, err := stack.NewRobot(login).Walk(t.Context(), flow["url"].(string), flow["redirect_uri"].(string))
	require.NoError(t, err)
	return back
}

// arrive takes somebody's browser all the way, and gives the confirmation code it is shown.
func (s *signIn) arrive(t *testing.T, login string, flow map[string]any) string {
	t.Helper()
	return confirmationCode(t, open(t, s.consent(t, login, flow)))
}

func confirmationCode(t *testing.T, page *stack.Page) string {
	t.Helper()
	require.Equal(t, http.StatusOK, page.Status)
	code := shownCode.FindStringSubmatch(page.Body)
	require.NotNil(t, code, "the page shows no confirmation code: %s", page.Body)
	return code[1]
}

// brought are the parameters with which a browser comes back, in its query or its form.
func brought(back *http.Request) url.Values {
	if back.Method == http.MethodPost {
		return maps.Clone(back.PostForm)
	}
	return back.URL.Query()
}

// codesSpent counts the token requests that spent an authorization code.
func (s *signIn) codesSpent(t *testing.T) int {
	t.Helper()
	counts, err := s.server.Counts(t.Context())
	require.NoError(t, err)
	return counts.Received["authorization_code"]
}

// arguments makes a request's fields of what a browser brought.
func arguments(query url.Values) map[string]any {
	fields := map[string]any{}
	for name := range query {
		fields[name] = query.Get(name)
	}
	return fields
}

func TestConnectByOwnRedirect(t *testing.T) {
	t.Parallel()
	s := newSignIn(t, "post", "public")
	for provider, client := range map[string]string{"idp": "basic", "post": "post", "public": "public"} {
		t.Run(client, func(t *testing.T) {
			flow := s.start(t, client, map[string]any{"provider": provider, "redirect_uri": s.app.url})
			assert.Equal(t, s.app.url, flow["redirect_uri"])
			brought := s.app.receive(t, stack.NewRobot(person), flow["url"])
			s.refusesWrite(t, http.StatusBadRequest, "finish it with state and code", "exchange", map[string]any{
				"flow_id": flow["flow_id"],
			})
			metadata := s.write(t, "exchange", arguments(brought))
			assert.Equal(t, "active", metadata["status"])
			assert.Equal(t, true, metadata["refreshable"])
			assert.Equal(t, person, metadata["account"].(map[string]any)["id"])
			assert.True(t, knows(t, s.server, s.read(t, "creds/"+client)["access_token"]))
		})
	}
	s.refusesWrite(t, http.StatusBadRequest, "redirect_uri is not on the list", "auth-code-url/other",
		map[string]any{"provider": "idp", "redirect_uri": s.app.url + "/../elsewhere"})
}

func TestConnectByCallback(t *testing.T) {
	t.Parallel()
	s := newSignIn(t, "post", "public")
	for provider, client := range map[string]string{"idp": "basic", "post": "post", "public": "public"} {
		t.Run(client, func(t *testing.T) {
			assert.Equal(t, "active", s.connect(t, client, provider)["status"])
			assert.True(t, knows(t, s.server, s.read(t, "creds/"+client)["access_token"]))
		})
	}

	t.Run("machine", func(t *testing.T) {
		s.addProvider(t, "machine", "machine")
		s.refusesWrite(t, http.StatusForbidden, "takes no connections of kind client_credentials", "connections/machine",
			map[string]any{"kind": "client_credentials"})
		s.write(t, "providers/machine", map[string]any{"kinds": "authorization_code,client_credentials"})
		alice := s.logIn(t, "alice", ownOnly)
		alice.refusesWrite(t, http.StatusForbidden, "client_credentials", "connections/self/machine",
			map[string]any{"provider": "machine", "kind": "client_credentials"})
		metadata := s.write(t, "connections/machine", map[string]any{"kind": "client_credentials"})
		assert.Equal(t, "active", metadata["status"])
		assert.Equal(t, []any{"read"}, metadata["scopes"])
		first := s.read(t, "creds/machine")["access_token"]
		assert.True(t, s.introspect(t, first))
		s.write(t, "refresh/machine", nil)
		counts, err := s.server.Counts(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 1, counts.Received["client_credentials"], "a refresh right after a success answers that success")
	})

	// The metadata of this server offers it. What is posted stands in no log in the clear.
	t.Run("form_post", func(t *testing.T) {
		flow := s.start(t, "posted", nil)
		back := s.consent(t, person, flow)
		require.Equal(t, http.MethodPost, back.Method)
		require.Empty(t, back.URL.RawQuery)
		code := confirmationCode(t, open(t, back))
		assert.Equal(t, "active", s.write(t, "exchange", map[string]any{
			"flow_id": flow["flow_id"], "confirmation_code": code,
		})["status"])
		audit, err := os.ReadFile(s.vault.AuditFile)
		require.NoError(t, err)
		require.Contains(t, string(audit), s.path+"/callback/idp")
		for name, secret := range map[string]string{
			"state": back.PostForm.Get("state"), "authorization code": back.PostForm.Get("code"), "confirmation code": code,
		} {
			require.NotEmpty(t, secret)
			assert.False(t, bytes.Contains(audit, []byte(secret)), "the audit log holds the %s", name)
		}
	})

	t.Run("query", func(t *testing.T) {
		s.write(t, "providers/idp", map[string]any{
			"authorize_params": map[string]string{"prompt": "consent", "response_mode": "query"},
		})
		assert.Equal(t, http.MethodGet, s.consent(t, person, s.start(t, "asked", nil)).Method)
	})
}

func TestConnectByReturnURL(t *testing.T) {
	t.Parallel()
	s := newSignIn(t)
	s.write(t, "providers/idp", map[string]any{"return_urls": s.app.url + "?from=vault"})
	s.refusesWrite(t, http.StatusBadRequest, "return_url is not on the list", "auth-code-url/account",
		map[string]any{"provider": "idp", "return_url": s.app.url})
	flow := s.start(t, "account", map[string]any{"return_url": s.app.url + "?from=vault"})
	page := open(t, s.consent(t, person, flow))
	led := get(t, s.app.url, leadsTo(t, page))
	require.Equal(t, http.StatusOK, led.Status)
	brought := <-s.app.visitor
	assert.Equal(t, "vault", brought.Get("from"))
	assert.Equal(t, flow["flow_id"], brought.Get("flow_id"))
	brought.Del("from")
	assert.Equal(t, "active", s.write(t, "exchange", arguments(brought))["status"])
}

func TestDenied(t *testing.T) {
	t.Parallel()
	s := newSignIn(t)
	flow := s.start(t, "account", nil)
	robot := stack.NewRobot(person)
	robot.Deny = true
	page, err := robot.Visit(t.Context(), flow["url"].(string), s.callback("idp"))
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, page.Status)
	assert.NotRegexp(t, shownCode, page.Body)
	s.refusesWrite(t, http.StatusConflict, "said no (access_denied)", "exchange", map[string]any{
		"flow_id": flow["flow_id"],
	})
	metadata := s.read(t, "connections/account")
	assert.Equal(t, "pending", metadata["status"])
	assert.Equal(t, "denied", metadata["status_reason"])
	s.refusesRead(t, http.StatusConflict, "said no", "creds/account")
	assert.Zero(t, s.codesSpent(t))
}

func TestImport(t *testing.T) {
	t.Parallel()
	s := newSignIn(t)
	elsewhere := &oauth2.Config{
		ClientID: "basic", ClientSecret: appSecret, RedirectURL: s.app.url, Scopes: []string{"openid", "offline_access"},
		Endpoint: oauth2.Endpoint{
			AuthURL: s.server.Issuer + "/auth", TokenURL: s.server.Issuer + "/token", AuthStyle: oauth2.AuthStyleInHeader,
		},
	}
	brought := s.app.receive(t, stack.NewRobot(person), elsewhere.AuthCodeURL("a state of theirs",
		oauth2.SetAuthURLParam("prompt", "consent")))
	theirs, err := elsewhere.Exchange(t.Context(), brought.Get("code"))
	require.NoError(t, err)
	require.NotEmpty(t, theirs.RefreshToken)

	const path = "connections/org/acme/imported"
	request := map[string]any{"provider": "idp", "refresh_token": theirs.RefreshToken}
	alice := s.logIn(t, "alice", ownOnly)
	alice.refusesWrite(t, http.StatusForbidden, "for organizations only", "connections/self/imported", request)
	refreshes(t, s.server, 0, 0)
	s.refusesWrite(t, http.StatusConflict, "nothing was changed", path, map[string]any{
		"provider": "idp", "refresh_token": "of nobody",
	})
	s.absent(t, path)
	refreshes(t, s.server, 1, 0)

	var token any
	for range 2 { // as a configuration tool does
		metadata := s.write(t, path, request)
		assert.Equal(t, "active", metadata["status"])
		assert.Equal(t, person, metadata["account"].(map[string]any)["id"])
		refreshes(t, s.server, 2, 1)
		token = s.read(t, "creds/org/acme/imported")["access_token"]
		assert.NotEqual(t, theirs.AccessToken, token)
		assert.True(t, knows(t, s.server, token))
	}

	s.refusesWrite(t, http.StatusConflict, "nothing was changed", path, map[string]any{"refresh_token": "of nobody"})
	assert.Equal(t, token, s.read(t, "creds/org/acme/imported")["access_token"], "what works stays")
	untried := s.write(t, "connections/untried", map[string]any{
		"provider": "idp", "access_token": "of nobody", "expires_in": "1h", "verify": false,
	})
	assert.Equal(t, "active", untried["status"])
	assert.Equal(t, "of nobody", s.read(t, "creds/untried")["access_token"])
	refreshes(t, s.server, 3, 1)
}

func TestReconnect(t *testing.T) {
	t.Parallel()
	s := newSignIn(t)
	s.connect(t, "account", "idp")
	s.write(t, "connections/account", map[string]any{
		"label": "the team's",
		"tags":  map[string]string{"team": "payments"},
	})
	first := s.read(t, "creds/account")["access_token"]

	again := s.start(t, "account", nil)
	assert.Equal(t, again["expire_time"], s.read(t, "connections/account")["open_flow_until"])
	assert.Equal(t, first, s.read(t, "creds/account")["access_token"], "an open flow leaves it as it is")
	code := s.arrive(t, person, again)
	s.write(t, "exchange", map[string]any{"flow_id": again["flow_id"], "confirmation_code": code})
	second := s.read(t, "creds/account")["access_token"]
	assert.NotEqual(t, first, second)

	other := s.start(t, "account", nil)
	code = s.arrive(t, "bob", other)
	s.refusesWrite(t, http.StatusConflict, "another account than before", "exchange", map[string]any{
		"flow_id": other["flow_id"], "confirmation_code": code,
	})
	assert.Equal(t, second, s.read(t, "creds/account")["access_token"])

	meant := s.start(t, "account", nil)
	code = s.arrive(t, "bob", meant)
	metadata := s.write(t, "exchange", map[string]any{
		"flow_id": meant["flow_id"], "confirmation_code": code, "allow_account_change": true,
	})
	assert.Equal(t, "bob", metadata["account"].(map[string]any)["id"])
	assert.Equal(t, "the team's", metadata["label"])
	assert.Equal(t, map[string]any{"team": "payments"}, metadata["tags"])
}

func TestSessionBinding(t *testing.T) {
	t.Parallel()
	s := newSignIn(t)
	s.write(t, "providers/idp", map[string]any{"require_session_binding": true})
	own := map[string]any{"provider": "idp", "redirect_uri": s.app.url}
	s.refusesWrite(t, http.StatusBadRequest, "asks for session_binding", "auth-code-url/account", own)

	const cookie = "a value in the browser session"
	sum := sha256.Sum256([]byte(cookie))
	own["session_binding"] = base64.RawURLEncoding.EncodeToString(sum[:])
	flow := s.start(t, "account", own)
	request := arguments(s.app.receive(t, stack.NewRobot(person), flow["url"]))
	for _, value := range []string{"", "of another session", own["session_binding"].(string)} {
		request["session_binding_value"] = value
		s.refusesWrite(t, http.StatusForbidden, "does not belong to the session", "exchange", request)
	}
	assert.Zero(t, s.codesSpent(t))
	request["session_binding_value"] = cookie
	assert.Equal(t, "active", s.write(t, "exchange", request)["status"])

	s.write(t, "providers/idp", map[string]any{"return_urls": s.app.url})
	ours := map[string]any{"provider": "idp", "return_url": s.app.url}
	s.refusesWrite(t, http.StatusBadRequest, "asks for session_binding", "auth-code-url/account", ours)
	ours["session_binding"] = own["session_binding"]
	flow = s.start(t, "account", ours)
	request = arguments(leadsTo(t, open(t, s.consent(t, person, flow))))
	s.refusesWrite(t, http.StatusForbidden, "does not belong to the session", "exchange", request)
	request["session_binding_value"] = cookie
	assert.Equal(t, "active", s.write(t, "exchange", request)["status"])
}
