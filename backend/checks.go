package backend

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// validity is what the service says of a credential.
type validity string

const (
	valid   validity = "true"
	refused validity = "false"
	unknown validity = "unknown"
)

// reached is how the service answered.
type reached string

const (
	serviceWell    reached = "well"
	serviceLimited reached = "limited"
	serviceDown    reached = "down"
	notAsked       reached = "not_asked"
)

const takesIt = "the service takes the credential"

// checked is what came of one check.
type checked struct {
	generation uint64 // of the credential that was shown
	serial     uint64 // of the provider that it was shown to
	at         time.Time
	latency    time.Duration
	valid      validity
	service    reached
	told       providers.Checked
	advice     string
	words      bool          // the service refused it in words that the definition knows
	rest       time.Duration // for which the service asked to be left alone with it
	stale      bool          // what it was begun with does not hold any more, so it was shown to nobody
	anonymous  bool          // nobody knows whose the account is, and the call that was made tells nothing of it
}

// asked is when the service was asked; zero: it was not.
func (c checked) asked() time.Time {
	if c.latency == 0 {
		return time.Time{}
	}
	return c.at
}

// checks remembers the checks that were made lately, so that a crowd of applications asks the service once. What it
// forgets is asked again.
type checks struct {
	mu   sync.Mutex
	last map[store.Key]checked
	// the generations that a check's refresh brought: a check renews them no sooner than a reader would
	brought map[store.Key]uint64
}

const (
	recentCheck = 10 * time.Second // answers further checks
	maxChecks   = 10_000           // of each, before all are forgotten
	// maxCheckRest bounds how long a limit of the service answers further checks of the credential that it was told
	// for.
	maxCheckRest = 5 * time.Minute
	checkAgain   = 2 // how often a caller whose check was of something else begins another
)

func (c *checks) recent(k store.Key, generation, serial uint64, now time.Time) (checked, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, ok := c.last[k]
	age := now.Sub(last.at)
	same := ok && last.generation == generation && last.serial == serial
	return last, same && age >= 0 && age < max(recentCheck, last.rest)
}

func (c *checks) keep(k store.Key, found checked) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil || len(c.last) >= maxChecks {
		c.last = map[store.Key]checked{}
	}
	c.last[k] = found
}

func (c *checks) hasBrought(k store.Key, generation uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.brought[k] == generation
}

func (c *checks) bring(k store.Key, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.brought == nil || len(c.brought) >= maxChecks {
		c.brought = map[store.Key]uint64{}
	}
	c.brought[k] = generation
}

// forget lets the next checks ask: what was found may not hold any more.
func (c *checks) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = nil
}

// checkName is the name of a connection's check among the tasks: there is one at a time.
func checkName(k store.Key) string { return "check " + k.String() }

// check asks the service whether a connection's credential works, for whoever may use it, and records what is sure.
// Once begun it goes on, whether or not the caller waits.
func (b *backend) check(ctx context.Context, k store.Key, permit refresh.Permit) (checked, error) {
	for again := 0; ; again++ {
		a, err := b.refresher.Get(ctx, k, permit, 0)
		var problem *refresh.Error
		switch {
		case errors.As(err, &problem) && problem.Problem != refresh.NotFound && problem.Reason != store.ReasonFrozen:
			return unusable(problem), nil
		case err != nil:
			return checked{}, err
		}
		if last, ok := b.checks.recent(k, a.Connection.Generation, a.Terms.Serial, b.now()); ok {
			return last, nil
		}
		out, err := b.tasks.Once(ctx, checkName(k), func(ctx context.Context) (any, error) {
			return b.runCheck(ctx, k, a.Connection, permit, gate.Reader)
		})
		if err != nil {
			return checked{}, err
		}
		// who joined one that was under way may have joined that of a former credential
		found := out.(checked)
		if again == checkAgain || !found.stale && found.generation >= a.Connection.Generation {
			return found, nil
		}
	}
}

// unusable is the answer for a connection that has nothing to show.
func unusable(problem *refresh.Error) checked {
	found := checked{valid: refused, service: notAsked, advice: problem.Error()}
	if problem.Problem == refresh.Disabled || problem.Problem == refresh.Choosing {
		found.valid = unknown
	}
	return found
}

// runCheck shows the credential and records what came of it. A token that is refused although it should live is renewed
// once, and the new one is shown.
func (b *backend) runCheck(ctx context.Context, k store.Key, conn *store.Connection, permit refresh.Permit,
	class gate.Class,
) (checked, error) {
	b.directory.checked(k)
	found, err := b.show(ctx, k, conn, permit, class)
	if err != nil {
		return checked{}, err
	}
	terms, err := b.Terms(ctx, k, conn)
	switch {
	case err != nil:
		return checked{}, err
	case found.stale:
		return found, nil
	case found.valid != refused:
	case !terms.CanRefresh:
		found.advice = refusedAdvice(k, conn, found.words)
	case b.checks.hasBrought(k, conn.Generation) && b.now().Before(conn.Grant.Issued.Add(refresh.Soonest(conn.Grant))):
		found.advice = "the service refuses a token that was renewed a moment ago for the same reason: look at the " +
			"account's rights and at the service's status before anything else; another is asked for later"
	default:
		found, conn, err = b.replaceAndShow(ctx, k, conn, permit, found)
		if err != nil || found.stale {
			return found, err
		}
	}
	if err := b.recordCheck(ctx, k, conn, found, terms.CanRefresh); err != nil {
		b.Logger().Warn("what a check found could not be stored", "connection", k.String(), "error", err)
	}
	if found.anonymous {
		b.identifySoon(k) // once that is stored: what each tells of a key is added to what is there
	}
	b.checks.keep(k, found)
	return found, nil
}

// replaceAndShow renews a token that the service refuses, as was found, and shows the new one.
func (b *backend) replaceAndShow(ctx context.Context, k store.Key, conn *store.Connection, permit refresh.Permit,
	found checked,
) (checked, *store.Connection, error) {
	a, err := b.refresher.Replace(ctx, k, permit, conn.Generation)
	var problem *refresh.Error
	switch {
	case errors.As(err, &problem):
		found.advice = "the service refuses the token, and no new one could be had: " + problem.Error()
		return found, conn, nil
	case err != nil:
		return checked{}, nil, err
	}
	b.checks.bring(k, a.Connection.Generation)
	found, err = b.show(ctx, k, a.Connection, permit, gate.Reader)
	switch found.valid {
	case valid:
		found.advice = "the token had been refused, and was renewed: read it again. " + found.advice
	case refused:
		found.advice = "the service refuses the token that it gave a moment ago, too: look at the account's rights " +
			"and at the service's status"
	}
	return found, a.Connection, err
}

// show makes the call. Whatever came of it is an answer; the error is that nothing was found out here.
func (b *backend) show(ctx context.Context, k store.Key, conn *store.Connection, permit refresh.Permit,
	class gate.Class,
) (checked, error) {
	found := checked{generation: conn.Generation, at: b.now(), valid: unknown, service: notAsked}
	p, err := b.provider(ctx, conn.Provider)
	switch {
	case err != nil:
		return found, err
	case p == nil || p.fingerprint != conn.Pinned:
		found.advice = "the provider is gone or was changed since, so the credential is shown to nobody: connect the " +
			"account again, or take the change back"
		return found, nil
	}
	found.serial = p.entry.Serial
	if _, err := p.app.Definition.MergeInputs(conn.Kind, p.entry.Inputs, conn.Inputs); err != nil {
		found.advice = "nothing was sent: " + err.Error() + "; write the credential again"
		return found, nil
	}
	resolved, err := b.resolve(ctx, p, k, conn.Kind, conn.Inputs)
	if err == nil && !p.app.CanCheck(resolved, conn.Kind) {
		found.advice = "definition " + p.app.Definition.ID + " " + p.app.WhyUnchecked(resolved, conn.Kind)
		return found, nil
	}
	var pass *gate.Pass
	if err == nil {
		pass, err = b.enterAs(ctx, class, p.calledAt(conn.Kind, conn.Inputs), k, conn)
	}
	if err != nil {
		return b.notShown(ctx, found, err)
	}
	// What is said to a call with one account's credential holds for that account: if it made the provider rest, one
	// application could keep the tokens of all others from being renewed.
	defer pass.Leave(gate.NotSent, 0)
	if found.stale, err = b.overtaken(ctx, k, conn, p, permit); err != nil || found.stale {
		found.advice = "the connection or its provider was changed meanwhile, so the credential was shown to nobody: " +
			"ask again"
		return found, err
	}
	from := time.Now()
	told, err := p.client.Check(b.debugs(ctx, p, k, conn), p.app, resolved, conn.Kind, presented(p, conn))
	found.latency = time.Since(from)
	if told != nil {
		found.told = *told
		if conn.Grant != nil {
			b.dateSoon(k, p, conn.Grant)
		}
		found.anonymous = told.Account.ID == "" && conn.Account.ID == "" && p.app.Definition.Health != nil
	}
	return b.judgeCheck(found, err)
}

// overtaken reports whether a check may not be made any more as it was begun: the wait for a place may have been long.
func (b *backend) overtaken(ctx context.Context, k store.Key, conn *store.Connection, p *configured,
	permit refresh.Permit,
) (bool, error) {
	now, _, err := b.connections.Get(ctx, k)
	if err != nil || now == nil || now.Generation != conn.Generation || permit(now) != nil {
		return true, err
	}
	terms, err := b.Terms(ctx, k, now)
	if err != nil {
		return true, err
	}
	status, _ := terms.Status(now, b.now())
	return status.Stopped() || terms.Fingerprint == nil || terms.Serial != p.entry.Serial, nil
}

// notShown is what is said when no call was made.
func (b *backend) notShown(ctx context.Context, found checked, err error) (checked, error) {
	var shut *gate.Refused
	switch {
	case ctx.Err() != nil, errors.Is(err, gate.ErrClosed):
		return found, gate.ErrClosed
	case errors.As(err, &shut):
		found.advice = gateText(shut)
		if found.service = serviceDown; shut.State == gate.Resting || shut.State == gate.Busy {
			found.service = serviceLimited
		}
		return found, nil
	}
	return b.judgeCheck(found, err)
}

// judgeCheck says what the answer means for the credential. Only a clear word is one.
func (b *backend) judgeCheck(found checked, err error) (checked, error) {
	var call *providers.Error
	if err != nil && !errors.As(err, &call) {
		return found, err
	}
	found.service = serviceWell
	switch {
	case err == nil:
		found.valid, found.advice = valid, takesIt
		if partly := found.told.Partly; partly != nil {
			found.advice += ", and its connection_config is not whole, which applications may need (" + partly.Error() + ")"
		}
		return found, nil
	case call.NotSent():
		found.service, found.latency, found.advice = notAsked, 0, call.Error()
		return found, nil
	}
	switch call.Class {
	case providers.Forbidden:
		found.valid = valid
		found.advice = "the service takes the credential, and does not allow it this call (" + call.Error() +
			"): if applications are refused too, look at its scopes and at the account's rights"
	case providers.Expired, providers.Rejected:
		found.valid, found.words = refused, call.Code != ""
		found.advice = "the service refuses the credential (" + call.Error() + ")"
	case providers.RateLimited:
		found.service, found.advice = serviceLimited, "the service asked to be left alone: check again later"
		found.rest = min(call.RetryAfter, maxCheckRest)
	case providers.Misconfigured:
		found.service = notAsked
		found.advice = "the check itself is not right (" + call.Error() + "): an operator looks at the provider"
		if call.Status != 0 {
			found.service = serviceWell
		}
	default:
		found.service = serviceDown
		found.advice = "the service did not answer as it should (" + call.Error() + "): nothing follows for the " +
			"credential; check again later"
	}
	return found, nil
}

// presented is the credential as calls show it.
func presented(p *configured, conn *store.Connection) *providers.Grant {
	if conn.Grant != nil {
		g := conn.Clone().Grant
		g.Config = maps.Clone(conn.Config())
		return g
	}
	g := presentedKey(keyFields(p, conn))
	g.Config = maps.Clone(conn.Config())
	for name, v := range conn.SecretConfig() {
		if _, field := g.SecretConfig[name]; !field {
			g.SecretConfig[name] = v
		}
	}
	return g
}

func presentedKey(fields map[string]string) *providers.Grant {
	g := &providers.Grant{SecretConfig: map[string]providers.Secret{}}
	for name, v := range fields {
		g.SecretConfig[name] = providers.NewSecret(v)
	}
	return g
}

func refusedAdvice(k store.Key, conn *store.Connection, words bool) string {
	switch {
	case conn.Grant == nil:
		return "the service refuses the key: write a new one to connections/" + k.String()
	case words:
		return "the service says that the token is revoked, and nothing can renew it: start a flow with auth-code-url/" +
			k.String()
	}
	return "the service refuses the token, and nothing can renew it: if that lasts, start a flow with auth-code-url/" +
		k.String()
}

// recordCheck writes down what is sure, if it is new: most checks write nothing.
func (b *backend) recordCheck(ctx context.Context, k store.Key, conn *store.Connection, found checked,
	renewable bool,
) error {
	passed := found.valid == valid && (!conn.Invalid.IsZero() ||
		conn.Account.ID == "" && found.told.Account.ID != "" || tellsMore(conn, found.told.Captured))
	p, err := b.provider(ctx, conn.Provider)
	if err != nil {
		return err
	}
	drifts := found.valid == valid && p.lostOrFound(conn, found.told.Scopes)
	failed := found.valid == refused && !renewable && conn.Invalid.IsZero() && found.generation == conn.Generation
	if !passed && !failed && !drifts {
		return nil
	}
	_, err = b.connections.Update(ctx, k, connections.Act{Verb: "check"},
		func(c *store.Connection) (*store.Connection, error) {
			switch {
			case c == nil || c.Generation != conn.Generation || c.Pinned != conn.Pinned:
				return nil, nil // what was shown is not its credential any more
			case passed, drifts:
				if passed {
					c.CheckPassed(found.told.Account)
					captured(c, conn, found.told.Captured)
				}
				if drifts {
					c.Tells(found.told.Scopes)
				}
			case found.words && c.Grant != nil:
				c.RevokedThere(b.now())
			default:
				c.CheckFailed(b.now())
			}
			return c, nil
		})
	return err
}

// tellsMore reports whether something in what the service told of a key is not what the connection has.
func tellsMore(conn *store.Connection, told *providers.Captured) bool {
	return conn.Grant == nil && told != nil && !told.Equal(conn.Captured)
}

// captured records in c what the service told of the key of conn, which is c as it was when the service was asked. What
// another answer brought meanwhile stays: the next check sees it.
func captured(c, conn *store.Connection, told *providers.Captured) {
	if c.Captured.Equal(conn.Captured) {
		c.Capture(told)
	}
}
