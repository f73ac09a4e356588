package backend

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// sharedPattern is the form in which those read a private connection with whom it is shared: its owner's path behind
// shared/. Nothing else exists there, so that a policy may give all of it to everybody.
func sharedPattern(verb string) string {
	return verb + "/shared/(?:org/" + segment("org") + "/)?user/" + segment("user") + "/" + segment("name")
}

// sharedSpellings name the operation of each spelling, as spellings does.
func sharedSpellings(noun string) string { return "shared-user-" + noun + "|shared-org-user-" + noun }

// sharedKey reads which connection a path of that form means.
func (b *backend) sharedKey(ctx context.Context, req *logical.Request, d *framework.FieldData) (store.Key, error) {
	named := *req
	named.Path = strings.Replace(req.Path, "/shared/", "/", 1)
	return b.keyOf(ctx, &named, d)
}

// notShared answers alike whatever is behind the path: nothing, or what is not shared with the caller.
func notShared(k store.Key) error {
	return forbidden("no connection %s is shared with you", k)
}

// reaches reports whether the connection is shared with the caller. Groups are asked for only where something hangs on
// them: Vault copies each group's list of members for that. It asks Vault's system view, so no lock may be held.
func (b *backend) reaches(who caller, conn *store.Connection) (bool, error) {
	if who.entity == "" || !conn.Private {
		return false, nil
	}
	byGroup := false
	for _, s := range conn.Living(b.now()) {
		if s.Everyone || s.Entity == who.entity {
			return true, nil
		}
		byGroup = byGroup || s.Group != ""
	}
	if !byGroup {
		return false, nil
	}
	groups, err := b.groupsOf(who)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(conn.Living(b.now()), func(s store.Share) bool {
		return s.Group != "" && slices.ContainsFunc(groups, func(g *logical.Group) bool { return g.ID == s.Group })
	}), nil
}

// groupsOf are the groups that the caller is in. That Vault does not tell is not that there are none.
func (b *backend) groupsOf(who caller) ([]*logical.Group, error) {
	if who.entity == "" {
		return nil, nil
	}
	groups, err := b.System().GroupsForEntity(who.entity)
	if err == nil {
		return groups, nil
	}
	return nil, b.systemSilent("groups that you are in", err)
}

// permitShared is permitFor for the form of those with whom a connection is shared.
func (b *backend) permitShared(who caller, k store.Key) refresh.Permit {
	return func(conn *store.Connection) error {
		ok, err := b.reaches(who, conn)
		if err == nil && !ok {
			err = notShared(k)
		}
		return err
	}
}

// sharedWords says in words with how many a connection is shared, and what that means.
func (b *backend) sharedWords(conn *store.Connection) string {
	entities, groups, everyone := 0, 0, false
	for _, s := range conn.Living(b.now()) {
		switch {
		case s.Everyone:
			everyone = true
		case s.Group != "":
			groups++
		default:
			entities++
		}
	}
	var with []string
	if everyone {
		with = append(with, "everyone who has a Vault entity")
	}
	for _, some := range []struct {
		n         int
		one, many string
	}{{entities, "entity", "entities"}, {groups, "group", "groups"}} {
		switch some.n {
		case 0:
		case 1:
			with = append(with, "1 "+some.one)
		default:
			with = append(with, strconv.Itoa(some.n)+" "+some.many)
		}
	}
	if !conn.Private || len(with) == 0 {
		return ""
	}
	words := strings.Join(with, ", ")
	if whose := cmp.Or(conn.Account.Email, conn.Account.Label, conn.Account.ID); whose != "" && conn.Grant != nil {
		words += ": they act as " + whose + ", the account of its owner"
	}
	return words
}

// toldShared is an error as those may hear it with whom a connection is shared: of one that is not there, or that is
// shared with them no more after a wait, they hear what everybody hears.
func (b *backend) toldShared(ctx context.Context, who caller, k store.Key, err error) error {
	var problem *refresh.Error
	if errors.As(err, &problem) && problem.Problem == refresh.NotFound {
		return notShared(k)
	}
	conn, _, silent := b.connections.Get(ctx, k)
	if silent != nil || conn == nil {
		return err
	}
	if forbids := b.permitShared(who, k)(conn); forbids != nil {
		return forbids
	}
	return err
}
