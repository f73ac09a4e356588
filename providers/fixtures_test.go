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

// fixtureFiles are where the fixtures stand. FIXTURES names another directory, for those that are being written.
func fixtureFiles() fs.FS {
	if dir := os.Getenv("FIXTURES"); dir != "" {
		return os.DirFS(dir)
	}
	return os.DirFS("providertest/testdata")
}

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

// missing are the kinds that have no fixture yet.
var missing = []string{
	"github/authorization_code",
	"github_enterprise/authorization_code",
	"google/authorization_code",
	"http_basic/basic",
	"http_header/api_key",
	"oauth2/authorization_code",
	"oauth2/client_credentials",
	"oidc/authorization_code",
	"oidc/client_credentials",
	"openai/api_key",
	"sendgrid/api_key",
	"slack/authorization_code",
	"slackbot/authorization_code",
}

// Each kind of each definition has a fixture, and no fixture stands for what does not exist.
func TestEveryKindHasAFixture(t *testing.T) {
	catalog, err := providers.Builtin()
	require.NoError(t, err)
	fixtures, err := providertest.ReadFixtures(fixtureFiles())
	require.NoError(t, err)
	written := map[string]bool{}
	for _, f := range fixtures {
		written[f.Name] = true
		def, known := catalog.Get(f.ID)
		assert.True(t, known && slices.Contains(def.Kinds, f.Kind), "%s: the catalogue has no such kind", f.Name)
	}
	for _, id := range catalog.IDs() {
		def, _ := catalog.Get(id)
		for _, kind := range def.Kinds {
			name := id + "/" + string(kind)
			switch {
			case !written[name]:
				assert.Contains(t, missing, name, "write providertest/testdata/%s.txtar", name)
			default:
				assert.NotContains(t, missing, name, "it is written: take it off the list")
			}
		}
	}
}
