package backend

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// copied makes n connections that are as one is, and gives their names. Readers alone let them be renewed: the
// background does not know them, and that one is switched off.
func (f *fixture) copied(t *testing.T, name string, n int) (names []string) {
	t.Helper()
	entry, err := f.Storage.Get(t.Context(), "connection/org/default/"+name)
	require.NoError(t, err)
	for i := range n {
		another := *entry
		names = append(names, fmt.Sprintf("c%04d", i))
		another.Key = "connection/org/default/" + names[i]
		require.NoError(t, f.Storage.Put(t.Context(), &another))
	}
	f.Write("connections/"+name, map[string]any{"disabled": true}).OK(t)
	return names
}

// busy is a provider whose refreshes wait for release. It counts those that wait, and the most there were at once.
type busy struct {
	inside, most atomic.Int64
	release      chan struct{}
}

// keepsWaiting makes the next n refreshes wait, however long this machine takes.
func (f *fixture) keepsWaiting(t *testing.T, n int) *busy {
	t.Helper()
	f.Write("config", map[string]any{"request_timeout": "1m"}).OK(t)
	b := &busy{release: make(chan struct{})}
	for range n {
		f.provider.Next(providers.StepRefresh, func(
			s *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc,
		) {
			now := b.inside.Add(1)
			defer b.inside.Add(-1)
			for most := b.most.Load(); now > most && !b.most.CompareAndSwap(most, now); most = b.most.Load() {
			}
			providertest.HangUntil(b.release)(s, w, r, behave)
		})
	}
	return b
}

// waits waits until so many calls are inside a provider, and so many before its door.
func (f *fixture) waits(t *testing.T, b *busy, inside, outside int) {
	t.Helper()
	assert.Eventually(t, func() bool {
		return int(b.inside.Load()) == inside && int(number(f.Read("status", nil).OK(t)["calls_waiting"])) == outside
	}, time.Minute, 5*time.Millisecond, "%d inside and %d outside", inside, outside)
}

// A provider hears of few readers at a time, however many there are; people have places of their own.
func TestReadersOfOneProvider(t *testing.T) {
	const connections, readers, people = 200, 12, 16
	for name, age := range map[string]time.Duration{
		"whose tokens are dead": time.Hour, "whose tokens live, in their margin": 55 * time.Minute,
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.connect(t, "one")
				f.Read("status", nil).OK(t) // the background has looked for connections
				names := f.copied(t, "one", connections+people)
				f.Advance(age)
				b := f.keepsWaiting(t, connections+people)
				var all sync.WaitGroup
				for _, name := range names[:connections] {
					all.Go(func() {
						r := f.Read("creds/"+name, nil)
						if assert.Equal(t, http.StatusOK, r.Status, r.Text) {
							assert.True(t, f.provider.Alive(r.Data["access_token"].(string)))
						}
					})
				}
				f.waits(t, b, readers, connections-readers)
				for _, name := range names[connections:] {
					all.Go(func() { assert.Equal(t, http.StatusOK, f.Write("refresh/"+name, nil).Status) })
				}
				f.waits(t, b, people, connections)
				close(b.release)
				all.Wait()
				assert.Eventually(t, func() bool {
					return number(f.Read("status", nil).OK(t)["in_flight"]) == 0
				}, time.Minute, 5*time.Millisecond)
				assert.Equal(t, connections+people, f.provider.Count(providers.StepRefresh))
				assert.EqualValues(t, people, b.most.Load())
			}, providertest.WithReusableRefreshTokens())
		})
	}
}

// Who would wait behind a thousand is told so at once. In process only: a thousand requests at once are much for a
// pipe.
func TestTooManyReaders(t *testing.T) {
	const inside, outside = 12, 1000
	f := newFixture(t, Options{}, testenv.InProcess, providertest.WithReusableRefreshTokens())
	f.connect(t, "one")
	f.Read("status", nil).OK(t) // the background has looked for connections
	names := f.copied(t, "one", inside+outside+1)
	f.Advance(time.Hour)
	b := f.keepsWaiting(t, inside)
	var all sync.WaitGroup
	for _, name := range names[:inside+outside] {
		all.Go(func() { assert.Equal(t, http.StatusOK, f.Read("creds/"+name, nil).Status) })
	}
	f.waits(t, b, inside, outside)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	f.ReadCtx(ctx, "creds/"+names[inside+outside], nil).
		Refused(t, http.StatusBadGateway, "too many requests wait for the provider")
	close(b.release)
	all.Wait()
	f.Read("creds/"+names[inside+outside], nil).OK(t)
	assert.Equal(t, inside+outside+1, f.provider.Count(providers.StepRefresh))
}

// Who waits for a place at a provider need not wait for the end.
func TestEndOfAMountForThoseWhoWait(t *testing.T) {
	const inside, outside = 12, 5
	f := newFixture(t, Options{}, testenv.InProcess, providertest.WithReusableRefreshTokens())
	f.connect(t, "one")
	f.Read("status", nil).OK(t) // the background has looked for connections
	names := f.copied(t, "one", inside+outside)
	f.Advance(time.Hour)
	b := f.keepsWaiting(t, inside)
	served := make(chan testenv.Result, inside)
	for _, name := range names[:inside] {
		go func() { served <- f.Read("creds/"+name, nil) }()
	}
	f.waits(t, b, inside, 0)
	turnedAway := make(chan testenv.Result, outside)
	for _, name := range names[inside:] {
		go func() { turnedAway <- f.Read("creds/"+name, nil) }()
	}
	f.waits(t, b, inside, outside)
	stopped := make(chan struct{})
	go func() { defer close(stopped); f.Stop() }()
	for range outside {
		(<-turnedAway).Refused(t, http.StatusServiceUnavailable, "shutting down")
	}
	select {
	case <-stopped:
		assert.Fail(t, "it did not wait for what is under way")
	default:
	}
	close(b.release)
	for range inside {
		(<-served).OK(t)
	}
	<-stopped
}
