package store

import (
	"context"
	"time"
)

// Heartbeat tells when a node that may write was last at work on this storage. What was restored from a snapshot has
// that of the snapshot, so its age tells how much may have happened since that nothing here knows of.
type Heartbeat struct {
	Time time.Time `json:"time"`
	Gap  Gap       `json:"gap,omitzero"` // the last one that a start found

	unknown unknownFields
}

// Gap is a time in which nobody was at work on this storage, as far as it tells.
type Gap struct {
	Since time.Time `json:"since"` // the last heartbeat before
	Until time.Time `json:"until"` // the start that found it
}

// Length is how long it was; below zero if the heartbeat lay ahead of the clock.
func (g Gap) Length() time.Duration { return g.Until.Sub(g.Since) }

// Heartbeat reads the last one; nil before the first.
func (s Store) Heartbeat(ctx context.Context) (*Heartbeat, error) {
	return get(ctx, s.storage, heartbeatKey, decodeHeartbeat)
}

// PutHeartbeat writes one.
func (s Store) PutHeartbeat(ctx context.Context, h *Heartbeat) error {
	return put(ctx, s.storage, heartbeatKey, h, encodeHeartbeat)
}
