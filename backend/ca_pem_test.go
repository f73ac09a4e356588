package backend

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// authority is a certificate for 127.0.0.1 that is its own root.
type authority struct {
	pem  string
	cert tls.Certificate
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	return authority{
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})),
		tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key},
	}
}

// road is where a provider is reached by TLS, until somebody takes it over who has certificates of their own.
type road struct {
	*httptest.Server
	f            *fixture
	honest, next authority // next is the provider's, one day
	thief        authority

	mu    sync.Mutex
	shows authority // guarded by mu
	taken bool      // guarded by mu
	loot  []string  // guarded by mu; what arrived at the thief
}

func newRoad(t *testing.T, f *fixture) *road {
	t.Helper()
	r := &road{f: f, honest: newAuthority(t), next: newAuthority(t), thief: newAuthority(t)}
	r.shows = r.honest
	provider, err := url.Parse(f.provider.URL)
	require.NoError(t, err)
	honest := httputil.NewSingleHostReverseProxy(provider)
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !r.steals(req) {
			honest.ServeHTTP(w, req)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error":"invalid_client"}`) // which asks for the fallback secret
	}))
	r.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return &tls.Config{Certificates: []tls.Certificate{r.shows.cert}, MinVersion: tls.VersionTLS12}, nil
	}}
	r.Config.SetKeepAlivesEnabled(false)
	r.Config.ErrorLog = nil
	r.StartTLS()
	t.Cleanup(r.Close)
	return r
}

func (r *road) steals(req *http.Request) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.taken {
		return false
	}
	body, _ := io.ReadAll(req.Body)
	req.Body = io.NopCloser(bytes.NewReader(body))
	dump, _ := httputil.DumpRequest(req, true)
	_, password, _ := req.BasicAuth()
	r.loot = append(r.loot, string(dump)+"\n"+password)
	return true
}

// show lets the road answer with another certificate; that of the thief means that it is the thief who answers.
func (r *road) show(a authority) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shows, r.taken = a, a.pem == r.thief.pem
}

func (r *road) stolen() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.loot, "\n")
}

// settings configure a provider at the end of the road.
func (r *road) settings() map[string]any {
	return with(r.f.acme(), map[string]any{
		"ca_pem": r.honest.pem, "endpoints": map[string]any{
			"authorize": r.URL + "/authorize", "token": r.URL + "/token", "revoke": r.URL + "/revoke",
			"identity": r.URL + "/userinfo",
		},
	})
}

// theft tries all by which something of the connection could be sent, and gives what must not be.
func (r *road) theft(t *testing.T) {
	t.Helper()
	f := r.f
	r.show(r.thief)
	f.Advance(time.Minute)
	for _, path := range []string{"refresh/slack", "refresh/parked"} {
		assert.NotEqual(t, http.StatusOK, f.Write(path, nil).Status)
	}
	if started := f.Write("auth-code-url/new", map[string]any{
		"provider": "acme", "redirect_uri": appRedirect,
	}); started.Status < 300 {
		f.Write("exchange", map[string]any{
			"state": query(t, started.Data["url"].(string), "state"), "code": "a code of the thief's",
		}).Refused(t, http.StatusConflict)
	}
	f.Delete("connections/slack", nil).OK(t)
}

func (r *road) secrets(t *testing.T) []string {
	t.Helper()
	asked := append(r.f.provider.Requests(providers.StepToken), r.f.provider.Requests(providers.StepRefresh)...)
	secrets := []string{
		providertest.ClientSecret, url.QueryEscape(providertest.ClientSecret), "refresh_token=", "code-", "access-",
	}
	for _, request := range asked {
		for _, field := range []string{"refresh_token", "code", "code_verifier"} {
			if v := request.Form.Get(field); v != "" {
				secrets = append(secrets, v)
			}
		}
	}
	return append(secrets, r.f.Read("creds/slack", nil).OK(t)["access_token"].(string))
}

// Whoever may write the provider and has the network in hand, but not the client secret, gets nothing by naming
// certificates of their own.
func TestChangedCertificatesReceiveNothing(t *testing.T) {
	for name, c := range map[string]struct {
		public bool
		write  func(r *road) []map[string]any
		status []int
	}{
		"without the secret": {
			false, func(r *road) []map[string]any { return []map[string]any{{"ca_pem": r.thief.pem}} }, []int{403},
		},
		"beside those of before": {
			false, func(r *road) []map[string]any {
				return []map[string]any{{"ca_pem": r.honest.pem + r.thief.pem}}
			}, []int{403},
		},
		"with a secret that was made up": {
			false, func(r *road) []map[string]any {
				return []map[string]any{{"ca_pem": r.thief.pem, "client_secret": "made up"}}
			}, []int{200},
		},
		"with a secret that was made up, twice": {
			false, func(r *road) []map[string]any {
				return []map[string]any{
					{"ca_pem": r.thief.pem, "client_secret": "made up"}, {"client_secret": "made up again"},
				}
			}, []int{200, 200},
		},
		"with no secret": {
			false, func(r *road) []map[string]any {
				return []map[string]any{{"ca_pem": r.thief.pem, "client_secret": ""}}
			}, []int{200},
		},
		"with another endpoint": {
			false, func(r *road) []map[string]any {
				return []map[string]any{{"ca_pem": r.thief.pem, "endpoints": map[string]any{
					"authorize": r.URL + "/authorize", "token": r.URL + "/token?x",
				}}}
			}, []int{403},
		},
		"of a public client": {
			true, func(r *road) []map[string]any { return []map[string]any{{"ca_pem": r.thief.pem}} }, []int{200},
		},
		"of a public client, there and back": {
			true, func(r *road) []map[string]any {
				return []map[string]any{{"ca_pem": ""}, {"ca_pem": r.honest.pem}, {"ca_pem": r.thief.pem}}
			}, []int{200, 200, 200},
		},
		"of a public client that gets a secret": {
			true, func(r *road) []map[string]any {
				return []map[string]any{{"ca_pem": r.thief.pem, "client_secret": "made up"}}
			}, []int{200},
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				r := newRoad(t, f)
				settings := r.settings()
				if c.public {
					f.provider.SetClientSecret("")
					settings = with(settings, map[string]any{"client_secret": "", "client_auth": "none"})
				}
				f.Write("providers/acme", settings).OK(t)
				f.connect(t, "slack")
				parked := f.own(t, "parked", nil)
				secrets := append(r.secrets(t), parked["code"].(string))
				before := f.Read("providers/acme", nil).OK(t)

				refused := true
				for i, data := range c.write(r) {
					answer := f.Write("providers/acme", data)
					require.Equal(t, c.status[i], answer.Status, answer.Text)
					if answer.Status < 300 {
						refused = false
						assert.Equal(t, false, answer.Data["former_secret_set"] == true && i == 0)
					}
				}
				if refused {
					assert.Equal(t, before, f.Read("providers/acme", nil).OK(t), "it changed nothing")
					f.Advance(time.Minute)
					f.Write("refresh/slack", nil).OK(t)
				} else {
					assert.Equal(t, "provider_changed", f.Read("connections/slack", nil).OK(t)["status_reason"])
				}
				r.show(r.thief)
				if r := f.Write("exchange", parked); r.Status < 300 || r.Status >= 500 {
					assert.Fail(t, "the flow is not void", "%d %s", r.Status, r.Text)
				}
				r.theft(t)
				for _, secret := range secrets {
					assert.NotContains(t, r.stolen(), secret)
				}
			})
		})
	}
}

// Whoever knows the secret changes the certificates and nothing else.
func TestCertificatesChangeWithTheStoredSecret(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		r := newRoad(t, f)
		f.Delete("providers/acme", nil).OK(t) // made anew, it is pinned to its first certificates
		f.Write("providers/acme", r.settings()).OK(t)
		f.connect(t, "slack")
		f.Write("providers/acme", map[string]any{"client_secret": "another"}).OK(t)
		f.provider.SetClientSecret("another")
		f.Write("providers/acme", map[string]any{"drop_former": true}).OK(t) // it is of no use now
		f.Advance(time.Minute)
		f.Write("refresh/slack", nil).OK(t)
		require.Eventually(t, func() bool {
			f.periodic(t)
			p, err := store.New(f.Storage).Provider(t.Context(), "acme")
			return err == nil && !p.Unproven
		}, time.Minute, time.Millisecond, "it has worked")

		answer := f.Write("providers/acme", map[string]any{"ca_pem": r.next.pem, "client_secret": "another"})
		assert.Equal(t, false, answer.OK(t)["former_secret_set"], "what is older than the certificates does not go there")
		assert.Empty(t, answer.Warnings)
		assert.Equal(t, r.next.pem, answer.Data["ca_pem"])
		assert.Equal(t, "active", f.Read("connections/slack", nil).OK(t)["status"])
		f.Advance(time.Minute)
		f.Write("refresh/slack", nil).Refused(t, http.StatusBadGateway, "tls")
		r.show(r.next)
		f.Advance(time.Minute)
		f.Write("refresh/slack", nil).OK(t)

		// the former certificates were left: they are another origin now, for who does not know the secret
		f.Write("providers/acme", map[string]any{"ca_pem": r.honest.pem, "client_secret": "made up"}).OK(t)
		assert.Equal(t, "provider_changed", f.Read("connections/slack", nil).OK(t)["status_reason"])
	})
}

// A former secret that an older release kept beside one that has worked does not go where the new certificates lead.
func TestCertificatesDropTheFormerSecret(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		r := newRoad(t, f)
		f.Write("providers/acme", r.settings()).OK(t)
		f.altered(t, "provider/acme", func(p map[string]any) {
			delete(p, "unproven")
			p["former_secret"] = "older"
		})
		f.restart(t)
		same := map[string]any{"client_secret": providertest.ClientSecret, "ca_pem": r.honest.pem}
		assert.Equal(t, true, f.Write("providers/acme", same).OK(t)["former_secret_set"])
		same["ca_pem"] = r.next.pem
		assert.Equal(t, false, f.Write("providers/acme", same).OK(t)["former_secret_set"])
	})
}

// The same certificates in other words are no change, so nobody need know the secret to write them.
func TestCertificatesWrittenAgain(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		r := newRoad(t, f)
		f.Write("providers/acme", with(r.settings(), map[string]any{"ca_pem": r.honest.pem + r.next.pem})).OK(t)
		f.connect(t, "slack")
		for _, same := range []string{r.honest.pem + r.next.pem, r.next.pem + "\n" + r.honest.pem} {
			assert.Equal(t, true, f.Write("providers/acme", map[string]any{"ca_pem": same}).OK(t)["client_secret_set"])
		}
		f.Write("providers/acme", f.Read("providers/acme", nil).OK(t)).OK(t)
		assert.Equal(t, "active", f.Read("connections/slack", nil).OK(t)["status"])
	})
}

// A mount that is upgraded has providers whose certificates are no part of the pin: nobody need reconnect.
func TestCertificatesOfAnUpgradedProvider(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		r := newRoad(t, f)
		f.Write("providers/acme", map[string]any{
			"endpoints": r.settings()["endpoints"], "client_secret": providertest.ClientSecret,
		}).OK(t)
		entry, err := f.Storage.Get(t.Context(), "provider/acme")
		require.NoError(t, err)
		quoted := strings.ReplaceAll(strings.TrimSpace(r.honest.pem), "\n", `\n`)
		former := strings.Replace(string(entry.Value), `"unproven":true,`, "", 1) // which that release did not note
		entry.Value = []byte(strings.Replace(former, `{`, `{"ca_pem":"`+quoted+`",`, 1))
		require.NoError(t, f.Storage.Put(t.Context(), entry))
		f.restart(t)
		f.connect(t, "slack")
		before := f.storedPin(t, "slack")

		f.Write("providers/acme", map[string]any{"scopes": "read"}).OK(t)
		f.Write("providers/acme", map[string]any{"ca_pem": r.honest.pem}).OK(t)
		f.Write("providers/acme", map[string]any{
			"ca_pem": r.next.pem, "client_secret": providertest.ClientSecret,
		}).OK(t)
		r.show(r.next)
		assert.Equal(t, "active", f.Read("connections/slack", nil).OK(t)["status"])
		f.connect(t, "other")
		assert.Equal(t, before, f.storedPin(t, "other"), "no change that counts was made yet")

		f.Write("providers/acme", map[string]any{"ca_pem": r.thief.pem, "client_secret": "made up"}).OK(t)
		assert.Equal(t, "provider_changed", f.Read("connections/slack", nil).OK(t)["status_reason"])
	})
}

// One that is deleted and made anew is the same only under the same certificates.
func TestCertificatesOfAProviderMadeAnew(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		r := newRoad(t, f)
		f.Delete("providers/acme", nil).OK(t)
		made := f.Write("providers/acme", r.settings())
		made.OK(t)
		assert.Empty(t, made.Warnings, "the first certificates are no change")
		f.connect(t, "slack")
		for _, c := range []struct {
			ca     string
			status string
		}{{r.thief.pem, "needs_reconnect"}, {"", "needs_reconnect"}, {r.honest.pem, "active"}} {
			f.Delete("providers/acme", map[string]any{"force": true}).OK(t)
			f.Write("providers/acme", with(r.settings(), map[string]any{"ca_pem": c.ca})).OK(t)
			assert.Equal(t, c.status, f.Read("connections/slack", nil).OK(t)["status"])
		}
	})
}

// storedPin is what a connection of the default organization is pinned to.
func (f *fixture) storedPin(t *testing.T, name string) string {
	t.Helper()
	entry, err := f.Storage.Get(t.Context(), "connection/org/default/"+name)
	require.NoError(t, err)
	require.NotNil(t, entry)
	var c struct {
		Pinned string `json:"pinned"`
	}
	require.NoError(t, entry.DecodeJSON(&c))
	require.NotEmpty(t, c.Pinned)
	return c.Pinned
}

// Where there is no client secret, the operator's part of a key goes with the certificates.
func TestCertificatesOfOperatorHeldKeys(t *testing.T) {
	eachWith(t, held(t), func(t *testing.T, f *fixture) {
		f.Write("providers/held", map[string]any{"app_key": "app-key-of-the-operator-1234"}).OK(t)
		f.Write("connections/key", map[string]any{"provider": "held", "api_key": "key-eu1"}).OK(t)
		r := f.Write("providers/held", map[string]any{"ca_pem": newAuthority(t).pem})
		assert.Empty(t, r.OK(t)["key_fields_set"])
		assert.Len(t, r.Warnings, 2)
		assert.Equal(t, "provider_changed", f.Read("connections/key", nil).OK(t)["status_reason"])
	})
}
