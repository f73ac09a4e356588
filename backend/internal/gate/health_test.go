package gate_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
)

// outage has a key fail for three accounts, which puts it down.
func outage(t *testing.T, g *gate.Gate, key string) (failed []string) {
	t.Helper()
	for range 3 {
		v := of(key, gate.Reader)
		call(t, g, v, gate.Failed, 0)
		failed = append(failed, v.Connection)
	}
	return failed
}

// stands is how a key stands, and for how long from now.
func stands(g *gate.Gate, key string) (gate.State, time.Duration) {
	state, until := g.State(key)
	if until.IsZero() {
		return state, 0
	}
	return state, time.Until(until)
}

func requireStands(t *testing.T, g *gate.Gate, state gate.State, left time.Duration) {
	t.Helper()
	is, until := stands(g, "acme")
	require.Equal(t, state, is)
	require.Equal(t, left, until)
}

// oneAtATime requires that only one may be inside, and leaves nobody there.
func oneAtATime(t *testing.T, g *gate.Gate, state gate.State) {
	t.Helper()
	probe := inside(t, g, of("acme", gate.Reader))
	refused(t, g, of("acme", gate.Reader), state, time.Now().Add(15*time.Second))
	probe.leave(gate.NotSent, 0)
}

// manyAtOnce requires that more than one may be inside, and leaves nobody there.
func manyAtOnce(t *testing.T, g *gate.Gate) {
	t.Helper()
	for _, x := range []*guest{inside(t, g, of("acme", gate.Reader)), inside(t, g, of("acme", gate.Reader))} {
		x.leave(gate.NotSent, 0)
	}
}

func TestRest(t *testing.T) {
	for name, c := range map[string]struct{ asked, rests time.Duration }{
		"as long as it was asked for":            {asked: 30 * time.Second, rests: 30 * time.Second},
		"five minutes at most":                   {asked: time.Hour, rests: 5 * time.Minute},
		"a second when nobody said for how long": {asked: 0, rests: time.Second},
	} {
		bubble(t, name, func(t *testing.T) {
			g := open()
			call(t, g, of("acme", gate.Reader), gate.Limited, c.asked)
			end := time.Now().Add(c.rests)
			requireStands(t, g, gate.Resting, c.rests)
			time.Sleep(c.rests - 1)
			for _, class := range []gate.Class{gate.Person, gate.Reader, gate.Background} {
				refused(t, g, of("acme", class), gate.Resting, end)
			}
			inside(t, g, of("other", gate.Background))
			time.Sleep(time.Nanosecond)
			call(t, g, of("acme", gate.Background), gate.NotSent, 0)
		})
	}
	bubble(t, "those who wait are turned away at once", func(t *testing.T) {
		g := open()
		full := crowd(t, g, 16, "acme", gate.Person)
		waiting := []*guest{
			come(t, g, of("acme", gate.Person)), come(t, g, of("acme", gate.Reader)), come(t, g, of("acme", gate.Background)),
		}
		full[0].leave(gate.Limited, time.Minute)
		for _, x := range waiting {
			x.refused(t, "acme", gate.Resting, time.Now().Add(time.Minute))
		}
		require.Equal(t, 15, g.Report().Inside)
		require.Zero(t, g.Report().Waiting)
	})
	bubble(t, "a longer one holds, whichever came first", func(t *testing.T) {
		g := open()
		all := crowd(t, g, 3, "acme", gate.Reader)
		all[0].leave(gate.Limited, 20*time.Second)
		all[1].leave(gate.Limited, 10*time.Second)
		requireStands(t, g, gate.Resting, 20*time.Second)
		all[2].leave(gate.Limited, 30*time.Second)
		requireStands(t, g, gate.Resting, 30*time.Second)
	})
	bubble(t, "then one probe at a time, people too", func(t *testing.T) {
		g := open()
		call(t, g, of("acme", gate.Reader), gate.Limited, 30*time.Second)
		time.Sleep(30 * time.Second)
		oneAtATime(t, g, gate.Resting)
		probe := inside(t, g, of("acme", gate.Person))
		refused(t, g, of("acme", gate.Person), gate.Resting, time.Now().Add(15*time.Second))
		probe.leave(gate.NotSent, 0)
	})
	bubble(t, "those who waited for a place do not follow the probe", func(t *testing.T) {
		g := open()
		full := crowd(t, g, 12, "acme", gate.Reader)
		call(t, g, of("acme", gate.Person), gate.Limited, 30*time.Second)
		time.Sleep(30 * time.Second)
		waiting := crowd(t, g, 2, "acme", gate.Reader)
		require.Equal(t, "waiting", waiting[1].stands())
		full[0].leave(gate.NotSent, 0)
		require.Equal(t, "inside", waiting[0].stands())
		full[1].leave(gate.NotSent, 0)
		waiting[1].refused(t, "acme", gate.Resting, time.Now().Add(15*time.Second))
	})
	bubble(t, "nor do those who waited for a place among all", func(t *testing.T) {
		g := open()
		call(t, g, of("acme", gate.Reader), gate.Limited, 30*time.Second)
		time.Sleep(30 * time.Second)
		var full []*guest
		for _, key := range []string{"a", "b", "c", "d"} {
			full = append(full, crowd(t, g, 16, key, gate.Person)...)
		}
		waiting := crowd(t, g, 2, "acme", gate.Person)
		full[0].leave(gate.NotSent, 0)
		require.Equal(t, "inside", waiting[0].stands())
		require.Equal(t, "waiting", waiting[1].stands())
		full[1].leave(gate.NotSent, 0)
		waiting[1].refused(t, "acme", gate.Resting, time.Now().Add(15*time.Second))
		require.Equal(t, 63, g.Report().Inside)
	})
	for name, c := range map[string]struct {
		after time.Duration // the rest
		visit func(limited gate.Visit) gate.Visit
		enter bool
	}{
		"the account that was limited does not probe first": {after: 10*time.Second - 1, visit: same},
		"but ten seconds later":                             {after: 10 * time.Second, visit: same, enter: true},
		"whichever its connection": {after: 0, visit: func(v gate.Visit) gate.Visit {
			v.Connection = "another"
			return v
		}},
		"another account does": {after: 0, enter: true, visit: func(v gate.Visit) gate.Visit {
			v.Account = "another"
			return v
		}},
		"and so does a person": {after: 0, enter: true, visit: func(v gate.Visit) gate.Visit {
			v.Class = gate.Person
			return v
		}},
	} {
		bubble(t, name, func(t *testing.T) {
			g := open()
			limited := of("acme", gate.Reader)
			call(t, g, limited, gate.Limited, 30*time.Second)
			ends := time.Now().Add(30 * time.Second)
			time.Sleep(30*time.Second + c.after)
			if c.enter {
				inside(t, g, c.visit(limited))
			} else {
				refused(t, g, c.visit(limited), gate.Resting, ends.Add(10*time.Second))
			}
		})
	}
	for _, outcome := range []gate.Outcome{gate.Succeeded, gate.Answered} {
		bubble(t, fmt.Sprintf("a success lifts it: outcome %d", outcome), func(t *testing.T) {
			g := open()
			call(t, g, of("acme", gate.Reader), gate.Limited, 30*time.Second)
			time.Sleep(30 * time.Second)
			call(t, g, of("acme", gate.Reader), outcome, 0)
			requireStands(t, g, gate.Well, 0)
			manyAtOnce(t, g)
		})
	}
	for _, outcome := range []gate.Outcome{gate.NotSent, gate.Failed} {
		bubble(t, fmt.Sprintf("nothing else does: outcome %d", outcome), func(t *testing.T) {
			g := open()
			call(t, g, of("acme", gate.Reader), gate.Limited, 30*time.Second)
			time.Sleep(30 * time.Second)
			call(t, g, of("acme", gate.Reader), outcome, 0)
			if outcome == gate.Failed { // the next probe is not sent at once
				requireStands(t, g, gate.Resting, 15*time.Second)
				time.Sleep(15 * time.Second)
			}
			requireStands(t, g, gate.Resting, 0)
			oneAtATime(t, g, gate.Resting)
		})
	}
	bubble(t, "a probe that is limited makes it rest again", func(t *testing.T) {
		g := open()
		call(t, g, of("acme", gate.Reader), gate.Limited, 30*time.Second)
		time.Sleep(30 * time.Second)
		second := of("acme", gate.Reader)
		call(t, g, second, gate.Limited, time.Minute)
		requireStands(t, g, gate.Resting, time.Minute)
		time.Sleep(time.Minute)
		refused(t, g, second, gate.Resting, time.Now().Add(10*time.Second))
	})
	for name, after := range map[string]time.Duration{
		"during the rest": 10 * time.Second,
		"after the rest":  40 * time.Second,
	} {
		bubble(t, name+", the success of a straggler does not", func(t *testing.T) {
			g := open()
			straggler := inside(t, g, of("acme", gate.Reader))
			time.Sleep(time.Second)
			call(t, g, of("acme", gate.Reader), gate.Limited, 30*time.Second)
			time.Sleep(after)
			straggler.leave(gate.Succeeded, 0)
			requireStands(t, g, gate.Resting, 30*time.Second-after)
			time.Sleep(max(30*time.Second-after, 0))
			oneAtATime(t, g, gate.Resting)
		})
	}
	bubble(t, "nor does a probe's while it rests again", func(t *testing.T) {
		g := open()
		straggler := inside(t, g, of("acme", gate.Reader))
		call(t, g, of("acme", gate.Reader), gate.Limited, 30*time.Second)
		time.Sleep(30 * time.Second)
		probe := inside(t, g, of("acme", gate.Reader))
		straggler.leave(gate.Limited, time.Minute)
		probe.leave(gate.Succeeded, 0)
		requireStands(t, g, gate.Resting, time.Minute)
	})
	bubble(t, "after one that was lifted the next one counts from its own beginning", func(t *testing.T) {
		g := open()
		call(t, g, of("acme", gate.Reader), gate.Limited, 10*time.Second)
		time.Sleep(10 * time.Second)
		call(t, g, of("acme", gate.Reader), gate.Succeeded, 0)
		straggler := inside(t, g, of("acme", gate.Reader))
		time.Sleep(time.Second)
		call(t, g, of("acme", gate.Reader), gate.Limited, 10*time.Second)
		time.Sleep(10 * time.Second)
		straggler.leave(gate.Succeeded, 0)
		oneAtATime(t, g, gate.Resting)
	})
}

func seconds(all ...int) (d []time.Duration) {
	for _, n := range all {
		d = append(d, time.Duration(n)*time.Second)
	}
	return d
}

func same(v gate.Visit) gate.Visit { return v }

func TestDown(t *testing.T) {
	// visits gives three that would put a key down, changed.
	visits := func(n int, change func(n int, v *gate.Visit)) (all []gate.Visit) {
		for n := range n {
			v := of("acme", gate.Reader)
			change(n, &v)
			all = append(all, v)
		}
		return all
	}
	for name, c := range map[string]struct {
		failing []gate.Visit
		down    bool
	}{
		"three accounts that fail put it down": {failing: visits(3, func(int, *gate.Visit) {}), down: true},
		"two do not":                           {failing: visits(2, func(int, *gate.Visit) {})},
		"one with fifty connections does not":  {failing: visits(50, func(_ int, v *gate.Visit) { v.Account = "one" })},
		"two with fifty connections do not": {failing: visits(50, func(n int, v *gate.Visit) {
			v.Account = fmt.Sprint(n % 2)
		})},
		"three that never worked do not": {failing: visits(3, func(_ int, v *gate.Visit) { v.Worked = false })},
		"two, and one that never worked, do not": {failing: visits(3, func(n int, v *gate.Visit) {
			v.Worked = n != 1
		})},
		"whoever asked for them": {down: true, failing: visits(3, func(n int, v *gate.Visit) { v.Class = gate.Class(n) })},
	} {
		bubble(t, name, func(t *testing.T) {
			g := open()
			for n, v := range c.failing {
				requireStands(t, g, gate.Well, 0)
				call(t, g, v, gate.Failed, 0)
				time.Sleep(time.Hour * time.Duration(min(len(c.failing)-1-n, 1))) // however far apart
			}
			if !c.down {
				requireStands(t, g, gate.Well, 0)
				manyAtOnce(t, g)
				return
			}
			requireStands(t, g, gate.Down, 15*time.Second)
			for _, class := range []gate.Class{gate.Reader, gate.Background} {
				refused(t, g, of("acme", class), gate.Down, time.Now().Add(15*time.Second))
			}
			inside(t, g, of("other", gate.Reader))
		})
	}
	for name, c := range map[string]struct {
		between gate.Outcome
		down    bool
	}{
		"a success between them":              {between: gate.Succeeded},
		"an answer between them":              {between: gate.Answered},
		"a call that was not sent is no such": {between: gate.NotSent, down: true},
	} {
		bubble(t, "in a row: "+name, func(t *testing.T) {
			g := open()
			call(t, g, of("acme", gate.Reader), gate.Failed, 0)
			call(t, g, of("acme", gate.Reader), gate.Failed, 0)
			call(t, g, of("acme", gate.Reader), c.between, 0)
			call(t, g, of("acme", gate.Reader), gate.Failed, 0)
			state, _ := stands(g, "acme")
			require.Equal(t, c.down, state == gate.Down)
		})
	}
	bubble(t, "those who wait are turned away at once, but people are not", func(t *testing.T) {
		g := open()
		full := crowd(t, g, 16, "acme", gate.Person)
		person, reader := come(t, g, of("acme", gate.Person)), come(t, g, of("acme", gate.Reader))
		full[0].leave(gate.Failed, 0)
		full[1].leave(gate.Failed, 0)
		require.Equal(t, "inside", person.stands())
		require.Equal(t, "inside", reader.stands())
		background, last := come(t, g, of("acme", gate.Background)), come(t, g, of("acme", gate.Person))
		require.Equal(t, "waiting", last.stands())
		full[2].leave(gate.Failed, 0)
		require.Equal(t, "inside", last.stands())
		background.refused(t, "acme", gate.Down, time.Now().Add(15*time.Second))
	})
	bubble(t, "one at a time probes it, and each that fails doubles the wait, up to five minutes", func(t *testing.T) {
		g := open()
		outage(t, g, "acme")
		for n := range 70 { // doubling as often would overflow
			wait := 5 * time.Minute
			if first := seconds(15, 30, 60, 120, 240); n < len(first) {
				wait = first[n]
			}
			requireStands(t, g, gate.Down, wait)
			due := time.Now().Add(wait)
			time.Sleep(wait - 1)
			refused(t, g, of("acme", gate.Reader), gate.Down, due)
			time.Sleep(time.Nanosecond)
			oneAtATime(t, g, gate.Down)
			call(t, g, of("acme", gate.Background), gate.Failed, 0)
		}
	})
	bubble(t, "a probe that never worked before is one too", func(t *testing.T) {
		g := open()
		outage(t, g, "acme")
		time.Sleep(15 * time.Second)
		v := of("acme", gate.Reader)
		v.Worked = false
		call(t, g, v, gate.Failed, 0)
		requireStands(t, g, gate.Down, 30*time.Second)
	})
	bubble(t, "after it was well the wait begins anew, and so does the count", func(t *testing.T) {
		g := open()
		outage(t, g, "acme")
		time.Sleep(15 * time.Second)
		call(t, g, of("acme", gate.Reader), gate.Failed, 0)
		time.Sleep(30 * time.Second)
		call(t, g, of("acme", gate.Reader), gate.Succeeded, 0)
		for range 2 {
			requireStands(t, g, gate.Well, 0)
			call(t, g, of("acme", gate.Reader), gate.Failed, 0)
		}
		requireStands(t, g, gate.Well, 0)
		call(t, g, of("acme", gate.Reader), gate.Failed, 0)
		requireStands(t, g, gate.Down, 15*time.Second)
	})
	bubble(t, "people pass, several at a time, and others do not probe beside them", func(t *testing.T) {
		g := open()
		outage(t, g, "acme")
		people := crowd(t, g, 2, "acme", gate.Person)
		require.Equal(t, 2, countInside(people))
		time.Sleep(15 * time.Second)
		require.Equal(t, "inside", come(t, g, of("acme", gate.Person)).stands())
		refused(t, g, of("acme", gate.Reader), gate.Down, time.Now().Add(15*time.Second))
	})
	bubble(t, "people do not pass while it rests as well", func(t *testing.T) {
		g := open()
		all := crowd(t, g, 4, "acme", gate.Reader)
		all[0].leave(gate.Limited, time.Minute)
		for _, x := range all[1:] {
			x.leave(gate.Failed, 0)
		}
		requireStands(t, g, gate.Resting, time.Minute)
		refused(t, g, of("acme", gate.Person), gate.Resting, time.Now().Add(time.Minute))
		time.Sleep(time.Minute)
		requireStands(t, g, gate.Down, -45*time.Second)
		call(t, g, of("acme", gate.Reader), gate.Succeeded, 0)
		requireStands(t, g, gate.Well, 0)
	})
	bubble(t, "who entered before the probe was due does not extend it", func(t *testing.T) {
		g := open()
		stragglers := crowd(t, g, 3, "acme", gate.Reader)
		outage(t, g, "acme")
		person := inside(t, g, of("acme", gate.Person))
		stragglers[0].leave(gate.Failed, 0)
		requireStands(t, g, gate.Down, 15*time.Second)
		time.Sleep(16 * time.Second)
		stragglers[1].leave(gate.Failed, 0)
		person.leave(gate.Failed, 0)
		requireStands(t, g, gate.Down, -time.Second)
		call(t, g, of("acme", gate.Reader), gate.Failed, 0)
		requireStands(t, g, gate.Down, 30*time.Second)
		stragglers[2].leave(gate.Failed, 0)
		requireStands(t, g, gate.Down, 30*time.Second)
	})
	bubble(t, "who came before that, and was let in after, does", func(t *testing.T) {
		g := open()
		outage(t, g, "acme")
		full := crowd(t, g, 16, "acme", gate.Person)
		person := come(t, g, of("acme", gate.Person))
		time.Sleep(15 * time.Second)
		require.Equal(t, "waiting", person.stands())
		full[0].leave(gate.NotSent, 0)
		person.leave(gate.Failed, 0)
		requireStands(t, g, gate.Down, 30*time.Second)
	})
	bubble(t, "the success of who entered before ends it, too", func(t *testing.T) {
		g := open()
		straggler := inside(t, g, of("acme", gate.Reader))
		outage(t, g, "acme")
		straggler.leave(gate.Succeeded, 0)
		requireStands(t, g, gate.Well, 0)
	})
	for _, outcome := range []gate.Outcome{gate.Succeeded, gate.Answered} {
		bubble(t, fmt.Sprintf("a success ends it, and tells of the others: outcome %d", outcome), func(t *testing.T) {
			var told []string
			var g *gate.Gate
			calls := 0
			g = gate.New(time.Now, func(key string, connections []string) {
				require.Equal(t, "acme", key)
				requireStands(t, g, gate.Well, 0) // it may ask the gate
				told = append(told, connections...)
				calls++
			})
			straggler := of("acme", gate.Reader)
			late := inside(t, g, straggler)
			failed := outage(t, g, "acme")
			late.leave(gate.Failed, 0)
			failed = append(failed, straggler.Connection)
			time.Sleep(15 * time.Second)
			again := of("acme", gate.Reader)
			again.Connection = failed[1]
			call(t, g, again, outcome, 0)
			requireStands(t, g, gate.Well, 0)
			manyAtOnce(t, g)
			slices.Sort(told)
			want := append([]string{failed[0]}, failed[2:]...)
			slices.Sort(want)
			require.Equal(t, want, told)

			call(t, g, again, outcome, 0)
			require.Equal(t, 1, calls, "once")
		})
	}
	bubble(t, "a success without an outage tells of nobody", func(t *testing.T) {
		g := gate.New(time.Now, func(string, []string) { require.Fail(t, "it was not down") })
		call(t, g, of("acme", gate.Reader), gate.Failed, 0)
		call(t, g, of("acme", gate.Reader), gate.Failed, 0)
		call(t, g, of("acme", gate.Reader), gate.Succeeded, 0)
	})
}

func TestExcuses(t *testing.T) {
	// over ends an outage by the probe of one that had not failed.
	over := func(t *testing.T, g *gate.Gate) (failed []string) {
		t.Helper()
		failed = outage(t, g, "acme")
		for _, name := range failed {
			require.False(t, g.Excuses("acme", name), "it is not over")
		}
		time.Sleep(15 * time.Second)
		call(t, g, of("acme", gate.Reader), gate.Succeeded, 0)
		return failed
	}
	again := func(name string) gate.Visit {
		v := of("acme", gate.Reader)
		v.Connection = name
		return v
	}
	bubble(t, "those that failed while it was down, and nobody else", func(t *testing.T) {
		g := open()
		for _, name := range over(t, g) {
			require.True(t, g.Excuses("acme", name))
			require.False(t, g.Excuses("other", name))
		}
		require.False(t, g.Excuses("acme", "somebody"))
	})
	bubble(t, "once: whatever came of the next call counts", func(t *testing.T) {
		g := open()
		failed := over(t, g)
		call(t, g, again(failed[0]), gate.NotSent, 0)
		require.True(t, g.Excuses("acme", failed[0]), "that was none")
		for i, o := range []gate.Outcome{gate.Failed, gate.Limited, gate.Answered} {
			time.Sleep(time.Minute)
			call(t, g, again(failed[i]), o, 0)
			require.False(t, g.Excuses("acme", failed[i]))
		}
	})
	bubble(t, "the probe that ended the outage needs no excuse", func(t *testing.T) {
		g := open()
		failed := outage(t, g, "acme")
		time.Sleep(15 * time.Second)
		call(t, g, again(failed[0]), gate.Succeeded, 0)
		require.False(t, g.Excuses("acme", failed[0]))
		require.True(t, g.Excuses("acme", failed[1]))
	})
	bubble(t, "of the last outage only", func(t *testing.T) {
		g := open()
		first := over(t, g)
		time.Sleep(time.Hour)
		second := over(t, g)
		require.False(t, g.Excuses("acme", first[0]))
		require.True(t, g.Excuses("acme", second[0]))
	})
	bubble(t, "failures that put nothing down have no excuse", func(t *testing.T) {
		g := open()
		v := of("acme", gate.Reader)
		call(t, g, v, gate.Failed, 0)
		call(t, g, of("acme", gate.Reader), gate.Succeeded, 0)
		require.False(t, g.Excuses("acme", v.Connection))
	})
	bubble(t, "calls from before it came back do not put it down again", func(t *testing.T) {
		g := open()
		slow := []*guest{
			inside(t, g, of("acme", gate.Reader)), inside(t, g, of("acme", gate.Reader)), inside(t, g, of("acme", gate.Reader)),
		}
		over(t, g)
		time.Sleep(time.Second)
		for _, x := range slow {
			x.leave(gate.Failed, 0)
		}
		requireStands(t, g, gate.Well, 0)
	})
}

func TestLift(t *testing.T) {
	bubble(t, "a rest is over", func(t *testing.T) {
		g := open()
		call(t, g, of("acme", gate.Reader), gate.Limited, time.Minute)
		g.Lift("other")
		requireStands(t, g, gate.Resting, time.Minute)
		g.Lift("acme")
		requireStands(t, g, gate.Well, 0)
		manyAtOnce(t, g)
	})
	bubble(t, "an outage is over, and its failures and excuses are forgotten", func(t *testing.T) {
		g := open()
		failed := outage(t, g, "acme")
		time.Sleep(15 * time.Second)
		call(t, g, of("acme", gate.Reader), gate.Succeeded, 0)
		require.True(t, g.Excuses("acme", failed[0]))
		outage(t, g, "acme")
		g.Lift("acme")
		require.False(t, g.Excuses("acme", failed[0]))
		requireStands(t, g, gate.Well, 0)
		manyAtOnce(t, g)
		call(t, g, of("acme", gate.Reader), gate.Failed, 0)
		call(t, g, of("acme", gate.Reader), gate.Failed, 0)
		requireStands(t, g, gate.Well, 0)
	})
	bubble(t, "a probe that is inside is still counted", func(t *testing.T) {
		g := open()
		outage(t, g, "acme")
		probe := inside(t, g, of("acme", gate.Person))
		g.Lift("acme")
		probe.leave(gate.NotSent, 0)
		call(t, g, of("acme", gate.Reader), gate.Limited, time.Second)
		time.Sleep(time.Second)
		oneAtATime(t, g, gate.Resting)
	})
}

func TestRoom(t *testing.T) {
	room := func(t *testing.T, g *gate.Gate, places int, left time.Duration) {
		t.Helper()
		n, until := g.Room("acme")
		require.Equal(t, places, n)
		if left == 0 {
			require.Zero(t, until)
		} else {
			require.Equal(t, left, time.Until(until))
		}
	}
	bubble(t, "all places, while it is well", func(t *testing.T) {
		g := open()
		room(t, g, gate.Places, 0)
		inside(t, g, of("acme", gate.Background))
		room(t, g, gate.Places, 0)
	})
	bubble(t, "none while it rests, then one, then none while that probes, then all", func(t *testing.T) {
		g := open()
		call(t, g, of("acme", gate.Background), gate.Limited, 30*time.Second)
		room(t, g, 0, 30*time.Second)
		time.Sleep(30 * time.Second)
		room(t, g, 1, 0)
		probe := inside(t, g, of("acme", gate.Background))
		room(t, g, 0, 0)
		probe.leave(gate.Succeeded, 0)
		room(t, g, gate.Places, 0)
	})
	bubble(t, "none while it is down, then one, then none while that probes, then all", func(t *testing.T) {
		g := open()
		outage(t, g, "acme")
		room(t, g, 0, 15*time.Second)
		inside(t, g, of("acme", gate.Person)).leave(gate.NotSent, 0)
		room(t, g, 0, 15*time.Second)
		time.Sleep(15 * time.Second)
		room(t, g, 1, 0)
		probe := inside(t, g, of("acme", gate.Background))
		room(t, g, 0, 0)
		probe.leave(gate.Succeeded, 0)
		room(t, g, gate.Places, 0)
	})
}

func TestRefuses(t *testing.T) {
	bubble(t, "it says what Enter would, and takes nothing", func(t *testing.T) {
		g := open()
		require.NoError(t, g.Refuses(of("acme", gate.Reader)))
		limited := of("acme", gate.Reader)
		call(t, g, limited, gate.Limited, 30*time.Second)
		until := time.Now().Add(30 * time.Second)
		require.Equal(t, &gate.Refused{Key: "acme", State: gate.Resting, Until: until}, g.Refuses(of("acme", gate.Person)))
		require.ErrorContains(t, g.Refuses(limited), "acme")
		time.Sleep(30 * time.Second)
		require.NoError(t, g.Refuses(of("acme", gate.Reader)))
		require.NoError(t, g.Refuses(of("acme", gate.Reader)))
		require.Error(t, g.Refuses(limited))
		inside(t, g, of("acme", gate.Reader))
		require.Equal(t, &gate.Refused{Key: "acme", State: gate.Resting, Until: time.Now().Add(15 * time.Second)},
			g.Refuses(of("acme", gate.Reader)))
	})
}
