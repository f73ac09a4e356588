package refresh_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// world is everything around the coordinators of one run: the disk, the services and the people. It knows what is
// true, and complains when a coordinator does or stores what is not.
type world struct {
	t     *testing.T
	seed  uint64
	start time.Time
	keys  []store.Key
	disk  logical.InmemStorage

	mu       sync.Mutex
	rng      *rand.Rand
	log      []string
	broken   bool // the first complaint is the one to read
	steps    bool // this run moves the clock
	skew     time.Duration
	paused   bool
	services map[string]*service
	consents int
	tokens   map[string]*token   // by refresh token
	access   map[string]*access  // by access token
	calls    map[*call]bool      // at a service now
	onDisk   map[store.Key]state // what storage holds
	faults   faults
	starts   int
	asked    map[store.Key]int // calls to its service
	hasty    map[store.Key]int // calls that follow a failure within a second
	demands  map[store.Key]int // what may justify one, beside the time that passes
	asking   map[store.Key]int // people who wait for a refresh that they asked for

	accounts map[store.Key]string // whose a connection is, where services tell
	hands    map[store.Key]int    // calls that people, and crashes, justify for a grant that is refused
	tried    map[store.Key]int    // those that were made
	cut      map[store.Key]*call  // those that a crash cut off, and nobody made again
	healed   time.Time            // when the trouble was over

	wants    map[store.Key]*want
	troubled bool // something failed by design

	processes []*process
	active    *process
	callers   sync.WaitGroup
	late      sync.WaitGroup // writes that storage makes late
	leaving   sync.WaitGroup
}

// faults of storage. All of them end when the trouble does.
type faults struct {
	trouble           float64   // how likely a call to a service fails, and a write to storage
	noWrites, nothing time.Time // storage refuses until then
	noConnections     time.Time // it refuses those until then, and takes intents
}

// service is a provider as the world has it: more than a coordinator can know.
type service struct {
	name    string
	rotates bool
	window  time.Duration // how long a spent refresh token is still taken
	strict  bool          // a spent token that comes back later revokes the grant
	omits   bool          // answers carry no refresh token
	life    time.Duration
	idle    time.Duration // a grant that is not used for so long dies
	hard    time.Duration // a consent ends after so long, whatever is refreshed

	serial    uint64
	elsewhere bool // the operator pointed it to another origin
	refused   bool // the app's secret is wrong
	down      time.Time
	limited   time.Time
	refusing  time.Time // it refuses the app by itself until then
	share     float64   // of the calls, while it does
	written   time.Time // the operator changed something
	slanders  time.Time // it refuses grants until then that are good
	successes int
	answers   int // that show the app to be taken
	people    int // refreshes that people asked for

	vague *providers.Error // how it refuses a dead grant, if not with invalid_grant
}

// consent is one grant as the service sees it.
type consent struct {
	id      int
	key     store.Key
	service *service
	issued  int // refresh tokens
	revoked bool
	used    time.Time
	until   time.Time // zero: for ever
}

// over reports whether the consent has ended by itself.
func (c *consent) over() bool {
	return !c.until.IsZero() && !time.Now().Before(c.until) || c.service.idle > 0 && time.Since(c.used) >= c.service.idle
}

// mark orders grants: a later consent is newer, and so is a later token of one.
type mark struct{ consent, token int }

func (m mark) before(o mark) bool {
	return m.consent < o.consent || m.consent == o.consent && m.token < o.token
}

type token struct {
	value   string
	mark    mark
	consent *consent
	spent   time.Time
	lost    bool // an answer to it was lost for good
	doubt   bool // an engine that sees no more than it can must fear so
	blurred bool // storage mixed up its intents

	// by the generation that it was refused as
	denials  map[uint64][]time.Time // in words that may concern the app, by the clock of the process
	verdicts map[uint64]verdict
}

type access struct {
	mark  mark
	until time.Time
	of    *consent
}

type call struct {
	by     *process
	token  *token
	byHand bool // the grant had been refused

	generation uint64
}

// state is what storage holds of a connection.
type state struct {
	serial, generation uint64
	mark               mark
	token              *token
	denied             bool // storage took it and said that it did not

	// Of a write that was made late: should its process end before it puts that right, people find it.
	lateBy   *process
	late     time.Time
	label    string
	disabled bool
}

func (w *world) note(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf("%12s ", time.Since(w.start).Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

// complain records a broken promise with what led to it. w.mu is held.
func (w *world) complain(format string, args ...any) {
	w.note("BROKEN: "+format, args...)
	if !w.broken {
		w.broken = true
		w.t.Errorf("seed %d: "+format+"\n%s", append(append([]any{w.seed}, args...),
			strings.Join(w.log[max(0, len(w.log)-300):], "\n"))...)
	}
}

func (w *world) expect(holds bool, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !holds {
		w.complain(format, args...)
	}
}

func (w *world) chance(p float64) bool { return w.rng.Float64() < p }

func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d)) + 1) }

// refuses reports whether the service would refuse the token now. What it refuses once it refuses for ever.
func (tok *token) refuses() bool {
	s := tok.consent.service
	return tok.consent.revoked || tok.consent.over() || s.rotates && !tok.spent.IsZero() &&
		time.Since(tok.spent) >= s.window
}

// consentTo is what a person does in a browser: a grant that the service will take. w.mu is held.
func (w *world) consentTo(s *service, k store.Key) *providers.Grant {
	w.consents++
	c := &consent{id: w.consents, key: k, service: s}
	if s.hard > 0 {
		c.until = time.Now().Add(s.hard)
	}
	g := w.issue(c, nil)
	g.Account.ID = w.accounts[k]
	if s.hard > 0 {
		g.HardLimit = c.until.Add(w.skew)
	}
	return g
}

// issue makes what a service answers. used is the refresh token that stays good if it does not rotate.
func (w *world) issue(c *consent, used *token) *providers.Grant {
	c.issued++
	c.used = time.Now()
	m := mark{c.id, c.issued}
	now := time.Now().Add(w.skew)
	g := &providers.Grant{
		AccessToken: providers.NewSecret(fmt.Sprintf("access-%d-%d", m.consent, m.token)), Issued: now,
		Expires: now.Add(c.service.life),
	}
	w.access[g.AccessToken.Reveal()] = &access{mark: m, until: time.Now().Add(c.service.life), of: c}
	if used == nil || c.service.rotates {
		used = &token{value: fmt.Sprintf("refresh-%d-%d", m.consent, m.token), mark: m, consent: c}
		used.denials, used.verdicts = map[uint64][]time.Time{}, map[uint64]verdict{}
		w.tokens[used.value] = used
	}
	g.RefreshToken = providers.NewSecret(used.value)
	return g
}

// line is how one process reaches the services. It implements [refresh.Source].
type line struct {
	*world
	p *process
}

func (line) Lifetime(context.Context, store.Key, *store.Connection) (until time.Time) { return until }

func (l line) Terms(_ context.Context, _ store.Key, c *store.Connection) (refresh.Terms, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.services[c.Provider]
	origin := s.origin()
	return refresh.Terms{
		Fingerprint: &origin, Serial: s.serial, CanRefresh: c.Grant != nil && !c.Grant.RefreshToken.IsZero(),
		MayRotate: s.rotates,
		Paused:    l.paused, Idle: s.idle, Margin: 10 * time.Minute, Poll: 5 * time.Minute,
	}, nil
}

func (s *service) origin() string {
	if s.elsewhere {
		return "elsewhere"
	}
	return fingerprint
}

// fate is what will become of a call, drawn before it leaves.
type fate struct {
	there, back time.Duration
	before      *providers.Error // instead of doing anything
	after       bool             // it is done, and the answer is lost
}

func (l line) Refresh(ctx context.Context, _ store.Key, c *store.Connection) (*providers.Grant, error) {
	l.mu.Lock()
	s, tok := l.services[c.Provider], l.tokens[c.Grant.RefreshToken.Reveal()]
	switch {
	case l.p.gone:
		l.mu.Unlock()
		return nil, testenv.ErrStorage // a process that is gone sends nothing
	case s.origin() != c.Pinned || l.chance(l.faults.trouble/8):
		l.note("%s: %s: nothing was sent", l.p, tok.value)
		l.mu.Unlock()
		return nil, errors.New("nothing was sent")
	// storage may take so long before
	case !l.steps && !tok.consent.until.IsZero() && time.Since(tok.consent.until) > 30*time.Second:
		l.complain("%s spends %s, whose consent is over", l.p, tok.value)
	case l.p.standby, l.p.deposed && (s.rotates || time.Now().After(l.p.unaware)):
		l.complain("%s may not write and spends %s", l.p, tok.value)
	}
	for other := range l.calls {
		if other.token.consent == tok.consent && !l.p.deposed && !other.by.gone && !other.by.deposed {
			l.complain("%s spends %s while %s spends %s", l.p, tok.value, other.by, other.token.value)
		}
	}
	atOnce := 0
	for other := range l.calls {
		if other.by == l.p && other.token.consent.service == s {
			atOnce++
		}
	}
	if atOnce >= 16 {
		l.complain("%s makes %d calls to %s at once", l.p, atOnce+1, s.name)
	}
	l.leaves(s, c, tok)
	here, sent := &call{l.p, tok, c.Refused.Reason != "", c.Generation}, time.Now()
	l.calls[here] = true
	l.asked[tok.consent.key]++
	if failed, ok := l.p.failed[tok.consent.key]; ok && time.Since(failed) < time.Second {
		l.hasty[tok.consent.key]++
	}
	delete(l.p.failed, tok.consent.key)
	f := l.draw(s)
	l.note("%s: %s: sent", l.p, tok.value)
	l.mu.Unlock()

	arrived := sleep(ctx, f.there)
	l.mu.Lock()
	g, err := l.serve(s, tok, f, arrived)
	l.mu.Unlock()
	if arrived == nil && f.back > 0 && sleep(ctx, f.back) != nil && !errors.As(err, new(*providers.Error)) {
		err = lost
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.calls, here)
	if err != nil {
		l.p.failed[tok.consent.key] = time.Now()
	}
	l.note("%s: %s: %v", l.p, tok.value, err)
	l.heard(s, c, tok, sent, err)
	switch {
	case errors.Is(err, lost):
		l.demands[tok.consent.key]++ // it may be asked once more, at once
		tok.doubt, tok.lost = true, tok.lost || g != nil && s.rotates
		return nil, err
	case err != nil:
		return nil, err
	case l.p.gone || l.p.deposed:
		tok.doubt, tok.lost = true, tok.lost || s.rotates // it may be told, and cannot be kept
	default:
		l.p.receive(tok.consent.key, l.access[g.AccessToken.Reveal()].mark)
		l.worstMoment()
	}
	full := *c.Grant
	full.AccessToken, full.RefreshToken, full.Issued, full.Expires = g.AccessToken, g.RefreshToken, g.Issued, g.Expires
	return &full, nil
}

// worstMoment lets storage go away just as there is something to keep. w.mu is held.
func (w *world) worstMoment() {
	if w.chance(w.faults.trouble) {
		w.note("storage refuses everything")
		w.faults.nothing = time.Now().Add(w.upTo(30 * time.Second))
	}
}

var lost error = &providers.Error{Class: providers.Unknown, Step: "refresh", Reason: "timeout"}

// draw decides what becomes of a call. w.mu is held.
func (w *world) draw(s *service) fate {
	f := fate{there: w.upTo(200 * time.Millisecond), back: w.upTo(200 * time.Millisecond)}
	if w.chance(w.faults.trouble / 2) {
		f.there = w.upTo(20 * time.Second)
	}
	fail := func(class providers.Class, after time.Duration) *providers.Error {
		return &providers.Error{Class: class, Step: "refresh", Reason: "as drawn", RetryAfter: after}
	}
	now := time.Now()
	switch {
	case now.Before(s.limited):
		f.before = fail(providers.RateLimited, s.limited.Sub(now))
	case now.Before(s.down) && w.chance(0.8):
		f.before = fail(providers.Transient, 0)
	case now.Before(s.down):
		f.before = fail(providers.Unknown, 0)
	case w.refusesApp(s):
		f.before = appRefusal()
	case now.Before(s.slanders) && w.chance(0.8):
		f.before = grantRefusal()
	case !w.chance(w.faults.trouble):
	case w.chance(0.5):
		f.after, f.back = true, w.upTo(30*time.Second)
	default:
		f.before = fail([]providers.Class{providers.Transient, providers.Unknown, providers.RateLimited}[w.rng.IntN(3)],
			w.upTo(time.Minute))
	}
	return f
}

// serve is the service itself. w.mu is held.
func (w *world) serve(s *service, tok *token, f fate, arrived error) (*providers.Grant, error) {
	if f.before != nil {
		if f.before.Class == providers.Unknown {
			return nil, lost
		}
		return nil, f.before
	}
	if arrived != nil && w.chance(0.5) {
		return nil, lost // it was cut off on its way
	}
	if tok.refuses() {
		if s.strict && !tok.consent.revoked {
			w.note("%s: %s came back: consent %d is revoked", s.name, tok.value, tok.consent.id)
			tok.consent.revoked = true
		}
		return nil, s.refusal()
	}
	if s.rotates && tok.spent.IsZero() {
		tok.spent = time.Now()
	}
	s.successes++
	g := w.issue(tok.consent, tok)
	w.note("%s: %s became %s", s.name, tok.value, g.AccessToken.Reveal())
	if s.omits {
		g.RefreshToken = providers.NewSecret(tok.value) // as the client does that was told none
	}
	if f.after || arrived != nil {
		return g, lost
	}
	return g, nil
}

// sleep waits, or less when ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
