package backend

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-secure-stdlib/parseutil"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

func (b *backend) pathShares() []*framework.Path {
	named := func(help string) *framework.FieldSchema {
		f := strs(help)
		f.Query = true // of a delete
		return f
	}
	everyone := boolean("Whoever has a Vault entity.")
	everyone.Query = true
	return []*framework.Path{{
		Pattern:      byName("shares"),
		DisplayAttrs: display(spellings("shares"), "Shares"),
		Fields: ownedFields(map[string]*framework.FieldSchema{
			"entities": named("Ids of Vault entities."),
			"groups": named("Ids of Vault identity groups, or names of groups that the caller is in. They are kept by id: " +
				"a group that is made anew under the name inherits nothing."),
			"everyone": everyone,
			"expires":  str("When these shares end: a time (RFC 3339), or how long they last (7d). Left out: never."),
		}),
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: verb("read", b.operation(b.sharesRead, "Tell with whom a connection is shared.",
				sharesSchema)),
			logical.UpdateOperation: verb("share", forwarded(b.operation(b.sharesWrite,
				"Share a private connection with more people, or renew shares.", sharesSchema))),
			logical.DeleteOperation: verb("unshare", forwarded(b.operation(b.sharesDelete,
				"End the shares that are named, or all."))),
		},
		HelpSynopsis:    "With whom a private connection is shared.",
		HelpDescription: sharesHelp,
	}}
}

var sharesSchema = map[string]*framework.FieldSchema{
	"shares": required(objects("With whom: entity or group (ids) or everyone, name as it was then, unchecked, expires, " +
		"shared_by, shared_by_id, shared_time.")),
	"private":   required(boolean("Whether the connection is private. Where it is not, policy alone says who uses it.")),
	"entity_id": str("The caller's own entity, to tell those who share; empty without one."),
	"groups":    objects("The caller's own groups, for the same: id and name."),
}

func (b *backend) sharesRead(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	_, conn, err := b.connectionAt(ctx, req, d)
	if err != nil {
		return nil, err
	}
	who := callerOf(req)
	groups, err := b.groupsOf(who)
	if err != nil {
		return nil, err
	}
	mine := []map[string]any{}
	for _, g := range groups {
		mine = append(mine, map[string]any{"id": g.ID, "name": g.Name})
	}
	data := b.sharesData(conn)
	data["entity_id"], data["groups"] = who.entity, mine
	return &logical.Response{Data: data}, nil
}

func (b *backend) sharesData(conn *store.Connection) map[string]any {
	all := []map[string]any{}
	for _, s := range conn.Living(b.now()) {
		one := map[string]any{
			"name": s.Name, "unchecked": s.Unchecked, "expires": rfc3339(s.Expires), "shared_by": s.By.DisplayName,
			"shared_by_id": s.By.EntityID, "shared_time": rfc3339(s.By.Time),
		}
		switch {
		case s.Everyone:
			one["everyone"] = true
		case s.Group != "":
			one["group"] = s.Group
		default:
			one["entity"] = s.Entity
		}
		all = append(all, one)
	}
	return map[string]any{"shares": all, "private": conn.Private}
}

func (b *backend) sharesWrite(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	if err := refuseUndeclared(d, func(string) bool { return false }); err != nil {
		return nil, err
	}
	k, conn, err := b.connectionAt(ctx, req, d)
	if err != nil {
		return nil, err
	}
	who, now := callerOf(req), b.now()
	mayShare := func(conn *store.Connection) error {
		switch {
		case !who.owns(k):
			return forbidden("connection %s is shared by the entity that owns it, and by nobody else", k)
		case !conn.Private:
			return conflict("connection %s is not private: whoever Vault's policy lets may use it; write private=true", k)
		case !conn.Deleting.IsZero():
			return beingDeleted(k)
		case conn.Ending.On():
			return beingEnded(k)
		}
		return nil
	}
	if err := mayShare(conn); err != nil {
		return nil, err
	}
	shares, warnings, err := b.readShares(d, who, now)
	if err != nil {
		return nil, err
	}
	conn, err = b.connections.Update(ctx, k, who.act("share", now),
		func(c *store.Connection) (*store.Connection, error) {
			if c == nil || !c.Created.Time.Equal(conn.Created.Time) {
				return nil, deletedMeanwhile(k)
			}
			if err := mayShare(c); err != nil {
				return nil, err
			}
			if !c.Share(shares, now) {
				return nil, conflict("connection %s would be shared with more than %d: name a group", k, store.MaxShares)
			}
			return c, nil
		})
	if err != nil {
		return nil, err
	}
	return &logical.Response{Data: b.sharesData(conn), Warnings: warnings}, nil
}

// readShares takes whom the caller shares with. It asks Vault's system view, so no lock may be held.
func (b *backend) readShares(d *framework.FieldData, who caller, now time.Time) (shares []store.Share,
	warnings []string, err error,
) {
	base := store.Share{By: who.actor(now)}
	if len(d.Get("entities").([]string))+len(d.Get("groups").([]string)) > store.MaxShares {
		return nil, nil, badRequest("a connection is shared with %d at the most: share it with a group", store.MaxShares)
	}
	if base.Expires, err = readExpiry(d.Get("expires").(string), now); err != nil {
		return nil, nil, err
	}
	for _, id := range d.Get("entities").([]string) {
		s := base
		if s.Entity = id; id == who.entity {
			return nil, nil, badRequest("entities holds your own id: what you own is yours to use already")
		}
		entity, err := b.System().EntityInfo(id)
		if err != nil {
			return nil, nil, b.systemSilent("entity", err)
		}
		if entity == nil {
			return nil, nil, badRequest("entities: Vault knows no entity %q; the person finds their id with "+
				"'vault token lookup', or reads shares/ of any connection", clipText(id))
		}
		s.Name = entity.Name
		shares = append(shares, s)
	}
	groups, err := b.groupsNamed(d, who)
	if err != nil {
		return nil, nil, err
	}
	for _, g := range groups {
		s := base
		if s.Group, s.Name = g.id, g.name; g.name == "" {
			s.Unchecked = true
			warnings = append(warnings, fmt.Sprintf("group %q is none that you are in, so nobody can check that there is "+
				"such an id; a name does not match", g.id))
		}
		shares = append(shares, s)
	}
	if d.Get("everyone").(bool) {
		s := base
		s.Everyone = true
		shares = append(shares, s)
	}
	if len(shares) == 0 {
		return nil, nil, badRequest("name with whom to share: entities, groups, or everyone=true")
	}
	return shares, warnings, nil
}

// namedGroup is a group as the caller names it; without a name when the caller is not in it.
type namedGroup struct{ id, name string }

// groupsNamed resolves the groups of a request: names only among those that the caller is in.
func (b *backend) groupsNamed(d *framework.FieldData, who caller) (named []namedGroup, err error) {
	asked := d.Get("groups").([]string)
	if len(asked) == 0 {
		return nil, nil
	}
	mine, err := b.groupsOf(who)
	if err != nil {
		return nil, err
	}
	for _, word := range asked {
		g := namedGroup{id: word}
		for _, is := range []func(*logical.Group) bool{
			func(g *logical.Group) bool { return g.ID == word }, func(g *logical.Group) bool { return g.Name == word },
		} {
			if i := slices.IndexFunc(mine, is); i >= 0 && g.name == "" {
				g = namedGroup{mine[i].ID, mine[i].Name}
			}
		}
		if g.id == "" || len(g.id) > 128 || strings.ContainsAny(g.id, " \t") {
			return nil, badRequest("groups: %q is no id of a group, and no name of one that you are in", clipText(word))
		}
		named = append(named, g)
	}
	return named, nil
}

// systemSilent is the error of Vault's system view, which says nothing of what was asked for.
func (b *backend) systemSilent(what string, err error) error {
	if !b.WriteSafeReplicationState() {
		return logical.ErrReadOnly // the active node may know
	}
	b.Logger().Warn("Vault's system view does not answer", "what", what, "error", err)
	return unavailable("Vault does not tell about the %s: try again", what)
}

// readExpiry reads when something ends: a time, or how long it lasts. Zero: never.
func readExpiry(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		lasts, err := parseutil.ParseDurationSecond(text)
		if err != nil {
			return at, badRequest("expires=%q is neither a time (RFC 3339) nor how long the share lasts (7d)", clipText(text))
		}
		at = now.Add(lasts)
	}
	if !at.After(now) {
		return at, badRequest("expires=%q is over already", clipText(text))
	}
	if at = at.UTC(); at.Year() > 9999 { // which RFC 3339 cannot write
		return at, badRequest("expires=%q is too late: leave it out for a share without an end", clipText(text))
	}
	return at.Truncate(time.Second), nil
}

func (b *backend) sharesDelete(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	if err := refuseUndeclared(d, func(string) bool { return false }); err != nil {
		return nil, err
	}
	k, conn, err := b.connectionAt(ctx, req, d)
	if err != nil {
		return nil, err
	}
	who, now := callerOf(req), b.now()
	named := map[string]string{} // a grantee, as the request names it
	for _, id := range d.Get("entities").([]string) {
		named[store.GranteeEntity(id)] = id
	}
	for _, word := range d.Get("groups").([]string) {
		named[store.GranteeGroup(word)] = word
		for _, s := range conn.Shares { // whoever names one of the shares by its name means that
			if s.Group != "" && s.Name == word {
				named[s.Grantee()] = word
			}
		}
	}
	if d.Get("everyone").(bool) {
		named[store.GranteeEveryone] = "everyone"
	}
	for _, field := range []string{"entities", "groups", "everyone"} {
		if _, ok := d.GetOk(field); ok && len(named) == 0 {
			return nil, badRequest("name with whom to end the sharing, or nothing to end all of it")
		}
	}
	var grantees []string
	for g := range named {
		grantees = append(grantees, g)
	}
	_, err = b.connections.Update(ctx, k, who.act("unshare", now),
		func(c *store.Connection) (*store.Connection, error) {
			if c == nil || !c.Created.Time.Equal(conn.Created.Time) {
				return nil, deletedMeanwhile(k)
			}
			c.Unshare(grantees, now)
			return c, nil
		})
	return nil, err
}

const sharesHelp = `
The entity that owns a private connection shares its credential: with entities, with
groups, or with everyone who has an entity. They read it as creds/shared/user/<user>/
<name>, check it as check/shared/..., and find it in connections/shared/. They get the
credential and nothing else: metadata, changes and sharing stay the owner's and policy's.

A write adds those that it names, or renews them; delete ends those that it names, or
all. Only the owner adds; whoever has a policy for it may end. What is over is not shown.
Each share holds at once on the active node; standbys follow within moments.
`
