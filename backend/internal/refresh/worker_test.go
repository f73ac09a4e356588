package refresh_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// fleet is many connections at several providers. Each refresh token is good once.
type fleet struct {
	*engine
	storage *testenv.Storage
	store   store.Store
	paused  bool
	clock   func() time.Time // nil: time.Now
	idle    time.Duration

	mu       sync.Mutex
	writable bool
	latency  map[string]time.Duration // by provider
	fault    func(provider string) error
	good     map[string]bool // refresh tokens
	calls    map[string]int  // by provider
	peak     map[string]int  // most calls at once, by provider
	running  map[string]int
	seen     map[string]int // by refresh token
	looks    int            // how often somebody asked for the terms
	unread   error          // why the terms cannot be read
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	return fleetOver(t, &testenv.Storage{}, map[string]bool{})
}

// fleetOver is a process over storage and refresh tokens that others may have used before.
func fleetOver(t *testing.T, storage *testenv.Storage, good map[string]bool) *fleet {
	t.Helper()
	f := &fleet{
		storage: storage, writable: true, latency: map[string]time.Duration{}, good: good,
		calls: map[string]int{}, peak: map[string]int{}, running: map[string]int{}, seen: map[string]int{},
	}
	f.store = store.New(f.storage)
	f.engine = newEngine(options{
		Store: f.store, Source: f, Now: f.now, Changed: func(store.Key, *store.Connection) {},
		Writable: func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.writable },
		Paused:   func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.paused },
		Uncached: func() bool { return false },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { f.Work(ctx); close(done) }()
	t.Cleanup(func() {
		cancel()
		<-done
		end, cancel := context.WithTimeout(context.Background(), 24*time.Hour)
		defer cancel()
		f.Close(end)
	})
	return f
}

func (f *fleet) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.clock != nil {
		return f.clock()
	}
	return time.Now()
}

func (*fleet) Lifetime(context.Context, store.Key, *store.Connection) (until time.Time) { return until }

func (f *fleet) Terms(_ context.Context, _ store.Key, c *store.Connection) (refresh.Terms, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looks++
	same := fingerprint
	return refresh.Terms{
		Fingerprint: &same, Serial: 1, CanRefresh: !c.Grant.RefreshToken.IsZero(), MayRotate: true, Margin: 10 * time.Minute,
		Poll: time.Minute, Paused: f.paused, Idle: f.idle,
	}, f.unread
}

func (f *fleet) Refresh(_ context.Context, _ store.Key, c *store.Connection) (*providers.Grant, error) {
	f.mu.Lock()
	p, token := c.Provider, c.Grant.RefreshToken.Reveal()
	f.calls[p]++
	f.seen[token]++
	f.running[p]++
	f.peak[p] = max(f.peak[p], f.running[p])
	latency, fault := f.latency[p], f.fault
	f.mu.Unlock()
	time.Sleep(latency)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running[p]--
	if fault != nil {
		if err := fault(p); err != nil {
			return nil, err
		}
	}
	if !f.good[token] {
		return nil, &providers.Error{Class: providers.Rejected, Reason: "invalid_grant"}
	}
	delete(f.good, token)
	g := *c.Grant
	next := token + "+"
	f.good[next] = true
	g.RefreshToken, g.AccessToken = providers.NewSecret(next), providers.NewSecret("access of "+next)
	g.Issued, g.Expires = time.Now(), time.Now().Add(time.Hour)
	return &g, nil
}

// add makes n connections at a provider whose tokens of an hour have left to live.
func (f *fleet) add(t *testing.T, provider string, n int, left time.Duration) {
	t.Helper()
	for i := range n {
		k := store.Key{Owner: store.Owner{Org: provider}, Name: fmt.Sprintf("c%05d", i)}
		token := fmt.Sprintf("%s-%d", provider, i)
		f.set(func() { f.good[token] = true })
		_, err := f.Update(context.Background(), k, func(*store.Connection) (*store.Connection, error) {
			c := &store.Connection{
				Provider: provider, Credential: store.Credential{Kind: providers.KindAuthorizationCode, FlowID: "flow"},
			}
			issued := time.Now().Add(left - time.Hour)
			c.Adopt(&providers.Grant{
				AccessToken: providers.NewSecret("access"), RefreshToken: providers.NewSecret(token), Issued: issued,
				Expires: issued.Add(time.Hour),
			}, fingerprint, issued)
			return c, nil
		})
		require.NoError(t, err)
	}
}

func (f *fleet) count(provider string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[provider]
}

func (f *fleet) looked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.looks
}

func (f *fleet) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// alive checks that every connection has a token that lives, and that no refresh token was spent twice.
func (f *fleet) alive(t *testing.T) {
	t.Helper()
	require.NoError(t, eachConnection(context.Background(), f.store, func(k store.Key, c *store.Connection) {
		require.Equal(t, store.StatusActive, statusOf(c), k)
		require.True(t, time.Now().Before(c.Grant.Expires), "%s is dead", k)
	}))
	f.mu.Lock()
	defer f.mu.Unlock()
	for token, n := range f.seen {
		require.Equal(t, 1, n, "token %s was spent %d times", token, n)
	}
}

func TestWorker(t *testing.T) {
	bubble(t, "while nothing is due it touches nothing", func(t *testing.T) {
		f := newFleet(t)
		f.add(t, "acme", 1000, 59*time.Minute)
		synctest.Wait()
		f.storage.Forget()
		time.Sleep(45 * time.Minute)
		require.Empty(t, f.storage.History())
		require.Zero(t, f.count("acme"))
		require.Equal(t, 1000, f.Health().Scheduled)
	})
	bubble(t, "ten thousand due in one minute are refreshed in time, by one request each", func(t *testing.T) {
		f := newFleet(t)
		f.set(func() { f.latency["acme"] = 50 * time.Millisecond })
		f.add(t, "acme", 10_000, 13*time.Minute) // due between three minutes minus the spread, and three minutes
		time.Sleep(10 * time.Minute)
		require.Equal(t, 10_000, f.count("acme"))
		f.alive(t)
		require.LessOrEqual(t, f.peak["acme"], gate.Places)
	})
	bubble(t, "a day long, each token is refreshed in time and none twice", func(t *testing.T) {
		f := newFleet(t)
		f.add(t, "acme", 50, 30*time.Minute)
		for range 24 * 6 {
			time.Sleep(10 * time.Minute)
			f.alive(t)
		}
		require.InDelta(t, 50*24*60/50, f.count("acme"), 50*3)
	})
	bubble(t, "one provider that hangs holds up no other", func(t *testing.T) {
		f := newFleet(t)
		f.set(func() { f.latency["slow"] = time.Hour })
		f.add(t, "slow", 1000, 11*time.Minute)
		f.add(t, "quick", 100, 11*time.Minute)
		time.Sleep(2 * time.Minute)
		require.Equal(t, 100, f.count("quick"))
		require.Equal(t, gate.Places, f.count("slow"))
		f.set(func() { f.latency["slow"] = 0 })
		time.Sleep(2 * time.Hour)
	})
	bubble(t, "paused, and on a node that may not write, it does nothing; then it goes on", func(t *testing.T) {
		f := newFleet(t)
		f.set(func() { f.paused = true })
		f.add(t, "acme", 10, 11*time.Minute)
		time.Sleep(5 * time.Minute)
		require.Zero(t, f.count("acme"))
		require.Equal(t, 10, f.Health().Overdue)
		f.set(func() { f.paused, f.writable = false, false })
		f.Nudge()
		time.Sleep(time.Minute)
		require.Zero(t, f.count("acme"))
		require.Equal(t, 10, f.Health().Overdue)
		f.set(func() { f.writable = true })
		f.Nudge()
		time.Sleep(time.Second)
		require.Equal(t, 10, f.count("acme"))
		f.alive(t)
	})
	bubble(t, "a grant that must be used is used though nobody reads and nothing expires", func(t *testing.T) {
		f := newFleet(t)
		f.set(func() { f.idle = 90 * 24 * time.Hour })
		f.add(t, "acme", 1, 59*time.Minute)
		k := store.Key{Owner: store.Owner{Org: "acme"}, Name: "c00000"}
		_, err := f.Update(context.Background(), k, func(c *store.Connection) (*store.Connection, error) {
			c.Grant.Expires = time.Time{}
			return c, nil
		})
		require.NoError(t, err)
		time.Sleep(65 * 24 * time.Hour)
		require.Zero(t, f.count("acme"))
		time.Sleep(8 * 24 * time.Hour)
		require.NotZero(t, f.count("acme"))
	})
	bubble(t, "after a restart what was read from storage is refreshed in time", func(t *testing.T) {
		f := newFleet(t)
		f.set(func() { f.paused = true })
		f.add(t, "acme", 20, 12*time.Minute)
		again := fleetOver(t, f.storage, f.good)
		require.NoError(t, eachConnection(context.Background(), f.store, func(k store.Key, c *store.Connection) {
			again.Schedule(context.Background(), k, c)
		}))
		time.Sleep(5 * time.Minute)
		require.Equal(t, 20, again.count("acme"))
		again.alive(t)
	})
	bubble(t, "what falls due while the worker looks is not late", func(t *testing.T) {
		f := newFleet(t)
		f.add(t, "acme", 1, 13*time.Minute)
		synctest.Wait()
		looks := 0
		f.set(func() {
			f.clock = func() time.Time {
				if looks++; looks == 1 {
					return time.Now()
				}
				return time.Now().Add(4 * time.Minute) // due between the worker's first look and the next
			}
		})
		f.Nudge()
		time.Sleep(time.Second)
		require.Equal(t, 1, f.count("acme"))
	})
	bubble(t, "with much due, the first does not wait for a look at the last", func(t *testing.T) {
		f := newFleet(t)
		f.set(func() { f.paused = true })
		f.add(t, "acme", 100, -time.Second)
		f.storage.Judge(func(a testenv.Access) error {
			if a.Op == "get" && strings.HasPrefix(a.Key, "connection/") {
				time.Sleep(time.Second) // storage is slow
			}
			return nil
		})
		for i := range 100 {
			f.Invalidate(at("acme", i))
		}
		f.set(func() { f.paused = false })
		f.Nudge()
		time.Sleep(20 * time.Second)
		require.Positive(t, f.count("acme"))
	})
	bubble(t, "one that waits for its provider waits once", func(t *testing.T) {
		f := newFleet(t)
		f.latency["acme"] = time.Minute
		f.add(t, "acme", 40, -time.Second)
		time.Sleep(time.Second)
		var all []store.Key
		for i := range 40 {
			all = append(all, at("acme", i))
		}
		for range 5 {
			f.Reconsider(all)
			time.Sleep(time.Second)
		}
		require.LessOrEqual(t, f.Health().Due, 40)
		time.Sleep(10 * time.Minute)
		f.alive(t)
		require.Equal(t, 40, f.count("acme"))
	})
	bubble(t, "storage that refuses is not asked in a loop", func(t *testing.T) {
		f := newFleet(t)
		f.add(t, "acme", 10, 13*time.Minute)
		f.storage.FailWrites()
		f.storage.Forget()
		time.Sleep(10 * time.Minute)
		require.Zero(t, f.count("acme"))
		require.LessOrEqual(t, f.storage.Writes(), 10*12)
		f.storage.Judge(nil)
		time.Sleep(2 * time.Minute)
		require.Equal(t, 10, f.count("acme"))
	})
}

func TestOutage(t *testing.T) {
	down := func(string) error {
		return &providers.Error{Class: providers.Transient, Step: "refresh", Status: 503, Reason: "server_error"}
	}
	bubble(t, "a dead provider is probed, not hammered, and all come back quickly", func(t *testing.T) {
		f := newFleet(t)
		f.set(func() {
			f.fault = func(p string) error {
				if p == "acme" {
					return down(p)
				}
				return nil
			}
		})
		f.add(t, "acme", 10_000, 11*time.Minute)
		f.add(t, "well", 100, 11*time.Minute)
		time.Sleep(8 * time.Minute)
		require.LessOrEqual(t, f.count("acme"), 16+12, "the first sixteen and the probes")
		require.Equal(t, 100, f.count("well"))
		require.Equal(t, "open", f.Health().Circuits["acme"].State)
		before := f.count("acme")

		f.set(func() { f.fault, f.latency["acme"] = nil, 20*time.Millisecond })
		time.Sleep(5*time.Minute + 30*time.Second) // the longest wait for a probe, and the crowd
		require.Equal(t, before+10_000, f.count("acme"))
		require.Empty(t, f.Health().Circuits)
		require.NoError(t, eachConnection(context.Background(), f.store, func(k store.Key, c *store.Connection) {
			require.Equal(t, store.StatusActive, statusOf(c))
			require.Zero(t, c.Attempt)
		}))
	})
	bubble(t, "Retry-After holds for all of the provider", func(t *testing.T) {
		f := newFleet(t)
		f.set(func() {
			f.fault = func(string) error {
				return &providers.Error{
					Class: providers.RateLimited, Step: "refresh", Status: 429, Reason: "rate_limited", RetryAfter: 5 * time.Minute,
				}
			}
		})
		f.add(t, "acme", 500, 11*time.Minute)
		time.Sleep(3 * time.Minute)
		require.LessOrEqual(t, f.count("acme"), 16)
		require.Equal(t, "limited", f.Health().Circuits["acme"].State)
		f.set(func() { f.fault = nil })
		time.Sleep(7 * time.Minute)
		require.LessOrEqual(t, f.count("acme"), 16+500)
		f.storage.Judge(nil)
		require.NoError(t, eachConnection(context.Background(), f.store, func(k store.Key, c *store.Connection) {
			require.True(t, time.Now().Before(c.Grant.Expires))
		}))
	})
	bubble(t, "a call that was under way does not lift Retry-After", func(t *testing.T) {
		f := newFleet(t)
		limited := 0
		f.set(func() {
			f.latency["acme"] = time.Second
			f.fault = func(string) error {
				if limited++; limited == 1 {
					return &providers.Error{
						Class: providers.RateLimited, Step: "refresh", Status: 429, Reason: "rate_limited", RetryAfter: 5 * time.Minute,
					}
				}
				return nil
			}
		})
		f.add(t, "acme", 2, 9*time.Minute)
		time.Sleep(time.Minute)
		require.Equal(t, 2, f.count("acme"))
		require.Equal(t, "limited", f.Health().Circuits["acme"].State)
	})
	bubble(t, "one connection that fails alone opens nothing", func(t *testing.T) {
		f := newFleet(t)
		f.set(func() { f.fault = down })
		f.add(t, "acme", 1, 11*time.Minute)
		time.Sleep(10 * time.Minute)
		require.Empty(t, f.Health().Circuits)
		require.Greater(t, f.count("acme"), 3)
		require.Less(t, f.count("acme"), 20)
	})
	bubble(t, "readers of dead tokens wait for the probe too", func(t *testing.T) {
		f := newFleet(t)
		f.set(func() { f.fault = down })
		f.add(t, "acme", 1000, 11*time.Minute)
		time.Sleep(20 * time.Minute)
		before := f.count("acme")
		for i := range 1000 {
			k := store.Key{Owner: store.Owner{Org: "acme"}, Name: fmt.Sprintf("c%05d", i)}
			_, err := f.Get(context.Background(), k, anybody, 0)
			require.Equal(t, refresh.Unavailable, problem(t, err))
		}
		require.LessOrEqual(t, f.count("acme"), before+1)
	})
}
