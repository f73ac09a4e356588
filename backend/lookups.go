package backend

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
)

const (
	// lookupWait is how long a request waits for its answer before it is given the name of a job.
	lookupWait = 5 * time.Second

	// keepLookups is how long a job of a look-up is kept, from when it was asked.
	keepLookups = 24 * time.Hour

	// maxOpenLookups is how many are answered by one pass or wait for it.
	maxOpenLookups = 250

	// maxLookups is how many jobs are kept, and maxLookupsOfOne how many of one caller, whose oldest answer makes room.
	maxLookups      = 500
	maxLookupsOfOne = 20

	// passesAgain is how often a pass looks for connections that came where it had been.
	passesAgain = 3
)

// lookups is the mount's task to find whose found secrets are. There is no index: a pass reads every entry, for all who
// ask by then. Whoever comes while one is under way waits for the next, and a pass that is cut off begins anew.
type lookups struct {
	tasks.Place
	b *backend

	mu     sync.Mutex
	loaded bool                  // guarded by mu; every job that was there is known
	open   map[string]*aLookup   // guarded by mu
	kept   map[string]keptLookup // guarded by mu; by its name
}

// keptLookup is a look-up that is kept.
type keptLookup struct {
	until time.Time
	of    string // who asked: an entity, else the name of a token
}

func keptOf(by store.Actor) keptLookup {
	of := by.EntityID
	if of == "" {
		of = by.DisplayName
	}
	return keptLookup{until: by.Time.Add(keepLookups), of: of}
}

// aLookup is a look-up that has no answer yet.
type aLookup struct {
	examined, total atomic.Int64 // connections, by the pass under way

	entry  store.Lookup  // what it asks never changes; what was found is the pass's until done is closed
	done   chan struct{} // closed when the answer is known
	stored bool          // guarded by lookups.mu; storage has the job
}

func newLookups(b *backend) *lookups {
	return &lookups{b: b, open: map[string]*aLookup{}, kept: map[string]keptLookup{}}
}

// Lane implements [tasks.Task].
func (x *lookups) Lane() tasks.Lane { return tasks.Lane{Kind: laneLookup} }

// Name implements [tasks.Task].
func (x *lookups) Name() string { return "whose secrets are" }

// Run implements [tasks.Task].
func (x *lookups) Run(ctx context.Context) (next time.Time) {
	b := x.b
	if !b.mayWrite() {
		return b.now().Add(tasks.LookAgain)
	}
	next = x.tidy(ctx)
	batch := x.batch()
	if len(batch) == 0 {
		return next
	}
	err := b.lookUp(ctx, batch)
	if err == nil {
		err = x.answer(ctx, batch)
	}
	if err != nil {
		b.Logger().Debug("a look-up could not go on yet", "error", err)
		return earlier(next, b.now().Add(tasks.LookAgain))
	}
	if len(x.batch()) > 0 { // they came meanwhile
		return b.now()
	}
	return next
}

// begin asks for the next pass.
func (x *lookups) begin(e store.Lookup, stored bool) (*aLookup, error) {
	x.mu.Lock()
	if l := x.open[e.ID]; l != nil {
		x.mu.Unlock()
		return l, nil
	}
	if len(x.open) >= maxOpenLookups && !stored {
		x.mu.Unlock()
		return nil, conflict("%d look-ups wait for an answer already: nothing was begun; try again in some minutes",
			maxOpenLookups)
	}
	l := &aLookup{entry: e, done: make(chan struct{}), stored: stored}
	x.open[e.ID] = l
	x.mu.Unlock()
	x.b.tasks.Sooner(x, x.b.now())
	return l, nil
}

// drop ends a look-up that nobody waits for.
func (x *lookups) drop(l *aLookup) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.open, l.entry.ID)
}

// find gives the look-up of that name that is open; nil when there is none.
func (x *lookups) find(id string) *aLookup {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.open[id]
}

// batch is what the next pass answers.
func (x *lookups) batch() (all []*aLookup) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, l := range x.open {
		all = append(all, l)
	}
	return all
}

// keep makes a look-up a job, so that its answer can be read later, from another process too. done tells that the
// answer is known by now.
func (x *lookups) keep(ctx context.Context, l *aLookup) (done bool, err error) {
	job := keptOf(l.entry.By)
	if older := x.oldestBeyond(job); older != "" {
		x.forget(ctx, older)
	}
	x.mu.Lock()
	var theirs int
	for _, other := range x.kept {
		if other.of == job.of {
			theirs++
		}
	}
	full, all := theirs >= maxLookupsOfOne, len(x.kept) >= maxLookups
	if !full && !all {
		x.kept[l.entry.ID] = job
	}
	x.mu.Unlock()
	switch {
	case full:
		x.drop(l)
		return false, conflict("%d look-ups of yours wait for an answer already: this one was ended; try again in some "+
			"minutes", maxLookupsOfOne)
	case all:
		x.drop(l)
		return false, conflict("%d look-ups are kept already: this one was ended; each is forgotten after a day", maxLookups)
	}
	open := store.Lookup{
		ID: l.entry.ID, Sought: l.entry.Sought, Hasher: l.entry.Hasher, Org: l.entry.Org, Providers: l.entry.Providers,
		By: l.entry.By,
	}
	err = x.b.store.PutLookup(context.WithoutCancel(ctx), &open)
	x.mu.Lock()
	_, waits := x.open[l.entry.ID]
	l.stored = err == nil
	x.mu.Unlock()
	x.b.tasks.Sooner(x, x.b.now().Add(keepLookups))
	switch {
	case !waits: // it was answered meanwhile
		x.forget(ctx, l.entry.ID)
		return true, nil
	case err != nil:
		x.drop(l)
		x.forget(ctx, l.entry.ID)
		return false, err
	}
	return false, nil
}

// oldestBeyond names the oldest answered job of somebody who has as many as one may; empty where there is room, or
// none is answered.
func (x *lookups) oldestBeyond(of keptLookup) (oldest string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var theirs int
	for id, job := range x.kept {
		if job.of != of.of {
			continue
		}
		theirs++
		if x.open[id] == nil && (oldest == "" || job.until.Before(x.kept[oldest].until)) {
			oldest = id
		}
	}
	if theirs < maxLookupsOfOne {
		return ""
	}
	return oldest
}

// forget removes a job; what storage keeps of it, it loses a day later.
func (x *lookups) forget(ctx context.Context, id string) {
	if err := x.b.store.DeleteLookup(context.WithoutCancel(ctx), id); err != nil {
		x.b.Logger().Debug("a look-up could not be removed yet", "error", err)
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.kept, id)
}

// answer tells everybody what was found. A job whose answer storage refuses stays open, and has another pass.
func (x *lookups) answer(ctx context.Context, batch []*aLookup) (failed error) {
	for _, l := range batch {
		x.mu.Lock()
		stored := l.stored && x.open[l.entry.ID] == l
		if !stored { // and from now on it need not be
			delete(x.open, l.entry.ID)
		}
		x.mu.Unlock()
		if stored {
			if err := x.b.store.PutLookup(context.WithoutCancel(ctx), &l.entry); err != nil {
				failed = err
				continue
			}
			x.drop(l)
		}
		close(l.done)
	}
	return failed
}

// tidy removes the jobs whose time is over, and says when the next one's is.
func (x *lookups) tidy(ctx context.Context) (next time.Time) {
	var over []string
	x.mu.Lock()
	now := x.b.now()
	for id, job := range x.kept {
		if now.Before(job.until) {
			next = earlier(next, job.until)
		} else {
			over = append(over, id)
		}
	}
	x.mu.Unlock()
	for _, id := range over {
		if l := x.find(id); l != nil {
			x.drop(l)
		}
		if x.forget(ctx, id); x.keeps(id) {
			next = earlier(next, now.Add(tasks.LookAgain))
		}
	}
	return next
}

func (x *lookups) keeps(id string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	_, kept := x.kept[id]
	return kept
}

// load lets the look-ups go on that a former process left, once.
func (x *lookups) load(ctx context.Context) error {
	x.mu.Lock()
	loaded := x.loaded
	x.mu.Unlock()
	if loaded {
		return nil
	}
	ids, err := x.b.store.Lookups(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		e, err := x.b.store.Lookup(ctx, id)
		job := keptLookup{until: x.b.now().Add(keepLookups)}
		switch {
		case store.Unusable(err): // it is asked for again
		case err != nil:
			return err
		case e == nil:
			continue
		default:
			job = keptOf(e.By)
		}
		x.mu.Lock()
		x.kept[id] = job
		x.mu.Unlock()
		if e != nil && e.Ended.IsZero() {
			if _, err := x.begin(*e, true); err != nil {
				return err
			}
		}
	}
	x.mu.Lock()
	x.loaded = true
	some := len(x.kept) > 0
	x.mu.Unlock()
	if some {
		x.b.tasks.Sooner(x, x.b.now())
	}
	return nil
}

// loadLookups lets the look-ups go on that a former process left.
func (b *backend) loadLookups(ctx context.Context) {
	if err := b.lookups.load(ctx); err != nil && ctx.Err() == nil {
		b.Logger().Debug("the look-ups could not be read yet", "error", err)
	}
}
