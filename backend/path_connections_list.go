package backend

import (
	"context"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// maxKeyInfo is the longest list whose entries are described.
const maxKeyInfo = 1000

func (b *backend) pathConnectionsList() []*framework.Path {
	return []*framework.Path{{
		Pattern:      `connections(?:/(?:org/(?P<org>[^/]+)|user/(?P<user>[^/]+)|org|user|self))?/?`,
		DisplayAttrs: display("connections|org-connections|user-connections|orgs|users|own-connections", "Connection"),
		Fields: map[string]*framework.FieldSchema{
			"org":  str("Organization whose connections are listed."),
			"user": str("User whose connections are listed."),
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ListOperation: verb("list", b.operation(b.connectionsList,
				"List connections, or the owners that have some.", listSchema)),
		},
		HelpSynopsis:    "The connections of an owner, or the owners there are.",
		HelpDescription: connectionsListHelp,
	}}
}

func (b *backend) connectionsList(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	switch path := strings.TrimSuffix(req.Path, "/"); path {
	case "connections/org":
		return b.listOwners(ctx, store.Org)
	case "connections/user":
		return b.listOwners(ctx, store.User)
	case "connections":
		resp, err := b.listOwned(ctx, req, d)
		if err != nil {
			return nil, err
		}
		return b.withFolders(ctx, resp)
	}
	return b.listOwned(ctx, req, d)
}

func (b *backend) listOwners(ctx context.Context, kind store.OwnerKind) (*logical.Response, error) {
	ids, err := b.store.Owners(ctx, kind)
	if err != nil {
		return nil, err
	}
	for i := range ids {
		ids[i] += "/"
	}
	return logical.ListResponse(ids), nil
}

// withFolders shows at the top that there are other owners than the default organization.
func (b *backend) withFolders(ctx context.Context, resp *logical.Response) (*logical.Response, error) {
	keys, _ := resp.Data["keys"].([]string)
	for _, kind := range []store.OwnerKind{store.Org, store.User} {
		owners, err := b.store.Owners(ctx, kind)
		if err != nil {
			return nil, err
		}
		if len(owners) > 0 {
			keys = append(keys, string(kind)+"/")
		}
	}
	if len(keys) > 0 {
		resp.Data["keys"] = keys
	}
	return resp, nil
}

func (b *backend) listOwned(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	owner, err := b.ownerOfList(ctx, req, d)
	if err != nil {
		return nil, err
	}
	names, err := b.store.Connections(ctx, owner)
	if err != nil || len(names) > maxKeyInfo {
		return logical.ListResponse(names), err
	}
	info := map[string]any{}
	for _, name := range names {
		about, err := b.keyInfo(ctx, store.Key{Owner: owner, Name: name})
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err == nil && about != nil { // one that cannot be read must not hide the others; reading it says why
			info[name] = about
		}
	}
	return logical.ListResponseWithInfo(names, info), nil
}

// keyInfo describes a connection in a list; nil: it is gone.
func (b *backend) keyInfo(ctx context.Context, k store.Key) (map[string]any, error) {
	conn, _, err := b.connections.Get(ctx, k)
	if err != nil || conn == nil {
		return nil, err
	}
	terms, err := b.Terms(ctx, k, conn)
	if err != nil {
		return nil, err
	}
	status, _ := terms.Status(conn, b.now())
	return map[string]any{"provider": conn.Provider, "status": string(status), "label": conn.Label}, nil
}

// ownerOfList reads the owner of a list path, whose last segment is the owner and not a name.
func (b *backend) ownerOfList(ctx context.Context, req *logical.Request, d *framework.FieldData) (store.Owner, error) {
	named := *req
	named.Path = strings.TrimSuffix(req.Path, "/") + "/"
	return b.ownerOf(ctx, &named, d)
}

const connectionsListHelp = `
  connections/              those of the default organization; org/ and user/ lead on
  connections/org/          organizations that have connections
  connections/org/<org>/    those of an organization
  connections/user/         users that have connections
  connections/user/<user>/  those of a user
  connections/self/         the caller's own

With up to a thousand names, key_info tells each one's provider, status and label. It
leaves out a connection that cannot be read: reading it says why.
`
