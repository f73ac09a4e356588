package refresh

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// A key counts by its owner: the host that tells whose it is may be anybody's.
func TestAccountOf(t *testing.T) {
	key := map[string]providers.Secret{"api_key": providers.NewSecret("x")}
	org, person := store.Owner{Org: "o"}, store.Owner{User: "o"}
	of := func(owner store.Owner, account string, key map[string]providers.Secret) string {
		return AccountOf(store.Key{Owner: owner, Name: "n"}, &store.Connection{
			Credential: store.Credential{Account: store.Account{ID: account}, Key: key},
		})
	}
	assert.Equal(t, "7", of(org, "7", nil))
	assert.Equal(t, "7", of(person, "7", nil))
	assert.Equal(t, "org/o/n", of(org, "7", key))
	assert.Equal(t, "user/o", of(person, "7", key))
	assert.Equal(t, "user/o", AccountOf(store.Key{Owner: person, Name: "n"}, nil))
}
