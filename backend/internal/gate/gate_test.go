package gate_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
)

// bubble runs a test on a clock of its own; it ends only when every goroutine has.
func bubble(t *testing.T, name string, test func(*testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

func open() *gate.Gate { return gate.New(time.Now, nil) }

// of is a visit to a key, each time for another connection of another account.
func of(key string, class gate.Class) gate.Visit {
	n := fmt.Sprint(visits.Add(1))
	return gate.Visit{Key: key, Connection: "connection-" + n, Account: "account-" + n, Worked: true, Class: class}
}

var visits atomic.Int64

// guest is somebody who came to the gate.
type guest struct {
	hangUp context.CancelFunc
	answer chan struct{} // closed when there is one
	pass   *gate.Pass
	err    error
	at     time.Time
}

// come sends a visitor, who waits until the test ends unless it hangs up.
func come(t *testing.T, g *gate.Gate, v gate.Visit) *guest {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	x := &guest{hangUp: cancel, answer: make(chan struct{})}
	go func() {
		defer close(x.answer)
		x.pass, x.err = g.Enter(ctx, v)
		x.at = time.Now()
	}()
	synctest.Wait()
	return x
}

func crowd(t *testing.T, g *gate.Gate, n int, key string, class gate.Class) (all []*guest) {
	t.Helper()
	for range n {
		all = append(all, come(t, g, of(key, class)))
	}
	return all
}

// stands tells how it goes for a guest, once all goroutines have come to rest.
func (x *guest) stands() string {
	synctest.Wait()
	select {
	case <-x.answer:
	default:
		return "waiting"
	}
	if x.err != nil {
		return x.err.Error()
	}
	return "inside"
}

func (x *guest) leave(o gate.Outcome, retryAfter time.Duration) {
	x.pass.Leave(o, retryAfter)
	synctest.Wait()
}

// inside has a visitor enter who need not wait.
func inside(t *testing.T, g *gate.Gate, v gate.Visit) *guest {
	t.Helper()
	x := come(t, g, v)
	require.Equal(t, "inside", x.stands())
	return x
}

// call makes one call and says what came of it.
func call(t *testing.T, g *gate.Gate, v gate.Visit, o gate.Outcome, retryAfter time.Duration) {
	t.Helper()
	inside(t, g, v).leave(o, retryAfter)
}

// refused has a visitor turned away at once.
func refused(t *testing.T, g *gate.Gate, v gate.Visit, state gate.State, until time.Time) {
	t.Helper()
	come(t, g, v).refused(t, v.Key, state, until)
}

// refused requires that somebody was turned away.
func (x *guest) refused(t *testing.T, key string, state gate.State, until time.Time) {
	t.Helper()
	require.NotEqual(t, "waiting", x.stands())
	require.Equal(t, &gate.Refused{Key: key, State: state, Until: until}, x.err)
	require.Nil(t, x.pass)
}

func countInside(all []*guest) (n int) {
	for _, x := range all {
		if x.stands() == "inside" {
			n++
		}
	}
	return n
}

func TestPlaces(t *testing.T) {
	bubble(t, "64 in all and 16 of a key, and the next one waits for one of them", func(t *testing.T) {
		g := open()
		for _, key := range []string{"a", "b", "c"} {
			require.Equal(t, 16, countInside(crowd(t, g, 16, key, gate.Person)))
		}
		ofKey := crowd(t, g, 17, "d", gate.Person)
		require.Equal(t, 16, countInside(ofKey))
		require.Equal(t, "waiting", ofKey[16].stands())
		elsewhere := come(t, g, of("e", gate.Person))
		require.Equal(t, "waiting", elsewhere.stands(), "the 65th in all")
		require.Equal(t, 64, g.Report().Inside)

		ofKey[0].leave(gate.NotSent, 0)
		require.Equal(t, "inside", ofKey[16].stands())
		require.Equal(t, "waiting", elsewhere.stands())
		ofKey[1].leave(gate.NotSent, 0)
		require.Equal(t, "inside", elsewhere.stands())
	})
	for _, class := range []gate.Class{gate.Reader, gate.Background} {
		bubble(t, fmt.Sprintf("class %d: 12 of a key, beside 4 people", class), func(t *testing.T) {
			g := open()
			require.Equal(t, 12, gate.Places)
			others := crowd(t, g, gate.Places+1, "acme", class)
			require.Equal(t, gate.Places, countInside(others))
			people := crowd(t, g, 5, "acme", gate.Person)
			require.Equal(t, 4, countInside(people))

			people[0].leave(gate.NotSent, 0)
			require.Equal(t, "inside", people[4].stands())
			people[1].leave(gate.NotSent, 0)
			require.Equal(t, "waiting", others[12].stands(), "the place is kept")
			others[0].leave(gate.NotSent, 0)
			require.Equal(t, "inside", others[12].stands())
		})
		bubble(t, fmt.Sprintf("class %d: 56 in all, beside 8 people", class), func(t *testing.T) {
			g := open()
			require.Equal(t, 56, gate.PlacesInAll)
			for n := range 4 {
				require.Equal(t, 12, countInside(crowd(t, g, 12, fmt.Sprint("full-", n), class)))
			}
			others := crowd(t, g, 9, "acme", class)
			require.Equal(t, 8, countInside(others))
			people := crowd(t, g, 9, "people", gate.Person)
			require.Equal(t, 8, countInside(people))

			people[0].leave(gate.NotSent, 0)
			require.Equal(t, "inside", people[8].stands())
			people[1].leave(gate.NotSent, 0)
			require.Equal(t, "waiting", others[8].stands(), "the place is kept")
			others[0].leave(gate.NotSent, 0)
			require.Equal(t, "inside", others[8].stands())
		})
	}
	bubble(t, "people take the places of others, too, and do not count as those when they leave", func(t *testing.T) {
		g := open()
		people := crowd(t, g, 16, "acme", gate.Person)
		require.Equal(t, 16, countInside(people))
		others := crowd(t, g, 16, "acme", gate.Reader)
		require.Zero(t, countInside(others))
		for n, x := range people {
			x.leave(gate.NotSent, 0)
			require.Equal(t, min(n+1, gate.Places), countInside(others))
		}
	})
}

func TestOrder(t *testing.T) {
	// served has the given ones come to a gate that is full, and gives the order in which they are let in.
	served := func(t *testing.T, g *gate.Gate, full []*guest, come ...*guest) (order []int) {
		t.Helper()
		for range come {
			full[0].leave(gate.NotSent, 0)
			full = full[1:]
			for n, x := range come {
				if x.stands() == "inside" && !slices.Contains(order, n) {
					order = append(order, n)
				}
			}
		}
		require.Len(t, order, len(come))
		return order
	}
	bubble(t, "people before readers before the background", func(t *testing.T) {
		g := open()
		full := crowd(t, g, 16, "acme", gate.Person)
		require.Equal(t, []int{2, 1, 0}, served(t, g, full, come(t, g, of("acme", gate.Background)),
			come(t, g, of("acme", gate.Reader)), come(t, g, of("acme", gate.Person))))
	})
	bubble(t, "that holds across keys", func(t *testing.T) {
		g := open()
		var full []*guest
		for _, key := range []string{"a", "b", "c", "d"} {
			full = append(full, crowd(t, g, 16, key, gate.Person)...)
		}
		require.Equal(t, 64, countInside(full))
		require.Equal(t, []int{3, 1, 0, 2}, served(t, g, full, come(t, g, of("e", gate.Background)),
			come(t, g, of("f", gate.Reader)), come(t, g, of("g", gate.Background)), come(t, g, of("h", gate.Person))))
	})
	bubble(t, "first come, first served", func(t *testing.T) {
		g := open()
		full := crowd(t, g, 16, "acme", gate.Person)
		require.Equal(t, []int{0, 1, 2, 3, 4}, served(t, g, full, crowd(t, g, 5, "acme", gate.Reader)...))
	})
	bubble(t, "keys take turns", func(t *testing.T) {
		g := open()
		var full []*guest
		for _, key := range []string{"a", "b", "c", "d"} {
			full = append(full, crowd(t, g, 16, key, gate.Person)...)
		}
		waiting := crowd(t, g, 4, "e", gate.Reader)
		waiting = append(waiting, crowd(t, g, 2, "f", gate.Reader)...)
		waiting = append(waiting, crowd(t, g, 1, "g", gate.Reader)...)
		require.Equal(t, []int{0, 4, 6, 1, 5, 2, 3}, served(t, g, full, waiting...))
	})
	bubble(t, "a key that is full holds up no other", func(t *testing.T) {
		g := open()
		crowd(t, g, 50, "full", gate.Reader)
		inside(t, g, of("acme", gate.Background))
	})
}

func TestGivingUp(t *testing.T) {
	bubble(t, "a visitor waits as long as its own context, and leaves no trace", func(t *testing.T) {
		g := open()
		full := crowd(t, g, 12, "acme", gate.Reader)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		from := time.Now()
		pass, err := g.Enter(ctx, of("acme", gate.Reader))
		require.Nil(t, pass)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 3*time.Second, time.Since(from))
		require.Equal(t, gate.Report{Inside: 12, Unwell: map[string]gate.Unwell{}}, g.Report())

		later := come(t, g, of("acme", gate.Reader))
		full[0].leave(gate.NotSent, 0)
		require.Equal(t, "inside", later.stands())
	})
	bubble(t, "only the one that gave up goes", func(t *testing.T) {
		g := open()
		full := crowd(t, g, 12, "acme", gate.Reader)
		waiting := crowd(t, g, 3, "acme", gate.Reader)
		waiting[1].hangUp()
		require.Equal(t, context.Canceled.Error(), waiting[1].stands())
		require.Equal(t, 2, g.Report().Waiting)
		full[0].leave(gate.NotSent, 0)
		full[1].leave(gate.NotSent, 0)
		require.Equal(t, 2, countInside(waiting))
	})
	bubble(t, "one that is let in as it gives up keeps no place", func(t *testing.T) {
		g := open()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		for range 100 { // half of them take the place, the others see that they are gone
			if pass, err := g.Enter(gone, of("acme", gate.Reader)); err == nil {
				pass.Leave(gate.NotSent, 0)
			}
			require.Zero(t, g.Report().Inside)
		}
		require.Equal(t, 12, countInside(crowd(t, g, 12, "acme", gate.Reader)))
	})
	bubble(t, "nor does it keep the others from probing", func(t *testing.T) {
		g := open()
		call(t, g, of("acme", gate.Reader), gate.Limited, time.Second)
		time.Sleep(time.Second)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		for range 100 {
			if pass, err := g.Enter(gone, of("acme", gate.Reader)); err == nil {
				pass.Leave(gate.NotSent, 0)
			}
			inside(t, g, of("acme", gate.Reader)).leave(gate.NotSent, 0)
		}
	})
	bubble(t, "its place goes to the next one", func(t *testing.T) {
		g := open()
		full := crowd(t, g, 12, "acme", gate.Reader)
		for range 200 { // at some of them the place comes before the visitor has left
			first, second := come(t, g, of("acme", gate.Reader)), come(t, g, of("acme", gate.Reader))
			first.hangUp()
			full[0].pass.Leave(gate.NotSent, 0)
			if first.stands() == "inside" { // it was let in before it saw that it is gone
				first.leave(gate.NotSent, 0)
			}
			require.Equal(t, "inside", second.stands())
			require.Equal(t, gate.Report{Inside: 12, Unwell: map[string]gate.Unwell{}}, g.Report())
			full = append(full[1:], second)
		}
	})
}

func TestBusy(t *testing.T) {
	bubble(t, "a thousand wait for a key, and no more", func(t *testing.T) {
		g := open()
		full := crowd(t, g, 12, "acme", gate.Reader)
		waiting := crowd(t, g, 1000, "acme", gate.Reader)
		require.Equal(t, 1000, g.Report().Waiting)
		refused(t, g, of("acme", gate.Reader), gate.Busy, time.Time{})
		refused(t, g, of("acme", gate.Background), gate.Busy, time.Time{})
		inside(t, g, of("other", gate.Background))

		waiting[500].hangUp()
		require.Equal(t, context.Canceled.Error(), waiting[500].stands())
		require.Equal(t, "waiting", come(t, g, of("acme", gate.Reader)).stands())
		refused(t, g, of("acme", gate.Reader), gate.Busy, time.Time{})
		full[0].leave(gate.NotSent, 0)
		require.Equal(t, "waiting", come(t, g, of("acme", gate.Reader)).stands())
	})
	bubble(t, "they take no place from people", func(t *testing.T) {
		g := open()
		crowd(t, g, 1012, "acme", gate.Reader)
		require.Equal(t, 4, countInside(crowd(t, g, 4, "acme", gate.Person)))
		refused(t, g, of("acme", gate.Person), gate.Busy, time.Time{})
	})
}

func TestClose(t *testing.T) {
	bubble(t, "who waits is turned away, who is inside leaves as ever, and nobody enters", func(t *testing.T) {
		g := open()
		full := crowd(t, g, 16, "acme", gate.Person)
		waiting := []*guest{
			come(t, g, of("acme", gate.Person)), come(t, g, of("acme", gate.Reader)), come(t, g, of("acme", gate.Background)),
		}
		g.Close()
		for _, x := range waiting {
			require.Equal(t, gate.ErrClosed.Error(), x.stands())
			require.ErrorIs(t, x.err, gate.ErrClosed)
		}
		require.Equal(t, 16, g.Report().Inside)
		for _, x := range full {
			x.leave(gate.Succeeded, 0)
		}
		require.Equal(t, gate.Report{Unwell: map[string]gate.Unwell{}}, g.Report())
		for _, key := range []string{"acme", "unknown"} {
			_, err := g.Enter(t.Context(), of(key, gate.Person))
			require.ErrorIs(t, err, gate.ErrClosed)
		}
		g.Close()
	})
	bubble(t, "that goes before what is known of a key", func(t *testing.T) {
		g := open()
		call(t, g, of("acme", gate.Reader), gate.Limited, time.Minute)
		g.Close()
		_, err := g.Enter(t.Context(), of("acme", gate.Reader))
		require.ErrorIs(t, err, gate.ErrClosed)
	})
}

func TestLeave(t *testing.T) {
	bubble(t, "it frees one place, however often it is called", func(t *testing.T) {
		g := open()
		full := crowd(t, g, 12, "acme", gate.Reader)
		waiting := crowd(t, g, 2, "acme", gate.Reader)
		full[0].leave(gate.NotSent, 0)
		full[0].leave(gate.NotSent, 0)
		require.Equal(t, 1, countInside(waiting))
		require.Equal(t, 12, g.Report().Inside)
	})
	bubble(t, "the first outcome counts", func(t *testing.T) {
		g := open()
		x := inside(t, g, of("acme", gate.Reader))
		x.leave(gate.Limited, time.Minute)
		x.leave(gate.NotSent, 0)
		state, _ := g.State("acme")
		require.Equal(t, gate.Resting, state)

		x = inside(t, g, of("other", gate.Reader))
		x.leave(gate.NotSent, 0)
		x.leave(gate.Limited, time.Minute)
		state, _ = g.State("other")
		require.Equal(t, gate.Well, state)
	})
}

func TestReport(t *testing.T) {
	bubble(t, "it tells how many are inside and wait, for how long, and which keys are unwell", func(t *testing.T) {
		g := open()
		require.Equal(t, gate.Report{Unwell: map[string]gate.Unwell{}}, g.Report())
		full := crowd(t, g, 12, "acme", gate.Reader)
		crowd(t, g, 2, "other", gate.Person)
		longest := come(t, g, of("acme", gate.Reader))
		time.Sleep(2 * time.Second)
		come(t, g, of("acme", gate.Reader))
		come(t, g, of("acme", gate.Background))
		time.Sleep(3 * time.Second)
		call(t, g, of("limited", gate.Reader), gate.Limited, time.Minute)
		outage(t, g, "down")
		now := time.Now()
		require.Equal(t, gate.Report{
			Inside: 14, Waiting: 3, LongestWait: 5 * time.Second,
			Unwell: map[string]gate.Unwell{
				"limited": {State: gate.Resting, Until: now.Add(time.Minute)},
				"down":    {State: gate.Down, Until: now.Add(15 * time.Second)},
			},
		}, g.Report())

		full[0].leave(gate.Succeeded, 0)
		require.Equal(t, "inside", longest.stands())
		require.Equal(t, 2, g.Report().Waiting)
		require.Equal(t, 3*time.Second, g.Report().LongestWait)
	})
}

// It runs on the real clock: what it looks for needs goroutines that really meet.
func TestHammer(t *testing.T) {
	var clock atomic.Int64 // each look at it is worth 10 ms
	start := time.Now()
	now := func() time.Time { return start.Add(time.Duration(clock.Add(1)) * 10 * time.Millisecond) }
	g := gate.New(now, func(key string, _ []string) { assert.NotEqual(t, "", key) })
	keys := []string{"a", "b", "c", "d", "e", "f"}

	type count struct{ all, others, peakAll, peakOthers int }
	var mu sync.Mutex
	counts := map[string]*count{"": {}} // by key, and of all
	for _, key := range keys {
		counts[key] = &count{}
	}
	// note counts from after somebody was let in until before they leave: never more than are inside.
	note := func(v gate.Visit, by int) {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range []*count{counts[""], counts[v.Key]} {
			c.all += by
			if v.Class != gate.Person {
				c.others += by
			}
			c.peakAll, c.peakOthers = max(c.peakAll, c.all), max(c.peakOthers, c.others)
		}
	}
	var entered atomic.Int64
	var all sync.WaitGroup
	for n := range 120 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(n)))
			for range 50 {
				v := of(keys[random.IntN(len(keys))], gate.Class(random.IntN(3)))
				v.Account = fmt.Sprint(random.IntN(10))
				ctx, cancel := context.WithCancel(t.Context())
				if random.IntN(3) == 0 {
					ctx, cancel = context.WithTimeout(t.Context(), time.Duration(random.IntN(300))*time.Microsecond)
				}
				if pass, err := g.Enter(ctx, v); err == nil {
					entered.Add(1)
					note(v, 1)
					for range random.IntN(50) {
						runtime.Gosched()
					}
					note(v, -1)
					outcome, retryAfter := gate.Succeeded, time.Duration(0)
					switch random.IntN(200) {
					case 0, 1, 2:
						outcome = gate.Failed
					case 3:
						outcome, retryAfter = gate.Limited, time.Second
					case 4:
						g.Lift(v.Key)
					case 5:
						outcome = gate.NotSent
					}
					pass.Leave(outcome, retryAfter)
				}
				cancel()
				assert.LessOrEqual(t, g.Report().Inside, 64)
			}
		})
	}
	all.Wait()

	for key, c := range counts {
		most, mostOthers := 16, 12
		if key == "" {
			most, mostOthers = 64, 56
		}
		assert.LessOrEqual(t, c.peakAll, most, key)
		assert.LessOrEqual(t, c.peakOthers, mostOthers, key)
		assert.Zero(t, c.all, key)
	}
	require.Greater(t, entered.Load(), int64(1000))
	require.Greater(t, counts[""].peakAll, 12, "they met")
	clock.Add(1_000_000) // every rest and every outage is due for a probe
	for _, key := range keys {
		pass, err := g.Enter(t.Context(), of(key, gate.Reader))
		require.NoError(t, err)
		pass.Leave(gate.Succeeded, 0)
		places, until := g.Room(key)
		require.Equal(t, gate.Places, places)
		require.Zero(t, until)
	}
	require.Equal(t, gate.Report{Unwell: map[string]gate.Unwell{}}, g.Report())
}

// Somebody more important may wait for a call that waits already.
func TestPromote(t *testing.T) {
	bubble(t, "a call that a person waits for takes one of people's places", func(t *testing.T) {
		g := open()
		crowd(t, g, gate.Places, "acme", gate.Reader)
		v := of("acme", gate.Background)
		other, waits := come(t, g, of("acme", gate.Reader)), come(t, g, v)
		v.Class = gate.Person
		g.Promote(v)
		require.Equal(t, "inside", waits.stands())
		require.Equal(t, "waiting", other.stands(), "nobody waits for that one")
		waits.leave(gate.Succeeded, 0)
		require.Equal(t, gate.Places, g.Report().Inside)
	})
	bubble(t, "a reader's goes before those of the background, and nobody is moved back", func(t *testing.T) {
		g := open()
		full := crowd(t, g, gate.Places, "acme", gate.Reader)
		first, v := come(t, g, of("acme", gate.Background)), of("acme", gate.Background)
		second := come(t, g, v)
		v.Class = gate.Reader
		g.Promote(v)
		v.Class = gate.Background
		g.Promote(v)
		full[0].leave(gate.Succeeded, 0)
		require.Equal(t, []string{"waiting", "inside"}, []string{first.stands(), second.stands()})
	})
	bubble(t, "one who was moved may give up", func(t *testing.T) {
		g := open()
		crowd(t, g, 16, "acme", gate.Person)
		v := of("acme", gate.Reader)
		x := come(t, g, v)
		v.Class = gate.Person
		g.Promote(v)
		x.hangUp()
		require.Equal(t, context.Canceled.Error(), x.stands())
		require.Zero(t, g.Report().Waiting)
	})
	bubble(t, "of a key or a connection that nobody waits for, nothing happens", func(t *testing.T) {
		g := open()
		g.Promote(of("acme", gate.Person))
		inside(t, g, of("acme", gate.Reader))
		g.Promote(of("acme", gate.Person))
		require.Equal(t, 1, g.Report().Inside)
	})
}

// One account has four of people's places, so that others find some.
func TestPlacesOfOneAccount(t *testing.T) {
	bubble(t, "whoever comes behind its crowd is let in before it", func(t *testing.T) {
		g := open()
		var crowd []*guest
		for range 6 {
			v := of("acme", gate.Person)
			v.Account = "ann"
			crowd = append(crowd, come(t, g, v))
		}
		require.Equal(t, 4, countInside(crowd))
		inside(t, g, of("acme", gate.Person))
		crowd[0].leave(gate.Succeeded, 0)
		require.Equal(t, "inside", crowd[4].stands())
		require.Equal(t, "waiting", crowd[5].stands())
	})
	bubble(t, "at another key it has as many again, and readers' places are not counted so", func(t *testing.T) {
		g := open()
		at := func(key string, class gate.Class, n int) (all []*guest) {
			for range n {
				v := of(key, class)
				v.Account = "ann"
				all = append(all, come(t, g, v))
			}
			return all
		}
		require.Equal(t, 4, countInside(at("acme", gate.Person, 5)))
		require.Equal(t, 4, countInside(at("globex", gate.Person, 5)))
		require.Equal(t, gate.Places, countInside(at("initech", gate.Reader, gate.Places)))
	})
}

// Who chose what is called has four places, whoever asks, so that nobody's slow hosts keep others' from being called.
func TestPlacesOfOneChooser(t *testing.T) {
	for class := gate.Person; class <= gate.Background; class++ {
		bubble(t, fmt.Sprintf("class %d: others pass its crowd by", class), func(t *testing.T) {
			g := open()
			var crowd []*guest
			for n := range 1000 {
				v := of("hosts", class)
				v.Account, v.Chooser = fmt.Sprint("account ", n), "bob"
				crowd = append(crowd, come(t, g, v))
			}
			require.Equal(t, 4, countInside(crowd))
			v := of("hosts", class)
			v.Chooser = "alice"
			inside(t, g, v).leave(gate.NotSent, 0)
			crowd[0].leave(gate.NotSent, 0)
			require.Equal(t, "inside", crowd[4].stands())
			require.Equal(t, "waiting", crowd[5].stands())
		})
	}
}

// Who has the answer may say so and go on with further calls beside it.
func TestTell(t *testing.T) {
	bubble(t, "a probe that has its answer keeps nobody out, and its place stays taken", func(t *testing.T) {
		g := open()
		call(t, g, of("acme", gate.Reader), gate.Limited, time.Minute)
		time.Sleep(time.Minute)
		probe := inside(t, g, of("acme", gate.Person))
		refused(t, g, of("acme", gate.Reader), gate.Resting, time.Now().Add(15*time.Second))
		probe.pass.Tell(gate.Succeeded, 0)
		inside(t, g, of("acme", gate.Reader))
		require.Equal(t, 2, g.Report().Inside)
		probe.leave(gate.Limited, time.Hour)
		require.Equal(t, 1, g.Report().Inside)
		state, _ := g.State("acme")
		require.Equal(t, gate.Well, state, "only what was told counts")
	})
}
