package store

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

func TestSetClientSecret(t *testing.T) {
	p := &Provider{}
	for _, c := range []struct{ written, secret, former string }{
		{"one", "one", ""}, {"two", "two", "one"}, {"three", "three", "two"}, {"three", "three", ""}, {
			"four", "four", "three",
		}, {"", "", ""}, {"", "", ""},
	} {
		p.SetClientSecret(providers.NewSecret(c.written))
		assert.Equal(t, c.secret, p.ClientSecret.Reveal())
		assert.Equal(t, c.former, p.FormerSecret.Reveal())
	}
}

func TestClearSecrets(t *testing.T) {
	p := &Provider{
		ClientID: "id", ClientSecret: providers.NewSecret("a"), FormerSecret: providers.NewSecret("b"),
		Keys: map[string]providers.Secret{"k": providers.NewSecret("c")},
	}
	p.ClearSecrets()
	assert.Equal(t, &Provider{ClientID: "id", SecretsCleared: true}, p)
	p.SetClientSecret(providers.Secret{})
	assert.False(t, p.SecretsCleared, "the operator says that there is none")
}
