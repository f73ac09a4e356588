package store

import (
	"slices"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// Ending is the fact that a connection is being ended. From then on nothing of it is handed out or renewed, and
// whatever becomes of the job that began it, the end is carried through. The zero value is none.
type Ending struct {
	Job  string `json:"job"`
	Then Then   `json:"then,omitempty"`
	By   Actor  `json:"by"` // who ran the job, and since when
}

// On reports whether the connection is being ended.
func (e Ending) On() bool { return e.Job != "" }

// Then is what becomes of a connection that was ended. It is kept unless said otherwise.
type Then string

// What may become of it.
const (
	ThenKeep    Then = ""
	ThenArchive Then = "archive"
	ThenDelete  Then = "delete"
)

// Ended is what came of ending a connection last. A reconnect leaves it: what was ended stays so.
type Ended struct {
	Job     string    `json:"job"`
	Outcome EndWord   `json:"outcome"`
	Why     string    `json:"why,omitempty"` // in the engine's own words
	Time    time.Time `json:"time"`
	// SHA-256 of the tokens that were ended: an import of one must not bring it back
	Digests []string `json:"digests,omitempty"`
}

// LastEnd is what came of ending it last; the zero value is none.
func (c *Connection) LastEnd() Ended {
	if c.Ended == nil {
		return Ended{}
	}
	return *c.Ended
}

func (e *Ended) clone() *Ended {
	if e == nil {
		return nil
	}
	out := *e
	out.Digests = slices.Clone(e.Digests)
	return &out
}

// EndWord says how an end went at the provider.
type EndWord string

// The words. But for the first and the last, what was granted may live on there.
const (
	EndRevoked      EndWord = "revoked"        // the provider has forgotten the grant
	EndKey          EndWord = "key"            // a key, which people end at the service
	EndNotSupported EndWord = "not_supported"  // the provider has no way to be told
	EndShared       EndWord = "shared_account" // another connection may rest on the account
	EndFailed       EndWord = "failed"         // the provider refused, or could not be asked
	EndUnreachable  EndWord = "unreachable"    // not revoked, provider unreachable for a day
	EndNothing      EndWord = "nothing"        // there was nothing left to revoke
)

// maxDigests bounds what is remembered of ended tokens: those of the last few ends.
const maxDigests = 12

// BeginEnd marks the connection as being ended.
func (c *Connection) BeginEnd(e Ending) { c.Ending = e }

// End erases whatever could be used, and notes what came of it. The connection itself stays, with whose account it was
// and what was granted, so that its owner can connect it again.
func (c *Connection) End(o Ended, by Setter) {
	then, now := c.Ending.Then, o.Time
	o.Digests = slices.Clone(c.LastEnd().Digests)
	remember := func(d string) {
		if d != "" && !slices.Contains(o.Digests, d) {
			o.Digests = append(o.Digests, d)
		}
	}
	remember(c.Imported.Digest)
	if g := c.Grant; g != nil {
		for _, token := range []providers.Secret{g.AccessToken, g.RefreshToken} {
			if !token.IsZero() {
				remember(digest(token))
			}
		}
		shell := *g
		shell.AccessToken, shell.RefreshToken, shell.SecretConfig = providers.Secret{}, providers.Secret{}, nil
		shell.Key = nil
		c.Grant = &shell
	}
	o.Digests = o.Digests[max(0, len(o.Digests)-maxDigests):]
	c.Key, c.Captured, c.Imported = nil, nil, Import{}
	c.KeepFormer(nil, nil, time.Time{})
	c.Companions, c.CompanionsBy = nil, ""
	c.Generation++ // what comes of anything that is still under way fits it no more
	c.Rotated, c.Attempt, c.Invalid, c.Refused = now, Attempt{}, time.Time{}, Refusal{ReasonRevoked, now}
	c.Ending, c.Ended = Ending{}, &o
	switch then {
	case ThenArchive:
		yes := true
		c.Set(Settings{Decision: Decision{Archived: &yes}}, by)
	case ThenDelete:
		c.Delete(now)
	}
}

// Revoked reports whether the connection was ended, and nobody has connected it again.
func (c *Connection) Revoked() bool { return c.Refused.Reason == ReasonRevoked }

// WasEnded reports whether tokens are those of a grant that was ended here.
func (c *Connection) WasEnded(g *providers.Grant) bool {
	for _, token := range []providers.Secret{g.AccessToken, g.RefreshToken} {
		if !token.IsZero() && slices.Contains(c.LastEnd().Digests, digest(token)) {
			return true
		}
	}
	return false
}
