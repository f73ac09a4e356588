package store

import (
	"maps"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// Picked is the site that was picked of those that the grant reaches; ok is false where none is, or need be.
func (c *Connection) Picked() (site providers.Choice, ok bool) {
	if c.Sites == nil {
		return site, false
	}
	return c.Sites.Find(c.Inputs[c.Sites.Input])
}

// Choosing reports whether a site must be picked before the credential is of use.
func (c *Connection) Choosing() bool {
	_, picked := c.Picked()
	return c.Sites != nil && !picked
}

// Config is connection_config, but for what is secret in it: what came with the grant, or was told of the key, and what
// belongs to the site that was picked.
func (c *Connection) Config() map[string]string {
	var config map[string]string
	switch {
	case c.Grant != nil:
		config = c.Grant.Config
	case c.Captured != nil:
		config = c.Captured.Config
	}
	if site, ok := c.Picked(); ok {
		config = overlaid(overlaid(config, site.Config), map[string]string{c.Sites.Input: site.ID})
	}
	return config
}

// SecretConfig is what is secret of connection_config.
func (c *Connection) SecretConfig() map[string]providers.Secret {
	switch {
	case c.Grant != nil:
		return c.Grant.SecretConfig
	case c.Captured != nil:
		return c.Captured.SecretConfig
	}
	return nil
}

// reaches records what g reaches, before it becomes the connection's grant. A site that was picked stays picked while
// it is among that. Where it could not be listed, what the same account was known to reach stands; before tells whose
// the former grant was.
func (c *Connection) reaches(g *providers.Grant, before Account, pinned string, now time.Time) {
	next := g.Sites
	same := before.ID != "" && before.ID == g.Account.ID && before.Pinned == pinned
	if next != nil && next.Unknown && same && c.Sites != nil && c.Sites.Input == next.Input {
		next = c.Sites
	}
	c.setSites(next, now)
}

// setSites replaces what the grant reaches. The only one there is need not be picked by a person, unless another was:
// to go on with a site that nobody meant is worse than to ask.
func (c *Connection) setSites(next *providers.Sites, now time.Time) {
	was := c.Choosing()
	if c.Sites = next; next == nil {
		return
	}
	picked := c.Inputs[next.Input]
	if picked == "" && len(next.Choices) == 1 && !next.More {
		picked = next.Choices[0].ID
	}
	c.Sites = next.Bounded(picked)
	_, there := c.Sites.Find(picked)
	switch {
	case there:
		c.Inputs = overlaid(c.Inputs, map[string]string{next.Input: picked})
	case !next.Unknown: // else it is a wish, until they are listed
		c.Inputs = maps.Clone(c.Inputs)
		delete(c.Inputs, next.Input)
	}
	if c.Choosing() != was {
		c.Serving = now
	}
}

// Pick makes a site the one to work with. found is what the service listed just now; nil: what is known will do. It
// reports whether there is such a site.
func (c *Connection) Pick(id string, found *providers.Sites, now time.Time) bool {
	if found == nil {
		found = c.Sites
	}
	if _, there := found.Find(id); !there {
		return false
	}
	before := c.Inputs[found.Input]
	c.Inputs = overlaid(c.Inputs, map[string]string{found.Input: id})
	was := c.Sites
	c.Sites = found.Bounded(id)
	if before != id || was == nil {
		c.Rotated = now // applications work elsewhere from now on
	}
	if was == nil || before != id && before == "" {
		c.Serving = now
	}
	return true
}

// Learned records what the service told of a grant when it was asked again. What was known stays.
func (c *Connection) Learned(g *providers.Grant, now time.Time) {
	unknown := c.Account.ID == ""
	if unknown {
		c.Identified(g.Account)
	}
	if c.Sites != nil && c.Sites.Unknown && g.Sites != nil && !g.Sites.Unknown {
		c.setSites(g.Sites, now)
	}
	if c.Grant != nil {
		merged := *c.Grant
		merged.Config = overlaid(g.Config, c.Grant.Config)
		merged.SecretConfig = overlaid(g.SecretConfig, c.Grant.SecretConfig)
		if unknown {
			merged.Account = g.Account
		}
		c.Grant = &merged
	}
}

// withoutSites is g as a connection keeps it: what it reaches stands beside it.
func withoutSites(g *providers.Grant) *providers.Grant {
	if g.Sites == nil {
		return g
	}
	alone := *g
	alone.Sites = nil
	return &alone
}
