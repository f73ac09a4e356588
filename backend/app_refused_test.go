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

// An incident at a provider's sign-in refuses the app for everybody, and is over by itself: nobody hammers meanwhile,
// and nobody needs to correct what is right.
func TestIncidentOfTheSignIn(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	const people = 5
	path := func(n int) string { return fmt.Sprintf("user/u%d/slack", n) }
	for n := range people {
		f.account(fmt.Sprint("account-", n))
		f.connect(t, path(n))
	}
	circuit := func() any { return members(t, f.Read("providers/acme", nil).OK(t)["circuit"])["state"] }
	refused := true
	behave := func(s *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc) {
		if refused {
			providertest.Respond(http.StatusUnauthorized, `{"error":"invalid_client"}`)(s, w, r, behave)
			return
		}
		behave(w, r)
	}
	for range 200 {
		f.provider.Next(providers.StepRefresh, behave)
	}
	f.engine().tasks.Hold() // readers ask; what the worker does meanwhile is tested where its clock stands still
	f.Advance(2 * time.Hour)
	f.Read("creds/"+path(0), nil).Refused(t, http.StatusConflict, "refuses the app itself", "the next try is at")
	for range 20 {
		f.Read("creds/"+path(0), nil).Refused(t, http.StatusConflict, "refuses the app itself")
	}
	require.Equal(t, 1, f.spent(), "its own connection rests")
	require.Nil(t, circuit(), "one that hears it says nothing of the others")
	f.Read("creds/"+path(1), nil).Refused(t, http.StatusConflict, "refuses the app itself")
	require.Equal(t, "refused", circuit())
	for n := range people {
		f.Read("creds/"+path(n), nil).Refused(t, http.StatusConflict, "refuses the app")
	}
	require.Equal(t, 2, f.spent())

	for range 60 { // an hour, in which all are read each minute
		f.Advance(time.Minute)
		for n := range people {
			f.Read("creds/"+path(n), nil).Refused(t, http.StatusConflict, "refuses the app")
		}
	}
	assert.LessOrEqual(t, f.spent(), 2+9, "after one minute, two, four, eight, then each ten")
	assert.GreaterOrEqual(t, f.spent(), 2+6, "it is probed")
	for n := range people {
		assert.Equal(t, "active", f.Read("connections/"+path(n), nil).OK(t)["status"], "nobody needs to consent again")
	}

	refused = false
	f.Advance(11 * time.Minute)
	for n := range people {
		assert.True(t, f.provider.Alive(f.token(t, path(n)).(string)))
	}
	assert.Nil(t, circuit())
}

// Services say in many words that a grant is dead. What tells them from a fault of the app is that another account goes
// on being renewed.
func TestDeadGrantInOtherWords(t *testing.T) {
	for body, status := range map[string]int{
		`{"error":"invalid_request","error_description":"The refresh_token is invalid."}`: http.StatusBadRequest,
		`{"error":"unauthorized_client"}`:                                                 http.StatusForbidden,
		`{"error":"invalid_token"}`:                                                       http.StatusUnauthorized,
		`{"status":"BAD_REFRESH_TOKEN"}`:                                                  http.StatusBadRequest,
		`{"errors":[{"errorType":"invalid_grant"}]}`:                                      http.StatusUnauthorized,
		`{"errcode":40030}`:                                                               http.StatusOK,
		`{"error":"bad_refresh_token"}`:                                                   http.StatusOK,
		`{"error":"INVALID_GRANT"}`:                                                       http.StatusBadRequest,
	} {
		t.Run(body, func(t *testing.T) {
			f := newFixture(t, Options{}, testenv.InProcess)
			f.account("dead")
			f.connect(t, "dead")
			f.account("well")
			f.connect(t, "well")
			f.engine().tasks.Hold()
			f.Advance(time.Minute) // what was connected just now needs no refresh
			asks := func() testenv.Result {
				f.provider.Next(providers.StepRefresh, providertest.Respond(status, body))
				return f.Write("refresh/dead", nil)
			}
			before := f.spent()
			first := asks()
			assert.Contains(t, []int{http.StatusConflict, http.StatusBadGateway}, first.Status, first.Text)
			assert.NotContains(t, first.Text, "refresh_token is")
			assert.Equal(t, 1, f.spent()-before, "an answer that says no is not asked for twice")
			f.Advance(20 * time.Minute)
			f.Write("refresh/well", nil).OK(t)
			f.Advance(50 * time.Minute)
			asks().Refused(t, http.StatusConflict, "needs to be reconnected (grant_refused)")
			read := f.Read("connections/dead", nil).OK(t)
			assert.Equal(t, []any{"needs_reconnect", "grant_refused"}, []any{read["status"], read["status_reason"]})
			assert.Equal(t, "active", f.Read("connections/well", nil).OK(t)["status"])

			f.restart(t)
			f.Advance(time.Minute)
			f.Write("refresh/dead", nil).OK(t) // it was an incident after all
			assert.Equal(t, "active", f.Read("connections/dead", nil).OK(t)["status"])
		})
	}
}
