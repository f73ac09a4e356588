package tasks_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
)

// bubble runs a test on a clock of its own; it ends only when every goroutine has.
func bubble(t *testing.T, name string, test func(*testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

// given makes a runner, changed, that is closed when the test ends.
func given(t *testing.T, change func(*tasks.Options)) *tasks.Runner {
	t.Helper()
	o := tasks.Options{
		Now: time.Now, Logger: hclog.NewNullLogger(),
		Room: func(tasks.Lane) (int, time.Time) { return tasks.Wide, time.Time{} },
	}
	if change != nil {
		change(&o)
	}
	r := tasks.New(o)
	t.Cleanup(func() { require.Empty(t, shut(r, time.Second, 2*time.Second)) })
	return r
}

// shut closes a runner, within so long.
func shut(r *tasks.Runner, soft, hard time.Duration) (left []string) {
	ctx, cancel := context.WithTimeout(context.Background(), hard)
	defer cancel()
	softly, cancel := context.WithTimeout(ctx, soft)
	defer cancel()
	return r.Close(ctx, softly, func(context.Context) {})
}

// lasts is work that takes so long, or until its context ends.
func lasts(d time.Duration, out any) func(context.Context) (any, error) {
	return func(ctx context.Context) (any, error) {
		select {
		case <-time.After(d):
			return out, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func TestOnce(t *testing.T) {
	bubble(t, "one at a time for a name, and all who come meanwhile share what it brings", func(t *testing.T) {
		r := given(t, nil)
		var runs, answers atomic.Int64
		work := func(ctx context.Context) (any, error) {
			n := runs.Add(1)
			_, err := lasts(time.Minute, nil)(ctx)
			return n, err
		}
		for range 50 {
			time.Sleep(time.Second)
			go func() {
				out, err := r.Once(t.Context(), "acme", work)
				if err == nil && out == int64(1) {
					answers.Add(1)
				}
			}()
		}
		time.Sleep(11*time.Second - 1)
		require.Zero(t, answers.Load())
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		require.EqualValues(t, 50, answers.Load())
		require.EqualValues(t, 1, runs.Load())

		out, err := r.Once(t.Context(), "acme", work)
		require.NoError(t, err)
		require.EqualValues(t, 2, out, "who comes later has it done again")
	})
	bubble(t, "an error is shared, too", func(t *testing.T) {
		r := given(t, nil)
		failure := errors.New("failure")
		fails := func(context.Context) (any, error) { time.Sleep(time.Second); return "something", failure }
		first, err := r.Start("acme", fails)
		require.NoError(t, err)
		second, err := r.Start("acme", fails)
		require.NoError(t, err)
		for _, w := range []*tasks.Work{first, second} {
			out, err := w.Wait(t.Context())
			require.Equal(t, "something", out)
			require.ErrorIs(t, err, failure)
		}
	})
	bubble(t, "other names do not wait", func(t *testing.T) {
		r := given(t, nil)
		_, err := r.Start("acme", lasts(time.Hour, nil))
		require.NoError(t, err)
		out, err := r.Once(t.Context(), "other", lasts(0, "out"))
		require.NoError(t, err)
		require.Equal(t, "out", out)
	})
	bubble(t, "a caller who hangs up leaves it going", func(t *testing.T) {
		r := given(t, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		from := time.Now()
		out, err := r.Once(ctx, "acme", lasts(time.Minute, "out"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Nil(t, out)
		require.Equal(t, time.Second, time.Since(from))

		w := r.Find("acme")
		require.NotNil(t, w)
		out, err = w.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, "out", out)
		require.Equal(t, time.Minute, time.Since(from))
	})
	bubble(t, "what is under way can be found and counted, until it ends", func(t *testing.T) {
		r := given(t, nil)
		require.Nil(t, r.Find("refresh a"))
		for _, name := range []string{"refresh a", "refresh b", "delete a"} {
			_, err := r.Start(name, lasts(time.Minute, nil))
			require.NoError(t, err)
		}
		r.Go("refresh nothing", func(ctx context.Context) { <-ctx.Done() })
		require.Equal(t, 2, r.Count("refresh "))
		require.Equal(t, 3, r.Count(""))
		require.NotNil(t, r.Find("refresh a"))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Zero(t, r.Count(""))
		require.Nil(t, r.Find("refresh a"))
	})
}

func TestPanic(t *testing.T) {
	for name, ends := range map[string]func(){
		"a panic": func() { panic("hunter2") },
		"Goexit":  runtime.Goexit,
	} {
		bubble(t, name+" takes nothing down: who waits gets an error, and the name is free", func(t *testing.T) {
			r := given(t, nil)
			var waiting sync.WaitGroup
			for range 2 {
				waiting.Go(func() {
					out, err := r.Once(t.Context(), "acme", func(context.Context) (any, error) {
						time.Sleep(time.Second)
						ends()
						return "out", nil
					})
					if out != nil || err == nil {
						t.Errorf("got %v and %v", out, err)
					}
				})
			}
			waiting.Wait()
			require.Zero(t, r.Count(""))
			out, err := r.Once(t.Context(), "acme", lasts(0, "out"))
			require.NoError(t, err)
			require.Equal(t, "out", out)
		})
	}
	bubble(t, "the log names what panicked, and not with what", func(t *testing.T) {
		var log bytes.Buffer
		r := given(t, func(o *tasks.Options) { o.Logger = hclog.New(&hclog.LoggerOptions{Output: &log}) })
		_, err := r.Once(t.Context(), "acme", func(context.Context) (any, error) { panic("hunter2") })
		require.Error(t, err)
		r.Go("some loop", func(context.Context) { panic("hunter2") })
		synctest.Wait()
		require.Contains(t, log.String(), "acme")
		require.Contains(t, log.String(), "some loop")
		require.NotContains(t, log.String(), "hunter2")
	})
}

func TestQuiesce(t *testing.T) {
	bubble(t, "it waits for the work that is under way, not for loops or what begins later", func(t *testing.T) {
		r := given(t, nil)
		r.Go("loop", func(ctx context.Context) { <-ctx.Done() })
		from := time.Now()
		for _, d := range []time.Duration{time.Minute, 2 * time.Minute} {
			_, err := r.Start(d.String(), lasts(d, nil))
			require.NoError(t, err)
		}
		go func() {
			time.Sleep(time.Second)
			_, _ = r.Once(t.Context(), "later", lasts(time.Hour, nil))
		}()
		r.Quiesce(t.Context())
		require.Equal(t, 2*time.Minute, time.Since(from))
		require.NotNil(t, r.Find("later"))
	})
	bubble(t, "as long as its context lasts", func(t *testing.T) {
		r := given(t, nil)
		_, err := r.Start("acme", lasts(time.Hour, nil))
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		from := time.Now()
		r.Quiesce(ctx)
		require.Equal(t, time.Second, time.Since(from))
	})
}

func TestClose(t *testing.T) {
	const soft, hard = 10 * time.Second, 15 * time.Second
	bubble(t, "with nothing under way it runs what is last, and ends at once", func(t *testing.T) {
		r := tasks.New(tasks.Options{})
		from, ran := time.Now(), 0
		require.Empty(t, r.Close(t.Context(), t.Context(), func(context.Context) { ran++ }))
		require.Zero(t, time.Since(from))
		require.Equal(t, 1, ran)
	})
	bubble(t, "loops end at once", func(t *testing.T) {
		r := given(t, nil)
		from := time.Now()
		var loops atomic.Int64
		for range 3 {
			r.Go("loop", func(ctx context.Context) {
				<-ctx.Done()
				loops.Add(1)
			})
		}
		require.Empty(t, shut(r, soft, hard))
		require.Zero(t, time.Since(from))
		require.EqualValues(t, 3, loops.Load())
	})
	bubble(t, "work lands, and that is waited for no longer than it takes", func(t *testing.T) {
		r := given(t, nil)
		w, err := r.Start("acme", lasts(soft-time.Second, "out"))
		require.NoError(t, err)
		from := time.Now()
		require.Empty(t, shut(r, soft, hard))
		require.Equal(t, soft-time.Second, time.Since(from))
		out, err := w.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, "out", out)
	})
	bubble(t, "work that does not land is told, and may still clean up", func(t *testing.T) {
		r := given(t, nil)
		var told, cleaned time.Duration
		from := time.Now()
		_, err := r.Start("acme", func(ctx context.Context) (any, error) {
			<-ctx.Done()
			told = time.Since(from)
			time.Sleep(2 * time.Second)
			cleaned = time.Since(from)
			return nil, ctx.Err()
		})
		require.NoError(t, err)
		require.Empty(t, shut(r, soft, hard))
		require.Equal(t, soft, told)
		require.Equal(t, soft+2*time.Second, cleaned)
		require.Equal(t, soft+2*time.Second, time.Since(from))
	})
	bubble(t, "what ignores that is named, and abandoned at the end", func(t *testing.T) {
		r := tasks.New(tasks.Options{})
		stuck := make(chan struct{})
		for _, name := range []string{"b", "a"} {
			_, err := r.Start(name, func(context.Context) (any, error) { <-stuck; return nil, nil })
			require.NoError(t, err)
		}
		r.Go("loop", func(context.Context) { <-stuck })
		_, err := r.Start("lands", lasts(time.Second, nil))
		require.NoError(t, err)
		from := time.Now()
		require.Equal(t, []string{"a", "b", "loop"}, shut(r, soft, hard))
		require.Equal(t, hard, time.Since(from))
		close(stuck)
	})
	bubble(t, "what is last runs after the work that landed, and has all the time there is", func(t *testing.T) {
		r := tasks.New(tasks.Options{})
		from := time.Now()
		_, err := r.Start("acme", lasts(2*time.Second, nil))
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), hard)
		defer cancel()
		softly, cancel := context.WithTimeout(ctx, soft)
		defer cancel()
		var began time.Duration
		require.Empty(t, r.Close(ctx, softly, func(ctx context.Context) {
			began = time.Since(from)
			out, err := lasts(hard-3*time.Second, nil)(ctx)
			require.Nil(t, out)
			require.NoError(t, err)
		}))
		require.Equal(t, 2*time.Second, began)
		require.Equal(t, hard-time.Second, time.Since(from))
	})
	bubble(t, "what is last runs though work does not land, and is abandoned like it", func(t *testing.T) {
		r := tasks.New(tasks.Options{})
		stuck := make(chan struct{})
		_, err := r.Start("acme", func(context.Context) (any, error) { <-stuck; return nil, nil })
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), hard)
		defer cancel()
		softly, cancel := context.WithTimeout(ctx, soft)
		defer cancel()
		from := time.Now()
		var began time.Duration
		require.Len(t, r.Close(ctx, softly, func(context.Context) {
			began = time.Since(from)
			<-stuck
		}), 2)
		synctest.Wait()
		require.Equal(t, soft, began)
		close(stuck)
	})
	bubble(t, "a panic in what is last is recovered", func(t *testing.T) {
		r := tasks.New(tasks.Options{Logger: hclog.NewNullLogger()})
		require.Empty(t, r.Close(t.Context(), t.Context(), func(context.Context) { panic("at the disco") }))
	})
	bubble(t, "new work and loops are refused; who joins what is under way is not", func(t *testing.T) {
		r := given(t, nil)
		_, err := r.Start("acme", lasts(5*time.Second, "out"))
		require.NoError(t, err)
		var closing sync.WaitGroup
		closing.Go(func() { shut(r, soft, hard) })
		synctest.Wait()
		_, err = r.Once(t.Context(), "other", lasts(0, nil))
		require.ErrorIs(t, err, tasks.ErrClosed)
		r.Go("loop", func(context.Context) { t.Error("it must not begin") })
		out, err := r.Once(t.Context(), "acme", lasts(0, nil))
		require.NoError(t, err)
		require.Equal(t, "out", out)
		closing.Wait()
		_, err = r.Start("acme", lasts(0, nil))
		require.ErrorIs(t, err, tasks.ErrClosed)
	})
}
