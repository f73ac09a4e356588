package backend

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

func (b *backend) pathCheck() []*framework.Path {
	path := func(pattern, suffixes string, handler framework.OperationFunc) *framework.Path {
		return &framework.Path{
			Pattern:      pattern,
			DisplayAttrs: display(suffixes, "Connection"),
			Fields:       ownedFields(nil),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.UpdateOperation: verb("check", forwarded(b.operation(handler,
					"Ask the service whether the credential works.", checkSchema))),
			},
			HelpSynopsis:    "Ask the service whether a connection's credential works.",
			HelpDescription: checkHelp,
		}
	}
	return []*framework.Path{
		path(sharedPattern("check"), sharedSpellings("connection"), b.checkShared),
		path(byName("check"), spellings("connection"), b.checkWrite),
	}
}

var checkSchema = map[string]*framework.FieldSchema{
	"status":        required(str("Status of the connection after the check.")),
	"status_reason": str("Why it has its status; empty when active."),
	"token_valid":   str("true: the service takes the credential. false: it refuses it. unknown: it did not say."),
	"service":       str("How the service answered: well, limited, down or not_asked."),
	"latency_ms":    integer("How long its answer took, in milliseconds; 0 when there was none."),
	"account":       object("Whose account it is at the provider: id, label, email."),
	"scopes_granted": strs("Scopes that the credential has: as the service tells now, or else as they were granted; " +
		"empty when unknown."),
	"scopes_missing": strs("Scopes required and not granted."),
	"expires": str("When the credential ends (RFC 3339): as the service tells now, or else as it was granted; " +
		"empty when unknown."),
	"checked_time": str("When the service was asked (RFC 3339); empty when it was not."),
	"advice":       required(str("What was found, and what to do.")),
}

func (b *backend) checkWrite(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	k, err := b.keyOf(ctx, req, d)
	if err != nil {
		return nil, err
	}
	resp, err := b.checked(ctx, k, callerOf(req).permitFor(k))
	if err != nil {
		return nil, b.explainMissing(ctx, callerOf(req), k, err)
	}
	return resp, nil
}

// checkShared is checkWrite for those with whom the connection is shared.
func (b *backend) checkShared(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	k, err := b.sharedKey(ctx, req, d)
	if err != nil {
		return nil, err
	}
	who := callerOf(req)
	resp, err := b.checked(ctx, k, b.permitShared(who, k))
	if err != nil {
		return nil, b.toldShared(ctx, who, k, err)
	}
	return resp, nil
}

// checked asks the service, and answers what was found.
func (b *backend) checked(ctx context.Context, k store.Key, permit refresh.Permit) (*logical.Response, error) {
	found, err := b.check(ctx, k, permit)
	if err != nil {
		return nil, err
	}
	conn, _, err := b.connections.Get(ctx, k)
	if err != nil {
		return nil, err
	}
	if conn == nil {
		return nil, deletedMeanwhile(k)
	}
	terms, err := b.Terms(ctx, k, conn)
	if err != nil {
		return nil, err
	}
	status, reason := terms.Status(conn, b.now())
	account := conn.Account
	data := map[string]any{
		"status": string(status), "status_reason": string(reason), "token_valid": string(found.valid),
		"service": string(found.service), "latency_ms": int(found.latency.Milliseconds()),
		"account":        map[string]any{"id": account.ID, "label": account.Label, "email": account.Email},
		"scopes_granted": []string{}, "scopes_missing": []string{}, "expires": "",
		"checked_time": rfc3339(found.asked()), "advice": found.advice,
	}
	granted := found.told.Scopes
	if g := conn.Grant; g != nil {
		data["expires"] = rfc3339(g.Expires)
		if len(granted) == 0 {
			granted = g.Scopes
		}
	}
	p, err := b.provider(ctx, conn.Provider)
	if err != nil {
		return nil, err
	}
	data["scopes_granted"], data["scopes_missing"] = list(granted), list(missingScopes(p, conn, granted))
	if !found.told.Expires.IsZero() {
		data["expires"] = rfc3339(found.told.Expires)
	}
	return &logical.Response{Data: data}, nil
}

const checkHelp = `
Makes the call by which the definition of the service shows whether a credential works,
and tells what came of it; nothing that the service wrote is in the answer. An answer of
the last ten seconds is given again, and a check under way is joined, so an application
may ask after each 401 of its own.

A token that is refused although it should live is refreshed once and shown again; only
the refusal of that refresh makes the connection needs_reconnect. What nothing can renew
becomes failed_validation, and active again with the first check that passes. Where the
service does not say, nothing changes.
`
