package store

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// Trial is a grant that was obtained elsewhere, while it is tried, and for as long as nobody may have it. It is stored
// before its refresh token is spent, so that a crash between the provider's answer and the connection loses nothing.
type Trial struct {
	Key      string            `json:"key"` // the connection's that it was brought for
	Provider string            `json:"provider"`
	Pinned   string            `json:"pinned"`
	Kind     providers.Kind    `json:"kind"`
	Digest   string            `json:"digest"` // of the refresh token as it was brought
	Inputs   map[string]string `json:"inputs,omitempty"`
	Settings Settings          `json:"settings,omitzero"`

	By            Actor     `json:"by"`
	Caller        string    `json:"caller"` // who may have what became of it, see the backend's caller
	Time          time.Time `json:"time"`
	Generation    uint64    `json:"generation,omitempty"` // of the connection then
	Serial        uint64    `json:"serial,omitempty"`
	AccountChange bool      `json:"account_change,omitempty"` // another account than before is meant
	Creates       bool      `json:"creates,omitempty"`        // there was no connection then
	Parked        bool      `json:"parked,omitempty"`         // the connection may not have it: a person must decide
	Tries         int       `json:"tries,omitempty"`          // by the background, that failed
	Next          time.Time `json:"next,omitzero"`            // not before
	Identified    bool      `json:"identified,omitempty"`     // Given is all there is to learn of it

	Brought *providers.Grant `json:"-"`
	Given   *providers.Grant `json:"-"` // what the provider gave for it; nil: its refresh token may be spent

	unknown unknownFields
}

// TrialOf begins the record of a grant that is about to be tried.
func TrialOf(k Key, g *providers.Grant) *Trial {
	return &Trial{Key: k.String(), Digest: digest(g.RefreshToken), Brought: g}
}

// Open reports whether the provider's answer is not known.
func (t *Trial) Open() bool { return t.Given == nil }

// TryLater notes a try of the background that failed. The next one may be made later each time.
func (t *Trial) TryLater(now time.Time) {
	t.Next = now.Add(min(time.Minute<<min(t.Tries, 4), 10*time.Minute))
	t.Tries++
}

// Rotated reports whether the provider replaced the refresh token, so that what it gave exists nowhere else.
func (t *Trial) Rotated() bool {
	return t.Given != nil && !t.Given.RefreshToken.Equal(t.Brought.RefreshToken)
}

// For reports whether what it holds is of use to a credential of this pin and these inputs.
func (t *Trial) For(pinned string, inputs map[string]string) bool {
	if t.Pinned != pinned || len(t.Inputs) != len(inputs) {
		return false
	}
	for name, v := range t.Inputs {
		if inputs[name] != v {
			return false
		}
	}
	return true
}

// The trials of a connection lie below its hash, each under the digest of what was brought.
func trialKey(k Key, digest string) string { return trialPrefix + k.hash() + "/" + digest }

// Trial reads the trial of the refresh token that g has; nil when there is none.
func (s Store) Trial(ctx context.Context, k Key, g *providers.Grant) (*Trial, error) {
	return get(ctx, s.storage, trialKey(k, digest(g.RefreshToken)), decodeTrial)
}

// PutTrial writes one.
func (s Store) PutTrial(ctx context.Context, k Key, t *Trial) error {
	return put(ctx, s.storage, trialKey(k, t.Digest), t, encodeTrial)
}

// DeleteTrial removes one; absent is fine.
func (s Store) DeleteTrial(ctx context.Context, k Key, t *Trial) error {
	return s.remove(ctx, trialKey(k, t.Digest))
}

// DeleteTrials removes all of a connection.
func (s Store) DeleteTrials(ctx context.Context, k Key) error {
	names, err := s.list(ctx, trialPrefix+k.hash()+"/")
	for _, name := range names {
		if err == nil {
			err = s.remove(ctx, trialKey(k, name))
		}
	}
	return err
}

// CountTrials counts the trials of a connection, and the connections that have some.
func (s Store) CountTrials(ctx context.Context, k Key) (own, connections int, err error) {
	names, err := s.list(ctx, trialPrefix+k.hash()+"/")
	if err != nil {
		return 0, 0, err
	}
	all, err := s.list(ctx, trialPrefix)
	return len(names), len(all), err
}

// EachTrial reads all trials there are. One that cannot be read is told as an error, and hides no other; one that is
// damaged is removed.
func (s Store) EachTrial(ctx context.Context, fn func(*Trial, error)) error {
	owners, err := s.list(ctx, trialPrefix)
	if err != nil {
		return err
	}
	for _, hash := range owners {
		prefix := trialPrefix + strings.TrimSuffix(hash, "/") + "/"
		names, err := s.list(ctx, prefix)
		if err != nil {
			return err
		}
		for _, name := range names {
			t, err := get(ctx, s.storage, prefix+name, decodeTrial)
			if Damaged(err) { // nobody can do anything with it
				err = errors.Join(err, s.remove(ctx, prefix+name))
			}
			if err != nil || t != nil {
				fn(t, err)
			}
		}
	}
	return nil
}
