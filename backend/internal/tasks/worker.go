package tasks

import (
	"context"
	"sync"
	"time"
)

const (
	// Wide bounds the tasks that run at once, and Deep those of one lane: a slow lane fills its own share and leaves
	// the others theirs.
	Wide = 56
	Deep = 12

	// LookAgain is when a task comes back whose entry could not be judged, or that failed without saying when.
	LookAgain = time.Minute

	// holdTime is how long nothing starts after another mount of the process began to go away: longer than that mount
	// waits for what is under way, so that a process which is then replaced has nothing in the air.
	holdTime = 15 * time.Second

	longestSleep = time.Hour
	roomAgain    = 5 * time.Second
)

// worker runs the tasks that are due.
type worker struct {
	mu      sync.Mutex
	working bool            // guarded by mu
	waiting map[Lane][]turn // guarded by mu; first come first served
	turns   []Lane          // guarded by mu; lanes with something waiting, the next one first
	running map[Lane]int    // guarded by mu
	total   int             // guarded by mu
	held    time.Time       // guarded by mu; nothing is started before. By the monotonic clock
	last    time.Time       // guarded by mu; when something was last found due
}

// turn is a task that waits for its lane.
type turn struct {
	task    Task
	changes uint32 // of the task's place when it began to wait
	since   time.Time
}

func (w *worker) init() {
	w.waiting, w.running = map[Lane][]turn{}, map[Lane]int{}
}

// Work makes sure that what falls due is run.
func (r *Runner) Work() {
	w := &r.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.working {
		return
	}
	w.working = true
	r.Go("worker", func(ctx context.Context) {
		defer func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.working = false
		}()
		r.loop(ctx)
	})
}

func (r *Runner) loop(ctx context.Context) {
	for ctx.Err() == nil {
		r.pass(ctx)
		timer := time.NewTimer(r.sleep())
		select {
		case <-timer.C:
		case <-r.index.wake:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// Wake lets the worker look again, since a lane may have room that had none.
func (r *Runner) Wake() { r.index.signal() }

// pass moves what is due to its lane, and starts what may start.
func (r *Runner) pass(ctx context.Context) {
	now, w := r.o.Now(), &r.worker
	for t, changes, ok := r.index.pop(now); ok && ctx.Err() == nil; t, changes, ok = r.index.pop(now) {
		lane := t.Lane()
		w.mu.Lock()
		w.last = now
		if len(w.waiting[lane]) == 0 {
			w.turns = append(w.turns, lane)
		}
		w.waiting[lane] = append(w.waiting[lane], turn{t, changes, now})
		w.mu.Unlock()
	}
	for ctx.Err() == nil {
		t, lane, ok := r.take()
		if !ok {
			return
		}
		r.run(t, lane)
	}
}

// take picks the next task, of the lane whose turn it is.
func (r *Runner) take() (turn, Lane, bool) {
	w := &r.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.total >= Wide || time.Now().Before(w.held) {
		return turn{}, Lane{}, false
	}
	for range len(w.turns) {
		lane := w.turns[0]
		w.turns = w.turns[1:]
		places, _ := r.o.Room(lane)
		if w.running[lane] >= min(places, Deep) {
			w.turns = append(w.turns, lane)
			continue
		}
		t := w.waiting[lane][0]
		if w.waiting[lane] = w.waiting[lane][1:]; len(w.waiting[lane]) == 0 {
			delete(w.waiting, lane)
		} else {
			w.turns = append(w.turns, lane)
		}
		w.running[lane]++
		w.total++
		return t, lane, true
	}
	return turn{}, Lane{}, false
}

// run starts a task in a goroutine of its own.
func (r *Runner) run(t turn, lane Lane) {
	if !r.index.begin(t.task, t.changes) { // it was Set since, and comes again when that says
		r.leave(lane)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return // nobody will look at it any more
	}
	var next time.Time
	ended := false
	r.spawn(lane.Kind+" "+t.task.Name(), func() { next, ended = t.task.Run(r.work), true }, func() {
		if !ended { // it panicked
			next = r.o.Now().Add(LookAgain)
		}
		r.index.finish(t.task, t.changes, next)
		r.leave(lane)
		r.index.signal()
	})
}

// leave gives a place in a lane back.
func (r *Runner) leave(lane Lane) {
	w := &r.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	w.total--
	if w.running[lane]--; w.running[lane] == 0 {
		delete(w.running, lane)
	}
}

// sleep is how long the worker may rest unless it is woken.
func (r *Runner) sleep() time.Duration {
	now, wait := r.o.Now(), longestSleep
	if first, ok := r.index.first(); ok {
		wait = min(wait, max(first.Sub(now), 0))
	}
	w := &r.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	if held := time.Until(w.held); held > 0 {
		return max(held, time.Millisecond)
	}
	for lane := range w.waiting {
		switch places, until := r.o.Room(lane); {
		case !until.IsZero():
			wait = min(wait, max(until.Sub(now), time.Second))
		case places == 0: // somebody else is inside, and does not say when they leave
			wait = min(wait, roomAgain)
		}
	}
	return wait
}

// Hold lets nothing start for a while.
func (r *Runner) Hold() {
	r.worker.mu.Lock()
	r.worker.held = time.Now().Add(holdTime)
	r.worker.mu.Unlock()
	r.index.signal()
}

// Held reports whether nothing may start now.
func (r *Runner) Held() bool {
	r.worker.mu.Lock()
	defer r.worker.mu.Unlock()
	return time.Now().Before(r.worker.held)
}

// Report is how the background fares.
type Report struct {
	Scheduled int // tasks that fall due by themselves
	Due       int // of them due now, waiting ones included
	Overdue   int // of them due for more than a minute
	Running   int // tasks under way
	// for how long the first of those that are due has been due
	Lag     time.Duration
	LastDue time.Time // when something was last found due; zero before the first time
}

// Report tells how the background fares now.
func (r *Runner) Report() Report {
	now := r.o.Now()
	late := now.Add(-time.Minute)
	var report Report
	r.index.mu.Lock()
	for _, t := range r.index.tasks {
		if _, is := t.(follower); is {
			continue
		}
		report.Scheduled++
		due := t.place().due.time()
		if !due.After(now) {
			report.Due++
			report.Lag = max(report.Lag, now.Sub(due))
		}
		if !due.After(late) {
			report.Overdue++
		}
	}
	r.index.mu.Unlock()
	w := &r.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, waiting := range w.waiting {
		for _, t := range waiting {
			if _, is := t.task.(follower); is {
				continue
			}
			report.Scheduled++
			report.Due++
			report.Lag = max(report.Lag, now.Sub(t.since))
			if t.since.Before(late) {
				report.Overdue++
			}
		}
	}
	report.Running, report.LastDue = w.total, w.last
	return report
}
