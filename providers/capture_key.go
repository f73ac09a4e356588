package providers

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
)

// maxCaptured bounds what is kept of what a service tells of a key, in bytes as it is stored: an entry holds it beside
// the key, and beside the former one.
const maxCaptured = 32 << 10

// Captured is what the definition keeps of what a service tells of a key: connection_config. A grant has its own.
type Captured struct {
	Config       map[string]string // public
	SecretConfig map[string]Secret // handed out with the key only
}

// Equal reports whether both hold the same. Nil holds nothing.
func (c *Captured) Equal(other *Captured) bool {
	if c == nil {
		c = &Captured{}
	}
	if other == nil {
		other = &Captured{}
	}
	return maps.Equal(c.Config, other.Config) && maps.EqualFunc(c.SecretConfig, other.SecretConfig, Secret.Equal)
}

// Clone returns a copy that shares nothing a caller may change; nil of what holds nothing.
func (c *Captured) Clone() *Captured {
	if c == nil || len(c.Config)+len(c.SecretConfig) == 0 {
		return nil
	}
	return &Captured{maps.Clone(c.Config), maps.Clone(c.SecretConfig)}
}

// Size is how many bytes it takes as it is stored.
func (c *Captured) Size() int {
	if c == nil {
		return 0
	}
	texts := map[string]string{}
	for name, value := range c.SecretConfig {
		texts[name] = value.Reveal()
	}
	stored, _ := json.Marshal([]any{c.Config, texts}) // texts always encode
	return len(stored)
}

// CapturedOf is what g, which presents a key, has of the definition's connection_config: not the fields of the key, and
// not what the definition would not take any more. Nil: that is more than is kept of a key.
func (d *Definition) CapturedOf(g *Grant) *Captured {
	had := &Grant{}
	for _, c := range d.Connection {
		value := g.Config[c.Name]
		if secret, there := g.SecretConfig[c.Name]; there {
			value = secret.Reveal()
		}
		if c.fits(value) && len(had.Config)+len(had.SecretConfig) < maxConfig {
			had.keep(c, value)
		}
	}
	captured := &Captured{had.Config, had.SecretConfig}
	if captured.Size() > maxCaptured {
		return nil
	}
	return captured
}

// captureOfKey is what is known of a key once a step was answered: g has what was known before and what inputs tell,
// which stays as far as the answer tells nothing else. The error says that the answer lacks what the definition
// requires, or that it tells more than is kept: then nothing of it is.
func (d *Definition) captureOfKey(g *Grant, step Step, doc any) (*Captured, *Error) {
	before := d.CapturedOf(g)
	if before == nil {
		before = &Captured{}
	}
	now := &Grant{
		Config: maps.Clone(before.Config), SecretConfig: maps.Clone(before.SecretConfig), ranks: map[string]int{},
	}
	for _, c := range d.Connection {
		rank, ofInput := g.ranks[c.Name]
		if now.ranks[c.Name] = rank; !ofInput {
			now.ranks[c.Name] = math.MaxInt // whatever is told now counts more than what was told before
		}
	}
	now.capture(d.Connection, string(step), doc)
	captured := d.CapturedOf(now)
	if captured == nil {
		return before, &Error{Class: Unknown, Step: step, Reason: ReasonGrantTooLarge}
	}
	for _, c := range d.Connection {
		_, public := captured.Config[c.Name]
		_, secret := captured.SecretConfig[c.Name]
		asked := slices.ContainsFunc(c.sources(), func(s CaptureSource) bool {
			return s.From == fromInput || s.From == string(step)
		})
		if c.Required && asked && !public && !secret {
			return captured, &Error{Class: Misconfigured, Step: step, Reason: ReasonCaptureMissing}
		}
	}
	return captured, nil
}
