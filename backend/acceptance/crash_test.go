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
	const crowd = 50
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
			server := e.newOIDC(t, "idp0", "basic", stack.OIDCOptions{RotateRefreshToken: "always", RedirectURIs: []string{
				e.callback("idp1"), e.callback("idp2"), e.callback("idp3"), e.callback("idp4"),
			}})
			// One provider would be asked for a dozen at once.
			app := e.read(t, "providers/idp0")
			for i := range 4 {
				e.write(t, fmt.Sprintf("providers/idp%d", i+1), map[string]any{
					"definition": app["definition"], "client_id": app["client_id"], "issuer": app["issuer"],
					"client_secret": appSecret,
					"client_auth":   app["client_auth"], "scopes": app["scopes"], "authorize_params": app["authorize_params"],
				})
			}
			former := make([]string, crowd)
			for i := range former {
				e.connect(t, fmt.Sprintf("account%d", i), fmt.Sprintf("idp%d", i%5))
				former[i] = e.token(t, fmt.Sprintf("account%d", i))
			}
			// No answer leaves before the plugin is dead.
			held := stack.OIDCControl{TokenDelayMS: 3_600_000, ReuseWindow: c.reuseWindow}
			require.NoError(t, server.Control(t.Context(), held))
			// Of the readers that stay Vault sends the request again, and what they are told depends on when. Of the others
			// nothing is left but the intent.
			leaving, hangUp := context.WithCancel(t.Context())
			var readers sync.WaitGroup
			for i := range crowd {
				ctx := t.Context()
				if i%2 == 0 {
					ctx = leaving
				}
				readers.Go(func() { _, _, _ = e.renew(ctx, fmt.Sprintf("account%d", i)) })
			}
			received(t, server, crowd)
			hangUp()
			require.NoError(t, server.Control(t.Context(), stack.OIDCControl{ReuseWindow: c.reuseWindow}))
			killPlugin(t, v)
			readers.Wait()

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
				_, _, _ = e.renew(t.Context(), fmt.Sprintf("account%d", i)) // nobody is asked again
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
