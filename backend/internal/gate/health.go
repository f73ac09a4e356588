package gate

import "time"

const (
	// accountsDown is how many accounts must fail one after the other before a provider counts as down. One that fails
	// alone has its own backoff, and may be the one at fault.
	accountsDown = 3

	firstProbe = 15 * time.Second
	maxProbe   = 5 * time.Minute

	// accountsRefused is how many accounts must see the app refused, and nobody a success between, before that counts
	// as the app's state.
	accountsRefused = 2

	firstAppProbe = time.Minute
	maxAppProbe   = 10 * time.Minute

	// maxRest bounds how long one answer makes a provider rest for all: what was said to one account may not hold for
	// another. The connection that it was said to waits to the end.
	maxRest = 5 * time.Minute

	// othersFirst is how much longer the account waits that was limited, or whose probe failed: another one is to try.
	othersFirst = 10 * time.Second
)

// State is how a key stands.
type State string

// The states.
const (
	Well     State = ""
	Resting  State = "limited" // it asked to be left alone
	Down     State = "open"    // it fails for several accounts
	Refusing State = "refused" // it refuses the app itself, for several accounts
	Busy     State = "busy"    // too many wait for it; only in [Refused]
)

// health is what a key's answers say of it.
type health struct {
	// While it rests nobody enters. After that one probe is inside at a time until one succeeds.
	restUntil time.Time // zero: it does not rest
	restFrom  time.Time // a success of somebody who entered before does not end it
	restedBy  string    // the account that it was said to

	down    outage
	refused outage

	probing int // probes inside; more than one when people come

	excused map[string]bool // connections that failed in the last outage, which is over, and were not tried since
}

// outage is how a key fails for several accounts. While it lasts nobody but people enters until the next probe is due;
// then one at a time, and the accounts take turns.
type outage struct {
	until    time.Time         // when the next probe is due; zero: there is none
	probes   int               // that failed
	probedBy string            // the account of the last of them
	failing  map[string]string // account by connection: those that failed since the last success
	over     time.Time         // when the last one ended; who failed having entered before says nothing new
}

// refuses says why a visitor may not enter at now, or nil.
func (h *health) refuses(v Visit, now time.Time) *Refused {
	if until := h.restUntil; !until.IsZero() {
		if v.Account == h.restedBy && v.Class != Person {
			until = until.Add(othersFirst)
		}
		if next := h.next(until, firstProbe, now); !next.IsZero() {
			return &Refused{Key: v.Key, State: Resting, Until: next}
		}
	}
	if v.Class == Person {
		return nil
	}
	if next := h.next(h.down.turnOf(v), firstProbe, now); !next.IsZero() {
		return &Refused{Key: v.Key, State: Down, Until: next}
	}
	if next := h.next(h.refused.othersFirst(v), firstAppProbe, now); !next.IsZero() {
		return &Refused{Key: v.Key, State: Refusing, Until: next}
	}
	return nil
}

// turnOf is when a visitor may be the probe; zero: there is no outage.
func (o *outage) turnOf(v Visit) time.Time {
	if !o.until.IsZero() && o.probes > 1 && v.Account == o.probedBy {
		return o.until.Add(othersFirst)
	}
	return o.until
}

// othersFirst is turnOf where one that failed may be the only one at fault: those that did not go first.
func (o *outage) othersFirst(v Visit) time.Time {
	turn := o.turnOf(v)
	if _, failed := o.failing[v.Connection]; failed && !turn.IsZero() {
		return turn.Add(othersFirst)
	}
	return turn
}

// next is when to come again, if not now: before until, or while another probes. Zero: now.
func (h *health) next(until time.Time, probe time.Duration, now time.Time) time.Time {
	switch {
	case until.IsZero():
	case now.Before(until):
		return until
	case h.probing > 0:
		return now.Add(probe)
	}
	return time.Time{}
}

// halfOpen reports whether the next call would be a probe.
func (h *health) halfOpen() bool {
	return !h.restUntil.IsZero() || !h.down.until.IsZero() || !h.refused.until.IsZero()
}

// learn takes the outcome of a call. It gives the connections that failed in an outage that this ended.
func (h *health) learn(v Visit, entered time.Time, o Outcome, retryAfter time.Duration,
	now time.Time,
) (recovered []string) {
	if o != NotSent {
		delete(h.excused, v.Connection)
	}
	switch o {
	case Limited:
		h.rest(v.Account, min(max(retryAfter, time.Second), maxRest), now)
	case Failed:
		if !h.restUntil.IsZero() && !now.Before(h.restUntil) { // a probe after the rest failed: the next one waits
			h.restUntil = now.Add(firstProbe)
		}
		h.fail(&h.down, v, entered, now, accountsDown, firstProbe, maxProbe)
	case AppRefused, Doubtful: // it answers, so it is neither down nor at rest
		h.endRest(entered, now)
		recovered = h.end(now, v, &h.down)
		if o == Doubtful {
			break
		}
		h.fail(&h.refused, v, entered, now, accountsRefused, firstAppProbe, maxAppProbe)
	case Succeeded, Answered:
		h.endRest(entered, now)
		recovered = h.end(now, v, &h.down, &h.refused)
	}
	return recovered
}

func (h *health) rest(account string, d time.Duration, now time.Time) {
	until := now.Add(d)
	if until.After(h.restUntil) {
		h.restFrom, h.restUntil, h.restedBy = now, until, account
	}
}

func (h *health) endRest(entered, now time.Time) {
	if !h.restUntil.IsZero() && !entered.Before(h.restFrom) && !now.Before(h.restUntil) {
		h.restUntil = time.Time{}
	}
}

func (h *health) fail(o *outage, v Visit, entered, now time.Time, accounts int, first, most time.Duration) {
	if o.until.IsZero() && (!v.Worked || entered.Before(o.over)) {
		return // it may never have been right, or belongs to an outage that is over
	}
	if o.failing == nil {
		o.failing = map[string]string{}
	}
	o.failing[v.Connection] = v.Account
	switch {
	case o.until.IsZero() && o.accounts() < accounts:
	case o.until.IsZero(), !entered.Before(o.until): // whoever entered before the last probe was due is none
		o.until = now.Add(min(first<<min(o.probes, 8), most))
		o.probedBy = v.Account
		o.probes++
	}
}

// accounts is how many accounts fail.
func (o *outage) accounts() int {
	seen := map[string]bool{}
	for _, account := range o.failing {
		seen[account] = true
	}
	return len(seen)
}

// end is told that v did not meet what makes these outages.
func (h *health) end(now time.Time, v Visit, outages ...*outage) (recovered []string) {
	excused := map[string]bool{}
	for _, o := range outages {
		if o.until.IsZero() {
			*o = outage{over: o.over}
			continue
		}
		for connection := range o.failing {
			if connection != v.Connection {
				excused[connection] = true
				recovered = append(recovered, connection)
			}
		}
		*o, h.excused = outage{over: now}, excused
	}
	return recovered
}

// lift forgets what speaks against calls, since something was corrected. Whether the app is taken now, one probe shows.
func (h *health) lift(now time.Time) {
	refused := h.refused
	if !refused.until.IsZero() {
		refused.until, refused.probes = now, 0
	}
	*h = health{probing: h.probing, refused: refused}
}

// room is how many calls of the background may be under way, and when to look again.
func (h *health) room(now time.Time) (places int, until time.Time) {
	until = h.restUntil
	for _, o := range []*outage{&h.down, &h.refused} {
		if o.until.After(until) {
			until = o.until
		}
	}
	switch {
	case !h.halfOpen():
		return Places, time.Time{}
	case now.Before(until):
		return 0, until
	case h.probing > 0:
		return 0, time.Time{}
	}
	return 1, time.Time{}
}

func (h *health) state(now time.Time) (State, time.Time) {
	switch {
	case now.Before(h.restUntil):
		return Resting, h.restUntil
	case !h.down.until.IsZero():
		return Down, h.down.until
	case !h.refused.until.IsZero():
		return Refusing, h.refused.until
	case !h.restUntil.IsZero():
		return Resting, h.restUntil
	}
	return Well, time.Time{}
}
