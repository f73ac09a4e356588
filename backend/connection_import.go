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
		return k == providers.KindAuthorizationCode
	})
	if err == nil && kind != providers.KindAuthorizationCode {
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
		Sites: w.provider.app.Definition.Unlisted(), // until they are tried
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
	if err := b.stillThere(ctx, w); err != nil {
		return err
	}
	return w.provider.admitImport(w.key.Owner)
}

// stillThere looks again at the provider, which must lead where it led and admit the connection.
func (b *backend) stillThere(ctx context.Context, w *write) error {
	p, err := b.provider(ctx, w.provider.name)
	switch {
	case err != nil:
		return err
	case p == nil || p.fingerprint != w.provider.fingerprint:
		return conflict("provider %q changed meanwhile, so the credential belongs nowhere: send this again",
			w.provider.name)
	}
	w.provider = p
	return p.admit(w.key, w.kind, w.known)
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
		if why, ended := b.endedImports.Load(w.key); ended {
			return nil, why.(error)
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
		b.discard(ctx, w.provider, w.kind, w.inputs(known), g)
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
	if conn != nil && conn.Choosing() {
		w.warnings = append(w.warnings, "not served yet: "+refresh.ToPick(w.key, conn.Sites))
	}
	if conn != nil && conn.Grant != nil {
		if warning := w.provider.surplusWarning(conn.Grant.Scopes); warning != "" {
			w.warnings = append(w.warnings, warning)
		}
	}
}
