package tasks_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
)

// task notes when it runs.
type task struct {
	tasks.Place
	lane tasks.Lane
	does func(context.Context) time.Time // nil: nothing, and never again

	began time.Time // of the test
	mu    sync.Mutex
	ran   []time.Duration // since then
}

func newTask(lane string, does func(context.Context) time.Time) *task {
	return &task{lane: tasks.Lane{Kind: "test", Key: lane}, does: does, began: time.Now()}
}

func (k *task) Lane() tasks.Lane { return k.lane }
func (k *task) Name() string     { return "of " + k.lane.Key }

func (k *task) Run(ctx context.Context) (next time.Time) {
	k.mu.Lock()
	k.ran = append(k.ran, time.Since(k.began))
	k.mu.Unlock()
	if k.does == nil {
		return next
	}
	return k.does(ctx)
}

// runs is when it ran, once all goroutines have come to rest.
func (k *task) runs() []time.Duration {
	synctest.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]time.Duration(nil), k.ran...)
}

func in(seconds int) time.Time { return time.Now().Add(time.Duration(seconds) * time.Second) }

func seconds(all ...int) (d []time.Duration) {
	for _, n := range all {
		d = append(d, time.Duration(n)*time.Second)
	}
	return d
}

func TestSet(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*tasks.Runner, *task)
		runs []time.Duration
	}{
		"it runs when it is due, and once": {
			do: func(r *tasks.Runner, k *task) { r.Set(k, in(10)) }, runs: seconds(10),
		},
		"at once when it is overdue": {
			do: func(r *tasks.Runner, k *task) { r.Set(k, in(-10)) }, runs: seconds(0),
		},
		"the last one holds: a later one": {
			do: func(r *tasks.Runner, k *task) { r.Set(k, in(10)); r.Set(k, in(20)) }, runs: seconds(20),
		},
		"the last one holds: an earlier one": {
			do: func(r *tasks.Runner, k *task) { r.Set(k, in(20)); r.Set(k, in(10)) }, runs: seconds(10),
		},
		"the last one holds: never": {
			do: func(r *tasks.Runner, k *task) { r.Set(k, in(10)); r.Set(k, time.Time{}) },
		},
		"never, twice, and then again": {
			do: func(r *tasks.Runner, k *task) {
				r.Set(k, time.Time{})
				r.Set(k, time.Time{})
				r.Set(k, in(10))
			}, runs: seconds(10),
		},
		"sooner than it was": {
			do: func(r *tasks.Runner, k *task) { r.Set(k, in(20)); r.Sooner(k, in(10)) }, runs: seconds(10),
		},
		"sooner is not later": {
			do: func(r *tasks.Runner, k *task) { r.Set(k, in(10)); r.Sooner(k, in(20)) }, runs: seconds(10),
		},
		"sooner than never": {
			do: func(r *tasks.Runner, k *task) { r.Sooner(k, in(10)) }, runs: seconds(10),
		},
		"sooner is no bound for what is Set": {
			do: func(r *tasks.Runner, k *task) { r.Sooner(k, in(10)); r.Set(k, in(20)) }, runs: seconds(20),
		},
	} {
		bubble(t, name, func(t *testing.T) {
			r, k := given(t, nil), newTask("acme", nil)
			r.Work()
			synctest.Wait() // the worker sleeps
			c.do(r, k)
			time.Sleep(time.Minute)
			require.Equal(t, c.runs, k.runs())
			require.Zero(t, r.Report().Scheduled)
		})
	}
}

// Each of these tasks begins at 10 s, does something to its own place at 15 s, and returns at 20 s.
func TestSetWhileItRuns(t *testing.T) {
	never := func() (next time.Time) { return next }
	after := func(n int) func() time.Time { return func() time.Time { return in(n) } }
	for name, c := range map[string]struct {
		do   func(*tasks.Runner, *task)
		next func() time.Time
		runs []time.Duration
	}{
		"nothing: what it returns holds": {
			do: func(*tasks.Runner, *task) {}, next: after(10), runs: seconds(10, 30),
		},
		"nothing: zero takes it out": {
			do: func(*tasks.Runner, *task) {}, next: never, runs: seconds(10),
		},
		"Set goes before what it returns: later": {
			do:   func(r *tasks.Runner, k *task) { r.Set(k, in(60)) },
			next: after(10), runs: seconds(10, 75),
		},
		"Set goes before what it returns: earlier": {
			do:   func(r *tasks.Runner, k *task) { r.Set(k, in(10)) },
			next: after(10), runs: seconds(10, 25),
		},
		"Set goes before what it returns: at once": {
			do:   func(r *tasks.Runner, k *task) { r.Set(k, in(0)) },
			next: after(10), runs: seconds(10, 20),
		},
		"Set goes before what it returns: never": {
			do:   func(r *tasks.Runner, k *task) { r.Set(k, time.Time{}) },
			next: after(10), runs: seconds(10),
		},
		"Set is not lost when it returns never": {
			do:   func(r *tasks.Runner, k *task) { r.Set(k, in(60)) },
			next: never, runs: seconds(10, 75),
		},
		"the last Set holds": {
			do:   func(r *tasks.Runner, k *task) { r.Set(k, in(10)); r.Set(k, in(60)) },
			next: never, runs: seconds(10, 75),
		},
		"Sooner than what it returns is not lost": {
			do:   func(r *tasks.Runner, k *task) { r.Sooner(k, in(0)) },
			next: after(10), runs: seconds(10, 20),
		},
		"Sooner than never is not lost": {
			do:   func(r *tasks.Runner, k *task) { r.Sooner(k, in(60)) },
			next: never, runs: seconds(10, 75),
		},
		"Sooner never makes it later than what it returns": {
			do:   func(r *tasks.Runner, k *task) { r.Sooner(k, in(60)) },
			next: after(10), runs: seconds(10, 30),
		},
		"the soonest holds": {
			do:   func(r *tasks.Runner, k *task) { r.Sooner(k, in(10)); r.Sooner(k, in(20)) },
			next: never, runs: seconds(10, 25),
		},
		"Sooner than what was Set": {
			do:   func(r *tasks.Runner, k *task) { r.Set(k, in(60)); r.Sooner(k, in(30)) },
			next: after(10), runs: seconds(10, 45),
		},
		"what was Set, and no sooner": {
			do:   func(r *tasks.Runner, k *task) { r.Set(k, in(30)); r.Sooner(k, in(60)) },
			next: after(10), runs: seconds(10, 45),
		},
		"Set after Sooner": {
			do:   func(r *tasks.Runner, k *task) { r.Sooner(k, in(0)); r.Set(k, in(60)) },
			next: after(10), runs: seconds(10, 75),
		},
	} {
		bubble(t, name, func(t *testing.T) {
			r := given(t, nil)
			r.Work()
			var k *task
			first := true
			k = newTask("acme", func(context.Context) (next time.Time) {
				if !first {
					return next
				}
				first = false
				time.Sleep(5 * time.Second)
				c.do(r, k)
				time.Sleep(5 * time.Second)
				return c.next()
			})
			r.Set(k, in(10))
			time.Sleep(5 * time.Minute)
			require.Equal(t, c.runs, k.runs())
		})
	}
}

// Each of these tasks is due at 10 s and has no room until 30 s.
func TestSetWhileItWaits(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*tasks.Runner, *task)
		next func() time.Time
		runs []time.Duration
	}{
		"it leaves its lane, and comes back when that says": {
			do:   func(r *tasks.Runner, k *task) { r.Set(k, in(60)) },
			next: func() time.Time { return in(50) }, runs: seconds(80, 130),
		},
		"even when it was to be never": {
			do:   func(r *tasks.Runner, k *task) { r.Set(k, time.Time{}) },
			next: func() (next time.Time) { return next },
		},
		"Sooner comes no sooner than its turn, and only once": {
			do:   func(r *tasks.Runner, k *task) { r.Sooner(k, in(0)) },
			next: func() (next time.Time) { return next }, runs: seconds(30),
		},
	} {
		bubble(t, name, func(t *testing.T) {
			open := in(30)
			r := given(t, func(o *tasks.Options) {
				o.Room = func(tasks.Lane) (int, time.Time) {
					if time.Now().Before(open) {
						return 0, open
					}
					return 1, time.Time{}
				}
			})
			r.Work()
			first := true
			k := newTask("acme", func(context.Context) (next time.Time) {
				if first {
					first = false
					return c.next()
				}
				return next
			})
			r.Set(k, in(10))
			time.Sleep(20 * time.Second)
			c.do(r, k)
			time.Sleep(time.Hour)
			require.Equal(t, c.runs, k.runs())
			require.Zero(t, r.Report().Scheduled)
			require.Zero(t, r.Report().Running)
		})
	}
}

func TestIndexOrder(t *testing.T) {
	for seed := range uint64(20) {
		bubble(t, fmt.Sprintf("each runs exactly when it is due, however often moved: seed %d", seed), func(t *testing.T) {
			r, random := given(t, nil), rand.New(rand.NewPCG(seed, 1))
			var all []*task
			due := map[*task]int{} // in seconds; 0: never
			for n := range 100 {
				all = append(all, newTask(fmt.Sprint(n), nil))
			}
			for range 1000 {
				k, at := all[random.IntN(len(all))], 1+random.IntN(5000)
				switch random.IntN(4) {
				case 0:
					r.Set(k, time.Time{})
					due[k] = 0
				case 1:
					r.Sooner(k, in(at))
					if due[k] == 0 || at < due[k] {
						due[k] = at
					}
				default:
					r.Set(k, in(at))
					due[k] = at
				}
			}
			scheduled := 0
			for _, at := range due {
				scheduled += min(at, 1)
			}
			require.Equal(t, scheduled, r.Report().Scheduled)
			r.Work()
			time.Sleep(5001 * time.Second)
			for _, k := range all {
				if at := due[k]; at == 0 {
					require.Empty(t, k.runs())
				} else {
					require.Equal(t, seconds(at), k.runs())
				}
			}
		})
	}
}

// entry is something stored: the task looks at it, and what falls due follows from it.
type entry struct {
	*task
	mu   sync.Mutex
	due  time.Time
	done []time.Duration // how late
}

func TestIndexForgetsNothing(t *testing.T) {
	for seed := range uint64(10) {
		bubble(t, fmt.Sprintf("whatever is Set while tasks wait and run: seed %d", seed), func(t *testing.T) {
			r := given(t, func(o *tasks.Options) {
				o.Room = func(tasks.Lane) (int, time.Time) { return 2, time.Time{} }
			})
			r.Work()
			var all []*entry
			for n := range 40 {
				e := &entry{}
				random := rand.New(rand.NewPCG(seed, uint64(n)))
				e.task = newTask(fmt.Sprint(n%5), func(context.Context) (next time.Time) {
					e.mu.Lock()
					was := e.due
					e.mu.Unlock()
					time.Sleep(time.Duration(random.IntN(2000)) * time.Millisecond)
					e.mu.Lock()
					defer e.mu.Unlock()
					if e.due != was || was.IsZero() || time.Now().Before(was) {
						return was // it may have been Set since
					}
					e.done = append(e.done, time.Since(was))
					e.due = next
					return next
				})
				all = append(all, e)
			}
			var changes sync.WaitGroup
			for n := range 8 {
				changes.Go(func() {
					random := rand.New(rand.NewPCG(seed, uint64(1000+n)))
					for range 300 {
						time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
						e := all[random.IntN(len(all))]
						at := time.Now().Add(time.Duration(random.IntN(10)) * time.Second)
						e.mu.Lock()
						if e.due.IsZero() || at.Before(e.due) || random.IntN(2) == 0 {
							e.due = at
							r.Set(e, at)
						} else {
							r.Sooner(e, at) // it is due before that already
						}
						e.mu.Unlock()
					}
				})
			}
			changes.Wait()
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			for _, e := range all {
				e.mu.Lock()
				require.Zero(t, e.due, "it is forgotten")
				require.NotEmpty(t, e.done)
				for _, late := range e.done {
					require.Less(t, late, 2*time.Minute)
				}
				e.mu.Unlock()
			}
			require.Zero(t, r.Report().Scheduled)
			require.Zero(t, r.Report().Running)
		})
	}
}
