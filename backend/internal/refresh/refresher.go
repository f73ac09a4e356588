package refresh

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// Terms is what decides about a connection beside the connection itself.
type Terms struct {
	Fingerprint  *string      // of the provider as it is now; nil when it is gone
	Serial       uint64       // of the provider
	CanRefresh   bool         // there is something to refresh with
	MayRotate    bool         // the provider may replace what is spent: an intent is needed
	Barred       store.Reason // why the provider does not serve it at all
	Frozen       string       // what an operator froze of it, and what lifts that; empty: nothing
	Paused       bool
	PausedReason string        // in a word; empty: an operator's
	Idle         time.Duration // the grant must be used so often, though nobody reads; zero: need not
	MinAge       time.Duration // the provider renews no token that is younger
	OnDemand     bool          // nothing tells when a token should be replaced: people do
	Margin       time.Duration // the most that a token is replaced before its expiry
	CheckEvery   time.Duration // how often what no refresh proves is checked; 0: never
	Poll         time.Duration // what readers of credentials without expiry are told
	KeyDue       time.Time     // when its key is to be replaced by a person; zero: never, or nobody knows
}

// Source speaks to providers. The backend implements it; tests use one that fails on demand.
type Source interface {
	// Terms reads how things stand for c, from storage, without a call to the provider.
	Terms(ctx context.Context, k store.Key, c *store.Connection) (Terms, error)
	// Refresh spends c's grant at its provider. Errors of the provider are *providers.Error; any other error means
	// that nothing was sent.
	Refresh(ctx context.Context, k store.Key, c *store.Connection) (*providers.Grant, error)
	// Lifetime asks until when the token lives that a refresh brought c, if its answer did not tell and the service is
	// to be asked; zero: nobody knows.
	Lifetime(ctx context.Context, k store.Key, c *store.Connection) time.Time
}

// Options is what a Refresher works with. All of it is required.
type Options struct {
	Connections *connections.Repository
	Gate        *gate.Gate
	Tasks       *tasks.Runner
	Source      Source
	Writable    func() bool // whether this node may write to the mount's storage
	Now         func() time.Time
	// Sooner has the background look at a connection at that time, if it would not before.
	Sooner func(store.Key, time.Time)
	Logger hclog.Logger
}

// Refresher is the only one that spends grants.
type Refresher struct {
	Options

	noIntents atomic.Bool // storage refused the last one
	witnesses witnesses
}

// New makes a refresher that does nothing until it is asked.
func New(o Options) *Refresher { return &Refresher{Options: o} }

// Answer is a credential and how it stands.
type Answer struct {
	Connection *store.Connection
	Terms      Terms
	Warnings   []string
}

// Permit says whether the caller may use a connection. It is asked before anything is set in motion.
type Permit func(*store.Connection) error

// askAgain is how often a caller waits for another renewal, because the one they waited for was of another generation.
const askAgain = 2

// Get answers the connection's credential. While it lives Get waits for nobody, unless it is about to expire or minTTL
// asks for one that lives longer: inside the margin it answers the living token and has it renewed meanwhile. Callers
// who need a new one share one renewal. More than a new token would live is answered with what there is.
func (r *Refresher) Get(ctx context.Context, k store.Key, permit Permit, minTTL time.Duration) (Answer, error) {
	a, err := r.look(ctx, k)
	if err != nil {
		return Answer{}, err
	}
	for again := 0; ; again++ {
		if err := permit(a.Connection); err != nil {
			return Answer{}, err
		}
		need, why, err := a.judge(k, minTTL, r.Now())
		if err != nil {
			return Answer{}, err
		}
		if need == renewSoon {
			r.renewMeanwhile(k, a)
			a.warnOfFailures()
		}
		if need == nothing || need == renewSoon {
			a.warnOfLimit(r.Now())
			return a, nil
		}
		done, err := r.await(ctx, k, a, renewal{seen: a.Connection.Generation, class: gate.Reader})
		switch {
		case store.IsReadOnly(err):
			return Answer{}, logical.ErrReadOnly // another node can do it
		case done.of(a) && done.brought && (again == askAgain || !done.answer.diedWaiting(r.Now())):
			return r.renewed(ctx, k, done.answer, permit)
		case again < askAgain && done.asksAgain(a, err):
			if err != nil {
				a, err = r.look(ctx, k)
			} else {
				a = done.answer
				a.Terms, err = r.Source.Terms(ctx, k, a.Connection)
			}
			if err != nil {
				return Answer{}, err
			}
			continue
		case err == nil:
			err = keepsChanging(k, a)
		}
		if need == renewFirst {
			return r.instead(ctx, k, a, permit, why, err)
		}
		return Answer{}, err
	}
}

// instead answers the living token, since no new one could be had. The wait for that may have been long: what became
// of the connection meanwhile counts.
func (r *Refresher) instead(ctx context.Context, k store.Key, a Answer, permit Permit, why string,
	failed error,
) (Answer, error) {
	if now, err := r.look(ctx, k); err == nil {
		a = now
	} else if errors.As(err, new(*Error)) {
		return Answer{}, err // it is gone
	} else if a.Terms, err = r.Source.Terms(ctx, k, a.Connection); err != nil {
		return Answer{}, err // nobody knows whether it is frozen
	}
	if err := permit(a.Connection); err != nil {
		return Answer{}, err
	}
	need, _, err := a.judge(k, 0, r.Now())
	switch {
	case err != nil:
		return Answer{}, err
	case need == renewNow: // it died meanwhile
		return Answer{}, failed
	}
	if status, _ := a.Status(r.Now()); status == store.StatusActive { // else judge has said why there is no new one
		a.warn(why + ": " + r.inOurWords(k, failed))
	}
	return a, nil
}

// Refresh renews the credential now, whatever the backoff says, but for a Retry-After of its own. A success within the
// last ten seconds answers it, a failure within the last five, and a renewal that is under way.
func (r *Refresher) Refresh(ctx context.Context, k store.Key, permit Permit) (Answer, error) {
	for again := 0; ; again++ {
		a, err := r.look(ctx, k)
		if err != nil {
			return Answer{}, err
		}
		if err := permit(a.Connection); err != nil {
			return Answer{}, err
		}
		if answered, err := r.mayDemand(k, a); answered || err != nil {
			return a, err
		}
		done, err := r.await(ctx, k, a, renewal{seen: a.Connection.Generation, forced: true, class: gate.Person})
		switch {
		case done.of(a) && done.brought && (again == askAgain || !done.answer.diedWaiting(r.Now())):
			renewed, err := r.renewed(ctx, k, done.answer, permit)
			if problem := new(Error); errors.As(err, &problem) && problem.Problem == Choosing {
				return done.answer, nil // it is not handed out yet, and is fresh
			}
			return renewed, err
		// the backoff may have refused it
		case again < askAgain && (done.asksAgain(a, err) || done.under && !done.forced):
			continue
		case err == nil:
			err = keepsChanging(k, a)
		}
		return Answer{}, err
	}
}

func keepsChanging(k store.Key, a Answer) error {
	return &Error{
		Problem: Unavailable, Key: k, Provider: a.Connection.Provider, Class: providers.Transient,
		Why: "its credential was changed again and again meanwhile",
	}
}

// Replace renews the credential that the service was seen to refuse, unless it was replaced since. It is a reader's
// demand: the backoff of earlier failures holds it back, and a grant that the provider refused is left alone.
func (r *Refresher) Replace(ctx context.Context, k store.Key, permit Permit, seen uint64) (Answer, error) {
	a, err := r.look(ctx, k)
	if err != nil {
		return Answer{}, err
	}
	if err := permit(a.Connection); err != nil {
		return Answer{}, err
	}
	if a.Connection.Generation != seen {
		return r.renewed(ctx, k, a, permit)
	}
	if status, reason := a.Status(r.Now()); status == store.StatusNeedsReconnect {
		return Answer{}, needsReconnect(k, a.Connection, reason, r.Now())
	}
	if _, err := r.mayDemand(k, a); err != nil {
		return Answer{}, err
	}
	done, err := r.await(ctx, k, a, renewal{seen: seen, class: gate.Reader})
	switch {
	case err != nil:
		return Answer{}, err
	case done.of(a) && done.brought:
		return r.renewed(ctx, k, done.answer, permit)
	}
	return Answer{}, keepsChanging(k, a)
}

// mayDemand says why a demand to renew is refused, or that what there is answers it.
func (r *Refresher) mayDemand(k store.Key, a Answer) (answered bool, err error) {
	now, conn := r.Now(), a.Connection
	status, reason := a.Status(now)
	alive := stageOf(conn, 0, now) != dead
	switch {
	case status.Stopped():
		return false, a.disabled(k, reason)
	case status == store.StatusNeedsReconnect && !a.mayTryRefused(now):
		return false, needsReconnect(k, conn, reason, now)
	case conn.Grant == nil:
		return false, &Error{
			Problem: NotRefreshable, Key: k,
			Why: "it holds a key; write a new one to connections/" + k.String(),
		}
	case !a.Terms.CanRefresh:
		return false, &Error{Problem: NotRefreshable, Key: k, Why: "the provider gave no refresh token"}
	case tooYoung(conn.Grant, a.Terms, now) && alive && !recent(conn.LastRefresh, now, recentSuccess):
		return false, &Error{
			Problem: NotRefreshable, Key: k,
			Why: "the provider renews no token younger than " + a.Terms.MinAge.String(),
		}
	case recent(conn.Rotated, now, recentSuccess) && alive && !a.Terms.Paused && r.Writable():
		return true, nil
	case a.Terms.Serial == conn.Attempt.ProviderSerial && recent(conn.Attempt.Last, now, recentFailure):
		return false, fromAttempt(k, conn, now)
	}
	return false, nil
}

// renewed is the answer for whoever waited for a renewal. It is judged as what a reader found: a person may have
// disabled the connection meanwhile, or changed whom it serves, or an operator may have frozen it.
func (r *Refresher) renewed(ctx context.Context, k store.Key, a Answer, permit Permit) (Answer, error) {
	if err := permit(a.Connection); err != nil {
		return Answer{}, err
	}
	terms, err := r.Source.Terms(ctx, k, a.Connection)
	if err != nil {
		return Answer{}, err
	}
	a.Terms = terms
	now := r.Now()
	need, _, err := a.judge(k, 0, now)
	switch {
	case err != nil:
		return Answer{}, err
	case need == renewNow:
		return Answer{}, &Error{
			Problem: Unavailable, Key: k, Provider: a.Connection.Provider,
			Class: providers.Transient, Why: "it gave a token that is dead already",
		}
	}
	a.warnOfLimit(now)
	return a, nil
}

// look reads the connection and its terms.
func (r *Refresher) look(ctx context.Context, k store.Key) (Answer, error) {
	conn, unsaved, err := r.Connections.Get(ctx, k)
	if err != nil {
		return Answer{}, err
	}
	if conn == nil {
		return Answer{}, &Error{Problem: NotFound, Key: k}
	}
	terms, err := r.Source.Terms(ctx, k, conn)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Connection: conn, Terms: terms}
	if unsaved {
		a.warn("storage refuses to save this connection's newest state; it is served from memory and would be lost " +
			"with this process: check Vault's storage")
	}
	return a, nil
}

// inOurWords is the text of an error for a warning. What storage says goes to the log: it may name files.
func (r *Refresher) inOurWords(k store.Key, err error) string {
	var known *Error
	if errors.As(err, &known) || errors.Is(err, tasks.ErrClosed) {
		return err.Error()
	}
	r.Logger.Warn("a token could not be refreshed", "connection", k.String(), "error", err)
	return "this node could not refresh it, and its log says why"
}
