package backend

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

func (b *backend) pathProviders() []*framework.Path {
	return []*framework.Path{
		{
			Pattern:      "providers/?",
			DisplayAttrs: display("providers", "Provider"),
			Fields:       listFields(nil),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: verb("list", b.operation(b.providersList, "List the configured providers.",
					listSchema)),
			},
			HelpSynopsis:    "The configured providers.",
			HelpDescription: providersHelp,
		},
		{
			Pattern:             "providers/" + segment("provider"),
			DisplayAttrs:        display("provider", "Provider"),
			Fields:              providerFields(),
			TakesArbitraryInput: true, // key fields that the definition lets the operator hold
			ExistenceCheck:      b.providerExists,
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.CreateOperation: verb("create", forwarded(b.operation(b.providerWrite, "Configure a provider.",
					providerSchema))),
				logical.ReadOperation: verb("read", b.operation(b.providerRead,
					"Read a provider; secrets are not shown.", providerSchema)),
				logical.UpdateOperation: verb("update", forwarded(b.operation(b.providerWrite,
					"Change a provider; what is not named keeps its value.", providerSchema))),
				logical.DeleteOperation: verb("delete", forwarded(b.operation(b.providerDelete,
					"Delete a provider that has no connections."))),
			},
			HelpSynopsis:    "A service as the operator registered it.",
			HelpDescription: providersHelp,
		},
	}
}

func providerFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		"provider": required(str("Name of the provider.")),
		"definition": str("Definition in the catalogue; by default the one of the provider's name. " +
			"Fixed after creation."),
		"definition_yaml": str("A definition of the provider's own, as the files of the catalogue are written; it may " +
			"extend one of them, and is called provider:<name>. It holds no secret: reads answer it."),
		"client_id":          str("Client id of the app at the service."),
		"client_secret":      clientSecretField(),
		"client_key_id":      clientKeyIDField(),
		"client_certificate": clientCertificateField(),
		"drop_former":        dropFormerField(),
		"scopes":             strs("Scopes asked for when a flow names none; by default the definition's."),
		"allowed_scopes":     strs("Scopes that a flow may ask for; by default those of scopes. * allows any."),
		"optional_scopes": strs("Scopes that a person may leave out, of services that have such (see the catalog " +
			"entry)."),
		"added_scopes": strs("Which of the scopes that the definition always adds are asked for (see its catalog " +
			"entry); by default all. Empty: none."),
		"inputs": pairs("Values the definition asks of the operator."),
		"endpoints": pairs("URLs by step, over the definition's: authorize, token, refresh, revoke, " +
			"identity, discovery, and others that the definition has."),
		"issuer":           str("Issuer whose discovery document gives the endpoints."),
		"authorize_params": pairs("Further parameters of the authorization request. Reads mask the values."),
		"token_params":     pairs("Further parameters of the token request. Reads mask the values."),
		"client_auth": str("How the client authenticates at the token endpoint: basic, basic_raw, post, " +
			"secret_as_user, none; by default the definition's. Never probed."),
		"pkce": str("s256 or off; by default the definition's word. off is for services that do not take PKCE, with the " +
			"definitions oauth2 and oidc only."),
		"redirect_uris": strs("Redirect URIs of applications that receive the browser themselves, " +
			"compared exactly; loopback hosts match any port."),
		"return_urls": strs("Where the callback page may lead on to, compared exactly."),
		"confirm": {
			Type:    framework.TypeBool,
			Default: true,
			Description: "Ask for the confirmation code that the callback page shows. Switch it off for " +
				"single-user set-ups only.",
		},
		"shared_redirect": boolean("Other providers may have the same redirect_uris: the application keeps apart by " +
			"state which of them it asked."),
		"scopes_ignored": boolean("The service takes no scopes from requests, as for user tokens of GitHub Apps: none " +
			"are asked for, required, missing or surplus."),
		"require_iss": boolean("Refuse answers that do not name the issuer (RFC 9207), for issuers that always do."),
		"require_session_binding": boolean("Flows that end at an application's own redirect URI, or lead on to " +
			"a return_url, must be bound to a browser session."),
		"kinds": strs("Kinds of connections that may be made; by default the definition's, without " +
			"client_credentials, whose credential is the app's own and for organizations only, and without device_code: " +
			"people are talked into typing a stranger's code, and only where this is named can one be had."),
		"allowed_owners": strs("Owners whose connections may use this provider: org/<org>, user/<user>, " +
			"org/<org>/user/<user>, with * for any id; by default all. org/* are organizations without their members."),
		"bound_inputs": object("Accounts that connections of the app's own kind may name, by owner, input and values: " +
			`{"org/acme": {"shop": ["one"]}}. Replaced whole. By default none.`),
		"companions": secret(pairs("Secrets of the app that go along with credentials and are never sent, as the " +
			"definition names them. Replaced whole. Reads mask the values.")),
		"companions_for": strs("Owners whose applications are answered the companions: org/<org>, user/<user>, " +
			"org/<org>/user/<user> or org/*; by default none. To add one, write companions in the same call."),
		"allow_import": str("Whose connections may take tokens that were obtained elsewhere: none, org (default) " +
			"or all."),
		"surplus_scopes": str("What becomes of scopes granted beyond allowed_scopes when an account is connected or " +
			"imported: refuse, or warn; by default the definition's word."),
		"debug_until": str("Until when each exchange with the service is told to the server log, without any value and but " +
			"for private connections: a time (RFC 3339), or how long from now on, an hour at most; empty: no longer."),
		"assumed_ttl": seconds("Life to assume for access tokens whose answer tells no expiry."),
		"refresh_ttl": seconds("Life of one refresh token, where the app is set otherwise than the definition says; " +
			"0: as the definition says."),
		"idle_ttl": seconds("How long a grant lives unused, where the app is set otherwise than the definition says; " +
			"0: as the definition says."),
		"check_interval": str("How often connections that no refresh proves are checked by themselves, such as 12h; 0: " +
			"never; empty (default): as the definition says, else as config says."),
		"rotate_after": rotateAfterField("the client secret"),
		"ca_pem": str("Certificates to trust for this provider instead of the system's. To change them, write " +
			"the stored client_secret in the same call."),
		"frozen": boolean("Serve and spend nothing of this provider's connections, and send nothing but revocations, " +
			"until this is false again. Written alone it changes nothing else."),
		"frozen_reason": str("Why it is frozen: whoever is refused reads it. Gone when it is not frozen any more."),
		"force": {
			Type: framework.TypeBool, Query: true,
			Description: "Delete although connections remain; they stay: tokens are served until they " +
				"expire, keys are refused.",
		},
	}
}

var providerSchema = map[string]*framework.FieldSchema{
	"definition":         str("Definition in the catalogue."),
	"definition_yaml":    str("The definition itself, of a provider that has one of its own; else empty."),
	"client_id":          str("Client id of the app at the service."),
	"client_secret_set":  boolean("Whether there is a client secret."),
	"client_key_id":      str("Where the client secret is a private key: its id at the service."),
	"client_certificate": str("Where the client secret is a private key: its certificate."),
	"former_secret_set":  boolean("Whether the former client secret is kept as the fallback."),
	"key_fields_set":     strs("Operator-held key fields that are set."),
	"callback_url":       str("Redirect URI to register at the service; empty while public_url is not set."),
	"manifest": str("What creates the app at the service: a document to paste, or the address of a form that is filled " +
		"in. Empty where the service takes none."),
	"scopes":                  strs("Scopes asked for when a flow names none."),
	"allowed_scopes":          strs("Scopes that a flow may ask for."),
	"added_scopes":            strs("Scopes that are asked for beside those."),
	"inputs":                  object("Values the definition asks of the operator."),
	"endpoints":               object("URLs by step, over the definition's."),
	"issuer":                  str("Issuer whose discovery document gives the endpoints."),
	"authorize_params":        object("Further parameters of the authorization request."),
	"token_params":            object("Further parameters of the token request."),
	"client_auth":             str("How the client authenticates at the token endpoint."),
	"pkce":                    str("s256 or off."),
	"redirect_uris":           strs("Redirect URIs of applications that receive the browser themselves."),
	"return_urls":             strs("Where the callback page may lead on to."),
	"confirm":                 boolean("Whether the confirmation code is asked for."),
	"shared_redirect":         boolean("Whether other providers may have the same redirect_uris."),
	"scopes_ignored":          boolean("Whether scopes count for nothing here."),
	"require_iss":             boolean("Whether answers must name the issuer."),
	"require_session_binding": boolean("Whether flows must be bound to a browser session."),
	"kinds":                   strs("Kinds of connections that may be made."),
	"allowed_owners":          strs("Owners whose connections may use this provider; empty: all."),
	"bound_inputs":            object("Values of inputs that owners may name, of kinds that are the app's own."),
	"companions":              object("Secrets that go along with credentials and are never sent, masked."),
	"companions_for":          strs("Owners whose applications are answered the companions."),
	"allow_import":            str("Whose connections may take tokens obtained elsewhere."),
	"surplus_scopes":          str("What becomes of scopes beyond allowed_scopes; empty: the definition's word."),
	"debug_until":             str("Until when exchanges are told to the server log (RFC 3339); empty: they are not."),
	"assumed_ttl":             integer("Seconds to assume for tokens that tell no expiry; 0: they do not expire."),
	"optional_scopes":         strs("Scopes that a person may leave out."),
	"refresh_ttl":             integer("Seconds that one refresh token lives; 0: as the definition says."),
	"check_interval":          str("How often what no refresh proves is checked; empty: as elsewhere."),
	"rotate_after":            str("After how long the client secret is to be replaced; empty: as elsewhere."),
	"rotate_by":               str("By when that is (RFC 3339); empty: never, or nobody knows how old it is."),
	"idle_ttl":                integer("Seconds that a grant lives unused; 0: as the definition says."),
	"ca_pem":                  str("Certificates to trust for this provider instead of the system's."),
	"frozen":                  boolean("Whether an operator froze it."),
	"frozen_reason":           str("Why."),
	"updated":                 str("When the provider last changed (RFC 3339)."),
	"circuit": object("Whether the provider is left alone now: its state (limited, open, refused), " +
		"and until when. Empty when it is not. Any write lifts it, but " +
		"one of frozen alone."),
}

func (b *backend) providerExists(ctx context.Context, _ *logical.Request, d *framework.FieldData) (bool, error) {
	name := d.Get("provider").(string)
	if store.CheckName("provider", name) != nil {
		return true, nil // the handler says what is wrong with the name
	}
	p, err := b.store.Provider(ctx, name)
	if store.Unusable(err) {
		return true, nil // the handler says why: of an error here Vault tells nothing
	}
	return p != nil, err
}

func (b *backend) providersList(ctx context.Context, _ *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	names, err := b.store.Providers(ctx)
	if err != nil {
		return nil, err
	}
	return listed(ctx, d, names, func(name string) map[string]any {
		p, err := b.store.Provider(ctx, name)
		if err != nil || p == nil {
			return nil
		}
		return map[string]any{"definition": p.Definition}
	})
}

func (b *backend) providerRead(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	name := d.Get("provider").(string)
	if err := store.CheckName("provider", name); err != nil {
		return nil, badRequest("%s", err)
	}
	p, err := b.store.Provider(ctx, name)
	if err != nil || p == nil {
		return nil, err
	}
	return b.providerAnswer(ctx, req, name, p)
}

func (b *backend) providerAnswer(ctx context.Context, req *logical.Request, name string,
	p *store.Provider,
) (*logical.Response, error) {
	config, err := b.config(ctx)
	if err != nil {
		return nil, err
	}
	callback := callbackURL(config, req, name)
	kinds, added, pkce, creates, rotateBy := []string{}, []string{}, "", "", ""
	warnings := b.redirectWarnings(ctx, name, p)
	switch definition, err := b.define(name, p); {
	case err == nil:
		for _, kind := range kindsOf(p, definition) {
			kinds = append(kinds, string(kind))
		}
		added, pkce = p.App(definition).AddsScopes(), p.App(definition).PKCEWord()
		creates = manifest(p, definition, callback)
		usable := &configured{entry: p, app: p.App(definition), mount: config}
		rotateBy = rfc3339(usable.secretDue())
	case !errors.Is(err, errNoDefinition):
		warnings = append(warnings, "this release does not take definition_yaml, so the provider serves nothing:\n"+
			clipLines(err.Error()))
	}
	bound := p.BoundInputs
	if bound == nil {
		bound = map[string]map[string][]string{}
	}
	return &logical.Response{Data: map[string]any{
		"definition": p.Definition, "definition_yaml": p.DefinitionYAML, "client_id": p.ClientID,
		"client_key_id": p.ClientKeyID, "client_certificate": p.ClientCertificate,
		"client_secret_set": !p.ClientSecret.IsZero(), "former_secret_set": !p.FormerSecret.IsZero(),
		"key_fields_set": list(slices.Sorted(maps.Keys(p.Keys))),
		"callback_url":   callback, "manifest": creates,
		"scopes": list(p.Scopes), "allowed_scopes": list(p.AllowedScopes), "added_scopes": list(added),
		"inputs": orEmpty(p.Inputs), "endpoints": orEmpty(p.Endpoints), "issuer": p.Issuer,
		"authorize_params": masked(p.AuthorizeParams), "token_params": masked(p.TokenParams),
		"client_auth": p.ClientAuth, "pkce": pkce, "redirect_uris": list(p.RedirectURIs), "return_urls": list(p.ReturnURLs),
		"confirm": p.Confirm, "require_session_binding": p.RequireSessionBinding,
		"kinds": kinds, "allowed_owners": list(p.AllowedOwners),
		"bound_inputs": bound,
		"companions":   maskedSecrets(p.Companions), "companions_for": list(p.CompanionsFor),
		"allow_import": orDefault(p.AllowImport, importOrg), "surplus_scopes": p.SurplusScopes,
		"shared_redirect": p.SharedRedirect, "require_iss": p.RequireIss, "scopes_ignored": p.ScopesIgnored,
		"optional_scopes": list(p.OptionalScopes), "refresh_ttl": int(p.RefreshTTL.Seconds()),
		"check_interval": intervalWord(p.CheckInterval), "rotate_after": rotateAfterWord(p.RotateAfter),
		"rotate_by":   rotateBy,
		"debug_until": debugShown(p.DebugUntil, b.now()),
		"idle_ttl":    int(p.IdleTTL.Seconds()), "assumed_ttl": int(p.AssumedTTL.Seconds()),
		"ca_pem": p.CAPEM, "updated": rfc3339(p.Updated),
		"frozen": p.Frozen, "frozen_reason": p.FrozenReason,
		"circuit": b.circuit(name),
	}, Warnings: warnings}, nil
}

// intervalWord spells how often a provider's connections are checked, as a write takes it; empty: nobody said.
func intervalWord(every *time.Duration) string {
	if every == nil {
		return ""
	}
	return every.String()
}

// callbackURL is where a provider sends the browser; empty while nobody knows where browsers reach this mount.
func callbackURL(config *store.Config, req *logical.Request, provider string) string {
	base, err := mountURL(config, req)
	if err != nil {
		return ""
	}
	return base + "/callback/" + provider
}

// movedCallback says that a provider's callback URL is not the one that was last told, as after a move of the mount.
func movedCallback(p *configured, now string) (warning string, moved bool) {
	told := p.entry.ToldCallback
	if told == "" || now == "" || told == now ||
		!slices.Contains(p.kinds(), providers.KindAuthorizationCode) && p.app.Definition.Install == nil {
		return "", false
	}
	return "the callback URL of provider " + p.name + " is " + now + " now, and was " + told + " when the provider was " +
		"last written: register the new one at the service; any write of providers/" + p.name + " ends this warning", true
}

// circuit tells whether a provider is left alone now.
func (b *backend) circuit(name string) map[string]any {
	state, until := b.gate.State(name)
	if state == gate.Well {
		return map[string]any{}
	}
	return map[string]any{"state": string(state), "until": rfc3339(until)}
}

func (b *backend) providerWrite(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	name := d.Get("provider").(string)
	if err := store.CheckName("provider", name); err != nil {
		return nil, badRequest("%s", err)
	}
	var answered map[string]any
	resp, err := b.changeProvider(ctx, req, name, d, func(stored *store.Provider) error {
		before := stored
		if before == nil {
			before = &store.Provider{Definition: definitionOf(name, nil, d)}
		}
		definition, _ := b.define(name, before) // that of a new one has no fields of these names
		answered = takeAnswered(d, providerSchema, definition)
		if len(answered) > 0 && stored != nil {
			leaveDefaults(d, stored, definition)
		}
		return nil
	})
	if err == nil {
		warnOfAnswered(answered, resp)
	}
	return resp, err
}

func (b *backend) providerDelete(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	name := d.Get("provider").(string)
	if err := store.CheckName("provider", name); err != nil {
		return nil, badRequest("%s", err)
	}
	if _, err := b.directory.fill(ctx); err != nil { // which may take long, so no lock is held yet
		return nil, err
	}
	b.configWrites.Lock()
	defer b.configWrites.Unlock()
	n, unreadable := 0, 0
	b.directory.mirror.each(func(_ store.Key, r *record) {
		switch {
		case r.unreadable:
			unreadable++
		case r.shared().provider == name:
			n++
		}
	})
	switch force := d.Get("force").(bool); {
	case n > 0 && !force:
		return nil, &statusError{
			http.StatusConflict,
			"provider " + name + " has connections (" + plural(n) + "): delete those first, or set force=true to " +
				"leave them without a provider",
		}
	case unreadable > 0 && !force:
		return nil, conflict("provider %s may have connections: %s cannot be read, and any may be its; restore what "+
			"is damaged from a snapshot, or set force=true to leave them without a provider", name, plural(unreadable))
	}
	if n+unreadable > 0 {
		p, err := b.store.Provider(ctx, name)
		switch {
		case err != nil && !store.Unusable(err):
			return nil, err
		case err == nil && p != nil && p.Frozen:
			return nil, conflict("provider %s is frozen, and without it its connections would not be: delete those first, "+
				"or write frozen=false to providers/%s", name, name)
		}
	}
	if err := b.store.DeleteProvider(ctx, name); err != nil {
		return nil, err
	}
	b.decoded.Delete(name)
	b.metrics.forget(name)
	b.providersChanged()
	b.lift(name)
	// No entry is left to carry it: a process that ends within the second does not tell.
	told := b.counted(callerOf(req), name, store.NoticeNeedsReconnect, store.ReasonProviderMissing, n)
	for i := range told {
		told[i].Verb = "delete"
	}
	b.notices.offer(told...)
	return nil, nil
}

const providersHelp = `
A provider is a definition with what the operator registered at the service: a client
id and secret, scopes, limits. Several may share one definition (slack, slack-emea).
Services that take keys have one too: it is the operator's admission.

Reading one shows the callback URL to register at the service, and whether a secret is
set, never the secret. Whatever changes where credentials would be sent (client id,
issuer, endpoints, inputs) clears the stored secrets: write them in the same call.
Taking such a change back and writing the secrets again makes the connections whole.
The client secret alone is written to providers/<provider>/client-secret, too.

ca_pem says whom to trust with those secrets. It changes with the stored client_secret
in the same call, and then nothing else does. With another client_secret, or where there
is none, the provider points elsewhere from then on, and cannot be taken back.
`
