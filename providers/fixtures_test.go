package providers_test

import (
	"io/fs"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// fixtureFiles are where the fixtures stand.
func fixtureFiles() fs.FS { return os.DirFS("providertest/testdata") }

// Every definition does what its fixtures, written from the service's documentation, say.
func TestFixtures(t *testing.T) {
	catalog, err := providers.Builtin()
	require.NoError(t, err)
	fixtures, err := providertest.ReadFixtures(fixtureFiles())
	require.NoError(t, err)
	for _, f := range fixtures {
		def, known := catalog.Get(f.ID)
		if !known {
			continue // TestEveryKindHasAFixture holds the other direction
		}
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			for _, difference := range f.Play(def) {
				t.Error(difference)
			}
		})
	}
}

// Each kind of each definition has a fixture, and no fixture stands for what does not exist. The day on which they were
// found to agree is told.
func TestEveryKindHasAFixture(t *testing.T) {
	catalog, err := providers.Builtin()
	require.NoError(t, err)
	fixtures, err := providertest.ReadFixtures(fixtureFiles())
	require.NoError(t, err)
	written := map[string]bool{}
	for _, f := range fixtures {
		written[f.Name] = true // that of a further case stands for itself alone
		def, known := catalog.Get(f.ID)
		assert.True(t, known && slices.Contains(def.Kinds, f.Kind), "%s: the catalogue has no such kind", f.Name)
	}
	for _, id := range catalog.IDs() {
		def, _ := catalog.Get(id)
		for _, kind := range def.Kinds {
			assert.True(t, written[id+"/"+string(kind)], "write providertest/testdata/%s/%s.txtar", id, kind)
		}
		assert.NotEmpty(t, def.Checked, "%s: write the day on which its fixtures were found to agree", id)
	}
}
