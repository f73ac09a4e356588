package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

func TestRotationDue(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		since time.Time
		terms []time.Duration
		want  time.Time
	}{
		"nobody says":                      {noon, nil, time.Time{}},
		"none of them says":                {noon, []time.Duration{0, 0, 0}, time.Time{}},
		"the first that says holds":        {noon, []time.Duration{0, day, 2 * day}, noon.Add(day)},
		"never goes before all after it":   {noon, []time.Duration{0, -1, day}, time.Time{}},
		"and behind what was before":       {noon, []time.Duration{day, -1}, noon.Add(day)},
		"nobody knows since when there is": {time.Time{}, []time.Duration{day}, time.Time{}},
	} {
		assert.Equal(t, c.want, RotationDue(c.since, c.terms...), name)
	}
}

func keyOf(value string) map[string]providers.Secret {
	return map[string]providers.Secret{"api_key": providers.NewSecret(value)}
}

func TestKeySince(t *testing.T) {
	c := &Connection{Credential: Credential{Generation: 5}}
	assert.Zero(t, c.KeySince(), "there is none")
	c.AdoptKey(keyOf("one"), "pin", noon)
	assert.Equal(t, noon, c.KeySince())
	c.AdoptKey(keyOf("one"), "another pin", noon.Add(time.Hour))
	assert.Equal(t, noon, c.KeySince(), "it is the same key")
	c.AdoptKey(keyOf("two"), "pin", noon.Add(2*time.Hour))
	assert.Equal(t, noon.Add(2*time.Hour), c.KeySince())
	c.KeepFormer(keyOf("one"), nil, noon.Add(48*time.Hour))
	c.AgeFormer(noon)
	c.AdoptFormer(keyOf("one"), "pin", noon.Add(3*time.Hour))
	assert.Equal(t, noon, c.KeySince(), "what comes back is as old as it was")
	assert.Equal(t, noon.Add(3*time.Hour), c.Rotated, "though it is new to applications")

	c.Generation++ // by a former release, which wrote another key
	c.Rotated = noon.Add(4 * time.Hour)
	assert.Equal(t, noon.Add(4*time.Hour), c.KeySince())
	c.Refused = Refusal{ReasonTransferred, noon}
	assert.Zero(t, c.KeySince(), "nothing is left of it")

	grant := func(key map[string]providers.Secret) *providers.Grant {
		return &providers.Grant{AccessToken: providers.NewSecret("token"), Key: key}
	}
	b := &Connection{}
	b.AdoptIssued(grant(keyOf("one")), "pin", noon)
	b.Refreshed(grant(keyOf("one")), noon.Add(time.Hour))
	assert.Equal(t, noon, b.KeySince(), "a token is no key")
	b.AdoptIssued(grant(keyOf("one")), "pin", noon.Add(2*time.Hour))
	assert.Equal(t, noon, b.KeySince())
	b.KeyAge = KeyAge{} // of a former release
	assert.Zero(t, b.KeySince())
	b.Refreshed(grant(keyOf("one")), noon.Add(3*time.Hour))
	assert.Equal(t, noon.Add(3*time.Hour), b.KeySince())
	b.KeyAge = KeyAge{}
	b.AdoptIssued(grant(keyOf("one")), "pin", noon.Add(3*time.Hour))
	assert.Equal(t, noon.Add(3*time.Hour), b.KeySince(), "it is counted from the first write")
	b.Adopt(grant(nil), "pin", noon.Add(4*time.Hour))
	assert.Zero(t, b.KeyAge, "a grant without a key keeps no age")
}

// What went away is remembered until it is back or somebody consents again, and no more of it than an entry holds.
func TestLostScopes(t *testing.T) {
	grant := func(scopes ...string) *providers.Grant { return &providers.Grant{Scopes: scopes} }
	c := &Connection{}
	c.Adopt(grant("a", "b", "c"), "pin", noon)
	c.Refreshed(grant("a", "d"), noon)
	assert.Equal(t, []string{"b", "c"}, c.LostScopes)
	c.Refreshed(grant("a", "c"), noon)
	assert.Equal(t, []string{"b", "d"}, c.LostScopes)
	c.Tells(nil)
	assert.Equal(t, []string{"a", "c"}, c.Grant.Scopes, "nothing was told")
	before := c.Grant
	c.Tells([]string{"b", "d"})
	assert.Equal(t, []string{"a", "c"}, c.LostScopes)
	assert.Equal(t, []string{"a", "c"}, before.Scopes, "others may hold the former grant")
	c.UnaskedScopes = []string{"x"}
	c.Adopt(grant("a"), "pin", noon)
	assert.Empty(t, c.LostScopes)
	assert.Empty(t, c.UnaskedScopes)

	many := make([]string, 300)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	c.Refreshed(grant(many...), noon)
	c.Refreshed(grant("a"), noon)
	assert.Len(t, c.LostScopes, maxLost)
	for i := range 500 { // a service that names others with each answer
		c.Refreshed(grant(fmt.Sprint("scope-", i)), noon)
		c.Refreshed(grant(strings.Repeat("x", 1000)+fmt.Sprint(i)), noon)
		assert.LessOrEqual(t, len(c.LostScopes), maxLost)
		assert.LessOrEqual(t, len(strings.Join(c.LostScopes, "")), maxLostBytes)
	}
}
