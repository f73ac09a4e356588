package backend

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

func (b *backend) pathCatalog() []*framework.Path {
	return []*framework.Path{
		{
			Pattern:      "catalog/?",
			DisplayAttrs: display("catalog", "Definition"),
			Fields: listFields(map[string]*framework.FieldSchema{
				"search": inQuery(str("Words that must all occur in a definition's id, name, summary, category or kinds.")),
			}),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: verb("list", b.operation(b.catalogList,
					"List the services that can be connected.", listSchema)),
				logical.ReadOperation: verb("search", b.operation(b.catalogList, // vault list takes no fields
					"Search the services that can be connected.", listSchema)),
			},
			HelpSynopsis:    "The services that can be connected.",
			HelpDescription: catalogHelp,
		},
		{
			Pattern:      "catalog/" + segment("definition"),
			DisplayAttrs: display("definition", "Definition"),
			Fields: map[string]*framework.FieldSchema{
				"definition": required(str("Id of the definition; of a provider's own, provider:<name>.")),
				"provider": inQuery(str("Provider whose callback URL manifest has; by default one named like the definition. " +
					"It need not exist yet, and what is set on it is told by providers/ alone.")),
			},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: verb("read", b.operation(b.catalogRead,
					"Read what a service is and what connecting it needs.", catalogSchema)),
			},
			HelpSynopsis:    "What a service is and what connecting it needs.",
			HelpDescription: catalogHelp,
		},
	}
}

var catalogSchema = map[string]*framework.FieldSchema{
	"name":     str("Display name."),
	"summary":  str("What the service is."),
	"category": str("Kind of service."),
	"kinds":    strs("How a credential is obtained; the first is the default."),
	"sources":  strs("Documentation the definition was made from."),
	"checked":  str("Day on which the definition was last held against its sources, as 2026-11-29."),
	"check":    str("none where no call of the engine tells whether a key works, else empty."),
	"manifest": str("What creates the app at the service: a document to paste, or the address of a form that is filled " +
		"in. Empty where the service takes none, or public_url is not set."),
	"setup":      object("Where to create the app or the key, and what to know."),
	"inputs":     object("Values that a provider or a connection must or may give, by name."),
	"key_fields": object("Fields of the key, by name."),
	"key_one_of": strs("Groups of key fields, their names joined by commas, of which a key has exactly one, whole."),
	"endpoints":  object("URLs by step."),
	"scopes":     object("How scopes are asked for."),
	"refresh":    object("What is known of the service's refresh tokens."),
	"send":       object("Where the credential goes in a request to the service."),
	"api_base":   str("Base URL of the service's API."),
	"git": object("Where Git takes the credential as a password: hosts, with the inputs that stand in them, and " +
		"username. Without hosts where it does not."),
	"connection_config": object("What applications get beside the credential, by name: whether a connection needs it, " +
		"and whether it is secret."),
	"companions": object("Secrets that go along with a credential and are never sent, by name: whether the provider or " +
		"the connection holds them."),
	"lifetimes":         object("How long tokens and consents live, where that is known."),
	"limits_per_minute": object("How many calls a minute the service bears, by step."),
}

func (b *backend) catalogList(ctx context.Context, _ *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	own, err := b.runtimeDefinitions(ctx)
	if err != nil {
		return nil, err
	}
	definition := func(id string) *providers.Definition {
		if builtin, ok := b.catalog.Get(id); ok {
			return builtin
		}
		return own[id]
	}
	by, err := b.providersOf(ctx)
	if err != nil {
		return nil, err
	}
	ids := slices.AppendSeq(b.catalog.IDs(), maps.Keys(own))
	if words := strings.Fields(strings.ToLower(d.Get("search").(string))); len(words) > 0 {
		ids = slices.DeleteFunc(ids, func(id string) bool { return !found(words, definition(id)) })
	}
	return listed(ctx, d, ids, func(id string) map[string]any {
		definition := definition(id)
		return map[string]any{
			"name": definition.Name, "category": definition.Category, "kinds": definition.Kinds, "providers": list(by[id]),
		}
	})
}

// providersOf are the names of the mount's providers by their definitions: what can be connected without an operator.
// What else is set on them is for who may read them.
func (b *backend) providersOf(ctx context.Context) (map[string][]string, error) {
	by := map[string][]string{}
	_, err := b.readProviders(ctx, func(p *configured) {
		id := p.app.Definition.ID
		by[id] = append(by[id], p.name)
	})
	return by, err
}

// found reports whether all words, in small letters, occur in what people know a service by.
func found(words []string, def *providers.Definition) bool {
	text := def.ID + "\n" + def.Name + "\n" + def.Summary + "\n" + def.Category
	for _, kind := range def.Kinds {
		text += "\n" + string(kind)
	}
	text = strings.ToLower(text)
	return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, word) })
}

func (b *backend) catalogRead(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	id := d.Get("definition").(string)
	if name, runtime := providers.RuntimeProvider(id); runtime {
		if err := store.CheckName("provider", name); err != nil {
			return nil, badRequest("%s", err)
		}
		def, err := b.runtimeDefinition(ctx, name)
		if err != nil || def == nil {
			return nil, err
		}
		return b.catalogAnswer(ctx, req, def, name)
	}
	if err := store.CheckName("definition", id); err != nil {
		return nil, badRequest("%s", err)
	}
	def, ok := b.catalog.Get(id)
	if !ok {
		return nil, nil
	}
	name := orDefault(d.Get("provider").(string), id)
	if err := store.CheckName("provider", name); err != nil {
		return nil, badRequest("%s", err)
	}
	return b.catalogAnswer(ctx, req, def, name)
}

// catalogAnswer tells what a definition says, and what creates an app for a provider of that name. What an operator set
// on that provider is for who may read it.
func (b *backend) catalogAnswer(ctx context.Context, req *logical.Request, def *providers.Definition,
	provider string,
) (*logical.Response, error) {
	config, err := b.config(ctx)
	if err != nil {
		return nil, err
	}
	data := definitionData(def)
	data["manifest"] = manifest(&store.Provider{}, def, callbackURL(config, req, provider))
	return &logical.Response{Data: data}, nil
}

// manifest is what creates an app that sends people back to this provider; empty while something is missing for it.
func manifest(p *store.Provider, def *providers.Definition, callback string) string {
	uris := p.RedirectURIs
	if callback != "" {
		uris = append([]string{callback}, uris...)
	}
	app := p.App(def)
	text, err := app.Manifest(uris, app.ManifestScopes(p.AllowedScopes))
	if err != nil {
		return ""
	}
	return text
}

// definitionData is what people need of a definition. How the calls are made in detail is the file's own business.
func definitionData(def *providers.Definition) map[string]any {
	inputs := map[string]any{}
	for _, in := range def.Inputs {
		inputs[in.Name] = map[string]any{
			"set_by": in.SetBy, "required": in.Required, "default": in.Default, "pattern": in.Pattern,
			"example": in.Example, "help": in.Help, "lower": in.Lower, "variants": variants(in),
			"picked": in.Name == def.Picks(), "by_kind": setByKind(in), "bound": def.Binds(in),
		}
	}
	fields := map[string]any{}
	send, also, groups := def.Send, []any{}, []string{}
	if def.Key != nil {
		for _, group := range def.Key.OneOf {
			groups = append(groups, strings.Join(group, ","))
		}
		for _, f := range def.Key.Fields {
			fields[f.Name] = map[string]any{
				"required": f.Required, "secret": f.Secret, "example": f.Example, "help": f.Help,
				"set_by": orDefault(f.SetBy, "connection"), "default": f.Default, "default_from": f.DefaultFrom,
				"handed_out": f.HandedOut, "json": jsonMembers(f),
			}
		}
		for _, other := range def.Key.Others {
			also = append(also, sendData(&other))
		}
		if def.Key.Send != nil {
			send = def.Key.Send
		}
	}
	data := map[string]any{
		"name": def.Name, "summary": def.Summary, "category": def.Category, "kinds": def.Kinds,
		"sources": list(def.Sources), "checked": def.Checked, "check": def.Check,
		"api_base": def.APIBase, "inputs": inputs, "key_fields": fields, "key_one_of": groups, "endpoints": def.Endpoints,
		"setup": map[string]any{
			"app_url": def.Setup.AppURL, "key_url": def.Setup.KeyURL, "redirect": def.Setup.Redirect,
			"manage_url": def.Setup.ManageURL, "steps": list(def.Setup.Steps), "needs": list(def.Setup.Needs),
			"notes": list(def.Setup.Notes), "limits": list(def.Setup.Limits),
		},
		"scopes": map[string]any{
			"default": list(def.Scopes.Default), "always": list(def.Scopes.Added()),
			"optional_param": def.Scopes.OptionalParam, "by_kind": scopesByKind(def),
			"about": about(def),
		},
		"refresh": map[string]any{"token": def.Refresh.Token},
		"lifetimes": map[string]any{
			"from": def.Lifetime.From, "access_token": def.Lifetime.Access.String(),
			"refresh_token": def.Refresh.Each.String(),
			"unused":        def.Refresh.Idle.String(), "consent": def.Refresh.Hard.String(),
		},
		"limits_per_minute": perMinute(def),
	}
	config := map[string]any{}
	for _, c := range def.Connection {
		config[c.Name] = map[string]any{"required": c.Required, "secret": c.Secret, "from": c.Sources()}
	}
	if pick := def.Picks(); pick != "" {
		config[pick] = map[string]any{"required": true, "secret": false}
	}
	data["connection_config"] = config
	companions := map[string]any{}
	for _, c := range def.Companions {
		companions[c.Name] = map[string]any{"on": c.On, "pattern": c.Pattern, "help": c.Help}
	}
	data["companions"] = companions
	if send == nil {
		send = &providers.Send{Headers: map[string]providers.Template{"Authorization": "Bearer {access_token}"}}
	}
	git := map[string]any{"hosts": []providers.Template{}, "username": ""}
	if def.Git != nil {
		git = map[string]any{"hosts": def.Git.Hosts, "username": def.Git.Username}
	}
	data["git"] = git
	way := sendData(send)
	way["also"] = also
	data["send"] = way
	return data
}

// jsonMembers are the further values in a key field that is a JSON file.
func jsonMembers(f providers.KeyField) map[string]any {
	all := map[string]any{}
	for name, member := range f.JSON {
		all[name] = map[string]any{"required": member.Required, "secret": member.Secret}
	}
	return all
}

// setByKind tells of the kinds whose connections may set an input that is the provider's else.
func setByKind(in providers.Input) map[string]any {
	all := map[string]any{}
	for kind, by := range in.ByKind {
		all[string(kind)] = map[string]any{"set_by": by.SetBy}
	}
	return all
}

// scopesByKind are those of the kinds that ask for the same in any case.
func scopesByKind(def *providers.Definition) map[string]any {
	all := map[string]any{}
	for kind, by := range def.Token.ByKind {
		if by.Scopes != nil {
			all[string(kind)] = by.Scopes
		}
	}
	return all
}

// about tells of each scope that a definition explains what it lets an application do.
func about(def *providers.Definition) map[string]any {
	all := map[string]any{}
	for scope, sentence := range def.Scopes.About {
		all[scope] = sentence
	}
	return all
}

// variants are the names that an input takes, with what each sets.
func variants(in providers.Input) map[string]any {
	all := map[string]any{}
	for name, values := range in.Variants {
		all[name] = values
	}
	return all
}

func sendData(send *providers.Send) map[string]any {
	return map[string]any{
		"headers": send.Headers, "optional_headers": send.Optional, "query": send.Query, "path": send.Path,
		"basic_user": send.User, "basic_password": send.Password,
	}
}

// perMinute gives the limits of the calls that have one.
func perMinute(def *providers.Definition) map[string]any {
	limits := map[string]any{}
	limit := func(step providers.Step, call providers.Call) {
		if call.PerMinute > 0 {
			limits[string(step)] = call.PerMinute
		}
	}
	limit(providers.StepToken, def.Token.Call)
	limit(providers.StepDevice, def.Device.Call)
	if def.Refresh.Call != nil {
		limit(providers.StepRefresh, *def.Refresh.Call)
	}
	if def.Upgrade != nil {
		limit(providers.StepUpgrade, def.Upgrade.Call)
	}
	if def.Resources != nil {
		limit(providers.StepResources, def.Resources.Call)
	}
	if def.Identity != nil {
		limit(providers.StepIdentity, def.Identity.Call)
	}
	if def.Health != nil {
		limit(providers.StepHealth, def.Health.Call)
	}
	if def.Revoke != nil {
		limit(providers.StepRevoke, def.Revoke.Call)
	}
	return limits
}

func orDefault(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

const catalogHelp = `
A definition is what the engine knows of a service: its URLs, parameters and quirks.
Definitions come with the release. To use one, an operator writes a provider that names
it: 'vault write connectors/providers/slack client_id=... client_secret=...'. A service
that has no definition of its own is reached by the generic ones: oidc, oauth2,
http_header, http_basic. Or an operator writes a definition to definition_yaml of a
provider: it is provider:<name> here.

'vault read connectors/catalog search=mail' finds definitions. manifest, where a service
takes one, creates the app there in one step, with the callback URL of provider=<name>.
`
