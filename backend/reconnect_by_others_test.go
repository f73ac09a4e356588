package backend

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

const aliceSlack = "user/e-alice/slack"

// Somebody else with a policy may connect a private connection again for the account that it was of. What they set in
// motion stays its owner's.
func TestReconnectByOthers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.System.AddEntity("e-alice")
		f.connect(t, "self/slack", alice)
		f.Write("connections/self/slack", map[string]any{"label": "mine", "required_scopes": "read"}, alice).OK(t)
		f.System.AddEntity("e-bob")
		f.share(t, map[string]any{"entities": "e-bob"})
		before := f.Read("connections/self/slack", nil, alice).OK(t)
		token := f.Read("creds/self/slack", nil, alice).OK(t)["access_token"]
		f.connect(t, aliceSlack, bob)
		after := f.Read("connections/self/slack", nil, alice).OK(t)
		for _, field := range []string{
			"connection_id", "label", "private", "account", "required_scopes", "created_by_id", "inputs", "kind", "shared_with",
		} {
			assert.Equal(t, before[field], after[field], field)
		}
		assert.Equal(t, "e-bob", after["updated_by_id"])
		assert.NotEqual(t, token, f.Read("creds/self/slack", nil, alice).OK(t)["access_token"])
		f.Read("creds/"+aliceSlack, nil, bob).Refused(t, http.StatusForbidden, "private")
		f.Write("connections/self/slack", map[string]any{"private": false}, alice).OK(t)
	})
}

// Of another account they get nothing, whatever they say, and the grant is ended.
func TestReconnectByOthersOfAnotherAccount(t *testing.T) {
	for name, answer := range map[string]string{"another": `{"sub":"mallory"}`, "nobody's": `{}`} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.connect(t, "self/slack", alice)
				token := f.Read("creds/self/slack", nil, alice).OK(t)["access_token"]
				for _, data := range []map[string]any{{}, {"allow_account_change": true}} {
					f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, answer))
					r := f.Write("exchange", with(f.own(t, aliceSlack, nil, bob), data), bob)
					r.Refused(t, http.StatusConflict, "for the account that it was of")
				}
				assert.Equal(t, token, f.Read("creds/self/slack", nil, alice).OK(t)["access_token"])
			})
		})
	}
}

// They change nothing beside, and where nobody knows whose account it is, they do not connect at all.
func TestReconnectByOthersRefuses(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "self/slack", alice)
		f.key(t, "self/key", alice)
		for field, value := range map[string]any{
			"scopes": "read", "optional_scopes": "read", "required_scopes": "read", "inputs": map[string]any{"a": "b"},
			"private": false,
		} {
			f.Write("auth-code-url/"+aliceSlack, map[string]any{field: value}, bob).Refused(t, http.StatusForbidden, field)
		}
		f.Write("auth-code-url/user/e-alice/key", nil, bob).Refused(t, http.StatusForbidden, "never learned")
		f.Write("connections/"+aliceSlack, map[string]any{"refresh_token": "x"}, bob).Refused(t, http.StatusForbidden)

		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{}`))
		f.connect(t, "self/unknown", alice)
		f.Write("auth-code-url/user/e-alice/unknown", nil, testenv.Root).Refused(t, http.StatusForbidden, "never learned")
		f.Write("providers/acme", map[string]any{
			"client_id": "another", "client_secret": providertest.ClientSecret,
		}).OK(t)
		f.Write("auth-code-url/"+aliceSlack, nil, bob).Refused(t, http.StatusForbidden, "changed since")
	})
}

// A flow that somebody began before the connection was private ends with nothing.
func TestReconnectByOthersThatBeganEarlier(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "self/slack", alice)
		f.Write("connections/self/slack", map[string]any{"private": false}, alice).OK(t)
		consented := f.own(t, aliceSlack, map[string]any{"required_scopes": "write"}, bob)
		f.Write("connections/self/slack", map[string]any{"private": true}, alice).OK(t)
		f.Write("exchange", consented, bob).Refused(t, http.StatusConflict, "private")
	})
}

// What somebody else put in is not what its owner brought: that their account was the same does not make it so.
func TestReconnectByOthersIsNotTheOwners(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "self/slack", alice)
		k := mustKey(t, aliceSlack)
		before, err := store.New(f.Storage).Connection(t.Context(), k)
		require.NoError(t, err)
		f.connect(t, aliceSlack, bob)
		after, err := store.New(f.Storage).Connection(t.Context(), k)
		require.NoError(t, err)
		assert.Equal(t, "e-alice", before.AdoptedBy)
		assert.Equal(t, []any{before.AdoptedBy, before.Closed, before.SetBy},
			[]any{after.AdoptedBy, after.Closed, after.SetBy})
	})
}

// A provider that was changed between the start of the flow and its end may name another by the same id.
func TestReconnectByOthersWhileTheProviderChanges(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "self/slack", alice)
		token := f.Read("creds/self/slack", nil, alice).OK(t)["access_token"]
		consented := f.own(t, aliceSlack, nil, bob)
		k := mustKey(t, aliceSlack)
		conn, err := store.New(f.Storage).Connection(t.Context(), k)
		require.NoError(t, err)
		conn.Account.Pinned = "of another provider"
		require.NoError(t, store.New(f.Storage).PutConnection(t.Context(), k, conn))
		f.restart(t)
		f.Write("exchange", consented, bob).Refused(t, http.StatusConflict, "for no other")
		assert.Equal(t, token, f.Read("creds/self/slack", nil, alice).OK(t)["access_token"])
	})
}

// Its owner connects it as they like.
func TestReconnectByTheOwner(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "self/slack", alice)
		f.Write("exchange", f.own(t, "self/slack", map[string]any{"required_scopes": "write"}, alice), alice).OK(t)
		view := f.Read("connections/self/slack", nil, alice).OK(t)
		assert.Equal(t, []string{"write"}, texts(t, view["required_scopes"]))
	})
}

// Only a person's consent is given again by others: a key is its owner's, also where whose account it opens is known.
func TestWhatOthersRestore(t *testing.T) {
	k, known := store.Key{Owner: store.Owner{User: "e-alice"}, Name: "slack"}, store.Account{ID: "account-1"}
	for name, c := range map[string]struct {
		conn store.Connection
		may  bool
	}{
		"a grant": {store.Connection{Credential: store.Credential{
			Kind: providers.KindAuthorizationCode, Grant: &providers.Grant{}, Account: known,
		}}, true},
		"a grant that is gone": {store.Connection{Credential: store.Credential{
			Kind: providers.KindAuthorizationCode, Account: known,
		}}, true},
		"a grant of nobody known": {store.Connection{Credential: store.Credential{
			Kind: providers.KindAuthorizationCode, Grant: &providers.Grant{},
		}}, false},
		"a key": {store.Connection{Credential: store.Credential{
			Kind: providers.KindAPIKey, Account: known, Key: map[string]providers.Secret{"api_key": providers.NewSecret("k")},
		}}, false},
		"a key that was erased": {store.Connection{Credential: store.Credential{
			Kind: providers.KindAPIKey, Account: known,
		}}, false},
	} {
		c.conn.Private = true
		assert.Equal(t, c.may, caller{entity: "e-bob"}.may(restoring, k, &c.conn) == nil, name)
		require.NoError(t, caller{entity: "e-alice"}.may(restoring, k, &c.conn), name)
		require.Error(t, caller{entity: "e-bob"}.may(using, k, &c.conn), name)
	}
}
