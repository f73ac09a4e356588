package connections_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
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
	seeds = flag.Int("seeds", 30, "how many runs TestModel makes")
	seed  = flag.Uint64("seed", 1, "the first of them")
)

// TestModel lets people and providers change one connection all at once, while storage refuses, hangs, and makes
// writes that it failed, at once or within a minute. It checks what must hold all along and, once the trouble is over,
// at the end. A seed repeats its run closely, but not to the letter:
// who comes first at the same instant is for the scheduler.
func TestModel(t *testing.T) {
	for i := range *seeds {
		seed := *seed + uint64(i)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { oneRun(t, seed) })
		})
	}
}

func oneRun(t *testing.T, seed uint64) {
	m := &model{storage: &testenv.Storage{}, rng: rand.New(rand.NewPCG(seed, 0)), start: time.Now(), unborn: true}
	m.Repository = connections.New(connections.Options{
		Now:   time.Now,
		Store: store.New(slow{m}), Logger: hclog.NewNullLogger(), Uncached: func() bool { return seed%4 == 0 },
		Changed: m.changed, Unsettled: func() {},
	})
	m.storage.Judge(m.judge)
	m.storage.Hang(m.hangs, func(testenv.Access) { time.Sleep(m.upTo(50 * time.Second)) })

	var work sync.WaitGroup
	for range 3 {
		work.Go(func() { m.often(40, 3*time.Second, m.read) })
	}
	for range 2 {
		work.Go(func() { m.often(25, 6*time.Second, m.keep) })
		work.Go(func() { m.often(20, 6*time.Second, m.edit) })
	}
	work.Go(func() { m.often(6, 40*time.Second, m.remove) })
	work.Go(func() { m.often(25, 8*time.Second, func() { m.Flush(ctx) }) })
	work.Go(func() {
		m.often(15, 15*time.Second, func() { m.set(m.upTo(10) < 4, m.upTo(10) < 3, float64(m.upTo(10))/20) })
	})
	work.Wait()

	m.set(false, false, 0)
	for range 24 {
		time.Sleep(5 * time.Second)
		m.read()
		m.Flush(ctx)
	}
	m.read()
	m.checkEnd()
	if m.failed != "" {
		t.Fatalf("%s\n\n%s", m.failed, strings.Join(m.log, "\n"))
	}
	require.Zero(t, m.Unsaved())
	require.Zero(t, m.Doubtful())
	require.LessOrEqual(t, m.Slots(), 1)
}

// model is the world around a repository: its storage, and what was promised about the one connection.
type model struct {
	*connections.Repository
	storage *testenv.Storage
	start   time.Time

	mu     sync.Mutex
	rng    *rand.Rand
	log    []string
	failed string // the first complaint is the one to read

	noWrites, nothing bool    // storage refuses
	hanging           float64 // how likely an access hangs

	made     uint64 // how many generations, tokens and labels there were
	promised state  // what people and providers were told, or better
	unborn   bool   // nothing was promised, or it was deleted
	doomed   bool   // somebody tried to delete it
	dooms    int
	told     *store.Connection // what followers take for the newest
}

// state is what never gets less of a connection. Generations and labels of a later creation are higher.
type state struct {
	generation uint64
	failures   int // recorded for that generation
	label      uint64
}

func stateOf(c *store.Connection) (s state) {
	if c != nil {
		s = state{generation: c.Generation, failures: c.Attempt.Failures}
		_, _ = fmt.Sscan(c.Label, &s.label)
	}
	return s
}

func (s state) olderThan(o state) bool {
	return s.generation < o.generation || s.generation == o.generation && s.failures < o.failures || s.label < o.label
}

func (m *model) upTo(d time.Duration) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Duration(m.rng.Int64N(int64(d)))
}

func (m *model) chance(p float64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rng.Float64() < p
}

// note is called under mu.
func (m *model) note(format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf("%12s  ", time.Since(m.start))+fmt.Sprintf(format, args...))
}

func (m *model) noted(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.note(format, args...)
}

// complain is called under mu.
func (m *model) complain(format string, args ...any) {
	m.note("! "+format, args...)
	if m.failed == "" {
		m.failed = m.log[len(m.log)-1]
	}
}

func (m *model) often(times int, wait time.Duration, do func()) {
	for range times {
		time.Sleep(m.upTo(wait))
		do()
	}
}

// set makes the trouble that storage has from now on.
func (m *model) set(noWrites, nothing bool, hanging float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.noWrites, m.nothing, m.hanging = noWrites, nothing && noWrites, hanging
	m.note("storage: no writes %t, nothing %t, hanging %.2f", m.noWrites, m.nothing, m.hanging)
}

func (m *model) judge(a testenv.Access) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.nothing || m.noWrites && a.Write() {
		if a.Write() {
			m.note("storage refuses a %s", a.Op)
		}
		return testenv.ErrStorage
	}
	return nil
}

func (m *model) hangs(a testenv.Access) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	hangs := m.rng.Float64() < m.hanging
	if hangs && a.Write() {
		m.note("storage hangs with a %s", a.Op)
	}
	return hangs
}

// slow is storage where each call and each answer is a while on its way. An answer may come too late.
type slow struct{ m *model }

func (s slow) wait(ctx context.Context) error {
	d := s.m.upTo(20 * time.Millisecond)
	s.m.mu.Lock()
	trouble := s.m.hanging / 2
	s.m.mu.Unlock()
	if s.m.chance(trouble) {
		d = s.m.upTo(8 * time.Second)
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s slow) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	e, err := s.m.storage.Get(ctx, key)
	if err == nil {
		err = s.wait(ctx)
	}
	return e, err
}

func (s slow) Put(ctx context.Context, e *logical.StorageEntry) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	if err := s.m.storage.Put(ctx, e); err != nil {
		return err
	}
	return s.wait(ctx)
}

func (s slow) Delete(ctx context.Context, key string) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	if err := s.m.storage.Delete(ctx, key); err != nil {
		return err
	}
	return s.wait(ctx)
}

func (s slow) List(ctx context.Context, prefix string) ([]string, error) {
	return s.m.storage.List(ctx, prefix)
}

func (m *model) next() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.made += 1000
	return m.made
}

// create is a consent for a connection that there is not.
func (m *model) create() *store.Connection {
	n := m.next()
	return &store.Connection{Provider: "slack", Label: fmt.Sprint(n), Credential: store.Credential{
		Generation: n, Kind: providers.KindAuthorizationCode, Grant: grant(fmt.Sprint(n)),
	}}
}

// keep is a consent, a renewal, or a renewal that failed, of what its caller read a while before.
func (m *model) keep() {
	defer m.Pin(key)()
	known, _, err := m.Get(ctx, key)
	if err != nil {
		return
	}
	time.Sleep(m.upTo(2 * time.Second))
	fails := m.chance(0.3)
	act := connections.Act{Verb: "keep", Renews: known != nil}
	c, saved, err := m.Keep(ctx, key, act, known, func(c *store.Connection) (*store.Connection, error) {
		switch {
		case known == nil && c == nil:
			return m.create(), nil
		case known == nil || c == nil || c.Generation != known.Generation || !c.Deleting.IsZero():
			return nil, nil
		case fails:
			c.RefreshFailed(store.Failure{Error: &providers.Error{Class: providers.Transient}}, time.Now())
		default:
			c.Refreshed(grant(fmt.Sprint(m.next())), time.Now())
		}
		return c, nil
	})
	m.noted("kept: %s, saved %t, %v", m.text(c), saved, err)
}

// edit is a person's change of the metadata, or the making of a connection by one.
func (m *model) edit() {
	creates := m.chance(0.2)
	c, err := m.Update(ctx, key, connections.Act{Verb: "edit"}, func(c *store.Connection) (*store.Connection, error) {
		switch {
		case c == nil && creates:
			return m.create(), nil
		case c == nil:
			return nil, nil
		}
		c.Label = fmt.Sprint(m.next())
		return c, nil
	})
	m.noted("edited: %s, %v", m.text(c), err)
}

// remove deletes the connection as the backend does, or at once.
func (m *model) remove() {
	if m.chance(0.7) {
		_, err := m.Update(ctx, key, connections.Act{Verb: "mark"}, edit(func(c *store.Connection) { c.Delete(time.Now()) }))
		if err != nil {
			return
		}
		c, _, err := m.Get(ctx, key)
		if err != nil || c == nil || c.Deleting.IsZero() {
			return
		}
	}
	m.mu.Lock()
	m.doomed, m.dooms = true, m.dooms+1
	m.note("delete")
	m.mu.Unlock()
	err := m.Delete(ctx, key, connections.Act{Verb: "delete"})
	m.noted("deleted: %v", err)
}

// read is a reader. It must get what was promised when it began, or better.
func (m *model) read() {
	m.mu.Lock()
	promised, dooms, maybe := m.promised, m.dooms, m.unborn || m.doomed
	m.mu.Unlock()
	c, unsaved, err := m.Get(ctx, key)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		return
	}
	m.note("read: %s, unsaved %t", m.text(c), unsaved)
	switch {
	case c == nil && !maybe && !m.unborn && !m.doomed && m.dooms == dooms:
		m.complain("a reader finds nothing, and there is %v", promised)
	case c != nil && stateOf(c).olderThan(promised):
		m.complain("a reader gets %v, and there was %v", stateOf(c), promised)
	}
	if c != nil {
		m.promise(state{c.Generation, c.Attempt.Failures, 0}) // a later reader gets no older credential
	}
}

// promise is called under mu.
func (m *model) promise(s state) {
	p := &m.promised
	switch {
	case s.generation > p.generation:
		p.generation, p.failures = s.generation, s.failures
	case s.generation == p.generation:
		p.failures = max(p.failures, s.failures)
	}
	p.label = max(p.label, s.label)
}

// changed is what followers are told.
func (m *model) changed(c connections.Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.note("told: %s: %s -> %s", c.Act.Verb, m.text(c.Before), m.text(c.After))
	if (c.Before == nil) != (m.told == nil) || stateOf(c.Before) != stateOf(m.told) {
		m.complain("followers knew %s, and are told that it was %s", m.text(m.told), m.text(c.Before))
	}
	m.told = c.After
	if c.After == nil {
		if c.Act.Verb != "delete" && !m.doomed {
			m.complain("it is gone, and nobody deleted it")
		}
		m.unborn, m.doomed = true, false
		m.dooms++
		return
	}
	after := stateOf(c.After)
	if after.generation < m.promised.generation {
		m.complain("an older credential over %v", m.promised)
	}
	if c.Act.Verb != "edit" {
		after.label = 0 // metadata that comes by the way, or of which was said that it failed, is not promised
	}
	m.promise(after)
	if m.unborn {
		m.unborn, m.doomed = false, false
	}
	m.doomed = m.doomed || !c.After.Deleting.IsZero()
}

func (m *model) text(c *store.Connection) string {
	if c == nil {
		return "none"
	}
	text := fmt.Sprintf("serial %d %+v", c.Serial, stateOf(c))
	if !c.Deleting.IsZero() {
		text += " deleting"
	}
	return text
}

// checkEnd compares storage, readers and followers.
func (m *model) checkEnd() {
	stored, err := store.New(m.storage).Connection(ctx, key)
	c, unsaved, failed := m.Get(ctx, key)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case err != nil || failed != nil || unsaved:
		m.complain("storage is well, and a reader gets %t, %v, %v", unsaved, err, failed)
	case (c == nil) != (stored == nil) || m.text(c) != m.text(stored):
		m.complain("storage has %s, and a reader gets %s", m.text(stored), m.text(c))
	case (stored == nil) != (m.told == nil) || stateOf(stored) != stateOf(m.told):
		m.complain("storage has %s, and followers were told %s", m.text(stored), m.text(m.told))
	}
}
