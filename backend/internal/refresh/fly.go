package refresh

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

const refreshing = "refresh " // how the names of flights that refresh begin

func flightName(k store.Key) string { return refreshing + k.String() }

// find gives the flight of that name, or nil.
func (f *flights) find(name string) *flight {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running[name]
}

// start makes sure that a flight for the connection is under way. seen is the generation that the caller found wanting.
// forced flights ignore the backoff: a person asked, or a crash cut the last one off.
func (c *Coordinator) start(k store.Key, seen uint64, forced bool) (*flight, error) {
	return c.flights.start(flightName(k), func(ctx context.Context) (any, error) {
		a, err := c.fly(ctx, k, seen, forced)
		return a, err
	})
}

func (c *Coordinator) join(ctx context.Context, k store.Key, seen uint64, forced bool) (Answer, error) {
	fl, err := c.start(k, seen, forced)
	if err != nil {
		return Answer{}, err
	}
	out, err := fl.wait(ctx)
	if err != nil {
		return Answer{}, err
	}
	return out.(Answer), nil
}

// fly is one refresh from the first look to the last write. Everything that can be wrong is found out before the
// provider is called; after that, whatever it answered is kept.
func (c *Coordinator) fly(ctx context.Context, k store.Key, seen uint64, forced bool) (Answer, error) {
	_ = c.saveOne(ctx, k) // what is held may be saved by now; if not, the flight rests on it all the same
	defer c.setAnnounced(k, false)
	a, err := c.look(ctx, k)
	if err != nil {
		return Answer{}, err
	}
	conn := a.Connection
	if conn.Generation != seen {
		return a, nil // somebody was faster
	}
	if status, reason := conn.StatusUnder(a.Terms.Fingerprint); status != store.StatusActive {
		problem := NeedsReconnect
		if status == store.StatusDisabled {
			problem = Disabled
		}
		return Answer{}, &Error{Problem: problem, Key: k, Provider: conn.Provider, Reason: reason}
	}
	if limit := conn.Grant.HardLimit; !limit.IsZero() && !c.opts.Now().Before(limit) {
		return Answer{}, c.runOut(ctx, k, conn)
	}
	lost, err := c.announce(ctx, k, a, forced)
	if err != nil {
		return Answer{}, err
	}
	defer c.circuits.giveUp(conn.Provider) // whatever happens, another may probe after this one

	g, unheard, err := c.spend(ctx, k, a)
	lost = lost || unheard
	var perr *providers.Error
	switch {
	case err == nil:
		c.left(k, conn.Provider, &providers.Error{}, time.Time{})
		return c.landed(ctx, k, a, g)
	case errors.As(err, &perr):
		return c.failed(ctx, k, a, perr, lost)
	}
	if !lost { // nothing was sent: a later refusal must not be put down to a lost answer
		c.answered(ctx, k, a.Terms, seen, false)
	}
	return Answer{}, err
}

// spend asks the provider, and once more when no answer came: the token may be spent, and providers that forgive that do so
// for seconds. unheard tells that there was such a first request.
func (c *Coordinator) spend(ctx context.Context, k store.Key, a Answer) (g *providers.Grant, unheard bool, err error) {
	g, err = c.opts.Source.Refresh(ctx, a.Connection)
	var perr *providers.Error
	if !errors.As(err, &perr) || perr.Class != providers.Unknown || !c.mayRepeat(ctx, k, a) {
		return g, false, err
	}
	again, second := c.opts.Source.Refresh(ctx, a.Connection)
	if second != nil && !errors.As(second, &perr) {
		return nil, true, err // the second was not sent: what there is to tell is what came of the first
	}
	return again, true, second
}

// runOut records that the consent has run out, and says so.
func (c *Coordinator) runOut(ctx context.Context, k store.Key, known *store.Connection) error {
	conn, saved, err := c.Keep(ctx, k, known, func(cur *store.Connection) (*store.Connection, error) {
		if cur == nil || cur.Generation != known.Generation {
			return nil, nil // deleted or reconnected meanwhile
		}
		cur.HardLimitReached(c.opts.Now())
		return cur, nil
	})
	if err == nil && conn != nil && saved {
		err = c.settle(ctx, k, known.Generation) // nobody will ask what came of it
	}
	if err != nil {
		c.logger.Debug("an intent could not be removed", "connection", k.String(), "error", err)
	}
	return &Error{Problem: NeedsReconnect, Key: k, Provider: known.Provider, Reason: store.ReasonHardLimit}
}

// mayRepeat reports whether a refresh without an answer may be made once more. A node that was deposed while it waited, or
// a plugin whose Vault is gone, finds out by the intent: what they would spend belongs to their successor.
func (c *Coordinator) mayRepeat(ctx context.Context, k store.Key, a Answer) bool {
	if ctx.Err() != nil || !c.opts.Writable() {
		return false
	}
	if !a.Terms.MayRotate {
		return true
	}
	_, err := c.intend(ctx, k, a.Connection.Generation)
	return err == nil
}

// left tells the provider's circuit what came of a call, and logs when its state changes.
func (c *Coordinator) left(k store.Key, provider string, e *providers.Error, next time.Time) {
	class := e.Class
	if class == providers.Transient && e.Status >= 400 && e.Status < 500 && e.Status != http.StatusUnauthorized && e.Status != http.StatusRequestTimeout {
		class = providers.Rejected // an answer to this grant: the provider is well
	}
	opened, excused := c.circuits.leave(provider, k, class, c.opts.Now(), next)
	switch {
	case opened:
		c.logger.Warn("a provider fails for several connections; it is probed until it answers", "provider", provider, "class", string(e.Class))
	case len(excused) > 0:
		c.logger.Info("a provider answers again", "provider", provider)
		c.Reconsider(excused)
	}
}

// announce stores the intent, if the provider may rotate, and reports whether an earlier one was left open by a crash.
// Whatever forbids the refresh is found here, before the provider hears of it.
func (c *Coordinator) announce(ctx context.Context, k store.Key, a Answer, forced bool) (lost bool, err error) {
	now, provider := c.opts.Now(), a.Connection.Provider
	if err := c.barred(a, k, now, forced); err != nil {
		return false, err
	}
	if until, class := c.circuits.enter(provider, now, forced); !until.IsZero() {
		return false, resting(k, provider, class, until)
	}
	if a.Terms.MayRotate {
		if lost, err = c.intend(ctx, k, a.Connection.Generation); err != nil {
			c.circuits.giveUp(provider)
			return false, c.refused(ctx, k, provider, err)
		}
		if c.noIntents.CompareAndSwap(true, false) {
			c.logger.Info("storage takes intents again, so tokens are refreshed")
		}
	}
	return lost, nil
}

// refused is the error for an intent that storage did not take. An outage is one line in the log, whomever it meets.
func (c *Coordinator) refused(ctx context.Context, k store.Key, provider string, err error) error {
	switch {
	case store.IsReadOnly(err):
		return logical.ErrReadOnly
	case ctx.Err() != nil:
		return ErrClosing
	}
	level := hclog.Debug
	if c.noIntents.CompareAndSwap(false, true) {
		level = hclog.Error
	}
	c.logger.Log(level, "storage refuses intents, so tokens that may rotate are not refreshed", "connection", k.String(), "error", err)
	return &Error{Problem: StorageRefuses, Key: k, Provider: provider, cause: err}
}

// intend stores the intent, and reports whether one for the same grant stands already.
func (c *Coordinator) intend(ctx context.Context, k store.Key, generation uint64) (lost bool, err error) {
	defer c.locks.lock(k)() // against a save that would take the new intent for the one it settles
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	open, err := c.opts.Store.Intent(ctx, k)
	if err != nil && !store.Unusable(err) {
		return false, err
	}
	// One above it tells that what followed was never saved. Of one whose answer is held here nothing is in doubt.
	// Of one that cannot be decoded everything is.
	lost = (err != nil || open != nil && open.Generation >= generation) && !c.heard(k, generation)
	c.setAnnounced(k, true)
	return lost, c.opts.Store.PutIntent(ctx, k, &store.Intent{Key: k.String(), Generation: generation, Time: c.opts.Now()})
}

// landed keeps what a refresh brought. The intent stays until the new state is saved, so that a crash before is known
// for what it is.
func (c *Coordinator) landed(ctx context.Context, k store.Key, a Answer, g *providers.Grant) (Answer, error) {
	seen := a.Connection.Generation
	conn, saved, err := c.Keep(ctx, k, a.Connection, func(cur *store.Connection) (*store.Connection, error) {
		if cur == nil || cur.Generation != seen {
			return nil, nil // deleted or reconnected meanwhile: what is there is newer
		}
		cur.Refreshed(g, c.opts.Now())
		return cur, nil
	})
	if err != nil {
		return Answer{}, err
	}
	if conn == nil {
		return c.look(ctx, k)
	}
	if former := a.Connection.Attempt; former.Failures > 0 && !c.circuits.excuses(conn.Provider, k) {
		c.logger.Info("refreshing works again", "connection", k.String(), "provider", conn.Provider, "failures", former.Failures)
	}
	a.Connection, a.Warnings = conn, nil
	if !saved {
		a.warn("storage refused the refreshed token; it is served from memory and would be lost with this process: check Vault's storage")
	}
	c.answered(ctx, k, a.Terms, seen, saved)
	return a, nil
}

// answered ends the intent of a refresh whose outcome is known. While anything of the connection lives in memory only, the
// intent stands, so that a successor knows of it, and this process remembers that nothing is in doubt.
func (c *Coordinator) answered(ctx context.Context, k store.Key, t Terms, generation uint64, saved bool) {
	if !t.MayRotate || !saved && c.remember(k, generation) {
		return
	}
	if err := c.opts.Store.DeleteIntent(ctx, k); err != nil {
		c.logger.Debug("an intent could not be removed", "connection", k.String(), "error", err)
	}
}

// failed records why a refresh brought nothing and says it to the caller.
func (c *Coordinator) failed(ctx context.Context, k store.Key, a Answer, perr *providers.Error, lost bool) (Answer, error) {
	now, seen := c.opts.Now(), a.Connection.Generation
	next := nextTry(perr, a.Connection.Attempt.Failures, now)
	c.left(k, a.Connection.Provider, perr, next)
	conn, saved, err := c.Keep(ctx, k, a.Connection, func(cur *store.Connection) (*store.Connection, error) {
		if cur == nil || cur.Generation != seen {
			return nil, nil
		}
		cur.RefreshFailed(store.Failure{
			Error: perr, Lost: a.Terms.MayRotate && (lost || perr.Class == providers.Unknown), Next: next,
			ProviderSerial: a.Terms.Serial, Idle: a.Terms.Idle,
		}, now)
		return cur, nil
	})
	if err != nil {
		return Answer{}, err
	}
	if conn == nil {
		return c.look(ctx, k)
	}
	level := hclog.Debug
	if former := a.Connection.Attempt; former.Class != perr.Class && !c.circuits.halfOpen(conn.Provider) { // one line for one change, and none for each probe
		level = hclog.Warn
	}
	c.logger.Log(level, "a refresh failed", "connection", k.String(), "provider", a.Connection.Provider,
		"class", string(perr.Class), "reason", perr.Reason, "code", perr.Code, "status", perr.Status, "next", next)
	c.answered(ctx, k, a.Terms, seen, saved)
	return Answer{}, fromAttempt(k, conn)
}
