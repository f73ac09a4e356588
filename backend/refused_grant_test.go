package backend

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// A refused grant is tried once more by hand, for a week; after that its refresh token is erased, and nothing else.
func TestRefusedGrant(t *testing.T) {
	refusal := providertest.Respond(http.StatusBadRequest, `{"error":"invalid_grant"}`)
	each(t, func(t *testing.T, f *fixture) {
		for _, path := range []string{"healed", "dead"} {
			f.connect(t, path)
			f.Advance(time.Minute)
			f.provider.Next(providers.StepRefresh, refusal)
			f.Write("refresh/"+path, nil).Refused(t, http.StatusConflict, "grant_refused", "refresh/org/default/"+path)
			require.Equal(t, "needs_reconnect", f.Read("connections/"+path, nil).OK(t)["status"])
		}
		f.Advance(time.Minute)
		assert.Equal(t, "active", f.Write("refresh/healed", nil).OK(t)["status"])
		token := func() string {
			c, err := store.New(f.Storage).Connection(t.Context(), aKey("dead"))
			require.NoError(t, err)
			assert.NotEmpty(t, c.Grant.AccessToken.Reveal())
			assert.NotEmpty(t, c.Account.ID)
			return c.Grant.RefreshToken.Reveal()
		}
		f.Advance(7*24*time.Hour - 5*time.Minute)
		f.periodic(t)
		require.NotEmpty(t, token())
		f.Advance(5 * time.Minute)
		require.Eventually(t, func() bool {
			f.periodic(t)
			return token() == ""
		}, time.Minute, time.Millisecond)
		f.Write("refresh/dead", nil).Refused(t, http.StatusConflict, "grant_refused")
		made := f.connect(t, "dead")
		assert.Equal(t, "active", made["status"])
	})
}

// While refreshing is paused nothing is erased.
func TestRefusedGrantWhilePaused(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.connect(t, "x")
	f.Advance(time.Minute)
	f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusBadRequest, `{"error":"invalid_grant"}`))
	f.Write("refresh/x", nil).Refused(t, http.StatusConflict)
	f.Write("config", map[string]any{"refresh_paused": true}).OK(t)
	f.Advance(30 * 24 * time.Hour)
	c, _, err := f.engine().connections.Get(t.Context(), aKey("x"))
	require.NoError(t, err)
	terms, err := f.engine().Terms(t.Context(), aKey("x"), c)
	require.NoError(t, err)
	assert.Zero(t, f.engine().erasureDue(aKey("x"), c, terms))
	terms.Paused = false
	assert.NotZero(t, f.engine().erasureDue(aKey("x"), c, terms))
}

// Many providers give a refresh token at the first consent only. A reconnect of the same account keeps it.
func TestReconnectWithoutARefreshToken(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "x")
		f.provider.Next(providers.StepToken, providertest.Respond(http.StatusOK,
			`{"access_token":"second","token_type":"bearer","expires_in":3600,"scope":"read write"}`))
		f.account(f.accountOf(t, "x"))
		r := f.Write("exchange", f.own(t, "x", nil))
		assert.Equal(t, true, r.OK(t)["refreshable"])
		assert.Empty(t, r.Warnings)
		assert.Equal(t, "second", f.token(t, "x"))
		f.Advance(2 * time.Hour)
		assert.True(t, f.provider.Alive(f.token(t, "x").(string)))
	})
}

// A crash cut off that a person had a refused grant tried. The next start finds that late, while it may not be made.
func TestTryThatWasCutOffIsFoundLate(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.connect(t, "x")
	f.Advance(time.Minute)
	f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusBadRequest, `{"error":"invalid_grant"}`))
	f.Write("refresh/x", nil).Refused(t, http.StatusConflict)
	f.Write("config", map[string]any{"refresh_paused": true}).OK(t)
	f.Advance(time.Minute)
	c, err := f.engine().store.Connection(t.Context(), aKey("x"))
	require.NoError(t, err)
	require.NoError(t, f.engine().store.PutIntent(t.Context(), aKey("x"), &store.Intent{
		Key: aKey("x").String(), Generation: c.Generation, Time: f.Now(),
	}))
	f.Storage.Judge(func(a testenv.Access) error {
		if a.Under("wal/") {
			return testenv.ErrStorage
		}
		return nil
	})
	f.restart(t)
	require.Eventually(t, func() bool { return !f.engine().directory.lastChecked(aKey("x")).IsZero() }, time.Minute,
		time.Millisecond, "it is known, and nothing is due for it")
	require.False(t, f.engine().recovered.Load())
	f.Storage.Judge(nil)
	require.Eventually(t, func() bool { f.periodic(t); return f.engine().recovered.Load() }, time.Minute,
		time.Millisecond)
	before := f.spent()
	f.Write("config", map[string]any{"refresh_paused": false}).OK(t)
	f.Advance(time.Minute)
	assert.Eventually(t, func() bool {
		f.periodic(t)
		return f.Read("connections/x", nil).OK(t)["status"] == "active"
	}, time.Minute, time.Millisecond)
	assert.Equal(t, before+1, f.spent())
}
