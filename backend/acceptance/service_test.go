package acceptance

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// patience is how long a test waits for what must come by itself.
const patience = time.Minute

// appRedirect is where the services of these tests send the browser, each below a path of its own. Nobody listens: the
// tests carry the answer.
const appRedirect = "http://127.0.0.1/finished/"

// service is a provider in the test's own process, for faults that no real server shows on demand. It rotates refresh
// tokens, and kills the grant when one is spent twice.
type service struct {
	*engine
	*providertest.Server
	provider string
}

// newService starts a service and configures it as the mount's provider of that name.
func (e *engine) newService(t *testing.T, provider string, options ...providertest.Option) *service {
	t.Helper()
	s := &service{engine: e, Server: providertest.New(t, options...), provider: provider}
	e.write(t, "providers/"+provider, map[string]any{
		"definition": "oauth2", "client_id": providertest.ClientID, "client_secret": providertest.ClientSecret,
		"client_auth": "basic",
		"scopes":      "read", "redirect_uris": appRedirect + provider,
		"endpoints": map[string]string{
			"authorize": s.URL + "/authorize", "token": s.URL + "/token", "identity": s.URL + "/userinfo",
		},
	})
	return s
}

// consent starts a flow and gives what an exchange takes to finish it.
func (s *service) consent(t *testing.T, name string) map[string]any {
	t.Helper()
	flow := s.write(t, "auth-code-url/"+name, map[string]any{
		"provider": s.provider, "redirect_uri": appRedirect + s.provider,
	})
	answer := map[string]any{}
	for field, value := range s.Consent(t, flow["url"].(string)) {
		answer[field] = value
	}
	return answer
}

// adopt makes a connection and gives its first access token.
func (s *service) adopt(t *testing.T, name string) string {
	t.Helper()
	connected := s.write(t, "exchange", s.consent(t, name))
	require.Equal(t, "active", connected["status"])
	return s.token(t, name)
}

// elsewhere gives a refresh token that was obtained with the app, but not by the engine.
func (s *service) elsewhere(t *testing.T) string {
	t.Helper()
	app := &oauth2.Config{
		ClientID: providertest.ClientID, ClientSecret: providertest.ClientSecret, RedirectURL: appRedirect,
		Scopes: []string{"read"},
		Endpoint: oauth2.Endpoint{
			AuthURL: s.URL + "/authorize", TokenURL: s.URL + "/token", AuthStyle: oauth2.AuthStyleInHeader,
		},
	}
	tokens, err := app.Exchange(t.Context(), s.Consent(t, app.AuthCodeURL("a state of theirs"))["code"])
	require.NoError(t, err)
	require.NotEmpty(t, tokens.RefreshToken)
	return tokens.RefreshToken
}

func (e *engine) token(t *testing.T, name string) string {
	t.Helper()
	return e.read(t, "creds/"+name)["access_token"].(string)
}

// renew has a credential replaced though it lives. One that changed less than restless ago is the answer already.
func (e *engine) renew(ctx context.Context, name string) (*api.Secret, error) {
	return e.vault.Client.Logical().WriteWithContext(ctx, e.path+"/refresh/"+name, nil)
}

const (
	// restless is longer than a refresh answers for the one before it.
	restless = 11 * time.Second

	// soonest is longer than a token that lives for replaceable, or shorter, is kept from readers who ask for min_ttl.
	soonest     = 31 * time.Second
	replaceable = 2 * time.Minute
)

// ages waits until the credentials of connections have been there for so long, as storage tells in whole seconds.
func (e *engine) ages(t *testing.T, age time.Duration, names ...string) {
	t.Helper()
	for _, name := range names {
		rotated, err := time.Parse(time.RFC3339, e.read(t, "connections/"+name)["last_rotation"].(string))
		require.NoError(t, err)
		require.Eventually(t, func() bool { return time.Since(rotated) >= age }, age+patience, 20*time.Millisecond)
	}
}

// insist reads a credential that is to live for so long. It tells the warnings too.
func (e *engine) insist(
	ctx context.Context, name string, life time.Duration,
) (token string, warnings []string, err error) {
	answer, err := e.vault.Client.Logical().ReadWithDataWithContext(ctx, e.path+"/creds/"+name, url.Values{
		"min_ttl": {life.String()},
	})
	if err != nil {
		return "", nil, err
	}
	token, _ = answer.Data["access_token"].(string)
	return token, answer.Warnings, nil
}

// serves waits until a read answers a token for which good holds, and gives that token.
func (e *engine) serves(t *testing.T, name string, good func(token string) bool) (token string) {
	t.Helper()
	require.Eventually(t, func() bool {
		answer, err := e.vault.Client.Logical().ReadWithContext(t.Context(), e.path+"/creds/"+name)
		if err != nil || answer == nil {
			return false
		}
		token, _ = answer.Data["access_token"].(string)
		return good(token)
	}, patience, 20*time.Millisecond, "creds/%s does not come to serve what is expected; it is %v", name,
		e.read(t, "connections/"+name))
	return token
}

// expires waits until a connection's token is dead: where it was issued, and by our clock in whole seconds.
func (e *engine) expires(t *testing.T, name string, alive func(token string) bool) {
	t.Helper()
	c := e.read(t, "creds/"+name)
	expiry, err := time.Parse(time.RFC3339, c["expire_time"].(string))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		return time.Now().After(expiry.Add(time.Second)) && !alive(c["access_token"].(string))
	}, patience, 20*time.Millisecond)
}

// stands asserts the status of a connection and its reason.
func (e *engine) stands(t *testing.T, name, status, reason string) {
	t.Helper()
	c := e.read(t, "connections/"+name)
	assert.Equal(t, []any{status, reason}, []any{c["status"], c["status_reason"]}, "of %s, whose last error is %v", name,
		c["last_error"])
}

// answer is one answer of a service that was made and has not left.
type answer struct {
	made chan struct{} // closed when the service has done what it was asked
	sent chan struct{} // close it to let the answer go
}

// late does what is asked at once, and keeps the answer.
func late() (*answer, providertest.Behavior) {
	a := &answer{made: make(chan struct{}), sent: make(chan struct{})}
	return a, func(_ *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc) {
		kept := httptest.NewRecorder()
		behave(kept, r)
		close(a.made)
		select {
		case <-a.sent:
		case <-r.Context().Done():
			return
		}
		w.Header().Set("Content-Type", kept.Header().Get("Content-Type"))
		w.WriteHeader(kept.Code)
		_, _ = w.Write(kept.Body.Bytes())
	}
}

// within waits for something to be closed.
func within(t *testing.T, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		require.Fail(t, "it has not come to this: "+what)
	}
}

// meanwhile runs something that blocks; the channel closes at its end.
func meanwhile(run func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		run()
	}()
	return done
}

// received waits until an OpenID provider has handled so many refreshes, whether or not it has answered them.
func received(t *testing.T, server *stack.OIDC, refreshes int) {
	t.Helper()
	require.Eventually(t, func() bool {
		counts, err := server.Counts(t.Context())
		return err == nil && counts.Received["refresh_token"] == refreshes
	}, patience, 20*time.Millisecond, "the provider does not receive %d refreshes", refreshes)
}

// refreshes asserts how many refreshes an OpenID provider has handled, and how many it has answered with tokens.
func refreshes(t *testing.T, server *stack.OIDC, received, answered int) {
	t.Helper()
	counts, err := server.Counts(t.Context())
	require.NoError(t, err)
	assert.Equal(t, received, counts.Received["refresh_token"], "refreshes received")
	assert.Equal(t, answered, counts.Answered["refresh_token"], "refreshes answered")
}

// ownVault starts a Vault for a test that would disturb the others on the one they share.
func ownVault(t *testing.T) *stack.Vault {
	t.Helper()
	v, err := stack.StartVaultDev(t.Context(), suite.tools, stack.VaultOptions{})
	require.NoError(t, err)
	t.Cleanup(v.Stop)
	return v
}
