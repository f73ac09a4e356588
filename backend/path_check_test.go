package backend

import (
	"context"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// refusal is how an API says that a credential is dead.
var refusal = providertest.Respond(http.StatusUnauthorized, `{"error":"s3cr3t words of the service"}`)

// withKeys is a catalogue that has a service with keys beside the generic one; more is said of it.
func withKeys(t *testing.T, more ...string) Options {
	t.Helper()
	generic, err := os.ReadFile("../providers/catalog/oauth2.yaml")
	require.NoError(t, err)
	catalog, err := providers.NewRegistry(fstest.MapFS{
		"oauth2.yaml": {Data: generic},
		"keys.yaml": {Data: []byte(`
id: keys
name: Keys
kinds: [api_key]
key: {fields: [{name: api_key, required: true, secret: true}]}
send: {headers: {X-Key: '{api_key}'}}
identity: {method: GET}
account: {id: [sub]}
failures:
  - {step: [api], path: error, is: [token_revoked], class: expired}
endpoints:
  identity: https://keys.example.com/me
` + strings.Join(more, "\n"))},
	})
	require.NoError(t, err)
	return Options{Catalog: catalog}
}

// keyed is a connection with a key of that service.
func (f *fixture) keyed(t *testing.T) {
	t.Helper()
	f.Write("providers/keys", map[string]any{"endpoints": map[string]any{"identity": f.provider.URL + "/userinfo"}}).OK(t)
	f.Write("connections/keys", map[string]any{"api_key": "the-key-1234", "verify": false}).OK(t)
}

func (f *fixture) asked() int { return f.provider.Count(providers.StepIdentity) }

func (f *fixture) statusOf(t *testing.T, path string) []any {
	t.Helper()
	read := f.Read("connections/"+path, nil).OK(t)
	return []any{read["status"], read["status_reason"]}
}

func TestCheck(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Advance(time.Minute)
		before := f.asked()
		first := f.Write("check/slack", nil).OK(t)
		assert.Equal(t, []any{"active", "", "true", "well"}, []any{
			first["status"], first["status_reason"], first["token_valid"], first["service"],
		})
		assert.Equal(t, providertest.AccountID, members(t, first["account"])["id"])
		assert.Equal(t, []string{"read", "write"}, texts(t, first["scopes_granted"]))
		assert.Empty(t, first["scopes_missing"])
		assert.Equal(t, f.Read("connections/slack", nil).OK(t)["expire_time"], first["expires"])
		assert.Equal(t, rfc3339(f.Now()), first["checked_time"])

		for range 20 {
			f.Write("check/slack", nil).OK(t)
		}
		f.Advance(9 * time.Second)
		f.Write("check/slack", nil).OK(t)
		assert.Equal(t, 1, f.asked()-before, "a recent answer is given again")
		f.Advance(2 * time.Second)
		f.Write("check/slack", nil).OK(t)
		assert.Equal(t, 2, f.asked()-before)
		f.Write("check/nobody", nil).Refused(t, http.StatusBadRequest, "no connection org/default/nobody")
	})
}

// A token that is refused although it should live is renewed once, and shown again.
func TestCheckRenewsWhatIsRefused(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Advance(time.Minute)
		before := f.token(t, "slack")
		f.provider.Next(providers.StepIdentity, refusal)
		found := f.Write("check/slack", nil).OK(t)
		assert.Equal(t, []any{"active", "true"}, []any{found["status"], found["token_valid"]})
		assert.Contains(t, found["advice"], "read it again")
		assert.NotEqual(t, before, f.token(t, "slack"))
		assert.Equal(t, 1, f.spent())

		f.Advance(11 * time.Second) // the service refuses the new one, too: another would be no better
		f.provider.Next(providers.StepIdentity, refusal)
		found = f.Write("check/slack", nil).OK(t)
		assert.Equal(t, []any{"active", "false"}, []any{found["status"], found["token_valid"]})
		assert.Equal(t, 1, f.spent(), "what a check brought is not renewed by a check before a quarter of its life")
		f.Advance(16 * time.Minute)
		f.provider.Next(providers.StepIdentity, refusal, refusal)
		found = f.Write("check/slack", nil).OK(t)
		assert.Equal(t, []any{"active", "false"}, []any{found["status"], found["token_valid"]}, "that proves nothing")
		assert.Equal(t, 2, f.spent())
		assert.NotContains(t, found["advice"], "s3cr3t")
	})
}

func TestCheckOfARevokedGrant(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Advance(time.Minute)
		f.provider.RevokeAll()
		found := f.Write("check/slack", nil).OK(t)
		assert.Equal(t, []any{"needs_reconnect", "grant_refused", "false"}, []any{
			found["status"], found["status_reason"], found["token_valid"],
		})
		assert.Contains(t, found["advice"], "auth-code-url/org/default/slack")
		asked := f.provider.Count(providers.StepRefresh)
		f.Advance(time.Minute)
		f.Write("check/slack", nil).OK(t)
		assert.Equal(t, asked, f.provider.Count(providers.StepRefresh), "a check does not try it once more")
	})
}

// Doubt changes nothing.
func TestCheckInDoubt(t *testing.T) {
	for name, c := range map[string]struct {
		answer         providertest.Behavior
		valid, service string
	}{
		"forbidden":   {providertest.Respond(http.StatusForbidden, `{"error":"no"}`), "true", "well"},
		"unwell":      {providertest.Respond(http.StatusServiceUnavailable, ""), "unknown", "down"},
		"a bad route": {providertest.Respond(http.StatusNotFound, ""), "unknown", "down"},
		"limited":     {providertest.Respond(http.StatusTooManyRequests, "", "Retry-After", "30"), "unknown", "limited"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, withKeys(t), testenv.InProcess)
			f.connect(t, "acme")
			f.keyed(t)
			f.Advance(time.Minute)
			f.Storage.Forget()
			for _, path := range []string{"acme", "keys"} {
				f.provider.Next(providers.StepIdentity, c.answer)
				found := f.Write("check/"+path, nil).OK(t)
				assert.Equal(t, []any{"active", c.valid, c.service}, []any{
					found["status"], found["token_valid"], found["service"],
				}, "%s: %v", path, found["advice"])
			}
			assert.Zero(t, f.spent())
			for _, a := range f.Storage.History() {
				assert.False(t, a.Write(), "it writes %s", a.Key)
			}
			if c.service == "limited" {
				asked := f.asked()
				found := f.Write("check/acme", nil).OK(t)
				assert.Equal(t, "limited", found["service"])
				f.Advance(11 * time.Second)
				f.Write("check/acme", nil).OK(t)
				assert.Equal(t, asked, f.asked(), "and is left alone")
			}
		})
	}
}

// What comes of checks says nothing of the endpoint that gives tokens: no provider is down for them.
func TestChecksPutNoProviderDown(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	names := []string{"a", "b", "c", "d", "e"}
	for _, name := range names {
		f.account(name)
		f.connect(t, name)
	}
	f.Advance(time.Minute)
	for _, name := range names {
		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusServiceUnavailable, ""))
		assert.Equal(t, "down", f.Write("check/"+name, nil).OK(t)["service"])
	}
	assert.Empty(t, f.Read("providers/acme", nil).OK(t)["circuit"])
	f.Write("refresh/a", nil).OK(t)
}

// What nothing can renew has failed validation, until a check passes or another credential comes.
func TestCheckOfAKey(t *testing.T) {
	eachWith(t, withKeys(t), func(t *testing.T, f *fixture) {
		f.keyed(t)
		f.provider.Next(providers.StepIdentity, refusal)
		found := f.Write("check/keys", nil).OK(t)
		assert.Equal(t, []any{"failed_validation", "key_refused", "false"}, []any{
			found["status"], found["status_reason"], found["token_valid"],
		})
		assert.Contains(t, found["advice"], "write a new one to connections/org/default/keys")
		assert.Equal(t, rfc3339(f.Now()), f.Read("connections/keys", nil).OK(t)["status_since"])
		served := f.Read("creds/keys", nil)
		assert.Equal(t, "the-key-1234", served.OK(t)["api_key"])
		assert.Contains(t, strings.Join(served.Warnings, " "), "refused this credential")
		assert.Equal(t, 1.0, members(t, f.Read("status", nil).OK(t)["by_status"])["failed_validation"])

		f.Advance(time.Minute)
		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusServiceUnavailable, ""))
		f.Write("check/keys", nil).OK(t)
		assert.Equal(t, []any{"failed_validation", "key_refused"}, f.statusOf(t, "keys"), "doubt clears nothing")
		f.Advance(time.Minute)
		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"the account"}`))
		assert.Equal(t, "active", f.Write("check/keys", nil).OK(t)["status"])
		assert.Equal(t, "the account", members(t, f.Write("check/keys", nil).OK(t)["account"])["id"])

		f.Advance(time.Minute)
		f.provider.Next(providers.StepIdentity, refusal)
		f.Write("check/keys", nil).OK(t)
		f.Write("connections/keys", map[string]any{"api_key": "another-key-5678", "verify": false}).OK(t)
		assert.Equal(t, []any{"active", ""}, f.statusOf(t, "keys"))
	})
}

// A token that nothing can renew: a plain refusal may pass, and words that the definition knows do not.
func TestCheckOfATokenWithoutRefresh(t *testing.T) {
	words := providertest.Respond(http.StatusOK, `{"error":"token_revoked"}`)
	for name, c := range map[string]struct {
		answer providertest.Behavior
		want   []any
	}{
		"a plain refusal": {refusal, []any{"failed_validation", "token_refused"}},
		"in words":        {words, []any{"needs_reconnect", "grant_refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, unproven(t, "\nfailures: [{step: [api], path: error, is: [token_revoked], class: expired}]\n"),
				testenv.InProcess)
			f.provider.Next(providers.StepToken, providertest.Respond(http.StatusOK, `{"access_token":"for ever"}`))
			f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"somebody"}`))
			f.connect(t, "slack")
			f.Advance(time.Minute)
			f.provider.Next(providers.StepIdentity, c.answer)
			found := f.Write("check/slack", nil).OK(t)
			assert.Equal(t, c.want, []any{found["status"], found["status_reason"]})
			assert.Contains(t, found["advice"], "auth-code-url/org/default/slack")
			assert.Equal(t, c.want, f.statusOf(t, "slack"))
		})
	}
}

// Nothing is shown to anybody but the service, on behalf of anybody but who may use the credential.
func TestCheckShowsTheCredentialToNobodyElse(t *testing.T) {
	f := newFixture(t, withKeys(t), testenv.InProcess)
	f.connect(t, "self/acme", alice)
	f.Advance(time.Minute)
	asked := f.asked()
	f.Write("check/user/e-alice/acme", nil, bob).Refused(t, http.StatusForbidden, "private")
	f.Write("check/user/e-alice/acme", nil).Refused(t, http.StatusForbidden, "private")
	f.Write("check/self/acme", nil, alice).OK(t)
	f.Write("check/user/e-alice/acme", nil, bob).Refused(t, http.StatusForbidden, "private")
	assert.Equal(t, 1, f.asked()-asked, "a recent answer is not for everybody")

	elsewhere := "https://elsewhere.example.com"
	f.Write("providers/acme", map[string]any{"client_secret": "new", "endpoints": map[string]any{
		"authorize": elsewhere + "/a", "token": elsewhere + "/t", "identity": elsewhere + "/i",
	}}).OK(t)
	found := f.Write("check/self/acme", nil, alice).OK(t)
	assert.Equal(t, []any{"needs_reconnect", "provider_changed", "unknown", "not_asked"}, []any{
		found["status"], found["status_reason"], found["token_valid"], found["service"],
	})
	assert.Equal(t, 1, f.asked()-asked)

	f.keyed(t)
	f.Write("connections/keys", map[string]any{"disabled": true}).OK(t)
	found = f.Write("check/keys", nil).OK(t)
	assert.Equal(t, []any{"disabled", "unknown", "not_asked"}, []any{
		found["status"], found["token_valid"], found["service"],
	})
}

func TestCheckAtOnce(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.connect(t, "slack")
	f.Advance(time.Minute)
	asked, release := f.held(providers.StepIdentity)
	before := f.asked()
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { assert.Equal(t, "true", f.Write("check/slack", nil).OK(t)["token_valid"]) })
	}
	<-asked
	ctx, hangUp := context.WithCancel(t.Context())
	all.Go(func() { f.WriteCtx(ctx, "check/slack", nil) })
	hangUp()
	release()
	all.Wait()
	assert.Equal(t, 1, f.asked()-before)
}

func TestCheckWhereNothingMayBeWritten(t *testing.T) {
	f := newFixture(t, withKeys(t), testenv.InProcess)
	f.keyed(t)
	f.System.SetReplication(consts.ReplicationPerformanceStandby)
	assert.ErrorIs(t, f.Write("check/keys", nil).Err, logical.ErrReadOnly)
	assert.Zero(t, f.asked())
	f.System.SetReplication(0)

	refuseConnections(f.Storage)
	f.provider.Next(providers.StepIdentity, refusal)
	found := f.Write("check/keys", nil).OK(t)
	assert.Equal(t, []any{"active", "false"}, []any{found["status"], found["token_valid"]})
	assert.Contains(t, f.Logs.String(), "what a check found could not be stored")
	f.Storage.Judge(nil)
	f.Advance(time.Minute)
	f.provider.Next(providers.StepIdentity, refusal)
	assert.Equal(t, "failed_validation", f.Write("check/keys", nil).OK(t)["status"])
}
