package backend

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

func (b *backend) pathCreds() []*framework.Path {
	path := func(pattern, suffixes string, handler framework.OperationFunc) *framework.Path {
		read := b.operation(handler, "Read the credential of a connection, fresh.", credsSchema)
		read.Callback = b.metrics.countReads(read.Callback)
		return &framework.Path{
			Pattern:      pattern,
			DisplayAttrs: display(suffixes, "Credential"),
			Fields:       ownedFields(credsFields()),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: verb("read", read),
			},
			HelpSynopsis:    "The credential of a connection, fresh.",
			HelpDescription: credsHelp,
		}
	}
	return []*framework.Path{
		path(sharedPattern("creds"), sharedSpellings("credential"), b.credsShared),
		path(byName("creds"), spellings("credential"), b.credsRead),
	}
}

func credsFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		"min_ttl": {
			Type:        framework.TypeDurationSecond,
			Query:       true,
			Description: "Answer a token that lives at least this long, refreshing it if need be.",
		},
		"provider": {
			Type:        framework.TypeString,
			Query:       true,
			Description: "The provider that the caller expects: another one's credential is refused.",
		},
		"include": {
			Type:  framework.TypeCommaStringSlice,
			Query: true,
			Description: "What to answer beside the credential: send, the very headers and parameters to send it " +
				"by; git, where Git takes it as a password; companions, secrets that go along with it and are never " +
				"sent.",
		},
	}
}

var credsSchema = map[string]*framework.FieldSchema{
	"access_token":      secret(str("The access token. Key connections answer their own fields instead.")),
	"token_type":        str("How the token is sent: Bearer (RFC 6750), DPoP, or what the definition says."),
	"expire_time":       str("When the access token expires (RFC 3339); empty when it does not."),
	"scopes":            strs("Scopes granted."),
	"provider":          required(str("Provider of the connection.")),
	"connection_config": required(object("Further values an application needs, such as an instance URL.")),
	"api_base":          str("Base URL of the service's API for this credential, where its definition says."),
	"send": secret(object("With include=send: headers, query and path, filled in as a request to the service has " +
		"them.")),
	"git": object("With include=git: hosts, each host or host:port, that take the credential as a password of Git by " +
		"https, and username."),
	"companions": secret(object("With include=companions: secrets that go along with the credential and are never " +
		"sent, such as what a webhook is signed with.")),
	"instance_url":        str("Where the account's API is, of services that tell; also in connection_config."),
	"ttl":                 required(integer("Seconds until the engine hands out something newer; never below 5.")),
	"rotation_period":     required(integer("Seconds between two rotations.")),
	"last_vault_rotation": required(str("When the credential last changed (RFC 3339).")),
}

func (b *backend) credsRead(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	k, err := b.keyOf(ctx, req, d)
	if err != nil {
		return nil, err
	}
	include, err := includes(d, includeSend, includeGit, includeCompanions)
	if err != nil {
		return nil, err
	}
	a, err := b.obtain(ctx, k, callerOf(req).permitFor(k), d)
	if err != nil {
		return nil, b.explainMissing(ctx, callerOf(req), k, err)
	}
	resp, err := b.credential(ctx, a, include)
	if err == nil {
		err = b.addCompanions(ctx, k, a.Connection, include, resp)
	}
	if err != nil {
		return nil, err
	}
	b.uses.offer(callerOf(req), k, a.Connection)
	return resp, nil
}

// credsShared is credsRead for those with whom the connection is shared. Companions are not shared.
func (b *backend) credsShared(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	k, err := b.sharedKey(ctx, req, d)
	if err != nil {
		return nil, err
	}
	include, err := includes(d, includeSend, includeGit)
	if err != nil {
		return nil, err
	}
	who := callerOf(req)
	a, err := b.obtain(ctx, k, b.permitShared(who, k), d)
	if err != nil {
		return nil, b.toldShared(ctx, who, k, err)
	}
	resp, err := b.credential(ctx, a, include)
	if err == nil {
		b.uses.offer(who, k, a.Connection)
	}
	return resp, err
}

// obtain gives the credential as the request asks for it.
func (b *backend) obtain(ctx context.Context, k store.Key, permit refresh.Permit,
	d *framework.FieldData,
) (refresh.Answer, error) {
	minTTL := time.Duration(d.Get("min_ttl").(int)) * time.Second
	return b.refresher.Get(ctx, k, expecting(permit, k, d.Get("provider").(string)), minTTL)
}

// includes is what the request asks for beside the credential, of what there is.
func includes(d *framework.FieldData, known ...string) ([]string, error) {
	include := d.Get("include").([]string)
	for _, word := range include {
		if !slices.Contains(known, word) {
			return nil, badRequest("include=%q is not known here: there is %s", clipText(word), strings.Join(known, " and "))
		}
	}
	return include, nil
}

// What may be asked for beside a credential: the parts of a request that show it, and where Git takes it.
const (
	includeSend = "send"
	includeGit  = "git"
)

// expecting lets nobody use a connection who takes it for one of another provider.
func expecting(permit refresh.Permit, k store.Key, provider string) refresh.Permit {
	if provider == "" {
		return permit
	}
	return func(conn *store.Connection) error {
		if err := permit(conn); err != nil {
			return err
		}
		if conn.Provider != provider {
			return conflict("connection %s is of provider %q, not of %q: nothing was handed out", k, conn.Provider,
				clipText(provider))
		}
		return nil
	}
}

// explainMissing says of a connection that does not exist what it lacks: a flow's end, or its start.
func (b *backend) explainMissing(ctx context.Context, who caller, k store.Key, err error) error {
	var problem *refresh.Error
	if !errors.As(err, &problem) || problem.Problem != refresh.NotFound {
		return err
	}
	f, ferr := b.flowOf(ctx, k)
	switch {
	case ferr != nil:
		return ferr
	case f == nil:
		if told := b.disconnected(ctx, who, k); told != "" {
			return badRequest("%s%s", err, told)
		}
		return err
	case f.denied:
		return conflict("connection %s is not connected: the person or the provider said no; "+
			"start again with %s", k, f.start())
	case f.device:
		return conflict("connection %s is pending until %s: the person has yet to type its code in a browser; whoever "+
			"started that reads at device-code/%s how it stands", k, rfc3339(f.expires), k)
	}
	return conflict("connection %s is pending: its flow is open until %s; finish it in the browser and with exchange",
		k, rfc3339(f.expires))
}

// credential is the answer of creds: what an application needs and nothing that could obtain more.
func (b *backend) credential(ctx context.Context, a refresh.Answer, include []string) (*logical.Response, error) {
	conn := a.Connection
	ttl, period := a.TTL(b.now())
	config := map[string]string{}
	data := map[string]any{}
	p, err := b.provider(ctx, conn.Provider)
	if err != nil {
		return nil, err
	}
	maps.Copy(config, conn.Config())
	for name, v := range conn.SecretConfig() {
		config[name] = v.Reveal()
	}
	if g := conn.Grant; g != nil {
		data["access_token"] = g.AccessToken.Reveal()
		data["token_type"] = "Bearer"
		if p != nil {
			data["token_type"] = p.app.Definition.TokenScheme(g.TokenType)
		}
		data["expire_time"] = rfc3339(g.Expires)
		data["scopes"] = list(g.Scopes)
	} else {
		for name, v := range handedOut(p, conn) {
			data[name] = v
		}
		if p != nil {
			values, err := mergedInputs(p, conn)
			if err == nil {
				maps.Copy(config, values) // what somebody set is not replaced by an answer
			}
		}
	}
	if at, ok := config[instanceURL]; ok { // templates and -field do not reach into maps
		data[instanceURL] = at
	}
	if p != nil {
		if err := present(p, conn, include, data); err != nil {
			return nil, err
		}
	}
	data["provider"] = conn.Provider
	data["connection_config"] = config
	data["ttl"] = int(ttl.Seconds())
	data["rotation_period"] = int(period.Seconds())
	data["last_vault_rotation"] = rfc3339(conn.Rotated)
	return &logical.Response{Data: data, Warnings: a.Warnings}, nil
}

// present adds where the API is, and, if it is asked for, how the credential is shown to it, and to Git.
func present(p *configured, conn *store.Connection, include []string, data map[string]any) error {
	include = slices.DeleteFunc(slices.Clone(include), func(word string) bool { return word == includeCompanions })
	asked := strings.Join(include, ",")
	if p.fingerprint != conn.Pinned { // where it leads now is not where the credential belongs
		if asked != "" {
			return conflict("include=%s cannot be answered: provider %q was changed since this credential was made",
				asked, p.name)
		}
		return nil
	}
	inputs := conn.Inputs
	if len(p.app.Definition.Inputs) > 0 {
		merged, err := mergedInputs(p, conn)
		switch {
		case err != nil && asked != "":
			return conflict("include=%s cannot be answered: %s", asked, err)
		case err != nil:
			return nil
		}
		inputs = merged
	}
	shown := conn.Grant
	if shown == nil || conn.Sites != nil { // the site belongs to it
		shown = presented(p, conn)
	}
	definition := p.app.Definition
	open := definition.Runtime() || definition.NamesHost(conn.Kind, conn.Inputs)
	if base := p.app.APIBase(inputs, shown); base != "" && (!open || p.client.Allows(base)) {
		data["api_base"] = base
	}
	if slices.Contains(include, includeGit) {
		git, err := gitAccess(p, inputs, open)
		if err != nil {
			return err
		}
		data["git"] = map[string]any{"hosts": git.Hosts, "username": git.Username}
	}
	if !slices.Contains(include, includeSend) {
		return nil
	}
	send, err := p.app.Present(inputs, shown)
	if err != nil {
		return conflict("include=send cannot be answered: %s", err)
	}
	data["send"] = map[string]any{"headers": send.Headers, "query": send.Query, "path": send.Path}
	return nil
}

// gitAccess is where Git takes the credential; open says that the mount's operator is asked about hosts.
func gitAccess(p *configured, inputs map[string]string, open bool) (*providers.GitAccess, error) {
	git, err := p.app.Git(inputs)
	switch {
	case err != nil:
		return nil, conflict("include=git cannot be answered: %s", err)
	case git == nil:
		return nil, badRequest("include=git cannot be answered: the definition of provider %q names no host that takes "+
			"the credential from Git", p.name)
	}
	for _, host := range git.Hosts {
		if open && !p.client.Allows("https://"+host) {
			return nil, conflict("include=git cannot be answered: endpoint_hosts on config does not allow %q", host)
		}
	}
	return git, nil
}

// mergedInputs are all inputs that hold for a connection, as applications are told.
func mergedInputs(p *configured, conn *store.Connection) (map[string]string, error) {
	own := conn.Inputs
	if p.fingerprint == conn.Pinned {
		own = p.app.Definition.Overruled(conn.Kind, p.entry.Inputs, own)
	}
	return p.app.Definition.MergeInputs(conn.Kind, p.entry.Inputs, own)
}

// instanceURL is the one value of connection_config that a call to the API cannot do without.
const instanceURL = "instance_url"

// rfc3339 writes a time as people and programs read it; a zero time is empty.
func rfc3339(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

const credsHelp = `
Answers an access token, or the fields of a key, and never a refresh token or a client
secret. There is no lease: the token is shared by all readers and lives as long as its
provider lets it.

ttl, rotation_period and last_vault_rotation tell Vault Agent and the Vault Secrets
Operator when to read again: ttl counts to the moment at which the engine hands out a
newer token, which is before the old one expires.

A token inside its last minutes is answered at once while a new one is fetched. One that
is dead, or would be within seven seconds, is refreshed first, once for all who wait.
When a refresh fails the living token is answered with a warning.
`
