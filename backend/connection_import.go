package backend

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/hashicorp/vault/sdk/framework"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// imported is what a write has beside its grant when it brings tokens that were obtained elsewhere.
type imported struct {
	imports      bool
	untried      bool             // they are stored as they are
	otherAccount bool             // another account than before is meant
	refreshed    bool             // they were imported before, and refreshed since
	tried        *providers.Grant // what became of them when they were tried
	resumes      *store.Trial     // the background carries on with it
	class        gate.Class       // who waits for that
}

func (w *write) readImport(d *framework.FieldData, asked, refreshToken, accessToken string) error {
	kind, err := w.provider.kindOf(asked, func(k providers.Kind) bool {
		return k == providers.KindAuthorizationCode || k == providers.KindDeviceCode
	})
	if err == nil && kind != providers.KindAuthorizationCode && kind != providers.KindDeviceCode {
		err = badRequest("kind %s does not come by tokens that were obtained elsewhere", kind)
	}
	if err == nil {
		err = w.provider.admit(w.key, kind, w.known)
	}
	if err == nil {
		err = w.provider.admitImport(w.key.Owner)
	}
	if err != nil {
		return err
	}
	w.kind, w.class = kind, gate.Person
	w.grant = &providers.Grant{
		AccessToken: providers.NewSecret(accessToken), RefreshToken: providers.NewSecret(refreshToken), Issued: w.now,
	}
	if v, ok := d.GetOk("expires_in"); ok {
		if accessToken == "" {
			return badRequest("expires_in goes with access_token")
		}
		w.grant.Expires = w.now.Add(time.Duration(v.(int)) * time.Second)
	}
	if ttl := w.provider.app.AssumedTTL; w.grant.Expires.IsZero() && ttl > 0 {
		w.grant.Expires = w.now.Add(ttl)
	}
	if accessToken == "" {
		w.grant.Expires = w.now // nothing to serve yet: a refresh brings it
	}
	w.untried = !d.Get("verify").(bool)
	w.otherAccount = d.Get("allow_account_change").(bool)
	return nil
}

// sentAgain reports whether the write imports what c holds or has refreshed since: a client, a configuration tool or
// Vault itself sent it again. Under other inputs the tokens belong elsewhere.
func (w *write) sentAgain(c *store.Connection) bool {
	if named := w.settings.Inputs; !w.imports || named != nil && !maps.Equal(*named, c.Inputs) {
		return false
	}
	var has bool
	has, w.refreshed = c.HasImport(w.grant, w.provider.fingerprint)
	return has
}

// importOutcome is what came of an import, for the one that it was.
type importOutcome struct {
	of   *write
	conn *store.Connection
	err  error
}

// importName is the name of a connection's imports among the tasks: there is one at a time.
func importName(k store.Key) string { return "import " + k.String() }

// importTokens makes tokens that were obtained elsewhere the connection's, once they are tried. Another import of the
// same connection is waited for: what it brings may be the same token.
func (b *backend) importTokens(ctx context.Context, w *write) (*store.Connection, error) {
	for {
		out, err := b.tasks.Once(ctx, importName(w.key), func(ctx context.Context) (any, error) {
			conn, err := b.runImport(ctx, w)
			return importOutcome{w, conn, err}, nil
		})
		if err != nil {
			return nil, err
		}
		if o := out.(importOutcome); o.of == w {
			return o.conn, o.err
		}
	}
}

// runImport is one import, from the first look to the last write. What speaks against it is found before anything is
// asked or spent, and nothing takes the place of what there is before it is known to work.
func (b *backend) runImport(ctx context.Context, w *write) (*store.Connection, error) {
	defer b.connections.Pin(w.key)()
	b.endedImports.Delete(w.key) // a deletion may have come as the last one ended
	defer b.endedImports.Delete(w.key)
	if err := b.stillAdmits(ctx, w); err != nil {
		return nil, err
	}
	known, err := b.beforeImport(ctx, w)
	if err != nil {
		return nil, err
	}
	if w.known == nil && known != nil && w.sentAgain(known) { // the same import was quicker
		w.known, w.use = known, changing
	}
	if _, err := w.apply(known.Clone()); err != nil {
		return nil, err
	}
	switch {
	case known != nil && w.sentAgain(known):
		conn, err := w.store(ctx, b, func(c *store.Connection) (*store.Connection, error) {
			if c == nil || !w.sentAgain(c) {
				return nil, conflict("connection %s was changed meanwhile: nothing was written; send this again",
					w.key)
			}
			return w.apply(c)
		})
		if err == nil && w.refreshed {
			w.warnings = append(w.warnings, "these tokens were imported before and have been refreshed since; the "+
				"newer ones were kept")
		}
		if err == nil && b.trials.Load() > 0 {
			b.endTrial(ctx, w.key, store.TrialOf(w.key, w.grant))
		}
		return conn, err
	case w.untried && w.provider.refusesUnknown():
		return nil, badRequest("provider %q has surplus_scopes=refuse, so tokens must be "+
			"tried: leave out verify=false",
			w.provider.name)
	case w.untried:
		w.warnings = append(w.warnings, "the tokens were stored untried (verify=false): whether they work shows when "+
			"they are used")
		return w.store(ctx, b, w.apply)
	}
	g, t, err := b.try(ctx, w, known)
	if err != nil {
		return nil, err
	}
	return b.adoptTried(ctx, w, known, g, t)
}

// stillAdmits looks again at what the operator allows: the wait since may have been long.
func (b *backend) stillAdmits(ctx context.Context, w *write) error {
	p, err := b.provider(ctx, w.provider.name)
	switch {
	case err != nil:
		return err
	case p == nil || p.fingerprint != w.provider.fingerprint:
		return conflict("provider %q changed meanwhile, so the token is sent nowhere: send this again",
			w.provider.name)
	}
	w.provider = p
	if err := p.admit(w.key, w.kind, w.known); err != nil {
		return err
	}
	return p.admitImport(w.key.Owner)
}

// beforeImport gives the connection as it is, once no renewal spends the token that is imported: adopting it again
// would drop the answer.
func (b *backend) beforeImport(ctx context.Context, w *write) (*store.Connection, error) {
	for range 3 {
		known, _, err := b.connections.Get(ctx, w.key)
		if err != nil && !(w.replaces && store.Damaged(err)) {
			return nil, err
		}
		mine := known != nil && (known.FromImport(w.grant) || known.Holds(w.grant))
		if !mine || !b.connections.Spending(w.key) {
			return known, nil
		}
		if under := b.tasks.Find(refresh.Name(w.key)); under != nil {
			b.promote(ctx, w.key)
			if _, _ = under.Wait(ctx); ctx.Err() != nil {
				return nil, ctx.Err()
			}
		}
	}
	return nil, conflict("the refresh token of %s is being spent again and again: nothing was "+
		"written; send this again",
		w.key)
}

// try finds out whether the tokens work and whose they are. Where a refresh token had to be spent for that, the trial
// holds what came of it.
func (b *backend) try(ctx context.Context, w *write, known *store.Connection,
) (g *providers.Grant, t *store.Trial, err error) {
	inputs := w.inputs(known)
	if !w.grant.RefreshToken.IsZero() {
		t, err = b.store.Trial(ctx, w.key, w.grant)
		switch {
		case err != nil && !store.Damaged(err):
			return nil, nil, err
		case err != nil, t != nil && t.Open() && !t.For(w.provider.fingerprint, inputs):
			t = nil
		case t != nil && !t.Open() && !t.For(w.provider.fingerprint, inputs):
			return nil, nil, conflict("this refresh token was spent with other inputs, or while provider %q was "+
				"configured otherwise: name the same inputs, or bring new tokens", w.provider.name)
		case t != nil && !t.Open() && w.resumes == nil && t.Caller != w.who.id():
			return nil, nil, conflict("this refresh token was brought by somebody else, and is spent: " +
				"nothing was changed")
		case t != nil && !t.Open() && t.Identified:
			return t.Given, t, nil
		}
	}
	resolved, err := b.resolve(ctx, w.provider, w.key, inputs)
	if err != nil {
		return nil, nil, asBadRequest(err)
	}
	pass, err := b.enterFor(ctx, w.class, w.provider.name, w.key, known, w.who)
	if err != nil {
		return nil, nil, err
	}
	defer pass.Leave(gate.NotSent, 0)
	if err = b.stillAdmits(ctx, w); err == nil && known == nil && !w.replaces {
		err = b.mayAdd(ctx, w.key)
	}
	if err != nil {
		return nil, nil, err
	}
	if t != nil && !t.Open() { // whose it is was not learned when it came
		err := w.provider.client.Identify(ctx, w.provider.app, resolved, t.Given)
		pass.Leave(aside(err))
		w.warnOfIdentity(b, err)
		return t.Given, t, nil
	}
	lives := !w.grant.AccessToken.IsZero() && (w.grant.Expires.IsZero() || w.now.Before(w.grant.Expires))
	if w.provider.refusesUnknown() && !w.grant.RefreshToken.IsZero() {
		lives = false // which scopes it has, the provider tells with a new one
	}
	if g := w.grant; t == nil && lives {
		copied := *g
		err := w.provider.client.Identify(ctx, w.provider.app, resolved, &copied)
		dead := isDead(err)
		switch {
		case !dead:
			pass.Leave(aside(err)) // before storage is written
			w.warnOfIdentity(b, err)
			return &copied, nil, nil
		case g.RefreshToken.IsZero():
			return nil, nil, conflict("provider %q does not take this access token: nothing was stored",
				w.provider.name)
		}
	}
	if w.grant.RefreshToken.IsZero() {
		return nil, nil, badRequest("the access token has expired, and there is no refresh_token: nothing was stored")
	}
	return b.redeem(ctx, w, known, resolved, pass, t)
}

// isDead reports whether an API says that the access token is of no use any more.
func isDead(err error) bool {
	var call *providers.Error
	return errors.As(err, &call) && (call.Class == providers.Expired || call.Class == providers.Rejected)
}

func (w *write) warnOfIdentity(b *backend, err error) {
	if err != nil {
		w.warnings = append(w.warnings, "whose account it is could not be learned: "+b.warningText(err))
	}
}

// inputs are those that the credential will have.
func (w *write) inputs(known *store.Connection) map[string]string {
	switch {
	case w.settings.Inputs != nil:
		return *w.settings.Inputs
	case known == nil || !w.who.inherits(w.key, known):
		return nil
	}
	return known.Inputs
}

// redeem spends the refresh token. Before that it is stored, and so is the answer: whoever comes after a crash finds
// either. t is the trial of an earlier attempt whose answer nobody knows.
func (b *backend) redeem(ctx context.Context, w *write, known *store.Connection, resolved providers.Resolved,
	pass *gate.Pass, t *store.Trial,
) (*providers.Grant, *store.Trial, error) {
	app := w.provider.app
	switch {
	case !app.CanRefresh(w.kind, w.grant):
		return nil, nil, badRequest("provider %q renews no tokens, so a refresh_token alone is of no use: import an "+
			"access_token that lives", w.provider.name)
	case b.isPaused(ctx):
		return nil, nil, &refresh.Error{Problem: refresh.Paused, Key: w.key, Provider: w.provider.name}
	}
	resumed := t != nil
	if !resumed {
		t = w.trial(known)
	}
	rotates := app.MayRotate(w.kind)
	if rotates {
		if err := b.openTrial(ctx, w.key, t, resumed); err != nil {
			return nil, nil, err
		}
	}
	g, err := w.provider.client.Refresh(ctx, app, resolved, w.kind, w.grant)
	lost := resumed
	var failure *providers.Error
	if errors.As(err, &failure) && failure.Class == providers.Unknown && b.mayAskAgain(ctx, w.key, t, rotates) {
		lost = true
		g, err = w.provider.client.Refresh(ctx, app, resolved, w.kind, w.grant)
	}
	if err != nil {
		pass.Leave(refresh.OutcomeOf(err))
		return nil, nil, b.notRedeemed(ctx, w, t, err, lost)
	}
	pass.Tell(gate.Succeeded, 0) // what follows is asked of others
	b.proven(w.provider)
	t.Given = g
	if rotates {
		b.keepGiven(ctx, w.key, t) // before whose it is, which may take long to learn
	}
	err = w.provider.client.Identify(ctx, app, resolved, g)
	w.warnOfIdentity(b, err)
	if t.Identified = err == nil; rotates && t.Identified {
		b.keepGiven(ctx, w.key, t)
	}
	return g, t, nil
}

// keepGiven stores what the provider gave. Where storage refuses, the connection may still take it.
func (b *backend) keepGiven(ctx context.Context, k store.Key, t *store.Trial) {
	if err := b.putTrial(ctx, k, t); err != nil {
		b.Logger().Warn("what came of an import could not be stored", "connection", k.String(), "error", err)
	}
}

// The most trials of one connection, and the most connections that may have some.
const (
	maxTrials           = 8
	maxTrialConnections = 1000
)

// openTrial stores the record of a token that is about to be spent.
func (b *backend) openTrial(ctx context.Context, k store.Key, t *store.Trial, resumed bool) error {
	if !resumed {
		own, connections, err := b.store.CountTrials(ctx, k)
		switch {
		case err != nil:
			return err
		case own >= maxTrials, own == 0 && connections >= maxTrialConnections:
			return conflict("too many imports wait for a person's word, or for their provider: "+
				"finish or delete those of "+
				"%s, or wait for an hour", k)
		}
	}
	return b.putTrial(ctx, k, t)
}

func (b *backend) putTrial(ctx context.Context, k store.Key, t *store.Trial) error {
	b.trials.Add(1)
	err := b.store.PutTrial(ctx, k, t)
	if err != nil {
		b.lateTrials.Store(lateLooks)
	}
	return err
}

// lateLooks is how many heartbeats after a failed write of a trial storage is looked at: it may take the write late.
const lateLooks = 5

// trial is the record of the tokens, before they are spent.
func (w *write) trial(known *store.Connection) *store.Trial {
	t := store.TrialOf(w.key, w.grant)
	t.Provider, t.Pinned, t.Kind = w.provider.name, w.provider.fingerprint, w.kind
	t.Inputs, t.Settings, t.AccountChange = w.inputs(known), w.settings, w.otherAccount
	t.By, t.Caller, t.Time, t.Creates = w.who.actor(w.now), w.who.id(), w.now, known == nil
	if known != nil {
		t.Generation, t.Serial = known.Generation, known.Serial
	}
	return t
}

// mayAskAgain reports whether a request without an answer may be made once more: the token may be spent, and providers
// that forgive that do so for seconds. Storage tells whether this node still leads.
func (b *backend) mayAskAgain(ctx context.Context, k store.Key, t *store.Trial, rotates bool) bool {
	return ctx.Err() == nil && (!rotates || b.store.PutTrial(ctx, k, t) == nil)
}

// notRedeemed says why the refresh token brought nothing, and forgets it unless an answer may have been lost.
func (b *backend) notRedeemed(ctx context.Context, w *write, t *store.Trial, err error, lost bool) error {
	var call *providers.Error
	known := errors.As(err, &call)
	unanswered := known && call.Class == providers.Unknown
	if !unanswered && (!lost || known && call.Class == providers.Rejected) {
		b.endTrial(ctx, w.key, t)
	}
	switch {
	case !known:
		return err
	case unanswered:
		return badGateway("%s: nothing was changed, but the refresh token may be spent; send the same import again "+
			"within the hour", call)
	case call.Class == providers.Rejected && lost:
		return conflict("%s: an earlier answer was lost, so the token may have been spent then; nothing was changed",
			call)
	case call.Class == providers.Rejected, call.Class == providers.Misconfigured:
		return conflict("%s: nothing was changed", call)
	}
	return badGateway("%s: nothing was changed; try again later", call)
}

// refuses says why the connection must not have the tokens, or nothing.
// Before they are tried nothing is known of them.
func (w *write) refuses(c *store.Connection) (why string) {
	g := w.tried
	if w.untried {
		g = w.grant
	}
	if g == nil || !w.imports {
		return ""
	}
	why = w.provider.refuses(c, g, w.otherAccount)
	if why == "" && len(g.Scopes) == 0 && w.provider.refusesUnknown() {
		why = "which scopes were granted is not known, and surplus_scopes=refuse is set on providers/" +
			w.provider.name
	}
	return why
}

// adoptTried makes what was tried the connection's. Where it may not, what was spent for it is kept for an hour, for
// the same import with the word that it lacked.
func (b *backend) adoptTried(ctx context.Context, w *write, known *store.Connection, g *providers.Grant,
	t *store.Trial,
) (*store.Connection, error) {
	w.tried = g
	adopt := func(c *store.Connection) (*store.Connection, error) {
		if _, ended := b.endedImports.Load(w.key); ended {
			return nil, deletedMeanwhile(w.key)
		}
		return w.apply(c)
	}
	if t == nil { // nothing was spent
		conn, err := w.store(ctx, b, adopt)
		w.warnOfScopes(conn)
		return conn, err
	}
	conn, saved, err := b.connections.Keep(ctx, w.key, w.who.act("write", w.now), known, adopt)
	_, ended := b.endedImports.Load(w.key)
	switch {
	case err != nil && ended: // nobody is to have it
		b.endTrial(ctx, w.key, t)
		b.discardGrant(ctx, w.provider, w.inputs(known), g)
		return nil, err
	case err != nil:
		b.parkTrial(ctx, w.key, t)
		if refused := new(statusError); errors.As(err, &refused) {
			err = &statusError{
				refused.status,
				refused.text + "; what the provider gave for the tokens is kept for an hour, for the " +
					"same import sent again",
			}
		}
		return nil, err
	case !saved: // until it is, the trial is what a crash leaves
		w.warnings = append(w.warnings, unsavedWarning)
	default:
		b.endTrial(ctx, w.key, t)
	}
	w.warnOfScopes(conn)
	return conn, nil
}

func (w *write) warnOfScopes(conn *store.Connection) {
	if conn != nil && conn.Grant != nil {
		if warning := w.provider.surplusWarning(conn.Grant.Scopes); warning != "" {
			w.warnings = append(w.warnings, warning)
		}
	}
}

// parkTrial notes that a trial waits for a person, so that nobody else adopts it. Where the provider did not replace
// the token nothing is lost by forgetting it.
func (b *backend) parkTrial(ctx context.Context, k store.Key, t *store.Trial) {
	ctx = context.WithoutCancel(ctx)
	if !t.Rotated() {
		b.endTrial(ctx, k, t)
		return
	}
	t.Parked = true
	b.keepGiven(ctx, k, t)
}

// endTrial forgets a trial. One that storage keeps is found again by the next look.
func (b *backend) endTrial(ctx context.Context, k store.Key, t *store.Trial) {
	if err := b.store.DeleteTrial(context.WithoutCancel(ctx), k, t); err != nil {
		b.Logger().Warn("the record of an import could not be removed", "connection", k.String(), "error", err)
	}
}

// parkedTime is how long a trial is kept that nobody may have, or whose answer never came.
const parkedTime = time.Hour

// finishImports carries on with imports that a crash cut off, and forgets what was kept for long enough.
func (b *backend) finishImports(ctx context.Context) {
	seen, left := b.trials.Load(), 0
	late := b.lateTrials.Load()
	if seen == 0 && late == 0 || !b.finishing.CompareAndSwap(false, true) {
		return
	}
	defer b.finishing.Store(false)
	if late > 0 {
		b.lateTrials.Add(-1)
	}
	err := b.store.EachTrial(ctx, func(t *store.Trial, err error) {
		left++
		if err != nil {
			b.Logger().Warn("an import cannot be read", "error", err)
			return
		}
		k, err := store.ParseKey(t.Key)
		if err != nil || b.tasks.Find(importName(k)) != nil {
			return
		}
		switch now := b.now(); {
		case !now.Before(t.Time.Add(parkedTime)):
			if !t.Parked {
				b.Logger().Warn("an import that was cut off is given up: import the tokens again", "connection", t.Key)
			}
			if b.store.DeleteTrial(ctx, k, t) == nil {
				left--
			}
		case !t.Parked && !now.Before(t.Next):
			b.finishImport(ctx, k, t)
		}
	})
	switch {
	case err == nil && left == 0:
		b.trials.CompareAndSwap(seen, 0) // unless one began meanwhile
	case seen == 0:
		b.trials.Add(1)
	}
}

// finishImport carries on with one import, as far as it still may.
func (b *backend) finishImport(ctx context.Context, k store.Key, t *store.Trial) {
	w, err := b.planTrial(ctx, k, t)
	switch {
	case errors.Is(err, errUnsaved):
		return
	case err == nil && w == nil: // the connection has it
		b.endTrial(ctx, k, t)
		return
	case err == nil:
		_, err = b.importTokens(ctx, w)
		// What was given meanwhile stands in the record by now, and must not be written over.
		if now, rerr := b.store.Trial(ctx, k, t.Brought); err != nil && (rerr != nil || now == nil || now.Parked) {
			return
		} else if now != nil {
			t = now
		}
	}
	var refused *statusError
	switch {
	case err == nil:
		b.Logger().Info("finished an import that was cut off", "connection", t.Key)
		return
	case ctx.Err() != nil:
		return
	case errors.As(err, &refused) && refused.status < 500:
		b.parkTrial(ctx, k, t) // a person must decide, if there is anything to decide about
	default:
		t.TryLater(b.now())
		b.keepGiven(ctx, k, t)
	}
	b.Logger().Warn("an import that was cut off could not be finished", "connection", t.Key, "error", err)
}

// errUnsaved is why a record stays though the connection has its token: that lives in memory only.
var errUnsaved = errors.New("the connection is not saved yet")

// errSwitchedOff is why an import is left alone: a person has switched the connection off.
var errSwitchedOff = errors.New("the connection is disabled")

// planTrial is the write that a trial is from; nil when the connection has its token already. What the operator allows
// now counts, and so does what anybody did to the connection since: over that nothing is written.
func (b *backend) planTrial(ctx context.Context, k store.Key, t *store.Trial) (*write, error) {
	w := &write{
		key: k, who: caller{entity: t.By.EntityID, display: t.By.DisplayName}, now: b.now(), kind: t.Kind,
		use: changing, grant: t.Brought, settings: t.Settings,
		imported: imported{imports: true, otherAccount: t.AccountChange, class: gate.Background, resumes: t},
	}
	var err error
	var unsaved bool
	if w.known, unsaved, err = b.connections.Get(ctx, k); err != nil {
		return nil, err
	}
	if w.provider, err = b.knownProvider(ctx, t.Provider); err != nil {
		return nil, err
	}
	switch c := w.known; {
	case w.provider.fingerprint != t.Pinned:
		return nil, conflict("provider %q changed meanwhile, so the token is sent nowhere", t.Provider)
	case c == nil && !t.Creates:
		return nil, conflict("connection %s was deleted meanwhile", k)
	case c == nil:
		return w, nil
	case w.sentAgain(c) && unsaved:
		return nil, errUnsaved
	case w.sentAgain(c):
		return nil, nil
	case t.Creates || c.Generation != t.Generation || c.Provider != t.Provider:
		return nil, conflict("connection %s was changed meanwhile", k)
	case c.Disabled.On:
		return nil, errSwitchedOff
	case c.Serial != t.Serial: // what people wrote since stands
		w.settings = store.Settings{Inputs: t.Settings.Inputs}
	}
	return w, nil
}
