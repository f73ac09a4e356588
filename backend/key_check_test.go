package backend

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// A key is asked for before it takes over: one that is surely wrong never does, and doubt is told.
func TestKeyIsCheckedWhenItIsWritten(t *testing.T) {
	for name, c := range map[string]struct {
		answer  providertest.Behavior
		refused bool
		warns   string
	}{
		"taken":      {answer: providertest.Respond(http.StatusOK, `{"sub":"the account"}`)},
		"refused":    {answer: refusal, refused: true},
		"in words":   {answer: providertest.Respond(http.StatusOK, `{"error":"token_revoked"}`), refused: true},
		"not enough": {answer: providertest.Respond(http.StatusForbidden, ""), warns: "does not allow it this call"},
		"in doubt":   {answer: providertest.Respond(http.StatusBadGateway, ""), warns: "could not be found out"},
		"limited":    {answer: providertest.Respond(http.StatusTooManyRequests, ""), warns: "could not be found out"},
	} {
		t.Run(name, func(t *testing.T) {
			eachWith(t, withKeys(t), func(t *testing.T, f *fixture) {
				f.keyed(t)
				f.provider.Next(providers.StepIdentity, c.answer)
				before := f.Read("creds/keys", nil).OK(t)
				r := f.Write("connections/keys", map[string]any{"api_key": "another-5678", "label": "new"})
				if c.refused {
					r.Refused(t, http.StatusConflict, "the service refuses", "nothing was changed", "verify=false")
					assert.NotContains(t, r.Text, "5678")
					assert.Equal(t, before, f.Read("creds/keys", nil).OK(t))
					assert.Empty(t, f.Read("connections/keys", nil).OK(t)["label"])
					f.provider.Next(providers.StepIdentity, c.answer)
					f.Write("connections/fresh", map[string]any{"provider": "keys", "api_key": "a-key"}).
						Refused(t, http.StatusConflict, "nothing was changed")
					assert.Equal(t, http.StatusNotFound, f.Read("connections/fresh", nil).Status)
					return
				}
				r.OK(t)
				assert.Equal(t, c.warns != "", len(r.Warnings) > 0, "%v", r.Warnings)
				assert.Contains(t, strings.Join(r.Warnings, " "), c.warns)
				assert.Equal(t, "another-5678", f.Read("creds/keys", nil).OK(t)["api_key"])
			})
		})
	}
}

// What was written before, and what is said to be out of reach, is not asked for.
func TestKeyIsNotCheckedAgain(t *testing.T) {
	f := newFixture(t, withKeys(t), testenv.InProcess)
	f.keyed(t)
	assert.Zero(t, f.asked(), "verify=false")
	f.Write("connections/keys", map[string]any{"api_key": "the-key-1234", "label": "x"}).OK(t)
	f.Write("connections/keys", map[string]any{"label": "y"}).OK(t)
	assert.Zero(t, f.asked(), "it is the key that is there")
	f.Write("connections/keys", map[string]any{"api_key": "!"}).Refused(t, http.StatusConflict)
	assert.Equal(t, 1, f.asked())
	f.System.SetReplication(consts.ReplicationPerformanceStandby)
	assert.ErrorIs(t, f.Write("connections/keys", map[string]any{"api_key": "another"}).Err, logical.ErrReadOnly)
	assert.Equal(t, 1, f.asked(), "where nothing may be written nobody is asked")
}

// While the service thinks, its provider may be pointed elsewhere, and the caller may hang up.
func TestMeanwhileAKeyIsChecked(t *testing.T) {
	f := newFixture(t, withKeys(t), testenv.InProcess)
	f.keyed(t)
	write := func(ctx context.Context) (done chan testenv.Result) {
		done = make(chan testenv.Result, 1)
		go func() { done <- f.WriteCtx(ctx, "connections/keys", map[string]any{"api_key": "another-5678"}) }()
		return done
	}
	slow := func() (asked, release chan struct{}) {
		asked, release = make(chan struct{}), make(chan struct{})
		f.provider.Next(providers.StepIdentity,
			func(s *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc) {
				close(asked)
				<-release
				providertest.Respond(http.StatusOK, `{"sub":"the account"}`)(s, w, r, behave)
			})
		return asked, release
	}
	asked, release := slow()
	done := write(t.Context())
	<-asked
	f.Write("providers/keys", map[string]any{"endpoints": map[string]any{"identity": "https://keys.example.com/you"}}).OK(t)
	close(release)
	(<-done).Refused(t, http.StatusConflict, "changed meanwhile")

	f.Write("providers/keys", map[string]any{"endpoints": map[string]any{"identity": f.provider.URL + "/userinfo"}}).OK(t)
	asked, release = slow()
	ctx, hangUp := context.WithCancel(t.Context())
	done = write(ctx)
	<-asked
	hangUp()
	r := <-done
	close(release)
	assert.GreaterOrEqual(t, r.Status, 400, r.Text)
	assert.Equal(t, "the-key-1234", f.Read("creds/keys", nil).OK(t)["api_key"])
}
