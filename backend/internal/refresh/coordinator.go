package refresh

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// Terms are what decides about a connection beside the connection itself.
type Terms struct {
	Fingerprint *string // of the provider as it is now; nil when it is gone
	Serial      uint64  // of the provider
	CanRefresh  bool    // there is something to refresh with
	MayRotate   bool    // the provider may replace what is spent: an intent is needed
	Paused      bool
	Idle        time.Duration // the grant must be used so often, though nobody reads; zero: need not
	MinAge      time.Duration // the provider renews no token that is younger
	OnDemand    bool          // nothing tells when a token should be replaced: people do
	Margin      time.Duration // the most that a token is replaced before its expiry
	Poll        time.Duration // what readers of credentials without expiry are told
}

// Source speaks to providers. The backend implements it; tests use one that fails on demand.
type Source interface {
	// Terms reads how things stand for c, from storage, without a call to the provider.
	Terms(ctx context.Context, c *store.Connection) (Terms, error)
	// Refresh spends c's grant at its provider. Errors of the provider are *providers.Error; any other error means that
	// nothing was sent.
	Refresh(ctx context.Context, c *store.Connection) (*providers.Grant, error)
}

// Options is what a Coordinator works with. All of it is required.
type Options struct {
	Store    store.Store // of the mount, not of one request
	Source   Source
	Writable func() bool // whether this node may write to the mount's storage
	Now      func() time.Time
	Logger   hclog.Logger
	// Paused tells whether the operator stopped refreshing on this mount.
	Paused   func(context.Context) bool
	Uncached func() bool // whether storage must be read every time
	// Changed is told of each new state of a connection, nil for none, under the connection's lock.
	Changed func(store.Key, *store.Connection)
}

// Coordinator is the only one that spends grants and the only one that writes connections.
type Coordinator struct {
	opts     Options
	logger   hclog.Logger
	flights  *flights
	locks    keyLocks
	cache    *cached
	index    *index
	worker   worker
	circuits circuits

	noIntents atomic.Bool // storage refused the last one

	closeOnce sync.Once
	closing   chan struct{}

	mu        sync.Mutex
	unsaved   map[store.Key]*kept // guarded by mu; what storage refused, newer than storage
	saving    bool                // guarded by mu; somebody tries to save
	announced map[store.Key]bool  // guarded by mu; flights whose intent stands for a request that may be out
}

// New makes a coordinator that does nothing until it is asked.
func New(o Options) *Coordinator {
	return &Coordinator{
		opts: o, logger: o.Logger, cache: newCached(), index: newIndex(), flights: newFlights(o.Logger), closing: make(chan struct{}),
		unsaved: map[store.Key]*kept{}, announced: map[store.Key]bool{},
	}
}

// Answer is a credential and how it stands.
type Answer struct {
	Connection *store.Connection
	Terms      Terms
	Warnings   []string
}

// Permit says whether the caller may use a connection. It is asked before anything is set in motion.
type Permit func(*store.Connection) error

// Get answers the connection's credential. While the credential lives it waits for nobody, unless it is about to expire or
// minTTL asks for one that lives longer: inside the margin it answers the living token and starts a flight. Of a dead one
// all callers share one flight. More than a new token would live is answered with what there is.
func (c *Coordinator) Get(ctx context.Context, k store.Key, permit Permit, minTTL time.Duration) (Answer, error) {
	a, err := c.get(ctx, k, permit, minTTL)
	if err == nil {
		a.warnOfLimit(c.opts.Now())
	}
	return a, err
}

func (c *Coordinator) get(ctx context.Context, k store.Key, permit Permit, minTTL time.Duration) (Answer, error) {
	a, err := c.look(ctx, k)
	if err != nil {
		return Answer{}, err
	}
	if err := permit(a.Connection); err != nil {
		return Answer{}, err
	}
	now, conn := c.opts.Now(), a.Connection
	status, reason := conn.StatusUnder(a.Terms.Fingerprint)
	if status == store.StatusDisabled {
		return Answer{}, &Error{Problem: Disabled, Key: k, Provider: conn.Provider, Reason: reason}
	}
	ph := phaseOf(conn, a.Terms.Margin, now)
	if status != store.StatusActive {
		return c.withoutRefresh(a, k, ph, reason)
	}
	g := conn.Grant
	expires := g != nil && !g.Expires.IsZero()
	short := "" // why a living token will not do, if it will not
	switch {
	case !expires || ph == dead:
	case tooYoung(g, a.Terms, now):
		if now.Add(minTTL).After(g.Expires) {
			a.warn("the provider renews no token younger than " + a.Terms.MinAge.String() + ", so none that lives as long as min_ttl can be had now")
		}
		return a, nil
	case minTTL > g.Lifetime(), now.Add(minTTL).After(g.Expires) && recent(conn.LastRefresh, now, recentSuccess):
		// The next one would live as long: asking for it would make each such read a request to the provider.
		a.warn("tokens of this provider live " + g.Lifetime().String() + ", which is not enough for min_ttl; this is the newest there is")
	case now.Add(minTTL).After(g.Expires):
		short = "no token that lives as long as min_ttl can be had now"
	case ph == due && ending(g, now):
		short = "the token is about to expire"
	}
	switch {
	case ph == fresh && short == "":
		return a, nil
	case ph == due && short == "":
		if c.refusal(a, k, now) == nil && !c.holding(now) {
			_, _ = c.start(k, conn.Generation, false)
		}
		c.warnOfFailures(&a)
		return a, nil
	}
	b, err := a, c.refusal(a, k, now)
	if err == nil {
		b, err = c.join(ctx, k, conn.Generation, false)
	}
	if err == nil {
		return b, stillServes(b, k, permit)
	}
	if phaseOf(conn, a.Terms.Margin, c.opts.Now()) != dead { // it may have died meanwhile
		a.warn(short + ": " + c.inOurWords(k, err))
		return a, nil
	}
	return b, err
}

// inOurWords is the text of an error for a warning. What storage says goes to the log: it may name files.
func (c *Coordinator) inOurWords(k store.Key, err error) string {
	var known *Error
	if errors.As(err, &known) || errors.Is(err, logical.ErrReadOnly) || errors.Is(err, ErrClosing) {
		return err.Error()
	}
	c.logger.Warn("a token could not be refreshed", "connection", k.String(), "error", err)
	return "this node could not refresh it, and its log says why"
}

// Refresh replaces the token now, whatever the backoff says. A success within the last ten seconds answers it, a failure
// within the last five, and a flight that is under way.
func (c *Coordinator) Refresh(ctx context.Context, k store.Key, permit Permit) (Answer, error) {
	a, err := c.look(ctx, k)
	if err != nil {
		return Answer{}, err
	}
	if err := permit(a.Connection); err != nil {
		return Answer{}, err
	}
	now, conn := c.opts.Now(), a.Connection
	status, reason := conn.StatusUnder(a.Terms.Fingerprint)
	switch {
	case status == store.StatusDisabled:
		return Answer{}, &Error{Problem: Disabled, Key: k, Provider: conn.Provider, Reason: reason}
	case status != store.StatusActive:
		return Answer{}, &Error{Problem: NeedsReconnect, Key: k, Provider: conn.Provider, Reason: reason}
	case conn.Grant == nil:
		return Answer{}, &Error{Problem: NotRefreshable, Key: k, Why: "it holds a key; write a new one to connections/" + k.String()}
	case !a.Terms.CanRefresh:
		return Answer{}, &Error{Problem: NotRefreshable, Key: k, Why: "the provider gave no refresh token"}
	case tooYoung(conn.Grant, a.Terms, now) && phaseOf(conn, 0, now) != dead:
		return Answer{}, &Error{Problem: NotRefreshable, Key: k, Why: "the provider renews no token younger than " + a.Terms.MinAge.String()}
	case a.Terms.Paused:
		return Answer{}, &Error{Problem: Paused, Key: k}
	case !c.opts.Writable():
		return Answer{}, logical.ErrReadOnly
	}
	if recent(conn.Rotated, now, recentSuccess) && phaseOf(conn, 0, now) != dead {
		return a, nil
	}
	if at := conn.Attempt; at.ProviderSerial == a.Terms.Serial && !at.Next.IsZero() && recent(at.Last, now, recentFailure) {
		return Answer{}, fromAttempt(k, conn)
	}
	if until, class := c.circuits.until(conn.Provider, now); class == providers.RateLimited {
		return Answer{}, resting(k, conn.Provider, class, until) // what the provider asked for holds for people too
	}
	b, err := c.join(ctx, k, conn.Generation, true)
	if err != nil {
		return Answer{}, err
	}
	return b, stillServes(b, k, permit)
}

// stillServes judges what a caller waited for: a person may have disabled the connection, or changed whom it serves.
func stillServes(a Answer, k store.Key, permit Permit) error {
	if conn := a.Connection; conn.Status == store.StatusDisabled {
		return &Error{Problem: Disabled, Key: k, Provider: conn.Provider, Reason: conn.Reason}
	}
	return permit(a.Connection)
}

// Detach runs work on the coordinator's own context, once at a time for a name, and waits for it as long as ctx lasts.
// The work goes on when the caller leaves, and Close waits for it.
func (c *Coordinator) Detach(ctx context.Context, name string, run func(context.Context) (any, error)) (any, error) {
	fl, err := c.flights.start(name, run)
	if err != nil {
		return nil, err
	}
	return fl.wait(ctx)
}

// Delete removes a connection. Flights of it land first, so that what is revoked is the newest there is. It is marked as
// being deleted before revoke is called and gone afterwards: a crash between the two leaves a mark, not a surprise.
func (c *Coordinator) Delete(ctx context.Context, k store.Key, revoke func(context.Context, *store.Connection)) error {
	conn, err := c.Update(ctx, k, func(conn *store.Connection) (*store.Connection, error) {
		if conn != nil {
			conn.Disable(store.ReasonDeleting, c.opts.Now())
		}
		return conn, nil
	})
	if err != nil || conn == nil {
		return err
	}
	if fl := c.flights.find(flightName(k)); fl != nil {
		if _, _ = fl.wait(ctx); ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if conn, err = c.Load(ctx, k); err != nil {
		return err
	}
	if conn != nil && revoke != nil {
		revoke(ctx, conn)
	}
	defer c.locks.lock(k)()
	// The intent goes first: one that outlived its connection would cast doubt on the next of that name.
	if err := c.opts.Store.DeleteIntent(ctx, k); err != nil {
		return err
	}
	defer c.cache.drop(k)
	if err := c.opts.Store.DeleteConnection(ctx, k); err != nil {
		return err
	}
	c.cache.written.Remove(k)
	c.forget(k)
	c.changed(ctx, k, nil)
	return nil
}

// Recover tries again, at once, every refresh that a crash cut off: many providers take a spent refresh token for a
// short while. It starts the flights and does not wait for them.
func (c *Coordinator) Recover(ctx context.Context) error {
	if !c.opts.Writable() {
		return nil
	}
	intents, failed := c.opts.Store.Intents(ctx) // one that cannot be read does not hide the others
	for _, i := range intents {
		k, err := store.ParseKey(i.Key)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		conn, unsaved, err := c.load(ctx, k)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if unsaved {
			continue // its answer came, and lives in memory only: the intent stands until that is saved
		}
		ended := conn != nil && (conn.Status == store.StatusNeedsReconnect || conn.Attempt.Class == providers.Rejected)
		if conn == nil || conn.Generation > i.Generation || conn.Grant == nil || ended {
			failed = errors.Join(failed, c.settle(ctx, k, i.Generation)) // its answer was saved, or there will be none
			continue
		}
		c.logger.Info("trying again a refresh that was cut off", "connection", k.String())
		_, _ = c.start(k, conn.Generation, true)
	}
	return failed
}

// settle removes the intent of one generation. A reader may have been faster, and another stand there by now.
func (c *Coordinator) settle(ctx context.Context, k store.Key, generation uint64) error {
	defer c.locks.lock(k)()
	open, err := c.opts.Store.Intent(ctx, k)
	if err != nil || open == nil || open.Generation != generation {
		return err
	}
	return c.opts.Store.DeleteIntent(ctx, k)
}

// Quiesce waits until what is in flight now has landed, or ctx ends. Readers are refused nothing meanwhile, and the worker
// starts nothing: this process may be replaced right afterwards.
func (c *Coordinator) Quiesce(ctx context.Context) {
	c.hold()
	c.flights.quiesce(ctx)
	c.saveUntil(ctx) // whoever saves may be asleep
}

// saveUntil tries to save what is unsaved until nothing is, or ctx ends.
func (c *Coordinator) saveUntil(ctx context.Context) {
	for wait := firstSaveRetry; c.Unsaved() > 0; wait = min(2*wait, time.Second) {
		if c.saveAll(ctx); c.Unsaved() == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// Close refuses new flights, waits for those in flight and for unsaved states until ctx ends, and then gives up loudly.
func (c *Coordinator) Close(ctx context.Context) {
	c.closeOnce.Do(func() { close(c.closing) })
	c.flights.close(ctx)
	if c.saveUntil(ctx); c.Unsaved() == 0 {
		return
	}
	// The time may have gone into waiting for a provider that answered at last.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTime)
	defer cancel()
	if c.saveAll(last); c.Unsaved() > 0 {
		c.logger.Error("shutting down with states that storage refused; these connections may need to be reconnected",
			"count", c.Unsaved(), "connections", c.someUnsaved(20))
	}
}

// look reads the connection and its terms.
func (c *Coordinator) look(ctx context.Context, k store.Key) (Answer, error) {
	conn, unsaved, err := c.load(ctx, k)
	if err != nil {
		return Answer{}, err
	}
	if conn == nil {
		return Answer{}, &Error{Problem: NotFound, Key: k}
	}
	terms, err := c.opts.Source.Terms(ctx, conn)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Connection: conn, Terms: terms}
	if unsaved {
		a.warn("storage refuses to save this connection's newest state; it is served from memory and would be lost with this process: check Vault's storage")
	}
	return a, nil
}

func (a *Answer) warn(text string) { a.Warnings = append(a.Warnings, text) }

// withoutRefresh answers for a connection that must not be refreshed: what lives still goes out, with a warning.
func (c *Coordinator) withoutRefresh(a Answer, k store.Key, ph phase, reason store.Reason) (Answer, error) {
	err := &Error{Problem: NeedsReconnect, Key: k, Provider: a.Connection.Provider, Reason: reason, HasKey: a.Connection.Grant == nil}
	if ph == dead || a.Connection.Grant == nil {
		return Answer{}, err
	}
	a.warn(err.Error() + "; until then this token may still work")
	return a, nil
}

func (c *Coordinator) warnOfFailures(a *Answer) {
	if at := a.Connection.Attempt; at.Failures > 0 {
		a.warn("refreshing this token has failed (" + string(at.Class) + ": " + detail(at.Why, at.Code) + "); it is served while it lives")
	}
}

// warnOfLimit tells ahead of time that a person will be needed.
func (a *Answer) warnOfLimit(now time.Time) {
	if g := a.Connection.Grant; g != nil && a.Connection.Status == store.StatusActive && EndsSoon(g.HardLimit, now) {
		a.warn("the consent runs out at " + g.HardLimit.UTC().Format(time.RFC3339) + " whatever is refreshed: have the account reconnected before")
	}
}

// refusal says why no flight may start for a connection that is active, or nil. To join one costs the provider nothing.
func (c *Coordinator) refusal(a Answer, k store.Key, now time.Time) error {
	if c.flights.find(flightName(k)) != nil {
		return nil
	}
	if err := c.barred(a, k, now, false); err != nil {
		return err
	}
	if until, class := c.circuits.until(a.Connection.Provider, now); !until.IsZero() {
		return resting(k, a.Connection.Provider, class, until)
	}
	return nil
}

// barred says what forbids a refresh whoever asks for it, and, unless it is forced, what its own failures do.
func (c *Coordinator) barred(a Answer, k store.Key, now time.Time, forced bool) error {
	conn := a.Connection
	switch {
	case !a.Terms.CanRefresh:
		return &Error{Problem: Expired, Key: k, Provider: conn.Provider}
	case a.Terms.Paused:
		return &Error{Problem: Paused, Key: k, Provider: conn.Provider}
	case !c.opts.Writable():
		return logical.ErrReadOnly
	case !forced && !mayTry(conn.Attempt, a.Terms.Serial, now) && !c.circuits.excuses(conn.Provider, k):
		return fromAttempt(k, conn)
	}
	return nil
}

// resting is the error for a provider that is not to be called before a time.
func resting(k store.Key, provider string, class providers.Class, until time.Time) error {
	why := "the provider is down"
	if class == providers.RateLimited {
		why = "the provider asked to be left alone"
	}
	return &Error{Problem: Unavailable, Key: k, Provider: provider, Class: class, Why: why, Next: until}
}
