package refresh

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"
)

// ErrClosing is what callers get while the mount is being shut down.
var ErrClosing = errors.New("the engine is shutting down on this node; try again")

// flights runs work that must outlive its caller: on a context of its own, one at a time for a name, awaited at the end.
type flights struct {
	logger hclog.Logger
	base   context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	closed  bool               // guarded by mu
	running map[string]*flight // guarded by mu
	wg      sync.WaitGroup     // Add only under mu while not closed
}

type flight struct {
	done chan struct{}
	out  any   // set before done is closed
	err  error // set before done is closed
}

func newFlights(logger hclog.Logger) *flights {
	base, cancel := context.WithCancel(context.Background())
	return &flights{logger: logger, base: base, cancel: cancel, running: map[string]*flight{}}
}

// start joins the flight called name, or makes it with run. It does not wait.
func (f *flights) start(name string, run func(context.Context) (any, error)) (*flight, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if running, ok := f.running[name]; ok {
		return running, nil
	}
	if f.closed {
		return nil, ErrClosing
	}
	fl := &flight{done: make(chan struct{})}
	f.running[name] = fl
	f.wg.Add(1)
	go func() {
		defer f.wg.Done()
		defer func() {
			if r := recover(); r != nil { // one panic would take every mount of the process down
				f.logger.Error("a background task failed and was stopped", "panic", fmt.Sprintf("%T", r), "stack", string(debug.Stack()))
				fl.err = errors.New("internal error: see the log of this node")
			}
			f.mu.Lock()
			delete(f.running, name)
			f.mu.Unlock()
			close(fl.done)
		}()
		fl.out, fl.err = run(f.base)
	}()
	return fl, nil
}

// spawn runs work without a name beside the flights; false when closed.
func (f *flights) spawn(work func(context.Context)) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.wg.Add(1)
	go func() {
		defer f.wg.Done()
		defer func() {
			if r := recover(); r != nil {
				f.logger.Error("a background task failed and was stopped", "panic", fmt.Sprintf("%T", r), "stack", string(debug.Stack()))
			}
		}()
		work(f.base)
	}()
	return true
}

// wait gives the flight's result, or the caller's own end. The flight goes on without the caller.
func (fl *flight) wait(ctx context.Context) (any, error) {
	select {
	case <-fl.done:
		return fl.out, fl.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// count is how many flights there are whose name begins so.
func (f *flights) count(prefix string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name := range f.running {
		if strings.HasPrefix(name, prefix) {
			n++
		}
	}
	return n
}

// inFlight lists the flights there are now.
func (f *flights) inFlight() []*flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*flight, 0, len(f.running))
	for _, fl := range f.running {
		all = append(all, fl)
	}
	return all
}

// quiesce waits until those that are in flight now have landed, or ctx ends. New ones may start.
func (f *flights) quiesce(ctx context.Context) {
	for _, fl := range f.inFlight() {
		_, _ = fl.wait(ctx)
	}
}

// close refuses new flights, waits for the others until ctx ends, then cancels those and waits for them to notice.
func (f *flights) close(ctx context.Context) {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.quiesce(ctx)
	f.cancel()
	f.wg.Wait()
}
