package backend

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

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
	use      use               // with known
	known    *store.Connection // as it was when the request was planned; nil: it is to be created
	replaces bool              // what was there is damaged: it counts as nothing

	keys      map[string]string   // the key fields as they will be
	named     map[string]string   // of them, those that the request names
	account   providers.Account   // of the key, where the service told it
	captured  *providers.Captured // of the key, likewise
	unchecked bool                // the key is stored as it is
	restores  bool                // the key is the one that was replaced last
	anew      bool                // the app's own token is asked for anew
	grant     *providers.Grant    // imported, as it was brought, or issued
	imported                      // with grant
	settings  store.Settings
	// what is to be its companions; nil: as they are
	companions *map[string]providers.Secret
	pick       string                          // of the sites that the grant reaches, the one to work with
	picksAll   bool                            // the request names all inputs beside it
	listed     *providers.Sites                // those that the service lists now, if what is stored did not do
	listedOf   uint64                          // the generation of the credential that was shown for it
	closed     bool                            // it made private what others could use
	answered   map[string]any                  // fields that came with it and that only reads have
	flow       *store.Flow                     // of the link that brought the key; nil: who asks wrote it
	before     func(c *store.Connection) error // with flow: says why it connects nothing any more

	warnings []string
}

// issues reports whether the write asks the provider for a token without a person.
func (w *write) issues() bool {
	switch {
	case !w.kind.Issued() || w.provider == nil:
		return false
	case w.keys != nil:
		return w.known == nil || !w.sameKey(w.known)
	}
	return w.known == nil || w.anew
}

// brings reports whether the write has a credential, be it the one that is there.
func (w *write) brings() bool { return w.grant != nil || w.keys != nil || w.issues() }

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
	} else {
		w.use = useOf(d)
		if err := who.may(w.use, k, w.known); err != nil {
			return nil, err
		}
	}
	if w.warnings, err = b.misplaced(d, shownOf(w.known)); err != nil {
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

// useOf is what a write does to a connection that there is.
func useOf(d *framework.FieldData) use {
	for field := range d.Raw {
		switch field {
		case "org", "user", "name", "provider", "disabled", "archived", "archived_reason":
		default:
			return changing
		}
	}
	return narrowing
}

// readCredential takes key fields, imported tokens and the kind.
func (w *write) readCredential(d *framework.FieldData) error {
	var definition *providers.Definition
	if w.provider != nil {
		definition = w.provider.app.Definition
	}
	w.answered = takeAnswered(d, connectionSchema, definition)
	if err := refuseUndeclared(d, func(field string) bool {
		if definition == nil {
			return false
		}
		f, ok := definition.KeyField(field)
		return ok && f.SetBy != "provider"
	}); err != nil {
		return err
	}
	keys, err := w.readKeyFields(d)
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
	case d.Get("restore_former").(bool):
		return w.readFormer(len(keys) > 0 || w.imports)
	case w.imports && len(keys) > 0:
		return badRequest("name either key fields or tokens to import, not both")
	case w.imports:
		return w.readImport(d, asked, refreshToken, accessToken)
	case len(keys) > 0:
		w.unchecked = !d.Get("verify").(bool)
		return w.readKey(keys, asked)
	case asked != "" && definition != nil && definition.OfTheApp(providers.Kind(asked)) && (w.known == nil ||
		asked == string(w.known.Kind)):
		return w.readIssue(d, asked)
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

// readIssue takes a kind whose credential is the app's own, so that its name is all that is written. Of a connection
// that has it already a token is asked for anew where it has none that is good, or the inputs lead elsewhere.
func (w *write) readIssue(d *framework.FieldData, asked string) (err error) {
	if w.kind, err = w.provider.kindOf(asked, nil); err != nil {
		return err
	}
	if w.known != nil {
		v, named := d.GetOk("inputs")
		moved := named && !maps.Equal(v.(map[string]string), w.known.Inputs)
		g := w.known.Grant
		w.anew = moved || g == nil || g.AccessToken.IsZero() || w.known.Refused.Reason != "" ||
			w.known.Pinned != w.provider.fingerprint
		if !w.anew {
			return nil
		}
	}
	return w.provider.admit(w.key, w.kind, w.known)
}

// readFormer takes the key that was replaced last, to put it back. It is not shown to the service: whoever needs it
// back needs it at once, and check/ asks.
func (w *write) readFormer(others bool) error {
	switch {
	case w.provider == nil:
		return conflict("provider %q is gone: configure it on providers/%s before bringing back a key for it",
			w.known.Provider, w.known.Provider)
	case others:
		return badRequest("restore_former brings back the former key: name no other credential with it")
	case w.known == nil || w.known.FormerKey == nil || !w.now.Before(w.known.FormerUntil) || !w.inherits():
		return conflict("connection %s has no former key: one that is replaced is kept for a week, for who wrote both",
			w.key)
	case w.known.Pinned != w.provider.fingerprint:
		return conflict("provider %q was changed since the former key was written: write the key itself", w.provider.name)
	}
	if err := w.provider.admit(w.key, w.known.Kind, w.known); err != nil {
		return err
	}
	w.kind, w.unchecked, w.restores, w.keys = w.known.Kind, true, true, map[string]string{}
	w.captured = w.known.FormerCaptured
	for name, v := range w.known.FormerKey {
		w.keys[name] = v.Reveal() // which nobody named: it goes nowhere but where it was
	}
	return nil
}

// readKeyFields are those that the request brings. A mask that came back brings nothing: what is stored stays.
func (w *write) readKeyFields(d *framework.FieldData) (map[string]string, error) {
	keys, err := keyValues(d)
	if err != nil {
		return nil, err
	}
	stored := map[string]providers.Secret{}
	if w.known != nil && w.inherits() {
		stored = w.known.KeyFields()
	}
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		if !isMask(keys[name]) {
			continue
		}
		if _, err := unmaskSecret(name, keys[name], stored[name]); err != nil {
			return nil, err
		}
		delete(keys, name)
	}
	return keys, nil
}

func (w *write) readKey(keys map[string]string, asked string) error {
	definition := w.provider.app.Definition
	takes := func(k providers.Kind) bool { return k.HasKey() || definition.BuysWithKey(k) }
	if asked == "" && w.known != nil && takes(w.known.Kind) && slices.Contains(definition.Kinds, w.known.Kind) {
		asked = string(w.known.Kind)
	}
	kind, err := w.provider.kindOf(asked, takes)
	if err == nil && !takes(kind) {
		err = badRequest("kind %s has no key", kind)
	}
	if err == nil {
		err = w.provider.admit(w.key, kind, w.known)
	}
	if err != nil {
		return err
	}
	w.kind = kind
	all := map[string]string{}
	if w.known != nil && w.inherits() {
		for name, v := range w.known.KeyFields() {
			all[name] = v.Reveal()
		}
	}
	former := maps.Clone(all)
	for _, name := range definition.OtherGroups(keys) {
		if _, named := keys[name]; !named {
			delete(all, name)
		}
	}
	maps.Copy(all, keys)
	warnings, err := definition.CheckKey("connection", all)
	if err != nil {
		return badRequest("%s", err)
	}
	w.keys, w.named, w.warnings = all, keys, append(w.warnings, warnings...)
	if err := w.knowsServer(all); err != nil {
		return err
	}
	switch {
	case len(former) > 0 && w.known.Kind != kind: // which may be sent otherwise, and elsewhere
		return w.namesSecrets("the key would be of kind " + string(kind) + ", and is of kind " + string(w.known.Kind))
	case w.known != nil && w.known.Pinned != w.provider.fingerprint:
		return w.namesSecrets("provider " + w.provider.name + " was changed since this key was written")
	case definition.MovesKey(former, all):
		return w.namesSecrets("the key would be for another host")
	}
	return nil
}

// readMetadata takes the fields that are not the credential.
func (w *write) readMetadata(d *framework.FieldData) error {
	if v, ok := d.GetOk("label"); ok {
		label := v.(string)
		w.settings.Label = &label
	}
	if v, ok := d.GetOk("tags"); ok {
		tags := v.(map[string]string)
		if err := checkTags(tags); err != nil {
			return err
		}
		w.settings.Tags = &tags
	}
	if v, ok := d.GetOk("required_scopes"); ok {
		scopes := v.([]string)
		w.settings.RequiredScopes = &scopes
	}
	if after, named, err := takeRotateAfter(d); err != nil {
		return err
	} else if named {
		w.settings.RotateAfter = &after
	}
	if v, ok := d.GetOk("private"); ok {
		private := v.(bool)
		if err := mayBePrivate(w.key, private); err != nil {
			return err
		}
		// The owner's word opens a connection for what the owner will put in it. A client that writes back what it read
		// of an open one, with nothing to put in, did not mean that.
		if private || w.known == nil || w.known.Private || w.brings() {
			w.settings.Private = &private
		}
	}
	if v, ok := d.GetOk("debug_until"); ok {
		var stored time.Time
		if w.known != nil {
			stored = w.known.DebugUntil
		}
		until, err := debugUntil(v.(string), stored, w.now)
		if err != nil {
			return err
		}
		if stored = stored.Truncate(time.Second); !until.IsZero() || w.now.Before(stored) {
			w.settings.DebugUntil = &until
		}
	}
	if err := w.readStops(d); err != nil {
		return err
	}
	if err := w.readCompanions(d); err != nil {
		return err
	}
	return w.readInputs(d)
}

// readStops takes what the caller's side says of serving.
func (w *write) readStops(d *framework.FieldData) error {
	if v, ok := d.GetOk("disabled"); ok {
		disabled := v.(bool)
		w.settings.Disabled = &disabled
	}
	archived := w.known != nil && !w.known.Stops.Seen(w.who.owns(w.key)).Archived.Time.IsZero()
	if v, ok := d.GetOk("archived"); ok {
		archived = v.(bool)
		w.settings.Archived = &archived
	}
	if v, ok := d.GetOk("archived_reason"); ok {
		reason := v.(string)
		if reason != "" && !archived {
			return badRequest("archived_reason goes with archived=true: nothing was changed")
		}
		w.settings.Reason = &reason
	}
	return nil
}

// warnOfStops tells who lifted a stop, or said that there is none, that another side's stands.
func warnOfStops(who caller, k store.Key, conn *store.Connection, resp *logical.Response) {
	if left := conn.Entity.Left; left != "" && !conn.Stops.On() {
		resp.AddWarning("connection " + k.String() + " is still stopped for its owner (" + string(left) + "), which " +
			"no write lifts: see status_reason")
	}
	seen := conn.Stops.Seen(who.owns(k))
	if !conn.Stops.On() || !seen.Disabled.Time.IsZero() || !seen.Archived.Time.IsZero() {
		return
	}
	whose := "its owner's entity, which alone lifts that"
	if who.owns(k) {
		whose = "others than its owner, who lift that"
	}
	resp.AddWarning("connection " + k.String() + " is still stopped by " + whose + ": see disabled_by")
}

func mayBePrivate(k store.Key, private bool) error {
	if private && !k.Owner.Personal() {
		return badRequest("private goes with connections of a user: an organization has no entity that could read it")
	}
	return nil
}

func (w *write) readInputs(d *framework.FieldData) error {
	v, ok := d.GetOk("inputs")
	brings := w.brings()
	if ok && !brings {
		if done, err := w.readPick(v.(map[string]string)); done || err != nil {
			return err
		}
	}
	if ok && !brings && w.known != nil && maps.Equal(v.(map[string]string), w.known.Inputs) {
		w.settings.Inputs = &w.known.Inputs
		return nil
	}
	if w.provider == nil {
		if ok {
			return conflict("provider %q is gone: configure it before changing inputs", w.known.Provider)
		}
		return nil
	}
	definition := w.provider.app.Definition
	inputs := map[string]string{}
	if w.known != nil {
		inputs = definition.InputsOf(w.kind, w.known.Inputs)
	}
	if brings && w.known != nil {
		if err := namesAll(w.key, w.known, w.who, w.provider, d); err != nil {
			return err
		}
	}
	if brings && !w.inherits() {
		inputs = nil
	}
	if ok {
		checked, err := definition.CheckInputs("connection", w.kind, v.(map[string]string))
		if err != nil {
			return badRequest("%s", err)
		}
		if w.known != nil && brings {
			checked = w.provider.keepPick(checked, w.known, w.inherits())
		}
		if w.known != nil && !maps.Equal(checked, w.known.Inputs) && !brings {
			return badRequest("inputs say where the credential belongs: write it again in the same " +
				"call, or start a new flow with them")
		}
		if w.known != nil && !maps.Equal(checked, w.known.Inputs) {
			if err := w.namesSecrets("inputs say where the credential belongs"); err != nil {
				return err
			}
		}
		inputs, w.settings.Inputs = checked, &checked
	}
	if !brings {
		return nil
	}
	if !ok {
		if err := w.knowsHost(inputs); err != nil {
			return err
		}
	}
	merged, err := definition.MergeInputs(w.kind, w.provider.entry.Inputs, inputs)
	if err != nil {
		return badRequest("%s", err)
	}
	if err := w.provider.admitInputs(w.key.Owner, w.kind, inputs); err != nil {
		return err
	}
	return w.provider.client.CheckKeyHost(w.provider.app, w.kind, merged)
}

// knowsHost refuses to build on a host that somebody else named for their key without a word of it: the next key would
// go there. Callers without an entity cannot be told from one another, so each is somebody else.
func (w *write) knowsHost(inputs map[string]string) error {
	mine := w.known != nil && w.who.entity != "" && w.known.SetBy == w.who.setter()
	if w.known == nil || mine || !w.provider.app.Definition.NamesHost(w.kind, inputs) {
		return nil
	}
	var there []string
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		there = append(there, fmt.Sprintf("%s=%q", name, inputs[name]))
	}
	whose := "somebody else"
	if w.who.entity == "" {
		whose += ", as far as callers without an entity can be told apart,"
	}
	return badRequest("the key would be shown to a host that %s named, with inputs %s: name in this call the inputs "+
		"that you want", whose, strings.Join(there, ", "))
}

// knowsServer is knowsHost where fields of the key say to which server a login goes.
func (w *write) knowsServer(key map[string]string) error {
	if w.known == nil || w.known.Key == nil || w.who.entity != "" && w.known.SetBy == w.who.setter() {
		return nil
	}
	definition := w.provider.app.Definition
	if !slices.ContainsFunc(slices.Collect(maps.Keys(w.named)), definition.IsSecretField) {
		return nil // what is shown there was before
	}
	var there []string
	for _, name := range definition.HostFields() {
		if _, named := w.named[name]; !named && key[name] != "" {
			there = append(there, fmt.Sprintf("%s=%q", name, key[name]))
		}
	}
	if len(there) == 0 {
		return nil
	}
	return badRequest("the key would be shown to a server that somebody else named, with %s: name in this call what "+
		"you want of it", strings.Join(there, ", "))
}

// namesSecrets refuses to move the secret of a key elsewhere for one who need not know it.
func (w *write) namesSecrets(why string) error {
	for _, name := range slices.Sorted(maps.Keys(w.keys)) {
		_, named := w.named[name]
		if !named && w.keys[name] != "" && w.provider.app.Definition.IsSecretField(name) {
			return badRequest("%s: write field %q again in the same call", why, name)
		}
	}
	return nil
}

// inherits reports whether the write may build on what there is.
func (w *write) inherits() bool { return w.known == nil || w.who.inherits(w.key, w.known) }

// namesAll refuses to take over without a word what somebody else set up in the caller's name.
func namesAll(k store.Key, known *store.Connection, who caller, p *configured, d *framework.FieldData) error {
	var there []string
	inherits := who.inherits(k, known)
	if _, named := d.GetOk("inputs"); !inherits && !named && len(known.Inputs) > 0 {
		for _, name := range slices.Sorted(maps.Keys(known.Inputs)) {
			there = append(there, fmt.Sprintf("inputs %s=%q", name, known.Inputs[name]))
		}
	}
	if _, named := d.GetOk("required_scopes"); !who.requires(k, known) && !named && len(known.RequiredScopes) > 0 {
		there = append(there, fmt.Sprintf("required_scopes %q", known.RequiredScopes))
	}
	if _, named := d.GetOk("provider"); !inherits && !named && p.name != k.Name {
		there = append(there, "provider "+p.name)
	}
	if len(there) == 0 {
		return nil
	}
	return badRequest("connection %s was set up by somebody else, with %s: name in this call what you want of it "+
		"(inputs, required_scopes, provider)", k, strings.Join(there, ", "))
}

// damagedEntry refuses to change what cannot be read.
func damagedEntry(k store.Key) error {
	return conflict("the entry of %s is damaged: write a credential with its provider, which replaces "+
		"it, or delete it",
		k)
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

func checkTags(tags map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		if err := store.CheckTag(name); err != nil {
			return badRequest("%s", err)
		}
	}
	return nil
}
