package store

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

// No entry is written that is larger than an entry may be, and storage is not asked.
func TestEntryThatIsTooLarge(t *testing.T) {
	large := strings.Repeat("planted ", MaxEntry/8)
	for noun, write := range map[string]func(context.Context, Store) error{
		"config":   func(ctx context.Context, s Store) error { return s.PutConfig(ctx, &Config{ProxyURL: large}) },
		"provider": func(ctx context.Context, s Store) error { return s.PutProvider(ctx, "a", &Provider{CAPEM: large}) },
		"connection": func(ctx context.Context, s Store) error {
			return s.PutConnection(ctx, slack, &Connection{Label: large})
		},
		"flow":   func(ctx context.Context, s Store) error { return s.PutFlow(ctx, &Flow{ID: "id", Nonce: large}) },
		"intent": func(ctx context.Context, s Store) error { return s.PutIntent(ctx, slack, &Intent{Key: large}) },
	} {
		t.Run(noun, func(t *testing.T) {
			storage := &testenv.Storage{}
			err := write(t.Context(), New(storage))
			require.True(t, TooLarge(err), "%v", err)
			assert.ErrorContains(t, err, "the "+noun+" would take ")
			assert.NotContains(t, err.Error(), "planted")
			assert.Empty(t, storage.History())
			assert.False(t, Unusable(err))
			assert.False(t, IsReadOnly(err))
		})
	}
	assert.False(t, TooLarge(nil))
	assert.False(t, TooLarge(testenv.ErrStorage))
	s := New(&testenv.Storage{})
	assert.NoError(t, s.PutConnection(t.Context(), slack, &Connection{Label: large[:MaxEntry-1024]}))
}

// A connection that an earlier release stored larger goes on: its next token must not be lost.
func TestConnectionOfAnEarlierReleaseThatIsTooLarge(t *testing.T) {
	for _, version := range []string{`{"version":1,"status":"active"`, `{"version":2`} {
		entry := version + `,"provider":"acme","label":"` + strings.Repeat("l", MaxEntry) + `"}`
		s := New(holding(t, slack.storage(), []byte(entry)))
		c, err := s.Connection(t.Context(), slack)
		require.NoError(t, err)
		next := c.Clone()
		next.Generation++
		require.NoError(t, s.PutConnection(t.Context(), slack, next))
		again, err := s.Connection(t.Context(), slack)
		require.NoError(t, err)
		assert.Equal(t, c.Generation+1, again.Generation)

		again.Label = ""
		require.NoError(t, s.PutConnection(t.Context(), slack, again))
		small, err := s.Connection(t.Context(), slack)
		require.NoError(t, err)
		small.Label = strings.Repeat("l", MaxEntry)
		assert.True(t, TooLarge(s.PutConnection(t.Context(), slack, small)), "once it is small it stays so")
	}
}
