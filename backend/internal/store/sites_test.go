package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// reaching is a grant of account 1, or of whom it says, that reaches these sites.
func reaching(account string, ids ...string) *providers.Grant {
	g := &providers.Grant{
		AccessToken: providers.NewSecret("a"), Account: providers.Account{ID: account},
		Sites: &providers.Sites{Input: "site"},
	}
	for _, id := range ids {
		g.Sites.Choices = append(g.Sites.Choices, providers.Choice{ID: id, Config: map[string]string{"url": id + ".test"}})
	}
	return g
}

func unlisted(account string) *providers.Grant {
	g := reaching(account)
	g.Sites.Unknown = true
	return g
}

// Each credential in turn, and what is picked after it; empty: a person must.
func TestSitesOfCredentials(t *testing.T) {
	type step struct {
		adopt func(*Connection)
		want  string
	}
	adopt := func(g *providers.Grant, want string) step {
		return step{func(c *Connection) { c.Adopt(g, "pin", noon) }, want}
	}
	pick := func(id string) step {
		return step{func(c *Connection) { c.Pick(id, nil, noon) }, id}
	}
	learn := func(g *providers.Grant, want string) step {
		return step{func(c *Connection) { c.Learned(g, noon) }, want}
	}
	for name, steps := range map[string][]step{
		"several": {
			adopt(reaching("1", "a", "b"), ""),
		},
		"none": {
			adopt(reaching("1"), ""),
		},
		"one alone": {
			adopt(reaching("1", "a"), "a"),
		},
		"the pick is kept": {
			adopt(reaching("1", "a", "b"), ""), pick("b"), adopt(reaching("1", "b", "c"), "b"),
		},
		"the pick is reached no more": {
			adopt(reaching("1", "a", "b"), ""), pick("b"), adopt(reaching("1", "a", "c"), ""),
		},
		"another is the only one left": {
			adopt(reaching("1", "a", "b"), ""), pick("b"), adopt(reaching("1", "a"), ""),
		},
		"not listed, of the same account": {
			adopt(reaching("1", "a", "b"), ""), pick("b"), adopt(unlisted("1"), "b"),
		},
		"not listed, of another account": {
			adopt(reaching("1", "a", "b"), ""), pick("b"), adopt(unlisted("2"), ""),
		},
		"not listed, of nobody knows whom": {
			adopt(reaching("1", "a", "b"), ""), pick("b"), adopt(unlisted(""), ""),
		},
		"listed later, with what was picked": {
			adopt(reaching("1", "a", "b"), ""), pick("b"), adopt(unlisted(""), ""), learn(reaching("1", "a", "b"), "b"),
		},
		"listed later, without": {
			adopt(unlisted("1"), ""), learn(reaching("1", "a", "b"), ""),
		},
		"not listed later either": {
			adopt(unlisted("1"), ""), learn(unlisted("1"), ""),
		},
		"known, so what comes later is no news": {
			adopt(reaching("1", "a", "b"), ""), learn(reaching("1", "a"), ""),
		},
		"a pick that is not there": {
			adopt(reaching("1", "a", "b"), ""),
			{func(c *Connection) { c.Pick("c", nil, noon) }, ""},
		},
		"one that was listed for it": {
			adopt(reaching("1", "a"), "a"),
			{func(c *Connection) { c.Pick("z", reaching("1", "z").Sites, noon) }, "z"},
		},
		"a refresh changes nothing of it": {
			adopt(reaching("1", "a", "b"), ""), pick("a"),
			{func(c *Connection) { c.Refreshed(withoutSites(reaching("1")), noon) }, "a"},
		},
		"an import of the same account keeps it": {
			adopt(reaching("1", "a", "b"), ""), pick("b"),
			{func(c *Connection) { c.AdoptTried(reaching("1", "b", "c"), unlisted(""), "pin", noon) }, "b"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := &Connection{Credential: Credential{Inputs: map[string]string{"region": "eu"}}}
			for i, s := range steps {
				s.adopt(c)
				site, picked := c.Picked()
				require.Equal(t, []any{s.want, s.want != ""}, []any{site.ID, picked}, "step %d", i)
				require.Equal(t, s.want == "", c.Choosing())
				status, reason := c.Facts(true).Status(&c.Pinned, noon)
				if s.want == "" {
					require.Equal(t, []any{StatusPending, ReasonChoice}, []any{status, reason})
				} else {
					require.Equal(t, StatusActive, status)
					require.Equal(t, map[string]string{"site": s.want, "url": s.want + ".test"}, c.Config())
				}
				require.Equal(t, "eu", c.Inputs["region"])
				require.Nil(t, c.Grant.Sites, "they stand beside it")
			}
		})
	}
	c := &Connection{}
	c.Adopt(reaching("1", "a"), "pin", noon)
	c.AdoptKey(nil, "pin", noon)
	assert.False(t, c.Choosing(), "a key reaches what it reaches")
	assert.Nil(t, c.Sites)
}

// status_since tells when it became pending, and when it was picked.
func TestSinceOfAChoice(t *testing.T) {
	c := &Connection{}
	c.Adopt(reaching("1", "a", "b"), "pin", noon)
	since := func() time.Time {
		status, reason := c.Facts(true).Status(&c.Pinned, noon)
		return c.Since(status, reason)
	}
	assert.Equal(t, noon, since())
	c.Pick("a", nil, noon.Add(time.Hour))
	assert.Equal(t, noon.Add(time.Hour), since())
	c.Pick("b", nil, noon.Add(2*time.Hour))
	assert.Equal(t, noon.Add(time.Hour), since())
	assert.Equal(t, noon.Add(2*time.Hour), c.Rotated)
	c.Adopt(reaching("1", "a"), "pin", noon.Add(3*time.Hour))
	assert.Equal(t, noon.Add(3*time.Hour), since())
}
