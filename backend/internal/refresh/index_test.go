package refresh_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// at is a fleet's connection.
func at(provider string, i int) store.Key {
	return store.Key{Owner: store.Owner{Org: provider}, Name: fmt.Sprintf("c%05d", i)}
}

// edit changes a fleet's connection as a person would.
func (f *fleet) edit(t *testing.T, k store.Key, change func(*store.Connection)) {
	t.Helper()
	_, err := f.Update(context.Background(), k, func(c *store.Connection) (*store.Connection, error) {
		change(c)
		return c, nil
	})
	require.NoError(t, err)
}

// disable and enable are what an operator says.
func disable(c *store.Connection) { decide(c, true) }

func enable(c *store.Connection) { decide(c, false) }

func decide(c *store.Connection, disabled bool) {
	c.Set(store.Settings{Decision: store.Decision{Disabled: &disabled}},
		store.Setter{Actor: store.Actor{Time: time.Now()}})
}

// The order in which connections fall due changes all the time.
func TestIndex(t *testing.T) {
	bubble(t, "one that is moved to the front is refreshed in time", func(t *testing.T) {
		f := newFleet(t)
		f.add(t, "acme", 10, 50*time.Minute)
		f.edit(t, at("acme", 9), func(c *store.Connection) { c.Grant.Expires = time.Now().Add(11 * time.Minute) })
		time.Sleep(10 * time.Minute)
		require.Equal(t, 1, f.count("acme"))
	})
	bubble(t, "those taken out stay out, and those put back are refreshed", func(t *testing.T) {
		f := newFleet(t)
		f.add(t, "acme", 40, 50*time.Minute)
		for i := range 40 { // in another order than they were made
			f.edit(t, at("acme", i*7%40), func(c *store.Connection) {
				c.Grant.Expires = time.Now().Add(time.Duration(20+i) * time.Minute)
			})
		}
		for i := range 20 {
			f.edit(t, at("acme", i), disable)
		}
		require.Equal(t, 20, f.Health().Scheduled)
		time.Sleep(49 * time.Minute)
		require.Equal(t, 20, f.count("acme"))
		for i := range 20 {
			f.edit(t, at("acme", i), enable)
		}
		synctest.Wait()
		require.Equal(t, 40, f.Health().Scheduled)
		require.Equal(t, 40, f.count("acme"))
		f.alive(t)
	})
	bubble(t, "one that is deleted is gone", func(t *testing.T) {
		f := newFleet(t)
		f.add(t, "acme", 2, 50*time.Minute)
		require.NoError(t, f.Delete(context.Background(), at("acme", 0), nil))
		require.Equal(t, 1, f.Health().Scheduled)
	})
	bubble(t, "one that a person must see to is not in it", func(t *testing.T) {
		f := newFleet(t)
		f.add(t, "acme", 4, 50*time.Minute)
		f.edit(t, at("acme", 0), func(c *store.Connection) { c.Refused.Reason = store.ReasonGrantRefused })
		f.edit(t, at("acme", 1), func(c *store.Connection) { c.Grant.RefreshToken = providers.Secret{} })
		require.Equal(t, 2, f.Health().Scheduled)
	})
	bubble(t, "one that failed is not due before its next try", func(t *testing.T) {
		f := newFleet(t)
		f.add(t, "acme", 1, 50*time.Minute)
		f.edit(t, at("acme", 0), func(c *store.Connection) {
			c.Grant.Expires = time.Now()
			c.Attempt = store.Attempt{
				Failures: 1, Class: providers.Transient, Last: time.Now(), Next: time.Now().Add(30 * time.Minute),
			}
		})
		before := f.looked()
		time.Sleep(30*time.Minute - time.Second)
		require.Equal(t, before, f.looked())
		time.Sleep(time.Minute + 2*time.Second) // the background spreads its retries
		require.Equal(t, 1, f.count("acme"))
	})
	bubble(t, "what is due is overdue after a minute", func(t *testing.T) {
		f := newFleet(t)
		f.set(func() { f.paused = true })
		f.add(t, "acme", 1, 13*time.Minute)
		f.add(t, "globex", 1, time.Hour)
		for f.Health().Due == 0 {
			time.Sleep(time.Second)
		}
		require.Equal(t, []int{2, 1, 0}, []int{f.Health().Scheduled, f.Health().Due, f.Health().Overdue})
		time.Sleep(time.Minute)
		require.Equal(t, []int{2, 1, 1}, []int{f.Health().Scheduled, f.Health().Due, f.Health().Overdue})
	})
}

// What the worker cannot judge it looks at again.
func TestLooksAgain(t *testing.T) {
	bubble(t, "when the terms cannot be read", func(t *testing.T) {
		f := newFleet(t)
		f.set(func() { f.unread = testenv.ErrStorage })
		f.add(t, "acme", 3, time.Minute)
		time.Sleep(time.Hour)
		require.Zero(t, f.count("acme"))
		require.Less(t, f.looked(), 3*2*62, "once a minute")
		f.set(func() { f.unread = nil })
		time.Sleep(61 * time.Second)
		require.Equal(t, 3, f.count("acme"))
	})
	bubble(t, "when storage does not read what waited for its turn", func(t *testing.T) {
		f := newFleet(t)
		f.set(func() { f.latency["acme"] = time.Minute })
		f.add(t, "acme", 20, 9*time.Minute)
		synctest.Wait()
		require.Equal(t, gate.Places, f.count("acme"))
		f.storage.FailWrites()
		for i := range 20 { // memory lets go of what may have changed
			_, err := f.Update(context.Background(), at("acme", i), func(c *store.Connection) (*store.Connection, error) {
				return c, nil
			})
			require.ErrorIs(t, err, testenv.ErrStorage)
		}
		f.storage.Judge(func(testenv.Access) error { return testenv.ErrStorage })
		time.Sleep(2 * time.Minute)
		require.Equal(t, gate.Places, f.count("acme"))
		f.storage.Judge(nil)
		time.Sleep(2 * time.Minute)
		require.Equal(t, 20, f.count("acme"))
	})
	bubble(t, "and what was invalidated without being due waits for nothing", func(t *testing.T) {
		f := newFleet(t)
		f.set(func() { f.latency["acme"] = time.Hour })
		f.add(t, "acme", gate.Places+1, time.Hour)
		time.Sleep(time.Minute)
		for i := range gate.Places {
			f.edit(t, at("acme", i), func(c *store.Connection) { c.Grant.Expires = time.Now().Add(time.Second) })
		}
		synctest.Wait()
		f.Invalidate(at("acme", gate.Places))
		synctest.Wait()
		require.Zero(t, f.Health().Due)
		require.Equal(t, gate.Places, f.Health().InFlight)
	})
}

// The bounds of the worker.
func TestBounds(t *testing.T) {
	bubble(t, "all providers together, and each gets its turn", func(t *testing.T) {
		f := newFleet(t)
		for i := range 5 {
			p := fmt.Sprint("p", i)
			f.set(func() { f.latency[p] = 10 * time.Second })
			f.add(t, p, 60, 9*time.Minute)
		}
		synctest.Wait()
		require.Equal(t, gate.PlacesInAll, f.Health().InFlight)
		time.Sleep(15 * time.Second)
		for i := range 5 {
			require.NotZero(t, f.count(fmt.Sprint("p", i)))
		}
		time.Sleep(time.Minute)
		require.Equal(t, 300, f.count("p0")+f.count("p1")+f.count("p2")+f.count("p3")+f.count("p4"))
	})
	bubble(t, "who waits for a provider that is down is not looked at", func(t *testing.T) {
		f := newFleet(t)
		f.set(func() {
			f.fault = func(string) error {
				return &providers.Error{Class: providers.Transient, Step: "refresh", Reason: "server_error"}
			}
		})
		f.add(t, "acme", 1000, 9*time.Minute)
		time.Sleep(time.Second)
		before := f.looked()
		time.Sleep(5 * time.Minute)
		require.Less(t, f.looked()-before, 200)
		require.Greater(t, f.Health().Due, 900)
	})
}

// What a slow reading of storage enters must not undo what happened since.
func TestScheduleOfWhatIsOld(t *testing.T) {
	bubble(t, "one that was reconnected since stays in the index", func(t *testing.T) {
		f := newFleet(t)
		f.add(t, "acme", 1, 30*time.Minute)
		old, err := f.Load(context.Background(), at("acme", 0))
		require.NoError(t, err)
		old.Refused.Reason = store.ReasonGrantRefused
		f.Schedule(context.Background(), at("acme", 0), old)
		require.Equal(t, 1, f.Health().Scheduled)
		time.Sleep(25 * time.Minute)
		require.Equal(t, 1, f.count("acme"))
	})
}
