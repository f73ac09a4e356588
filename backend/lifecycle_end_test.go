package backend

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// The end of a mount holds up every mount of the process, so it is short whatever hangs; the log names what was given
// up.
func TestEndOfAMount(t *testing.T) {
	const most = 10 * time.Second
	ended := func(t *testing.T, e *testenv.Env) time.Duration {
		t.Helper()
		begun := time.Now()
		e.Stop()
		return time.Since(begun)
	}
	abandoned := func(t *testing.T, e *testenv.Env, names ...string) {
		t.Helper()
		assert.Equal(t, len(names) > 0, e.Logs.Contains("was abandoned"))
		for _, name := range names {
			assert.True(t, e.Logs.Contains(name), name)
		}
	}
	// deaf makes storage answer these accesses when the test has ended.
	deaf := func(t *testing.T, e *testenv.Env, these func(testenv.Access) bool) (asked chan struct{}) {
		t.Helper()
		var once sync.Once
		asked, ended := make(chan struct{}), make(chan struct{})
		e.Storage.Block(these, func(testenv.Access) {
			once.Do(func() { close(asked) })
			<-ended
		})
		t.Cleanup(func() { close(ended) })
		return asked
	}
	write := func(a testenv.Access) bool { return a.Write() && a.Under("connection/") }
	// holds has the mount hold in memory what storage refused.
	holds := func(t *testing.T, e *testenv.Env) {
		t.Helper()
		e.Write("connections/key", map[string]any{"provider": "openai", "api_key": openaiKey}).OK(t)
		refuseConnections(e.Storage)
		_, saved, err := e.Backend.(*backend).connections.Keep(t.Context(), aKey("key"), connections.Act{}, nil,
			func(c *store.Connection) (*store.Connection, error) {
				c.AdoptKey(map[string]providers.Secret{"api_key": providers.NewSecret("another")}, c.Pinned, time.Now())
				return c, nil
			})
		require.NoError(t, err)
		require.False(t, saved)
		e.Storage.Judge(nil)
	}
	// begins starts work of a name as renewals do, and returns when it is under way.
	begins := func(t *testing.T, e *testenv.Env, name string, work func(context.Context)) {
		t.Helper()
		begun := make(chan struct{})
		_, err := e.Backend.(*backend).tasks.Start(name, func(ctx context.Context) (any, error) {
			close(begun)
			work(ctx)
			return nil, ctx.Err()
		})
		require.NoError(t, err)
		<-begun
	}
	untilToldToEnd := func(ctx context.Context) { <-ctx.Done() }
	forAnHour := func(context.Context) { time.Sleep(time.Hour) }

	bubbled(t, "is at once when nothing hangs", func(t *testing.T, e *testenv.Env) {
		assert.Zero(t, ended(t, e))
		abandoned(t, e)
	})
	bubbled(t, "leaves time to save when a provider hangs", func(t *testing.T, e *testenv.Env) {
		begins(t, e, "refresh of a test", untilToldToEnd)
		assert.Less(t, ended(t, e), most)
		abandoned(t, e)
	})
	bubbled(t, "gives up work that does not end", func(t *testing.T, e *testenv.Env) {
		begins(t, e, "refresh of a test", forAnHour)
		assert.LessOrEqual(t, ended(t, e), most)
		abandoned(t, e, "refresh of a test")
	})
	bubbled(t, "gives up a scan that storage does not answer", func(t *testing.T, e *testenv.Env) {
		e.Write("connections/key", map[string]any{"provider": "openai", "api_key": openaiKey}).OK(t)
		asked := deaf(t, e, func(a testenv.Access) bool { return a.Op == "get" && a.Under("connection/") })
		next := testenv.InProcess(t, New(Options{}), e.Storage)
		<-asked
		assert.LessOrEqual(t, ended(t, next), most)
		abandoned(t, next, "waking up")
	})
	for name, hang := range map[string]func(*testing.T, *testenv.Env){
		"hang": func(_ *testing.T, e *testenv.Env) {
			e.Storage.Hang(write, func(testenv.Access) {})
		},
		"hang and do not heed their time": func(t *testing.T, e *testenv.Env) { deaf(t, e, write) },
	} {
		bubbled(t, "gives up saving when writes "+name, func(t *testing.T, e *testenv.Env) {
			holds(t, e)
			hang(t, e)
			assert.LessOrEqual(t, ended(t, e), most)
			assert.True(t, e.Logs.Contains("org/default/key"))
			assert.True(t, e.Logs.Contains("states that storage refused"))
		})
		bubbled(t, "gives up saving when a provider hangs too, and writes "+name, func(t *testing.T, e *testenv.Env) {
			holds(t, e)
			hang(t, e)
			begins(t, e, "refresh of a test", forAnHour)
			assert.LessOrEqual(t, ended(t, e), most)
			abandoned(t, e, "refresh of a test")
		})
	}
	bubbled(t, "saves what storage takes before the end", func(t *testing.T, e *testenv.Env) {
		holds(t, e)
		e.Storage.FailWrites()
		time.AfterFunc(9*time.Second, func() { e.Storage.Judge(nil) })
		begins(t, e, "refresh of a test", untilToldToEnd)
		assert.LessOrEqual(t, ended(t, e), most)
		abandoned(t, e)
		next := testenv.InProcess(t, New(Options{}), e.Storage)
		assert.Equal(t, "another", next.Read("creds/key", nil).OK(t)["api_key"])
	})
	t.Run("does not wait longer for another mount", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			t.Cleanup(func() { time.Sleep(2 * time.Hour) })
			o := Options{Process: &Process{}}
			one := testenv.InProcess(t, New(o), &testenv.Storage{})
			other := testenv.InProcess(t, New(o), &testenv.Storage{})
			begins(t, other, "refresh of a test", forAnHour)
			begins(t, one, "refresh of a test", untilToldToEnd)
			assert.LessOrEqual(t, ended(t, one), most)
		})
	})
}

// Vault is about to erase the storage of a mount that it removes: nothing is worth waiting for, and what would be
// written later would outlive it.
func TestRemovalOfAMount(t *testing.T) {
	for name, c := range map[string]struct {
		told    func() bool // by Vault
		heeds   bool        // whether the work that is under way heeds its context
		removed bool
		takes   time.Duration
	}{
		"breaks off what is under way":  {told: func() bool { return true }, heeds: true, removed: true},
		"abandons what does not notice": {told: func() bool { return true }, removed: true, takes: breakTime},
		"is what Vault says":            {told: func() bool { return false }, heeds: true, takes: landTime},
		"is none as long as Vault is mute": {
			told: func() bool { time.Sleep(time.Hour); return true }, takes: breakTime + drainTime,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				t.Cleanup(func() { time.Sleep(2 * time.Hour) })
				o := Options{Process: &Process{}}
				one := testenv.InProcess(t, New(o), &testenv.Storage{})
				other := testenv.InProcess(t, New(o), &testenv.Storage{}).Backend.(*backend)
				_, err := one.Backend.(*backend).tasks.Start("refresh of a test", func(ctx context.Context) (any, error) {
					if <-ctx.Done(); !c.heeds {
						time.Sleep(time.Hour)
					}
					return nil, ctx.Err()
				})
				require.NoError(t, err)
				one.System.Taint(c.told)
				begun := time.Now()
				one.Stop()
				assert.Equal(t, c.takes, time.Since(begun))
				assert.Equal(t, !c.removed, other.tasks.Held(), "whether the others start nothing")
			})
		})
	}
	t.Run("writes nothing when it has ended", func(t *testing.T) {
		f := newFixture(t, Options{}, testenv.InProcess)
		f.connect(t, "slack")
		f.Advance(time.Minute)
		begun, release := f.blocked()
		answer := make(chan testenv.Result, 1)
		go func() { answer <- f.Write("refresh/slack", nil) }()
		<-begun
		f.System.Taint(func() bool { return true })
		f.Stop()
		f.Storage.Forget()
		close(release)
		(<-answer).Refused(t, http.StatusBadGateway)
		for _, a := range f.Storage.History() {
			assert.False(t, a.Write(), "%s %s", a.Op, a.Key)
		}
		assert.False(t, f.Logs.Contains("was abandoned"))
	})
}

// Over gRPC the pipe has goroutines of its own.
func TestNothingIsLeftRunning(t *testing.T) {
	for name, do := range map[string]func(*testing.T, *fixture){
		"after nothing": func(*testing.T, *fixture) {},
		"after refreshes": func(t *testing.T, f *fixture) {
			f.connect(t, "slack")
			f.Advance(55 * time.Minute)
			f.Read("creds/slack", nil).OK(t)
			f.Advance(time.Hour)
			f.Read("creds/slack", nil).OK(t)
			f.periodic(t)
			f.provider.Next(providers.StepRefresh, providertest.Reset(), providertest.Reset())
			f.Advance(time.Minute)
			f.Write("refresh/slack", nil).Refused(t, http.StatusBadGateway)
		},
		"after flows": func(t *testing.T, f *fixture) {
			f.start(t, "open", nil)
			id, _, code := f.parked(t, "slack", nil)
			f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code}).OK(t)
			f.Advance(time.Hour)
			f.periodic(t)
		},
		"after an outage of storage": func(t *testing.T, f *fixture) {
			f.connect(t, "slack")
			f.Advance(2 * time.Hour)
			refuseConnections(f.Storage)
			f.Read("creds/slack", nil).OK(t)
			require.EqualValues(t, 1, number(f.Read("status", nil).OK(t)["unsaved"]))
			f.Storage.Judge(nil)
			f.saved(t)
		},
		"after a caller hung up": func(t *testing.T, f *fixture) {
			f.connect(t, "slack")
			f.Advance(time.Hour)
			begun, release := f.blocked()
			ctx, hangUp := context.WithCancel(t.Context())
			answer := make(chan testenv.Result, 1)
			go func() { answer <- f.ReadCtx(ctx, "creds/slack", nil) }()
			<-begun
			hangUp()
			<-answer
			close(release)
			f.Read("creds/slack", nil).OK(t)
		},
		"after a deletion": func(t *testing.T, f *fixture) {
			f.connect(t, "slack")
			f.Delete("connections/slack", nil).OK(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			f := newFixture(t, Options{}, testenv.InProcess)
			do(t, f)
			f.Stop()
			goleak.VerifyNone(t, before,
				// The provider of the test, and connections to it that are kept for the next request.
				goleak.IgnoreAnyFunction("net/http.(*Server).Serve"),
				goleak.IgnoreAnyFunction("net/http.(*conn).serve"),
				goleak.IgnoreAnyFunction("net/http.(*connReader).backgroundRead"),
				goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
				goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
		})
	}
}
