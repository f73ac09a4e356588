package refresh_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// What services refuse, and what may come of it.

// appRefusal is how a service refuses the app.
func appRefusal() *providers.Error {
	return &providers.Error{
		Class: providers.Misconfigured, Step: providers.StepRefresh, Status: http.StatusUnauthorized,
		Code: "invalid_client", Reason: providers.ReasonRefused, SaysNo: true,
	}
}

// grantRefusal is how a service refuses a grant, if it says so.
func grantRefusal() *providers.Error {
	return &providers.Error{
		Class: providers.Rejected, Step: providers.StepRefresh, Status: http.StatusBadRequest,
		Code: "invalid_grant", Reason: providers.ReasonRefused,
	}
}

// refusal is how this service refuses a dead grant.
func (s *service) refusal() *providers.Error {
	if s.vague != nil {
		return s.vague
	}
	return grantRefusal()
}

// refusesApp draws whether the service refuses the app now. w.mu is held.
func (w *world) refusesApp(s *service) bool {
	return s.refused || time.Now().Before(s.refusing) && w.chance(s.share)
}

// verdict is that a grant was refused, whether it was dead or not.
type verdict struct {
	at   time.Time // by the clock of the process
	lost bool      // an answer had been lost before
}

// success is one renewal that a process heard of.
type success struct {
	account  string
	at, real time.Time // by the clock of the process, and without its faults
}

// resting is how long a connection is left alone after its app was refused.
type resting struct {
	at         time.Time
	generation uint64
	refusals   int
	demands    int // until then
	answers    int
}

// outage is what a process knows of a service that refuses the app.
type outage struct {
	since    time.Time       // nothing else was heard of it since then
	accounts map[string]bool // that heard it, and had worked before
	closed   time.Time       // two had; from then on one at a time tries
	probes   int
	people   int // refreshes that people asked for until it closed
}

func (w *world) accountOf(k store.Key) string {
	if id := w.accounts[k]; id != "" {
		return id
	}
	return k.String()
}

// slack is how long a call may take from the gate to the service.
func (w *world) slack() time.Duration {
	if w.troubled || w.faults.trouble > 0 {
		return 2 * time.Minute
	}
	return time.Second
}

// leaves checks that a call may be made, with what was refused before. w.mu is held.
func (l line) leaves(s *service, c *store.Connection, tok *token) {
	k := tok.consent.key
	if c.Refused.Reason != "" {
		l.tried[k]++
		if l.tried[k] > l.hands[k] {
			l.complain("%s spends %s, which is %s, and no person asked for that", l.p, tok.value, c.Refused.Reason)
		}
	}
	delete(l.cut, k)
	was, ok := l.p.resting[k]
	if !ok || l.steps || l.p.deposed || l.asking[k] > 0 || was.generation != c.Generation || was.demands != l.demands[k] ||
		was.answers != l.p.answers[s.name] || l.onDisk[k].denied {
		return
	}
	least := min(time.Minute<<min(was.refusals-1, 9), 400*time.Second)
	if passed := time.Since(was.at); passed < least {
		l.complain("%s spends %s %s after its app was refused, for the %dth time", l.p, tok.value, passed, was.refusals)
	}
}

// heard notes what an answer says of the grant and of the app, and checks that the app was not tried too often. w.mu
// is held.
func (l line) heard(s *service, c *store.Connection, tok *token, sent time.Time, err error) {
	k, now := tok.consent.key, time.Now().Add(l.skew)
	var failure *providers.Error
	if errors.As(err, &failure) && failure.SaysNo {
		tok.denials[c.Generation] = append(tok.denials[c.Generation], now)
	}
	switch {
	case err == nil:
		l.p.renewals[s.name] = append(l.p.renewals[s.name], success{l.accountOf(k), now, time.Now()})
	case failure.Class == providers.Rejected, failure.SaysNo && l.evidence(s, k, tok, c.Generation, now):
		tok.verdicts[c.Generation] = verdict{now, tok.lost && !tok.blurred}
	case failure.Class == providers.Misconfigured:
		l.appRefused(s, c, tok, sent)
		return
	case failure.Class == providers.Transient && failure.Status == http.StatusBadRequest:
	default:
		return
	}
	delete(l.p.resting, k)
	l.answered(s)
}

// answered notes an answer that shows the app to be taken. w.mu is held.
func (l line) answered(s *service) {
	s.answers++
	l.p.answers[s.name]++
	l.p.outages[s.name] = &outage{since: time.Now(), accounts: map[string]bool{}}
}

// evidence reports whether a process may take a grant for dead that its service refuses in the words for a bad app or
// in words of its own: it did so twice, an hour apart, and another account's was renewed between. w.mu is held.
func (l line) evidence(s *service, k store.Key, tok *token, generation uint64, now time.Time) bool {
	for _, first := range tok.denials[generation] {
		if !l.steps && now.Sub(first) < time.Hour {
			break
		}
		if l.othersRenewed(s, k, first) {
			return true
		}
	}
	return false
}

// othersRenewed reports whether a process saw another account's grant renewed after that. w.mu is held.
func (l line) othersRenewed(s *service, k store.Key, after time.Time) bool {
	return slices.ContainsFunc(l.p.renewals[s.name], func(r success) bool {
		return r.account != l.accountOf(k) && (l.steps || r.at.After(after))
	})
}

// appRefused checks that an app which is refused is tried by one at a time once two accounts have heard it, after a
// minute first, and each ten in the end. w.mu is held.
func (l line) appRefused(s *service, c *store.Connection, tok *token, sent time.Time) {
	k := tok.consent.key
	was := l.p.resting[k]
	if was.generation != c.Generation {
		was = resting{}
	}
	l.p.resting[k] = resting{time.Now(), c.Generation, was.refusals + 1, l.demands[k], l.p.answers[s.name]}
	if sent.Before(s.written.Add(l.slack())) { // it may be from before
		delete(l.p.resting, k)
	}
	if first := tok.denials[c.Generation][0]; l.othersRenewed(s, k, first) {
		return // it says nothing of others
	}

	o := l.p.outages[s.name]
	switch {
	case o == nil:
		l.p.outages[s.name] = &outage{since: time.Now(), accounts: map[string]bool{}}
	case o.closed.IsZero() && c.Worked() && sent.After(o.since.Add(l.slack())):
		if o.accounts[l.accountOf(k)] = true; len(o.accounts) == 2 {
			o.closed, o.people = time.Now(), s.people
		}
	case o.closed.IsZero() || sent.Before(o.closed.Add(l.slack())):
	default:
		o.probes++
		due, wait := 0, time.Minute
		for passed := time.Since(o.closed); passed >= wait; due++ {
			passed -= wait
			wait = min(2*wait, 10*time.Minute)
		}
		if most := due + 2*(s.people-o.people); !l.steps && o.probes > most {
			l.complain("%s asked %s %d times in %s, which refused the app to two accounts, and %d are justified", l.p,
				s.name, o.probes, time.Since(o.closed), most)
		}
	}
}

// lifted notes a write of the provider: one may try at once. w.mu is held.
func (w *world) lifted(p *process, s *service) {
	s.serial++
	s.written = time.Now()
	clear(p.resting)
	if o := p.outages[s.name]; o != nil && !o.closed.IsZero() {
		o.closed, o.probes, o.people = time.Now(), -1, s.people
	}
}

// cutRetries notes which grants were being tried by hand as their process ended. w.mu is held.
func (w *world) cutRetries(p *process) {
	for c := range w.calls {
		if c.by == p && c.byHand && c.token.consent.service.rotates {
			w.cut[c.token.consent.key] = c
		}
	}
}

// allowRetries lets whoever finds an intent try what it is for. w.mu is held.
func (w *world) allowRetries() {
	for _, k := range w.keys {
		if e, err := w.disk.Get(context.Background(), "wal/"+intentName(k)); err == nil && e != nil {
			w.hands[k] += 2
		}
	}
}

// someRefused is a connection whose grant is refused, if there is one.
func (w *world) someRefused(p *process) (found store.Key, ok bool) {
	for _, k := range w.keys {
		if c, err := p.Load(context.Background(), k); err == nil && c != nil && c.Refused.Reason != "" {
			if found = k; w.draw2() {
				return k, true
			}
		}
	}
	return found, found != store.Key{}
}

func (w *world) draw2() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.chance(0.5)
}

// retry is a person who has a refused grant tried once more, and perhaps a crash as it is out.
func (w *world) retry(p *process) {
	k, ok := w.someRefused(p)
	if !ok {
		return
	}
	w.callers.Go(func() { w.refresh(p, k) })
	w.mu.Lock()
	crash, after := w.chance(0.4), w.upTo(500*time.Millisecond)
	w.mu.Unlock()
	if crash {
		time.Sleep(after)
		w.kill(p)
	}
}

// takenUp checks that a try which a crash cut off was made again.
func (w *world) takenUp(p *process, k store.Key) {
	c, err := p.Load(context.Background(), k)
	w.mu.Lock()
	defer w.mu.Unlock()
	was := w.cut[k]
	if err != nil || c == nil || was == nil || w.steps || was.token.blurred || was.generation != c.Generation ||
		statusOf(c) != store.StatusNeedsReconnect || !reasonOf(c).MayBeTried() || overBy(c, time.Now()) {
		return // nobody spends a grant whose consent is over, be it that it ended while refreshing was paused
	}
	if w.tokens[c.Grant.RefreshToken.Reveal()] == was.token {
		w.complain("%s: a crash cut off that a person had %s tried, and nobody took it up", k.Name, was.token.value)
	}
}

// overBy reports whether the consent is over by the date that the connection has.
func overBy(c *store.Connection, now time.Time) bool {
	limit := c.Grant.HardLimit
	return !limit.IsZero() && !now.Before(limit)
}

// tryRefused has each grant that is refused, and may be tried, tried once more.
func (w *world) tryRefused(p *process, k store.Key) {
	c, err := p.Load(context.Background(), k)
	w.expect(err == nil, "%s: %v", k.Name, err)
	if c == nil || statusOf(c) != store.StatusNeedsReconnect || !reasonOf(c).MayBeTried() {
		return
	}
	w.byHand(k)
	a, err := p.Refresh(context.Background(), k, anybody)
	w.mu.Lock()
	defer w.mu.Unlock()
	tok := w.tokens[c.Grant.RefreshToken.Reveal()]
	w.note("%s: a person has %s tried: %v", k.Name, tok.value, err)
	var limited *refresh.Error
	if errors.As(err, &limited) && limited.Class == providers.RateLimited && limited.Next.After(time.Now()) {
		return // that stands to the second, whoever asks
	}
	if w.steps && overBy(c, time.Now()) {
		return // by its clock of then, the end is not when it is
	}
	if good := !tok.refuses(); good && (err != nil || statusOf(a.Connection) != store.StatusActive) {
		w.complain("%s: its grant is good, and a person does not get it back: %v", k.Name, err)
	}
}

// byHand notes that a person demands a refresh: one call, and another where its answer is lost.
func (w *world) byHand(k store.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.demands[k]++
	w.hands[k] += 2
	w.services[k.Owner.Org].people++
}

// provable reports whether a process must have told a dead grant by now: another account's was renewed when it had
// been refused once, with time enough for the second refusal. w.mu is held.
func (w *world) provable(p *process, k store.Key) bool {
	for _, r := range p.renewals[k.Owner.Org] {
		if at := r.real.Sub(w.healed); r.account != w.accountOf(k) && at > 75*time.Minute && at < 195*time.Minute {
			return true
		}
	}
	return false
}
