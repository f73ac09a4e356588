package backend

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// silently runs a test beside a provider whose answers tell no expires_in, and that is asked for it.
func silently(t *testing.T, test func(*testing.T, *fixture)) {
	t.Helper()
	each(t, func(t *testing.T, f *fixture) {
		f.introspecting(t)
		test(t, f)
	}, providertest.WithSilentLifetime(), providertest.WithLifetime(3*time.Hour))
}

// introspecting has the provider asked until when tokens live.
func (f *fixture) introspecting(t *testing.T) {
	t.Helper()
	settings := f.acme()
	settings["endpoints"] = with(settings["endpoints"].(map[string]any), map[string]any{
		"introspect": f.provider.URL + "/introspect",
	})
	f.Write("providers/acme", settings).OK(t)
	f.allowApp(t)
}

// ends is when a connection's token ends, as applications are told.
func (f *fixture) ends(t *testing.T, path string) any {
	t.Helper()
	return f.Read("creds/"+path, nil).OK(t)["expire_time"]
}

// learnsEnd waits until it is known when a connection's token ends.
func (f *fixture) learnsEnd(t *testing.T, path string) {
	t.Helper()
	require.Eventually(t, func() bool { return f.ends(t, path) != "" }, time.Minute, 5*time.Millisecond)
}

// until is a time from now, as answers spell it.
func (f *fixture) until(d time.Duration) string { return rfc3339(f.Now().Add(d).Truncate(time.Second)) }

// Whatever brings a token whose answer tells no end, the service is asked for it.
func TestLifetimeIsIntrospected(t *testing.T) {
	silently(t, func(t *testing.T, f *fixture) {
		end := f.until(3 * time.Hour)
		assert.Equal(t, end, f.connect(t, "consent")["expire_time"])
		app := map[string]any{"provider": "acme", "kind": "client_credentials"}
		assert.Equal(t, end, f.Write("connections/app", app).OK(t)["expire_time"])
		made := f.Write("connections/brought", map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)})
		assert.Equal(t, end, made.OK(t)["expire_time"])
		made = f.Write("connections/token", map[string]any{"provider": "acme", "access_token": f.token(t, "app")})
		assert.Equal(t, end, made.OK(t)["expire_time"])
		asked := f.provider.Count(providers.StepIntrospect)
		assert.Equal(t, 4, asked)

		f.Advance(time.Minute)
		end = f.until(3 * time.Hour)
		assert.Equal(t, end, f.Write("refresh/consent", nil).OK(t)["expire_time"], "who waits for a refresh is told")
		assert.Equal(t, end, f.Write("refresh/app", nil).OK(t)["expire_time"])
		assert.Equal(t, asked+2, f.provider.Count(providers.StepIntrospect))
		f.restart(t)
		assert.Equal(t, end, f.ends(t, "consent"), "it is stored")
	})
}

// What was learned by asking is renewed in time, like what an answer tells.
func TestIntrospectedLifetimeIsScheduled(t *testing.T) {
	silently(t, func(t *testing.T, f *fixture) {
		f.connect(t, "x")
		f.Advance(2*time.Hour + 55*time.Minute)
		f.periodic(t)
		require.Eventually(t, func() bool { return f.spent() == 1 }, time.Minute, time.Millisecond)
		require.Eventually(t, func() bool { return f.ends(t, "x") == f.until(3*time.Hour) }, time.Minute, time.Millisecond)
	})
}

// A question that fails costs no token: it is served as one that does not expire, and asked about again.
func TestIntrospectionFails(t *testing.T) {
	silently(t, func(t *testing.T, f *fixture) {
		f.provider.Next(providers.StepIntrospect, outage, outage, outage, outage)
		own := f.Write("exchange", f.own(t, "x", nil))
		assert.Equal(t, []any{"active", ""}, []any{own.OK(t)["status"], own.Data["expire_time"]})
		assert.Contains(t, strings.Join(own.Warnings, "\n"), "until when its token lives could not be learned")
		app := f.Write("connections/app", map[string]any{"provider": "acme", "kind": "client_credentials"})
		assert.Equal(t, "", app.OK(t)["expire_time"])
		brought := f.Write("connections/brought", map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)})
		assert.Equal(t, "", brought.OK(t)["expire_time"])
		for _, r := range []testenv.Result{app, brought} {
			assert.Contains(t, strings.Join(r.Warnings, "\n"), "until when its token lives could not be learned")
		}
		f.Advance(time.Minute)
		before := f.token(t, "x")
		assert.Equal(t, "", f.Write("refresh/x", nil).OK(t)["expire_time"])
		assert.NotEqual(t, before, f.token(t, "x"))
		assert.Equal(t, 4, f.provider.Count(providers.StepIntrospect))

		f.restart(t)
		f.System.SetReplication(0)
		assert.True(t, f.provider.Alive(f.token(t, "x").(string)))
		f.Advance(time.Minute)
		assert.Equal(t, f.until(3*time.Hour), f.Write("refresh/x", nil).OK(t)["expire_time"], "the grant is whole")
		f.most(t, 1)
	})
}

// The refreshed token is stored before the question is asked: whoever dies meanwhile loses nothing.
func TestProcessDiesWhileItIntrospects(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess, providertest.WithSilentLifetime())
	f.introspecting(t)
	f.connect(t, "x")
	f.Advance(time.Minute)
	before, asked := f.token(t, "x"), make(chan struct{})
	release := make(chan struct{})
	hang := providertest.HangUntil(release)
	f.provider.Next(providers.StepIntrospect, func(s *providertest.Server, w http.ResponseWriter, r *http.Request,
		usual http.HandlerFunc,
	) {
		close(asked)
		hang(s, w, r, usual)
	})
	answer := make(chan testenv.Result, 1)
	go func() { answer <- f.Write("refresh/x", nil) }()
	<-asked
	former := f.Env
	f.restart(t)
	f.System.SetReplication(0)
	now := f.token(t, "x")
	assert.NotEqual(t, before, now)
	assert.True(t, f.provider.Alive(now.(string)))
	f.Advance(time.Minute)
	f.Write("refresh/x", nil).OK(t)
	f.most(t, 1)
	close(release)
	(<-answer).OK(t)
	former.Stop()
}

// Each write that a refresh makes may fail, the one of the end of its token among them.
func TestIntrospectionWhileStorageRefuses(t *testing.T) {
	for n := int64(1); ; n++ {
		f := newFixture(t, Options{}, testenv.InProcess, providertest.WithSilentLifetime())
		f.introspecting(t)
		f.connect(t, "x")
		f.Advance(time.Minute)
		fired := failWrite(f.Storage, n)
		first := f.Write("refresh/x", nil)
		f.Storage.Judge(nil)
		if first.Status >= 400 {
			f.Write("refresh/x", nil).OK(t)
		}
		f.saved(t)
		f.restart(t)
		f.System.SetReplication(0)
		assert.True(t, f.provider.Alive(f.token(t, "x").(string)), "write %d", n)
		f.Advance(time.Minute)
		assert.NotEmpty(t, f.Write("refresh/x", nil).OK(t)["expire_time"], "write %d", n)
		f.most(t, 1)
		if !fired.Load() {
			require.Greater(t, n, int64(3))
			return
		}
	}
}

// After a check that passes it is asked again, once an hour at most.
func TestIntrospectedAfterACheck(t *testing.T) {
	silently(t, func(t *testing.T, f *fixture) {
		f.provider.Next(providers.StepIntrospect, outage, outage)
		f.connect(t, "x")
		f.Write("check/x", nil).OK(t)
		asked := func() int { return f.provider.Count(providers.StepIntrospect) }
		require.Eventually(t, func() bool { return asked() == 2 }, time.Minute, time.Millisecond)
		f.Advance(30 * time.Minute)
		f.Write("check/x", nil).OK(t)
		assert.Empty(t, f.ends(t, "x"))
		f.Advance(31 * time.Minute)
		f.Write("check/x", nil).OK(t)
		f.learnsEnd(t, "x")
		assert.Equal(t, 3, asked())
		f.Advance(time.Hour)
		f.Write("check/x", nil).OK(t)
		if _, here := f.Backend.(*backend); here {
			f.quiet(t)
			assert.Equal(t, 3, asked(), "it is known")
		}
	})
}

// Where an operator confines the hosts, the one that tokens are shown to for this is among those that must be allowed,
// and is told before anybody consents.
func TestIntrospectionHost(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		const definition = `
name: Own
extends: oidc
lifetime: {from: introspect}
`
		f.provider.Next(providers.StepDiscovery, providertest.Respond(200, `{"issuer":"`+f.provider.URL+
			`","authorization_endpoint":"`+f.provider.URL+`/authorize","token_endpoint":"`+f.provider.URL+
			`/token","introspection_endpoint":"https://elsewhere.example.com/i"}`))
		f.Write("config", map[string]any{"endpoint_hosts": "127.0.0.1"}).OK(t)
		f.Write("providers/own", map[string]any{
			"definition_yaml": definition, "issuer": f.provider.URL, "client_id": providertest.ClientID,
			"client_secret": providertest.ClientSecret, "redirect_uris": appRedirect,
		}).OK(t)
		f.Write("auth-code-url/y", map[string]any{"provider": "own", "redirect_uri": appRedirect}).
			Refused(t, http.StatusConflict, "elsewhere.example.com", "endpoint_hosts")
	})
}

// What has changed since the token was read decides whether it is shown to anybody.
func TestIntrospectedNoMore(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess, providertest.WithSilentLifetime())
	f.introspecting(t)
	f.provider.Next(providers.StepIntrospect, outage)
	f.connect(t, "x")
	b, k := f.engine(), store.Key{Owner: store.Owner{Org: "default"}, Name: "x"}
	conn, _, err := b.connections.Get(t.Context(), k)
	require.NoError(t, err)
	asks := func() bool {
		t.Helper()
		before := f.provider.Count(providers.StepIntrospect)
		until, err := b.askLifetime(t.Context(), gate.Reader, k, conn)
		require.NoError(t, err)
		assert.True(t, conn.Grant.Expires.IsZero(), "others read it")
		asked := f.provider.Count(providers.StepIntrospect) > before
		assert.Equal(t, asked, !until.IsZero())
		return asked
	}
	require.True(t, asks())
	f.Write("connections/x", map[string]any{"disabled": true}).OK(t)
	assert.False(t, asks(), "it is switched off")
	f.Write("connections/x", map[string]any{"disabled": false}).OK(t)
	require.True(t, asks())

	f.provider.Next(providers.StepIntrospect, providertest.Respond(http.StatusOK, `{"active":true}`))
	f.Storage.Forget()
	require.NoError(t, b.dateAgain(t.Context(), k))
	assert.Zero(t, f.Storage.Writes(), "nothing was learned")
	before := f.provider.Count(providers.StepIntrospect)
	f.System.SetReplication(consts.ReplicationPerformanceStandby)
	require.NoError(t, b.dateAgain(t.Context(), k))
	f.System.SetReplication(0)
	assert.Equal(t, before, f.provider.Count(providers.StepIntrospect), "nothing could be stored")

	settings := f.acme()
	settings["endpoints"] = with(settings["endpoints"].(map[string]any), map[string]any{
		"introspect": f.provider.URL + "/introspect", "token": "http://127.0.0.1:1/token",
	})
	f.Write("providers/acme", settings).OK(t)
	assert.False(t, asks(), "the provider is another")
}

// A service that wants to rest is left alone with this too.
func TestIntrospectionLimited(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess, providertest.WithSilentLifetime())
	f.introspecting(t)
	f.provider.Next(providers.StepIntrospect, outage,
		providertest.Respond(http.StatusTooManyRequests, "", "Retry-After", "3600"))
	f.connect(t, "x")
	b, k := f.engine(), store.Key{Owner: store.Owner{Org: "default"}, Name: "x"}
	conn, _, err := b.connections.Get(t.Context(), k)
	require.NoError(t, err)
	for range 2 {
		_, err = b.askLifetime(t.Context(), gate.Background, k, conn)
		require.Error(t, err)
	}
	var shut *gate.Refused
	require.ErrorAs(t, err, &shut)
	assert.Equal(t, 2, f.provider.Count(providers.StepIntrospect))
}

// What went wrong on this node is for its log.
func TestUndated(t *testing.T) {
	b := newFixture(t, Options{}, testenv.InProcess).engine()
	assert.Empty(t, b.undated(nil))
	warnings := strings.Join(b.undated(errors.New("a raw word")), "")
	assert.Contains(t, warnings, "could not be learned")
	assert.NotContains(t, warnings, "raw")
}
