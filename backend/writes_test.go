package backend

import (
	"encoding/json"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// multiWrite is a request that writes more than once, or once where half would be worse than nothing.
type multiWrite struct {
	// prepare brings the mount to where the request makes sense, and returns it. It may be sent twice.
	prepare func(*testing.T, *fixture) (request func() testenv.Result)
	// done holds what must be true once the request succeeded, in the same process and in the next.
	done func(*testing.T, *fixture)
	// over is the text with which a request sent again may refuse, when its first sending was half done.
	over string
}

// serves asserts that the credential of a connection is one that its provider takes.
func serves(path string) func(*testing.T, *fixture) {
	return func(t *testing.T, f *fixture) {
		t.Helper()
		assert.True(t, f.provider.Alive(f.Read("creds/"+path, nil).OK(t)["access_token"].(string)), "the token is good")
	}
}

// gone asserts that a connection is no more.
func gone(path string) func(*testing.T, *fixture) {
	return func(t *testing.T, f *fixture) {
		t.Helper()
		assert.Equal(t, http.StatusNotFound, f.Read("connections/"+path, nil).Status)
		assert.Empty(t, f.List("connections/").OK(t)["keys"])
	}
}

func multiWrites() map[string]multiWrite {
	return map[string]multiWrite{
		"config": {
			prepare: func(_ *testing.T, f *fixture) func() testenv.Result {
				return func() testenv.Result { return f.Write("config", map[string]any{"poll_interval": 60}) }
			},
			done: func(t *testing.T, f *fixture) {
				assert.InDelta(t, 60, number(f.Read("config", nil).OK(t)["poll_interval"]), 0)
			},
		},
		"provider made": {
			prepare: func(_ *testing.T, f *fixture) func() testenv.Result {
				return func() testenv.Result { return f.Write("providers/other", f.acme()) }
			},
			done: func(t *testing.T, f *fixture) {
				assert.Equal(t, true, f.Read("providers/other", nil).OK(t)["client_secret_set"])
			},
		},
		"client secret": {
			prepare: func(t *testing.T, f *fixture) func() testenv.Result {
				return func() testenv.Result {
					return f.Write("providers/acme/client-secret", map[string]any{"client_secret": "another"})
				}
			},
			done: func(t *testing.T, f *fixture) {
				stored := f.written(t, "provider/acme")
				assert.Equal(t, []any{"another", providertest.ClientSecret}, []any{
					stored["client_secret"], stored["former_secret"],
				})
			},
		},
		"provider moved": {
			prepare: func(_ *testing.T, f *fixture) func() testenv.Result {
				return func() testenv.Result { return f.Write("providers/acme", map[string]any{"client_id": "another"}) }
			},
			done: func(t *testing.T, f *fixture) {
				p := f.Read("providers/acme", nil).OK(t)
				assert.Equal(t, false, p["client_secret_set"])
				assert.Equal(t, "another", p["client_id"])
			},
		},
		"provider deleted": {
			prepare: func(t *testing.T, f *fixture) func() testenv.Result {
				return func() testenv.Result { return f.Delete("providers/acme", nil) }
			},
			done: func(t *testing.T, f *fixture) {
				assert.Equal(t, http.StatusNotFound, f.Read("providers/acme", nil).Status)
			},
		},
		"key": {
			prepare: func(t *testing.T, f *fixture) func() testenv.Result {
				f.Write("providers/openai", nil).OK(t)
				return func() testenv.Result {
					return f.Write("connections/key", map[string]any{"provider": "openai", "api_key": openaiKey, "label": "L"})
				}
			},
			done: func(t *testing.T, f *fixture) {
				assert.Equal(t, openaiKey, f.Read("creds/key", nil).OK(t)["api_key"])
				assert.Equal(t, "L", f.Read("connections/key", nil).OK(t)["label"])
			},
		},
		"import": {
			prepare: func(t *testing.T, f *fixture) func() testenv.Result {
				refresh := f.elsewhere(t)
				return func() testenv.Result {
					return f.Write("connections/x", map[string]any{"provider": "acme", "refresh_token": refresh})
				}
			},
			done: serves("x"),
		},
		"client credentials": {
			prepare: func(t *testing.T, f *fixture) func() testenv.Result {
				f.allowApp(t)
				return func() testenv.Result {
					return f.Write("connections/x", map[string]any{"provider": "acme", "kind": "client_credentials"})
				}
			},
			done: serves("x"),
		},
		"flow started": {
			prepare: func(_ *testing.T, f *fixture) func() testenv.Result {
				return func() testenv.Result { return f.Write("auth-code-url/x", map[string]any{"provider": "acme"}) }
			},
			done: func(t *testing.T, f *fixture) {
				assert.Equal(t, "pending", f.Read("connections/x", nil).OK(t)["status"])
			},
		},
		"callback": {
			prepare: func(t *testing.T, f *fixture) func() testenv.Result {
				back := f.provider.Consent(t, f.start(t, "x", nil)["url"].(string))
				return func() testenv.Result {
					return f.Read("callback/acme", map[string]any{"state": back["state"], "code": back["code"]}, testenv.Nobody)
				}
			},
			done: func(t *testing.T, f *fixture) {
				assert.Equal(t, "flow_open", f.Read("connections/x", nil).OK(t)["status_reason"])
				assert.Len(t, f.stored(t, "code/"), 1)
			},
		},
		"exchange of an own redirect": {
			prepare: func(t *testing.T, f *fixture) func() testenv.Result {
				own := f.own(t, "x", nil)
				return func() testenv.Result { return f.Write("exchange", own) }
			},
			done: serves("x"),
		},
		"exchange with a confirmation code": {
			prepare: func(t *testing.T, f *fixture) func() testenv.Result {
				id, _, code := f.parked(t, "x", nil)
				return func() testenv.Result {
					return f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code})
				}
			},
			done: serves("x"),
		},
		"reconnect": {
			prepare: func(t *testing.T, f *fixture) func() testenv.Result {
				f.connect(t, "x")
				f.Advance(2 * time.Hour)
				f.provider.RevokeAll()
				own := f.own(t, "x", nil)
				return func() testenv.Result { return f.Write("exchange", own) }
			},
			done: serves("x"),
		},
		"refresh": {
			prepare: func(t *testing.T, f *fixture) func() testenv.Result {
				f.connect(t, "x")
				f.Advance(time.Minute)
				return func() testenv.Result { return f.Write("refresh/x", nil) }
			},
			done: serves("x"),
		},
		"read of a dead token": {
			prepare: func(t *testing.T, f *fixture) func() testenv.Result {
				f.connect(t, "x")
				f.Advance(2 * time.Hour)
				return func() testenv.Result { return f.Read("creds/x", nil) }
			},
			done: serves("x"),
		},
		"refused grant": {
			prepare: func(t *testing.T, f *fixture) func() testenv.Result {
				f.connect(t, "x")
				f.Advance(2 * time.Hour)
				f.provider.RevokeAll()
				return func() testenv.Result { return f.Write("refresh/x", nil) }
			},
			done: func(t *testing.T, f *fixture) {
				assert.Equal(t, "needs_reconnect", f.Read("connections/x", nil).OK(t)["status"])
			},
			over: "auth-code-url/org/default/x",
		},
		"webhook made": {
			prepare: func(_ *testing.T, f *fixture) func() testenv.Result {
				return func() testenv.Result {
					return f.Write("webhooks/siem", map[string]any{"url": "https://hooks.example.com", "disabled": true})
				}
			},
			done: func(t *testing.T, f *fixture) {
				assert.Equal(t, true, f.Read("webhooks/siem", nil).OK(t)["disabled"])
			},
		},
		"webhook deleted": {
			prepare: func(t *testing.T, f *fixture) func() testenv.Result {
				f.hook(t, "siem", "https://hooks.example.com", nil)
				cursor := &store.Cursor{Webhook: f.written(t, "webhook/siem")["id"].(string)}
				require.NoError(t, store.New(f.Storage).PutCursor(t.Context(), "siem", cursor))
				f.Storage.Forget()
				return func() testenv.Result { return f.Delete("webhooks/siem", nil) }
			},
			done: func(t *testing.T, f *fixture) {
				assert.Equal(t, http.StatusNotFound, f.Read("webhooks/siem", nil).Status)
				f.soon(t, func() bool { return len(f.stored(t, "webhook-cursor/")) == 0 }, "nothing is left")
			},
		},
		"delete": {
			prepare: func(t *testing.T, f *fixture) func() testenv.Result {
				f.connect(t, "x")
				return func() testenv.Result { return f.Delete("connections/x", nil) }
			},
			done: gone("x"),
		},
	}
}

func TestStorageFailsAtEachWrite(t *testing.T) {
	for name, c := range multiWrites() {
		t.Run(name, func(t *testing.T) {
			for _, mount := range []mounter{testenv.InProcess, testenv.OverGRPC} {
				n := 1
				for ; failsAt(t, c, mount, int64(n)); n++ {
					require.Less(t, n, 12, "no request writes so often")
				}
				require.Greater(t, n, 1, "the request writes nothing")
			}
		})
	}
}

// failsAt sends the request while the n-th write fails, and reports whether there was an n-th write.
func failsAt(t *testing.T, c multiWrite, mount mounter, n int64) bool {
	t.Helper()
	f := newFixture(t, Options{}, mount)
	request := c.prepare(t, f)
	fired := failWrite(f.Storage, n)
	first := request()
	f.Storage.Judge(nil)
	if first.Status >= 400 {
		f.endsItsWork(t)
		f.restart(t) // what is left must be whole for a process that remembers nothing
		f.List("connections/").OK(t)
		f.Read("status", nil).OK(t)
		again := request()
		if again.Status >= 300 {
			require.NotEmpty(t, c.over, "sent again after write %d failed (%s): %s", n, first.Text, again.Text)
			assert.Contains(t, again.Text, c.over)
		}
	}
	c.done(t, f)
	f.saved(t)
	f.restart(t)
	c.done(t, f)
	return fired.Load()
}

// failWrite refuses the n-th write from now and tells whether it came.
func failWrite(s *testenv.Storage, n int64) *atomic.Bool {
	var fired atomic.Bool
	var seen atomic.Int64
	s.Judge(func(a testenv.Access) error {
		if a.Write() && seen.Add(1) == n {
			fired.Store(true)
			return testenv.ErrStorage
		}
		return nil
	})
	return &fired
}

// elsewhere lets the person consent to another application of the same app, and gives the refresh token that it got.
func (f *fixture) elsewhere(t *testing.T) string {
	t.Helper()
	return f.elsewhereAs(t, providertest.ClientSecret)
}

// elsewhereAs is elsewhere for an app that has another secret.
func (f *fixture) elsewhereAs(t *testing.T, secret string) string {
	t.Helper()
	back := f.provider.Consent(t,
		f.provider.URL+"/authorize?response_type=code&state=s&scope=read&client_id="+providertest.ClientID)
	answer, err := http.PostForm(f.provider.URL+"/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {back["code"]}, "client_id": {providertest.ClientID},
		"client_secret": {secret},
	})
	require.NoError(t, err)
	defer func() { assert.NoError(t, answer.Body.Close()) }()
	var tokens struct {
		RefreshToken string `json:"refresh_token"`
	}
	require.NoError(t, json.NewDecoder(answer.Body).Decode(&tokens))
	require.NotEmpty(t, tokens.RefreshToken)
	return tokens.RefreshToken
}

// While storage refuses everything, nothing that a provider gave is lost and nothing new is spent.
func TestStorageIsReadOnlyForAWhile(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "x")
		own := f.own(t, "y", nil)
		f.Advance(2 * time.Hour)
		f.Storage.FailWrites()
		spent := f.provider.Count(providers.StepToken) + f.provider.Count(providers.StepRefresh)
		assert.GreaterOrEqual(t, f.Read("creds/x", nil).Status, 500)
		assert.GreaterOrEqual(t, f.Write("refresh/x", nil).Status, 500)
		f.Write("exchange", own)
		assert.Equal(t, http.StatusInternalServerError, f.Delete("connections/x", nil).Status)
		assert.Equal(t, spent, f.provider.Count(providers.StepToken)+f.provider.Count(providers.StepRefresh))
		assert.Zero(t, f.provider.Count(providers.StepRevoke))
		f.Storage.Judge(nil)
		serves("x")(t, f)
	})
}

// A rotated token that storage refused is served, and never spent twice while it waits.
func TestRotatedTokenWaitsForStorage(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "x")
		f.Advance(2 * time.Hour)
		refuseConnections(f.Storage)
		serves("x")(t, f)
		f.Advance(2 * time.Hour)
		serves("x")(t, f)
		assert.Equal(t, 2, f.provider.Count(providers.StepRefresh))
		f.Storage.Judge(nil)
		f.Stop()
		f.restart(t)
		serves("x")(t, f)
		f.Advance(2 * time.Hour)
		serves("x")(t, f)
	}, providertest.WithLifetime(time.Hour))
}
