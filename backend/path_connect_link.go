package backend

import (
	"context"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/pages"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

func (b *backend) pathConnectLink() []*framework.Path {
	return []*framework.Path{{
		Pattern:      byName("connect-link"),
		DisplayAttrs: display(spellings("link"), "Connect link"),
		Fields: ownedFields(map[string]*framework.FieldSchema{
			"provider": str("Provider to connect; by default that of the connection, else " +
				"the one of the connection's name."),
			"kind": str("How the credential is obtained: by a consent, or by a key that the person types; by default the " +
				"first way of the provider's that is one of these."),
			"scopes": strs("Scopes to ask for, out of the provider's allowed_scopes; by " +
				"default the provider's scopes."),
			"optional_scopes": strs("Scopes that the person may leave out, of services that have such; by default the " +
				"provider's."),
			"required_scopes": strs("Scopes whose absence is shown as missing_scopes; by default the scopes of this " +
				"request. A reconnect keeps the connection's."),
			"inputs": pairs("Values the definition asks of a connection, such as a shop or a subdomain. Those that are " +
				"missing are asked of the person."),
			"return_url": str("Where the page leads on to at the end, with flow_id and confirmation_code; one of the " +
				"provider's return_urls. Left out: the page shows the code, and the person tells it."),
			"login_hint": str("Account to suggest on the provider's login page, where it takes one."),
			"session_binding": str("base64url of the SHA-256 of a value in the browser session of the application's user " +
				"whose link it is; exchange must bring the value."),
			"private": boolean("Serve the credential to the owner's own entity alone. The default where that entity " +
				"connects; only it can say false."),
			"provision": boolean("Connect under the id of a live entity that is not the caller's own."),
			"purpose":   str("What it is for, in your words; the page shows it as yours."),
			"account": str("The only account that may be connected, by its id or email as the service tells it; shown on " +
				"the page. Left out: any."),
			"ttl": {
				Type: framework.TypeDurationSecond, Default: int(usualLink.Seconds()),
				Description: "How long the link may be used.",
			},
			"flow_id": inQuery(str("Of several links of the caller's for this connection, the one that is meant; by " +
				"default the last.")),
		}),
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: verb("make", forwarded(b.operation(b.connectLinkWrite,
				"Make a link by which a person without a Vault token connects an account.", linkSchema))),
			logical.ReadOperation: verb("read", forwarded(b.operation(b.connectLinkRead, "Read what became of the link.",
				linkStateSchema))),
			logical.DeleteOperation: verb("end", forwarded(b.operation(b.connectLinkDelete, "End the link."))),
		},
		HelpSynopsis:    "A link by which a person without a Vault token connects an account.",
		HelpDescription: connectLinkHelp,
	}}
}

var linkSchema = map[string]*framework.FieldSchema{
	"url":         required(str("The link, for the person's browser. Told once.")),
	"flow_id":     required(str("Names the flow in exchange; proves nothing.")),
	"expire_time": required(str("Until when the link may be used (RFC 3339).")),
	"next_step":   required(str("What to do.")),
}

var linkStateSchema = map[string]*framework.FieldSchema{
	"state": required(str("offered, started (the person is at the service), parked (exchange finishes it), connected, " +
		"expired or failed.")),
	"reason":   required(str("Why it failed, or how the last try ended; empty: nothing is to be said.")),
	"provider": required(str("Provider that is connected.")),
	"expire_time": required(str("Until when the link may be used, or the flow be finished; or when it ended " +
		"(RFC 3339).")),
	"tries":   required(integer("How often it was tried, of the five times that it may be.")),
	"flow_id": required(str("Names the flow.")),
}

// The states of a link.
const (
	linkOffered   = "offered"
	linkStarted   = "started"
	linkParked    = "parked"
	linkConnected = "connected"
	linkExpired   = "expired"
	linkFailed    = "failed"
)

const (
	usualLink    = time.Hour
	shortestLink = time.Minute
)

func (b *backend) connectLinkWrite(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	if err := refuseUndeclared(d, func(string) bool { return false }); err != nil {
		return nil, err
	}
	if _, named := d.GetOk("flow_id"); named {
		return nil, badRequest("flow_id is for reading and deleting: a link makes a flow of its own")
	}
	ttl := time.Duration(d.Get("ttl").(int)) * time.Second
	if ttl < shortestLink || ttl > longestLink {
		return nil, badRequest("ttl must lie between %s and %s", shortestLink, longestLink)
	}
	k, who, known, p, err := b.flowTarget(ctx, req, d)
	if err != nil {
		return nil, err
	}
	config, err := b.config(ctx)
	if err != nil {
		return nil, err
	}
	page, err := connectURL(config, req)
	if err != nil {
		return nil, err
	}
	if !b.mayWrite() {
		return nil, logical.ErrReadOnly // before an issuer is asked
	}
	if err := b.mayOpen(ctx, who, config, true); err != nil {
		return nil, err
	}
	f, link, err := b.newLink(ctx, req, d, k, who, known, p, config)
	if err != nil {
		return nil, err
	}
	f.Link.Until = b.now().Add(ttl)
	f.Expires = f.Link.Until
	if err := b.openFlow(ctx, who, config, f); err != nil {
		return nil, err
	}
	resp := &logical.Response{Data: map[string]any{
		"url": page + "?link=" + link, "flow_id": f.ID, "expire_time": rfc3339(f.Expires),
		"next_step": "send the url to the person, and to nobody else; then: " + exchangeCommand(req.MountPoint, f) +
			"; 'vault read " + req.MountPoint + req.Path + "' tells how it stands",
	}}
	if warning, moved := movedCallback(p, callbackURL(config, req, p.name)); moved && !byKey(p, f.Kind) {
		resp.AddWarning(warning)
	}
	return resp, nil
}

func exchangeCommand(mount string, f *store.Flow) string {
	command := "vault write " + mount + "exchange "
	if f.SessionBinding != "" {
		command += "session_binding_value=... "
	}
	return command + "flow_id=" + f.ID + " confirmation_code=..."
}

// connectURL is where the form of links is.
func connectURL(config *store.Config, req *logical.Request) (string, error) {
	base, err := mountURL(config, req)
	if err != nil {
		return "", err
	}
	if err := pages.CheckAction(base + "/connect"); err != nil {
		return "", badRequest("public_url leads to no page that a form could be sent to: an operator writes a plain one to " +
			"config (public_url=https://vault.example.com)")
	}
	return base + "/connect", nil
}

// byKey reports whether a person who connects an account in that way types a key.
func byKey(p *configured, kind providers.Kind) bool {
	return kind.HasKey() || p.app.Definition.BuysWithKey(kind)
}

// newLink validates what the caller asks for and freezes the flow. It stores nothing.
func (b *backend) newLink(ctx context.Context, req *logical.Request, d *framework.FieldData, k store.Key, who caller,
	known *store.Connection, p *configured, config *store.Config,
) (f *store.Flow, link string, err error) {
	offers := func(kind providers.Kind) bool {
		return kind == providers.KindAuthorizationCode || p.app.Definition.Installs(kind) || byKey(p, kind)
	}
	kind, err := p.kindOf(d.Get("kind").(string), offers)
	if err != nil {
		return nil, "", err
	}
	switch {
	case kind == providers.KindDeviceCode:
		return nil, "", badRequest("kind %s has no link: start it with device-code/%s", kind, k)
	case !offers(kind):
		return nil, "", badRequest("kind %s needs no person: write it to connections/%s", kind, k)
	case byKey(p, kind):
		err = mayAskForKey(d, k, who, known)
	}
	if err != nil {
		return nil, "", err
	}
	f, asked, link, err := b.draftFlow(d, k, who, known, p, config, kind)
	if err != nil {
		return nil, "", err
	}
	f.ID, f.Confirm = store.LinkID(link), true // whoever has the link, the code proves who used it
	if err := b.chooseRedirect(req, d, f, p, config); err != nil {
		return nil, "", err
	}
	if byKey(p, kind) {
		if _, named := d.GetOk("inputs"); !named {
			f.Inputs = nil
		}
		if p.app.Definition.NamesHost(kind, f.Inputs) {
			return nil, "", badRequest("inputs say where the key would be sent, and that is for the person who has it: leave " +
				"out what names a host, and the page asks for it")
		}
	}
	f.Link = &store.Link{
		Purpose: d.Get("purpose").(string), Account: d.Get("account").(string), Inputs: f.Inputs, Asked: asked,
		LoginHint: d.Get("login_hint").(string), Provision: d.Get("provision").(bool),
	}
	missing := p.app.Definition.AskedInputs(kind, p.entry.Inputs, f.Inputs)
	if byKey(p, kind) {
		if len(missing) == 0 {
			err = takesInputs(p, k, kind, f.Inputs)
		}
		return f, link, err
	}
	if len(missing) > 0 { // where it leads is not known yet
		f.Scopes = p.app.RequestScopes(asked, nil)
		if p.entry.ClientID == "" {
			return nil, "", badRequest("provider %q has no client_id: an operator writes it to providers/%s", p.name, p.name)
		}
	} else if err := b.settleConsent(ctx, f, k, p); err != nil {
		return nil, "", err
	}
	f.Link.Optional, err = optionalOf(p, d, f.Scopes)
	return f, link, err
}

// mayAskForKey refuses a link for a key where who asks could not write it, and what goes with consents alone.
func mayAskForKey(d *framework.FieldData, k store.Key, who caller, known *store.Connection) error {
	for _, field := range []string{"scopes", "optional_scopes", "login_hint"} {
		if _, named := d.GetOk(field); named {
			return badRequest("%s goes with a consent, and here a key is asked for: leave it out", field)
		}
	}
	if known == nil {
		return nil
	}
	return who.may(changing, k, known)
}

// takesInputs holds the inputs for a key, of which none is missing, against what the definition and the operator say.
func takesInputs(p *configured, k store.Key, kind providers.Kind, inputs map[string]string) error {
	merged, err := p.app.Definition.MergeInputs(kind, p.entry.Inputs, inputs)
	if err != nil {
		return badRequest("%s", err)
	}
	if err := p.admitInputs(k.Owner, kind, inputs); err != nil {
		return err
	}
	return p.client.CheckKeyHost(p.app, kind, merged)
}

// settleConsent freezes where the consent of a link is asked for, with the inputs that the flow has by then.
func (b *backend) settleConsent(ctx context.Context, f *store.Flow, k store.Key, p *configured) error {
	if p.app.Definition.Installs(f.Kind) {
		if err := p.admitInputs(k.Owner, f.Kind, f.Inputs); err != nil {
			return err
		}
	}
	return b.settleFlow(ctx, f, k, p, f.Link.Asked, p.client.CheckHosts)
}

// linkOf finds the caller's link: the one that is named, or the last that was not ended.
func (b *backend) linkOf(ctx context.Context, req *logical.Request, d *framework.FieldData) (k store.Key, id string,
	err error,
) {
	k, id, foreign, err := b.callersFlow(ctx, req, d, func(f openFlow) bool { return f.link })
	switch {
	case err != nil:
	case id == "" && foreign:
		err = forbidden("the link for %s was made by somebody else: only who made it can read or end it; make one of your "+
			"own", k)
	case id == "":
		err = noLink(k)
	}
	return k, id, err
}

// noLink is one answer for links that never were, were ended, or are forgotten.
func noLink(k store.Key) error {
	return badRequest("no link of yours for %s: it was never made, was ended, or is over for a while; make one with "+
		"connect-link/%s", k, k)
}

func (b *backend) connectLinkRead(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	k, id, err := b.linkOf(ctx, req, d)
	if err != nil {
		return nil, err
	}
	f, err := b.store.Flow(ctx, id)
	if err != nil {
		return nil, err
	}
	if f == nil || f.Link == nil || f.Void && f.Outcome == nil {
		return nil, noLink(k)
	}
	state, reason := b.linkState(f)
	resp := &logical.Response{Data: map[string]any{
		"flow_id": f.ID, "provider": f.Provider, "expire_time": rfc3339(f.Expires), "tries": f.Link.Tries, "state": state,
		"reason": reason,
	}}
	if state == linkConnected {
		resp.Warnings = append(resp.Warnings, f.Outcome.Warnings...)
	}
	return resp, nil
}

// linkState says how the flow of a link stands.
func (b *backend) linkState(f *store.Flow) (state, reason string) {
	now := b.now()
	switch {
	case f.Outcome != nil && f.Outcome.Connected:
		return linkConnected, ""
	case f.Outcome != nil:
		return linkFailed, f.Outcome.Failure
	case !now.Before(f.Expires) && f.Parked != nil:
		return linkExpired, failure(f, "nobody finished it in time, and what the person brought is gone").Failure
	case !now.Before(f.Expires):
		return linkExpired, failure(f, "nobody used the link to its end in time").Failure
	case f.Parked != nil:
		return linkParked, ""
	case f.Started(now):
		return linkStarted, ""
	case f.Offered(now):
		if f.Link.Denied != "" {
			reason = "the person or the provider said no (" + f.Link.Denied + "); the link may be used again"
		}
		return linkOffered, reason
	}
	return linkFailed, failure(f, "its five tries brought nothing").Failure
}

func (b *backend) connectLinkDelete(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	_, id, err := b.linkOf(ctx, req, d)
	if err != nil {
		return nil, err
	}
	return nil, b.voidFlow(ctx, id)
}

const connectLinkHelp = `
For people who have no Vault token: the answer has a link to send to them. Its page says
what is asked and by whom, and has one button that leads to the service's consent, or
the fields of a key. What the person brings is parked in the flow, and connects nothing
yet: only who made the link finishes it, with exchange and the confirmation code that
the page shows at its end, or hands on to return_url. Nobody sees a key that was typed.

A link is good for one connection, and for five tries; the first consent or key that is
parked ends it. Whoever has the link can use it up. Reading tells how it stands, to
whoever made it and to nobody else; deleting ends it.

account names the only account that may be connected. An application that sends links
to its own users ties each to the session of that user with session_binding.
`
