package refresh_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// read is one reader of any connection.
func (b *bench) read(k store.Key) error {
	_, err := b.Get(context.Background(), k, anybody, 0)
	return err
}

// downed is a bench of dead tokens whose provider failed for three connections, each of which rests for an hour, and
// what others there are. Its refresh tokens are taken twice.
func downed(t *testing.T, more int) (b *bench, failed, others []store.Key) {
	t.Helper()
	b = given(t, -time.Second)
	all := append([]store.Key{key}, b.others(t, 2+more)...)
	b.source.window = true
	b.source.before = func(int) error {
		return &providers.Error{Class: providers.Transient, Step: "refresh", Reason: "unavailable", RetryAfter: time.Hour}
	}
	for _, k := range all[:3] {
		require.Equal(t, refresh.Unavailable, problem(t, b.read(k)))
	}
	require.Equal(t, "open", b.Health().Circuits["slack"].State)
	b.source.calls.Store(0)
	return b, all[:3], all[3:]
}

const untilProbe = 16 * time.Second

func TestProbes(t *testing.T) {
	bubble(t, "one at a time", func(t *testing.T) {
		b, _, others := downed(t, 2)
		require.Equal(t, refresh.Unavailable, problem(t, b.read(others[0])))
		require.Zero(t, b.source.calls.Load())
		time.Sleep(untilProbe)
		release := make(chan struct{})
		b.source.before = func(int) error { <-release; return nil }
		go func() { _ = b.read(others[0]) }()
		synctest.Wait()
		require.Equal(t, refresh.Unavailable, problem(t, b.read(others[1])))
		require.EqualValues(t, 1, b.source.calls.Load())
		close(release)
		synctest.Wait()
		require.Empty(t, b.Health().Circuits)
		require.NoError(t, b.read(others[1]))
	})
	bubble(t, "one that was not sent is given back", func(t *testing.T) {
		b, _, others := downed(t, 2)
		time.Sleep(untilProbe)
		b.source.before = func(int) error { return errNotSent }
		require.ErrorIs(t, b.read(others[0]), errNotSent)
		b.source.before = nil
		require.NoError(t, b.read(others[1]))
	})
	bubble(t, "one whose intent storage refused is given back", func(t *testing.T) {
		b, _, others := downed(t, 1)
		time.Sleep(untilProbe)
		b.source.before = nil
		b.refuse(isIntent)
		require.ErrorIs(t, b.read(others[0]), testenv.ErrStorage)
		b.storage.Judge(nil)
		require.NoError(t, b.read(others[0]))
	})
	bubble(t, "each that fails doubles the wait, up to five minutes, and a success ends that", func(t *testing.T) {
		b, failed, _ := downed(t, 0)
		down := b.source.before
		for _, wait := range []time.Duration{30, 60, 120, 240, 300, 300} {
			time.Sleep(time.Until(b.Health().Circuits["slack"].Until) + time.Second)
			_, err := b.Refresh(context.Background(), key, anybody)
			require.Equal(t, refresh.Unavailable, problem(t, err))
			require.Equal(t, wait*time.Second, time.Until(b.Health().Circuits["slack"].Until))
		}
		b.source.before = nil
		time.Sleep(6 * time.Second)
		_, err := b.Refresh(context.Background(), key, anybody)
		require.NoError(t, err)
		time.Sleep(2 * time.Hour)
		b.source.before = down
		for _, k := range failed {
			_ = b.read(k)
		}
		require.Equal(t, 15*time.Second, time.Until(b.Health().Circuits["slack"].Until))
	})
	bubble(t, "a person who asks does not wait for one", func(t *testing.T) {
		b, failed, _ := downed(t, 0)
		time.Sleep(6 * time.Second)
		b.source.before = nil
		_, err := b.Refresh(context.Background(), failed[0], anybody)
		require.NoError(t, err)
		require.Empty(t, b.Health().Circuits)
	})
	bubble(t, "those that left before are none", func(t *testing.T) {
		b := given(t, -time.Second)
		release := make(chan struct{})
		b.source.before = func(int) error {
			<-release
			return &providers.Error{Class: providers.Transient, Step: "refresh", Reason: "unavailable"}
		}
		for _, k := range append(b.others(t, 9), key) {
			go func() { _ = b.read(k) }()
		}
		synctest.Wait()
		close(release)
		synctest.Wait()
		require.EqualValues(t, 10, b.source.calls.Load())
		require.Equal(t, 15*time.Second, time.Until(b.Health().Circuits["slack"].Until))
	})
	bubble(t, "failures count from the last success", func(t *testing.T) {
		b := given(t, -time.Second)
		others := b.others(t, 4)
		b.source.window = true
		fails := func(int) error {
			return &providers.Error{Class: providers.Transient, Step: "refresh", Reason: "unavailable"}
		}
		for i, before := range []func(int) error{fails, fails, nil, fails} {
			b.source.before = before
			_ = b.read(others[i])
		}
		require.EqualValues(t, 4, b.source.calls.Load())
		require.Empty(t, b.Health().Circuits)
	})
}

// A failure that was part of an outage is no reason to wait once that is over.
func TestExcuses(t *testing.T) {
	// over ends the outage by the probe of one that had not failed.
	over := func(t *testing.T, b *bench, probe store.Key) {
		t.Helper()
		time.Sleep(untilProbe)
		b.source.before = nil
		require.NoError(t, b.read(probe))
		require.Empty(t, b.Health().Circuits)
		time.Sleep(time.Second)
	}
	bubble(t, "readers are served at once", func(t *testing.T) {
		b, failed, others := downed(t, 1)
		over(t, b, others[0])
		require.NoError(t, b.read(failed[0]))
	})
	bubble(t, "the worker tries them at once", func(t *testing.T) {
		b, failed, others := downed(t, 1)
		b.source.window = false
		work(t, b)
		over(t, b, others[0])
		synctest.Wait()
		require.EqualValues(t, 1+len(failed), b.source.calls.Load())
	})
	bubble(t, "a failure after it counts", func(t *testing.T) {
		b, failed, others := downed(t, 1)
		down := b.source.before
		over(t, b, others[0])
		b.source.before = down
		require.Equal(t, refresh.Unavailable, problem(t, b.read(failed[0])))
		time.Sleep(time.Minute)
		b.source.before = nil
		require.Equal(t, refresh.Unavailable, problem(t, b.read(failed[0])))
		require.EqualValues(t, 2, b.source.calls.Load(), "the probe and one more")
	})
	bubble(t, "a wrong client secret is none of it", func(t *testing.T) {
		b, _, others := downed(t, 2)
		c := b.stored(t)
		c.Attempt = store.Attempt{Failures: 1, Class: providers.Misconfigured, Last: time.Now(), ProviderSerial: 1}
		require.NoError(t, putConnection(context.Background(), b.store, others[1], c))
		over(t, b, others[0])
		require.Equal(t, refresh.AppRefused, problem(t, b.read(others[1])))
	})
}

func TestExcusedOnce(t *testing.T) {
	bubble(t, "one that fails again rests again, whatever the clock says", func(t *testing.T) {
		b, failed, others := downed(t, 1)
		time.Sleep(untilProbe)
		b.source.before = nil
		require.NoError(t, b.read(others[0])) // closes the circuit
		b.source.before = func(int) error {
			return &providers.Error{Class: providers.Transient, Step: "refresh", Reason: "unavailable", RetryAfter: time.Hour}
		}
		require.Error(t, b.read(failed[0]))
		calls := b.source.calls.Load()
		for range 3 {
			require.Error(t, b.read(failed[0]))
		}
		require.Equal(t, calls, b.source.calls.Load())
	})
	bubble(t, "answers to single grants open nothing", func(t *testing.T) {
		b := given(t, -time.Second)
		b.source.before = func(int) error {
			return &providers.Error{Class: providers.Transient, Step: "refresh", Status: 403, Reason: "unexplained_refusal"}
		}
		for _, k := range append([]store.Key{key}, b.others(t, 4)...) {
			require.Error(t, b.read(k))
		}
		require.Empty(t, b.Health().Circuits)
	})
}

func TestRetryAfterOfSeveral(t *testing.T) {
	limited := func(t *testing.T) *bench {
		t.Helper()
		b := given(t, -time.Second)
		others := b.others(t, 2)
		both, long := make(chan struct{}), make(chan struct{})
		b.source.before = func(call int) error {
			wait := time.Hour
			if call == 1 {
				<-both
			} else { // is asked before the first has answered, and answers after it
				close(both)
				<-long
				wait = time.Second
			}
			return &providers.Error{Class: providers.RateLimited, Step: "refresh", Reason: "rate_limited", RetryAfter: wait}
		}
		go func() {
			_ = b.read(key)
			close(long)
		}()
		synctest.Wait()
		_ = b.read(others[0])
		time.Sleep(time.Minute)
		return b
	}
	bubble(t, "the longest holds", func(t *testing.T) {
		b := limited(t)
		require.Equal(t, "limited", b.Health().Circuits["slack"].State)
	})
	bubble(t, "a write of the provider lifts the rest, but not what one was told", func(t *testing.T) {
		b := limited(t)
		third := store.Key{Owner: key.Owner, Name: "other-1"}
		b.Forget("slack")
		require.Empty(t, b.Health().Circuits)
		b.source.before = nil
		_, err := b.Refresh(context.Background(), third, anybody)
		require.NoError(t, err)
		_, err = b.Refresh(context.Background(), key, anybody)
		require.Equal(t, refresh.Unavailable, problem(t, err))
		b.source.window = true // the other one used up what they share
		time.Sleep(time.Hour)
		_, err = b.Refresh(context.Background(), key, anybody)
		require.NoError(t, err)
	})
}
