package backend

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// passed waits until the background has looked for what is due at this time.
func (f *fixture) passed(t *testing.T) {
	t.Helper()
	now := f.Now().Format(time.RFC3339)
	require.Eventually(t, func() bool {
		f.periodic(t)
		return f.Read("status", nil).OK(t)["last_pass"] == now
	}, time.Minute, time.Millisecond)
}

// finishes lets time pass until the background has carried a deletion through.
func (f *fixture) finishes(t *testing.T, path string) {
	t.Helper()
	require.Eventually(t, func() bool {
		f.Advance(time.Minute)
		f.periodic(t)
		return f.Read(path, nil).Status == http.StatusNotFound
	}, time.Minute, 5*time.Millisecond)
}

// A deletion that the end of the mount overtakes before it has revoked must not remove what is to be revoked.
func TestDeletionThatTheEndOfTheMountOvertakes(t *testing.T) {
	const places = 16
	f := newFixture(t, Options{}, testenv.InProcess)
	f.connect(t, "slack")
	release := make(chan struct{})
	var inside atomic.Int32
	for range places {
		f.provider.Next(providers.StepToken, func(
			s *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc,
		) {
			inside.Add(1)
			select {
			case <-release:
			case <-r.Context().Done():
			}
			// None may connect: they are the same person's account, which would be spared then.
			providertest.Respond(400, `{"error":"invalid_grant"}`)(s, w, r, behave)
		})
	}
	var all sync.WaitGroup
	for _, name := range f.names(places) {
		who := testenv.Entity("e-" + name) // one caller has fewer places
		own := f.own(t, "user/"+name+"/slack", nil, who)
		all.Go(func() { f.Write("exchange", own, who) }) // refused, in the end
	}
	require.Eventually(t, func() bool { return inside.Load() == places }, time.Minute, time.Millisecond)
	deleted, stopped := make(chan testenv.Result, 1), make(chan struct{})
	go func() { deleted <- f.Delete("connections/slack", nil) }()
	require.Eventually(t, func() bool {
		return f.engine().gate.Report().Waiting == 1
	}, time.Minute, time.Millisecond, "the deletion waits to revoke")
	go func() { f.Stop(); close(stopped) }()
	assert.GreaterOrEqual(t, (<-deleted).Status, http.StatusBadRequest, "it is not done")
	close(release)
	<-stopped
	all.Wait()
	c, err := f.engine().store.Connection(t.Context(), aKey("slack"))
	require.NoError(t, err)
	require.NotNil(t, c)
	assert.False(t, c.Deleting.IsZero(), "the next process must know of the deletion")

	f.restart(t)
	f.finishes(t, "connections/slack")
}

// A pause holds up refreshes only. A connection may wait for its refresh when it is deleted.
func TestDeletionThatWasCutOffWhileRefreshingIsPaused(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.connect(t, "slack")
	f.connect(t, "other")
	f.Write("config", map[string]any{"refresh_paused": true}).OK(t)
	f.Advance(58 * time.Minute)
	f.passed(t) // its refresh is due, and waits
	f.Storage.Judge(func(a testenv.Access) error {
		if a.Op == "delete" && a.Under("connection/org/default/slack") {
			return testenv.ErrStorage
		}
		return nil
	})
	f.Delete("connections/slack", nil).Refused(t, http.StatusInternalServerError)
	f.Storage.Judge(nil)
	f.finishes(t, "connections/slack")
	assert.Zero(t, f.provider.Count(providers.StepRefresh), "refreshing is paused still")
}

// Each deletion sees the other connection of the account; the later one must revoke nevertheless.
func TestTwoConnectionsOfOneAccountDeletedAtOnce(t *testing.T) {
	for name, step := range map[string]func(testenv.Access) bool{
		"both are marked before either goes on": func(a testenv.Access) bool {
			return a.Op == "put" && a.Under("connection/")
		},
		"both drop their intent before either goes on": func(a testenv.Access) bool {
			return a.Op == "delete" && a.Under("wal/")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, Options{}, testenv.InProcess)
			f.connect(t, "a")
			f.connect(t, "b")
			var both sync.WaitGroup
			both.Add(2)
			var n atomic.Int32
			f.Storage.Judge(func(a testenv.Access) error {
				if step(a) && n.Add(1) <= 2 {
					both.Done()
					both.Wait()
				}
				return nil
			})
			var all sync.WaitGroup
			for _, path := range []string{"connections/a", "connections/b"} {
				all.Go(func() { assert.Less(t, f.Delete(path, nil).Status, http.StatusMultipleChoices) })
			}
			all.Wait()
			assert.NotZero(t, f.provider.Count(providers.StepRevoke), "nothing rests on the account any more")
		})
	}
}

// Behind the fence a snapshot is looked at: the grants in it belong to the mount that it was taken from.
func TestDeletionThatWasCutOffBehindTheFence(t *testing.T) {
	f := newFixture(t, Options{Paused: true}, testenv.InProcess)
	f.connect(t, "slack")
	c, err := f.engine().store.Connection(t.Context(), aKey("slack"))
	require.NoError(t, err)
	c.Deleting, c.Serial = f.Now(), c.Serial+1
	require.NoError(t, f.engine().store.PutConnection(t.Context(), aKey("slack"), c))
	f.restart(t)
	f.Advance(2 * time.Minute)
	f.passed(t)
	f.Stop() // what the background began has ended
	assert.Zero(t, f.provider.Count(providers.StepRevoke))
	assert.Equal(t, []string{"slack"}, f.stored(t, "connection/org/default/"))

	f.Env = testenv.InProcess(t, New(Options{Now: f.Now}), f.Storage)
	f.finishes(t, "connections/slack")
	assert.Equal(t, 1, f.provider.Count(providers.StepRevoke), "without the fence it is due")
}

// Whoever asked for a deletion that the background finishes gets no warning, so the log has it.
func TestDeletionInTheBackgroundThatCouldNotRevoke(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.connect(t, "slack")
	f.Storage.Judge(func(a testenv.Access) error {
		if a.Op == "delete" {
			return testenv.ErrStorage
		}
		return nil
	})
	f.provider.Next(providers.StepRevoke, providertest.Respond(503, `{}`), providertest.Respond(503, `{}`))
	f.Delete("connections/slack", nil).Refused(t, http.StatusInternalServerError)
	f.Storage.Judge(nil)
	f.finishes(t, "connections/slack")
	assert.Eventually(t, func() bool { return f.Logs.Contains("may live on") }, time.Minute, time.Millisecond)
}
