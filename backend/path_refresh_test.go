package backend

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

func TestRefresh(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		old := f.Read("creds/slack", nil).OK(t)["access_token"]
		f.Advance(time.Minute)
		view := f.Write("refresh/slack", nil).OK(t)
		assert.Equal(t, "2026-03-01T12:01:00Z", view["last_refresh"])
		assert.Equal(t, "2026-03-01T13:01:00Z", view["expire_time"])
		assert.NotContains(t, view, "access_token")
		fresh := f.Read("creds/slack", nil).OK(t)
		assert.NotEqual(t, old, fresh["access_token"])
		assert.Equal(t, "2026-03-01T12:01:00Z", fresh["last_vault_rotation"])

		f.Advance(9 * time.Second)
		assert.Equal(t, view["last_refresh"], f.Write("refresh/slack", nil).OK(t)["last_refresh"],
			"a recent success is the answer")
		assert.Equal(t, 1, f.provider.Count(providers.StepRefresh))
		f.Advance(time.Second)
		f.Write("refresh/slack", nil).OK(t)
		assert.Equal(t, 2, f.provider.Count(providers.StepRefresh))
	})
}

func TestRefreshOfWhatIsNotRefreshed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "key")
		f.Write("refresh/key", nil).Refused(t, http.StatusBadRequest, "holds a key", "connections/org/default/key")
		f.Write("connections/token", map[string]any{"provider": "acme", "access_token": "x", "verify": false}).OK(t)
		f.Write("refresh/token", nil).Refused(t, http.StatusBadRequest, "no refresh token")
	})
}

// Some services answer a refresh without a refresh token: the one they gave goes on.
func TestRefreshKeepsTheRefreshToken(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		for range 3 {
			f.Advance(time.Minute)
			f.Write("refresh/slack", nil).OK(t)
		}
		sent := f.provider.Requests(providers.StepRefresh)
		assert.Equal(t, sent[0].Form.Get("refresh_token"), sent[2].Form.Get("refresh_token"))
	}, providertest.WithReusableRefreshTokens())
}

func TestCallerOfARefreshHangsUp(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Advance(time.Hour)
		asked, release := make(chan struct{}), make(chan struct{})
		f.provider.Next(providers.StepRefresh, func(
			s *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc,
		) {
			close(asked)
			providertest.HangUntil(release)(s, w, r, behave)
		})
		ctx, hangUp := context.WithCancel(t.Context())
		answer := make(chan testenv.Result)
		go func() { answer <- f.ReadCtx(ctx, "creds/slack", nil) }()
		<-asked
		hangUp()
		assert.GreaterOrEqual(t, (<-answer).Status, 500)
		close(release)
		assert.True(t, f.provider.Alive(f.Read("creds/slack", nil).OK(t)["access_token"].(string)))
		assert.Equal(t, 1, f.provider.Count(providers.StepRefresh), "the answer to nobody was kept")
	})
}

// An app that its provider refuses is not offered again and again: a hundred demands in a row are one request.
func TestDemandsOfARefusedApp(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Advance(40 * time.Minute)
		const demands = 100
		for range demands {
			refused := providertest.Respond(http.StatusUnauthorized, `{"error":"invalid_client"}`)
			f.provider.Next(providers.StepRefresh, refused)
		}
		f.Storage.Forget()
		for range demands {
			f.Write("refresh/slack", nil).Refused(t, http.StatusConflict, "client_secret", "providers/acme")
		}
		assert.Equal(t, 1, f.provider.Count(providers.StepRefresh))
		assert.Less(t, f.Storage.Writes(), 5, "an intent, what came of it, and the end of the intent")
	})
}
