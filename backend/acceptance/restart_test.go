package acceptance

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// household is a mount with a connection of each kind that matters to a restart.
type household struct {
	*engine
	long, short *service
	token       string         // the living one
	metadata    map[string]any // of all connections, by name
}

func newHousehold(t *testing.T, v *stack.Vault) *household {
	t.Helper()
	e := mountOn(t, v)
	h := &household{
		engine: e, long: e.newService(t, "long"), short: e.newService(t, "short", providertest.WithLifetime(2*time.Second)),
	}
	h.token = h.long.adopt(t, "living")
	h.short.adopt(t, "expired")
	e.write(t, "providers/openai", nil)
	e.write(t, "connections/key", key("sk-acceptance-0123456789abcdef"))
	h.metadata = h.all(t)
	h.expires(t, "expired", h.short.Alive)
	return h
}

func (h *household) all(t *testing.T) map[string]any {
	t.Helper()
	all := map[string]any{}
	for _, name := range []string{"living", "expired", "key"} {
		all[name] = h.read(t, "connections/"+name)
	}
	return all
}

// isWhole asserts that nothing was lost, and that nobody was asked for what is there.
func (h *household) isWhole(t *testing.T) {
	t.Helper()
	assert.Equal(t, h.metadata, h.all(t))
	assert.Equal(t, h.token, h.engine.token(t, "living"))
	assert.Equal(t, "sk-acceptance-0123456789abcdef", h.read(t, "creds/key")["api_key"])
	assert.Zero(t, h.long.Count("refresh"))
	assert.True(t, h.long.Alive(h.token))
}

// refreshes asserts that the expired token is replaced, by one request.
func (h *household) refreshes(t *testing.T) {
	t.Helper()
	asked := h.short.Count("refresh")
	assert.True(t, h.short.Alive(h.engine.token(t, "expired")))
	assert.Equal(t, asked+1, h.short.Count("refresh"))
	h.stands(t, "expired", "active", "")
	h.metadata = h.all(t)
	h.expires(t, "expired", h.short.Alive)
}

func TestVaultRestarted(t *testing.T) {
	t.Parallel()
	v, err := stack.StartVaultRaft(t.Context(), suite.tools, stack.VaultOptions{})
	require.NoError(t, err)
	t.Cleanup(v.Stop)
	h := newHousehold(t, v.Vault)

	t.Run("stopped and started", func(t *testing.T) {
		require.NoError(t, v.Restart(t.Context()))
		h.isWhole(t)
		h.refreshes(t)
	})
	t.Run("sealed and unsealed", func(t *testing.T) {
		require.NoError(t, v.Client.Sys().SealWithContext(t.Context()))
		require.NoError(t, v.Unseal(t.Context()))
		h.isWhole(t)
		h.refreshes(t)
	})
	t.Run("killed during a refresh", func(t *testing.T) {
		server := h.newOIDC(t, "idp", "basic", stack.OIDCOptions{RotateRefreshToken: "always"})
		h.connect(t, "account", "idp")
		former := h.engine.token(t, "account")
		h.ages(t, restless, "account")
		// No answer leaves before Vault is dead; its orphaned plugin may still get one, and can do nothing with it.
		require.NoError(t, server.Control(t.Context(), stack.OIDCControl{TokenDelayMS: 3_600_000, ReuseWindow: 60}))
		plugins, err := v.PluginPIDs()
		require.NoError(t, err)
		asked := meanwhile(func() {
			_, err := h.renew(t.Context(), "account")
			assert.Error(t, err)
		})
		received(t, server, 1)
		require.NoError(t, server.Control(t.Context(), stack.OIDCControl{ReuseWindow: 60}))

		v.Kill()
		within(t, asked, "the caller has an answer")
		require.Eventually(t, func() bool {
			orphans, err := v.Orphans()
			return err == nil && !slices.ContainsFunc(orphans, func(pid int) bool { return slices.Contains(plugins, pid) })
		}, time.Minute, 20*time.Millisecond, "the orphaned plugin lives on")
		refreshes(t, server, 1, 0)

		require.NoError(t, v.Restart(t.Context()))
		received(t, server, 2) // nobody has read it yet
		token := h.serves(t, "account", func(token string) bool { return token != former })
		assert.True(t, knows(t, server, token))
		h.stands(t, "account", "active", "")
		refreshes(t, server, 2, 1)
		h.isWhole(t)
		h.refreshes(t)
	})
}
