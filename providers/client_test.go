package providers_test

import (
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

const redirectURI = "https://vault.example.test/v1/connectors/callback/test"

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// newClient returns a client with connections of its own.
func newClient(t *testing.T, now func() time.Time) *providers.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return providers.NewClient(&http.Client{Transport: transport}, now, "connectors-test/1")
}

// flow is one attempt to connect at a server.
type flow struct {
	client *providers.Client
	app    *providers.App
	res    providers.Resolved
	begin  providers.AuthCodeURLRequest
	finish providers.ExchangeRequest
}

// begin resolves app and lets the person consent.
func begin(t *testing.T, server *providertest.Server, client *providers.Client, app *providers.App,
	scopes ...string,
) *flow {
	t.Helper()
	res, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
	require.NoError(t, err)
	f := &flow{client: client, app: app, res: res}
	f.begin = providers.AuthCodeURLRequest{
		Resolved: res, State: "state-of-this-flow", Nonce: "nonce-of-this-flow", RedirectURI: redirectURI, Scopes: scopes,
		Verifier: providers.NewSecret("a-verifier-that-is-at-least-43-characters-long"),
	}
	address, err := providers.AuthCodeURL(app, f.begin)
	require.NoError(t, err)
	callback := server.Consent(t, address)
	f.finish = providers.ExchangeRequest{
		Resolved: res, Code: providers.NewSecret(callback["code"]), Verifier: f.begin.Verifier, Nonce: f.begin.Nonce,
		RedirectURI: redirectURI, Scopes: scopes, Callback: callback,
	}
	return f
}

func (f *flow) exchange(t *testing.T) *providers.Grant {
	t.Helper()
	g, err := f.client.Exchange(t.Context(), f.app, f.finish)
	require.NoError(t, err)
	return g
}

// failure is the *Error in err.
func failure(t *testing.T, err error) *providers.Error {
	t.Helper()
	var e *providers.Error
	require.ErrorAs(t, err, &e)
	return e
}

// nowhere is an address where nothing listens.
func nowhere(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return "http://" + listener.Addr().String()
}

// ofPerson is the kind of most grants here.
const ofPerson = providers.KindAuthorizationCode

func TestConnectRefreshIdentifyRevoke(t *testing.T) {
	clock := newClock()
	server := providertest.New(t, providertest.WithClock(clock.Now))
	client := newClient(t, clock.Now)
	f := begin(t, server, client, server.App(), "read", "write")
	g := f.exchange(t)
	assert.Equal(t, []string{"read", "write"}, g.Scopes)
	assert.Equal(t, "Bearer", g.TokenType)
	assert.Equal(t, time.Hour, g.Lifetime())

	require.NoError(t, client.Identify(t.Context(), f.app, f.res, ofPerson, g))
	assert.Equal(t, providers.Account{
		ID: providertest.AccountID, Label: providertest.AccountName, Email: "ada@example.test",
	}, g.Account)

	clock.Advance(time.Hour)
	_, err := client.Check(t.Context(), f.app, f.res, ofPerson, g)
	assert.Equal(t, providers.Expired, failure(t, err).Class)
	renewed, err := client.Refresh(t.Context(), f.app, f.res, providers.KindAuthorizationCode, g)
	require.NoError(t, err)
	assert.False(t, renewed.RefreshToken.Equal(g.RefreshToken))
	assert.Equal(t, g.Account, renewed.Account)
	checked, err := client.Check(t.Context(), f.app, f.res, ofPerson, renewed)
	assert.NoError(t, err)
	assert.Equal(t, g.Account, checked.Account)

	require.NoError(t, client.Revoke(t.Context(), f.app, f.res, providers.KindAuthorizationCode, renewed))
	asked := server.Requests("revoke")
	require.Len(t, asked, 1)
	assert.Equal(t, "refresh_token", asked[0].Form.Get("token_type_hint"))
	assert.Equal(t, renewed.RefreshToken.Reveal(), asked[0].Form.Get("token"))
	assert.False(t, server.Alive(renewed.AccessToken.Reveal()))
	assert.Equal(t, "connectors-test/1", asked[0].Header.Get("User-Agent"))
}

func TestClientAuthentication(t *testing.T) {
	for _, test := range []struct {
		style          string
		user, password string // of the Authorization header; none when both are empty
		id, secret     string // in the body
	}{
		{style: "basic", user: "client-1", password: "secret%2Fof%2Bclient+1"},
		{style: "basic_raw", user: "client-1", password: providertest.ClientSecret},
		{style: "secret_as_user", user: providertest.ClientSecret},
		{style: "post", id: "client-1", secret: providertest.ClientSecret},
		{style: "none", id: "client-1"},
	} {
		t.Run(test.style, func(t *testing.T) {
			server := providertest.New(t)
			server.Next(providers.StepToken, providertest.Respond(200, `{"access_token":"tok"}`))
			app := server.App()
			app.ClientAuth = test.style
			client := newClient(t, time.Now)
			res, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
			require.NoError(t, err)
			_, err = client.Issue(t.Context(), app, providers.IssueRequest{Kind: providers.KindClientCredentials, Resolved: res})
			require.NoError(t, err)
			asked := server.Requests("token")
			require.Len(t, asked, 1)
			user, password, _ := (&http.Request{Header: asked[0].Header}).BasicAuth()
			assert.Equal(t, test.user, user)
			assert.Equal(t, test.password, password)
			assert.Equal(t, test.id, asked[0].Form.Get("client_id"))
			assert.Equal(t, test.secret, asked[0].Form.Get("client_secret"))
		})
	}
}

func TestJSONBodyAndRenamedParameters(t *testing.T) {
	server := providertest.New(t)
	server.Next(providers.StepToken, providertest.Respond(200, `{"access_token":"tok"}`))
	app := server.App()
	app.ClientAuth = "post"
	app.TokenParams = map[string]string{"audience": "api", "grant_type": "evil"}
	app.Definition.Client.Body = "json"
	app.Definition.Client.Rename = map[string]string{"client_id": "app_id", "client_secret": "secret"}
	app.Definition.Token.Headers = map[string]providers.Template{"Api-Version": "7"}
	client := newClient(t, time.Now)
	res, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
	require.NoError(t, err)
	_, err = client.Issue(t.Context(), app, providers.IssueRequest{Kind: providers.KindClientCredentials, Resolved: res, Scopes: []string{"a"}})
	require.NoError(t, err)
	asked := server.Requests("token")
	require.Len(t, asked, 1)
	assert.JSONEq(t,
		`{"app_id":"client-1","secret":"secret/of+client 1","grant_type":"client_credentials","scope":"a","audience":"api"}`,
		asked[0].Body)
	assert.Equal(t, "application/json", asked[0].Header.Get("Content-Type"))
	assert.Equal(t, "7", asked[0].Header.Get("Api-Version"))
}
