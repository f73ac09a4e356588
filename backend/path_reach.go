package backend

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

func (b *backend) pathReach() []*framework.Path {
	return []*framework.Path{{
		Pattern:      "providers/" + segment("provider") + "/reach",
		DisplayAttrs: display("provider-reach", "Provider"),
		Fields: map[string]*framework.FieldSchema{
			"provider": required(str("Name of the provider.")),
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: verb("list", forwarded(b.operation(b.reachWrite,
				"Ask the service which accounts the app itself reaches.", reachSchema))),
		},
		HelpSynopsis:    "Which accounts the app itself reaches.",
		HelpDescription: reachHelp,
	}}
}

var reachSchema = map[string]*framework.FieldSchema{
	"input": required(str("The input that takes the id of one, and that bound_inputs of the provider binds to owners.")),
	"reaches": objects("What the app's own credential opens, a hundred at most, each with id, name and bound: the " +
		"owners that may name it."),
}

// reachWrite asks with what is the operator's, so it is for whoever looks after providers. Nothing is stored.
func (b *backend) reachWrite(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	if err := refuseUndeclared(d, func(string) bool { return false }); err != nil {
		return nil, err
	}
	p, err := b.knownProvider(ctx, d.Get("provider").(string))
	if err != nil {
		return nil, err
	}
	spec := p.app.Definition.Reaches
	if spec == nil {
		return nil, badRequest("no call of %s lists what an app reaches: see its own pages, and bind what an owner is to "+
			"have with bound_inputs on providers/%s", p.app.Definition.Name, p.name)
	}
	if why := providerFreeze(p.name, p.entry); p.mount.Frozen || why != "" {
		return nil, forbidden("%s", orDefault(why, mountFreeze(p.mount, store.Owner{})))
	}
	pass, err := b.gate.Enter(ctx, gate.Visit{
		Key: p.name, Connection: "providers/" + p.name, Account: callerOf(req).id(), Class: gate.Person,
	})
	if err != nil {
		return nil, err
	}
	defer pass.Leave(gate.NotSent, 0)
	found, more, err := p.client.Reached(b.debugs(ctx, p, store.Key{}, nil), p.app)
	pass.Tell(refresh.OutcomeOf(err))
	if err != nil {
		return nil, asBadRequest(p.name, err)
	}
	reaches := []map[string]any{}
	for _, one := range found {
		reaches = append(reaches, map[string]any{
			"id": one.ID, "name": one.Name, "bound": list(p.boundTo(spec.Input, one.ID)),
		})
	}
	resp := &logical.Response{Data: map[string]any{"input": spec.Input, "reaches": reaches}}
	if more {
		resp.AddWarning("there may be more than these: the service lists a hundred at a time")
	}
	return resp, nil
}

const reachHelp = `
With the operator's own credential at the service, such as the private key of a GitHub
App, the engine acts wherever the app was let in. This asks the service where that is,
for the operator to bind each to the owner who is to have it: bound_inputs on the
provider. No connection is made by it, and nothing is stored.
`
