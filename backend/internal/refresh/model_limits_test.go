package refresh_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// Of consents that end, the model knows what a person may have tried: staged, for chance brings it in one run of
// thousands.
func TestModelKnowsWhenConsentsEnd(t *testing.T) {
	// refused is a world of one connection whose consent ends, and whose grant its service refused though it is good.
	refused := func(t *testing.T, skew time.Duration) (*world, store.Key) {
		t.Helper()
		w := newWorld(t, 1)
		w.steps, w.skew, w.faults = skew != 0, skew, faults{}
		w.services["acme"] = &service{name: "acme", serial: 1, rotates: true, life: time.Hour, hard: 30 * time.Minute}
		w.keys = w.keys[:1]
		w.begin()
		w.set("acme refuses good grants", func() { w.services["acme"].slanders = time.Now().Add(time.Minute) })
		k := w.keys[0]
		for range 5 { // it does so mostly
			w.refresh(w.active, k)
			time.Sleep(6 * time.Second)
			if w.stored(t, k).Refused.Reason != "" {
				break
			}
		}
		require.Equal(t, store.ReasonGrantRefused, w.stored(t, k).Refused.Reason)
		time.Sleep(time.Minute)
		t.Cleanup(func() {
			w.active.quit(10 * time.Second)
			w.leaving.Wait()
		})
		return w, k
	}
	// sent is how often the service was asked.
	sent := func(w *world, k store.Key) int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.asked[k]
	}
	bubble(t, "a try that a crash cut off is not made once the consent is over", func(t *testing.T) {
		w, k := refused(t, 0)
		before := sent(w, k)
		w.callers.Go(func() { w.refresh(w.active, k) })
		for range 1000 {
			if time.Sleep(time.Millisecond); sent(w, k) > before {
				break
			}
		}
		require.Equal(t, before+1, sent(w, k), "it is out")
		w.set("refreshing is paused", func() { w.paused = true })
		w.kill(w.active)
		w.callers.Wait()
		time.Sleep(time.Hour)
		require.NotNil(t, w.cut[k])
		w.set("refreshing goes on", func() { w.paused = false })
		time.Sleep(10 * time.Minute)
		intents, err := intentsOf(context.Background(), store.New(&w.disk))
		require.NoError(t, err)
		require.Empty(t, intents)
		require.Equal(t, before+1, sent(w, k))
		w.takenUp(w.active, k)
	})
	bubble(t, "nor has a person one tried whose end a clock that was behind had put too early", func(t *testing.T) {
		w, k := refused(t, -50*time.Minute)
		w.set("the clock is right", func() { w.skew = 0 })
		before := sent(w, k)
		w.tryRefused(w.active, k)
		require.Equal(t, before, sent(w, k))
		require.False(t, w.tokens[w.stored(t, k).Grant.RefreshToken.Reveal()].refuses())
	})
}

// stored is the connection as storage has it.
func (w *world) stored(t *testing.T, k store.Key) *store.Connection {
	t.Helper()
	c, err := store.New(&w.disk).Connection(context.Background(), k)
	require.NoError(t, err)
	return c
}
