package gate_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
)

// appRefused has a key refuse the app for two accounts, and gives their visits.
func appRefused(t *testing.T, g *gate.Gate) (first, second gate.Visit) {
	t.Helper()
	first, second = of("acme", gate.Reader), of("acme", gate.Reader)
	call(t, g, first, gate.AppRefused, 0)
	requireStands(t, g, gate.Well, 0)
	call(t, g, second, gate.AppRefused, 0)
	requireStands(t, g, gate.Refusing, time.Minute)
	return first, second
}

func TestRefusedApp(t *testing.T) {
	bubble(t, "one account that hears it says nothing of the others", func(t *testing.T) {
		g := open()
		one, other := of("acme", gate.Reader), of("acme", gate.Reader)
		other.Account = one.Account
		for range 5 {
			call(t, g, one, gate.AppRefused, 0)
			call(t, g, other, gate.AppRefused, 0)
		}
		requireStands(t, g, gate.Well, 0)
	})
	bubble(t, "nor do those that never worked", func(t *testing.T) {
		g := open()
		for range 5 {
			v := of("acme", gate.Reader)
			v.Worked = false
			call(t, g, v, gate.AppRefused, 0)
		}
		requireStands(t, g, gate.Well, 0)
	})
	for name, between := range map[string]gate.Outcome{"success": gate.Succeeded, "refused grant": gate.Answered} {
		bubble(t, "nor do two with a "+name+" between", func(t *testing.T) {
			g := open()
			for range 5 {
				call(t, g, of("acme", gate.Reader), gate.AppRefused, 0)
				call(t, g, of("acme", gate.Reader), between, 0)
			}
			requireStands(t, g, gate.Well, 0)
		})
	}
	bubble(t, "two keep the others out; one at a time probes after a minute, later every ten", func(t *testing.T) {
		g := open()
		appRefused(t, g)
		for n := range 40 {
			wait := 10 * time.Minute
			if first := seconds(60, 120, 240, 480); n < len(first) {
				wait = first[n]
			}
			requireStands(t, g, gate.Refusing, wait)
			due := time.Now().Add(wait)
			time.Sleep(wait - 1)
			for _, class := range []gate.Class{gate.Reader, gate.Background} {
				refused(t, g, of("acme", class), gate.Refusing, due)
			}
			time.Sleep(time.Nanosecond)
			probe := inside(t, g, of("acme", gate.Reader))
			refused(t, g, of("acme", gate.Reader), gate.Refusing, time.Now().Add(time.Minute))
			probe.leave(gate.AppRefused, 0)
		}
	})
	bubble(t, "the accounts take turns with the probes", func(t *testing.T) {
		g := open()
		first, second := appRefused(t, g)
		time.Sleep(time.Minute + 10*time.Second)
		call(t, g, first, gate.AppRefused, 0)
		due := time.Now().Add(2 * time.Minute)
		time.Sleep(2*time.Minute + 10*time.Second)
		refused(t, g, first, gate.Refusing, due.Add(20*time.Second))
		call(t, g, second, gate.AppRefused, 0)
		time.Sleep(4*time.Minute + 20*time.Second)
		call(t, g, second, gate.AppRefused, 0) // there may be no other
	})
	bubble(t, "those that have not heard it probe first: it may be the others' fault", func(t *testing.T) {
		g := open()
		first, second := appRefused(t, g)
		due := time.Now().Add(time.Minute)
		time.Sleep(time.Minute)
		for _, v := range []gate.Visit{first, second} {
			refused(t, g, v, gate.Refusing, due.Add(10*time.Second))
		}
		call(t, g, of("acme", gate.Background), gate.Succeeded, 0)
		requireStands(t, g, gate.Well, 0)
	})
	bubble(t, "who hears it while others do not says nothing of them", func(t *testing.T) {
		g := open()
		for range 5 {
			call(t, g, of("acme", gate.Reader), gate.Doubtful, 0)
		}
		requireStands(t, g, gate.Well, 0)
		first, _ := appRefused(t, g)
		time.Sleep(time.Minute)
		call(t, g, of("acme", gate.Reader), gate.Doubtful, 0)
		call(t, g, of("acme", gate.Reader), gate.Succeeded, 0) // at once, and not after the next two minutes
		require.True(t, g.Excuses("acme", first.Connection))
		call(t, g, first, gate.Doubtful, 0)
		require.False(t, g.Excuses("acme", first.Connection), "once")
	})
	bubble(t, "a person may be the probe, and a success lifts it for all", func(t *testing.T) {
		var recovered []string
		g := gate.New(time.Now, func(_ string, names []string) { recovered = names })
		first, second := appRefused(t, g)
		person := of("acme", gate.Person)
		call(t, g, person, gate.Succeeded, 0)
		requireStands(t, g, gate.Well, 0)
		require.ElementsMatch(t, []string{first.Connection, second.Connection}, recovered)
		require.True(t, g.Excuses("acme", first.Connection))
		manyAtOnce(t, g)
	})
	bubble(t, "a person who hears it too changes nothing before the probe is due", func(t *testing.T) {
		g := open()
		appRefused(t, g)
		for range 3 {
			call(t, g, of("acme", gate.Person), gate.AppRefused, 0)
		}
		requireStands(t, g, gate.Refusing, time.Minute)
	})
	bubble(t, "when an operator has corrected something one goes first", func(t *testing.T) {
		g := open()
		appRefused(t, g)
		g.Lift("acme")
		probe := inside(t, g, of("acme", gate.Background))
		refused(t, g, of("acme", gate.Reader), gate.Refusing, time.Now().Add(time.Minute))
		probe.leave(gate.AppRefused, 0)
		requireStands(t, g, gate.Refusing, time.Minute)
		g.Lift("acme")
		call(t, g, of("acme", gate.Background), gate.Succeeded, 0)
		requireStands(t, g, gate.Well, 0)
		manyAtOnce(t, g)
	})
	bubble(t, "a provider that is down and refuses the app is up", func(t *testing.T) {
		g := open()
		outage(t, g, "acme")
		time.Sleep(15 * time.Second)
		call(t, g, of("acme", gate.Reader), gate.AppRefused, 0)
		requireStands(t, g, gate.Well, 0)
		call(t, g, of("acme", gate.Reader), gate.AppRefused, 0)
		requireStands(t, g, gate.Refusing, time.Minute)
	})
	bubble(t, "what was sent before it was well says nothing new", func(t *testing.T) {
		g := open()
		slow := []*guest{inside(t, g, of("acme", gate.Person)), inside(t, g, of("acme", gate.Person))}
		time.Sleep(time.Second)
		appRefused(t, g)
		call(t, g, of("acme", gate.Person), gate.Succeeded, 0)
		for _, x := range slow {
			x.leave(gate.AppRefused, 0)
		}
		requireStands(t, g, gate.Well, 0)
	})
}
