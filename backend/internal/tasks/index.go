package tasks

import (
	"container/heap"
	"context"
	"math"
	"sync"
	"time"
)

// Task is a stored entry for which something may fall due. It is what somebody keeps of the entry anyway, with a
// [Place] embedded, so that the index costs a hundred thousand entries no second record of each.
type Task interface {
	place() *Place
	// Lane says whom the task keeps busy.
	Lane() Lane
	// Name is for the log.
	Name() string
	// Run looks at the entry and does what is due, if anything is. It gives when to look again; zero: not by itself. A
	// Set meanwhile goes before that.
	Run(ctx context.Context) time.Time
}

// Following is what a task embeds, in the place of a Place, that only follows what was done: it is none of those that
// fall due by themselves, and not reported among them.
type Following struct{ Place }

func (*Following) follows() {}

type follower interface{ follows() }

// Lane is what tasks must share: they take turns with those of other lanes.
type Lane struct {
	Kind string // what is done
	Key  string // by whom, such as a provider
}

// Place is a task's place in the index. The zero value is none.
type Place struct {
	due     moment // guarded by index.mu; never: it is not entered
	changes uint32 // guarded by index.mu; higher with each Set
	pos     int32  // guarded by index.mu; in the heap, when it is there
	state   state  // guarded by index.mu
}

// moment is a time in Unix nanoseconds, a third of a [time.Time] for each of very many.
type moment int64

const (
	never   moment = 0
	farAway moment = math.MaxInt64
)

func momentOf(t time.Time) moment {
	switch {
	case t.IsZero():
		return never
	case t.Year() > 2200:
		return farAway
	case t.Year() < 1971: // long past, and not never
		return 1
	}
	return moment(t.UnixNano())
}

func (m moment) time() time.Time { return time.Unix(0, int64(m)) }

func (p *Place) place() *Place { return p }

// Whoever embeds a Place has this half of [Task], and nobody in this package does.
var _ interface{ place() *Place } = (*Place)(nil)

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
	x.put(t, momentOf(due))
}

// Sooner moves a task to an earlier time, and never to a later.
func (r *Runner) Sooner(t Task, due time.Time) {
	x := &r.index
	x.mu.Lock()
	defer x.mu.Unlock()
	at := momentOf(due)
	if p := t.place(); at != never && p.state != waiting && (p.due == never || at < p.due) {
		x.put(t, at)
	}
}

// put enters a task, moves it, or takes it out. One that waits for its lane leaves it, since it may call for another
// now; one that runs is entered when it has run. It is called under mu.
func (x *index) put(t Task, due moment) {
	p := t.place()
	if p.state == waiting {
		p.state, p.due = idle, never
	}
	was := p.due
	p.due = due
	switch {
	case p.state != idle:
		return
	case due == never && was == never:
		return
	case due == never:
		heap.Remove(&x.tasks, int(p.pos))
		return
	case was == never:
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

// pop takes out the earliest task that is due at now; it waits for its lane from then on. changes tells later whether
// it still does.
func (x *index) pop(now time.Time) (t Task, changes uint32, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.tasks) == 0 || x.tasks[0].place().due > momentOf(now) {
		return nil, 0, false
	}
	t = heap.Pop(&x.tasks).(Task)
	p := t.place()
	p.state = waiting
	return t, p.changes, true
}

// begin marks a task as running, unless it was Set since it was popped.
func (x *index) begin(t Task, changes uint32) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := t.place()
	if p.state != waiting || p.changes != changes {
		return false
	}
	p.state, p.due = running, never
	return true
}

// finish enters a task anew: when it was Set since it began, by that; else at next, or Sooner.
func (x *index) finish(t Task, changes uint32, again time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	p, next := t.place(), momentOf(again)
	p.state = idle
	switch {
	case p.changes != changes: // p.due is what it was Set to
		next = p.due
	case p.due != never && (next == never || p.due < next): // it was moved
		next = p.due
	}
	p.due = never
	x.put(t, next)
}

// first is the earliest time there is; false when nothing is entered.
func (x *index) first() (time.Time, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.tasks) == 0 {
		return time.Time{}, false
	}
	return x.tasks[0].place().due.time(), true
}

// taskHeap implements [heap.Interface], earliest first.
type taskHeap []Task

func (h taskHeap) Len() int           { return len(h) }
func (h taskHeap) Less(i, j int) bool { return h[i].place().due < h[j].place().due }
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
