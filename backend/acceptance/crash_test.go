package acceptance

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// killPlugin ends a Vault's plugin without warning. Vault starts another as soon as it is asked for something, and may
// send it again what was under way.
func killPlugin(t *testing.T, v *stack.Vault) {
	t.Helper()
	killed, err := v.PluginPIDs()
	require.NoError(t, err)
	require.NotEmpty(t, killed)
	for _, pid := range killed {
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	require.Eventually(t, func() bool {
		running, err := v.PluginPIDs()
		return err == nil && !slices.ContainsFunc(running, func(pid int) bool { return slices.Contains(killed, pid) })
	}, patience, 20*time.Millisecond)
}

// An intent is stored before each refresh token is spent, so the next process knows of all fifty what may be lost, and
// tries each once more, at once.
func TestPluginKilledDuringRefreshes(t *testing.T) {
	t.Parallel()
	const crowd, apps = 50, 13 // one person's demands come to one provider four at a time
	v := ownVault(t)
	for name, c := range map[string]struct {
		reuseWindow    int // seconds
		status, reason string
		good           bool // whether the tokens work afterwards
		answered       int
	}{
		"with a reuse window":    {60, "active", "", true, crowd},
		"without a reuse window": {0, "needs_reconnect", "refresh_outcome_unknown", false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			e := mountOn(t, v)
			names := make([]string, apps)
			redirects := make([]string, apps)
			for i := range names {
				names[i] = fmt.Sprintf("idp%d", i)
				redirects[i] = e.callback(names[i])
			}
			server := e.newOIDC(t, names[0], "basic", stack.OIDCOptions{
				RotateRefreshToken: "always", RedirectURIs: redirects[1:],
			})
			app := e.read(t, "providers/"+names[0])
			for _, name := range names[1:] {
				e.write(t, "providers/"+name, map[string]any{
					"definition": app["definition"], "client_id": app["client_id"], "issuer": app["issuer"],
					"client_secret": appSecret,
					"client_auth":   app["client_auth"], "scopes": app["scopes"],
					"authorize_params": map[string]string{"prompt": "consent"}, // a read shows its mask
				})
			}
			former := make([]string, crowd)
			for i := range former {
				e.connect(t, fmt.Sprintf("account%d", i), names[i%apps])
				former[i] = e.token(t, fmt.Sprintf("account%d", i))
			}
			for i := range former {
				e.ages(t, restless, fmt.Sprintf("account%d", i))
			}
			// No answer leaves before the plugin is dead.
			held := stack.OIDCControl{TokenDelayMS: 3_600_000, ReuseWindow: c.reuseWindow}
			require.NoError(t, server.Control(t.Context(), held))
			// Of the callers that stay Vault sends the request again, and what they are told depends on when. Of the
			// others nothing is left but the intent.
			leaving, hangUp := context.WithCancel(t.Context())
			var callers sync.WaitGroup
			for i := range crowd {
				ctx := t.Context()
				if i%2 == 0 {
					ctx = leaving
				}
				callers.Go(func() { _, _ = e.renew(ctx, fmt.Sprintf("account%d", i)) })
			}
			received(t, server, crowd)
			hangUp()
			require.NoError(t, server.Control(t.Context(), stack.OIDCControl{ReuseWindow: c.reuseWindow}))
			killPlugin(t, v)
			callers.Wait()

			for i, old := range former {
				name := fmt.Sprintf("account%d", i)
				token := e.token(t, name) // the first starts the plugin
				received(t, server, 2*crowd)
				if c.good {
					token = e.serves(t, name, func(token string) bool { return token != old })
				}
				assert.Equal(t, c.good, knows(t, server, token))
				require.Eventually(t, func() bool {
					return e.read(t, "connections/"+name)["status"] == c.status
				}, patience, 20*time.Millisecond)
				e.stands(t, name, c.status, c.reason)
			}
			for i := range former {
				_, _, _ = e.insist(t.Context(), fmt.Sprintf("account%d", i), time.Hour) // nobody is asked again
			}
			refreshes(t, server, 2*crowd, c.answered)
		})
	}
}

func TestPluginKilledDuringExchange(t *testing.T) {
	t.Parallel()
	v := ownVault(t)
	e := mountOn(t, v)
	s := e.newService(t, "service")
	request := s.consent(t, "account")
	kept, behavior := late()
	s.Next("token", behavior)
	const words = "exchange_outcome_unknown"

	asked := meanwhile(func() { e.refusesWrite(t, http.StatusConflict, words, "exchange", request) })
	within(t, kept.made, "the code is spent")
	killPlugin(t, v)
	within(t, asked, "the caller has an answer")
	for range 2 {
		e.refusesWrite(t, http.StatusConflict, words, "exchange", request)
	}
	e.refusesRead(t, http.StatusBadRequest, "no connection", "creds/account")
	assert.Equal(t, 1, s.Count("token"))

	assert.True(t, s.Alive(s.adopt(t, "account")), "a flow of its own connects the account")
	assert.Equal(t, 2, s.Count("token"))
}

// An import is recorded before its refresh token is spent, and so is what it brought. The next process carries on with
// it by itself: whoever sent it has left.
func TestPluginKilledDuringImport(t *testing.T) {
	t.Parallel()
	v := newFragile(t)
	for name, c := range map[string]struct {
		options []providertest.Option
		step    providers.Step // whose answer is held back while the plugin is killed; none: storage holds it up
		asked   int            // how often the refresh token is spent
		lost    bool
	}{
		"before the connection is written": {asked: 1},
		"before it is known whose it is":   {step: "identity", asked: 1},
		"before the answer, and the token is taken again": {
			options: []providertest.Option{providertest.WithReusableRefreshTokens()}, step: "refresh", asked: 2,
		},
		"before the answer, and the token is not taken again": {step: "refresh", asked: 2, lost: true},
	} {
		t.Run(name, func(t *testing.T) {
			e := mountOn(t, v.Vault)
			s := e.newService(t, "service", c.options...)
			request := map[string]any{"provider": "service", "refresh_token": s.elsewhere(t), "label": "imported"}
			var first string // token that was served before
			if c.step == "" {
				lift := v.refuse(t, e, connectionsFolder)
				answer, err := e.vault.Client.Logical().WriteWithContext(t.Context(), e.path+"/connections/account", request)
				require.NoError(t, err)
				require.Len(t, answer.Warnings, 1)
				require.Contains(t, answer.Warnings[0], "storage refused")
				first = e.token(t, "account")
				killPlugin(t, v.Vault)
				lift() // nobody has asked for anything meanwhile, so no process has begun
			} else {
				kept, behavior := late()
				s.Next(c.step, behavior)
				ctx, hangUp := context.WithCancel(t.Context())
				left := meanwhile(func() {
					_, err := e.vault.Client.Logical().WriteWithContext(ctx, e.path+"/connections/account", request)
					assert.ErrorIs(t, err, context.Canceled)
				})
				within(t, kept.made, "the provider has done what it was asked")
				hangUp()
				within(t, left, "the caller is gone")
				killPlugin(t, v.Vault)
			}
			require.Equal(t, 1, s.Count("refresh"))

			if c.lost {
				e.absent(t, "connections/account") // which starts the plugin
				require.Eventually(t, func() bool { return s.Count("refresh") == c.asked }, patience, 20*time.Millisecond)
				e.refusesWrite(t, http.StatusConflict, "refuse", "connections/account", request)
				e.absent(t, "connections/account")
				assert.Equal(t, c.asked+1, s.Count("refresh"), "who sends it again has it tried again")
				return
			}
			require.Eventually(t, func() bool {
				answer, err := e.vault.Client.Logical().ReadWithContext(t.Context(), e.path+"/connections/account")
				return err == nil && answer != nil
			}, patience, 20*time.Millisecond, "the import is not finished")
			token := e.token(t, "account")
			assert.True(t, s.Alive(token))
			if first != "" {
				assert.Equal(t, first, token)
			}
			e.stands(t, "account", "active", "")
			metadata := e.read(t, "connections/account")
			assert.Equal(t, "imported", metadata["label"])
			assert.Equal(t, providertest.AccountID, metadata["account"].(map[string]any)["id"])
			for range 2 {
				assert.Equal(t, "active", e.write(t, "connections/account", request)["status"])
			}
			assert.Equal(t, token, e.token(t, "account"))
			assert.Equal(t, c.asked, s.Count("refresh"), "nothing is spent for what was imported already")
		})
	}
}
