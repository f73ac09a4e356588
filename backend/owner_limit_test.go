package backend

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// An owner has as many connections as config allows, whichever way they come.
func TestMaxConnectionsPerOwner(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/openai", nil).OK(t)
		key := map[string]any{"provider": "openai", "api_key": openaiKey}
		late := f.own(t, "late", nil)
		reconnect := f.own(t, "a", nil)
		f.connect(t, "a")
		f.Write("connections/b", key).OK(t)
		f.Write("config", map[string]any{"max_connections_per_owner": 2}).OK(t)
		refused := func(path string, data map[string]any) {
			t.Helper()
			f.Write(path, data).Refused(t, http.StatusConflict, "org/default has 2 connections",
				"max_connections_per_owner")
		}
		full := func() {
			t.Helper()
			asked := f.provider.Count(providers.StepToken)
			f.Storage.Forget()
			refused("connections/c", key)
			refused("connections/c", map[string]any{"provider": "acme", "refresh_token": "x"})
			refused("connections/c", map[string]any{"provider": "acme", "kind": "client_credentials"})
			refused("auth-code-url/c", map[string]any{"provider": "acme"})
			refused("exchange", late)
			assert.Zero(t, f.Storage.Writes(), "and a code that was given is not spent")
			assert.Equal(t, asked, f.provider.Count(providers.StepToken))
		}
		full()
		f.restart(t)
		full()
		f.Write("connections/org/acme/c", key).OK(t) // another owner
		f.Write("connections/user/u1/c", key).OK(t)
		f.Write("connections/b", with(key, map[string]any{"label": "there already"})).OK(t)
		f.start(t, "a", nil)
		f.Write("exchange", reconnect).OK(t)

		f.Delete("connections/b", nil).OK(t)
		f.Write("exchange", late).OK(t) // the flow was not claimed
		full2 := f.Write("connections/c", key)
		full2.Refused(t, http.StatusConflict, "max_connections_per_owner")
		f.Write("config", map[string]any{"max_connections_per_owner": 3}).OK(t)
		f.Write("connections/c", key).OK(t)
		f.Write("config", map[string]any{"max_connections_per_owner": 0}).OK(t)
		f.Write("connections/d", key).OK(t)
	})
}

// What was written and failed, or was counted and fell away, counts no more; what cannot be read does.
func TestCountsOfOwners(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.Write("providers/openai", nil).OK(t)
	key := map[string]any{"provider": "openai", "api_key": openaiKey}
	owned := func() int {
		t.Helper()
		n, err := f.engine().directory.owned(t.Context(), aKey("a").Owner)
		require.NoError(t, err)
		return n
	}
	f.Write("connections/a", key).OK(t)
	f.Write("connections/a", key).OK(t)
	assert.Equal(t, 1, owned())
	f.Storage.FailWrites()
	f.Write("connections/b", key).Refused(t, http.StatusInternalServerError)
	f.Storage.Judge(nil)
	assert.Equal(t, 1, owned())
	f.undecodable(t, "connection/org/default/openai")
	f.restart(t)
	assert.Equal(t, 2, owned())
	f.Write("config", map[string]any{"max_connections_per_owner": 2}).OK(t)
	f.Write("connections/openai", map[string]any{"api_key": openaiKey}).OK(t) // over the damaged one
	assert.Equal(t, 2, owned())
	f.Storage.Forget()
	for range 3 {
		assert.Equal(t, 2, owned())
	}
	assert.Empty(t, f.Storage.History(), "nothing is scanned")

	standby := f.engine()
	f.restart(t) // the node that writes now
	f.Delete("connections/openai", nil).OK(t)
	assert.Equal(t, 1, owned())
	standby.InvalidateKey(t.Context(), "connection/org/default/openai")
	n, err := standby.directory.owned(t.Context(), aKey("a").Owner)
	require.NoError(t, err)
	assert.Equal(t, 1, n, "what another node deleted counts no more")
	f.Delete("connections/a", nil).OK(t)
	assert.Zero(t, owned())
}

// A grant that was given is kept though the owner's last place was taken meanwhile.
func TestLimitThatIsReachedDuringAnExchange(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/openai", nil).OK(t)
		f.Write("config", map[string]any{"max_connections_per_owner": 1}).OK(t)
		own := f.own(t, "slack", nil)
		asked, release := make(chan struct{}), make(chan struct{})
		f.provider.Next(providers.StepToken, asking(asked, release))
		answer := make(chan testenv.Result, 1)
		go func() { answer <- f.Write("exchange", own) }()
		<-asked
		f.key(t, "key")
		close(release)
		(<-answer).OK(t)
		f.Advance(time.Minute)
		f.Read("creds/slack", nil).OK(t)
		f.Write("connections/more", map[string]any{"provider": "openai", "api_key": openaiKey}).
			Refused(t, http.StatusConflict, "has 2 connections")
	})
}

// asking tells when a call has come, and answers it when release is closed.
func asking(asked chan<- struct{}, release <-chan struct{}) providertest.Behavior {
	return func(s *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc) {
		close(asked)
		providertest.HangUntil(release)(s, w, r, behave)
	}
}
