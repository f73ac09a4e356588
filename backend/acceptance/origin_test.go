package acceptance

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// thief listens where an operator's change sends the engine, and keeps all that arrives.
type thief struct {
	url string

	mu       sync.Mutex
	received []string
}

func newThief(t *testing.T) *thief {
	th := &thief{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, err := httputil.DumpRequest(r, true)
		th.mu.Lock()
		defer th.mu.Unlock()
		th.received = append(th.received, string(request))
		if err != nil {
			th.received = append(th.received, err.Error())
		}
		_, _ = io.WriteString(w, `{"access_token": "of the thief", "token_type": "bearer", "sub": "thief"}`)
	}))
	t.Cleanup(server.Close)
	th.url = server.URL
	return th
}

func (th *thief) loot() []string {
	th.mu.Lock()
	defer th.mu.Unlock()
	return th.received
}

// Whoever may write the provider, but knows no secret, must not get one by pointing the engine at a server of theirs.
func TestChangedEndpointsReceiveNothing(t *testing.T) {
	t.Parallel()
	s := newSignIn(t)
	th := newThief(t)
	s.connect(t, "stays", "idp")
	s.connect(t, "goes", "idp")
	token := s.read(t, "creds/stays")["access_token"]
	own := s.start(t, "own", map[string]any{"redirect_uri": s.app.url})
	ours := s.start(t, "ours", nil)
	requests := []map[string]any{
		arguments(s.app.receive(t, stack.NewRobot(person), own["url"])),
		{"flow_id": ours["flow_id"], "confirmation_code": s.arrive(t, person, ours)},
	}

	changes := []map[string]any{
		{"endpoints": map[string]string{
			"token": th.url, "refresh": th.url, "revoke": th.url, "identity": th.url,
			"authorize": th.url, "health": th.url,
		}},
		{"client_secret": "the thief's own"}, // with it the provider would work again, for new grants
	}
	for _, change := range changes {
		s.write(t, "providers/idp", change)
		for _, request := range requests {
			s.refusesWrite(t, http.StatusConflict, `provider "idp" changed since the flow was started`, "exchange", request)
		}
		s.refusesWrite(t, http.StatusConflict, "provider_changed", "refresh/stays", nil)
		served, err := s.vault.Client.Logical().ReadWithDataWithContext(t.Context(), s.path+"/creds/stays",
			map[string][]string{
				"min_ttl": {"24h"},
			})
		require.NoError(t, err)
		assert.Equal(t, token, served.Data["access_token"], "the living token goes on to be served")
		require.Len(t, served.Warnings, 1)
		assert.Contains(t, served.Warnings[0], "needs to be reconnected (provider_changed)")
		metadata := s.read(t, "connections/stays")
		assert.Equal(t, "needs_reconnect", metadata["status"])
		assert.Equal(t, "provider_changed", metadata["status_reason"])
	}
	warnings := s.remove(t, "connections/goes")
	require.Len(t, warnings, 1)
	assert.Contains(t, warnings[0], "was not revoked")
	assert.Empty(t, th.loot())

	s.write(t, "providers/idp", map[string]any{"endpoints": map[string]string{}, "client_secret": appSecret})
	assert.Equal(t, "active", s.read(t, "connections/stays")["status"])
	assert.True(t, s.introspect(t, token))
	assert.Empty(t, s.remove(t, "connections/stays"), "the grant goes where it came from again")
	assert.False(t, s.introspect(t, token))
	assert.Empty(t, th.loot())
}

func TestChangedProviderLosesItsSecret(t *testing.T) {
	t.Parallel()
	s := newSignIn(t)
	th := newThief(t)
	once := s.as(t, s.vault.Token)
	changes := map[string]map[string]any{
		"endpoints": {"endpoints": map[string]string{"token": th.url}},
		"client_id": {"client_id": "of another app"},
		"issuer":    {"issuer": th.url},
	}
	for field, change := range changes {
		t.Run(field, func(t *testing.T) {
			s.write(t, "providers/idp", map[string]any{
				"endpoints": map[string]string{}, "client_id": "basic", "issuer": s.server.Issuer, "client_secret": appSecret,
			})
			require.Equal(t, true, s.read(t, "providers/idp")["client_secret_set"])
			s.write(t, "providers/idp", change)
			provider := s.read(t, "providers/idp")
			assert.Equal(t, false, provider["client_secret_set"])
			assert.Equal(t, false, provider["former_secret_set"])
			// Whether a new flow starts is not the matter here: a new issuer is asked for its metadata, with empty
			// hands.
			_, _ = once.vault.Client.Logical().WriteWithContext(t.Context(), s.path+"/auth-code-url/account", map[string]any{
				"provider": "idp",
			})
			for _, received := range th.loot() {
				assert.NotContains(t, received, appSecret)
			}
		})
	}
}
