package backend

import (
	"context"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// pathAdvice takes every request that no other path took, and says what may have been meant.
func (b *backend) pathAdvice() []*framework.Path {
	operations := map[logical.Operation]framework.OperationHandler{}
	for _, op := range []logical.Operation{
		logical.CreateOperation, logical.ReadOperation, logical.UpdateOperation,
		logical.DeleteOperation, logical.ListOperation,
	} {
		operations[op] = &framework.PathOperation{Callback: b.edge(b.advise), Unpublished: true}
	}
	return []*framework.Path{{
		Pattern: `.*`, Operations: operations,
		ExistenceCheck: func(context.Context, *logical.Request, *framework.FieldData) (bool, error) {
			return true, nil
		},
		HelpSynopsis:        "Advice for paths that do not exist.",
		HelpDescription:     "Every path that no other takes answers what may have been meant.",
		TakesArbitraryInput: true,
	}}
}

func (b *backend) advise(_ context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	verb, rest, _ := strings.Cut(strings.TrimRight(req.Path, "/"), "/")
	switch verb {
	case "creds", "refresh", "auth-code-url", "connections":
		switch {
		case rest == "" || rest == "self" || strings.HasPrefix(rest, "org") || strings.HasPrefix(rest, "user"):
			return nil, badRequest("%s needs a connection's name: %s/<name>, %s/org/<org>/<name>, "+
				"%s/user/<user>/<name> or %s/self/<name>", verb, verb, verb, verb, verb)
		default:
			return nil, badRequest("names hold no slash: another owner's connection is %s/org/<org>/<name> or "+
				"%s/user/<user>/<name>", verb, verb)
		}
	case "connection", "provider":
		return nil, badRequest("no such path; did you mean %ss/?", verb)
	case "credentials", "cred", "token", "tokens":
		return nil, badRequest("no such path; credentials are read at creds/<name>")
	case "authorize", "connect", "auth-url", "auth_code_url":
		return nil, badRequest("no such path; a flow is started at auth-code-url/<name>")
	case "callback":
		return nil, badRequest("callback is followed by the provider's name: callback/<provider>")
	}
	return nil, badRequest("no such path; there are catalog/, providers/, connections/, creds/, refresh/, " +
		"auth-code-url/, exchange, config and status: see 'vault path-help' of this mount")
}
