package refresh

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// renewal is one renewal, and what came of it.
type renewal struct {
	seen   uint64 // the generation that was found wanting
	forced bool   // it ignores the backoff: a person asked, or a crash cut the last one off
	class  gate.Class

	under   bool   // it was under way, or refused at once: the error is what came of it
	answer  Answer // how the connection stands after it; without an error only
	brought bool   // answer is what it brought, and not what somebody else did meanwhile
}

// of reports whether the renewal was for the credential that a holds.
func (n renewal) of(a Answer) bool { return n.under && n.seen == a.Connection.Generation }

// asksAgain reports whether one who waited for the renewal, for the sake of a, must look at the connection again: it
// was for another credential, or there is another now.
func (n renewal) asksAgain(a Answer, err error) bool {
	return n.under && (err == nil || n.seen != a.Connection.Generation)
}

const renewing = "refresh " // how the names of renewals begin

// Name is the name of a connection's renewal among the tasks: there is one at a time.
func Name(k store.Key) string { return renewing + k.String() }

// InFlight is how many renewals are under way.
func (r *Refresher) InFlight() int { return r.Tasks.Count(renewing) }

// await joins the renewal of a connection, or starts want, and waits for it as long as ctx lasts. A renewal that would
// be refused at once is not started. One that found the connection stopped may have looked before that was lifted, so
// whoever joined it has it looked at once more.
func (r *Refresher) await(ctx context.Context, k store.Key, a Answer, want renewal) (renewal, error) {
	for again := false; ; again = true {
		work, err := r.start(k, a, want)
		if err != nil {
			return renewal{under: true, seen: want.seen, forced: want.forced}, err
		}
		out, err := work.Wait(ctx)
		if wasStopped(err) && !again {
			continue
		}
		done, _ := out.(renewal)
		return done, err
	}
}

// wasStopped reports whether a renewal sent nothing because somebody had disabled, frozen or paused what it was for.
func wasStopped(err error) bool {
	problem := new(Error)
	return errors.As(err, &problem) && (problem.Problem == Disabled || problem.Problem == Paused)
}

// renewMeanwhile starts a renewal for a token that is served while it lives.
func (r *Refresher) renewMeanwhile(k store.Key, a Answer) {
	if !r.Tasks.Held() {
		_, _ = r.start(k, a, renewal{seen: a.Connection.Generation, class: gate.Reader})
	}
}

func (r *Refresher) start(k store.Key, a Answer, want renewal) (*tasks.Work, error) {
	if under := r.Tasks.Find(Name(k)); under != nil {
		r.Gate.Promote(r.visit(k, a.Connection, want.class)) // it may wait behind those that nobody waits for
		return under, nil                                    // to join one costs the provider nothing
	}
	if err := r.forbids(k, a, want.forced); err != nil {
		return nil, err
	}
	if err := r.Gate.Refuses(r.visit(k, a.Connection, want.class)); err != nil {
		return nil, r.notNow(k, a.Connection.Provider, err)
	}
	return r.Tasks.Start(Name(k), func(ctx context.Context) (any, error) {
		want.under = true
		err := r.renew(ctx, k, &want)
		return want, err
	})
}

// renew is one renewal from the first look to the last write. Whatever can be wrong is found out before the provider
// is called. After that, what it answered is kept.
func (r *Refresher) renew(ctx context.Context, k store.Key, n *renewal) error {
	defer r.Connections.Pin(k)()
	// what is held may be saved by now; if not, the renewal rests on it all the same
	_ = r.Connections.FlushOne(ctx, k)
	a, wanted, err := r.wanted(ctx, k, n)
	if !wanted {
		return err
	}
	pass, err := r.Gate.Enter(ctx, r.visit(k, a.Connection, n.class))
	if err != nil {
		return r.notNow(k, a.Connection.Provider, err)
	}
	defer pass.Leave(gate.NotSent, 0)
	if a, wanted, err = r.wanted(ctx, k, n); !wanted { // the wait may have been long
		return err
	}
	doubt, err := r.intend(ctx, k, a)
	switch {
	case errors.Is(err, connections.ErrChanged):
		n.answer, err = r.look(ctx, k)
		return err
	case err != nil:
		return err
	}
	defer r.abandon(k, n.seen) // unless what came of it was settled

	sent := r.Now()
	g, unanswered, err := r.spend(ctx, k, a)

	doubt = doubt || unanswered
	var failure *providers.Error
	switch {
	case err == nil:
		pass.Leave(gate.Succeeded, 0)
		r.witnesses.renewed(a.Connection.Provider, placeOf(a.Connection), AccountOf(k, a.Connection), sent)
		return r.save(ctx, k, a, g, n)
	case errors.As(err, &failure):
		failure = r.weigh(k, a, failure)
		next := nextTry(failure, a.Connection.Attempt.Failures, r.Now())
		told := r.leave(pass, k, a, failure, next)
		return r.record(ctx, k, a, failure, next, doubt, told, n)
	}
	r.notSent(ctx, k, a, doubt, err)
	if ctx.Err() != nil {
		return tasks.ErrClosed
	}
	return err
}

// abandon leaves the intent, if it is still open, to be taken up. The state that was told last does not tell so, and
// by that nothing more falls due for a grant that was refused.
func (r *Refresher) abandon(k store.Key, generation uint64) {
	r.Connections.Abandon(k, generation)
	if r.Connections.Interrupted(k) {
		r.Sooner(k, r.Now().Add(tasks.LookAgain))
	}
}

// leave tells the gate why a call failed, and the log when that means that the provider is down. told tells that the
// log knows it to be unwell.
func (r *Refresher) leave(pass *gate.Pass, k store.Key, a Answer, failure *providers.Error,
	next time.Time,
) (told bool) {
	provider, out := a.Connection.Provider, outcome(failure)
	if out == gate.AppRefused && r.doubtful(k, a) {
		out = gate.Doubtful
	}
	before, _ := r.Gate.State(provider)
	pass.Leave(out, next.Sub(r.Now()))
	after, _ := r.Gate.State(provider)
	if before == gate.Well && after == gate.Down {
		r.Logger.Warn("a provider fails for several connections; it is probed until it answers",
			"provider", provider, "class", string(failure.Class))
	}
	if before != gate.Refusing && after == gate.Refusing {
		r.Logger.Error("a provider refuses the app for several accounts; it is probed until it takes the app",
			"provider", provider, "code", failure.Code)
	}
	return before != gate.Well || after == gate.Down || after == gate.Refusing
}

// wanted looks at the connection and reports whether it is still to be renewed; else err says why not. One of another
// generation was renewed by somebody else, and is the answer.
func (r *Refresher) wanted(ctx context.Context, k store.Key, n *renewal) (a Answer, wanted bool, err error) {
	a, err = r.look(ctx, k)
	if err != nil {
		return a, false, err
	}
	conn := a.Connection
	if conn.Generation != n.seen {
		n.answer = a
		return a, false, nil
	}
	switch status, reason := a.Status(r.Now()); status {
	case store.StatusDisabled, store.StatusArchived:
		return a, false, a.disabled(k, reason)
	case store.StatusNeedsReconnect:
		if n.forced && a.mayTryRefused(r.Now()) {
			break
		}
		return a, false, needsReconnect(k, conn, reason, r.Now())
	}
	err = r.forbids(k, a, n.forced)
	return a, err == nil, err
}

// forbids says what speaks against a renewal whoever asks for it, and, unless it is forced, what its own failures do.
func (r *Refresher) forbids(k store.Key, a Answer, forced bool) error {
	conn, now := a.Connection, r.Now()
	switch {
	case !a.Terms.CanRefresh:
		return &Error{Problem: Expired, Key: k, Provider: conn.Provider}
	case !r.Writable(): // first: whether it is paused, the node knows that may
		return logical.ErrReadOnly
	case a.Terms.Paused:
		return a.paused(k)
	case r.Connections.Unsaved() >= connections.MaxHeld:
		return &Error{Problem: StorageRefuses, Key: k, Provider: conn.Provider}
	case mayTry(conn.Attempt, a.Terms.Serial, now), r.excused(k, conn):
		return nil
	case forced && conn.Attempt.Class != providers.RateLimited:
		return nil
	}
	return fromAttempt(k, conn, now)
}

// excused reports whether the connection's last failure was part of an outage that is over, and it was not tried
// since: that is no reason to wait.
func (r *Refresher) excused(k store.Key, c *store.Connection) bool {
	switch c.Attempt.Class {
	case providers.Transient, providers.Unknown, providers.Misconfigured:
		return r.Gate.Excuses(c.Provider, k.String())
	}
	return false
}

// intend stores the intent, if the provider may rotate what is spent, and reports whether the answer to an earlier one
// was lost.
func (r *Refresher) intend(ctx context.Context, k store.Key, a Answer) (doubt bool, err error) {
	if !a.Terms.MayRotate {
		return false, nil
	}
	doubt, err = r.Connections.Intend(ctx, k, a.Connection.Generation, r.Now())
	switch {
	case err == nil:
		if r.noIntents.CompareAndSwap(true, false) {
			r.Logger.Info("storage takes intents again, so tokens are refreshed")
		}
		return doubt, nil
	case store.IsReadOnly(err):
		return false, logical.ErrReadOnly
	case errors.Is(err, connections.ErrChanged):
		return false, err
	case ctx.Err() != nil:
		return false, tasks.ErrClosed
	}
	level := hclog.Debug
	if r.noIntents.CompareAndSwap(false, true) { // an outage is one line in the log, whomever it meets
		level = hclog.Error
	}
	r.Logger.Log(level, "storage refuses intents, so tokens that may rotate are not refreshed",
		"connection", k.String(), "error", err)
	return false, &Error{Problem: StorageRefuses, Key: k, Provider: a.Connection.Provider, cause: err}
}

// spend asks the provider, and once more when no answer came: the token may be spent, and providers that forgive that
// do so for seconds. unanswered tells that there was such a first request.
func (r *Refresher) spend(ctx context.Context, k store.Key,
	a Answer,
) (g *providers.Grant, unanswered bool, err error) {
	g, err = r.send(ctx, k, a)
	var failure *providers.Error
	if !errors.As(err, &failure) || failure.Class != providers.Unknown || !r.mayRepeat(ctx, k, a) {
		return g, false, err
	}
	again, second := r.send(ctx, k, a)
	if second != nil && !errors.As(second, &failure) {
		return nil, true, err // the second was not sent: what there is to tell is what came of the first
	}
	return again, true, second
}

// send makes one request, unless that was frozen or paused: storage may have kept the intent waiting for long.
func (r *Refresher) send(ctx context.Context, k store.Key, a Answer) (*providers.Grant, error) {
	terms, err := r.Source.Terms(ctx, k, a.Connection)
	if err != nil {
		return nil, err
	}
	switch a.Terms = terms; {
	case terms.Frozen != "":
		return nil, a.disabled(k, store.ReasonFrozen)
	case terms.Paused:
		return nil, a.paused(k)
	}
	return r.Source.Refresh(ctx, k, a.Connection)
}

// mayRepeat reports whether a request without an answer may be made once more. A node that was deposed while it
// waited, or a plugin whose Vault is gone, finds out by the intent: what they would spend belongs to their successor.
func (r *Refresher) mayRepeat(ctx context.Context, k store.Key, a Answer) bool {
	if ctx.Err() != nil || !r.Writable() {
		return false
	}
	if !a.Terms.MayRotate {
		return true
	}
	_, err := r.Connections.Intend(ctx, k, a.Connection.Generation, r.Now())
	return err == nil
}

var actRefresh = connections.Act{Verb: "refresh", Renews: true}

// save keeps what the provider gave, and then ends the intent.
func (r *Refresher) save(ctx context.Context, k store.Key, a Answer, g *providers.Grant, n *renewal) error {
	conn, saved, err := r.Connections.Keep(ctx, k, actRefresh, a.Connection,
		unlessChanged(a, func(c *store.Connection) {
			c.Refreshed(g, r.Now())
		}))
	if err != nil {
		return err
	}
	r.settle(ctx, k, a)
	if conn == nil { // deleted or reconnected meanwhile: what is there is newer
		n.answer, err = r.look(ctx, k)
		return err
	}
	if n := a.Connection.Attempt.Failures; n > 0 && !r.excused(k, a.Connection) {
		r.Logger.Info("refreshing works again", "connection", k.String(), "provider", conn.Provider, "failures", n)
	}
	if saved { // what is asked now may take long, and is not worth the token
		conn = r.dated(ctx, k, conn)
	}
	n.answer, n.brought = Answer{Connection: conn, Terms: a.Terms}, true
	if !saved {
		n.answer.warn("storage refused the refreshed token; it is served from memory and would be lost with this " +
			"process: check Vault's storage")
	}
	return nil
}

// dated is the connection with the end of its token, where that had to be asked and was learned. Whoever waits is told
// it, whether storage takes it or not.
func (r *Refresher) dated(ctx context.Context, k store.Key, conn *store.Connection) *store.Connection {
	until := r.Source.Lifetime(ctx, k, conn)
	if until.IsZero() {
		return conn
	}
	if _, err := r.Connections.Update(ctx, k, connections.Act{Verb: "introspect"}, Dated(conn, until)); err != nil {
		r.Logger.Debug("until when a token lives could not be stored", "connection", k.String(), "error", err)
	}
	told := conn.Clone()
	told.Grant.Expires = until
	return told
}

// Dated is the change that tells until when the token lives that conn has. Another one stays as it is.
func Dated(conn *store.Connection, until time.Time) func(*store.Connection) (*store.Connection, error) {
	return func(c *store.Connection) (*store.Connection, error) {
		if c == nil || c.Generation != conn.Generation || c.Pinned != conn.Pinned || c.Grant == nil ||
			!c.Grant.Expires.IsZero() {
			return nil, nil
		}
		c.Grant.Expires = until
		return c, nil
	}
}

// record keeps why a renewal brought nothing, ends the intent, and says it to the caller.
func (r *Refresher) record(ctx context.Context, k store.Key, a Answer, failure *providers.Error, next time.Time, doubt,
	told bool,
	n *renewal,
) error {
	conn, _, err := r.Connections.Keep(ctx, k, actRefresh, a.Connection, unlessChanged(a, func(c *store.Connection) {
		c.RefreshFailed(store.Failure{
			Error: failure, Lost: a.Terms.MayRotate && (doubt || failure.Class == providers.Unknown), Next: next,
			ProviderSerial: a.Terms.Serial, Idle: a.Terms.Idle,
		}, r.Now())
	}))
	if err != nil {
		return err
	}
	r.settle(ctx, k, a)
	if conn == nil {
		n.answer, err = r.look(ctx, k)
		return err
	}
	level := hclog.Debug
	if a.Connection.Attempt.Class != failure.Class && !told {
		level = hclog.Warn // one line for one change, and none for each probe
	}
	r.Logger.Log(level, "a refresh failed", "connection", k.String(), "provider", conn.Provider,
		"class", string(failure.Class),
		"reason", failure.Reason, "code", failure.Code, "status", failure.Status, "next", next)
	return fromAttempt(k, conn, r.Now())
}

// whyNotSent is the reason of an attempt that did not reach the provider, so that nothing came of an earlier one by it.
const whyNotSent = "not_sent"

// notSent records that a request could not even be sent. Losing that record does no harm, so it is not held. The
// intent ends, unless it tells of an earlier request: a later refusal must not be put down to this one. What was
// stopped has not failed: nothing is to hold it back when that is lifted.
func (r *Refresher) notSent(ctx context.Context, k store.Key, a Answer, doubt bool, why error) {
	if !doubt {
		r.settle(ctx, k, a)
	}
	if ctx.Err() != nil || wasStopped(why) {
		return
	}
	failure := &providers.Error{Class: providers.Transient, Step: providers.StepRefresh, Reason: whyNotSent}
	next := nextTry(failure, a.Connection.Attempt.Failures, r.Now())
	_, err := r.Connections.Update(ctx, k, actRefresh, unlessChanged(a, func(c *store.Connection) {
		c.RefreshFailed(store.Failure{Error: failure, Next: next, ProviderSerial: a.Terms.Serial}, r.Now())
	}))
	if err != nil {
		r.Logger.Debug("a failure could not be recorded", "connection", k.String(), "error", err)
	}
}

// unlessChanged makes a change to the connection that a renewal was for, and none to one that was deleted, reconnected
// or written anew meanwhile.
func unlessChanged(a Answer, change func(*store.Connection)) func(*store.Connection) (*store.Connection, error) {
	return func(c *store.Connection) (*store.Connection, error) {
		if c == nil || c.Generation != a.Connection.Generation {
			return nil, nil
		}
		change(c)
		return c, nil
	}
}

// settle ends the intent of a renewal whose outcome is known.
func (r *Refresher) settle(ctx context.Context, k store.Key, a Answer) {
	if !a.Terms.MayRotate {
		return
	}
	if err := r.Connections.Settle(ctx, k, a.Connection.Generation); err != nil {
		r.Logger.Debug("an intent could not be removed", "connection", k.String(), "error", err)
	}
}

// visit is the call of a renewal as the gate sees it.
func (r *Refresher) visit(k store.Key, c *store.Connection, class gate.Class) gate.Visit {
	return gate.Visit{
		Key: c.Provider, Connection: k.String(), Account: AccountOf(k, c), Worked: c.Worked(), Class: class,
	}
}

// AccountOf names whose a connection is, for the gate: grants of one account fail together. What a user connects
// without saying as whom counts as one; an organization's connections, which many make, count by themselves. So do
// keys: whose one is, a host that it names for itself may lie about.
func AccountOf(k store.Key, c *store.Connection) string {
	switch {
	case c != nil && c.Account.ID != "" && c.Key == nil:
		return c.Account.ID
	case k.Owner.Personal():
		return k.Owner.String()
	}
	return k.String()
}

// OutcomeOf is what came of a call as the gate is to hear it, with how long the provider asked to be left alone.
func OutcomeOf(err error) (gate.Outcome, time.Duration) {
	var failure *providers.Error
	switch {
	case err == nil:
		return gate.Succeeded, 0
	case errors.As(err, &failure):
		return outcome(failure), failure.RetryAfter
	}
	return gate.NotSent, 0
}

// outcome is what a failure says of the provider. An answer that refuses this request shows it to be well.
func outcome(e *providers.Error) gate.Outcome {
	if e.NotSent() {
		return gate.NotSent
	}
	switch e.Class {
	case providers.RateLimited:
		return gate.Limited
	case providers.Unknown:
		return gate.Failed
	case providers.Misconfigured:
		if e.Status == 0 {
			return gate.NotSent // what is wrong was found before, and concerns this connection
		}
		if e.OfKey { // other keys may hear otherwise
			return gate.Answered
		}
		return gate.AppRefused
	case providers.Transient:
		refused := e.Status >= 400 && e.Status < 500 && e.Status != http.StatusUnauthorized &&
			e.Status != http.StatusRequestTimeout
		if !refused {
			return gate.Failed
		}
	}
	return gate.Answered
}

// notNow is the error for a renewal that the gate does not let pass.
func (r *Refresher) notNow(k store.Key, provider string, err error) error {
	var refused *gate.Refused
	switch {
	case !errors.As(err, &refused):
		return tasks.ErrClosed // the renewal's own context, or the gate, ended with the mount
	case refused.State == gate.Resting:
		return &Error{
			Problem: Unavailable, Key: k, Provider: provider, Class: providers.RateLimited,
			Why: "the provider asked to be left alone", Next: refused.Until,
		}
	case refused.State == gate.Refusing:
		return &Error{
			Problem: AppRefused, Key: k, Provider: provider, Class: providers.Misconfigured,
			Why: "for several accounts", Next: refused.Until,
		}
	case refused.State == gate.Down:
		return &Error{
			Problem: Unavailable, Key: k, Provider: provider, Class: providers.Transient,
			Why: "the provider is down", Next: refused.Until,
		}
	}
	return &Error{
		Problem: Unavailable, Key: k, Provider: provider, Class: providers.Transient,
		Why: "too many requests wait for the provider",
	}
}
