package store

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{
		"a", "0", "slack", "slack-emea", "a.b_c@d", "org1", "my-self",
		strings.Repeat("x", 64),
	} {
		assert.NoError(t, CheckName("connection", name), name)
	}
	for _, name := range []string{
		"", "A", "Slack", "slack ", " slack", "-a", "a-", ".a", "a.", "_a", "@a", "a..b", "..", "a/b", "a%2fb", "a\x00",
		"a\n", "ä", "K",
		"a|b", "a:b", "org", "user", "self", "shared", strings.Repeat("x", 65),
	} {
		assert.Error(t, CheckName("connection", name), "%q", name)
	}
	assert.ErrorContains(t, CheckName("provider", "self"), "reserved")
	assert.ErrorContains(t, CheckName("provider", "Bad"), `provider name "Bad"`)
	assert.Less(t, len(CheckName("provider", strings.Repeat("x", 1<<20)).Error()), 500, "a hostile name fills no log")
}

func TestCheckUser(t *testing.T) {
	for _, id := range []string{
		"a", "U1", "auth0|62", "7d9c0c3e-1b1a-4e53-8f3a-6d7ad3a6f1a1", "a@b.example", "urn:x:y",
		"self", strings.Repeat("x", 128),
	} {
		assert.NoError(t, CheckUser(id), id)
	}
	for _, id := range []string{
		"", "~", "-a", "|a", ".a", "a..b", "a/b", "a b", "a\n", "ü", "a%2fb", "a*", "a+",
		strings.Repeat("x", 129),
	} {
		assert.Error(t, CheckUser(id), "%q", id)
	}
}

func FuzzNames(f *testing.F) {
	for _, seed := range []string{
		"slack", "a..b", "..", "org/acme/slack", "user/U1/x", "user/a|b/x", "org/Acme/x",
		"user/../x", "org/acme/user/U1/x", "org/acme/user/x", "a\x00", "\xff", "self", "org//x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		hostile := strings.ContainsAny(s, "/\x00\n\r\t *+%\\") || strings.Contains(s, "..") || s == "" || len(s) > 128
		if CheckUser(s) == nil {
			assert.False(t, hostile, "%q", s)
			k := Key{Owner{User: s}, "name"}
			parsed, err := ParseKey(k.String())
			assert.NoError(t, err)
			assert.Equal(t, k, parsed)
		}
		if CheckName("connection", s) == nil {
			assert.False(t, hostile || len(s) > 64, "%q", s)
			assert.Equal(t, strings.ToLower(s), s)
			for _, owner := range []Owner{{Org: "acme"}, {User: "U1"}, {Org: "acme", User: "U1"}} {
				k := Key{owner, s}
				parsed, err := ParseKey(k.String())
				assert.NoError(t, err)
				assert.Equal(t, k, parsed)
				noun, rest := Classify(k.storage())
				assert.Equal(t, "connection", noun)
				assert.Equal(t, k.String(), rest)
			}
		}
		if k, err := ParseKey(s); err == nil {
			assert.Equal(t, s, k.String())
			assert.NoError(t, k.Owner.Check())
			assert.Contains(t, []int{2, 4}, strings.Count(s, "/"))
		}
	})
}
