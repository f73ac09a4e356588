// Package tasks owns the background: what falls due and when, and every goroutine that the engine starts.
//
//	runner.go  goroutines: Once, Go, Close; the only place where they start
//	index.go   which entry falls due when
//	worker.go  runs what is due: bounded, fair between lanes, asleep meanwhile
//
// A task belongs to a stored entry and is never stored itself: what is due, and when, follows from the entry. So the
// index is only a hint. Whoever it names looks at the entry again before anything happens; an entry that is named too
// early costs that look, and one that is gone costs no more.
//
// The package knows nothing of what the tasks do. Its mutexes are leaves, but that Room is asked under one.
package tasks
