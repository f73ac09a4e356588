package refresh

import (
	"container/heap"
	"sync"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// index knows when each connection is to be refreshed next, so that the worker sleeps until something is due. It is a
// hint: what it names is looked at again before anything happens, so an entry that is too early costs one read, and one
// for a connection that is gone costs no more.
type index struct {
	wake chan struct{} // holds one token when the earliest time may have changed

	mu      sync.Mutex
	entries dueHeap                 // guarded by mu
	at      map[store.Key]*dueEntry // guarded by mu
}

type dueEntry struct {
	key store.Key
	due time.Time
	pos int
}

func newIndex() *index {
	return &index{wake: make(chan struct{}, 1), at: map[store.Key]*dueEntry{}}
}

// set enters a connection, or moves it; a zero time takes it out.
func (x *index) set(k store.Key, due time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.put(k, due)
}

// offer enters a connection that is not there, or moves it to earlier; a zero time does nothing.
func (x *index) offer(k store.Key, due time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.at[k]; !due.IsZero() && (e == nil || due.Before(e.due)) {
		x.put(k, due)
	}
}

// put is set under x.mu.
func (x *index) put(k store.Key, due time.Time) {
	e := x.at[k]
	switch {
	case due.IsZero() && e == nil:
		return
	case due.IsZero():
		heap.Remove(&x.entries, e.pos)
		delete(x.at, k)
		return
	case e == nil:
		e = &dueEntry{key: k, due: due}
		x.at[k] = e
		heap.Push(&x.entries, e)
	default:
		e.due = due
		heap.Fix(&x.entries, e.pos)
	}
	if e.pos == 0 {
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

// pop takes out the earliest connection that is due at now.
func (x *index) pop(now time.Time) (store.Key, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.entries) == 0 || x.entries[0].due.After(now) {
		return store.Key{}, false
	}
	e := heap.Pop(&x.entries).(*dueEntry)
	delete(x.at, e.key)
	return e.key, true
}

// next is the earliest time there is; false when nothing is entered.
func (x *index) next() (time.Time, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.entries) == 0 {
		return time.Time{}, false
	}
	return x.entries[0].due, true
}

// count is how many connections are entered, and how many of them are due at now and were already at late.
func (x *index) count(now, late time.Time) (entered, due, overdue int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.entries {
		if e.due.After(now) {
			continue
		}
		due++
		if !e.due.After(late) {
			overdue++
		}
	}
	return len(x.entries), due, overdue
}

// dueHeap implements [heap.Interface], earliest first.
type dueHeap []*dueEntry

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}

func (h *dueHeap) Push(x any) {
	e := x.(*dueEntry)
	e.pos = len(*h)
	*h = append(*h, e)
}

func (h *dueHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}
