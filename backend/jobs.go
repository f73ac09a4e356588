package backend

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
)

const (
	planTime = time.Hour          // how long a plan may be run
	runTime  = 24 * time.Hour     // how long a run goes on before it must be confirmed again
	keepTime = 7 * 24 * time.Hour // how long a job is kept that is over

	// batch is how many targets are ended before that is written down.
	batch = 50

	// endsAtOnce is how many ends a job has under way, and laterEnds how many of one provider's are made up for: the rest
	// of its places is for renewals.
	endsAtOnce = 4
	laterEnds  = 2
)

// jobs are those that end many connections. Storage has them; here is one task for each.
type jobs struct {
	b      *backend
	writes chan struct{} // holds a token over the read and write of one job's entry

	mu       sync.Mutex
	loaded   bool             // guarded by mu; every job that was there has its task
	known    map[string]*aJob // guarded by mu
	planning map[string]bool  // guarded by mu; those whose targets are being written
}

func newJobs(b *backend) *jobs {
	return &jobs{b: b, writes: make(chan struct{}, 1), known: map[string]*aJob{}, planning: map[string]bool{}}
}

// aJob is the task of one job.
type aJob struct {
	tasks.Place
	b  *backend
	id string

	mu        sync.Mutex
	confirmed bool    // guarded by mu; a request to this process said that it is to run
	cancelled bool    // guarded by mu
	looked    bool    // guarded by mu; what a crash may have cut off was looked for
	at        int     // guarded by mu; the first chunk with something to begin
	latest    *jobRun // guarded by mu; the turn under way, or the last one
	// guarded by mu; the targets that were not skipped, once somebody asked for them, and whether each was found to be
	// ended too
	members map[store.Key]*member
}

type member struct {
	target store.Target
	ends   bool
}

// jobRun is what one turn of a job goes by.
type jobRun struct {
	task      *aJob
	job       *store.Job
	selection *selection
	states    providerStates
	who       caller // who ran it
}

// mayBegin reports whether targets may be begun: the job was confirmed within a day, in this process if storage may be
// a restored snapshot, and nobody cancelled it.
func (r *jobRun) mayBegin() bool {
	r.task.mu.Lock()
	defer r.task.mu.Unlock()
	return r.task.mayBegin(r.job)
}

// mayBegin is called under mu.
func (t *aJob) mayBegin(j *store.Job) bool {
	b := t.b
	return !t.cancelled && j.Cancelled.Time.IsZero() && j.Ended.IsZero() && !j.Ran.Time.IsZero() &&
		b.now().Before(j.Ran.Time.Add(runTime)) && (!b.standsStill() || t.confirmed)
}

// Lane implements [tasks.Task].
func (t *aJob) Lane() tasks.Lane { return tasks.Lane{Kind: laneJob} }

// Name implements [tasks.Task].
func (t *aJob) Name() string { return t.id }

// Run implements [tasks.Task].
func (t *aJob) Run(ctx context.Context) time.Time {
	next, err := t.b.runJob(ctx, t)
	if err != nil {
		t.b.Logger().Debug("a job could not go on yet", "job", t.id, "error", err)
		return t.b.now().Add(tasks.LookAgain)
	}
	return next
}

// confirmedHere reports whether a request to this process said that a job is to run: that one, or with no id any.
func (x *jobs) confirmedHere(id string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for of, t := range x.known {
		t.mu.Lock()
		confirmed := t.confirmed
		t.mu.Unlock()
		if confirmed && (id == "" || id == of) {
			return true
		}
	}
	return false
}

// enter gives the task of a job.
func (x *jobs) enter(id string) *aJob {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := x.known[id]
	if t == nil {
		t = &aJob{b: x.b, id: id}
		x.known[id] = t
	}
	return t
}

// find is enter for those who only ask; nil when there is none.
func (x *jobs) find(id string) *aJob {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.known[id]
}

// forget ends the task of a job that is gone.
func (x *jobs) forget(t *aJob) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.known, t.id)
}

// plans notes that the targets of a job are being written, so that nobody takes them for what a crash left.
func (x *jobs) plans(id string) (over func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.planning[id] = true
	return func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.planning, id)
	}
}

// load gives each job that storage has its task, once, and removes the targets of plans that were cut off.
func (x *jobs) load(ctx context.Context) error {
	x.mu.Lock()
	loaded := x.loaded
	x.mu.Unlock()
	if loaded {
		return nil
	}
	ids, torn, err := x.b.store.Jobs(ctx)
	if err != nil {
		return err
	}
	for _, id := range torn {
		x.mu.Lock()
		planned := x.planning[id]
		x.mu.Unlock()
		if planned {
			continue
		}
		if err := x.b.store.DeleteJob(ctx, id); err != nil {
			return err
		}
	}
	for _, id := range ids {
		x.b.tasks.Sooner(x.enter(id), x.b.now())
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.loaded = true
	return nil
}

// change changes the entry of a job. What change gives back is written; nil leaves it as it is.
func (x *jobs) change(ctx context.Context, id string, change func(*store.Job) (*store.Job, error)) (*store.Job, error) {
	select {
	case x.writes <- struct{}{}:
		defer func() { <-x.writes }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	j, err := x.b.store.Job(ctx, id)
	if err != nil {
		return nil, err
	}
	next, err := change(j)
	if err != nil || next == nil {
		return j, err
	}
	return next, x.b.store.PutJob(context.WithoutCancel(ctx), next)
}

// overAt is when a job is over: when it ended, or when nothing more can come of it unless somebody confirms it.
func overAt(j *store.Job) time.Time {
	switch {
	case !j.Ended.IsZero():
		return j.Ended
	case j.Ran.Time.IsZero():
		return j.Planned.Time.Add(planTime)
	}
	return j.Ran.Time.Add(runTime)
}

// runJob is one turn of a job: a batch of its targets, or a look at those whose provider did not answer.
func (b *backend) runJob(ctx context.Context, t *aJob) (next time.Time, err error) {
	if b.standsStill() && !b.jobs.confirmedHere(t.id) {
		return b.now().Add(tasks.LookAgain), nil
	}
	j, err := b.store.Job(ctx, t.id)
	switch {
	case store.Unusable(err):
		b.Logger().Warn("a job cannot be read, so it does not go on; what it began is carried through", "job", t.id,
			"error", err)
		return next, nil
	case err != nil:
		return next, err
	case j == nil:
		b.jobs.forget(t)
		return next, nil
	}
	if forget := overAt(j).Add(keepTime); !b.now().Before(forget) {
		if err := b.store.DeleteJob(ctx, t.id); err != nil {
			return next, err
		}
		b.jobs.forget(t)
		return next, nil
	}
	if j.Ran.Time.IsZero() || !j.Ended.IsZero() {
		return overAt(j).Add(keepTime), nil
	}
	run, err := b.turn(ctx, t, j)
	if err != nil {
		return next, err
	}
	t.mu.Lock()
	looked := t.looked
	t.mu.Unlock()
	var stuck error
	if run.mayBegin() || !looked {
		began, err := b.beginNext(ctx, run)
		if began {
			return b.now(), nil // others take their turn
		}
		stuck = err
	}
	next, err = b.followUp(ctx, run)
	return next, errors.Join(stuck, err)
}

// beginNext ends a batch of the targets whose turn it is, and reports whether any could be begun. Targets that storage
// does not give keep no others waiting: their chunk is passed over, and looked at again by the next turn.
func (b *backend) beginNext(ctx context.Context, run *jobRun) (began bool, stuck error) {
	t, chunks := run.task, run.job.Chunks()
	t.mu.Lock()
	at := t.at
	t.mu.Unlock()
	first := chunks // of those with something left
	for ; at < chunks; at++ {
		c, err := b.store.Chunk(ctx, run.job.ID, at)
		if err != nil {
			return false, err
		}
		if c == nil {
			continue
		}
		if left, _ := c.Open(); left == 0 {
			continue
		}
		first = min(first, at)
		may := run.mayBegin()
		progress, err := b.runBatch(ctx, run, at, c)
		if err != nil && !progress {
			if stuck = errors.Join(stuck, err); ctx.Err() != nil {
				return false, stuck
			}
			continue
		}
		began = may
		break
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at, t.looked = first, true
	return began, stuck
}

// turn readies one turn of a job.
func (b *backend) turn(ctx context.Context, t *aJob, j *store.Job) (*jobRun, error) {
	s, err := selectionOf(j.Filters)
	if err != nil {
		return nil, err
	}
	if err := b.knowUse(ctx, s); err != nil {
		return nil, err
	}
	states, err := b.readProviders(ctx, func(*configured) {})
	if err != nil {
		return nil, err
	}
	run := &jobRun{
		task: t, job: j, selection: s, states: states,
		who: caller{entity: j.Ran.EntityID, display: j.Ran.DisplayName},
	}
	t.mu.Lock()
	t.latest = run
	t.mu.Unlock()
	return run, nil
}

// ending is a target that a batch works on.
type ending struct {
	i    int
	work *tasks.Work
}

// runBatch begins the next targets of a chunk, a few at a time, and writes down what came of them. It reports whether
// anything came of one.
func (b *backend) runBatch(ctx context.Context, run *jobRun, n int, c *store.Chunk) (noted bool, failed error) {
	var (
		under []ending
		done  []judged
	)
	collect := func() {
		first := under[0]
		under = under[1:]
		out, err := first.work.Wait(ctx)
		if err != nil {
			failed = errors.Join(failed, err)
			return
		}
		if j := out.(judged); j.result != store.NotBegun {
			c.Note(first.i, j.result, j.why)
			noted, done = true, append(done, j)
			run.task.noted(j)
		}
	}
	begun := 0
	for i, t := range c.Targets {
		if c.Result(i) != store.NotBegun {
			continue
		}
		if begun++; begun > batch {
			break
		}
		if len(under) == endsAtOnce {
			collect()
		}
		work, err := b.tasks.Start("job "+run.job.ID+" "+t.Path, func(ctx context.Context) (any, error) {
			return b.endTarget(ctx, run, t)
		})
		if err != nil {
			failed = errors.Join(failed, err)
			break
		}
		under = append(under, ending{i, work})
	}
	for len(under) > 0 {
		collect()
	}
	if noted {
		if err := b.store.PutChunk(ctx, run.job.ID, n, c); err != nil {
			return false, err // it is known from the entries
		}
		b.removeEnded(ctx, run, done)
	}
	return noted, failed
}

// endTarget does what can be done of one target now.
func (b *backend) endTarget(ctx context.Context, run *jobRun, t store.Target) (judged, error) {
	j, err := b.begin(ctx, run, t)
	if err != nil || j.result != store.Marked {
		return j, err
	}
	if out, err := b.endOne(ctx, j.key); err != nil || !out.over {
		if err != nil {
			b.Logger().Debug("an end could not be carried through yet", "connection", t.Path, "error", err)
		}
		return j, nil // the connection's own task carries on
	}
	return b.target(ctx, run, t)
}

// removeEnded deletes what a job was told to delete, now that what came of it is written down. The background does it
// later, if this is cut off.
func (b *backend) removeEnded(ctx context.Context, run *jobRun, done []judged) {
	for _, j := range done {
		if j.conn == nil || j.conn.Deleting.IsZero() || j.result.Open() || j.result.Skipped() {
			continue
		}
		if _, err := b.tasks.Once(ctx, deletionName(j.key), func(ctx context.Context) (any, error) {
			return b.endConnection(ctx, j.key, connections.Act{By: run.job.Ran, Verb: "delete"}, gate.Background)
		}); err != nil {
			b.Logger().Debug("an ended connection could not be deleted yet", "connection", j.key.String(), "error", err)
		}
	}
}

// followUp looks at the targets whose end has begun, and ends the job when nothing more is to come.
func (b *backend) followUp(ctx context.Context, run *jobRun) (next time.Time, err error) {
	left, open := 0, 0
	var stuck error
	for n := range run.job.Chunks() {
		c, err := b.store.Chunk(ctx, run.job.ID, n)
		if err != nil {
			return next, err
		}
		if c == nil {
			continue
		}
		done, err := b.settled(ctx, run, c)
		stuck = errors.Join(stuck, err)
		if len(done) > 0 {
			if err := b.store.PutChunk(ctx, run.job.ID, n, c); err != nil {
				return next, err
			}
			b.removeEnded(ctx, run, done)
		}
		notBegun, marked := c.Open()
		left, open = left+notBegun, open+marked
	}
	cancelled := !run.job.Cancelled.Time.IsZero()
	switch {
	case stuck != nil:
		return next, stuck
	case open > 0:
		return b.now().Add(tasks.LookAgain), nil
	case left > 0 && run.mayBegin(): // it was confirmed meanwhile
		return b.now(), nil
	case left > 0 && !cancelled: // until somebody confirms it
		return overAt(run.job).Add(keepTime), nil
	}
	j, err := b.jobs.change(ctx, run.job.ID, func(j *store.Job) (*store.Job, error) {
		if j == nil || !j.Ended.IsZero() {
			return nil, nil
		}
		j.Ended = b.now()
		return j, nil
	})
	if err != nil || j == nil {
		return next, err
	}
	run.task.mu.Lock()
	run.task.members = nil
	run.task.mu.Unlock()
	b.Logger().Info("a job that ends connections is over", "job", j.ID, "targets", j.Count, "left", left)
	return overAt(j).Add(keepTime), nil
}

// settled notes what came of the marked targets of a chunk. One of which storage does not tell hides no other.
func (b *backend) settled(ctx context.Context, run *jobRun, c *store.Chunk) (done []judged, err error) {
	for i, t := range c.Targets {
		if c.Result(i) != store.Marked {
			continue
		}
		j, failed := b.target(ctx, run, t)
		if failed != nil || j.result.Open() {
			err = errors.Join(err, failed)
			continue
		}
		c.Note(i, j.result, j.why)
		run.task.noted(j)
		done = append(done, j)
	}
	return done, err
}

// noted tells that something became of a target: one that was skipped is no member any more, and one that was ended may
// have been connected again since.
func (t *aJob) noted(j judged) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch m := t.members[j.key]; {
	case m == nil:
	case j.result.Skipped():
		delete(t.members, j.key)
	case !j.result.Open():
		m.ends = false
	}
}

// errJobsUnknown is why nobody can tell yet what else a job ends.
var errJobsUnknown = errors.New("the jobs were not read yet")

// spared tells which connections a job ends too, though their turn is yet to come.
func (x *jobs) spared(id string) spares {
	return func(ctx context.Context, k store.Key) (bool, error) {
		x.mu.Lock()
		t, loaded := x.known[id], x.loaded
		x.mu.Unlock()
		switch {
		case t != nil:
			return t.ends(ctx, k)
		case !loaded:
			return false, errJobsUnknown
		}
		return false, nil
	}
}

// ends reports whether the turn of a connection is yet to come, as far as anybody can tell now.
func (t *aJob) ends(ctx context.Context, k store.Key) (bool, error) {
	t.mu.Lock()
	run, members := t.latest, t.members
	var of member
	if m := members[k]; m != nil {
		of = *m
	}
	t.mu.Unlock()
	if run == nil { // its turn is yet to come
		j, err := t.b.store.Job(ctx, t.id)
		if err != nil || j == nil {
			return false, unlessUnusable(err)
		}
		if run, err = t.b.turn(ctx, t, j); err != nil {
			return false, err
		}
	}
	if !run.mayBegin() {
		return false, nil
	}
	if members == nil {
		if err := t.gather(ctx, run.job); err != nil {
			return false, unlessUnusable(err)
		}
		return t.ends(ctx, k)
	}
	if of.target.Path == "" || of.ends {
		return of.ends, nil
	}
	j, err := t.b.target(ctx, run, of.target)
	if err != nil {
		return false, err
	}
	if !j.result.Open() { // it was ended meanwhile, unless it was connected again or skipped
		return !j.result.Skipped() && j.conn.Revoked(), nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if m := t.members[k]; m != nil {
		m.ends = true
	}
	return true, nil
}

// unlessUnusable drops the error of an entry that will not be read however often it is tried.
func unlessUnusable(err error) error {
	if store.Unusable(err) {
		return nil
	}
	return err
}

// gather reads which targets there are.
func (t *aJob) gather(ctx context.Context, j *store.Job) error {
	members := map[store.Key]*member{}
	for n := range j.Chunks() {
		c, err := t.b.store.Chunk(ctx, j.ID, n)
		if err != nil {
			return err
		}
		if c == nil {
			continue
		}
		for i, target := range c.Targets {
			if k, err := store.ParseKey(target.Path); err == nil && c.Result(i).Open() {
				members[k] = &member{target: target}
			}
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.members = members
	return nil
}
