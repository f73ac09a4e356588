package backend

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// hanging sends a request whose call to the token endpoint waits for release, and returns when it is under way.
func (f *fixture) hanging(t *testing.T, own map[string]any) (answer chan testenv.Result, release chan struct{}) {
	t.Helper()
	answer, release = make(chan testenv.Result, 1), make(chan struct{})
	asked := make(chan struct{})
	f.provider.Next(providers.StepToken, func(
		s *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc,
	) {
		close(asked)
		providertest.HangUntil(release)(s, w, r, behave)
	})
	go func() { answer <- f.Write("exchange", own) }()
	<-asked
	return answer, release
}

// staysDeleted lets the provider answer an exchange whose connection was deleted meanwhile.
func (f *fixture) staysDeleted(t *testing.T, own map[string]any, answer chan testenv.Result, release chan struct{}) {
	t.Helper()
	require.Equal(t, http.StatusNotFound, f.Read("connections/slack", nil).Status)
	revoked := f.provider.Count(providers.StepRevoke)
	close(release)
	refused := <-answer
	refused.Refused(t, http.StatusConflict, "connection org/default/slack was deleted meanwhile",
		"start again with auth-code-url/org/default/slack")
	for range 2 {
		assert.Equal(t, http.StatusNotFound, f.Read("connections/slack", nil).Status)
		f.Write("exchange", own).Refused(t, http.StatusConflict, refused.Text)
		f.restart(t)
	}
	assert.Equal(t, 1+revoked, f.provider.Count(providers.StepRevoke), "nobody will use the new grant")
}

func TestDeletedDuringAReconnect(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		own := f.own(t, "slack", nil)
		answer, release := f.hanging(t, own)
		f.Delete("connections/slack", nil).OK(t)
		f.staysDeleted(t, own, answer, release)
		f.connect(t, "slack")
	})
}

// The mark of the deletion cannot be read; that a connection was there is known all the same.
func TestDeletedDuringAReconnectAndTheFlowUnreadable(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		own := f.own(t, "slack", nil)
		answer, release := f.hanging(t, own)
		f.Delete("connections/slack", nil).OK(t)
		f.Storage.Judge(func(a testenv.Access) error {
			if a.Op == "get" && strings.HasPrefix(a.Key, "flow/") {
				return testenv.ErrStorage
			}
			return nil
		})
		close(release)
		refused := <-answer
		refused.Refused(t, http.StatusConflict, "deleted meanwhile")
		f.Storage.Judge(nil)
		assert.Equal(t, http.StatusNotFound, f.Read("connections/slack", nil).Status)
		f.Write("exchange", own).Refused(t, http.StatusConflict, refused.Text)
	})
}

// A flow that was finished while a deletion looked for open ones keeps its outcome,
// which names the deletion by itself.
func TestDeletedWhileTheOutcomeIsStored(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		own := f.own(t, "slack", nil)
		storing, found := make(chan struct{}), make(chan struct{})
		outcome := testenv.Nth(1, func(a testenv.Access) bool { // what is stored of the flow once its code was spent
			return a.Op == "put" && a.Under("flow/") && f.provider.Count(providers.StepToken) > 0
		})
		f.Storage.Judge(func(a testenv.Access) error {
			if outcome(a) {
				close(storing)
				<-found
			}
			return nil
		})
		answer, deleted := make(chan testenv.Result, 1), make(chan testenv.Result, 1)
		go func() { answer <- f.Write("exchange", own) }()
		<-storing
		f.Storage.Forget()
		flow := testenv.Access{Op: "get", Key: "flow/" + flowOfState(own["state"].(string))}
		f.Backend.InvalidateKey(t.Context(), flow.Key) // the deletion reads it from storage, before its outcome is there
		go func() { deleted <- f.Delete("connections/slack", nil) }()
		require.Eventually(t, func() bool {
			return slices.Contains(f.Storage.History(), flow)
		}, time.Minute, time.Millisecond, "the deletion found it open")
		close(found)
		(<-deleted).OK(t)
		<-answer // connected, or deleted since: it may be read before or after
		assert.Equal(t, http.StatusNotFound, f.Read("connections/slack", nil).Status)
		f.Write("exchange", own).Refused(t, http.StatusConflict, "deleted since")
	})
}

func TestDeletedDuringAFirstConnect(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		own := f.own(t, "slack", nil)
		answer, release := f.hanging(t, own)
		f.Delete("connections/slack", nil).OK(t)
		f.staysDeleted(t, own, answer, release)
		f.connect(t, "slack")
	})
}

// A flow may expire while its code is spent. What says that its connection was deleted must not be tidied away before.
func TestDeletedDuringALongExchange(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		own := f.own(t, "slack", nil)
		answer, release := f.hanging(t, own)
		f.Delete("connections/slack", nil).OK(t)
		f.Advance(10 * time.Minute)
		f.periodic(t)
		close(release)
		(<-answer).Refused(t, http.StatusConflict, "deleted meanwhile")
		assert.Equal(t, http.StatusNotFound, f.Read("connections/slack", nil).Status)
		f.periodic(t)
		f.Write("exchange", own).Refused(t, http.StatusBadRequest, "no such flow")
	})
}

// A flow that was cut off is nobody's, and goes in the end.
func TestFlowCutOffIsRemoved(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		answer, release := f.hanging(t, f.own(t, "slack", nil))
		f.restart(t)
		flows := func() int {
			ids, err := f.Storage.List(t.Context(), "flow/")
			require.NoError(t, err)
			return len(ids)
		}
		f.Advance(19 * time.Minute)
		f.periodic(t)
		assert.Equal(t, 1, flows())
		f.Advance(time.Minute)
		f.periodic(t)
		assert.Zero(t, flows())
		close(release)
		<-answer
	})
}

// Whoever takes the name of a deleted connection does not get the account of the one who lost it.
func TestMadeAnewDuringAReconnect(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		own := f.own(t, "slack", nil)
		answer, release := f.hanging(t, own)
		f.Delete("connections/slack", nil).OK(t)
		f.connect(t, "slack")
		token := f.Read("creds/slack", nil).OK(t)["access_token"]
		close(release)
		(<-answer).Refused(t, http.StatusConflict, "deleted meanwhile")
		assert.Equal(t, token, f.Read("creds/slack", nil).OK(t)["access_token"])
		assert.Equal(t, 1, f.provider.Count(providers.StepRevoke),
			"that of the deletion: both later ones rest on one account")
	})
}
