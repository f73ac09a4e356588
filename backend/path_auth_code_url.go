package backend

import (
	"context"
	"encoding/base64"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/oauth2"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

func (b *backend) pathAuthCodeURL() []*framework.Path {
	return []*framework.Path{{
		Pattern:      byName("auth-code-url"),
		DisplayAttrs: display(spellings("flow"), "Flow"),
		Fields: ownedFields(map[string]*framework.FieldSchema{
			"provider": str("Provider to connect; by default that of the connection, else " +
				"the one of the connection's name."),
			"kind": str("How the credential is obtained; authorization_code."),
			"scopes": strs("Scopes to ask for, out of the provider's allowed_scopes; by " +
				"default the provider's scopes."),
			"optional_scopes": strs("Scopes that the person may leave out, of services that have such; by default the " +
				"provider's."),
			"required_scopes": strs("Scopes whose absence is shown as missing_scopes; by default the scopes of this " +
				"request. A reconnect keeps the connection's."),
			"inputs": pairs("Values the definition asks of a connection, such as a shop or a subdomain."),
			"redirect_uri": str("The application's own redirect URI, if it receives the browser itself; one of " +
				"the provider's redirect_uris."),
			"return_url": str("Where Vault's callback page leads on to: one of the provider's return_urls, or " +
				"http://127.0.0.1:<port>/connected unless config has loopback_return=false."),
			"login_hint": str("Account to suggest on the provider's login page, where it takes one."),
			"session_binding": str("base64url of the SHA-256 of a value in the browser session that starts the " +
				"flow; exchange must bring the value. For applications that connect the accounts of many people."),
			"private": boolean("Serve the credential to the owner's own entity alone. The default where that entity " +
				"connects; only it can say false."),
			"provision": boolean("Connect under the id of a live entity that is not the caller's own."),
		}),
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: verb("start", forwarded(b.operation(b.authCodeURLWrite,
				"Start to connect an account.", flowSchema))),
		},
		HelpSynopsis:    "Start to connect an account.",
		HelpDescription: authCodeURLHelp,
	}}
}

var flowSchema = map[string]*framework.FieldSchema{
	"url":          required(str("URL to open in the person's browser.")),
	"flow_id":      required(str("Names the flow in exchange; proves nothing.")),
	"expire_time":  required(str("When the flow ends (RFC 3339).")),
	"redirect_uri": required(str("Where the provider sends the browser.")),
	"next_step":    required(str("What to do after the person consented.")),
}

func (b *backend) authCodeURLWrite(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	if err := refuseUndeclared(d, func(string) bool { return false }); err != nil {
		return nil, err
	}
	k, who, known, p, err := b.flowTarget(ctx, req, d)
	if err != nil {
		return nil, err
	}
	config, err := b.config(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.mayOpenFlow(ctx, who, config); err != nil {
		return nil, err
	}
	f, state, err := b.newFlow(ctx, req, d, k, who, known, p, config)
	if err != nil {
		return nil, err
	}
	optional, err := optionalOf(p, d, f.Scopes)
	if err != nil {
		return nil, err
	}
	build := providers.AuthCodeURL
	if f.Kind.Issued() {
		build = providers.InstallURL
	}
	authURL, err := build(p.app, providers.AuthCodeURLRequest{
		Resolved: f.Resolved, State: state, Nonce: f.Nonce, Verifier: f.Verifier, RedirectURI: f.RedirectURI,
		Scopes: f.Scopes, Optional: optional, LoginHint: d.Get("login_hint").(string), FormPost: !f.OwnRedirect,
	})
	if err != nil {
		return nil, badRequest("%s", err)
	}
	if err := b.openFlow(ctx, who, config, f); err != nil {
		return nil, err
	}
	resp := &logical.Response{Data: map[string]any{
		"url": authURL, "flow_id": f.ID, "expire_time": rfc3339(f.Expires), "redirect_uri": f.RedirectURI,
		"next_step": nextStep(req.MountPoint, f),
	}}
	resp.Warnings, _ = b.misplaced(d, shownOf(known))
	if !f.Confirm && !f.OwnRedirect {
		resp.AddWarning("this provider has confirm=false: open the URL yourself and give it to nobody")
	}
	if warning, moved := movedCallback(p, callbackURL(config, req, p.name)); moved && !f.OwnRedirect {
		resp.AddWarning(warning)
	}
	return resp, nil
}

// flowTarget finds who starts a flow, and for which connection and provider. known is nil where there is none yet.
func (b *backend) flowTarget(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (k store.Key, who caller, known *store.Connection, p *configured, err error) {
	if k, err = b.keyOf(ctx, req, d); err != nil {
		return k, who, nil, nil, err
	}
	if who = callerOf(req); who.id() == "" {
		return k, who, nil, nil, badRequest("this token has neither an entity nor an accessor, so nobody could prove to be " +
			"who started the flow: use a service token, or log in by an auth method")
	}
	known, p, err = b.mayConnect(ctx, k, who, d)
	return k, who, known, p, err
}

// mayConnect finds the connection that a flow is for, if there is one, and its provider.
func (b *backend) mayConnect(ctx context.Context, k store.Key, who caller,
	d *framework.FieldData,
) (*store.Connection, *configured, error) {
	known, _, err := b.connections.Get(ctx, k)
	if store.Damaged(err) {
		return nil, nil, damagedEntry(k)
	}
	if err != nil {
		return nil, nil, err
	}
	name := k.Name
	if known != nil {
		name = known.Provider
	}
	if v, ok := d.GetOk("provider"); ok {
		if known != nil && v.(string) != known.Provider {
			return nil, nil, badRequest("connection %s belongs to provider %q, which is fixed: choose another name", k,
				known.Provider)
		}
		name = v.(string)
	}
	switch {
	case known == nil:
		if err = b.mayCreate(who, k, d.Get("provision").(bool)); err == nil {
			err = b.mayAdd(ctx, k)
		}
	case !known.Deleting.IsZero():
		err = beingDeleted(k)
	case known.IsMoving():
		err = beingMoved(k)
	case known.Ending.On():
		err = beingEnded(k)
	default:
		err = who.may(restoring, k, known)
	}
	if err != nil {
		return nil, nil, err
	}
	if _, err := b.misplaced(d, shownOf(known)); err != nil {
		return nil, nil, err
	}
	p, err := b.knownProvider(ctx, name)
	return known, p, err
}

// openFlow stores a flow, unless the caller has opened as many as they may meanwhile.
func (b *backend) openFlow(ctx context.Context, who caller, config *store.Config, f *store.Flow) error {
	return b.openReserved(ctx, who, config, f, func() {})
}

// openReserved is openFlow for one that was counted before: release takes it from that count.
func (b *backend) openReserved(ctx context.Context, who caller, config *store.Config, f *store.Flow, release func(),
) error {
	select {
	case b.flows.starting <- struct{}{}:
		defer func() { <-b.flows.starting }()
	case <-ctx.Done():
		return ctx.Err()
	}
	release()
	if err := b.mayOpen(ctx, who, config, f.Link != nil); err != nil {
		return err
	}
	return b.putFlow(ctx, f)
}

// newFlow validates what the caller asks for and freezes the flow. It stores nothing.
func (b *backend) newFlow(ctx context.Context, req *logical.Request, d *framework.FieldData, k store.Key, who caller,
	known *store.Connection, p *configured, config *store.Config,
) (f *store.Flow, state string, err error) {
	kind, err := p.kindOf(d.Get("kind").(string), func(kind providers.Kind) bool {
		return kind == providers.KindAuthorizationCode
	})
	if err != nil {
		return nil, "", err
	}
	installs := p.app.Definition.Installs(kind)
	if kind != providers.KindAuthorizationCode && !installs {
		if kind == providers.KindDeviceCode {
			return nil, "", badRequest("kind %s has no authorization URL: start it with device-code/%s", kind, k)
		}
		return nil, "", badRequest("kind %s has no authorization URL: write it to connections/%s", kind, k)
	}
	f, asked, state, err := b.draftFlow(d, k, who, known, p, config, kind)
	if err != nil {
		return nil, "", err
	}
	f.Confirm = p.entry.Confirm
	if installs {
		if err := p.admitInputs(k.Owner, kind, f.Inputs); err != nil {
			return nil, "", err
		}
	}
	if p.app.UsesPKCE() && !installs {
		f.Verifier = providers.NewSecret(oauth2.GenerateVerifier())
	}
	if err := b.chooseRedirect(req, d, f, p, config); err != nil {
		return nil, "", err
	}
	if installs && f.OwnRedirect {
		return nil, "", badRequest("a consent of kind %s brings no code, so it ends at Vault's own callback: leave out "+
			"redirect_uri", kind)
	}
	if err := b.settleFlow(ctx, f, k, p, asked, p.client.CheckHosts); err != nil {
		return nil, "", err
	}
	if f.Resolved.OpenID && !installs {
		f.Nonce = randomText(16)
	}
	return f, state, nil
}

// draftFlow is what a flow has by the caller's and the connection's side, whatever its kind. asked are the scopes that
// it is for.
func (b *backend) draftFlow(d *framework.FieldData, k store.Key, who caller, known *store.Connection, p *configured,
	config *store.Config, kind providers.Kind,
) (f *store.Flow, asked []string, state string, err error) {
	if err := p.admit(k, kind, known); err != nil {
		return nil, nil, "", err
	}
	restores := who.mends(k, known)
	if restores {
		if err := mayRestore(k, known, p, d); err != nil {
			return nil, nil, "", err
		}
	}
	now := b.now()
	state = newState()
	f = &store.Flow{
		ID: store.FlowID(state), Key: k.String(), Provider: p.name, Kind: kind, Pinned: p.fingerprint,
		Caller:     who.id(),
		Created:    store.Actor{EntityID: who.entity, DisplayName: who.display, Time: now},
		Expires:    now.Add(config.FlowTTL),
		Reconnects: known != nil, Restores: restores,
	}
	asked = d.Get("scopes").([]string)
	if restores { // for what it has, and what its owner asked for
		asked = slices.Clone(known.RequiredScopes)
		if g := known.Grant; g != nil && mayAskFor(p, g.Scopes) == nil {
			for _, scope := range g.Scopes {
				if !slices.Contains(asked, scope) {
					asked = append(asked, scope)
				}
			}
		}
	}
	if err := mayAskFor(p, asked); err != nil {
		return nil, nil, "", err
	}
	if v, ok := d.GetOk("private"); ok {
		private := v.(bool)
		if err := mayBePrivate(k, private); err != nil {
			return nil, nil, "", err
		}
		f.Private = &private
	}
	if known != nil {
		if err := namesAll(k, known, who, p, d); err != nil {
			return nil, nil, "", err
		}
		if !who.inherits(k, known) {
			known = nil
		}
	}
	f.RequiredScopes = d.Get("required_scopes").([]string)
	if len(f.RequiredScopes) == 0 && known == nil {
		f.RequiredScopes = requiredOf(p, asked)
	}
	definition := p.app.Definition
	if known != nil {
		// what is picked by then counts, and what a key named for itself is no place for a consent
		f.Inputs = definition.InputsOf(kind, p.unpicked(known.Inputs))
	}
	if v, ok := d.GetOk("inputs"); ok {
		if f.Inputs, err = definition.CheckInputs("connection", kind, v.(map[string]string)); err != nil {
			return nil, nil, "", badRequest("%s", err)
		}
	}
	return f, asked, state, nil
}

// settleFlow freezes where a flow goes and what it asks for. hosts says whether it may go there.
func (b *backend) settleFlow(ctx context.Context, f *store.Flow, k store.Key, p *configured, asked []string,
	hosts func(providers.Resolved) error,
) (err error) {
	if f.Resolved, err = b.resolve(ctx, p, k, f.Kind, f.Inputs); err != nil {
		return asBadRequest(p.name, err)
	}
	f.Scopes = p.app.RequestScopes(asked, f.Resolved.Scopes)
	if f.Kind.Issued() {
		f.Scopes = p.app.ScopesOfTheApp()
	}
	if err := hosts(f.Resolved); err != nil {
		return err
	}
	if p.entry.ClientID == "" {
		return badRequest("provider %q has no client_id: an operator writes it to providers/%s", p.name, p.name)
	}
	if !f.Kind.Issued() && p.entry.ClientSecret.IsZero() && (f.Resolved.ClientAuth != "none" || p.entry.SecretsCleared) {
		return conflict("provider %q has no client secret (it was never written, or was cleared when the "+
			"provider changed): write client_secret to providers/%s", p.name, p.name)
	}
	return nil
}

// mayRestore refuses to change anything of a private connection that is somebody else's but its grant.
func mayRestore(k store.Key, known *store.Connection, p *configured, d *framework.FieldData) error {
	for _, field := range []string{"scopes", "optional_scopes", "required_scopes", "inputs", "private"} {
		if _, declared := d.Schema[field]; !declared {
			continue
		}
		if _, named := d.GetOk(field); named {
			return forbidden("connection %s is private: others than its owner connect it again without %s", k, field)
		}
	}
	if known.Account.Pinned != p.fingerprint {
		return forbidden("connection %s is private, and provider %q was changed since its account was learned: only the "+
			"entity that owns it may connect it again", k, p.name)
	}
	return nil
}

// mayAskFor checks what is asked against what the operator allows.
func mayAskFor(p *configured, asked []string) error {
	if !slices.Contains(p.entry.AllowedScopes, "*") {
		if err := p.app.CheckScopes(asked, p.entry.AllowedScopes); err != nil {
			return badRequest("%s", err)
		}
	}
	return nil
}

// optionalOf are the scopes that the person may leave out, beside those that are asked for anyway.
func optionalOf(p *configured, d *framework.FieldData, scopes []string) ([]string, error) {
	var asked *[]string
	if v, ok := d.GetOk("optional_scopes"); ok {
		named := v.([]string)
		asked = &named
		if err := p.app.TakesOptional(named); err != nil {
			return nil, badRequest("%s", err)
		}
		if err := mayAskFor(p, named); err != nil {
			return nil, err
		}
	}
	return p.app.RequestOptional(asked, scopes), nil
}

// requiredOf are those of the scopes asked for whose absence is to be told when nobody says which. What the engine adds
// by itself is not among them: offline_access, say, is rarely named in an answer.
func requiredOf(p *configured, asked []string) []string {
	added := p.app.AddsScopes()
	return slices.DeleteFunc(slices.Clone(asked), func(s string) bool { return slices.Contains(added, s) })
}

// chooseRedirect decides where the provider sends the browser: to Vault, or to an application that is on the list.
func (b *backend) chooseRedirect(req *logical.Request, d *framework.FieldData, f *store.Flow, p *configured,
	config *store.Config,
) error {
	_, startsHere := d.Schema["redirect_uri"]
	if startsHere {
		f.RedirectURI = d.Get("redirect_uri").(string)
	}
	f.ReturnURL = d.Get("return_url").(string)
	f.SessionBinding = d.Get("session_binding").(string)
	if err := checkBinding(f.SessionBinding); err != nil {
		return err
	}
	if f.RedirectURI != "" {
		f.OwnRedirect = true
		switch {
		case f.ReturnURL != "":
			return badRequest("return_url goes with Vault's own callback: leave out redirect_uri, or return_url")
		case !slices.ContainsFunc(p.entry.RedirectURIs, func(listed string) bool {
			return sameRedirect(listed, f.RedirectURI)
		}):
			return badRequest("redirect_uri is not on the list of provider %q: an operator adds it to redirect_uris",
				p.name)
		case p.entry.RequireSessionBinding && f.SessionBinding == "":
			return badRequest("provider %q asks for session_binding with an application's own redirect_uri", p.name)
		}
		return nil
	}
	// the browser of a link is another person's, and so is what listens there: nobody waits for it
	loopback := startsHere && isLoopbackReturn(f.ReturnURL)
	listed := slices.Contains(p.entry.ReturnURLs, f.ReturnURL) || loopback && !config.NoLoopbackReturn
	switch {
	case f.ReturnURL == "":
	case !listed && loopback:
		return badRequest("return_url leads to a command line, and config has loopback_return=false: leave it out and type " +
			"the confirmation code that the page shows")
	case !listed:
		return badRequest("return_url is not on the list of provider %q: an operator adds it to return_urls", p.name)
	case p.entry.RequireSessionBinding && f.SessionBinding == "":
		return badRequest("provider %q asks for session_binding with a return_url", p.name)
	}
	base, err := mountURL(config, req)
	f.RedirectURI = base + "/callback/" + p.name
	return err
}

func checkBinding(binding string) error {
	if binding == "" {
		return nil
	}
	if sum, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(binding, "=")); err != nil || len(sum) != 32 {
		return badRequest("session_binding must be the base64url of a SHA-256, 43 characters")
	}
	return nil
}

// sameRedirect compares exactly, but for the port of a loopback redirect (RFC 8252 section 7.3).
func sameRedirect(listed, asked string) bool {
	if listed == asked {
		return true
	}
	l, err1 := url.Parse(listed)
	a, err2 := url.Parse(asked)
	if err1 != nil || err2 != nil || l.Scheme != "http" || !isLoopback(l.Hostname()) || l.Hostname() != a.Hostname() {
		return false
	}
	a.Host = l.Host
	return a.String() == listed
}

func nextStep(mount string, f *store.Flow) string {
	exchange := "vault write " + mount + "exchange "
	if f.SessionBinding != "" {
		exchange += "session_binding_value=... "
	}
	switch {
	case f.OwnRedirect:
		return "after the person consented, finish with the code and state that your redirect URI receives: " +
			exchange + "state=... code=..."
	case !f.Confirm:
		return "after the person consented: " + exchange + "flow_id=" + f.ID
	}
	return "after the person consented, type the confirmation code that their browser shows: " + exchange +
		"flow_id=" + f.ID + " confirmation_code=..."
}

// asBadRequest makes of an error about the caller's or the operator's values a 400, and leaves the provider's failures
// what they are.
func asBadRequest(provider string, err error) error {
	var call *providers.Error
	switch {
	case errors.As(err, &call) && call.NotSent():
		return err
	case errors.As(err, &call) && (call.Class == providers.Misconfigured || call.Code == providers.CodeIssuer):
		return badRequest("%s: an operator corrects %s", call, faultsOf(provider, call))
	case errors.As(err, &call) && call.Step == providers.StepDiscovery:
		return badGateway("%s: try again later; if that lasts, an operator looks at issuer on providers/%s", call,
			provider)
	case errors.As(err, &call):
		return badGateway("%s: try again later", call)
	case errors.As(err, new(*gate.Refused)), errors.As(err, new(*refresh.Error)), errors.Is(err, gate.ErrClosed):
		return err
	}
	return badRequest("%s", err)
}

const authCodeURLHelp = `
Answers the URL at which a person consents, and what to do afterwards. Nothing is
connected by this call, and a connection that serves goes on serving.

The flow is bound to the caller: only the same entity (or, without one, the same token)
can finish it with exchange, within flow_ttl.

Without redirect_uri the provider sends the browser to Vault's callback page, which
shows a confirmation code to whoever consented. Typing that code into exchange proves
that the one who consented and the one who started are the same. An application that
sends browsers on with return_url, or receives them with redirect_uri, ties the flow to
the browser session that started it with session_binding.

To reconnect, start a flow for the same name: label, tags and policies stay, and another
account is refused.
`
