package store

import (
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

func TestTrialIsForInputs(t *testing.T) {
	shop := map[string]string{"shop": "mine"}
	trial := &Trial{Pinned: "p", Inputs: shop}
	assert.True(t, trial.For("p", map[string]string{"shop": "mine"}))
	assert.False(t, trial.For("q", shop))
	for _, other := range []map[string]string{nil, {"shop": "other"}, {"host": "mine"}, {"shop": "mine", "host": "h"}} {
		assert.False(t, trial.For("p", other), other)
	}
	assert.True(t, (&Trial{Pinned: "p"}).For("p", map[string]string{}))
}

func TestEachTrial(t *testing.T) {
	storage := &logical.InmemStorage{}
	s, k := New(storage), Key{Owner: Owner{Org: "default"}, Name: "x"}
	for _, token := range []string{"a", "b"} {
		g := &providers.Grant{RefreshToken: providers.NewSecret(token)}
		require.NoError(t, s.PutTrial(t.Context(), k, TrialOf(k, g)))
	}
	require.NoError(t, storage.Put(t.Context(), &logical.StorageEntry{Key: trialKey(k, "damaged"), Value: []byte("{")}))
	read, damaged := 0, 0
	require.NoError(t, s.EachTrial(t.Context(), func(trial *Trial, err error) {
		switch {
		case err == nil:
			assert.Equal(t, k.String(), trial.Key)
			read++
		case Damaged(err):
			damaged++
		}
	}))
	assert.Equal(t, 2, read)
	assert.Equal(t, 1, damaged, "it is told of, and hides no other")
	require.NoError(t, s.DeleteTrials(t.Context(), k))
	require.NoError(t, s.EachTrial(t.Context(), func(*Trial, error) { assert.Fail(t, "all are gone") }))
	storage.Underlying().FailList(true)
	require.Error(t, s.EachTrial(t.Context(), func(*Trial, error) { assert.Fail(t, "there is no list") }))
	require.Error(t, s.DeleteTrials(t.Context(), k))
}
