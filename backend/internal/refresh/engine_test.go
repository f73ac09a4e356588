package refresh_test

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
)

// options is what an engine works with. All of it is required but Changed.
type options struct {
	Store    store.Store
	Source   refresh.Source
	Writable func() bool
	Now      func() time.Time
	Paused   func() bool
	Uncached func() bool
	Changed  func(store.Key, *store.Connection)
}

// engine is the rooms of the house as the backend joins them, with a second kind of task beside refreshing: the end of
// a deletion.
type engine struct {
	*refresh.Refresher
	*connections.Repository

	o       options
	gate    *gate.Gate
	tasks   *tasks.Runner
	saving  *saving
	deleted func(store.Key) // told of each deletion that the background carries through
	working atomic.Bool     // until then the background saves, and refreshes nothing

	mu      sync.Mutex
	entries map[store.Key]*entry // guarded by mu
}

// entry is what the engine keeps of a connection: its place among the tasks.
type entry struct {
	tasks.Place
	e    *engine
	key  store.Key
	lane tasks.Lane // guarded by engine.mu
}

func (n *entry) Lane() tasks.Lane {
	n.e.mu.Lock()
	defer n.e.mu.Unlock()
	return n.lane
}
func (n *entry) Name() string { return n.key.String() }
func (n *entry) Run(ctx context.Context) time.Time {
	c, err := n.e.Repository.Look(ctx, n.key)
	switch {
	case err != nil:
		return n.e.o.Now().Add(tasks.LookAgain)
	case c != nil && !c.Deleting.IsZero():
		if under := n.e.tasks.Find(refresh.Name(n.key)); under != nil {
			_, _ = under.Wait(ctx)
		}
		if err := n.e.Repository.Delete(ctx, n.key, connections.Act{}); err != nil {
			return n.e.o.Now().Add(tasks.LookAgain)
		}
		n.e.deleted(n.key)
		return time.Time{}
	}
	return n.e.RunDue(ctx, n.key)
}

// saving is the task to save what storage refused.
type saving struct {
	tasks.Place
	e    *engine
	wait time.Duration
}

func (s *saving) Lane() tasks.Lane { return tasks.Lane{Kind: "save"} }
func (s *saving) Name() string     { return "" }
func (s *saving) Run(ctx context.Context) (next time.Time) {
	if s.e.Flush(ctx) == 0 {
		s.wait = 0
		return next
	}
	s.wait = min(max(2*s.wait, 100*time.Millisecond), 15*time.Second)
	return s.e.o.Now().Add(s.wait)
}

func newEngine(o options) *engine {
	if o.Changed == nil {
		o.Changed = func(store.Key, *store.Connection) {}
	}
	e := &engine{o: o, entries: map[store.Key]*entry{}, deleted: func(store.Key) {}}
	e.saving = &saving{e: e}
	e.tasks = tasks.New(tasks.Options{Now: o.Now, Logger: hclog.NewNullLogger(), Room: e.room})
	e.gate = gate.New(o.Now, func(_ string, names []string) {
		for _, name := range names {
			if k, err := store.ParseKey(name); err == nil {
				e.Reconsider([]store.Key{k})
			}
		}
	})
	e.Repository = connections.New(connections.Options{
		Now:   time.Now,
		Store: o.Store, Logger: hclog.NewNullLogger(), Uncached: o.Uncached,
		Changed: func(c connections.Change) {
			o.Changed(c.Key, c.After)
			e.enter(context.Background(), c.Key, c.After)
		},
		Unsettled: func() {
			e.tasks.Work()
			e.tasks.Sooner(e.saving, o.Now().Add(100*time.Millisecond))
		},
	})
	e.Refresher = refresh.New(refresh.Options{
		Connections: e.Repository, Gate: e.gate, Tasks: e.tasks, Source: o.Source, Writable: o.Writable, Now: o.Now,
		Logger: hclog.NewNullLogger(), Sooner: e.sooner,
	})
	return e
}

func (e *engine) room(lane tasks.Lane) (int, time.Time) {
	switch {
	case lane.Kind == "save":
		return 1, time.Time{}
	case !e.o.Writable(), lane.Kind == "refresh" && (e.o.Paused() || !e.working.Load()):
		return 0, e.o.Now().Add(tasks.LookAgain)
	}
	return e.gate.Room(lane.Key)
}

// enter says when something falls due for a connection.
func (e *engine) enter(ctx context.Context, k store.Key, c *store.Connection) {
	var due time.Time
	lane := tasks.Lane{Kind: "refresh"}
	if c != nil {
		lane.Key = c.Provider
		terms, err := e.o.Source.Terms(ctx, k, c)
		switch {
		case err != nil:
			due = e.o.Now().Add(tasks.LookAgain)
		case !c.Deleting.IsZero():
			lane.Kind, due = "delete", c.Deleting.Add(time.Minute)
		default:
			due = e.Due(k, c, terms)
		}
	}
	e.mu.Lock()
	n := e.entries[k]
	if n == nil {
		n = &entry{e: e, key: k}
		e.entries[k] = n
	}
	n.lane = lane
	e.mu.Unlock()
	e.tasks.Set(n, due)
}

// Load, Update, Keep and Delete are what the backend does with a connection.
func (e *engine) Load(ctx context.Context, k store.Key) (*store.Connection, error) {
	c, _, err := e.Repository.Get(ctx, k)
	return c, err
}

func (e *engine) Get(ctx context.Context, k store.Key, permit refresh.Permit,
	minTTL time.Duration,
) (refresh.Answer, error) {
	return e.Refresher.Get(ctx, k, permit, minTTL)
}

func (e *engine) Update(ctx context.Context, k store.Key,
	change func(*store.Connection) (*store.Connection, error),
) (*store.Connection, error) {
	return e.Repository.Update(ctx, k, connections.Act{}, change)
}

func (e *engine) Keep(ctx context.Context, k store.Key, known *store.Connection,
	change func(*store.Connection) (*store.Connection, error),
) (*store.Connection, bool, error) {
	return e.Repository.Keep(ctx, k, connections.Act{}, known, change)
}

func (e *engine) Delete(ctx context.Context, k store.Key, revoke func(context.Context, *store.Connection)) error {
	c, err := e.Update(ctx, k, func(c *store.Connection) (*store.Connection, error) {
		if c != nil {
			c.Delete(e.o.Now())
		}
		return c, nil
	})
	if err != nil || c == nil {
		return err
	}
	if under := e.tasks.Find(refresh.Name(k)); under != nil {
		if _, _ = under.Wait(ctx); ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if c, err = e.Load(ctx, k); err != nil {
		return err
	}
	if c != nil && revoke != nil {
		revoke(ctx, c)
	}
	return e.Repository.Delete(ctx, k, connections.Act{})
}

func (e *engine) Recover(ctx context.Context) error { return e.Refresher.Recover(ctx) }

// EachConnection calls fn with every connection that storage has.
func eachConnection(ctx context.Context, s store.Store, fn func(store.Key, *store.Connection)) error {
	var failed error
	if err := s.EachKey(ctx, func(k store.Key) {
		c, err := s.Connection(ctx, k)
		if err != nil {
			failed = err
		} else if c != nil {
			fn(k, c)
		}
	}); err != nil {
		return err
	}
	return failed
}

// fill is what the backend does at its start.
func (e *engine) fill(ctx context.Context) error {
	var keys []store.Key
	if err := e.o.Store.EachKey(ctx, func(k store.Key) { keys = append(keys, k) }); err != nil {
		return err
	}
	for _, k := range keys {
		c, err := e.Look(ctx, k)
		if err != nil {
			return err
		}
		e.Schedule(ctx, k, c)
	}
	return nil
}

// Schedule enters a connection as it was read from storage, unless it was entered already.
func (e *engine) Schedule(ctx context.Context, k store.Key, c *store.Connection) {
	e.mu.Lock()
	known := e.entries[k] != nil
	e.mu.Unlock()
	if !known {
		e.enter(ctx, k, c)
	}
}

// Reconsider looks again at connections whose provider changed, or answers again.
func (e *engine) Reconsider(keys []store.Key) {
	for _, k := range keys {
		e.sooner(k, e.o.Now())
	}
}

func (e *engine) sooner(k store.Key, at time.Time) {
	e.mu.Lock()
	n := e.entries[k]
	e.mu.Unlock()
	if n != nil {
		e.tasks.Sooner(n, at)
	}
}

// Work runs the background until ctx ends.
func (e *engine) Work(ctx context.Context) {
	e.working.Store(true)
	e.tasks.Work()
	e.tasks.Wake()
	<-ctx.Done()
	e.working.Store(false)
}

// Nudge is the heartbeat.
func (e *engine) Nudge() {
	e.tasks.Wake()
}

// Forget is what a write of the provider does.
func (e *engine) Forget(provider string) { e.gate.Lift(provider) }

func (e *engine) Detach(ctx context.Context, name string, run func(context.Context) (any, error)) (any, error) {
	return e.tasks.Once(ctx, name, run)
}

// Close is how a mount ends: what is under way gets seven tenths of the time.
func (e *engine) Close(ctx context.Context) {
	soft := ctx
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		soft, cancel = context.WithTimeout(ctx, time.Until(end)*7/10)
		defer cancel()
	}
	e.gate.Close()
	e.tasks.Close(ctx, soft, e.saveAll)
}

func (e *engine) saveAll(ctx context.Context) {
	for wait := 100 * time.Millisecond; e.Unsaved() > 0; wait = min(2*wait, 250*time.Millisecond) {
		if e.Flush(ctx); e.Unsaved() == 0 || sleep(ctx, wait) != nil {
			return
		}
	}
}

// Quiesce is what the end of another mount of the process does to this one.
func (e *engine) Quiesce(ctx context.Context) {
	e.tasks.Hold()
	e.tasks.Quiesce(ctx)
	e.saveAll(ctx)
}

// statusOf and reasonOf tell how a connection stands while its provider is as it was.
func statusOf(c *store.Connection) store.Status {
	status, _ := standing(c)
	return status
}

func reasonOf(c *store.Connection) store.Reason {
	_, reason := standing(c)
	return reason
}

func standing(c *store.Connection) (store.Status, store.Reason) {
	same := fingerprint
	return c.Facts(c.Grant != nil && !c.Grant.RefreshToken.IsZero()).Status(&same, time.Now())
}

// putConnection writes as another node does: with a serial above the one that c came with.
func putConnection(ctx context.Context, s store.Store, k store.Key, c *store.Connection) error {
	c.Serial++
	return s.PutConnection(ctx, k, c)
}

// intentsOf gives all intents that storage has.
func intentsOf(ctx context.Context, s store.Store) (all []*store.Intent, err error) {
	ids, err := s.Intents(ctx)
	for _, id := range ids {
		i, err := s.IntentByID(ctx, id)
		if err != nil {
			return nil, err
		}
		all = append(all, i)
	}
	return all, err
}

// health is how the background and the providers fare.
type health struct {
	tasks.Report
	InFlight int
	Circuits map[string]circuit
}

type circuit struct {
	State string
	Until time.Time
}

func (e *engine) Health() health {
	circuits := map[string]circuit{}
	for key, unwell := range e.gate.Report().Unwell {
		circuits[key] = circuit{string(unwell.State), unwell.Until}
	}
	return health{e.tasks.Report(), e.InFlight(), circuits}
}
