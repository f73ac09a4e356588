package store

// Freeze is an operator's word that nothing is served, spent or erased until they take it back.
type Freeze struct {
	Frozen       bool   `json:"frozen,omitempty"`
	FrozenReason string `json:"frozen_reason,omitempty"` // in the operator's words
}

// Freezes reports whether config freezes anything.
func (c *Config) Freezes() bool { return c.Frozen || len(c.FrozenOwners) > 0 }
