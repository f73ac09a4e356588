package tasks_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
)

// room is what Options.Room says, and how often it was asked.
type room struct {
	asked  atomic.Int64
	places atomic.Int64
	until  atomic.Pointer[time.Time]
}

func (m *room) of(tasks.Lane) (int, time.Time) {
	m.asked.Add(1)
	if until := m.until.Load(); until != nil && time.Now().Before(*until) {
		return 0, *until
	}
	return int(m.places.Load()), time.Time{}
}

// working gives a runner that works, with room for so many of each lane.
func working(t *testing.T, places int) (*tasks.Runner, *room) {
	t.Helper()
	m := &room{}
	m.places.Store(int64(places))
	r := given(t, func(o *tasks.Options) { o.Room = m.of })
	r.Work()
	return r, m
}

// hangs is a task that runs until somebody sends, or the mount ends.
func hangs(lane string, release <-chan struct{}) *task {
	return newTask(lane, func(ctx context.Context) (next time.Time) {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return next
	})
}

func countRun(all []*task) (n int) {
	for _, k := range all {
		n += len(k.runs())
	}
	return n
}

// many enters so many tasks of a lane, due now.
func many(r *tasks.Runner, n int, lane string, release <-chan struct{}) (all []*task) {
	for range n {
		k := hangs(lane, release)
		r.Set(k, time.Now())
		all = append(all, k)
	}
	synctest.Wait()
	return all
}

func TestWorkerSleeps(t *testing.T) {
	// looking counts how often the worker looks at the clock, which it does twice whenever it wakes up.
	looking := func(t *testing.T) (r *tasks.Runner, m *room, looks *atomic.Int64) {
		t.Helper()
		m, looks = &room{}, &atomic.Int64{}
		r = given(t, func(o *tasks.Options) {
			o.Room = m.of
			o.Now = func() time.Time { looks.Add(1); return time.Now() }
		})
		r.Work()
		return r, m, looks
	}
	bubble(t, "while nothing is entered", func(t *testing.T) {
		r, m, looks := looking(t)
		r.Work() // a second worker would look, too
		time.Sleep(24*time.Hour - 1)
		synctest.Wait()
		require.LessOrEqual(t, looks.Load(), int64(2*24))
		require.Zero(t, m.asked.Load())
	})
	bubble(t, "while nothing is due", func(t *testing.T) {
		r, m, looks := looking(t)
		m.places.Store(1)
		for n := range 1000 {
			r.Set(newTask("acme", nil), in(3600+n))
		}
		time.Sleep(time.Hour - 1)
		synctest.Wait()
		require.LessOrEqual(t, looks.Load(), int64(4), "once at first, and once for the earliest")
		require.Zero(t, m.asked.Load())
	})
	bubble(t, "while what is entered is due later than the first", func(t *testing.T) {
		r, m, looks := looking(t)
		m.places.Store(1)
		r.Set(newTask("acme", nil), in(1000))
		synctest.Wait()
		before := looks.Load()
		for n := range 100 {
			k := newTask("acme", nil)
			r.Set(k, in(3000-n))
			synctest.Wait()
			r.Sooner(k, in(2000-n))
			synctest.Wait()
		}
		require.Equal(t, before, looks.Load())
	})
	bubble(t, "while a task is under way", func(t *testing.T) {
		r, m, looks := looking(t)
		m.places.Store(1)
		many(r, 3, "acme", nil)
		before := looks.Load()
		time.Sleep(time.Hour - 1)
		synctest.Wait()
		require.Equal(t, before, looks.Load())
	})
	bubble(t, "while a lane has no room and said until when", func(t *testing.T) {
		r, m, looks := looking(t)
		m.places.Store(1)
		until := in(1800)
		m.until.Store(&until)
		all := many(r, 3, "acme", nil)
		before := looks.Load()
		time.Sleep(30*time.Minute - 1)
		synctest.Wait()
		require.Equal(t, before, looks.Load())
		require.Zero(t, countRun(all))
		time.Sleep(time.Nanosecond)
		require.Equal(t, 1, countRun(all))
	})
	bubble(t, "for five seconds while it did not say so", func(t *testing.T) {
		r, m, looks := looking(t)
		all := many(r, 3, "acme", nil)
		before := looks.Load()
		time.Sleep(time.Minute - 1)
		synctest.Wait()
		require.EqualValues(t, 2*11, looks.Load()-before)
		m.places.Store(2)
		time.Sleep(time.Nanosecond)
		require.Equal(t, 2, countRun(all))
	})
	bubble(t, "at least a second, whatever it was told", func(t *testing.T) {
		past := time.Now()
		var asked atomic.Int64
		r := given(t, func(o *tasks.Options) {
			o.Room = func(tasks.Lane) (int, time.Time) { asked.Add(1); return 0, past }
		})
		r.Work()
		many(r, 1, "acme", nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.InDelta(t, 120, asked.Load(), 10)
	})
}

func TestWorkerRoom(t *testing.T) {
	bubble(t, "a lane without room keeps its tasks until somebody says so", func(t *testing.T) {
		r, m := working(t, 0)
		until := in(3600)
		m.until.Store(&until)
		all := many(r, 3, "acme", nil)
		time.Sleep(time.Minute)
		require.Zero(t, countRun(all))
		m.until.Store(nil)
		m.places.Store(3)
		time.Sleep(time.Minute)
		require.Zero(t, countRun(all))
		r.Wake()
		require.Equal(t, 3, countRun(all))
	})
	bubble(t, "room for one: one after the other", func(t *testing.T) {
		r, _ := working(t, 1)
		release := make(chan struct{})
		all := many(r, 3, "acme", release)
		for n := range all {
			require.Equal(t, n+1, countRun(all))
			release <- struct{}{}
		}
		require.Equal(t, 3, countRun(all))
	})
	bubble(t, "first come, first served", func(t *testing.T) {
		r, m := working(t, 0)
		var all []*task
		for range 20 {
			all = append(all, many(r, 1, "acme", nil)...)
			time.Sleep(time.Second)
		}
		for n := range 12 {
			m.places.Store(int64(n + 1))
			r.Wake()
			require.Equal(t, n+1, countRun(all))
			require.Len(t, all[n].runs(), 1)
		}
	})
	bubble(t, "other lanes do not wait", func(t *testing.T) {
		r := given(t, func(o *tasks.Options) {
			o.Room = func(l tasks.Lane) (int, time.Time) {
				if l.Key == "full" {
					return 0, time.Time{}
				}
				return 1, time.Time{}
			}
		})
		r.Work()
		full, other := many(r, 100, "full", nil), many(r, 1, "other", nil)
		require.Zero(t, countRun(full))
		require.Equal(t, 1, countRun(other))
	})
}

func TestWorkerIsFair(t *testing.T) {
	bubble(t, "a lane of a thousand that hang starves no other", func(t *testing.T) {
		r, _ := working(t, tasks.Wide)
		hanging := many(r, 1000, "hangs", nil)
		require.Equal(t, 12, tasks.Deep)
		require.Equal(t, tasks.Deep, countRun(hanging))
		for range 10 {
			var quick []*task
			for range 100 {
				k := newTask("quick", nil)
				r.Set(k, in(1))
				quick = append(quick, k)
			}
			time.Sleep(time.Second)
			require.Equal(t, 100, countRun(quick))
		}
		require.Equal(t, tasks.Deep, countRun(hanging))
	})
	bubble(t, "so many in all, and of a lane", func(t *testing.T) {
		r, _ := working(t, 1000)
		require.Equal(t, 56, tasks.Wide)
		release := make(chan struct{})
		all := map[string][]*task{}
		total := func() (n int) {
			for _, lane := range all {
				ran := countRun(lane)
				require.LessOrEqual(t, ran, tasks.Deep)
				n += ran
			}
			return n
		}
		for n := range 10 {
			lane := fmt.Sprint(n)
			all[lane] = many(r, 12, lane, release)
		}
		require.Equal(t, tasks.Wide, total())
		require.Equal(t, tasks.Wide, r.Report().Running)
		for n := range 120 {
			release <- struct{}{}
			require.Equal(t, min(tasks.Wide+n+1, 120), total())
		}
		require.Zero(t, r.Report().Running)
	})
	bubble(t, "lanes take turns", func(t *testing.T) {
		r, _ := working(t, tasks.Wide)
		release := make(chan struct{})
		for n := range 4 {
			many(r, 12, fmt.Sprint("full-", n), release)
		}
		many(r, 8, "rest", release)
		require.Equal(t, tasks.Wide, r.Report().Running)
		first, second, third := many(r, 5, "first", nil), many(r, 5, "second", nil), many(r, 2, "third", nil)
		var order string
		for range 12 {
			a, b, c := countRun(first), countRun(second), countRun(third)
			release <- struct{}{}
			switch {
			case countRun(first) == a+1:
				order += "1"
			case countRun(second) == b+1:
				order += "2"
			case countRun(third) == c+1:
				order += "3"
			}
		}
		require.Equal(t, "123123121212", order)
	})
}

func TestHold(t *testing.T) {
	bubble(t, "nothing starts for fifteen seconds, and then all", func(t *testing.T) {
		r, _ := working(t, 1)
		running := many(r, 1, "running", nil)
		require.False(t, r.Held())
		r.Hold()
		waiting := many(r, 1, "waiting", nil)
		later := newTask("later", nil)
		r.Set(later, in(10))
		time.Sleep(15*time.Second - 1)
		require.True(t, r.Held())
		require.Equal(t, 1, countRun(running))
		require.Zero(t, countRun(waiting))
		require.Empty(t, later.runs())
		time.Sleep(time.Nanosecond)
		require.False(t, r.Held())
		require.Equal(t, 1, countRun(waiting))
		require.Equal(t, seconds(15), later.runs())
	})
	bubble(t, "the last one counts", func(t *testing.T) {
		r, _ := working(t, 1)
		r.Hold()
		all := many(r, 1, "acme", nil)
		time.Sleep(10 * time.Second)
		r.Hold()
		time.Sleep(15*time.Second - 1)
		require.Zero(t, countRun(all))
		time.Sleep(time.Nanosecond)
		require.Equal(t, 1, countRun(all))
	})
	bubble(t, "it holds up nobody who asks", func(t *testing.T) {
		r, _ := working(t, 1)
		r.Hold()
		out, err := r.Once(t.Context(), "acme", lasts(time.Second, "out"))
		require.NoError(t, err)
		require.Equal(t, "out", out)
	})
	bubble(t, "the worker sleeps meanwhile", func(t *testing.T) {
		r, m := working(t, 1)
		r.Hold()
		many(r, 100, "acme", nil)
		time.Sleep(15*time.Second - 1)
		synctest.Wait()
		require.Zero(t, m.asked.Load())
	})
}

func TestTaskPanics(t *testing.T) {
	bubble(t, "it is looked at again after a minute, and its place is free", func(t *testing.T) {
		r, _ := working(t, 1)
		var bad *task
		bad = newTask("acme", func(context.Context) (next time.Time) {
			if len(bad.ran) == 1 {
				panic("at the disco")
			}
			return next
		})
		r.Set(bad, time.Now())
		synctest.Wait()
		require.Zero(t, r.Report().Running)
		good := newTask("acme", nil)
		r.Set(good, time.Now())
		require.Equal(t, seconds(0), good.runs())
		time.Sleep(10 * time.Minute)
		require.Equal(t, seconds(0, 60), bad.runs())
	})
	bubble(t, "a minute from then, however long it took", func(t *testing.T) {
		r, _ := working(t, 1)
		bad := newTask("acme", func(ctx context.Context) time.Time {
			_, _ = lasts(2*time.Minute, nil)(ctx)
			panic("at the disco")
		})
		r.Set(bad, time.Now())
		time.Sleep(7 * time.Minute)
		require.Equal(t, seconds(0, 180, 360), bad.runs())
	})
	bubble(t, "what was Set meanwhile holds", func(t *testing.T) {
		r, _ := working(t, 1)
		var bad *task
		bad = newTask("acme", func(context.Context) (next time.Time) {
			if len(bad.ran) == 1 {
				r.Set(bad, in(10))
				panic("at the disco")
			}
			return next
		})
		r.Set(bad, time.Now())
		time.Sleep(5 * time.Minute)
		require.Equal(t, seconds(0, 10), bad.runs())
	})
}

// laneless is a task that takes the worker down with it.
type laneless struct{ *task }

func (laneless) Lane() tasks.Lane { panic("at the disco") }

func TestWork(t *testing.T) {
	bubble(t, "nothing runs before, and then all that was due", func(t *testing.T) {
		r, k := given(t, nil), newTask("acme", nil)
		r.Set(k, in(1))
		time.Sleep(time.Minute)
		require.Empty(t, k.runs())
		r.Work()
		require.Equal(t, seconds(60), k.runs())
	})
	bubble(t, "a worker that failed is replaced", func(t *testing.T) {
		r, _ := working(t, 1)
		r.Set(laneless{newTask("acme", nil)}, time.Now())
		synctest.Wait()
		k := newTask("acme", nil)
		r.Set(k, in(1))
		time.Sleep(time.Minute)
		require.Empty(t, k.runs())
		r.Work()
		require.Equal(t, seconds(60), k.runs())
	})
	bubble(t, "once it is closed nothing starts, and what runs is given time to land", func(t *testing.T) {
		r, _ := working(t, 1)
		var ended time.Duration
		k := newTask("acme", func(ctx context.Context) time.Time {
			from := time.Now()
			<-ctx.Done()
			ended = time.Since(from)
			return time.Now()
		})
		r.Set(k, time.Now())
		waiting, later := newTask("acme", nil), newTask("other", nil)
		r.Set(waiting, time.Now())
		r.Set(later, in(5))
		synctest.Wait()
		require.Empty(t, shut(r, 10*time.Second, 15*time.Second))
		require.Equal(t, 10*time.Second, ended)
		r.Work()
		r.Wake()
		time.Sleep(time.Hour)
		require.Len(t, k.runs(), 1)
		require.Empty(t, waiting.runs())
		require.Empty(t, later.runs())
	})
	bubble(t, "not even one that the worker had in hand", func(t *testing.T) {
		asked := make(chan struct{})
		r := given(t, func(o *tasks.Options) {
			o.Room = func(tasks.Lane) (int, time.Time) { <-asked; return 1, time.Time{} }
		})
		r.Work()
		k := newTask("acme", nil)
		r.Set(k, time.Now())
		synctest.Wait() // the worker is about to take it
		var closing sync.WaitGroup
		closing.Go(func() { shut(r, 10*time.Second, 15*time.Second) })
		synctest.Wait()
		close(asked)
		closing.Wait()
		require.Empty(t, k.runs())
	})
	bubble(t, "one that hangs for ever is named", func(t *testing.T) {
		r := tasks.New(tasks.Options{Now: time.Now, Room: (&room{}).some})
		stuck := make(chan struct{})
		k := newTask("acme", func(context.Context) (next time.Time) { <-stuck; return next })
		r.Work()
		r.Set(k, time.Now())
		synctest.Wait()
		require.Equal(t, []string{"test of acme"}, shut(r, time.Second, 2*time.Second))
		close(stuck)
	})
}

func (m *room) some(tasks.Lane) (int, time.Time) { return 1, time.Time{} }

func TestReport(t *testing.T) {
	bubble(t, "what is scheduled, due, overdue and under way, and when something was last due", func(t *testing.T) {
		r, m := working(t, 1)
		require.Equal(t, tasks.Report{}, r.Report())
		start := time.Now()
		for n := range 5 {
			r.Set(newTask("later", nil), start.Add(time.Hour+time.Duration(n)))
		}
		require.Equal(t, tasks.Report{Scheduled: 5}, r.Report())
		many(r, 4, "acme", nil)
		require.Equal(t, tasks.Report{Scheduled: 8, Due: 3, Running: 1, LastDue: start}, r.Report())

		time.Sleep(50 * time.Second)
		m.places.Store(0)
		many(r, 2, "other", nil)
		want := tasks.Report{Scheduled: 10, Due: 5, Running: 1, LastDue: start.Add(50 * time.Second), Lag: 50 * time.Second}
		require.Equal(t, want, r.Report())
		time.Sleep(30 * time.Second)
		want.Overdue, want.Lag = 3, 80*time.Second
		require.Equal(t, want, r.Report())
	})
	bubble(t, "what nobody has found is due all the same", func(t *testing.T) {
		r := given(t, nil)
		for _, at := range []int{10, 100, 1000} {
			r.Set(newTask("acme", nil), in(at))
		}
		time.Sleep(120 * time.Second)
		require.Equal(t, tasks.Report{Scheduled: 3, Due: 2, Overdue: 1, Lag: 110 * time.Second}, r.Report())
	})
}
