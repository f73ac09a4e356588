package backend

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

func (b *backend) pathConnectionsShared() []*framework.Path {
	list := b.listPaths("Connection", b.connectionsShared, "List what is shared with the caller, level by level.",
		"What is shared with the caller.", connectionsSharedHelp)
	org, user := str("Organization whose members share with the caller."), str("User who shares with the caller.")
	return []*framework.Path{
		list("connections/shared(?:/org|/user)?/?", "shared|shared-orgs|shared-users", nil),
		list("connections/shared(?:/org/"+segment("org")+")?/user/"+segment("user")+"/?",
			"shared-user-connections|shared-org-user-connections",
			map[string]*framework.FieldSchema{"org": org, "user": user}),
		list("connections/shared/org/"+segment("org")+"(?:/user)?/?", "shared-org|shared-org-users",
			map[string]*framework.FieldSchema{"org": org}),
	}
}

func (b *backend) connectionsShared(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	shared, err := b.sharedWith(ctx, callerOf(req))
	if err != nil {
		return nil, err
	}
	level := strings.Split(strings.Trim(req.Path, "/"), "/")[2:]
	names := map[string]store.Key{}
	for k := range shared {
		path := strings.Split(k.String(), "/")
		if len(path) <= len(level) || !slices.Equal(path[:len(level)], level) {
			continue
		}
		name := path[len(level)]
		if len(path) > len(level)+1 {
			name += "/"
		}
		names[name] = k
	}
	return listed(ctx, d, slices.Collect(maps.Keys(names)), func(name string) map[string]any {
		if strings.HasSuffix(name, "/") {
			return nil
		}
		return b.keyInfo(ctx, names[name])
	})
}

// sharedWith are the connections that are shared with the caller.
func (b *backend) sharedWith(ctx context.Context, who caller) (map[store.Key]bool, error) {
	if who.entity == "" {
		return nil, nil
	}
	groups, err := b.groupsOf(who)
	if err != nil {
		return nil, err
	}
	if _, err := b.directory.fill(ctx); err != nil {
		return nil, err
	}
	names := []string{store.GranteeEveryone, store.GranteeEntity(who.entity)}
	for _, g := range groups {
		names = append(names, store.GranteeGroup(g.ID))
	}
	shared := b.directory.grantees.keys(names, b.now())
	for k := range shared { // one's own needs no share
		if who.owns(k) {
			delete(shared, k)
		}
	}
	return shared, nil
}

const connectionsSharedHelp = `
  connections/shared/                           user/ and org/, where somebody shares with the caller
  connections/shared/user/                      users who do
  connections/shared/user/<user>/               what a user shares
  connections/shared/org/                       organizations with members who do
  connections/shared/org/<org>/user/            members who do
  connections/shared/org/<org>/user/<user>/     what a member shares

Read it as creds/shared/user/<user>/<name> or creds/shared/org/<org>/user/<user>/<name>.
What is not shared with the caller is not there. It costs what is shared with them.
`
