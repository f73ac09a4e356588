package backend

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/framework"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// write is one validated request to write a connection.
type write struct {
	key      store.Key
	who      caller
	now      time.Time
	provider *configured
	kind     providers.Kind
	known    *store.Connection // as it was when the request was planned; nil: it is to be created
	replaces bool              // what was there is damaged: it counts as nothing

	keys      map[string]string // key fields named
	grant     *providers.Grant  // imported or issued
	imports   bool
	refreshed bool              // what it imports was imported before and refreshed since
	inputs    map[string]string // nil unless named
	edits     []func(*store.Connection)

	warnings []string
}

// issues reports whether the write asks the provider for a grant of the app's own.
func (w *write) issues() bool { return w.kind == providers.KindClientCredentials && w.known == nil }

// planWrite validates a request against what is stored, and changes nothing.
func (b *backend) planWrite(ctx context.Context, k store.Key, who caller, d *framework.FieldData) (*write, error) {
	w := &write{key: k, who: who, now: b.now()}
	var err error
	if w.known, _, err = b.connections.Get(ctx, k); err != nil && !store.Damaged(err) {
		return nil, err
	}
	w.replaces = err != nil
	name := k.Name
	if w.known != nil {
		name = w.known.Provider
	}
	if v, ok := d.GetOk("provider"); ok {
		if w.known != nil && v.(string) != w.known.Provider {
			return nil, badRequest("connection %s belongs to provider %q, which is fixed: make a "+
				"connection of another name", k, w.known.Provider)
		}
		name = v.(string)
	}
	if w.known == nil {
		if err := b.mayCreate(who, k, d.Get("provision").(bool)); err != nil {
			return nil, err
		}
		if !w.replaces {
			if err := b.mayAdd(ctx, k); err != nil {
				return nil, err
			}
		}
	} else if err := mayChange(w.known, k, who, d); err != nil {
		return nil, err
	}
	if w.provider, err = b.knownProvider(ctx, name); err != nil {
		var gone *statusError
		_, named := d.GetOk("provider")
		switch {
		case !errors.As(err, &gone):
			return nil, err
		case w.replaces && !named: // its provider is not known any more, and need not have its name
			return nil, damagedEntry(k)
		case w.known == nil:
			return nil, err
		}
		w.provider = nil // its metadata can still be changed
	}
	if err := w.readCredential(d); err != nil {
		return nil, err
	}
	if err := w.readMetadata(d); err != nil {
		return nil, err
	}
	return w, nil
}

// mayChange refuses whatever would take a private connection from its owner. Others may switch it off.
func mayChange(conn *store.Connection, k store.Key, who caller, d *framework.FieldData) error {
	if !conn.Private || who.owns(k) {
		return nil
	}
	refused := forbidden("connection %s is private: others than its owner may only disable or delete it", k)
	for field := range d.Raw {
		switch field {
		case "org", "user", "name", "provider", "disabled":
		default:
			return refused
		}
	}
	if v, ok := d.GetOk("disabled"); ok && !v.(bool) {
		return refused
	}
	return nil
}

// readCredential takes key fields, imported tokens and the kind.
func (w *write) readCredential(d *framework.FieldData) error {
	var definition *providers.Definition
	if w.provider != nil {
		definition = w.provider.app.Definition
	}
	if err := refuseUndeclared(d, func(field string) bool {
		if definition == nil {
			return false
		}
		f, ok := definition.KeyField(field)
		return ok && f.SetBy != "provider"
	}); err != nil {
		return err
	}
	keys, err := keyValues(d)
	if err != nil {
		return err
	}
	refreshToken, accessToken := d.Get("refresh_token").(string), d.Get("access_token").(string)
	w.imports = refreshToken != "" || accessToken != ""
	asked := d.Get("kind").(string)
	switch {
	case w.provider == nil && (w.imports || len(keys) > 0):
		return conflict("provider %q is gone: configure it on providers/%s before writing a credential for it",
			w.known.Provider, w.known.Provider)
	case w.imports && len(keys) > 0:
		return badRequest("name either key fields or tokens to import, not both")
	case w.imports:
		return w.readImport(d, asked, refreshToken, accessToken)
	case len(keys) > 0:
		return w.readKey(keys, asked)
	case w.known == nil && asked == string(providers.KindClientCredentials):
		w.kind, err = kindOf(definition, asked, nil)
		return err
	case w.replaces:
		return damagedEntry(w.key)
	case w.known == nil:
		return badRequest("nothing to store for %s: write the key fields of %q (see catalog/%s), import a "+
			"refresh_token, or connect an account with auth-code-url/%s",
			w.key, w.provider.name, definition.ID, w.key)
	case asked != "" && asked != string(w.known.Kind):
		return badRequest("the kind of connection %s is %s: write a credential of another kind to change it", w.key,
			w.known.Kind)
	}
	w.kind = w.known.Kind
	return nil
}

func (w *write) readImport(d *framework.FieldData, asked, refreshToken, accessToken string) error {
	kind, err := kindOf(w.provider.app.Definition, asked, func(k providers.Kind) bool {
		return k == providers.KindAuthorizationCode || k == providers.KindDeviceCode
	})
	if err != nil {
		return err
	}
	w.kind = kind
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
		w.grant.Expires = w.now // nothing to serve yet: the first refresh brings it
	}
	return nil
}

func (w *write) readKey(keys map[string]string, asked string) error {
	definition := w.provider.app.Definition
	kind, err := kindOf(definition, asked, func(k providers.Kind) bool {
		return k != providers.KindAuthorizationCode && k != providers.KindClientCredentials &&
			k != providers.KindDeviceCode
	})
	if err != nil {
		return err
	}
	w.kind = kind
	all := map[string]string{}
	if w.known != nil {
		for name, v := range w.known.Key {
			all[name] = v.Reveal()
		}
	}
	maps.Copy(all, keys)
	warnings, err := definition.CheckKey("connection", all)
	if err != nil {
		return badRequest("%s", err)
	}
	w.keys, w.warnings = all, append(w.warnings, warnings...)
	return nil
}

// readMetadata takes the fields that are not the credential.
func (w *write) readMetadata(d *framework.FieldData) error {
	if v, ok := d.GetOk("label"); ok {
		label := v.(string)
		w.edit(func(c *store.Connection) { c.Label = label })
	}
	if v, ok := d.GetOk("tags"); ok {
		tags := v.(map[string]string)
		if err := checkTags(tags); err != nil {
			return err
		}
		w.edit(func(c *store.Connection) { c.Tags = tags })
	}
	if v, ok := d.GetOk("required_scopes"); ok {
		scopes := v.([]string)
		w.edit(func(c *store.Connection) { c.RequiredScopes = scopes })
	}
	if v, ok := d.GetOk("private"); ok {
		private := v.(bool)
		if private && w.key.Owner.Kind != store.User {
			return badRequest("private goes with connections of a user: an organization has no " +
				"entity that could read it")
		}
		w.edit(func(c *store.Connection) { c.Private = private })
	}
	if v, ok := d.GetOk("disabled"); ok {
		if v.(bool) {
			w.edit(func(c *store.Connection) { c.Disable(w.who.actor(w.now)) })
		} else {
			w.edit(func(c *store.Connection) { c.Enable(w.who.actor(w.now)) })
		}
	}
	return w.readInputs(d)
}

func (w *write) readInputs(d *framework.FieldData) error {
	v, ok := d.GetOk("inputs")
	if w.provider == nil {
		if ok {
			return conflict("provider %q is gone: configure it before changing inputs", w.known.Provider)
		}
		return nil
	}
	definition := w.provider.app.Definition
	inputs := map[string]string{}
	if w.known != nil {
		inputs = w.known.Inputs
	}
	if ok {
		checked, err := definition.CheckInputs("connection", v.(map[string]string))
		if err != nil {
			return badRequest("%s", err)
		}
		if w.known != nil && !maps.Equal(checked, w.known.Inputs) && w.grant == nil && w.keys == nil {
			return badRequest("inputs say where the credential belongs: write it again in the same " +
				"call, or start a new flow with them")
		}
		inputs, w.inputs = checked, checked
		w.edit(func(c *store.Connection) { c.Inputs = checked })
	}
	if w.grant != nil || w.keys != nil || w.issues() {
		if _, err := definition.MergeInputs(w.provider.entry.Inputs, inputs); err != nil {
			return badRequest("%s", err)
		}
	}
	return nil
}

func (w *write) edit(change func(*store.Connection)) { w.edits = append(w.edits, change) }

// apply is the change itself. It runs under the connection's lock and gets what is stored then.
func (w *write) apply(c *store.Connection) (*store.Connection, error) {
	switch {
	case c == nil && w.known != nil:
		return nil, conflict("connection %s was deleted meanwhile: nothing was written", w.key)
	case c != nil && w.known == nil:
		return nil, conflict("connection %s was made by somebody else meanwhile: nothing was written; "+
			"read it, then write again", w.key)
	case c == nil:
		c = newConnection(w.key, w.provider.name, w.kind, w.who, w.now)
	case !c.Deleting.IsZero():
		return nil, beingDeleted(w.key)
	case c.Private && !w.known.Private && !w.who.owns(w.key):
		return nil, forbidden("connection %s became private meanwhile: nothing was written", w.key)
	}
	if w.grant != nil && !w.sentAgain(c) {
		c.Kind, c.FlowID = w.kind, ""
		if w.imports {
			c.AdoptImport(w.grant, w.provider.fingerprint, w.now)
		} else {
			c.Adopt(w.grant, w.provider.fingerprint, w.now)
		}
	}
	if w.keys != nil {
		values := make(map[string]providers.Secret, len(w.keys))
		for name, v := range w.keys {
			if v != "" { // an optional field that is emptied goes
				values[name] = providers.NewSecret(v)
			}
		}
		c.Kind, c.FlowID = w.kind, ""
		c.AdoptKey(values, w.provider.fingerprint, w.now)
	}
	for _, change := range w.edits {
		change(c)
	}
	return c, nil
}

// sentAgain reports whether the write imports what c holds or has refreshed since: a client, a configuration tool or
// Vault itself sent it again. Under other inputs the tokens belong elsewhere.
func (w *write) sentAgain(c *store.Connection) bool {
	if !w.imports || w.inputs != nil && !maps.Equal(w.inputs, c.Inputs) {
		return false
	}
	var has bool
	has, w.refreshed = c.HasImport(w.grant, w.provider.fingerprint)
	return has
}

// damagedEntry refuses to change what cannot be read.
func damagedEntry(k store.Key) error {
	return conflict("the entry of %s is damaged: write a credential with its provider, which replaces "+
		"it, or delete it",
		k)
}

// beingDeleted refuses to bring back what a person deletes:
// the end of the deletion would take the new credential along.
func beingDeleted(k store.Key) error {
	return conflict("connection %s is being deleted: delete it again if that does not end, then make it anew", k)
}

// newConnection is a connection before it has a credential. One that its owner makes is private.
func newConnection(k store.Key, provider string, kind providers.Kind, who caller, now time.Time) *store.Connection {
	return &store.Connection{
		Provider: provider, Private: who.owns(k), Created: who.actor(now),
		Credential: store.Credential{
			// What was left of a connection that had the name before must not fit this one.
			Generation: uint64(now.UnixMilli()),
			Kind:       kind,
		},
	}
}

// store writes what the request brings.
func (w *write) store(ctx context.Context, b *backend,
	apply func(*store.Connection) (*store.Connection, error),
) (*store.Connection, error) {
	act := w.who.act("write", w.now)
	if w.replaces {
		return b.connections.Replace(ctx, w.key, act, apply)
	}
	return b.connections.Update(ctx, w.key, act, apply)
}

// errSpending is why an import waits: the token that it brings is being spent.
var errSpending = errors.New("the imported token is being spent")

// importTokens stores what was given first, so that it is not lost, and then tries it out.
func (b *backend) importTokens(ctx context.Context, w *write) (*store.Connection, error) {
	conn, err := b.storeImport(ctx, w)
	if err != nil {
		return nil, err
	}
	if w.refreshed {
		w.warnings = append(w.warnings, "these tokens were imported before and have been refreshed "+
			"since; the newer ones were kept")
		return conn, nil
	}
	if w.grant.AccessToken.IsZero() {
		a, err := b.refresher.Refresh(ctx, w.key, w.who.permitFor(w.key))
		if err != nil {
			w.warnings = append(w.warnings, "the tokens are stored, and a first refresh failed: "+b.warningText(err))
			conn, _, err = b.connections.Get(ctx, w.key)
			return conn, err
		}
		conn = a.Connection
	}
	return b.identify(ctx, w, conn)
}

// storeImport stores the tokens. Should the same refresh token be on its way to the provider already, it waits for
// what comes of that: adopting the token again would drop the answer.
func (b *backend) storeImport(ctx context.Context, w *write) (*store.Connection, error) {
	adopt := func(c *store.Connection) (*store.Connection, error) {
		if c != nil && c.FromImport(w.grant) && b.connections.Spending(w.key) {
			return nil, errSpending
		}
		return w.apply(c)
	}
	for range 3 {
		conn, err := w.store(ctx, b, adopt)
		if !errors.Is(err, errSpending) {
			return conn, err
		}
		if under := b.tasks.Find(refresh.Name(w.key)); under != nil {
			b.promote(ctx, w.key)
			if _, _ = under.Wait(ctx); ctx.Err() != nil {
				return nil, ctx.Err()
			}
		}
	}
	return nil, conflict("the refresh token of %s is being spent again and again: nothing was "+
		"written; send this again", w.key)
}

// identify learns whose account imported or issued tokens belong to. Not knowing is a warning, not a failure.
func (b *backend) identify(ctx context.Context, w *write, conn *store.Connection) (*store.Connection, error) {
	grant := conn.Clone().Grant
	pass, err := b.enter(ctx, w.provider.name, w.key, conn)
	if err == nil {
		defer pass.Leave(gate.NotSent, 0)
		var resolved providers.Resolved
		resolved, err = w.provider.client.Resolve(ctx, w.provider.app, conn.Inputs)
		if err == nil {
			err = w.provider.client.Identify(ctx, w.provider.app, resolved, grant)
		}
		pass.Leave(aside(err)) // before storage is written
	}
	if err != nil {
		w.warnings = append(w.warnings, "whose account it is could not be learned: "+b.warningText(err))
		return conn, nil
	}
	generation := conn.Generation
	known, err := b.connections.Update(ctx, w.key, w.who.act("identify", w.now),
		func(c *store.Connection) (*store.Connection, error) {
			if c == nil || c.Generation != generation {
				return nil, nil // it has moved on
			}
			c.Identified(grant.Account)
			c.Grant.Account, c.Grant.Config, c.Grant.SecretConfig = grant.Account, grant.Config, grant.SecretConfig
			return c, nil
		})
	if err != nil || known == nil {
		return conn, nil // the tokens are stored; the account will be learned another time
	}
	return known, nil
}

// warningText is an error's text for a warning. What storage says goes to the log: it may name files.
func (b *backend) warningText(err error) string {
	var (
		shut   *gate.Refused
		call   *providers.Error
		flight *refresh.Error
		status *statusError
	)
	switch {
	case errors.As(err, &shut):
		return gateText(shut)
	case errors.As(err, &call), errors.As(err, &flight), errors.As(err, &status), errors.Is(err, tasks.ErrClosed):
		return err.Error()
	}
	b.Logger().Warn("something was not done for a request that succeeded", "error", err)
	return "this node could not, and its log says why"
}

// issue obtains a grant of the app's own (RFC 6749 section 4.4) and stores it.
func (b *backend) issue(ctx context.Context, w *write) (*store.Connection, error) {
	var inputs store.Connection
	for _, change := range w.edits {
		change(&inputs)
	}
	out, err := b.tasks.Once(ctx, "issue "+w.key.String()+" "+randomText(8), func(ctx context.Context) (any, error) {
		defer b.connections.Pin(w.key)()
		pass, err := b.enter(ctx, w.provider.name, w.key, w.known)
		if err != nil {
			return nil, err
		}
		defer pass.Leave(gate.NotSent, 0)
		resolved, err := w.provider.client.Resolve(ctx, w.provider.app, inputs.Inputs)
		if err != nil {
			return nil, err
		}
		w.grant, err = w.provider.client.Issue(ctx, w.provider.app, w.kind, resolved, w.provider.app.Scopes)
		pass.Leave(refresh.OutcomeOf(err))
		if err != nil {
			return nil, err
		}
		conn, saved, err := b.connections.Keep(ctx, w.key, w.who.act("write", w.now), w.known, w.apply)
		if err == nil && !saved {
			w.warnings = append(w.warnings, unsavedWarning)
		}
		return conn, err
	})
	if err != nil {
		return nil, err
	}
	return out.(*store.Connection), nil
}

func checkTags(tags map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		if err := store.CheckTag(name); err != nil {
			return badRequest("%s", err)
		}
	}
	return nil
}
