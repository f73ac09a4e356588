package backend

import (
	"context"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

func (b *backend) pathConnectionsList() []*framework.Path {
	return []*framework.Path{{
		Pattern:      `connections(?:/(?:org/(?P<org>[^/]+)|user/(?P<user>[^/]+)|org|user|self))?/?`,
		DisplayAttrs: display("connections|org-connections|user-connections|orgs|users|own-connections", "Connection"),
		Fields: listFields(map[string]*framework.FieldSchema{
			"org":  str("Organization whose connections are listed."),
			"user": str("User whose connections are listed."),
		}),
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
		return b.listOwners(ctx, d, store.Org)
	case "connections/user":
		return b.listOwners(ctx, d, store.User)
	}
	owner, err := b.ownerOfList(ctx, req, d)
	if err != nil {
		return nil, err
	}
	names, err := b.store.Connections(ctx, owner)
	if err != nil {
		return nil, err
	}
	if req.Path == "connections" || req.Path == "connections/" {
		if names, err = b.withFolders(ctx, names); err != nil {
			return nil, err
		}
	}
	return listed(ctx, d, names, func(name string) map[string]any {
		if strings.HasSuffix(name, "/") {
			return nil
		}
		return b.keyInfo(ctx, store.Key{Owner: owner, Name: name})
	})
}

func (b *backend) listOwners(ctx context.Context, d *framework.FieldData,
	kind store.OwnerKind,
) (*logical.Response, error) {
	ids, err := b.store.Owners(ctx, kind)
	if err != nil {
		return nil, err
	}
	for i := range ids {
		ids[i] += "/"
	}
	return listed(ctx, d, ids, nil)
}

// withFolders shows at the top that there are other owners than the default organization.
func (b *backend) withFolders(ctx context.Context, names []string) ([]string, error) {
	for _, kind := range []store.OwnerKind{store.Org, store.User} {
		owners, err := b.store.Owners(ctx, kind)
		if err != nil {
			return nil, err
		}
		if len(owners) > 0 {
			names = append(names, string(kind)+"/")
		}
	}
	return names, nil
}

// keyInfo describes a connection in a list; nil: it is gone, or cannot be read.
func (b *backend) keyInfo(ctx context.Context, k store.Key) map[string]any {
	conn, _, err := b.connections.Get(ctx, k)
	if err != nil || conn == nil {
		return nil
	}
	terms, err := b.Terms(ctx, k, conn)
	if err != nil {
		return nil
	}
	status, _ := terms.Status(conn, b.now())
	return map[string]any{"provider": conn.Provider, "status": string(status), "label": conn.Label}
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
leaves out a connection that cannot be read: reading it says why. after and limit give
a page of a longer list.
`
