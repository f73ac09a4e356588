package gate

import "time"

const (
	// accountsDown is how many accounts must fail one after the other before a provider counts as down. One that fails
	// alone has its own backoff, and may be the one at fault.
	accountsDown = 3

	firstProbe = 15 * time.Second
	maxProbe   = 5 * time.Minute

	// maxRest bounds how long one answer makes a provider rest for all: what was said to one account may not hold for
	// another. The connection that it was said to waits to the end.
	maxRest = 5 * time.Minute

	// othersFirst is how long after a rest a probe must come from another account than the one that was limited.
	othersFirst = 10 * time.Second
)

// State is how a key stands.
type State string

// The states.
const (
	Well    State = ""
	Resting State = "limited" // it asked to be left alone
	Down    State = "open"    // it fails for several accounts
	Busy    State = "busy"    // too many wait for it; only in [Refused]
)

// health is what a key's answers say of it.
type health struct {
	// While it rests nobody enters. After that one probe is inside at a time until one succeeds.
	restUntil time.Time // zero: it does not rest
	restFrom  time.Time // a success of somebody who entered before does not end it
	restedBy  string    // the account that it was said to

	// While it is down nobody but people enters until the next probe is due; then one at a time.
	downUntil time.Time         // zero: it is not down
	probes    int               // that failed since it went down
	failing   map[string]string // account by connection: those that failed since the last success

	probing int // probes inside; more than one when people come

	wellSince time.Time       // when it came back; who failed having entered before says nothing new
	excused   map[string]bool // connections that failed while it was down, and were not tried since
}

// refuses says why a visitor may not enter at now, or nil.
func (h *health) refuses(v Visit, now time.Time) *Refused {
	refuse := func(s State, until time.Time) *Refused { return &Refused{Key: v.Key, State: s, Until: until} }
	if !h.restUntil.IsZero() {
		until := h.restUntil
		if v.Account == h.restedBy && v.Class != Person {
			until = until.Add(othersFirst)
		}
		switch {
		case now.Before(until):
			return refuse(Resting, until)
		case h.probing > 0:
			return refuse(Resting, now.Add(firstProbe))
		}
	}
	if !h.downUntil.IsZero() && v.Class != Person {
		switch {
		case now.Before(h.downUntil):
			return refuse(Down, h.downUntil)
		case h.probing > 0:
			return refuse(Down, now.Add(firstProbe))
		}
	}
	return nil
}

// halfOpen reports whether the next call would be a probe.
func (h *health) halfOpen() bool { return !h.restUntil.IsZero() || !h.downUntil.IsZero() }

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
		h.fail(v, entered, now)
	case Succeeded, Answered:
		recovered = h.succeed(v, entered, now)
	}
	return recovered
}

func (h *health) rest(account string, d time.Duration, now time.Time) {
	until := now.Add(d)
	if until.After(h.restUntil) {
		h.restFrom, h.restUntil, h.restedBy = now, until, account
	}
}

func (h *health) fail(v Visit, entered, now time.Time) {
	if !h.restUntil.IsZero() && !now.Before(h.restUntil) { // a probe after the rest failed: the next one waits
		h.restUntil = now.Add(firstProbe)
	}
	if h.downUntil.IsZero() && (!v.Worked || entered.Before(h.wellSince)) {
		return // it may never have been right, or belongs to an outage that is over
	}
	if h.failing == nil {
		h.failing = map[string]string{}
	}
	h.failing[v.Connection] = v.Account
	switch {
	case h.downUntil.IsZero() && h.accounts() < accountsDown:
	case h.downUntil.IsZero(), !entered.Before(h.downUntil): // whoever entered before the last probe was due is none
		h.downUntil = now.Add(min(firstProbe<<min(h.probes, 8), maxProbe))
		h.probes++
	}
}

// accounts is how many accounts fail.
func (h *health) accounts() int {
	seen := map[string]bool{}
	for _, account := range h.failing {
		seen[account] = true
	}
	return len(seen)
}

func (h *health) succeed(v Visit, entered, now time.Time) (recovered []string) {
	if !h.restUntil.IsZero() && !entered.Before(h.restFrom) && !now.Before(h.restUntil) {
		h.restUntil = time.Time{}
	}
	if !h.downUntil.IsZero() {
		h.wellSince, h.excused = now, map[string]bool{}
		for connection := range h.failing {
			if connection != v.Connection {
				h.excused[connection] = true
				recovered = append(recovered, connection)
			}
		}
	}
	h.downUntil, h.probes, h.failing = time.Time{}, 0, nil
	return recovered
}

// room is how many calls of the background may be under way, and when to look again.
func (h *health) room(now time.Time) (places int, until time.Time) {
	switch {
	case !h.halfOpen():
		return Places, time.Time{}
	case now.Before(h.restUntil):
		return 0, h.restUntil
	case now.Before(h.downUntil):
		return 0, h.downUntil
	case h.probing > 0:
		return 0, time.Time{}
	}
	return 1, time.Time{}
}

func (h *health) state(now time.Time) (State, time.Time) {
	switch {
	case now.Before(h.restUntil):
		return Resting, h.restUntil
	case !h.downUntil.IsZero():
		return Down, h.downUntil
	case !h.restUntil.IsZero():
		return Resting, h.restUntil
	}
	return Well, time.Time{}
}
