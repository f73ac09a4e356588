package backend

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

func (b *backend) pathExchange() []*framework.Path {
	return []*framework.Path{{
		Pattern:      "exchange",
		DisplayAttrs: display("flow", "Flow"),
		Fields: map[string]*framework.FieldSchema{
			"flow_id":           str("The flow, for one that came back to Vault's callback, or of a link."),
			"confirmation_code": secret(str("The code that the browser's page showed.")),
			"state":             secret(str("The state that the application's own redirect URI received.")),
			"code":              secret(str("The authorization code it received.")),
			"iss":               str("The issuer it received, if any (RFC 9207)."),
			"callback": secret(pairs("Every parameter that the application's own redirect URI received, for services that " +
				"tell more there than code and state.")),
			"session_binding_value": secret(str("The value whose hash was given as session_binding.")),
			"allow_account_change":  boolean("Reconnect although it is another account than before."),
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: verb("finish", forwarded(b.operation(b.exchangeWrite, "Finish a flow.",
				connectionSchema))),
		},
		HelpSynopsis:    "Finish a flow.",
		HelpDescription: exchangeHelp,
	}}
}

// exchangeRequest is a request to finish a flow, as far as it can be judged without the flow.
type exchangeRequest struct {
	flowID       string
	ownRedirect  bool
	code         string            // with ownRedirect
	issuer       string            // with ownRedirect
	callback     map[string]string // with ownRedirect: all that the browser brought, if the application passes it on
	confirmation string
	binding      string
	otherAccount bool
	who          caller
	digest       string // of all but otherAccount: the same request gets the same answer
}

func readExchange(req *logical.Request, d *framework.FieldData) (exchangeRequest, error) {
	x := exchangeRequest{
		code: d.Get("code").(string), issuer: d.Get("iss").(string), confirmation: d.Get("confirmation_code").(string),
		binding: d.Get("session_binding_value").(string), otherAccount: d.Get("allow_account_change").(bool),
		who: callerOf(req),
	}
	state, flowID := d.Get("state").(string), d.Get("flow_id").(string)
	switch {
	case state != "" && flowID != "":
		return x, badRequest("name either flow_id and confirmation_code, or state and code")
	case state != "" && x.code == "":
		return x, badRequest("state goes with code: both came to your redirect URI")
	case state != "":
		x.ownRedirect, x.flowID = true, store.FlowID(state)
	case flowID == "":
		return x, badRequest("name the flow: flow_id and confirmation_code, or state and code")
	case !store.ValidFlowID(flowID):
		return x, unknownFlow
	default:
		x.flowID = flowID
	}
	if v, ok := d.GetOk("callback"); ok {
		if x.callback = v.(map[string]string); !x.ownRedirect {
			return x, badRequest("callback goes with state and code: what came to Vault's own callback is known")
		}
		if iss := x.callback["iss"]; x.issuer == "" {
			x.issuer = iss
		} else if iss != "" && iss != x.issuer {
			return x, badRequest("callback names another iss than the request")
		}
	}
	parts := []string{x.who.id(), x.flowID, x.code, x.issuer, normalCode(x.confirmation), x.binding}
	for _, name := range slices.Sorted(maps.Keys(x.callback)) {
		parts = append(parts, name, x.callback[name])
	}
	x.digest = digest(parts...)
	return x, nil
}

func normalCode(code string) string {
	return strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(code))
}

// unknownFlow is one answer for unknown, expired and void flows, so that nobody learns which it was.
var unknownFlow = badRequest("no such flow, or it has expired: start again with auth-code-url/")

func (b *backend) exchangeWrite(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	if err := refuseUndeclared(d, func(string) bool { return false }); err != nil {
		return nil, err
	}
	x, err := readExchange(req, d)
	if err != nil {
		return nil, err
	}
	// The flight goes by the whole request, so that the same one sent
	// twice joins it and any other is judged by itself.
	out, err := b.tasks.Once(ctx, "exchange "+x.digest, func(ctx context.Context) (any, error) {
		return b.finish(ctx, x)
	})
	if err != nil {
		return nil, err
	}
	f := out.(*store.Flow)
	if !f.Outcome.Connected {
		return nil, conflict("%s", f.Outcome.Failure)
	}
	k, err := f.ConnectionKey()
	if err != nil {
		return nil, err
	}
	conn, _, err := b.connections.Get(ctx, k)
	if err != nil {
		return nil, err
	}
	if conn == nil || conn.FlowID != f.ID {
		return nil, conflict("the flow connected %s, which was deleted since, or connected anew", k)
	}
	resp, err := b.metadata(ctx, callerOf(req), k, conn)
	if resp != nil {
		resp.Warnings = append(resp.Warnings, f.Outcome.Warnings...)
	}
	return resp, err
}

// finish judges the request, claims the flow, spends the code and keeps what came of it. It returns the flow with its
// outcome.
func (b *backend) finish(ctx context.Context, x exchangeRequest) (*store.Flow, error) {
	pass, err := b.enterExchange(ctx, x)
	if err != nil {
		return nil, err
	}
	f, p, err := b.claim(ctx, x, pass != nil)
	if pass == nil && errors.Is(err, errNoPass) { // the browser came between two looks
		if pass, err = b.enterExchange(ctx, x); err != nil {
			return nil, err
		}
		f, p, err = b.claim(ctx, x, pass != nil)
	}
	if pass != nil {
		defer pass.Leave(gate.NotSent, 0)
	}
	if err != nil || f.Outcome != nil {
		return f, err
	}
	if f.HoldsKey() {
		return b.finishKey(ctx, x, f, p)
	}
	// From here on the code may be spent: whatever happens becomes the flow's outcome.
	outcome, saved := b.connect(ctx, x, f, p, pass)
	return f, b.conclude(ctx, f, outcome, saved)
}

// conclude makes what became of a flow its outcome.
func (b *backend) conclude(ctx context.Context, f *store.Flow, outcome *store.Outcome, saved bool) error {
	// It replaces the mark of a deletion: whoever asks again is to hear what became of the code.
	unlock, err := b.flows.lock(context.WithoutCancel(ctx), f.ID)
	if err != nil {
		return err
	}
	defer unlock()
	f.Outcome = outcome
	b.keepOutcome(context.WithoutCancel(ctx), f, saved)
	return nil
}

// keepOutcome stores what became of a flow, unless the connection it made lives in memory only: the flow must not say
// "connected" when a crash has taken the connection. It need not be stored to be found out: the connection names the
// flow that made it.
func (b *backend) keepOutcome(ctx context.Context, f *store.Flow, saved bool) {
	defer b.flows.changed(f)
	if !saved {
		return
	}
	if err := b.store.PutFlow(ctx, f.Kept()); err != nil {
		b.Logger().Warn("the outcome of a flow could not be stored", "connection", f.Key, "error", err)
	}
}

const exchangeHelp = `
A flow that came back to Vault's callback is finished with flow_id and the confirmation
code that the page showed. A flow with the application's own redirect URI is finished
with the state and code that arrived there. Either is finished only by who started it,
and with session_binding_value where session_binding was given.

The same request sent again gets the same answer until the flow expires, without asking
the provider again. Five wrong confirmation codes void the flow. An authorization code
that two flows brought is spent by neither.
`
