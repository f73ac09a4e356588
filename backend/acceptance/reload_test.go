package acceptance

import (
	"context"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// Two mounts live in one process, which a reload replaces for both. Only the mount that is named hears of it, so it
// has to wait for the other's refreshes too, also for those that no request waits for any more.
func TestReloadDuringRefresh(t *testing.T) {
	t.Parallel()
	v := ownVault(t)
	for how, input := range map[string]*api.ReloadPluginInput{
		"by plugin":          {Plugin: stack.PluginName},
		"by the other mount": {Mounts: []string{"other/"}},
	} {
		t.Run(how, func(t *testing.T) {
			e, other := mountOn(t, v), mountAt(t, v, "other")
			s, bystander := e.newService(t, "service"), other.newService(t, "service")
			bystanding := bystander.adopt(t, "account")
			former := map[string]string{"stays": s.adopt(t, "stays"), "left": s.adopt(t, "left")}
			e.ages(t, restless, "stays", "left")
			before, err := v.PluginPIDs()
			require.NoError(t, err)

			// Of two callers one stays, the other does not.
			ctx, hangUp := context.WithCancel(t.Context())
			kept := map[string]*answer{}
			ended := map[string]<-chan struct{}{}
			var renewed *api.Secret
			for _, name := range []string{"stays", "left"} {
				a, behavior := late()
				s.Next("refresh", behavior)
				kept[name] = a
				ended[name] = meanwhile(func() {
					if name == "left" {
						_, err := e.renew(ctx, name)
						assert.ErrorIs(t, err, context.Canceled)
						return
					}
					var err error
					renewed, err = e.renew(t.Context(), name)
					assert.NoError(t, err)
				})
				within(t, a.made, "the refresh token of "+name+" is spent")
			}
			hangUp()
			within(t, ended["left"], "its caller is gone")

			reloaded := meanwhile(func() {
				_, err := v.Client.Sys().ReloadPluginWithContext(t.Context(), input)
				assert.NoError(t, err)
			})
			waits := func(whom string) {
				t.Helper()
				require.Never(t, func() bool {
					select {
					case <-reloaded:
						return true
					default:
						return false
					}
				}, 300*time.Millisecond, 20*time.Millisecond, "the reload does not wait for %s", whom)
			}
			waits("either caller")
			close(kept["stays"].sent)
			within(t, ended["stays"], "its caller has an answer")
			waits("the caller who left")
			close(kept["left"].sent)
			within(t, reloaded, "the plugin is reloaded")

			for name, old := range former {
				token := e.token(t, name)
				assert.NotEqual(t, old, token)
				assert.True(t, s.Alive(token))
				e.stands(t, name, "active", "")
			}
			assert.Equal(t, e.read(t, "connections/stays")["last_rotation"], renewed.Data["last_rotation"])
			assert.Equal(t, 2, s.Count("refresh"))
			assert.Equal(t, bystanding, other.token(t, "account"))
			assert.Zero(t, bystander.Count("refresh"))
			after, err := v.PluginPIDs()
			require.NoError(t, err)
			assert.NotEqual(t, before, after, "the process was not replaced")
		})
	}
}

// A mount that is disabled is about to lose all that it has: nothing of it is waited for. The locks that its end takes
// are those of every mount of the process.
func TestDisableDuringRefresh(t *testing.T) {
	t.Parallel()
	v := ownVault(t)
	bystander, removed := mountOn(t, v), mountAt(t, v, "removed")
	bystander.write(t, "providers/openai", nil)
	bystander.write(t, "connections/openai", key(apiKey))
	s := removed.newService(t, "service", providertest.WithLifetime(replaceable))
	s.adopt(t, "account")
	removed.ages(t, restless, "account")
	for range 3 { // whoever asks again
		s.Next("refresh", providertest.Hang())
	}
	caller, hangUp := context.WithCancel(t.Context())
	gone := meanwhile(func() { _, _ = removed.renew(caller, "account") })
	require.Eventually(t, func() bool { return s.Count("refresh") > 0 }, patience, 20*time.Millisecond)
	hangUp()
	within(t, gone, "the caller is gone")

	begun := time.Now()
	disabled := meanwhile(func() { assert.NoError(t, v.Client.Sys().UnmountWithContext(t.Context(), removed.path)) })
	var slowest time.Duration
	for ended := false; !ended; {
		select {
		case <-disabled:
			ended = true
		default:
		}
		asked := time.Now()
		assert.Equal(t, apiKey, bystander.read(t, "creds/openai")["api_key"])
		slowest = max(slowest, time.Since(asked))
	}
	assert.Less(t, time.Since(begun), 5*time.Second, "the end of the mount")
	assert.Less(t, slowest, 3*time.Second, "a read of another mount meanwhile")
}

// mountAt is mountOn for a test that has several mounts.
func mountAt(t *testing.T, v *stack.Vault, path string) *engine {
	t.Helper()
	require.NoError(t, v.Mount(t.Context(), path))
	t.Cleanup(func() { _ = v.Client.Sys().UnmountWithContext(context.Background(), path) })
	e := &engine{vault: v, path: path}
	e.write(t, "config", map[string]any{"public_url": e.url(), "egress_allow": "127.0.0.1"})
	return e
}
