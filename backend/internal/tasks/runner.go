package tasks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// ErrClosed is what callers get while the mount is being shut down.
var ErrClosed = errors.New("the engine is shutting down on this node; try again")

// errPanic is what those get who waited for work that panicked. The log has the rest.
var errPanic = errors.New("internal error: see the log of this node")

// Options is what a Runner works with. All of it is required.
type Options struct {
	Now    func() time.Time
	Logger hclog.Logger
	// Room tells how many tasks of a lane may run now, beside those that Wide and Deep bound, and when that may change
	// by itself; zero: only when a task ends or Wake is called.
	Room func(Lane) (places int, until time.Time)
}

// Runner runs the mount's work. Work outlives the request that asked for it, and is awaited when the mount ends.
type Runner struct {
	o      Options
	logger hclog.Logger

	loops     context.Context // ends at once when the mount does
	stopLoops context.CancelFunc
	work      context.Context // ends when the time for what is under way is over
	stopWork  context.CancelFunc

	mu      sync.Mutex
	closed  bool             // guarded by mu
	once    map[string]*Work // guarded by mu; by name
	running map[int]string   // guarded by mu; names of all goroutines, for the log
	next    int              // guarded by mu
	ended   chan struct{}    // guarded by mu; closed when running empties, while somebody waits for that

	index  index
	worker worker
}

// Work is one piece of work under way.
type Work struct {
	done chan struct{}
	out  any   // set before done is closed
	err  error // set before done is closed
}

// New makes a runner that does nothing until it is asked.
func New(o Options) *Runner {
	r := &Runner{o: o, logger: o.Logger, once: map[string]*Work{}, running: map[int]string{}}
	r.loops, r.stopLoops = context.WithCancel(context.Background())
	r.work, r.stopWork = context.WithCancel(context.Background())
	r.index.wake = make(chan struct{}, 1)
	r.worker.init()
	return r
}

// Once runs work on a context of its own, one at a time for a name, and waits for it as long as ctx lasts. Whoever
// comes while it is under way waits for the same. It goes on when they leave.
func (r *Runner) Once(ctx context.Context, name string, work func(context.Context) (any, error)) (any, error) {
	w, err := r.Start(name, work)
	if err != nil {
		return nil, err
	}
	return w.Wait(ctx)
}

// Start is Once without the wait.
func (r *Runner) Start(name string, work func(context.Context) (any, error)) (*Work, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w := r.once[name]; w != nil {
		return w, nil
	}
	if r.closed {
		return nil, ErrClosed
	}
	w := &Work{done: make(chan struct{}), err: errPanic}
	r.once[name] = w
	r.spawn(name, func() { w.out, w.err = work(r.work) }, func() {
		r.mu.Lock()
		delete(r.once, name)
		r.mu.Unlock()
		close(w.done)
	})
	return w, nil
}

// Find gives the work of that name that is under way, or nil.
func (r *Runner) Find(name string) *Work {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.once[name]
}

// Count is how much work is under way whose name begins so.
func (r *Runner) Count(prefix string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.once {
		if strings.HasPrefix(name, prefix) {
			n++
		}
	}
	return n
}

// Wait gives what the work brings, or the caller's own end. The work goes on without the caller.
func (w *Work) Wait(ctx context.Context) (any, error) {
	select {
	case <-w.done:
		return w.out, w.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Go runs a loop, or what can be begun anew at any time, until its context ends: at once when the mount does. name is
// for the log. It does nothing once the mount is closed.
func (r *Runner) Go(name string, loop func(context.Context)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.spawn(name, func() { loop(r.loops) }, func() {})
	}
}

// spawn is where goroutines start. It is called under mu, and while the runner is not closed. after is called whatever
// run does.
func (r *Runner) spawn(name string, run, after func()) {
	id := r.next
	r.next++
	r.running[id] = name
	go func() {
		defer r.gone(id)
		defer after()
		defer func() {
			if p := recover(); p != nil { // one panic would take every mount of the process down
				r.logger.Error("a background task failed and was stopped", "task", name,
					"panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			}
		}()
		run()
	}()
}

func (r *Runner) gone(id int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.running, id)
	if len(r.running) == 0 && r.ended != nil {
		close(r.ended)
		r.ended = nil
	}
}

// Closing reports whether the mount ends: what takes long and can be begun anew at any time leaves off then.
func (r *Runner) Closing() bool { return r.loops.Err() != nil }

// Quiesce waits until the work that is under way now has ended, or ctx ends. New work may start.
func (r *Runner) Quiesce(ctx context.Context) {
	r.mu.Lock()
	all := slices.Collect(maps.Values(r.once))
	r.mu.Unlock()
	for _, w := range all {
		_, _ = w.Wait(ctx)
	}
}

// Close refuses new work, ends the loops, and waits for work that is under way until soft ends. Then it ends the
// context of that, runs each of last beside the others, and waits until ctx ends. It gives the names of what is still
// there, which is abandoned.
func (r *Runner) Close(ctx, soft context.Context, last ...func(context.Context)) (left []string) {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.stopLoops()
	r.await(soft)
	r.stopWork()
	r.mu.Lock()
	for _, save := range last {
		r.spawn("saving what is left", func() { save(ctx) }, func() {})
	}
	r.mu.Unlock()
	r.await(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Values(r.running))
}

// await waits until nothing runs, or ctx ends.
func (r *Runner) await(ctx context.Context) {
	r.mu.Lock()
	if len(r.running) == 0 {
		r.mu.Unlock()
		return
	}
	if r.ended == nil {
		r.ended = make(chan struct{})
	}
	ended := r.ended
	r.mu.Unlock()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}
