package backend

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// Who set up what of a connection, and who opened it, is remembered of each apart.
func TestWhoSetWhat(t *testing.T) {
	const path = "user/e-alice/x"
	plant := func(t *testing.T, f *fixture, more map[string]any) {
		t.Helper()
		f.Write("providers/acme", map[string]any{"allow_import": "all"}).OK(t)
		f.Write("connections/"+path, with(map[string]any{
			"provider": "acme", "access_token": "bogus", "provision": true, "verify": false,
		}, more), bob).OK(t)
	}
	import_ := func(t *testing.T, f *fixture, more map[string]any) testenv.Result {
		t.Helper()
		return f.Write("connections/self/x", with(map[string]any{
			"provider": "acme", "refresh_token": f.elsewhere(t),
		}, more), alice)
	}
	inProcess(t, map[string]func(*testing.T, *fixture){
		"that she opened it, though others say the same": func(t *testing.T, f *fixture) {
			f.connect(t, "self/x", alice)
			f.Write("connections/self/x", map[string]any{"private": false}, alice).OK(t)
			f.Write("connections/"+path, map[string]any{"private": false}, bob).OK(t)
			f.connect(t, "self/x", alice)
			f.Read("creds/"+path, nil, bob).OK(t)
		},
		"scopes that others require": func(t *testing.T, f *fixture) {
			f.connect(t, "self/x", alice)
			f.Write("connections/self/x", map[string]any{"private": false}, alice).OK(t)
			f.Write("connections/"+path, map[string]any{"required_scopes": "admin"}, bob).OK(t)
			f.Write("auth-code-url/self/x", map[string]any{"provider": "acme"}, alice).
				Refused(t, http.StatusBadRequest, "set up by somebody else", "required_scopes")
		},
		"what others set up while she imports": func(t *testing.T, f *fixture) {
			plant(t, f, nil)
			begun, release := f.blocked()
			answer := make(chan testenv.Result, 1)
			go func() { answer <- import_(t, f, nil) }()
			<-begun
			f.Write("connections/"+path, map[string]any{"required_scopes": "admin"}, bob).OK(t)
			close(release)
			assert.Empty(t, texts(t, (<-answer).OK(t)["required_scopes"]))
		},
		"that it is hers since she imported": func(t *testing.T, f *fixture) {
			plant(t, f, nil)
			import_(t, f, nil).OK(t)
			f.Write("auth-code-url/self/x", nil, alice).OK(t)
		},
		"what it was, where she leaves it open": func(t *testing.T, f *fixture) {
			plant(t, f, nil)
			r := import_(t, f, map[string]any{"private": false})
			assert.Equal(t, false, r.OK(t)["private"])
			assert.NotContains(t, strings.Join(r.Warnings, " "), "is private now")
		},
		"what her flow asks for": func(t *testing.T, f *fixture) {
			plant(t, f, nil)
			made := f.Write("exchange", f.own(t, "self/x", map[string]any{"scopes": "read"}, alice), alice).OK(t)
			assert.Equal(t, []string{"read"}, texts(t, made["required_scopes"]))
		},
		"not while nobody knows who is there": func(t *testing.T, f *fixture) {
			f.Write("providers/openai", nil).OK(t)
			f.System.FailEntities(errors.New("the system view of this test is down"))
			f.Write("connections/"+path, map[string]any{"provider": "openai", "api_key": openaiKey}, bob).
				Refused(t, http.StatusInternalServerError)
			f.System.FailEntities(nil)
			assert.Equal(t, http.StatusNotFound, f.Read("connections/"+path, nil).Status)
		},
	})
}

// A write meets what was made or deleted while it was looked at.
func TestWriteMeetsAnother(t *testing.T) {
	// lands sends an import that is identified while somebody does something else.
	lands := func(t *testing.T, f *fixture, meanwhile func()) testenv.Result {
		t.Helper()
		asked, release := make(chan struct{}), make(chan struct{})
		f.provider.Next(providers.StepIdentity, func(
			s *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc,
		) {
			close(asked)
			providertest.HangUntil(release)(s, w, r, func(w http.ResponseWriter, r *http.Request) {
				providertest.Respond(http.StatusOK, `{"sub":"`+providertest.AccountID+`"}`)(s, w, r, behave)
			})
		})
		answer := make(chan testenv.Result, 1)
		go func() {
			answer <- f.Write("connections/x", map[string]any{"provider": "acme", "access_token": "late", "expires_in": 60})
		}()
		<-asked
		meanwhile()
		close(release)
		return <-answer
	}
	inProcess(t, map[string]func(*testing.T, *fixture){
		"made": func(t *testing.T, f *fixture) {
			var token any
			lands(t, f, func() { f.connect(t, "x"); token = f.token(t, "x") }).
				Refused(t, http.StatusConflict, "made by somebody else meanwhile")
			assert.Equal(t, token, f.token(t, "x"))
		},
		"deleted": func(t *testing.T, f *fixture) {
			f.connect(t, "x")
			lands(t, f, func() { f.Delete("connections/x", nil).OK(t) }).
				Refused(t, http.StatusConflict, "deleted meanwhile")
			assert.Equal(t, http.StatusNotFound, f.Read("connections/x", nil).Status)
		},
	})
}

// The operator's words, and what goes on without them.
func TestWordsOfTheOperator(t *testing.T) {
	inProcess(t, map[string]func(*testing.T, *fixture){
		"kinds say nothing of what is connected": func(t *testing.T, f *fixture) {
			f.connect(t, "x")
			f.Write("providers/acme", map[string]any{"kinds": "client_credentials"}).OK(t)
			f.connect(t, "x")
			f.Write("auth-code-url/y", map[string]any{"provider": "acme"}).Refused(t, http.StatusForbidden, "to kinds on")
		},
		"private is for users": func(t *testing.T, f *fixture) {
			f.Write("auth-code-url/org/acme/x", map[string]any{"provider": "acme", "private": true}).
				Refused(t, http.StatusBadRequest, "private goes with")
		},
		"another account that is not known": func(t *testing.T, f *fixture) {
			f.connect(t, "x")
			own := f.own(t, "x", nil)
			f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusServiceUnavailable, ""))
			made := f.Write("exchange", with(own, map[string]any{"allow_account_change": true})).OK(t)
			assert.Empty(t, members(t, made["account"])["id"], "it may be anybody's")
		},
	})
}

// Behind the fence nothing is spent, whatever config says.
func TestFence(t *testing.T) {
	f := newFixture(t, Options{Paused: true}, testenv.InProcess)
	assert.Equal(t, true, f.Read("status", nil).OK(t)["refresh_paused"])
	f.Write("connections/x", map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}).
		Refused(t, http.StatusConflict, "paused")
	f.connect(t, "y")
	f.Advance(2 * time.Hour)
	f.Read("creds/y", nil).Refused(t, http.StatusConflict, "paused")
	assert.Zero(t, f.spent())
}

// However short tokens live, readers have none replaced that is younger than half a minute.
func TestSoonestReplacement(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess, providertest.WithLifetime(100*time.Second))
	f.connect(t, "x")
	f.Advance(28 * time.Second)
	r := f.Read("creds/x", map[string]any{"min_ttl": "80s"})
	r.OK(t)
	assert.Contains(t, strings.Join(r.Warnings, " "), "too new to be replaced")
	f.Advance(3 * time.Second)
	token := r.Data["access_token"]
	require.Eventually(t, func() bool {
		return f.Read("creds/x", map[string]any{"min_ttl": "80s"}).OK(t)["access_token"] != token
	}, time.Minute, time.Millisecond)
}

// A definition may refuse what nobody allowed, until the operator says otherwise.
func TestSurplusScopesOfADefinition(t *testing.T) {
	o := withInputs(t)
	strict := strings.NewReplacer("id: based", "id: strict", "name: Based", "name: Strict").Replace(based) +
		"scopes: {surplus: refuse}\n"
	catalog, err := providers.NewRegistry(fstest.MapFS{"strict.yaml": {Data: []byte(strict)}})
	require.NoError(t, err)
	o.Catalog = catalog
	f := &fixture{clock: newClock()}
	o.Now = f.Now
	f.Env = testenv.InProcess(t, New(o), &testenv.Storage{})
	f.provider = providertest.New(t, providertest.WithClock(f.Now))
	f.Write("config", map[string]any{"public_url": "https://vault.example.com", "egress_allow": "127.0.0.1"}).OK(t)
	f.Write("providers/strict", map[string]any{
		"inputs": map[string]any{"base": f.provider.URL}, "client_id": providertest.ClientID,
		"client_secret": providertest.ClientSecret, "redirect_uris": appRedirect, "allowed_scopes": "read",
	}).OK(t)
	wide := providertest.Respond(http.StatusOK, `{"access_token":"a","token_type":"bearer","scope":"read admin"}`)
	own := func() map[string]any { return f.own(t, "x", map[string]any{"provider": "strict"}) }
	first := own()
	f.provider.Next(providers.StepToken, wide)
	f.Write("exchange", first).Refused(t, http.StatusConflict, "more was granted")
	f.Write("providers/strict", map[string]any{"surplus_scopes": "warn"}).OK(t)
	second := own()
	f.provider.Next(providers.StepToken, wide)
	f.Write("exchange", second).OK(t)
}
