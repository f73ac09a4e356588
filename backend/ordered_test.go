package backend

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// Keys stand in one order: an organization's own, its members', and last those of who stands for themselves.
func TestOrdered(t *testing.T) {
	var want []store.Key
	for _, path := range []string{
		"org/a/z", "org/a/user/u/a", "org/a/user/u/b", "org/a/user/v/a", "org/a-b/a", "org/b/a", "org/b/user/u/a", "user/a/b",
		"user/a/c", "user/b/a", "user/org/a",
	} {
		k, err := store.ParseKey(path)
		require.NoError(t, err)
		want = append(want, k)
	}
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 0))
		o, shuffled := newOrdered(), slices.Clone(want)
		random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		for _, k := range shuffled {
			require.Nil(t, o.get(k))
			assert.Same(t, o.add(k), o.get(k))
		}
		var got []store.Key
		o.each(func(k store.Key, r *record) {
			assert.Equal(t, k, r.key())
			got = append(got, k)
		})
		assert.Equal(t, want, got)
		n := random.IntN(len(want))
		got = nil
		o.from(want[n], func(r *record) bool {
			got = append(got, r.key())
			return len(got) < 3
		})
		assert.Equal(t, want[n:min(n+3, len(want))], got)
		o.drop(want[n])
		assert.Nil(t, o.get(want[n]))
	}
}
