package backend

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// The engine goes down between the claim and the outcome. Whether the code was spent nobody knows, unless the
// connection tells.
func TestCrashDuringTheExchange(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		own := f.own(t, "slack", nil)
		asked, release := make(chan struct{}), make(chan struct{})
		f.provider.Next(providers.StepToken, func(
			s *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc,
		) {
			close(asked)
			providertest.HangUntil(release)(s, w, r, behave)
		})
		gone := make(chan struct{})
		crashed := f.Env
		go func() {
			defer close(gone)
			crashed.Write("exchange", own)
		}()
		<-asked
		f.restart(t)
		f.Write("exchange", own).Refused(t, http.StatusConflict,
			"exchange_outcome_unknown", "auth-code-url/org/default/slack")
		close(release)
		<-gone
	})
}

func TestCrashAfterTheConnectionWasStored(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		own := f.own(t, "slack", nil)
		f.Storage.Judge(func(a testenv.Access) error {
			if a.Write() && a.Under("flow/") && f.provider.Count(providers.StepToken) > 0 {
				return testenv.ErrStorage // the outcome, which says that the connection is there
			}
			return nil
		})
		assert.Equal(t, "active", f.Write("exchange", own).OK(t)["status"])
		f.Storage.Judge(nil)
		f.restart(t)
		assert.Equal(t, "active", f.Write("exchange", own).OK(t)["status"])
		assert.Equal(t, 1, f.provider.Count(providers.StepToken))
	})
}

func TestCallerHangsUp(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		own := f.own(t, "slack", nil)
		asked, release := make(chan struct{}), make(chan struct{})
		f.provider.Next(providers.StepToken, func(
			s *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc,
		) {
			close(asked)
			providertest.HangUntil(release)(s, w, r, behave)
		})
		ctx, hangUp := context.WithCancel(t.Context())
		answer := make(chan testenv.Result)
		go func() { answer <- f.WriteCtx(ctx, "exchange", own) }()
		<-asked
		hangUp()
		assert.GreaterOrEqual(t, (<-answer).Status, 500)
		close(release)
		assert.Equal(t, "active", f.Write("exchange", own).OK(t)["status"], "it joins the flight, or finds its outcome")
		f.Read("creds/slack", nil).OK(t)
		assert.Equal(t, 1, f.provider.Count(providers.StepToken))
	})
}
