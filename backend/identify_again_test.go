package backend

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

var outage = providertest.Respond(http.StatusInternalServerError, `{}`)

// learns waits until it is known whose a connection is.
func (f *fixture) learns(t *testing.T, path string) {
	t.Helper()
	require.Eventually(t, func() bool { return f.accountOf(t, path) == providertest.AccountID }, time.Minute,
		5*time.Millisecond)
}

// Whose a grant is that nobody could tell is asked again once it was refreshed, once an hour at most.
func TestIdentityIsAskedAgain(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.provider.Next(providers.StepIdentity, outage, outage)
		f.connect(t, "x")
		assert.Empty(t, f.accountOf(t, "x"))
		f.Advance(time.Minute)
		f.Write("refresh/x", nil).OK(t)
		require.Eventually(t, func() bool { return f.asked() == 2 }, time.Minute, time.Millisecond)
		f.Advance(59 * time.Minute)
		f.Write("refresh/x", nil).OK(t)
		assert.Equal(t, 2, f.spent())
		assert.Equal(t, 2, f.asked(), "not an hour yet")
		f.Advance(2 * time.Minute)
		f.Write("refresh/x", nil).OK(t)
		f.learns(t, "x")
		f.Advance(2 * time.Hour)
		f.Write("refresh/x", nil).OK(t)
		assert.Equal(t, 3, f.asked(), "it is known")
		assert.True(t, f.provider.Alive(f.token(t, "x").(string)))
	}, providertest.WithLifetime(3*time.Hour))
}

// A reconnect with another account is refused once the account was learned later.
func TestAccountLearnedLaterCounts(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.provider.Next(providers.StepIdentity, outage)
		f.connect(t, "x")
		f.Advance(time.Minute)
		f.Write("refresh/x", nil).OK(t)
		f.learns(t, "x")
		own := f.own(t, "x", nil)
		f.provider.Next(providers.StepIdentity, providertest.Respond(200, `{"sub":"another"}`))
		f.Write("exchange", own).Refused(t, http.StatusConflict, "another account")
	})
}

// What could not be listed when a grant came is listed later, too.
func TestSitesAreListedAgain(t *testing.T) {
	withSites(t, func(t *testing.T, s *sites) {
		s.failList()
		made := s.consent(t, "x", nil).OK(t)
		assert.Equal(t, []any{"pending", "choice", providertest.AccountID}, []any{
			made["status"], made["status_reason"], members(t, made["account"])["id"],
		}, "the account is known all the same")
		s.Read("creds/x", nil).Refused(t, http.StatusConflict, "could not be listed yet")
		s.reach("only")
		s.Advance(time.Minute)
		s.Write("refresh/x", nil).OK(t)
		require.Eventually(t, func() bool { return s.statusOf(t, "x")[0] == "active" }, time.Minute, 5*time.Millisecond)
		assert.Equal(t, "only", s.picked(t, "x")[0])
	}, "one", "two")
}

func TestAppsAndKeysAreIdentified(t *testing.T) {
	for name, mount := range map[string]mounter{"in process": testenv.InProcess, "over gRPC": testenv.OverGRPC} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, withKeys(t), mount)
			f.allowApp(t)
			f.Write("connections/app", map[string]any{"provider": "acme", "kind": "client_credentials"}).OK(t)
			assert.Equal(t, providertest.AccountID, f.accountOf(t, "app"), "when it is issued")
			f.provider.Next(providers.StepIdentity, outage)
			again := f.Write("connections/app2", map[string]any{"provider": "acme", "kind": "client_credentials"})
			assert.Equal(t, "active", again.OK(t)["status"])
			assert.Contains(t, again.Warnings,
				"whose account it is could not be learned: identity call failed: server_error")

			f.keyed(t)
			f.provider.Next(providers.StepIdentity, providertest.Respond(200, `{"sub":"who-has-the-key"}`))
			f.Write("check/keys", nil).OK(t)
			assert.Equal(t, "who-has-the-key", f.accountOf(t, "keys"))
		})
	}
}

// However many there are, each is asked for once an hour at most, and memory is bounded.
func TestIdentitiesAreBounded(t *testing.T) {
	var i identities
	c := newClock()
	first := aKey("first")
	require.True(t, i.mayAsk(first, c.Now()))
	c.Advance(59 * time.Minute)
	for n := range maxChecks + 10 {
		assert.Equal(t, n < maxChecks-1, i.mayAsk(aKey(fmt.Sprint(n)), c.Now()))
	}
	assert.False(t, i.mayAsk(first, c.Now()))
	c.Advance(time.Minute)
	assert.True(t, i.mayAsk(first, c.Now()), "an hour has gone by")
	assert.False(t, i.mayAsk(aKey("7"), c.Now()), "a minute has")
	c.Advance(59 * time.Minute)
	assert.True(t, i.mayAsk(aKey("7"), c.Now()))
	assert.False(t, i.mayAsk(first, c.Now()))
	c.Advance(-3 * time.Hour)
	assert.True(t, i.mayAsk(first, c.Now()), "a clock that was wrong holds nothing up for ever")
}
