package connections_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

var (
	key   = store.Key{Owner: store.Owner{Org: "acme"}, Name: "slack"}
	other = store.Key{Owner: store.Owner{User: "e-1"}, Name: "github"}
	ctx   = context.Background()
)

type change = func(*store.Connection) (*store.Connection, error)

// bench is a repository over storage that fails and hangs as a test wants.
type bench struct {
	*connections.Repository
	storage  *testenv.Storage
	store    store.Store
	logs     *testenv.Logs
	uncached atomic.Bool
	nudges   atomic.Int32 // how often it said that there is something for Flush

	mu      sync.Mutex
	changes []connections.Change
}

func newBench() *bench {
	b := &bench{storage: &testenv.Storage{}, logs: &testenv.Logs{}}
	b.store = store.New(b.storage)
	b.restart()
	return b
}

// restart begins a process that knows nothing of the one before.
func (b *bench) restart() {
	b.Repository = connections.New(connections.Options{
		Store: b.store, Now: time.Now, Uncached: b.uncached.Load,
		Logger: hclog.New(&hclog.LoggerOptions{Output: b.logs, Level: hclog.Debug}),
		Changed: func(c connections.Change) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.changes = append(b.changes, c)
		},
		Unsettled: func() { b.nudges.Add(1) },
	})
}

// bubble runs a test in fake time, with one connection in storage that nobody has read yet.
func bubble(t *testing.T, name string, test func(*testing.T, *bench)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench()
			b.put(t, key, fresh())
			b.storage.Forget()
			test(t, b)
		})
	})
}

// fresh is a connection as a consent makes it.
func fresh() *store.Connection {
	c := &store.Connection{Serial: 1, Provider: "slack"}
	c.Kind = providers.KindAuthorizationCode
	c.Adopt(grant("0"), "pinned", time.Now())
	return c
}

func grant(name string) *providers.Grant {
	return &providers.Grant{AccessToken: providers.NewSecret("access-" + name), RefreshToken: providers.NewSecret(name)}
}

func edit(f func(*store.Connection)) change {
	return func(c *store.Connection) (*store.Connection, error) {
		if c == nil {
			return nil, nil
		}
		f(c)
		return c, nil
	}
}

func label(text string) change { return edit(func(c *store.Connection) { c.Label = text }) }

func renew(name string) change {
	return edit(func(c *store.Connection) { c.Refreshed(grant(name), time.Now()) })
}

// consent makes a connection with the grant called so, of nothing.
func consent(name string) change {
	return func(*store.Connection) (*store.Connection, error) {
		c := fresh()
		c.Grant = grant(name)
		return c, nil
	}
}

// put writes behind the repository's back, as another node does.
func (b *bench) put(t *testing.T, k store.Key, c *store.Connection) {
	t.Helper()
	require.NoError(t, b.store.PutConnection(ctx, k, c))
}

// behind changes what storage has behind the repository's back.
func (b *bench) behind(t *testing.T, do change) *store.Connection {
	t.Helper()
	c, err := do(b.stored(t))
	require.NoError(t, err)
	c.Serial += 100 // nobody here tried that
	b.put(t, key, c)
	return c
}

// stored is what storage has.
func (b *bench) stored(t *testing.T) *store.Connection {
	t.Helper()
	c, err := b.store.Connection(ctx, key)
	require.NoError(t, err)
	return c
}

func (b *bench) get(t *testing.T) *store.Connection {
	t.Helper()
	c, _, err := b.Get(ctx, key)
	require.NoError(t, err)
	return c
}

// serves checks what readers get, and whether they are warned that storage does not have it.
func (b *bench) serves(t *testing.T, token, label string, unsaved bool) {
	t.Helper()
	c, warned, err := b.Get(ctx, key)
	require.NoError(t, err)
	requireIs(t, c, token, label)
	require.Equal(t, unsaved, warned)
}

func requireIs(t *testing.T, c *store.Connection, token, label string) {
	t.Helper()
	require.NotNil(t, c)
	require.Equal(t, []string{token, label}, []string{c.Grant.RefreshToken.Reveal(), c.Label})
}

func (b *bench) update(do change) error {
	_, err := b.Update(ctx, key, connections.Act{Verb: "edit"}, do)
	return err
}

// keep keeps what a provider gave, knowing what the caller knows.
func (b *bench) keep(t *testing.T, known *store.Connection, do change) (c *store.Connection, saved bool) {
	t.Helper()
	c, saved, err := b.Keep(ctx, key, connections.Act{Verb: "keep"}, known, do)
	require.NoError(t, err)
	return c, saved
}

func (b *bench) remove() error { return b.Delete(ctx, key, connections.Act{Verb: "delete"}) }

func isConnection(a testenv.Access) bool { return a.Under("connection/") }
func isWrite(a testenv.Access) bool      { return a.Write() && isConnection(a) }
func isRead(a testenv.Access) bool       { return !a.Write() && isConnection(a) }
func isIntent(a testenv.Access) bool     { return a.Under("wal/") }

// refuse lets storage refuse these accesses, and take all others.
func (b *bench) refuse(these func(testenv.Access) bool) { b.fail(these, testenv.ErrStorage) }

func (b *bench) fail(these func(testenv.Access) bool, err error) {
	b.storage.Judge(func(a testenv.Access) error {
		if these(a) {
			return err
		}
		return nil
	})
}

func (b *bench) heal() {
	b.storage.Judge(nil)
	b.storage.Hang(nil, nil)
}

// late makes one write of a connection that times out and is made all the same, when land is called.
func (b *bench) late(t *testing.T, write func() error) (land func()) {
	t.Helper()
	made := make(chan struct{})
	end := sync.OnceFunc(func() { close(made) })
	t.Cleanup(end) // or the bubble could not end
	b.storage.Hang(testenv.Nth(1, isWrite), func(testenv.Access) { <-made })
	require.ErrorIs(t, write(), context.DeadlineExceeded)
	b.storage.Hang(nil, nil)
	return func() { end(); synctest.Wait() }
}

// reads counts the reads of connections since the last time it was asked.
func (b *bench) reads() int { return b.count(isRead) }

func (b *bench) count(these func(testenv.Access) bool) (n int) {
	for _, a := range b.storage.History() {
		if these(a) {
			n++
		}
	}
	b.storage.Forget()
	return n
}

// told gives what followers were told since the last time they were asked, one line for each change.
func (b *bench) told() (lines []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.changes {
		lines = append(lines, fmt.Sprintf("%s: %s -> %s", c.Act.Verb, brief(c.Before), brief(c.After)))
	}
	b.changes = nil
	return lines
}

func brief(c *store.Connection) string {
	if c == nil {
		return "none"
	}
	return fmt.Sprintf("%s %q", c.Grant.RefreshToken.Reveal(), c.Label)
}

// settle lets the doubt of what failed pass, and Flush see that it did.
func (b *bench) settle(t *testing.T) {
	t.Helper()
	time.Sleep(time.Minute)
	require.Zero(t, b.Flush(ctx))
	require.Zero(t, b.Unsaved())
	require.Zero(t, b.Doubtful())
}

// damage makes the entry one that no release decodes, or that a newer one wrote.
func (b *bench) damage(t *testing.T, newer bool) {
	t.Helper()
	value := []byte(`{"version":`)
	if newer {
		var err error
		value, err = json.Marshal(map[string]any{"version": 1000})
		require.NoError(t, err)
	}
	require.NoError(t, b.storage.Put(ctx, &logical.StorageEntry{Key: "connection/" + key.String(), Value: value}))
}

// disable is what an operator says.
func disable(c *store.Connection) {
	c.Set(store.Settings{Decision: store.Decision{Disabled: new(true)}},
		store.Setter{Actor: store.Actor{Time: time.Now()}})
}
