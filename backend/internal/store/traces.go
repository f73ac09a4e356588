package store

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// MinSought is how many characters a text has whose owner may be looked up: who has so much of a random one did not
// guess it. Of what is shorter no trace is kept.
const MinSought = 20

// Hasher makes keyed hashes of secrets, under a key that never leaves the mount. Without the key they tell nothing, not
// even that two mounts held the same secret.
type Hasher struct{ key []byte }

const (
	hasherKey = 32 // bytes
	hashSize  = 16 // bytes, enough that no two secrets have the same
)

// NewHasher makes one with a key of its own.
func NewHasher() *Hasher {
	key := make([]byte, hasherKey)
	rand.Read(key) // which never fails
	return &Hasher{key}
}

// ID tells one key from another.
func (h *Hasher) ID() string { return h.sum("id of the key") }

// Hash is the keyed hash of a secret. Blanks around it do not count: people copy them along.
func (h *Hasher) Hash(s providers.Secret) string {
	return h.ofDigest(digest(providers.NewSecret(strings.TrimSpace(s.Reveal()))))
}

// ofDigest is the hash of the secret that has this SHA-256, which is all that entries have of some.
func (h *Hasher) ofDigest(digest string) string { return h.sum("secret " + digest) }

func (h *Hasher) sum(text string) string {
	mac := hmac.New(sha256.New, h.key)
	mac.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:hashSize])
}

// SameHash compares two hashes in time that does not depend on where they differ.
func SameHash(a, b string) bool { return hmac.Equal([]byte(a), []byte(b)) }

// LongEnough reports whether a secret may be looked up.
func LongEnough(s providers.Secret) bool {
	return utf8.RuneCountInString(strings.TrimSpace(s.Reveal())) >= MinSought
}

// The fields of tokens in a trace. Those of a key are called as its definition does, and what stands elsewhere begins
// with a word and a dot, which no field of a key has.
const (
	AccessTokenField  = "access_token"
	RefreshTokenField = "refresh_token"
	configWord        = "connection_config."
	companionWord     = "companions."
)

// IsKeyField reports whether a trace is of a key's field, which may be a public one.
func IsKeyField(field string) bool {
	return field != AccessTokenField && field != RefreshTokenField && !strings.Contains(field, ".")
}

// Traces are keyed hashes of secrets that a connection had and has no more: "hash:day:field" of each, the newest last.
// They are one text, since a connection that is read has them along and nobody looks at them; and what a text says that
// another release wrote is passed over.
type Traces string

// How many traces there are at the most. Tokens are replaced every hour, and keep no trace of a key from its place.
const (
	tokenTraces = 8
	otherTraces = 8
)

// Trace is one of them.
type Trace struct {
	Hash  string
	Field string
	Day   time.Time // on which it was replaced
}

const day = 24 * time.Hour

func (t Trace) String() string {
	return t.Hash + ":" + strconv.FormatInt(t.Day.Unix()/int64(day.Seconds()), 10) + ":" + t.Field
}

func (t Trace) token() bool { return t.Field == AccessTokenField || t.Field == RefreshTokenField }

// Each gives the traces.
func (t Traces) Each(fn func(Trace)) {
	for word := range strings.FieldsSeq(string(t)) {
		parts := strings.SplitN(word, ":", 3)
		if len(parts) != 3 {
			continue
		}
		days, err := strconv.ParseInt(parts[1], 10, 32)
		if err == nil {
			fn(Trace{parts[0], parts[2], time.Unix(days*int64(day.Seconds()), 0).UTC()})
		}
	}
}

// with adds traces, and drops the oldest where there are too many of a sort.
func (t Traces) with(more ...Trace) Traces {
	if len(more) == 0 {
		return t
	}
	var all []Trace
	t.Each(func(old Trace) {
		if !slices.ContainsFunc(more, func(m Trace) bool { return m.Hash == old.Hash }) {
			all = append(all, old)
		}
	})
	all = append(all, more...)
	words := []string{}
	tokens, others := 0, 0
	for _, one := range slices.Backward(all) {
		count, most := &others, otherTraces
		if one.token() {
			count, most = &tokens, tokenTraces
		}
		if *count++; *count <= most {
			words = append(words, one.String())
		}
	}
	slices.Reverse(words)
	return Traces(strings.Join(words, " "))
}

// EachSecret gives every secret that the entry holds. former tells that it is not handed out any more.
func (c *Connection) EachSecret(fn func(field string, former bool, s providers.Secret)) {
	all := func(prefix string, former bool, values map[string]providers.Secret) {
		for name, s := range values {
			fn(prefix+name, former, s)
		}
	}
	if g := c.Grant; g != nil {
		fn(AccessTokenField, false, g.AccessToken)
		fn(RefreshTokenField, false, g.RefreshToken)
		all(configWord, false, g.SecretConfig)
	}
	all("", false, c.KeyFields())
	all("", true, c.FormerKey)
	if c.Captured != nil {
		all(configWord, false, c.Captured.SecretConfig)
	}
	if c.FormerCaptured != nil {
		all(configWord, true, c.FormerCaptured.SecretConfig)
	}
	all(companionWord, false, c.Companions)
}

// Remember keeps a trace of each secret that before had and c has not. A nil hasher keeps none.
func (c *Connection) Remember(before *Connection, h *Hasher, now time.Time) {
	if before == nil || h == nil {
		return
	}
	var has []providers.Secret
	c.EachSecret(func(_ string, _ bool, s providers.Secret) { has = append(has, s) })
	c.Traces = before.Traces.with(before.traces(h, now, func(s providers.Secret) bool {
		return !slices.ContainsFunc(has, s.Equal)
	})...)
}

// traces are those of the secrets that the entry holds and gone picks.
func (c *Connection) traces(h *Hasher, now time.Time, gone func(providers.Secret) bool) (all []Trace) {
	c.EachSecret(func(field string, _ bool, s providers.Secret) {
		if LongEnough(s) && gone(s) {
			all = append(all, Trace{h.Hash(s), field, now})
		}
	})
	return all
}

// Holding says how an entry has a secret.
type Holding struct {
	Field  string
	Former bool      // it is not handed out any more
	Day    time.Time // on which it was replaced; zero: it was not, or nobody knows
}

// Holdings calls fn with the hash of each secret that the connection has, or had as far as it remembers.
func (c *Connection) Holdings(h *Hasher, fn func(hash string, as Holding)) {
	c.EachSecret(func(field string, former bool, s providers.Secret) {
		as := Holding{Field: field, Former: former}
		if former {
			as.Day = c.Rotated
		}
		if LongEnough(s) {
			fn(h.Hash(s), as)
		}
	})
	c.Traces.Each(func(t Trace) { fn(t.Hash, Holding{t.Field, true, t.Day}) })
	if c.Imported.Digest != "" { // it is the refresh token still, or was
		fn(h.ofDigest(c.Imported.Digest), Holding{Field: RefreshTokenField, Former: true})
	}
	for _, ended := range c.LastEnd().Digests {
		fn(h.ofDigest(ended), Holding{Field: "token", Former: true, Day: c.LastEnd().Time})
	}
}

// Holdings is that of an import which is not finished.
func (t *Trial) Holdings(h *Hasher, fn func(hash string, as Holding)) {
	for _, g := range []*providers.Grant{t.Brought, t.Given} {
		if g != nil {
			(&Connection{Credential: Credential{Grant: g}}).Holdings(h, fn)
		}
	}
}

// Holdings is that of what a provider itself is known by at its service.
func (p *Provider) Holdings(h *Hasher, fn func(hash string, as Holding)) {
	give := func(field string, former bool, s providers.Secret) {
		if LongEnough(s) {
			fn(h.Hash(s), Holding{Field: field, Former: former})
		}
	}
	give("client_secret", false, p.ClientSecret)
	give("client_secret", true, p.FormerSecret)
	for name, s := range p.Keys {
		give(name, false, s)
	}
	for name, s := range p.Companions {
		give(companionWord+name, false, s)
	}
	for name, v := range p.TokenParams {
		give("token_params."+name, false, providers.NewSecret(v))
	}
}

// Buried is what is left of the secrets of a connection that is gone.
type Buried struct {
	ID       string    `json:"id"` // the connection's
	Provider string    `json:"provider"`
	Time     time.Time `json:"time"`
	Traces   Traces    `json:"traces"`
}

// maxBuried is of how many connections of one name something is left.
const maxBuried = 4

// Bury is what is to be left of the connection's secrets. A nil hasher leaves what traces there are.
func (c *Connection) Bury(h *Hasher, now time.Time) Buried {
	left := Buried{ID: c.ID, Provider: c.Provider, Time: now, Traces: c.Traces}
	if h != nil {
		left.Traces = left.Traces.with(c.traces(h, now, func(providers.Secret) bool { return true })...)
	}
	return left
}

// bury adds what is left of a connection, unless it is there.
func (h *History) bury(b Buried) (added bool) {
	if b.Traces == "" {
		return false
	}
	all := slices.Clone(h.Buried)
	if i := slices.IndexFunc(all, func(o Buried) bool { return o.ID == b.ID }); i >= 0 {
		var more []Trace
		b.Traces.Each(func(t Trace) { more = append(more, t) })
		joined := all[i].Traces.with(more...)
		if joined == all[i].Traces {
			return false
		}
		b.Traces = joined
		all = slices.Delete(all, i, i+1)
	}
	all = append(all, b)
	h.Buried = all[max(0, len(all)-maxBuried):]
	return true
}

type hasherRecord struct {
	header
	Key []byte `json:"key"`
}

func encodeHasher(h *Hasher) ([]byte, error) {
	return encode(hasherRecord{header{hasherVersion}, h.key}, nil) // it is written once
}

func decodeHasher(b []byte) (*Hasher, error) {
	var r hasherRecord
	if _, err := decode(b, &r); err != nil {
		return nil, err
	}
	if err := r.check("lookup-key", hasherVersion); err != nil {
		return nil, err
	}
	if len(r.Key) != hasherKey {
		return nil, damaged("the lookup-key has another length: the entry is damaged")
	}
	return &Hasher{r.Key}, nil
}

// Hasher reads the mount's; nil when there is none yet.
func (s Store) Hasher(ctx context.Context) (*Hasher, error) {
	return get(ctx, s.storage, hasherEntry, decodeHasher)
}

// PutHasher writes it.
func (s Store) PutHasher(ctx context.Context, h *Hasher) error {
	return put(ctx, s.storage, hasherEntry, h, encodeHasher)
}
