package refresh_test

import (
	"context"
	"encoding/json"
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

// world is everything around the coordinators of one run: the disk, the services and the people. It knows what is true,
// and complains when a coordinator does or stores what is not.
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
}

// faults of storage. All of them end when the trouble does.
type faults struct {
	trouble         float64 // how likely a call to a service fails, and a write to storage
	noWrites, nothing time.Time // storage refuses until then
}

// service is a provider as the world has it: more than a coordinator can know.
type service struct {
	name    string
	rotates bool
	window  time.Duration // how long a spent refresh token is still taken
	strict  bool          // a spent token that comes back later revokes the grant
	omits   bool          // answers carry no refresh token
	life    time.Duration
	idle    time.Duration

	serial    uint64
	elsewhere bool // the operator pointed it to another origin
	refused   bool // the app's secret is wrong
	down      time.Time
	limited   time.Time
	successes int
}

// consent is one grant as the service sees it.
type consent struct {
	id      int
	key     store.Key
	service *service
	issued  int // refresh tokens
	revoked bool
	asked   int // how often it was spent, or tried
	demands int // what callers did that may justify a call each
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
}

type access struct {
	mark  mark
	until time.Time
	of    *consent
}

type call struct {
	by    *process
	token *token
}

// state is what storage holds of a connection.
type state struct {
	serial, generation uint64
	mark               mark
	token              *token
}

func (w *world) note(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf("%12s ", time.Since(w.start).Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

// complain records a broken promise with what led to it. w.mu is held.
func (w *world) complain(format string, args ...any) {
	w.note("BROKEN: "+format, args...)
	if !w.broken {
		w.broken = true
		w.t.Errorf("seed %d: "+format+"\n%s", append(append([]any{w.seed}, args...), strings.Join(w.log[max(0, len(w.log)-150):], "\n"))...)
	}
}

func (w *world) chance(p float64) bool { return w.rng.Float64() < p }

func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d)) + 1) }

// refuses reports whether the service would refuse the token now. What it refuses once it refuses for ever.
func (tok *token) refuses() bool {
	s := tok.consent.service
	return tok.consent.revoked || s.rotates && !tok.spent.IsZero() && time.Since(tok.spent) >= s.window
}

// consentTo is what a person does in a browser: a grant that the service will take. w.mu is held.
func (w *world) consentTo(s *service, k store.Key) *providers.Grant {
	w.consents++
	return w.issue(&consent{id: w.consents, key: k, service: s, demands: 1}, nil)
}

// issue makes what a service answers. used is the refresh token that stays good if it does not rotate.
func (w *world) issue(c *consent, used *token) *providers.Grant {
	c.issued++
	m := mark{c.id, c.issued}
	now := time.Now().Add(w.skew)
	g := &providers.Grant{AccessToken: providers.NewSecret(fmt.Sprintf("access-%d-%d", m.consent, m.token)), Issued: now, Expires: now.Add(c.service.life)}
	w.access[g.AccessToken.Reveal()] = &access{mark: m, until: time.Now().Add(c.service.life), of: c}
	if used == nil || c.service.rotates {
		used = &token{value: fmt.Sprintf("refresh-%d-%d", m.consent, m.token), mark: m, consent: c}
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

func (l line) Terms(_ context.Context, c *store.Connection) (refresh.Terms, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.services[c.Provider]
	origin := s.origin()
	return refresh.Terms{
		Fingerprint: &origin, Serial: s.serial, CanRefresh: c.Grant != nil && !c.Grant.RefreshToken.IsZero(), MayRotate: s.rotates,
		Paused: l.paused, Idle: s.idle, Margin: 10 * time.Minute, Poll: 5 * time.Minute,
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

func (l line) Refresh(ctx context.Context, c *store.Connection) (*providers.Grant, error) {
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
	case l.p.deposed && s.rotates:
		l.complain("%s was deposed and spends %s", l.p, tok.value)
	}
	for other := range l.calls {
		if other.token.consent == tok.consent && !other.by.gone && !other.by.deposed {
			l.complain("%s spends %s while %s spends %s", l.p, tok.value, other.by, other.token.value)
		}
	}
	here := &call{l.p, tok}
	l.calls[here] = true
	tok.consent.asked++
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
	l.note("%s: %s: %v", l.p, tok.value, err)
	switch {
	case errors.Is(err, lost):
		tok.doubt, tok.lost = true, tok.lost || g != nil
		return nil, err
	case err != nil:
		return nil, err
	case l.p.gone || l.p.deposed:
		tok.doubt, tok.lost = true, true // it may be told, and cannot be kept
	default:
		l.p.received[tok.consent.key] = receipt{l.access[g.AccessToken.Reveal()].mark, time.Now()}
	}
	full := *c.Grant
	full.AccessToken, full.RefreshToken, full.Issued, full.Expires = g.AccessToken, g.RefreshToken, g.Issued, g.Expires
	return &full, nil
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
	case s.refused:
		f.before = fail(providers.Misconfigured, 0)
	case !w.chance(w.faults.trouble):
	case w.chance(0.5):
		f.after, f.back = true, w.upTo(30*time.Second)
	default:
		f.before = fail([]providers.Class{providers.Transient, providers.Unknown, providers.RateLimited}[w.rng.IntN(3)], w.upTo(time.Minute))
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
		return nil, &providers.Error{Class: providers.Rejected, Step: "refresh", Code: "invalid_grant", Reason: "invalid_grant"}
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

// view is storage as one process sees it. It implements [logical.Storage].
type view struct {
	*world
	p *process
}

// access makes an access to storage, or fails as the world will have it. do runs under w.mu.
func (v view) access(ctx context.Context, write bool, key string, do func() error) error {
	v.mu.Lock()
	takes := v.upTo(5 * time.Millisecond)
	if v.chance(v.faults.trouble / 4) {
		takes = v.upTo(3 * time.Second)
	}
	v.mu.Unlock()
	if err := sleep(ctx, takes); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	switch {
	case v.p.gone || now.Before(v.faults.nothing):
	case write && (v.p.deposed || v.p.standby):
		return logical.ErrReadOnly
	case write && now.Before(v.faults.noWrites):
	case write && v.chance(v.faults.trouble/3):
		if v.chance(0.3) {
			v.note("%s: storage takes %s and says it does not", v.p, key)
			_ = do()
		}
	default:
		return do()
	}
	if write {
		v.note("%s: storage refuses %s", v.p, key)
	}
	return testenv.ErrStorage
}

func (v view) Get(ctx context.Context, key string) (e *logical.StorageEntry, err error) {
	err = v.access(ctx, false, key, func() error { e, err = v.disk.Get(context.Background(), key); return err })
	return e, err
}

func (v view) List(ctx context.Context, prefix string) (names []string, err error) {
	err = v.access(ctx, false, prefix, func() error { names, err = v.disk.List(context.Background(), prefix); return err })
	return names, err
}

func (v view) Put(ctx context.Context, e *logical.StorageEntry) error {
	err := v.access(ctx, true, e.Key, func() error {
		if err := v.disk.Put(context.Background(), e); err != nil {
			return err
		}
		v.written(v.p, e.Key)
		return nil
	})
	if err != nil && strings.HasPrefix(e.Key, "wal/") {
		v.stuckIntent(e.Key)
	}
	return err
}

func (v view) Delete(ctx context.Context, key string) error {
	err := v.access(ctx, true, key, func() error {
		if err := v.disk.Delete(context.Background(), key); err != nil {
			return err
		}
		v.written(v.p, key)
		return nil
	})
	if err != nil && strings.HasPrefix(key, "wal/") {
		v.stuckIntent(key)
	}
	return err
}

// stuckIntent allows for an intent that stands though nothing was sent, or though the answer is known: storage would not
// let go of it, and whoever finds it cannot tell.
func (w *world) stuckIntent(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e, err := w.disk.Get(context.Background(), key)
	if err != nil || e == nil {
		return
	}
	var i store.Intent
	if err := json.Unmarshal(e.Value, &i); err != nil {
		w.complain("an intent cannot be read: %v", err)
	}
	for k, held := range w.onDisk {
		if k.String() == i.Key && held.generation == i.Generation && held.token != nil {
			held.token.doubt = true
		}
	}
}

// written judges what storage holds now of a connection. w.mu is held.
func (w *world) written(p *process, key string) {
	name, ok := strings.CutPrefix(key, "connection/")
	if !ok {
		return
	}
	k, err := store.ParseKey(name)
	if err != nil {
		w.complain("storage holds %s: %v", key, err)
		return
	}
	for _, other := range p.siblings() {
		go other.Invalidate(k)
	}
	c, err := store.New(&w.disk).Connection(context.Background(), k)
	if err != nil {
		w.complain("%s: %v", k, err)
		return
	}
	if c == nil {
		w.note("%s: %s is deleted", p, k.Name)
		delete(w.onDisk, k)
		delete(p.received, k)
		return
	}
	before, now := w.onDisk[k], w.stateOf(c)
	w.note("%s: %s is stored: serial %d, generation %d, %s %s, consent %d, token %d", p, k.Name, now.serial, now.generation, c.Status, c.Reason, now.mark.consent, now.mark.token)
	if now.mark.before(before.mark) {
		w.complain("%s: %s: an older token %v over a newer %v", p, k.Name, now.mark, before.mark)
	}
	if before.serial > 0 && (now.serial != before.serial+1 || now.generation < before.generation) {
		w.complain("%s: %s: serial %d and generation %d over %d and %d", p, k.Name, now.serial, now.generation, before.serial, before.generation)
	}
	w.onDisk[k] = now
}

func (w *world) stateOf(c *store.Connection) state {
	return state{c.Serial, c.Generation, w.access[c.Grant.AccessToken.Reveal()].mark, w.tokens[c.Grant.RefreshToken.Reveal()]}
}

// changed judges each new state of a connection, stored or not. It is what the coordinator tells the backend.
func (w *world) changed(p *process, k store.Key, c *store.Connection) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c == nil || p.gone || c.Status != store.StatusNeedsReconnect {
		return
	}
	tok := w.tokens[c.Grant.RefreshToken.Reveal()]
	switch {
	case !tok.refuses():
		w.complain("%s: %s: %s, and its service takes %s", p, k.Name, c.Reason, tok.value)
	case c.Reason == store.ReasonGrantRefused && tok.lost:
		w.complain("%s: %s: the person is blamed for an answer that was lost for %s", p, k.Name, tok.value)
	case c.Reason == store.ReasonOutcomeUnknown && !tok.doubt:
		w.complain("%s: %s: no answer was lost for %s, and it says so", p, k.Name, tok.value)
	case c.Reason != store.ReasonGrantRefused && c.Reason != store.ReasonOutcomeUnknown:
		w.complain("%s: %s: status %s", p, k.Name, c.Reason)
	}
}
