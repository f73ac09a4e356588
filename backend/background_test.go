package backend

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// engine is the engine itself, of a mount in process.
func (f *fixture) engine() *backend { return f.Backend.(*backend) }

// names gives n names of connections.
func (f *fixture) names(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("n%02d", i))
	}
	return names
}

// Whoever waited for a longer life gets the old token when no new one comes, unless they may not have it by now.
func TestRefusedSinceTheyWait(t *testing.T) {
	const path = "connections/user/e-alice/slack"
	for name, change := range map[string]map[string]any{
		"a connection that was disabled meanwhile":     {"disabled": true},
		"a connection that was made private meanwhile": {"private": true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, Options{}, testenv.InProcess)
			f.connect(t, "user/e-alice/slack", alice)
			f.Write(path, map[string]any{"private": false}, alice).OK(t)
			f.Advance(30 * time.Minute)
			asked, release := make(chan struct{}), make(chan struct{})
			f.provider.Next(providers.StepRefresh, func(
				_ *providertest.Server, w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc,
			) {
				close(asked)
				<-release
				w.WriteHeader(http.StatusServiceUnavailable)
			})
			answer := make(chan testenv.Result, 1)
			go func() { answer <- f.Read("creds/user/e-alice/slack", map[string]any{"min_ttl": "45m"}, bob) }()
			<-asked
			f.Write(path, change, alice).OK(t)
			close(release)
			(<-answer).Refused(t, http.StatusForbidden)
		})
	}
}

// An import and a renewal that hold one refresh token: what is stored in the end must not be the one that was spent.
func TestImportWhileARenewalIsAboutToSpend(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	grant := f.elsewhere(t)
	imported := map[string]any{"provider": "acme", "refresh_token": grant, "access_token": "first", "expires_in": 3600}
	f.Write("connections/x", imported).OK(t)
	f.Advance(30 * time.Minute)
	writing, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f.Storage.Block(func(a testenv.Access) bool { return a.Op == "put" && a.Under("connection/") }, func(testenv.Access) {
		once.Do(func() { close(writing); <-release })
	})
	again, read := make(chan testenv.Result, 1), make(chan testenv.Result, 1)
	go func() { again <- f.Write("connections/x", with(imported, map[string]any{"access_token": "second"})) }()
	<-writing
	go func() { read <- f.Read("creds/x", map[string]any{"min_ttl": "50m"}) }()
	require.Eventually(t, func() bool {
		return f.engine().gate.Report().Inside == 1 || f.engine().refresher.InFlight() == 1
	}, time.Minute, time.Millisecond, "the renewal has begun")
	close(release)
	(<-again).OK(t)
	(<-read).OK(t)
	c, err := f.engine().store.Connection(t.Context(), aKey("x"))
	require.NoError(t, err)
	for _, r := range f.provider.Requests(providers.StepRefresh) {
		assert.NotEqual(t, c.Grant.RefreshToken.Reveal(), r.Form.Get("refresh_token"), "it was spent")
	}
	f.Advance(2 * time.Hour)
	f.Read("creds/x", nil).OK(t)
}

// An endpoint beside that of tokens may be down alone, and keeps nobody from their tokens.
func TestOtherEndpointsThatFail(t *testing.T) {
	const times = 3
	for name, fail := range map[string]func(*testing.T, *fixture){
		"revocation": func(t *testing.T, f *fixture) {
			for _, name := range f.names(times) {
				path := "user/" + name + "/slack" // of owners that share no account
				f.connect(t, path)
				f.provider.Next(providers.StepRevoke, providertest.Respond(503, `{}`))
				f.Delete("connections/"+path, nil).OK(t)
			}
			require.GreaterOrEqual(t, f.provider.Count(providers.StepRevoke), times)
		},
		"identity": func(t *testing.T, f *fixture) {
			for _, name := range f.names(times) {
				f.provider.Next("identity", providertest.Respond(503, `{}`))
				f.Write("connections/"+name, map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}).OK(t)
			}
			require.GreaterOrEqual(t, f.provider.Count("identity"), times)
		},
	} {
		t.Run(name+" is down and tokens are refreshed", func(t *testing.T) {
			f := newFixture(t, Options{}, testenv.InProcess)
			f.provider.Next("identity", providertest.Respond(503, `{}`)) // or it would rest on the account of the others
			f.Write("connections/org/acme/other", map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}).OK(t)
			fail(t, f)
			assert.Empty(t, members(t, f.Read("status", nil).OK(t)["circuits"]))
			f.Advance(2 * time.Hour)
			f.Read("creds/org/acme/other", nil).OK(t)
		})
	}
}

// One person's requests leave places for those of others, whatever they ask for.
func TestOnePersonLeavesPlacesForOthers(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.Write("config", map[string]any{"request_timeout": "1m"}).OK(t)
	f.Write("providers/acme", map[string]any{"allow_import": "all"}).OK(t)
	own := f.own(t, "user/e-bob/slack", nil, bob)
	b := f.keepsWaiting(t, 16)
	var all sync.WaitGroup
	for _, name := range f.names(16) {
		data := map[string]any{"provider": "acme", "refresh_token": "grant of " + name}
		all.Go(func() { f.Write("connections/user/e-alice/"+name, data, alice) }) // refused, in the end
	}
	require.Eventually(t, func() bool {
		report := f.engine().gate.Report()
		return report.Inside+report.Waiting == 16 && b.inside.Load() > 0
	}, time.Minute, time.Millisecond, "all that one person asks for is there")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	f.WriteCtx(ctx, "exchange", own, bob).OK(t)
	close(b.release)
	all.Wait()
}

// What calls nobody says nothing of how a provider is.
func TestWhatCallsNobodyLiftsNothing(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	acme := f.acme()
	delete(acme["endpoints"].(map[string]any), "revoke")
	delete(acme["endpoints"].(map[string]any), "identity")
	f.Write("providers/acme", acme).OK(t)
	f.Write("connections/other", map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}).OK(t)
	f.Write("connections/slack", map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}).OK(t)
	f.Advance(time.Minute)
	f.provider.Next(providers.StepRefresh, providertest.Respond(429, `{}`, "Retry-After", "3600"))
	f.Write("refresh/slack", nil)
	unwell := func() any { return f.Read("status", nil).OK(t)["circuits"] }
	before := unwell()
	require.NotEmpty(t, members(t, before))
	t.Run("an import of an access token lifts nothing", func(t *testing.T) {
		f.Write("connections/y", map[string]any{"provider": "acme", "access_token": "token", "verify": false}).OK(t)
		assert.Equal(t, before, unwell())
	})
	t.Run("a deletion without a revocation endpoint lifts nothing", func(t *testing.T) {
		f.Delete("connections/other", nil).OK(t)
		assert.Equal(t, before, unwell())
	})
}

// The probe of a provider that was unwell is over when its token is there, however long it asks whose it is.
func TestProbeThatIdentifiesKeepsNobodyOut(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.Write("config", map[string]any{"request_timeout": "1m"}).OK(t)
	f.connect(t, "slack")
	own, another := f.own(t, "second", nil), f.own(t, "third", nil)
	f.Advance(5 * time.Minute)
	f.provider.Next(providers.StepRefresh, providertest.Respond(429, `{}`, "Retry-After", "30"))
	f.Write("refresh/slack", nil)
	require.NotEmpty(t, members(t, f.Read("status", nil).OK(t)["circuits"]))
	f.Advance(45 * time.Second)
	asked, release := make(chan struct{}), make(chan struct{})
	f.provider.Next("identity", func(
		s *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc,
	) {
		close(asked)
		providertest.HangUntil(release)(s, w, r, behave)
	})
	answer := make(chan testenv.Result, 1)
	go func() { answer <- f.Write("exchange", own) }()
	<-asked
	f.Write("exchange", another).OK(t)
	close(release)
	(<-answer).OK(t)
}

// At the end of one mount another one saves what it holds, while a third waits for its provider.
func TestEndOfOneMountSavesWhatOthersHold(t *testing.T) {
	o := Options{Process: &Process{}}
	one, busy, unsaved := newFixture(t, o, testenv.InProcess), newFixture(t, o, testenv.InProcess),
		newFixture(t, o, testenv.InProcess)
	busy.connect(t, "slack")
	unsaved.connect(t, "slack")
	busy.Advance(time.Minute)
	unsaved.Advance(time.Minute)
	begun, release := busy.blocked()
	answer := make(chan testenv.Result, 1)
	go func() { answer <- busy.Write("refresh/slack", nil) }()
	<-begun
	refuseConnections(unsaved.Storage)
	unsaved.Write("refresh/slack", nil).OK(t)
	require.Equal(t, 1, unsaved.engine().connections.Unsaved())
	stopped := make(chan struct{})
	go func() { one.Stop(); close(stopped) }()
	require.Eventually(t, unsaved.engine().tasks.Held, time.Minute, time.Millisecond)
	unsaved.Storage.Judge(nil)
	assert.Eventually(t, func() bool {
		return unsaved.engine().connections.Unsaved() == 0
	}, time.Minute, time.Millisecond, "the third mount is busy still")
	close(release)
	(<-answer).OK(t)
	<-stopped
}

// Vault makes a backend only to ask for its metadata, and cleans it while mounts of the same process work.
func TestEndOfABackendThatNeverBegan(t *testing.T) {
	o := Options{Process: &Process{}}
	f := newFixture(t, o, testenv.InProcess)
	config := &logical.BackendConfig{System: &testenv.System{}, StorageView: &testenv.Storage{}}
	b, err := New(o)(t.Context(), config)
	require.NoError(t, err)
	b.Cleanup(t.Context())
	assert.False(t, f.engine().tasks.Held())
}

// An import does not ask again and again what became of an intent when nobody is at work on it.
func TestImportBesideAnIntentOfUnknownOutcome(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	k := aKey("x")
	imported := map[string]any{"provider": "acme", "refresh_token": "grant"}
	f.Write("connections/x", with(imported, map[string]any{"verify": false})).OK(t)
	c, err := f.engine().store.Connection(t.Context(), k)
	require.NoError(t, err)
	intent := &store.Intent{Key: k.String(), Generation: c.Generation, Time: f.Now()}
	require.NoError(t, f.engine().store.PutIntent(t.Context(), k, intent))
	f.Advance(time.Minute)
	// The provider cannot be read when the grant is about to be sent, so the renewal ends before it knows more.
	f.Storage.Judge(func(a testenv.Access) error {
		switch {
		case a.Op == "put" && a.Under("wal/"):
			f.engine().invalidate(context.Background(), "provider/acme")
		case !a.Write() && a.Under("provider/"):
			return testenv.ErrStorage
		}
		return nil
	})
	require.GreaterOrEqual(t, f.Write("refresh/x", nil).Status, http.StatusBadRequest)
	f.Storage.Judge(nil)
	require.Eventually(t, func() bool { return f.engine().refresher.InFlight() == 0 }, time.Minute, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	f.WriteCtx(ctx, "connections/x", imported)
	assert.NoError(t, ctx.Err(), "the import has ended by itself")
}
