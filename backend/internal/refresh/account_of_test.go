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
	of := func(kind store.OwnerKind, account string, key map[string]providers.Secret) string {
		return AccountOf(store.Key{Owner: store.Owner{Kind: kind, ID: "o"}, Name: "n"}, &store.Connection{
			Credential: store.Credential{Account: store.Account{ID: account}, Key: key},
		})
	}
	assert.Equal(t, "7", of(store.Org, "7", nil))
	assert.Equal(t, "7", of(store.User, "7", nil))
	assert.Equal(t, "org/o/n", of(store.Org, "7", key))
	assert.Equal(t, "user/o", of(store.User, "7", key))
	assert.Equal(t, "user/o", AccountOf(store.Key{Owner: store.Owner{Kind: store.User, ID: "o"}, Name: "n"}, nil))
}
