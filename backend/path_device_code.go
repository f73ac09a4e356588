package backend

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

func (b *backend) pathDeviceCode() []*framework.Path {
	return []*framework.Path{{
		Pattern:      byName("device-code"),
		DisplayAttrs: display(spellings("device-flow"), "Device flow"),
		Fields: ownedFields(map[string]*framework.FieldSchema{
			"provider": str("Provider to connect; by default that of the connection, else " +
				"the one of the connection's name."),
			"scopes": strs("Scopes to ask for, out of the provider's allowed_scopes; by " +
				"default the provider's scopes."),
			"required_scopes": strs("Scopes whose absence is shown as missing_scopes; by default the scopes of this " +
				"request. A reconnect keeps the connection's."),
			"inputs": pairs("Values the definition asks of a connection, such as a shop or a subdomain."),
			"private": boolean("Serve the credential to the owner's own entity alone. The default where that entity " +
				"connects; only it can say false."),
			"provision":            boolean("Connect under the id of a live entity that is not the caller's own."),
			"allow_account_change": boolean("Reconnect although it is another account than before."),
			"flow_id": inQuery(str("Of several flows of the caller's for this connection, the one that is meant; by " +
				"default the last.")),
		}),
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: verb("start", forwarded(b.operation(b.deviceCodeWrite,
				"Start to connect an account on another device.", deviceStartSchema))),
			logical.ReadOperation: verb("read", forwarded(b.operation(b.deviceCodeRead,
				"Read how the flow stands.", deviceStateSchema))),
			logical.DeleteOperation: verb("end", forwarded(b.operation(b.deviceCodeDelete, "End the flow."))),
		},
		HelpSynopsis:    "Start to connect an account on another device.",
		HelpDescription: deviceCodeHelp,
	}}
}

var deviceStartSchema = map[string]*framework.FieldSchema{
	"user_code":        required(str("What the person types at verification_uri. Told once.")),
	"verification_uri": required(str("Where the person types it.")),
	"verification_uri_complete": required(str("The same with the code in it, for a link or a QR code; empty where the " +
		"service has none.")),
	"expire_time": required(str("When the flow ends (RFC 3339).")),
	"interval": required(integer("Every how many seconds the engine asks the service; reading more often tells no " +
		"more.")),
	"flow_id":   required(str("Names the flow; proves nothing.")),
	"next_step": required(str("What to do.")),
}

var deviceStateSchema = map[string]*framework.FieldSchema{
	"state": required(str("pending, connected, denied (the person said no), expired (nobody typed the code in time) or " +
		"failed.")),
	"reason": required(str("Why it is denied, expired or failed, or what it waits for; empty: nothing but the " +
		"person.")),
	"provider":    required(str("Provider that is connected.")),
	"expire_time": required(str("When the flow ends, or ended (RFC 3339).")),
	"interval":    required(integer("Every how many seconds the engine asks the service; 0 once it is over.")),
	"flow_id":     required(str("Names the flow.")),
}

// The states of a device flow.
const (
	devicePending   = "pending"
	deviceConnected = "connected"
	deviceFailed    = "failed"
)

func (b *backend) deviceCodeWrite(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	if err := refuseUndeclared(d, func(string) bool { return false }); err != nil {
		return nil, err
	}
	if _, named := d.GetOk("flow_id"); named {
		return nil, badRequest("flow_id is for reading and deleting: a start makes a flow of its own")
	}
	k, who, known, p, err := b.flowTarget(ctx, req, d)
	if err != nil {
		return nil, err
	}
	config, err := b.config(ctx)
	if err != nil {
		return nil, err
	}
	if !b.mayWrite() {
		return nil, logical.ErrReadOnly // before the service is asked
	}
	kind, err := p.kindOf("", func(kind providers.Kind) bool { return kind == providers.KindDeviceCode })
	if err != nil {
		return nil, err
	}
	if name := p.app.Definition.LacksBrowser(); name != "" {
		return nil, badRequest("%s tells %q to a browser that comes back, and here none does: connect it with "+
			"auth-code-url/%s",
			p.app.Definition.Name, name, k)
	}
	f, asked, _, err := b.draftFlow(d, k, who, known, p, config, kind) // nobody needs the state: nothing comes back by it
	if err != nil {
		return nil, err
	}
	release, err := b.reserveFlow(ctx, who, config)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := b.settleFlow(ctx, f, k, p, asked, p.client.CheckDeviceHosts); err != nil {
		return nil, err
	}
	delete(f.Resolved.Endpoints, providers.StepAuthorize)
	told, err := b.askDevice(ctx, f, p, k, known, who)
	if err != nil {
		return nil, err
	}
	now := b.now()
	if end := now.Add(told.Life); end.Before(f.Expires) {
		f.Expires = end
	}
	f.Device = &store.Device{
		Interval: told.Interval, Code: told.Code, AccountChange: d.Get("allow_account_change").(bool),
	}
	if err := b.openReserved(ctx, who, config, f, release); err != nil {
		return nil, err
	}
	b.devices.begin(f.ID, f.Provider, now.Add(told.Interval))
	b.endFormer(ctx, f)
	resp := &logical.Response{Data: map[string]any{
		"user_code": told.UserCode, "verification_uri": told.URI, "verification_uri_complete": told.WholeURI,
		"expire_time": rfc3339(f.Expires), "interval": int(told.Interval.Seconds()), "flow_id": f.ID,
		"next_step": "open verification_uri in a browser and type the user_code there; 'vault read " + req.MountPoint +
			req.Path + "' tells how it stands",
	}}
	resp.Warnings, _ = b.misplaced(d, shownOf(known))
	resp.AddWarning("whoever types this code connects their account to " + k.String() + ": type it yourself, or give it " +
		"to nobody but the person whose account that is to be")
	return resp, nil
}

// askDevice asks the service for a code.
func (b *backend) askDevice(ctx context.Context, f *store.Flow, p *configured, k store.Key, known *store.Connection,
	who caller,
) (*providers.Device, error) {
	pass, err := b.enterFor(ctx, gate.Person, p.name, k, known, who)
	if err != nil {
		return nil, err
	}
	defer pass.Leave(gate.NotSent, 0)
	told, err := p.client.AskDevice(b.debugs(ctx, p, k, known), p.app, f.Resolved, f.Scopes)
	if err != nil {
		pass.Tell(refresh.OutcomeOf(err))
		return nil, asBadRequest(p.name, err)
	}
	pass.Tell(gate.Answered, 0) // it need not have looked at the app's secret
	return told, nil
}

// reserveFlow counts a flow that is about to be opened, so that no more ask their service at once than may be open.
func (b *backend) reserveFlow(ctx context.Context, who caller, config *store.Config) (release func(), err error) {
	select {
	case b.flows.starting <- struct{}{}:
		defer func() { <-b.flows.starting }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := b.mayOpenFlow(ctx, who, config); err != nil {
		return nil, err
	}
	own, held := allowance(who.id()), true
	b.devices.asks(own, 1)
	return func() {
		if held {
			held = false
			b.devices.asks(own, -1)
		}
	}, nil
}

// endFormer ends the caller's former device flows for a connection: the code that was told last is the one that counts.
func (b *backend) endFormer(ctx context.Context, latest *store.Flow) {
	var former []string
	err := b.flows.each(ctx, func(id string, f openFlow) {
		if f.device && f.key == latest.Key && f.caller == latest.Caller && id != latest.ID && !f.ended && !f.denied {
			former = append(former, id)
		}
	})
	for _, id := range former {
		if verr := b.voidFlow(ctx, id); verr != nil {
			err = verr
		}
	}
	if err != nil {
		b.Logger().Debug("a former device flow could not be ended", "connection", latest.Key, "error", err)
	}
}

// noDeviceFlow is one answer for flows that never were, were ended, or are forgotten.
func noDeviceFlow(k store.Key) error {
	return badRequest("no device flow of yours for %s: it was never started, was ended, or is over for a while; start "+
		"one with device-code/%s", k, k)
}

// callersFlow finds the flow of the caller's for a connection that these picks: the one that is named, or the last that
// was not ended. foreign tells of others' where the caller has none.
func (b *backend) callersFlow(ctx context.Context, req *logical.Request, d *framework.FieldData,
	these func(openFlow) bool,
) (k store.Key, id string, foreign bool, err error) {
	if k, err = b.keyOf(ctx, req, d); err != nil {
		return k, "", false, err
	}
	named, who := d.Get("flow_id").(string), callerOf(req)
	var latest openFlow
	err = b.flows.each(ctx, func(at string, f openFlow) {
		switch {
		case !these(f) || f.void || f.key != k.String() || named != "" && named != at:
		case who.id() == "" || f.caller != who.id():
			foreign = true
		case id == "" || f.started.After(latest.started):
			id, latest = at, f
		}
	})
	return k, id, foreign, err
}

// deviceFlowOf finds the caller's flow: the one that is named, or the last that was not ended.
func (b *backend) deviceFlowOf(ctx context.Context, req *logical.Request, d *framework.FieldData,
) (k store.Key, id string, err error) {
	k, id, foreign, err := b.callersFlow(ctx, req, d, func(f openFlow) bool { return f.device })
	switch {
	case err != nil:
		return k, "", err
	case id == "" && foreign:
		return k, "", forbidden("the device flow for %s was started by somebody else: only who started it can read or end "+
			"it; start one of your own", k)
	case id == "":
		return k, "", noDeviceFlow(k)
	}
	return k, id, nil
}

func (b *backend) deviceCodeRead(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	k, id, err := b.deviceFlowOf(ctx, req, d)
	if err != nil {
		return nil, err
	}
	f, why := (*store.Flow)(nil), ""
	if t := b.devices.find(id); t != nil {
		f, why = t.told()
	}
	if f == nil {
		if f, err = b.store.Flow(ctx, id); err != nil {
			return nil, err
		}
	}
	if f == nil || f.Device == nil || f.Void && f.Outcome == nil {
		return nil, noDeviceFlow(k)
	}
	data := map[string]any{
		"flow_id": f.ID, "provider": f.Provider, "expire_time": rfc3339(f.Expires), "interval": 0,
		"state": devicePending, "reason": why,
	}
	resp := &logical.Response{Data: data}
	switch {
	case f.Outcome == nil && b.now().Before(f.Expires), f.Outcome == nil && b.devices.holds(id):
		data["interval"] = int(f.Device.Interval.Seconds())
		if b.standsStill() {
			why = "nothing is asked of services while this storage may be a restored snapshot: see refresh_paused_reason on " +
				"status"
			data["reason"] = why
		}
		if state, until := b.gate.State(f.Provider); why == "" && state != gate.Well {
			data["reason"] = "provider " + f.Provider + " is left alone now (" + string(state) + "), until " + rfc3339(until) +
				" at least: see circuit on providers/" + f.Provider
		}
	case f.Outcome == nil:
		data["state"] = string(store.DeviceExpired)
		data["reason"] = failure(f, "nobody typed the code in time").Failure
	case f.Outcome.Connected:
		data["state"], data["reason"] = deviceConnected, ""
		resp.Warnings = append(resp.Warnings, f.Outcome.Warnings...)
	case f.Device.Ended != "":
		data["state"], data["reason"] = string(f.Device.Ended), f.Outcome.Failure
	default:
		data["state"], data["reason"] = deviceFailed, f.Outcome.Failure
	}
	return resp, nil
}

func (b *backend) deviceCodeDelete(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	_, id, err := b.deviceFlowOf(ctx, req, d)
	if err != nil {
		return nil, err
	}
	if err := b.voidFlow(ctx, id); err != nil {
		return nil, err
	}
	return nil, nil
}

const deviceCodeHelp = `
For people whose browser is elsewhere, as beside a terminal or a television: the answer
has a code and an address. The person opens that on a device of their own and types the
code; meanwhile the engine asks the service every few seconds, and connects the account
once they have consented. Reading tells how it stands, to whoever started it and to
nobody else; deleting ends it. A new start ends the caller's former one for the same
connection.

Whoever types a code connects their account to the connection of whoever was given it,
and nothing proves that the two belong together. People are talked into typing a
stranger's code, so this is off unless the provider's kinds name device_code; use
auth-code-url wherever there is a browser.

What the starter might do counts, as it was at the start: nobody finishes the flow by a
request. An entity that is gone or disabled by then, a changed or frozen provider, and a
deleted connection connect nothing.
`
