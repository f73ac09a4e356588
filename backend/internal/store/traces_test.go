package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// long is a secret that may be looked up.
func long(name string) providers.Secret {
	return providers.NewSecret(name + strings.Repeat("-", MinSought))
}

// holds tells how a connection has a secret: the field, and whether it is a former one; empty: not at all.
func holds(c *Connection, h *Hasher, s providers.Secret) (as []string) {
	c.Holdings(h, func(hash string, is Holding) {
		if SameHash(hash, h.Hash(s)) {
			as = append(as, strings.TrimSuffix(fmt.Sprint(is.Field, " ", is.Former), " false"))
		}
	})
	return as
}

func TestHasher(t *testing.T) {
	h, other := NewHasher(), NewHasher()
	assert.Equal(t, h.Hash(long("a")), h.Hash(providers.NewSecret("\n  "+long("a").Reveal()+"\r\n")), "blanks around it")
	assert.NotEqual(t, h.Hash(long("a")), h.Hash(long("b")))
	assert.NotEqual(t, h.Hash(long("a")), other.Hash(long("a")), "without the key it tells nothing")
	assert.NotEqual(t, h.ID(), other.ID())
	assert.Equal(t, h.Hash(long("a")), h.ofDigest(digest(long("a"))))
	assert.NotContains(t, fmt.Sprintf("%v %+v", NewHasher().ID(), h.Hash(long("a"))), "a-")
	assert.False(t, LongEnough(providers.NewSecret(strings.Repeat(" ", 50)+strings.Repeat("x", MinSought-1))))
	assert.True(t, LongEnough(providers.NewSecret(strings.Repeat("x", MinSought))))
}

// Each change that takes a secret away leaves a trace of it, and none of what is still there.
func TestRemember(t *testing.T) {
	h := NewHasher()
	change := func(c *Connection, with func(*Connection)) *Connection {
		next := c.Clone()
		with(next)
		next.Remember(c, h, noon)
		return next
	}
	grant := func(access, refresh string) *providers.Grant {
		return &providers.Grant{
			AccessToken: long(access), RefreshToken: long(refresh), Issued: noon,
			SecretConfig: map[string]providers.Secret{"hook": long("hook")},
		}
	}
	key := func(name string) map[string]providers.Secret {
		return map[string]providers.Secret{"api_key": long(name)}
	}

	c := &Connection{}
	c.Adopt(grant("a1", "r1"), "pin", noon)
	assert.Empty(t, c.Traces)
	c = change(c, func(c *Connection) { c.Refreshed(grant("a2", "r1"), noon) })
	assert.Equal(t, []string{"access_token"}, holds(c, h, long("a2")))
	assert.Equal(t, []string{"access_token true"}, holds(c, h, long("a1")))
	assert.Equal(t, []string{"refresh_token"}, holds(c, h, long("r1")), "it is there still")
	assert.Equal(t, []string{"connection_config.hook"}, holds(c, h, long("hook")))

	before := c.Traces
	c = change(c, func(c *Connection) { c.Label = "x" })
	assert.Equal(t, before, c.Traces, "nothing was taken away")

	c = change(c, func(c *Connection) { c.AdoptKey(key("k1"), "pin", noon) })
	for _, s := range []string{"a2", "r1", "hook"} {
		assert.Len(t, holds(c, h, long(s)), 1, s)
		assert.Contains(t, holds(c, h, long(s))[0], "true")
	}
	c = change(c, func(c *Connection) {
		former := c.Key
		c.AdoptKey(key("k2"), "pin", noon)
		c.KeepFormer(former, nil, noon.Add(time.Hour))
	})
	assert.Equal(t, []string{"api_key true"}, holds(c, h, long("k1")), "it is kept, so it needs no trace")
	assert.NotContains(t, c.Traces, h.Hash(long("k1")))
	c = change(c, func(c *Connection) { require.True(t, c.EraseFormer(noon.Add(time.Hour))) })
	assert.Contains(t, c.Traces, h.Hash(long("k1")))
	assert.Equal(t, []string{"api_key true"}, holds(c, h, long("k1")))

	c = change(c, func(c *Connection) {
		c.SetCompanions(map[string]providers.Secret{"signing": long("s1")}, Setter{})
	})
	c = change(c, func(c *Connection) { c.SetCompanions(nil, Setter{}) })
	assert.Equal(t, []string{"companions.signing true"}, holds(c, h, long("s1")))

	short := change(c, func(c *Connection) {
		c.AdoptKey(map[string]providers.Secret{"api_key": providers.NewSecret("short")}, "pin", noon)
	})
	traces := change(short, func(c *Connection) { c.AdoptKey(key("k3"), "pin", noon) }).Traces
	assert.Equal(t, short.Traces, traces, "of what nobody may look up there is no trace")

	ended := change(c, func(c *Connection) { c.End(Ended{Time: noon}, Setter{}) })
	assert.Contains(t, holds(ended, h, long("k2")), "api_key true")

	none := c.Clone()
	none.AdoptKey(key("k9"), "pin", noon)
	none.Remember(c, nil, noon)
	assert.Equal(t, c.Traces, none.Traces, "without a key there are no new ones, and the others stay")
}

// What a release without traces noted of tokens is worth something too.
func TestHoldingsOfAFormerRelease(t *testing.T) {
	h := NewHasher()
	c := &Connection{}
	c.Imported.Digest, c.Ended = digest(long("imported")), &Ended{Digests: []string{digest(long("ended"))}}
	assert.Equal(t, []string{"refresh_token true"}, holds(c, h, long("imported")))
	assert.Equal(t, []string{"token true"}, holds(c, h, long("ended")))
}

func TestTracesAreBounded(t *testing.T) {
	trace := func(field string, n int) Trace {
		return Trace{NewHasher().Hash(long(fmt.Sprint(field, n))), field, noon.AddDate(0, 0, n)}
	}
	var all Traces
	first := trace("api_key", 0)
	all = all.with(first)
	var last Trace
	for n := range 100 {
		last = trace(AccessTokenField, n)
		all = all.with(last, trace(RefreshTokenField, n))
	}
	assert.Contains(t, all, first.Hash, "tokens do not drive a key out")
	assert.Contains(t, all, last.Hash)
	assert.Len(t, strings.Fields(string(all)), 1+tokenTraces)
	for n := range 100 {
		all = all.with(trace("api_key", n))
	}
	assert.Len(t, strings.Fields(string(all)), otherTraces+tokenTraces)
	assert.Less(t, len(all), 1000)
	assert.Contains(t, all, last.Hash, "nor keys a token")
	assert.Equal(t, all, all.with())
	again := all.with(Trace{last.Hash, AccessTokenField, noon})
	assert.Len(t, strings.Fields(string(again)), otherTraces+tokenTraces, "one that came back is there once")

	var days []time.Time
	Traces("odd of:another:release x:1:api_key").Each(func(t Trace) { days = append(days, t.Day) })
	assert.Equal(t, []time.Time{time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC)}, days, "what it does not know is passed over")
}

// What is left of a connection that was deleted is found under its name, and is bounded.
func TestBury(t *testing.T) {
	h, s := NewHasher(), New(&testenv.Storage{})
	left := func() []string {
		history, err := s.History(t.Context(), slack)
		require.NoError(t, err)
		var ids []string
		for _, b := range history.Buried {
			ids = append(ids, b.ID)
		}
		return ids
	}
	for n := range 10 {
		c := &Connection{ID: fmt.Sprint(n), Provider: "acme"}
		c.Key = map[string]providers.Secret{"api_key": long(fmt.Sprint(n))}
		for range 2 { // the deletion was tried again
			require.NoError(t, s.Bury(t.Context(), slack, nil, c.Bury(h, noon)))
		}
	}
	assert.Equal(t, []string{"6", "7", "8", "9"}, left())
	history, err := s.History(t.Context(), slack)
	require.NoError(t, err)
	assert.Equal(t, noon, history.Last())
	assert.Contains(t, history.Buried[3].Traces, h.Hash(long("9")))

	c := &Connection{ID: "8", Provider: "acme"}
	c.Key = map[string]providers.Secret{"api_key": long("new")}
	require.NoError(t, s.Bury(t.Context(), slack, &Record{ID: "8", N: 2}, c.Bury(h, noon)))
	assert.Equal(t, []string{"6", "7", "9", "8"}, left(), "it came back, and left again")
	require.NoError(t, s.Bury(t.Context(), slack, nil, (&Connection{ID: "x"}).Bury(h, noon)))
	assert.Len(t, left(), 4, "of one that had no secret nothing is left")
	require.NoError(t, s.LeaveHistory(t.Context(), slack, Record{ID: "y"}))
	assert.Len(t, left(), 4, "a move takes nothing of others along")
}

func TestLookupNote(t *testing.T) {
	at := func(path, field string, former bool) Found {
		return Found{Of: OfConnection, Path: path, ID: path, Field: field, Former: former}
	}
	var l Lookup
	l.Note(at("a", "refresh_token", true))
	l.Note(at("a", "refresh_token", true))
	l.Note(at("b", "api_key", true))
	l.Note(at("a", "refresh_token", false))
	l.Note(at("a", "access_token", true))
	assert.Equal(t, []Found{at("b", "api_key", true), at("a", "refresh_token", false)}, l.Found)
	for n := range 2 * maxFound {
		l.Note(at(fmt.Sprint(n), "api_key", false))
	}
	assert.Len(t, l.Found, maxFound)
	assert.True(t, l.More)
}
