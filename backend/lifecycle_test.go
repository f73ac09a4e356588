package backend

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// Vault also makes a backend to ask for its metadata, and before storage is writable.
func TestFactoryTouchesNothing(t *testing.T) {
	storage := &testenv.Storage{}
	b, err := Factory(t.Context(), &logical.BackendConfig{System: &testenv.System{}, StorageView: storage})
	require.NoError(t, err)
	assert.Empty(t, storage.History())
	assert.Equal(t, logical.TypeLogical, b.Type())
	assert.Equal(t, Version, b.(logical.PluginVersioner).PluginVersion().Version)
	b.Cleanup(t.Context())
}

func TestSpecialPaths(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		special := f.Backend.SpecialPaths()
		assert.Equal(t, []string{"callback/+", "connect"}, special.Unauthenticated)
		assert.Empty(t, special.Root)
	})
}

// Whatever a request writes lies under a pattern of the seal wrap.
func TestAllStorageIsSealWrapped(t *testing.T) {
	nouns := map[string]bool{}
	for name, c := range multiWrites() {
		f := newFixture(t, Options{}, testenv.InProcess)
		patterns := f.Backend.SpecialPaths().SealWrapStorage
		c.prepare(t, f)()
		for _, a := range f.Storage.History() {
			if a.Write() {
				noun, _, _ := strings.Cut(a.Key, "/")
				nouns[noun] = true
				assert.True(t, slices.ContainsFunc(patterns, func(p string) bool {
					return a.Key == p || strings.HasSuffix(p, "/") && strings.HasPrefix(a.Key, p)
				}), "%s wrote %s", name, a.Key)
			}
		}
	}
	delete(nouns, "use") // which is written at its own time
	assert.GreaterOrEqual(t, len(nouns), 12, "each noun was written, and notices a little later: %v", nouns)
}

// On a standby or a secondary others write storage, and Vault says which key.
func TestInvalidate(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.start(t, "open", nil)
		here := f.Env
		see := func() (poll float64, secret any, label any, status float64, pending int) {
			here.Read("creds/slack", nil).OK(t)
			return number(here.Read("config", nil).OK(t)["poll_interval"]),
				here.Read("providers/acme", nil).OK(t)["client_secret_set"],
				here.Read("connections/slack", nil).OK(t)["label"], number(here.Read("status", nil).OK(t)["connections"]),
				here.Read("connections/open2", nil).Status
		}
		see()

		f.restart(t) // the other node
		f.Write("config", map[string]any{"poll_interval": 60}).OK(t)
		f.Write("providers/acme", map[string]any{"client_secret": ""}).OK(t)
		f.Write("connections/slack", map[string]any{"label": "changed"}).OK(t)
		f.key(t, "another")
		flow := f.start(t, "open2", map[string]any{"provider": "acme"})
		for _, key := range []string{
			"config", "provider/acme", "connection/org/default/slack", "connection/org/default/another",
			"flow/" + flow["flow_id"].(string),
			"wal/unknown", "connection/damaged", "",
		} {
			here.Backend.InvalidateKey(t.Context(), key)
		}
		poll, secret, label, total, pending := see()
		assert.InDelta(t, 60, poll, 0)
		assert.Equal(t, false, secret)
		assert.Equal(t, "changed", label)
		assert.InDelta(t, 2, total, 0)
		assert.Equal(t, http.StatusOK, pending)
	})
}

// blocked makes the next refresh wait for release and tells when it has begun.
func (f *fixture) blocked() (begun chan struct{}, release chan struct{}) {
	begun, release = make(chan struct{}), make(chan struct{})
	f.provider.Next(providers.StepRefresh, func(
		s *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc,
	) {
		close(begun)
		providertest.HangUntil(release)(s, w, r, behave)
	})
	return begun, release
}

// In process only: over gRPC the SDK takes the backend away before it cleans it.
func TestCleanWaitsForWhatIsInFlight(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.connect(t, "slack")
	own := f.own(t, "late", nil)
	f.Advance(time.Minute)
	begun, release := f.blocked()
	answer, stopped := make(chan testenv.Result), make(chan struct{})
	go func() { answer <- f.Write("refresh/slack", nil) }()
	<-begun
	go func() { defer close(stopped); f.Stop() }()
	require.Eventually(t, func() bool {
		return f.Write("exchange", own).Status == http.StatusServiceUnavailable
	}, time.Minute, time.Millisecond,
		"new work is refused")
	f.Read("creds/slack", nil).OK(t)
	select {
	case <-stopped:
		assert.Fail(t, "it did not wait")
	default:
	}
	close(release)
	(<-answer).OK(t)
	<-stopped
	f.restart(t)
	serves("slack")(t, f)
	assert.Equal(t, 1, f.provider.Count(providers.StepRefresh))
}

// Vault replaces the whole process when one of its mounts is reloaded; the others hear nothing of it.
func TestFirstCleanDrainsTheProcess(t *testing.T) {
	o := Options{Process: &Process{}}
	reloaded := newFixture(t, o, testenv.InProcess)
	other := newFixture(t, o, testenv.InProcess)
	other.connect(t, "slack")
	other.Advance(time.Minute)
	begun, release := other.blocked()
	go other.Write("refresh/slack", nil)
	<-begun
	own := reloaded.own(t, "late", nil)
	go func() {
		defer close(release)
		assert.Eventually(t, func() bool {
			return reloaded.Write("exchange", own).Status == http.StatusServiceUnavailable
		}, time.Minute, time.Millisecond)
	}()
	reloaded.Stop()
	assert.Equal(t, "2026-03-01T12:01:00Z", other.Read("connections/slack", nil).OK(t)["last_refresh"],
		"its flight has landed")
}

// A refresh that a crash cut off is tried again when the engine starts, not when somebody reads.
func TestCutOffRefreshIsTriedAtStart(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Advance(time.Minute)
		begun, release := f.blocked()
		crashed := f.Env
		answered := make(chan struct{})
		go func() { defer close(answered); crashed.Write("refresh/slack", nil) }()
		<-begun
		f.restart(t)
		require.Eventually(t, func() bool {
			return f.provider.Count(providers.StepRefresh) == 2
		}, time.Minute, time.Millisecond)
		require.Eventually(t, func() bool {
			return f.Read("connections/slack", nil).OK(t)["last_refresh"] != ""
		}, time.Minute, time.Millisecond)
		serves("slack")(t, f)
		close(release)
		<-answered
	}, providertest.WithReusableRefreshTokens())
}

func TestCutOffRefreshThatWasSpent(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Advance(time.Minute)
		spent := make(chan struct{})
		f.provider.Next(providers.StepRefresh, func(
			s *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc,
		) {
			behave(httptest.NewRecorder(), r) // the token is spent and its successor lost
			close(spent)
			providertest.Hang()(s, w, r, behave)
		})
		crashed := f.Env
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go crashed.WriteCtx(ctx, "refresh/slack", nil)
		<-spent
		f.restart(t)
		require.Eventually(t, func() bool {
			return f.Read("connections/slack", nil).OK(t)["status"] == "needs_reconnect"
		}, time.Minute, time.Millisecond)
		assert.Equal(t, "refresh_outcome_unknown", f.Read("connections/slack", nil).OK(t)["status_reason"],
			"it does not say that a person revoked it")
	})
}

// What the provider asked for outlasts a crash: recovering is no reason to ask again.
func TestCutOffRefreshObeysTheProvider(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Advance(time.Minute)
		f.Storage.Judge(func(a testenv.Access) error { // so that an intent is left, as by a crash
			if a.Op == "delete" && a.Under("wal/") {
				return testenv.ErrStorage
			}
			return nil
		})
		limited := providertest.Respond(http.StatusTooManyRequests, "", "Retry-After", "3600")
		f.provider.Next(providers.StepRefresh, limited)
		f.Write("refresh/slack", nil).Refused(t, http.StatusBadGateway)
		f.restart(t)
		f.Storage.Judge(nil)
		require.Len(t, f.stored(t, "wal/"), 1)
		scanned := func() bool {
			return slices.Contains(f.Storage.History(), testenv.Access{Op: "list", Key: "connection/user/"})
		}
		f.Storage.Forget()
		f.restart(t)
		require.Eventually(t, scanned, time.Minute, time.Millisecond, "it looks for connections once it has recovered")
		for range 3 {
			f.Advance(19 * time.Minute)
			f.periodic(t)
			require.Eventually(t, func() bool {
				return number(f.Read("status", nil).OK(t)["in_flight"]) == 0
			}, time.Minute, time.Millisecond)
			assert.Equal(t, 1, f.provider.Count(providers.StepRefresh))
		}
		f.Advance(5 * time.Minute)
		require.Eventually(t, func() bool {
			f.periodic(t)
			return f.provider.Count(providers.StepRefresh) == 2 && len(f.stored(t, "wal/")) == 0
		}, time.Minute, 5*time.Millisecond, "then it does")
	})
}

// One intent that storage does not give is read again each minute. The others are not, nor is their work done again.
func TestIntentThatCannotBeRead(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Advance(time.Minute)
		begun, release := f.blocked()
		crashed, answered := f.Env, make(chan struct{})
		go func() { defer close(answered); crashed.Write("refresh/slack", nil) }()
		<-begun
		f.undecodable(t, "wal/lost")
		f.loses("wal/lost")
		f.Storage.Forget()
		f.restart(t)
		count := func(a testenv.Access) (n int) {
			for _, made := range f.Storage.History() {
				if made == a {
					n++
				}
			}
			return n
		}
		lost, list := testenv.Access{Op: "get", Key: "wal/lost"}, testenv.Access{Op: "list", Key: "wal/"}
		require.Eventually(t, func() bool {
			return count(lost) == 1 && f.provider.Count(providers.StepRefresh) == 2
		}, time.Minute, time.Millisecond)
		for tries := range 5 {
			f.Advance(time.Minute)
			again := func() bool { // a heartbeat that finds the last one at work does nothing
				f.periodic(t)
				return count(lost) > tries+1
			}
			require.Eventually(t, again, time.Minute, 5*time.Millisecond, "it is tried again")
		}
		assert.Equal(t, 1, count(list), "what was read need not be read again")
		assert.Equal(t, 2, f.provider.Count(providers.StepRefresh))
		close(release)
		<-answered
	}, providertest.WithReusableRefreshTokens())
}
