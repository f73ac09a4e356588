package refresh_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

const life = time.Hour // of each token

// jumps are what a clock does when somebody corrects it, or a machine wakes up.
var jumps = map[string]time.Duration{"an hour forward": time.Hour, "an hour back": -time.Hour}

// node is a whole node with one connection: a worker, Vault's heartbeat, and a clock that can be wrong. The provider's
// clock, the test's own, is always right.
//
// Only what a clock on the wall says can be staged. What is never stored, such as a circuit, goes by the monotonic
// clock outside of tests and is not moved by a jump.
type node struct {
	*engine
	store    store.Store
	provider *source
	skew     atomic.Int64
	looks    atomic.Int32 // at the connection, by anybody
	calls    atomic.Int32 // to the provider
	onLook   atomic.Pointer[func()]
	onCall   atomic.Pointer[func() error] // before the provider hears of it
	newest   int                          // the newest token that was handed out
	dies     sync.Map                     // when each token truly does
}

// startNode starts a node over storage. Until quit is called it works.
func startNode(t *testing.T, storage *testenv.Storage, provider *source, skew time.Duration) (n *node, quit func()) {
	t.Helper()
	n = &node{store: store.New(storage), provider: provider}
	n.set(skew)
	n.engine = newEngine(options{
		Store: n.store, Source: n, Writable: func() bool {
			return true
		}, Now: n.now, Paused: func() bool { return false }, Uncached: func() bool {
			return false
		}, Changed: func(store.Key, *store.Connection) {},
	})
	ctx, cancel := context.WithCancel(context.Background())
	worked, beaten := make(chan struct{}), make(chan struct{})
	go func() { defer close(worked); n.Work(ctx) }()
	go func() {
		defer close(beaten)
		for beat := time.NewTicker(time.Minute); ; {
			select {
			case <-beat.C:
				n.Nudge()
			case <-ctx.Done():
				beat.Stop()
				return
			}
		}
	}()
	require.NoError(t, eachConnection(ctx, n.store, func(k store.Key, c *store.Connection) {
		n.Schedule(ctx, k, c)
	}))
	n.Nudge()
	return n, func() {
		cancel()
		<-worked
		<-beaten
		end, cancel := context.WithTimeout(context.Background(), 24*time.Hour)
		defer cancel()
		n.Close(end)
	}
}

// runNode is startNode for a node that works until the test ends, over a token that has left to live.
func runNode(t *testing.T, left time.Duration) *node {
	t.Helper()
	b := given(t, left)
	n, quit := startNode(t, b.storage, b.source, 0)
	n.dies.Store("access-0", time.Now().Add(left))
	t.Cleanup(quit)
	return n
}

func (n *node) now() time.Time { return time.Now().Add(time.Duration(n.skew.Load())).Round(0) }

func (n *node) set(skew time.Duration) { n.skew.Store(int64(skew)) }

// Terms implements [refresh.Source].
func (n *node) Terms(ctx context.Context, k store.Key, c *store.Connection) (refresh.Terms, error) {
	n.looks.Add(1)
	if look := n.onLook.Load(); look != nil {
		(*look)()
	}
	return n.provider.Terms(ctx, k, c)
}

// Lifetime implements [refresh.Source].
func (n *node) Lifetime(ctx context.Context, k store.Key, c *store.Connection) time.Time {
	return n.provider.Lifetime(ctx, k, c)
}

// Refresh implements [refresh.Source]: lifetimes count from when it asked, by its own clock.
func (n *node) Refresh(ctx context.Context, k store.Key, c *store.Connection) (*providers.Grant, error) {
	asked := n.now()
	n.calls.Add(1)
	if call := n.onCall.Load(); call != nil {
		if err := (*call)(); err != nil {
			return nil, err
		}
	}
	g, err := n.provider.Refresh(ctx, k, c)
	if g != nil {
		g.Issued, g.Expires = asked, asked.Add(life)
		n.dies.Store(g.AccessToken.Reveal(), time.Now().Add(life))
	}
	return g, err
}

// atCalls runs do before each call to the provider; its error is the call's.
func (n *node) atCalls(do func() error) { n.onCall.Store(&do) }

// read reads the credential and checks that it is none that was replaced already, nor one that is dead.
func (n *node) read(t *testing.T) refresh.Answer {
	t.Helper()
	a, err := n.Get(context.Background(), key, anybody, 0)
	require.NoError(t, err)
	var token int
	_, err = fmt.Sscanf(a.Connection.Grant.AccessToken.Reveal(), "access-%d", &token)
	require.NoError(t, err)
	require.GreaterOrEqual(t, token, n.newest, "an older token after a newer one")
	n.newest = token
	if dies, ok := n.dies.Load(a.Connection.Grant.AccessToken.Reveal()); ok {
		require.True(t, time.Now().Before(dies.(time.Time)), "dead for %s", time.Since(dies.(time.Time)))
	}
	ttl, period := a.TTL(n.now())
	require.GreaterOrEqual(t, ttl, refresh.MinTTL)
	require.LessOrEqual(t, ttl, life)
	require.GreaterOrEqual(t, period, refresh.MinTTL)
	require.LessOrEqual(t, period, life)
	return a
}

// pass lets time go by, with a reader each minute if there is one, and checks that nothing is overdue by this clock.
func (n *node) pass(t *testing.T, d time.Duration, reading bool) {
	t.Helper()
	for range d / time.Minute {
		time.Sleep(time.Minute)
		if reading {
			n.read(t)
		}
		synctest.Wait()
		c, err := n.Load(context.Background(), key)
		require.NoError(t, err)
		require.Equal(t, store.StatusActive, statusOf(c))
		due := c.Grant.Expires.Add(-10 * time.Minute)
		require.False(t, n.now().After(due.Add(time.Minute)), "due since %s", n.now().Sub(due))
	}
}

// bounded checks that the time which passed explains what was done: a request for each life and each demand, and
// beside the looks of readers not more than one in a minute.
func (n *node) bounded(t *testing.T, passed time.Duration, demands, reads int) {
	t.Helper()
	most := int(passed/(life/2)) + demands
	require.LessOrEqual(t, int(n.calls.Load()), most, "requests")
	require.LessOrEqual(t, int(n.looks.Load()), reads+int(passed/time.Minute), "looks")
}

func TestClockJumps(t *testing.T) {
	down := func() error {
		return &providers.Error{Class: providers.Transient, Step: "refresh", Reason: "server_error"}
	}
	for name, jump := range jumps {
		for who, reading := range map[string]bool{"nobody reads": false, "somebody reads": true} {
			bubble(t, name+" while nothing is in flight, "+who, func(t *testing.T) {
				n := runNode(t, 30*time.Minute)
				n.pass(t, 5*time.Minute, reading)
				n.set(jump)
				n.pass(t, 2*time.Hour, reading)
				n.set(0)
				n.pass(t, 6*time.Hour, reading)
				n.bounded(t, 8*time.Hour, 3, 8*60+5)
				require.Equal(t, life, n.read(t).Connection.Grant.Lifetime())
			})
		}
		bubble(t, name+" while a flight is out", func(t *testing.T) {
			n := runNode(t, 30*time.Minute)
			release := make(chan struct{})
			n.atCalls(func() error { <-release; return nil })
			answered := make(chan error)
			go func() { _, err := n.engine.Refresh(context.Background(), key, anybody); answered <- err }()
			synctest.Wait()
			n.set(jump)
			time.Sleep(10 * time.Second)
			close(release)
			require.NoError(t, <-answered)
			n.pass(t, 90*time.Minute, true)
			n.set(0)
			n.pass(t, 3*time.Hour, true)
			n.bounded(t, 5*time.Hour, 3, 5*60)
		})
		bubble(t, name+" after a success: refresh is not held up by it", func(t *testing.T) {
			n := runNode(t, 30*time.Minute)
			n.set(-jump)
			_, err := n.engine.Refresh(context.Background(), key, anybody)
			require.NoError(t, err)
			n.set(0)
			_, err = n.engine.Refresh(context.Background(), key, anybody)
			require.NoError(t, err)
			require.EqualValues(t, 2, n.calls.Load())
			require.Equal(t, "access-2", n.read(t).Connection.Grant.AccessToken.Reveal())
		})
	}
	bubble(t, "an hour forward after a failure: it is tried again, and no more than once", func(t *testing.T) {
		n := runNode(t, 30*time.Minute)
		n.atCalls(down)
		_, err := n.engine.Refresh(context.Background(), key, anybody)
		require.Equal(t, refresh.Unavailable, problem(t, err))
		n.set(time.Hour)
		for range 10 {
			_, err = n.Get(context.Background(), key, anybody, 0)
			require.Equal(t, refresh.Unavailable, problem(t, err))
		}
		require.EqualValues(t, 2, n.calls.Load())
		n.onCall.Store(nil)
		time.Sleep(time.Minute)
		n.pass(t, time.Hour, false)
		n.bounded(t, time.Hour, 2, 11)
	})
	failedAhead := func(t *testing.T, left time.Duration) *node {
		t.Helper()
		n := runNode(t, left)
		n.set(time.Hour)
		n.atCalls(down)
		_, err := n.engine.Refresh(context.Background(), key, anybody)
		require.Equal(t, refresh.Unavailable, problem(t, err))
		n.onCall.Store(nil)
		n.set(0)
		return n
	}
	bubble(t, "an hour back after a failure: readers of a dead token do not wait for it", func(t *testing.T) {
		n := failedAhead(t, -time.Second)
		require.Equal(t, "access-1", n.read(t).Connection.Grant.AccessToken.Reveal())
	})
	bubble(t, "an hour back after a failure: refresh is not held up by it", func(t *testing.T) {
		n := failedAhead(t, 30*time.Minute)
		_, err := n.engine.Refresh(context.Background(), key, anybody)
		require.NoError(t, err)
	})
	bubble(t, "an hour back between two looks of the worker: it does not turn round and round", func(t *testing.T) {
		n := runNode(t, 11*time.Minute)
		synctest.Wait()
		before := n.looks.Load()
		look := func() {
			switch n.looks.Load() - before {
			case 1:
				n.set(-time.Hour)
			case 100:
				n.set(0) // or the test would never end
			}
		}
		n.onLook.Store(&look)
		time.Sleep(30 * time.Minute)
		require.LessOrEqual(t, n.looks.Load()-before, int32(5))
		n.onLook.Store(nil)
		n.set(0)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.NotZero(t, n.calls.Load(), "the clock is right, and so is it")
	})
}

// A crash, and a clock that is another by the time the process is back: what was cut off is known by its generation.
func TestClockJumpsWhileAnIntentIsOpen(t *testing.T) {
	for name, jump := range jumps {
		for reuse, window := range map[string]bool{"which takes a spent token again": true, "which does not": false} {
			bubble(t, name+", at a provider "+reuse, func(t *testing.T) {
				b := given(t, 30*time.Minute)
				b.source.window = window
				never := make(chan struct{})
				b.source.after = func(call int) error {
					if call == 1 {
						b.storage.Judge(func(testenv.Access) error { return testenv.ErrStorage }) // this process writes no more
						<-never
						return testenv.ErrStorage
					}
					return nil
				}
				crashed, quit := startNode(t, b.storage, b.source, 0)
				t.Cleanup(func() { close(never); quit() })
				go func() { _, _ = crashed.engine.Refresh(context.Background(), key, anybody) }()
				synctest.Wait()
				b.storage.Judge(nil)

				n, quitNext := startNode(t, b.storage, b.source, jump)
				t.Cleanup(quitNext)
				require.NoError(t, n.Recover(context.Background()))
				synctest.Wait()
				require.Nil(t, b.intent(t))
				require.EqualValues(t, 2, b.source.calls.Load())
				c := b.stored(t)
				if !window {
					require.Equal(t, store.ReasonOutcomeUnknown, reasonOf(c))
					return
				}
				require.Equal(t, store.StatusActive, statusOf(c))
				require.Equal(t, "access-2", n.read(t).Connection.Grant.AccessToken.Reveal())
				n.set(0)
				n.pass(t, 3*time.Hour, true)
				n.bounded(t, 3*time.Hour, 3, 3*60+1)
			})
		}
	}
}

// The node that was active before had a clock an hour ahead.
func TestEntryFromAClockAhead(t *testing.T) {
	ahead := func(t *testing.T, change func(c *store.Connection, then time.Time)) *node {
		t.Helper()
		b := given(t, 30*time.Minute)
		then := time.Now().Add(time.Hour).Round(0)
		c := b.stored(t)
		change(c, then)
		require.NoError(t, putConnection(context.Background(), b.store, key, c))
		n, quit := startNode(t, b.storage, b.source, 0)
		t.Cleanup(quit)
		return n
	}
	refreshed := func(c *store.Connection, then time.Time) {
		g := *c.Grant
		g.Issued, g.Expires = then, then.Add(life)
		c.Refreshed(&g, then)
	}
	bubble(t, "its success does not hold up a demand to refresh", func(t *testing.T) {
		n := ahead(t, refreshed)
		a, err := n.engine.Refresh(context.Background(), key, anybody)
		require.NoError(t, err)
		require.Equal(t, "access-1", a.Connection.Grant.AccessToken.Reveal())
		require.WithinDuration(t, n.now().Add(life), a.Connection.Grant.Expires, 0)
		n.pass(t, 3*time.Hour, true)
		n.bounded(t, 3*time.Hour, 2, 3*60)
	})
	bubble(t, "its token is replaced, since nobody knows when it dies", func(t *testing.T) {
		n := runNode(t, 30*time.Minute)
		n.set(-time.Hour) // which is the same: its token was issued half an hour from now
		ttl, _ := n.read(t).TTL(n.now())
		require.Equal(t, refresh.MinTTL, ttl)
		synctest.Wait()
		a := n.read(t)
		require.Equal(t, "access-1", a.Connection.Grant.AccessToken.Reveal())
		ttl, _ = a.TTL(n.now())
		require.Equal(t, 50*time.Minute, ttl)
	})
	bubble(t, "nor do its failures hold up anybody", func(t *testing.T) {
		n := ahead(t, func(c *store.Connection, then time.Time) {
			c.Grant.Expires = time.Now().Add(-time.Second)
			c.RefreshFailed(store.Failure{
				Error: &providers.Error{Class: providers.Unknown, Reason: "timeout"}, Lost: true, Next: then.Add(10 * time.Minute),
				ProviderSerial: 1,
			}, then)
		})
		require.Equal(t, "access-1", n.read(t).Connection.Grant.AccessToken.Reveal())
	})
	bubble(t, "nor the worker", func(t *testing.T) {
		n := ahead(t, func(c *store.Connection, then time.Time) {
			c.RefreshFailed(store.Failure{
				Error: &providers.Error{Class: providers.Transient, Reason: "server_error"}, Next: then.Add(10 * time.Minute),
				ProviderSerial: 1,
			}, then)
		})
		n.pass(t, 3*time.Hour, false)
		n.bounded(t, 3*time.Hour, 1, 0)
	})
	bubble(t, "the worker replaces its token, too", func(t *testing.T) {
		n := ahead(t, refreshed)
		synctest.Wait()
		require.EqualValues(t, 1, n.calls.Load())
		require.WithinDuration(t, n.now().Add(life), n.read(t).Connection.Grant.Expires, 0)
	})
	bubble(t, "nor is it left alone for ever", func(t *testing.T) {
		n := ahead(t, refreshed)
		n.pass(t, 3*time.Hour, false)
		require.NotZero(t, n.calls.Load())
		n.bounded(t, 3*time.Hour, 2, 0)
	})
}
