package backend

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

func (b *backend) pathRefresh() []*framework.Path {
	return []*framework.Path{{
		Pattern:      byName("refresh"),
		DisplayAttrs: display(spellings("connection"), "Connection"),
		Fields:       ownedFields(nil),
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: verb("refresh", forwarded(b.operation(b.refreshWrite, "Replace the token now.",
				connectionSchema))),
		},
		HelpSynopsis:    "Replace a connection's token now.",
		HelpDescription: refreshHelp,
	}}
}

func (b *backend) refreshWrite(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	k, err := b.keyOf(ctx, req, d)
	if err != nil {
		return nil, err
	}
	a, err := b.refresher.Refresh(ctx, k, callerOf(req).permitFor(k))
	if err != nil {
		return nil, b.explainMissing(ctx, callerOf(req), k, err)
	}
	resp, err := b.metadata(ctx, callerOf(req), k, a.Connection)
	if resp != nil {
		resp.Warnings = append(resp.Warnings, a.Warnings...)
	}
	return resp, err
}

const refreshHelp = `
Asks the provider for a new token although the old one still lives, and answers the
connection's masked metadata. A success within the last ten seconds answers that
success, a failure within the last five that failure, and a refresh under way is
joined: nobody can make the engine hammer a provider. The backoff of earlier failures
does not hold it back, but what the provider asked for (Retry-After) does, and so does
the least age of a token that its definition tells.

A grant that the provider refused is tried once more, for a week after that: the
refusal may have been an incident. A success makes the connection active.
`
