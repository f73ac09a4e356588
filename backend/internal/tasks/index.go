package tasks

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// Task is a stored entry for which something may fall due. It is what somebody keeps of the entry anyway, with a [Place]
// embedded, so that the index costs a hundred thousand entries no second record of each.
type Task interface {
	place() *Place
	// Lane says whom the task keeps busy.
	Lane() Lane
	// Name is for the log.
	Name() string
	// Run looks at the entry and does what is due, if anything is. It gives when to look again; zero: not by itself. A Set
	// meanwhile goes before that.
	Run(ctx context.Context) time.Time
}

// Lane is what tasks must share: they take turns with those of other lanes.
type Lane struct {
	Kind string // what is done
	Key  string // by whom, such as a provider
}

// Place is a task's place in the index. The zero value is none.
type Place struct {
	due     time.Time // guarded by index.mu; zero: it is not entered
	changes uint32    // guarded by index.mu; higher with each Set
	pos     int32     // guarded by index.mu; in the heap, when it is there
	state   state     // guarded by index.mu
}

func (p *Place) place() *Place { return p }

// state is where a task is.
type state uint8

const (
	idle    state = iota // in the heap, if it has a due time
	waiting              // taken out of the heap, and waiting for its lane
	running
)

// index knows when each task falls due next.
type index struct {
	wake chan struct{} // holds a token when the worker should look

	mu    sync.Mutex
	tasks taskHeap // guarded by mu
}

// Set says when a task falls due; zero: never. It goes before what the task itself said.
func (r *Runner) Set(t Task, due time.Time) {
	x := &r.index
	x.mu.Lock()
	defer x.mu.Unlock()
	t.place().changes++
	x.put(t, due)
}

// Sooner moves a task to an earlier time, and never to a later.
func (r *Runner) Sooner(t Task, due time.Time) {
	x := &r.index
	x.mu.Lock()
	defer x.mu.Unlock()
	if p := t.place(); p.state != waiting && (p.due.IsZero() || due.Before(p.due)) {
		x.put(t, due)
	}
}

// put enters a task, moves it, or takes it out. One that waits or runs is entered when it has run. It is called under mu.
func (x *index) put(t Task, due time.Time) {
	p := t.place()
	was := p.due
	p.due = due
	switch {
	case p.state != idle:
		return
	case due.IsZero() && was.IsZero():
		return
	case due.IsZero():
		heap.Remove(&x.tasks, int(p.pos))
		return
	case was.IsZero():
		heap.Push(&x.tasks, t)
	default:
		heap.Fix(&x.tasks, int(p.pos))
	}
	if p.pos == 0 {
		x.signal()
	}
}

// signal wakes the worker. One signal is as good as many.
func (x *index) signal() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// pop takes out the earliest task that is due at now; it waits for its lane from then on.
func (x *index) pop(now time.Time) (Task, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.tasks) == 0 || x.tasks[0].place().due.After(now) {
		return nil, false
	}
	t := heap.Pop(&x.tasks).(Task)
	t.place().state = waiting
	return t, true
}

// begin marks a task as running, and gives what finish needs to know.
func (x *index) begin(t Task) (changes uint32) {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := t.place()
	p.state, p.due = running, time.Time{}
	return p.changes
}

// finish enters a task anew: when it was Set since it began, by that; else at next, or Sooner.
func (x *index) finish(t Task, changes uint32, next time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := t.place()
	p.state = idle
	switch {
	case p.changes != changes: // p.due is what it was Set to
		next = p.due
	case !p.due.IsZero() && (next.IsZero() || p.due.Before(next)): // it was moved
		next = p.due
	}
	p.due = time.Time{}
	x.put(t, next)
}

// first is the earliest time there is; false when nothing is entered.
func (x *index) first() (time.Time, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.tasks) == 0 {
		return time.Time{}, false
	}
	return x.tasks[0].place().due, true
}

// taskHeap implements [heap.Interface], earliest first.
type taskHeap []Task

func (h taskHeap) Len() int           { return len(h) }
func (h taskHeap) Less(i, j int) bool { return h[i].place().due.Before(h[j].place().due) }
func (h taskHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place().pos, h[j].place().pos = int32(i), int32(j)
}

func (h *taskHeap) Push(x any) {
	t := x.(Task)
	t.place().pos = int32(len(*h))
	*h = append(*h, t)
}

func (h *taskHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return t
}
