package backend

import (
	"context"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

func (b *backend) pathConnectionsList() []*framework.Path {
	list := b.listPaths("Connection", b.connectionsList, "List connections, or the owners that have some.",
		"The connections of an owner, or the owners there are.", connectionsListHelp)
	return []*framework.Path{
		list("connections/org/?", "orgs", nil),
		list(`connections(?:/org/(?P<org>[^/]+))?(?:/(?:user/(?P<user>[^/]+)|user|self))?/?`,
			"connections|org-connections|user-connections|org-user-connections|users|org-users|own-connections|"+
				"org-own-connections",
			map[string]*framework.FieldSchema{
				"org":  str("Organization whose connections are listed, or those of its members."),
				"user": str("User whose connections are listed."),
			}),
	}
}

func (b *backend) connectionsList(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	path := strings.TrimSuffix(req.Path, "/")
	if path == "connections/org" {
		return listFolders(ctx, d, b.store.Orgs)
	}
	if org, ofMembers := membersOf(path); ofMembers {
		if org != "" {
			if err := (store.Owner{Org: org}).Check(); err != nil {
				return nil, badRequest("%s", err)
			}
		}
		return listFolders(ctx, d, func(ctx context.Context) ([]string, error) { return b.store.Users(ctx, org) })
	}
	named := *req
	named.Path = path + "/" // the last segment is the owner and not a name
	owner, err := b.ownerOf(ctx, &named)
	if err != nil {
		return nil, err
	}
	names, members, err := b.store.Connections(ctx, owner)
	switch {
	case err == nil && path == "connections":
		names, err = b.withOwners(ctx, names)
	case members:
		names = append(names, "user/")
	}
	if err != nil {
		return nil, err
	}
	return listed(ctx, d, names, func(name string) map[string]any {
		if strings.HasSuffix(name, "/") {
			return nil
		}
		return b.keyInfo(ctx, store.Key{Owner: owner, Name: name})
	})
}

// membersOf reads a path that lists users: of an organization, or with none those who stand for themselves.
func membersOf(path string) (org string, ok bool) {
	if path == "connections/user" {
		return "", true
	}
	rest, ok := strings.CutPrefix(path, "connections/org/")
	if !ok {
		return "", false
	}
	org, last, _ := strings.Cut(rest, "/")
	return org, last == "user"
}

func listFolders(ctx context.Context, d *framework.FieldData,
	folders func(context.Context) ([]string, error),
) (*logical.Response, error) {
	names, err := folders(ctx)
	if err != nil {
		return nil, err
	}
	for i := range names {
		names[i] += "/"
	}
	return listed(ctx, d, names, nil)
}

// withOwners shows at the top that there are other owners than the default organization.
func (b *backend) withOwners(ctx context.Context, names []string) ([]string, error) {
	orgs, err := b.store.Orgs(ctx)
	if err != nil {
		return nil, err
	}
	users, err := b.store.Users(ctx, "")
	if err != nil {
		return nil, err
	}
	if len(orgs) > 0 {
		names = append(names, "org/")
	}
	if len(users) > 0 {
		names = append(names, "user/")
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

const connectionsListHelp = `
  connections/              those of the default organization; org/ and user/ lead on
  connections/org/          organizations that have connections
  connections/org/<org>/    those of an organization; user/ leads on to its members
  connections/org/<org>/user/          members that have connections
  connections/org/<org>/user/<user>/   those of a member
  connections/org/<org>/self/          the caller's own as a member
  connections/user/         users that have connections
  connections/user/<user>/  those of a user
  connections/self/         the caller's own

With up to a thousand names, key_info tells each one's provider, status and label. It
leaves out a connection that cannot be read: reading it says why. after and limit give
a page of a longer list.
`
