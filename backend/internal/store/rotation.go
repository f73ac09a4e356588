package store

import (
	"maps"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// RotationDue is when a credential that was written at since is to be replaced; zero: never, or nobody knows when it
// was written. The first of the terms that says something holds: 0 says nothing, and what is negative says never.
func RotationDue(since time.Time, terms ...time.Duration) (due time.Time) {
	if since.IsZero() {
		return due
	}
	for _, after := range terms {
		switch {
		case after < 0:
			return due
		case after > 0:
			return since.Add(after)
		}
	}
	return due
}

// KeyAge is when a key was written. A former release that wrote another key left it as it was, and it says nothing
// then: the generation is another.
type KeyAge struct {
	Written    time.Time `json:"written,omitzero"`
	Generation uint64    `json:"generation"`
}

func (a KeyAge) of(c *Connection) (written time.Time) {
	if a.Generation == c.Generation {
		written = a.Written
	}
	return written
}

// at is the age of a key that stays while what is handed out changes.
func (a KeyAge) at(generation uint64) KeyAge {
	if a.Written.IsZero() {
		return KeyAge{}
	}
	return KeyAge{a.Written, generation}
}

// noteKey notes how old values are, which are about to become the key. The same key written again is no newer.
func (c *Connection) noteKey(values map[string]providers.Secret, now time.Time) {
	since := c.keyWritten()
	switch {
	case len(values) == 0:
		c.KeyAge.Written = time.Time{}
	case since.IsZero() || !maps.EqualFunc(c.KeyFields(), values, providers.Secret.Equal):
		c.KeyAge.Written = now
	default:
		c.KeyAge.Written = since
	}
}

// keyWritten is when the key was written; zero: there is none, or nobody knows. A former release noted it only as the
// time of the last rotation, which for a key that buys tokens is a token's.
func (c *Connection) keyWritten() time.Time {
	written := c.KeyAge.of(c)
	if written.IsZero() && c.Key != nil {
		return c.Rotated
	}
	return written
}

// AgeFormer notes when the former key was written, which has been kept.
func (c *Connection) AgeFormer(written time.Time) { c.FormerAge = KeyAge{written, c.Generation} }

// KeySince is when the connection's key was written, be it what is handed out or what buys that; zero: there is none,
// or nobody knows.
func (c *Connection) KeySince() (since time.Time) {
	if len(c.KeyFields()) == 0 || c.Refused.Reason == ReasonTransferred || c.Refused.Reason == ReasonRevoked {
		return since // nothing is left of it
	}
	return c.keyWritten()
}

// toldOld reports whether it was told that the key is to be replaced. Another key has an age of its own.
func (c *Connection) toldOld() bool { return !c.ToldAge.IsZero() && c.ToldAge.Equal(c.KeySince()) }

// RotationNoticeDue is when it is to be told that the key is to be replaced, which is so at due; zero: never, or it was
// told.
func (c *Connection) RotationNoticeDue(due time.Time) time.Time {
	if due.IsZero() || c.toldOld() || c.Ending.On() || c.IsMoving() || !c.Deleting.IsZero() {
		return time.Time{}
	}
	return due
}

// TellOld notes that the key is to be replaced since due, and reports whether it is.
func (c *Connection) TellOld(due, now time.Time) bool {
	if !reached(c.RotationNoticeDue(due), now) {
		return false
	}
	c.ToldAge = c.KeySince()
	return true
}

// TellOld notes that the client secret is to be replaced since due, and reports whether that is new.
func (p *Provider) TellOld(due, now time.Time) bool {
	if !reached(due, now) || p.ToldAge.Equal(p.SecretSince()) {
		return false
	}
	p.ToldAge = p.SecretSince()
	return true
}

// DateSecret notes how old the client secret is, which is about to be stored; before is the provider as it was, nil
// when there was none. One that a former release stored is counted from the first write after it.
func (p *Provider) DateSecret(before *Provider, now time.Time) {
	switch {
	case p.ClientSecret.IsZero():
		p.SecretAge = SecretAge{}
	case before == nil || before.SecretSince().IsZero() || !before.ClientSecret.Equal(p.ClientSecret):
		p.SecretAge = SecretAge{now, secretMark(p.ClientSecret)}
	}
}

// SecretAge is since when there is a client secret. A former release that wrote another one left it as it was, and it
// says nothing then: the secret is not the one that it is of.
type SecretAge struct {
	Since time.Time `json:"since"`
	Of    string    `json:"of"`
}

// secretMark tells one client secret from another, beside which it is stored.
func secretMark(s providers.Secret) string { return digest(s)[:16] }

// SecretSince is when the client secret was written; zero: there is none, or nobody knows.
func (p *Provider) SecretSince() (since time.Time) {
	if !p.ClientSecret.IsZero() && p.SecretAge.Of == secretMark(p.ClientSecret) {
		since = p.SecretAge.Since
	}
	return since
}
