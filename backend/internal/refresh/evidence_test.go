package refresh_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// denied is an answer in the words for a wrong app, or in words that nobody told the engine.
func denied(class providers.Class, code string) *providers.Error {
	return &providers.Error{
		Class: class, Step: providers.StepRefresh, Status: 400, Code: code, Reason: providers.ReasonRefused, SaysNo: true,
	}
}

// suspect is a bench whose connection is refused by denial; other, of another account, is renewed without trouble.
func suspect(t *testing.T, denial *providers.Error) (b *bench, other store.Key) {
	t.Helper()
	b = given(t, -time.Second)
	other = b.others(t, 1)[0]
	b.edit(t, func(c *store.Connection) { c.Account.ID = "suspect" })
	b.source.answers = func(c *store.Connection) (*providers.Grant, error) {
		if c.Account.ID == "suspect" {
			return nil, denial
		}
		g := *c.Grant
		g.Issued, g.Expires = time.Now(), time.Now().Add(time.Hour)
		return &g, nil
	}
	return b, other
}

func demand(b *bench, k store.Key) error {
	_, err := b.Refresh(context.Background(), k, anybody)
	return err
}

// A dead grant is told from a wrong app by what happens to others: two refusals an hour apart, and another account
// that succeeded between.
func TestDeadGrantInTheWordsForABadApp(t *testing.T) {
	for name, denial := range map[string]*providers.Error{
		"invalid_request":      denied(providers.Misconfigured, "invalid_request"),
		"unauthorized_client":  denied(providers.Misconfigured, "unauthorized_client"),
		"words of its own":     denied(providers.Transient, ""),
		"invalid_scope at 200": {Class: providers.Misconfigured, Step: providers.StepRefresh, Status: 200, SaysNo: true},
	} {
		bubble(t, name, func(t *testing.T) {
			b, other := suspect(t, denial)
			require.Error(t, demand(b, key))
			require.Equal(t, store.StatusActive, statusOf(b.stored(t)))
			time.Sleep(10 * time.Minute)
			require.NoError(t, demand(b, other))
			time.Sleep(49 * time.Minute)
			require.Error(t, demand(b, key))
			require.Equal(t, store.StatusActive, statusOf(b.stored(t)), "not an hour yet")
			time.Sleep(time.Minute + 6*time.Second)
			require.Equal(t, refresh.NeedsReconnect, problem(t, demand(b, key)))
			require.Equal(t, store.ReasonGrantRefused, reasonOf(b.stored(t)))
			calls := b.source.calls.Load()
			time.Sleep(3 * time.Hour)
			require.Equal(t, calls, b.source.calls.Load(), "nobody asks any more")
			require.Equal(t, refresh.NeedsReconnect, problem(t, demand(b, key)), "a person may")
			require.Equal(t, calls+1, b.source.calls.Load())
		})
	}
	bubble(t, "by the background alone, while others are renewed", func(t *testing.T) {
		b, other := suspect(t, denied(providers.Misconfigured, "invalid_request"))
		work(t, b)
		for range 300 {
			time.Sleep(time.Minute)
			_ = b.read(other)
		}
		synctest.Wait()
		require.Equal(t, store.ReasonGrantRefused, reasonOf(b.stored(t)))
		require.Less(t, b.source.calls.Load(), int32(40), "and nobody was hammered")
	})
}

// While nobody can tell yet, dead grants that sound like a wrong app do not keep the living from being renewed.
func TestDeadGrantsLeaveTheLivingAlone(t *testing.T) {
	const dead, good = 3, 20
	bubble(t, "", func(t *testing.T) {
		b := given(t, -time.Second)
		all := b.others(t, dead+good)
		for i, k := range all {
			_, err := b.Update(t.Context(), k, func(c *store.Connection) (*store.Connection, error) {
				c.Account.ID = fmt.Sprint("good ", i)
				if c.Grant.Expires = time.Now().Add(time.Hour / time.Duration(i+1)); i < dead {
					c.Account.ID = fmt.Sprint("dead ", i)
				}
				return c, nil
			})
			require.NoError(t, err)
		}
		var ofTheDead atomic.Int32
		b.source.answers = func(c *store.Connection) (*providers.Grant, error) {
			time.Sleep(200 * time.Millisecond)
			if strings.HasPrefix(c.Account.ID, "dead") {
				ofTheDead.Add(1)
				return nil, denied(providers.Misconfigured, "invalid_request")
			}
			g := *c.Grant
			g.Issued, g.Expires = time.Now(), time.Now().Add(time.Hour)
			return &g, nil
		}
		work(t, b)
		for range 3 * 360 {
			time.Sleep(10 * time.Second)
			for _, k := range all[dead:] {
				require.NoError(t, b.read(k))
			}
		}
		require.Less(t, ofTheDead.Load(), int32(dead*12), "and they rest by themselves")
	})
}

// When the app is taken again, those that heard otherwise do not wait for their own backoff.
func TestAppIsTakenAgain(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		b := given(t, -time.Second)
		all := append(b.others(t, 2), key)
		var wrong atomic.Bool
		wrong.Store(true)
		b.source.answers = func(c *store.Connection) (*providers.Grant, error) {
			if wrong.Load() {
				return nil, denied(providers.Misconfigured, "invalid_client")
			}
			g := *c.Grant
			g.Issued, g.Expires = time.Now(), time.Now().Add(time.Hour)
			return &g, nil
		}
		for range 4 {
			for _, k := range all {
				require.Equal(t, refresh.AppRefused, problem(t, demand(b, k)))
			}
			time.Sleep(time.Minute)
		}
		wrong.Store(false)
		require.NoError(t, demand(b, key))
		for _, k := range all {
			require.NoError(t, b.read(k))
		}
	})
}

// What does not tell leaves the connection as it is.
func TestDeadGrantIsNotTold(t *testing.T) {
	for name, between := range map[string]func(*testing.T, *bench, store.Key){
		"nobody else was renewed": func(*testing.T, *bench, store.Key) {},
		"another connection of the same account was": func(t *testing.T, b *bench, other store.Key) {
			b.source.answers = func(c *store.Connection) (*providers.Grant, error) {
				if c.Label == "the other" {
					g := *c.Grant
					g.Issued, g.Expires = time.Now(), time.Now().Add(time.Hour)
					return &g, nil
				}
				return nil, denied(providers.Misconfigured, "invalid_request")
			}
			_, err := b.Update(t.Context(), other, func(c *store.Connection) (*store.Connection, error) {
				c.Label, c.Account.ID = "the other", "suspect"
				return c, nil
			})
			require.NoError(t, err)
			require.NoError(t, demand(b, other))
		},
		"another account under another pin was": func(t *testing.T, b *bench, other store.Key) {
			another := "another"
			b.source.terms = func(c *store.Connection, terms *refresh.Terms) {
				if c.Pinned == another {
					terms.Fingerprint = &another
				}
			}
			_, err := b.Update(t.Context(), other, func(c *store.Connection) (*store.Connection, error) {
				c.Pinned = another
				return c, nil
			})
			require.NoError(t, err)
			require.NoError(t, demand(b, other))
		},
		"another account of another shop was": func(t *testing.T, b *bench, other store.Key) {
			_, err := b.Update(t.Context(), other, func(c *store.Connection) (*store.Connection, error) {
				c.Inputs = map[string]string{"shop": "two"}
				return c, nil
			})
			require.NoError(t, err)
			require.NoError(t, demand(b, other))
		},
	} {
		bubble(t, name, func(t *testing.T) {
			b, other := suspect(t, denied(providers.Misconfigured, "invalid_request"))
			require.Error(t, demand(b, key))
			time.Sleep(10 * time.Minute)
			between(t, b, other)
			for range 5 {
				time.Sleep(time.Hour)
				require.Error(t, demand(b, key))
				require.Equal(t, store.StatusActive, statusOf(b.stored(t)))
			}
		})
	}
	bubble(t, "the other account was renewed before only", func(t *testing.T) {
		b, other := suspect(t, denied(providers.Misconfigured, "invalid_request"))
		require.NoError(t, demand(b, other))
		time.Sleep(time.Minute)
		require.Error(t, demand(b, key))
		time.Sleep(2 * time.Hour)
		require.Error(t, demand(b, key))
		require.Equal(t, store.StatusActive, statusOf(b.stored(t)))
	})
	bubble(t, "a gateway refused, not the service", func(t *testing.T) {
		denial := denied(providers.Transient, "")
		denial.SaysNo = false
		b, other := suspect(t, denial)
		for range 5 {
			require.Error(t, demand(b, key))
			require.NoError(t, demand(b, other))
			time.Sleep(time.Hour)
		}
		require.Equal(t, store.StatusActive, statusOf(b.stored(t)))
	})
	bubble(t, "the provider was written between: each was an incident of its own", func(t *testing.T) {
		b, other := suspect(t, denied(providers.Misconfigured, "invalid_client"))
		serial := uint64(1)
		b.source.terms = func(_ *store.Connection, terms *refresh.Terms) { terms.Serial = serial }
		require.Error(t, demand(b, key))
		time.Sleep(time.Minute)
		serial++
		require.NoError(t, demand(b, other))
		time.Sleep(2 * time.Hour)
		serial++
		require.Equal(t, refresh.AppRefused, problem(t, demand(b, key)))
		time.Sleep(2 * time.Hour)
		require.Equal(t, refresh.AppRefused, problem(t, demand(b, key)))
		require.Equal(t, store.StatusActive, statusOf(b.stored(t)))
		require.NoError(t, demand(b, other))
		time.Sleep(time.Minute)
		require.Equal(t, refresh.NeedsReconnect, problem(t, demand(b, key)), "and this is the one that tells")
	})
	bubble(t, "the other account had been asked for before", func(t *testing.T) {
		b, other := suspect(t, denied(providers.Misconfigured, "invalid_client"))
		answers := b.source.answers
		b.source.answers = func(c *store.Connection) (*providers.Grant, error) {
			if c.Account.ID != "suspect" {
				time.Sleep(2 * time.Second) // and the app is refused from now on
			}
			return answers(c)
		}
		go func() { _ = demand(b, other) }()
		time.Sleep(time.Second)
		require.Equal(t, refresh.AppRefused, problem(t, demand(b, key)))
		time.Sleep(2 * time.Hour)
		require.Equal(t, refresh.AppRefused, problem(t, demand(b, key)))
		require.Equal(t, store.StatusActive, statusOf(b.stored(t)))
	})
	bubble(t, "a success between the two begins it anew", func(t *testing.T) {
		b, other := suspect(t, denied(providers.Misconfigured, "invalid_request"))
		refuse := b.source.answers
		require.Error(t, demand(b, key))
		time.Sleep(time.Minute)
		b.source.answers = func(c *store.Connection) (*providers.Grant, error) {
			g := *c.Grant
			g.Issued, g.Expires = time.Now(), time.Now().Add(time.Hour)
			return &g, nil
		}
		require.NoError(t, demand(b, key))
		require.NoError(t, demand(b, other))
		b.source.answers = refuse
		time.Sleep(2 * time.Hour)
		require.Error(t, demand(b, key))
		require.Equal(t, store.StatusActive, statusOf(b.stored(t)))
	})
}

// A crash while a person has a refused grant tried once more is recovered like any other.
func TestCrashWhileARefusedGrantIsTried(t *testing.T) {
	cut := func(t *testing.T) *bench {
		t.Helper()
		b := given(t, -time.Second)
		b.source.window = true
		b.edit(t, func(c *store.Connection) {
			c.Refused = store.Refusal{Reason: store.ReasonGrantRefused, Time: time.Now()}
			c.Attempt = store.Attempt{Failures: 1, Last: time.Now(), Class: providers.Rejected}
		})
		time.Sleep(time.Minute)
		never := make(chan struct{})
		t.Cleanup(func() { close(never) })
		var asked atomic.Bool
		b.source.after = func(int) error {
			if asked.CompareAndSwap(false, true) {
				b.storage.Judge(func(testenv.Access) error { return testenv.ErrStorage }) // it writes no more
				<-never
				return context.Canceled
			}
			return nil
		}
		ctx, cancel := context.WithCancel(context.Background())
		go func() { _, _ = b.Refresh(ctx, key, anybody) }()
		synctest.Wait()
		cancel()
		b.storage.Judge(nil)
		next := newBench(t, b.storage, b.source)
		t.Cleanup(func() { next.Close(context.Background()) })
		return next
	}
	bubble(t, "at the start", func(t *testing.T) {
		b := cut(t)
		require.NoError(t, b.Recover(context.Background()))
		synctest.Wait()
		require.Equal(t, store.StatusActive, statusOf(b.stored(t)))
		require.EqualValues(t, 2, b.source.calls.Load())
		require.Nil(t, b.intent(t))
	})
	bubble(t, "when it may be, if it may not at the start", func(t *testing.T) {
		b := cut(t)
		var paused atomic.Bool
		paused.Store(true)
		b.source.terms = func(_ *store.Connection, terms *refresh.Terms) { terms.Paused = paused.Load() }
		require.NoError(t, b.Recover(context.Background()))
		work(t, b)
		time.Sleep(time.Hour)
		require.EqualValues(t, 1, b.source.calls.Load())
		require.NotNil(t, b.intent(t))
		paused.Store(false)
		time.Sleep(time.Hour)
		require.Equal(t, store.StatusActive, statusOf(b.stored(t)))
		require.Nil(t, b.intent(t))
	})
	bubble(t, "when it is enabled, if it was disabled meanwhile", func(t *testing.T) {
		b := cut(t)
		b.edit(t, disable)
		require.NoError(t, b.Recover(context.Background()))
		work(t, b)
		time.Sleep(time.Hour)
		require.EqualValues(t, 1, b.source.calls.Load())
		require.NotNil(t, b.intent(t))
		b.edit(t, enable)
		time.Sleep(time.Minute)
		require.Equal(t, store.StatusActive, statusOf(b.stored(t)))
		require.Nil(t, b.intent(t))
	})
	bubble(t, "also after a try that could not be sent, without another start", func(t *testing.T) {
		b := cut(t)
		var reached atomic.Bool
		b.source.before = func(int) error {
			if reached.Load() {
				return nil
			}
			return errors.New("nothing was sent")
		}
		require.NoError(t, b.Recover(context.Background()))
		work(t, b)
		synctest.Wait()
		require.NotNil(t, b.intent(t), "nothing came of it")
		reached.Store(true)
		time.Sleep(time.Hour)
		require.Equal(t, store.StatusActive, statusOf(b.stored(t)))
		require.Nil(t, b.intent(t))
	})
	bubble(t, "also when its intent is found late, and may not be tried at once", func(t *testing.T) {
		b := cut(t)
		var paused atomic.Bool
		paused.Store(true)
		b.source.terms = func(_ *store.Connection, terms *refresh.Terms) { terms.Paused = paused.Load() }
		work(t, b)
		synctest.Wait()
		require.NoError(t, b.Recover(context.Background()))
		time.Sleep(time.Hour)
		require.NotNil(t, b.intent(t))
		paused.Store(false)
		time.Sleep(time.Hour)
		require.Equal(t, store.StatusActive, statusOf(b.stored(t)))
		require.Nil(t, b.intent(t))
	})
	bubble(t, "but not when its consent runs out before it may be", func(t *testing.T) {
		b := cut(t)
		var paused atomic.Bool
		paused.Store(true)
		b.source.terms = func(_ *store.Connection, terms *refresh.Terms) { terms.Paused = paused.Load() }
		b.behind(t, func(c *store.Connection) { c.Grant.HardLimit = time.Now().Add(30 * time.Minute) })
		require.NoError(t, b.Recover(context.Background()))
		work(t, b)
		time.Sleep(29 * time.Minute)
		require.NotNil(t, b.intent(t), "until then it may still be")
		time.Sleep(time.Hour)
		paused.Store(false)
		time.Sleep(time.Hour)
		require.EqualValues(t, 1, b.source.calls.Load(), "a grant whose consent is over is not sent")
		require.Nil(t, b.intent(t), "nothing more will be heard of it")
		require.Equal(t, store.ReasonGrantRefused, reasonOf(b.stored(t)))
	})
	bubble(t, "but not where its refresh token was erased", func(t *testing.T) {
		b := cut(t)
		b.edit(t, func(c *store.Connection) { c.EraseRefused() })
		b.source.terms = func(_ *store.Connection, terms *refresh.Terms) { terms.CanRefresh = false }
		require.NoError(t, b.Recover(context.Background()))
		synctest.Wait()
		require.EqualValues(t, 1, b.source.calls.Load())
		require.Nil(t, b.intent(t))
	})
	bubble(t, "also after a try that could not be sent, and another start", func(t *testing.T) {
		b := cut(t)
		b.source.before = func(int) error { return errors.New("nothing was sent") }
		require.NoError(t, b.Recover(context.Background()))
		synctest.Wait()
		require.NotNil(t, b.intent(t), "nothing came of it")
		b.source.before = nil
		time.Sleep(time.Minute)
		next := b.successor(t)
		t.Cleanup(func() { next.Close(context.Background()) })
		require.NoError(t, next.Recover(context.Background()))
		synctest.Wait()
		require.Equal(t, store.StatusActive, statusOf(next.stored(t)))
		require.Nil(t, next.intent(t))
	})
	bubble(t, "but an intent of before the refusal is of no use", func(t *testing.T) {
		b := given(t, -time.Second)
		require.NoError(t, b.store.PutIntent(t.Context(), key, &store.Intent{
			Key: key.String(), Generation: b.stored(t).Generation, Time: time.Now(),
		}))
		time.Sleep(time.Second)
		b.edit(t, func(c *store.Connection) {
			c.Refused = store.Refusal{Reason: store.ReasonGrantRefused, Time: time.Now()}
			c.Attempt = store.Attempt{Failures: 1, Last: time.Now(), Class: providers.Rejected}
		})
		require.NoError(t, b.Recover(context.Background()))
		synctest.Wait()
		require.Zero(t, b.source.calls.Load())
		require.Nil(t, b.intent(t))
	})
}
