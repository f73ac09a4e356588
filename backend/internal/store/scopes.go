package store

import "slices"

// maxLost bounds what is remembered of scopes that went away: a service may name others with each answer.
const (
	maxLost      = 100
	maxLostBytes = 8 << 10
)

// loses remembers which of the scopes that the grant had it has no more, word for word: what means the same, and what
// another includes, the definition tells when it is shown. What came back is forgotten.
func (c *Credential) loses(before, after []string) {
	var lost []string
	size := 0
	for _, scope := range slices.Concat(c.LostScopes, before) {
		if slices.Contains(after, scope) || slices.Contains(lost, scope) {
			continue
		}
		if size += len(scope); len(lost) == maxLost || size > maxLostBytes {
			break
		}
		lost = append(lost, scope)
	}
	c.LostScopes = lost
}

// Tells records that the service tells these scopes of the grant as it is.
func (c *Connection) Tells(scopes []string) {
	if c.Grant == nil || len(scopes) == 0 {
		return
	}
	c.loses(c.Grant.Scopes, scopes)
	g := *c.Grant
	g.Scopes = slices.Clone(scopes)
	c.Grant = &g
}
