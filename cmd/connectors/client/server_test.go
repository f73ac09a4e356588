package client

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func serverAt(t *testing.T, vault *httptest.Server, trusts *httptest.Server) *Server {
	t.Helper()
	config := api.DefaultConfig()
	config.Address, config.MaxRetries = vault.URL, 0
	config.HttpClient.Transport = trusts.Client().Transport
	c, err := api.NewClient(config)
	require.NoError(t, err)
	c.SetToken("a token")
	return &Server{vault: c}
}

// What everybody may ask is asked without the token, and followed nowhere.
func TestServerAsksWithoutTheToken(t *testing.T) {
	var tokens []string
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tokens = append(tokens, r.Header.Get("X-Vault-Token"))
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "https://elsewhere.example.com/", http.StatusFound)
			return
		}
		w.Header().Set("Date", "Sun, 01 Mar 2026 12:00:00 GMT")
		_, _ = w.Write([]byte(`{"version": "1.21.0", "initialized": true, "standby": true}`))
	})
	vault := httptest.NewTLSServer(handler)
	defer vault.Close()
	s := serverAt(t, vault, vault)
	health, err := s.Health(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []any{"1.21.0", true, false, true}, []any{
		health.Version, health.Initialized, health.Sealed, health.Standby,
	})
	assert.Equal(t, time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), health.Date)
	assert.WithinDuration(t, time.Now(), health.Asked, time.Minute)
	assert.NotZero(t, health.TLSVersion)
	assert.Equal(t, vault.Certificate().NotAfter, health.CertExpiry)

	page, err := s.Page(t.Context(), vault.URL+"/away")
	require.NoError(t, err)
	assert.Equal(t, []any{302, "https://elsewhere.example.com/"}, []any{page.Status, page.Header.Get("Location")})
	assert.Equal(t, []string{"", ""}, tokens)
}

// What answers and is no Vault is told so.
func TestServerIsNoVault(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("<title>Welcome</title>"))
	}))
	defer other.Close()
	_, err := serverAt(t, other, other).Health(t.Context())
	assert.ErrorContains(t, err, "no Vault")
}

// A page elsewhere may have a certificate of Vault's CA too.
func TestPageElsewhere(t *testing.T) {
	nothing := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("a page")) })
	vault, public := httptest.NewServer(nothing), httptest.NewTLSServer(nothing)
	defer vault.Close()
	defer public.Close()
	page, err := serverAt(t, vault, public).Page(t.Context(), public.URL+"/v1/connectors/connect")
	require.NoError(t, err)
	assert.Equal(t, "a page", page.Body)
	_, err = serverAt(t, vault, vault).Page(t.Context(), public.URL+"/v1/connectors/connect")
	assert.ErrorContains(t, err, "certificate")
}

func TestMountAddress(t *testing.T) {
	vault := httptest.NewServer(http.NotFoundHandler())
	defer vault.Close()
	s := serverAt(t, vault, vault)
	assert.Equal(t, vault.URL+"/v1/team/connectors", s.MountAddress("team/connectors"))
	s.vault.SetNamespace("sales/")
	assert.Equal(t, vault.URL+"/v1/sales/connectors", s.MountAddress("connectors"))
}
