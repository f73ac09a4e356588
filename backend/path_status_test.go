package backend

import (
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

func TestStatus(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		empty := f.Read("status", nil).OK(t)
		assert.InDelta(t, 0, number(empty["connections"]), 0)
		assert.Equal(t, Version, empty["version"])
		assert.Equal(t, true, empty["writable"])

		f.connect(t, "one")
		f.connect(t, "user/u1/two")
		f.key(t, "key")
		f.Write("connections/key", map[string]any{"disabled": true}).OK(t)
		f.start(t, "three", nil)
		denied := f.start(t, "four", nil)
		f.callback(t, "acme", map[string]string{
			"state": query(t, denied["url"].(string), "state"),
			"error": "access_denied",
		})
		check := func() {
			t.Helper()
			status := f.Read("status", nil).OK(t)
			for field, want := range map[string]float64{"connections": 3, "providers": 2, "open_flows": 1, "unsaved": 0} {
				assert.InDelta(t, want, number(status[field]), 0, field)
			}
			assert.Equal(t, map[string]any{"active": 2.0, "disabled": 1.0}, members(t, status["by_status"]))
			assert.Equal(t, map[string]any{"acme": 2.0, "openai": 1.0}, members(t, status["by_provider"]))
		}
		check()
		f.restart(t)
		check()

		f.Write("providers/acme", map[string]any{"client_id": "another"}).OK(t)
		f.Write("config", map[string]any{"refresh_paused": true}).OK(t)
		f.Advance(10 * time.Minute)
		f.Delete("connections/key", nil).OK(t)
		status := f.Read("status", nil).OK(t)
		assert.Equal(t, map[string]any{"needs_reconnect": 2.0}, members(t, status["by_status"]))
		assert.InDelta(t, 0, number(status["open_flows"]), 0)
		assert.Equal(t, true, status["refresh_paused"])
	})
}

// Whether a provider that cannot be decoded has changed, nobody can tell.
func TestStatusBesideADamagedProvider(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.key(t, "key")
		require.NoError(t, f.Storage.Put(t.Context(), &logical.StorageEntry{
			Key: "provider/acme", Value: []byte(`{"version":9}`),
		}))
		f.restart(t)
		status := f.Read("status", nil).OK(t)
		for field, want := range map[string]float64{"connections": 2, "providers": 2, "unreadable": 1} {
			assert.InDelta(t, want, number(status[field]), 0, field)
		}
		assert.Equal(t, map[string]any{"active": 2.0}, members(t, status["by_status"]))
		list := f.List("providers/").OK(t)
		assert.Equal(t, []string{"acme", "openai"}, texts(t, list["keys"]))
		assert.Equal(t, map[string]any{"openai": map[string]any{"definition": "openai"}}, list["key_info"])
		list = f.List("connections/").OK(t)
		assert.Equal(t, []string{"key", "org/", "slack"}, texts(t, list["keys"]))
		assert.Len(t, members(t, list["key_info"]), 1)

		require.NoError(t, f.Storage.Put(t.Context(), &logical.StorageEntry{Key: "config", Value: []byte("{")}))
		f.restart(t)
		f.Read("status", nil).Refused(t, http.StatusInternalServerError, "damaged")
	})
}

func TestStatusTellsOfWhatIsUnsaved(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Advance(time.Hour)
		refuseConnections(f.Storage)
		r := f.Read("creds/slack", nil)
		assert.True(t, f.provider.Alive(r.OK(t)["access_token"].(string)), "served from memory")
		assert.NotEmpty(t, r.Warnings)
		assert.InDelta(t, 1, number(f.Read("status", nil).OK(t)["unsaved"]), 0)
		assert.Equal(t, r.Data["access_token"], f.Read("creds/slack", nil).OK(t)["access_token"])
		f.Storage.Judge(nil)
		f.saved(t)
		f.restart(t)
		assert.Equal(t, r.Data["access_token"], f.Read("creds/slack", nil).OK(t)["access_token"])
	})
}

// A mount that was moved has other callback URLs than those that stand at the services.
func TestMovedCallbacks(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		moved := func(r *logical.Request) { r.MountPoint = "accounts/" }
		told := func(as ...testenv.Caller) []string {
			t.Helper()
			return texts(t, f.Read("status", nil, as...).OK(t)["moved_callbacks"])
		}
		flow := func(name string, own bool) []string {
			t.Helper()
			asked := map[string]any{"provider": "acme"}
			if own {
				asked["redirect_uri"] = appRedirect
			}
			started := f.Write("auth-code-url/"+name, asked, moved)
			started.OK(t)
			return started.Warnings
		}
		f.Write("providers/openai", nil).OK(t)
		assert.Empty(t, told())
		f.Write("providers/another", f.acme()).OK(t)
		assert.Equal(t, []string{"acme", "another"}, told(moved), "nobody is sent back for a key")
		warnings := flow("one", false)
		require.Len(t, warnings, 1)
		assert.Contains(t, warnings[0], "https://vault.example.com/v1/accounts/callback/acme now, and was https://")
		assert.Empty(t, flow("two", true), "the application's own redirect URI does not change")

		f.Write("providers/acme", nil, moved).OK(t)
		assert.Equal(t, []string{"another"}, told(moved))
		assert.Empty(t, flow("three", false))
		f.Write("config", map[string]any{"public_url": ""}).OK(t)
		assert.Empty(t, told(moved), "nobody knows any")
	})
}
