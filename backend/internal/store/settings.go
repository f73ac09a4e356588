package store

import (
	"maps"
	"slices"
	"time"
)

// Settings are what a request sets of a connection beside its credential. What it does not name is nil.
type Settings struct {
	Label          *string            `json:"label,omitempty"`
	Tags           *map[string]string `json:"tags,omitempty"`
	Inputs         *map[string]string `json:"inputs,omitempty"`
	RequiredScopes *[]string          `json:"required_scopes,omitempty"`
	RotateAfter    *time.Duration     `json:"rotate_after,omitempty"`
	Private        *bool              `json:"private,omitempty"`
	DebugUntil     *time.Time         `json:"debug_until,omitempty"`
	Decision
}

// Setter is who sets them.
type Setter struct {
	Actor
	Name  string // as [Credential] remembers it
	Owner bool   // it is the entity that the connection belongs to
}

// Set makes the settings that were named.
func (c *Connection) Set(s Settings, by Setter) {
	if s.Label != nil {
		c.Label = *s.Label
	}
	if s.Tags != nil {
		c.Tags = *s.Tags
	}
	if s.Inputs != nil {
		if by.Owner || !maps.Equal(c.Inputs, *s.Inputs) { // who writes back what is there did not set it
			c.SetBy = by.Name
		}
		c.Inputs = *s.Inputs
	}
	if s.RequiredScopes != nil {
		if by.Owner || !slices.Equal(c.RequiredScopes, *s.RequiredScopes) {
			c.RequiredBy = by.Name
		}
		c.RequiredScopes = *s.RequiredScopes
	}
	if s.DebugUntil != nil && !s.DebugUntil.Equal(c.DebugUntil) {
		if c.DebugUntil, c.DebugBy = *s.DebugUntil, ""; !s.DebugUntil.IsZero() {
			c.DebugBy = by.EntityID
		}
	}
	if s.RotateAfter != nil {
		c.RotateAfter = *s.RotateAfter
	}
	if s.Private != nil {
		c.setPrivate(*s.Private, by)
	}
	c.Closed = c.AdoptedBy != "" && c.Private // so that it goes along with a credential that is not saved yet
	if s.Decision != (Decision{}) {
		c.Stops.decide(s.Decision, by)
		if c.Switched = nil; c.Stops != (Stops{}) {
			said := c.Stops
			c.Switched = &said
		}
	}
}

// setPrivate opens or closes the connection. That its owner's entity opened it is remembered: nobody else can give away
// what that entity will put in it.
func (c *Connection) setPrivate(private bool, by Setter) {
	switch {
	case private:
		c.OpenedBy = ""
	case by.Owner:
		c.OpenedBy = by.EntityID
	}
	c.Private = private
}

// CloseFor makes the connection private because the entity that owns it puts a credential in it, unless that entity
// opened it. It reports whether it was open.
func (c *Connection) CloseFor(entity string) (closed bool) {
	c.AdoptedBy = entity
	c.noteLive(Owner{User: entity})
	if c.Private || c.OpenedBy == entity {
		return false
	}
	c.Private, c.OpenedBy = true, ""
	return true
}
