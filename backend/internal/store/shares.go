package store

import (
	"slices"
	"time"
)

// Share lets somebody use a private connection beside the entity that owns it. Exactly one of Entity, Group and
// Everyone says whom. Who it is, ids alone decide: a name made anew inherits nothing.
type Share struct {
	Entity   string `json:"entity,omitempty"`   // id
	Group    string `json:"group,omitempty"`    // id
	Everyone bool   `json:"everyone,omitempty"` // who has an entity

	Name      string    `json:"name,omitempty"`      // of the entity or group, as it was then; for people
	Unchecked bool      `json:"unchecked,omitempty"` // nobody could tell whether there is such a group
	Expires   time.Time `json:"expires,omitzero"`    // zero: it does not
	By        Actor     `json:"by"`
}

// MaxShares is with how many grantees a connection may be shared.
const MaxShares = 64

// Grantee names whom a share is with, as an index of shares has it.
func (s Share) Grantee() string {
	switch {
	case s.Everyone:
		return GranteeEveryone
	case s.Group != "":
		return GranteeGroup(s.Group)
	}
	return GranteeEntity(s.Entity)
}

// GranteeEveryone is whoever has an entity.
const GranteeEveryone = "everyone"

// GranteeEntity is an entity as a grantee, by its id.
func GranteeEntity(id string) string { return "entity:" + id }

// GranteeGroup is a group as a grantee, by its id.
func GranteeGroup(id string) string { return "group:" + id }

// Ended reports whether the share is over.
func (s Share) Ended(now time.Time) bool { return reached(s.Expires, now) }

// Living are the shares that are not over.
func (c *Connection) Living(now time.Time) []Share {
	return slices.DeleteFunc(slices.Clone(c.Shares), func(s Share) bool { return s.Ended(now) })
}

// Share adds shares, or renews those with the same grantee. What is over goes. It reports whether there is room.
func (c *Connection) Share(more []Share, now time.Time) bool {
	shares := c.Living(now)
	for _, s := range more {
		if i := slices.IndexFunc(shares, func(o Share) bool { return o.Grantee() == s.Grantee() }); i >= 0 {
			shares[i] = s
		} else {
			shares = append(shares, s)
		}
	}
	if len(shares) > MaxShares {
		return false
	}
	c.Shares = shares
	return true
}

// Unshare ends the shares with those grantees; with none named, all.
func (c *Connection) Unshare(grantees []string, now time.Time) {
	c.Shares = slices.DeleteFunc(c.Living(now), func(s Share) bool {
		return len(grantees) == 0 || slices.Contains(grantees, s.Grantee())
	})
	if len(c.Shares) == 0 {
		c.Shares = nil
	}
}
