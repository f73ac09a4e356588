package backend

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// git configures a provider where a token of a person's own comes with its host, and a password is for the operator's.
func (f *fixture) git(t *testing.T, more map[string]any) {
	t.Helper()
	f.Write("providers/acme", map[string]any{"shared_redirect": true}).OK(t)
	f.Write("providers/git", with(map[string]any{
		"client_id": providertest.ClientID, "client_secret": providertest.ClientSecret, "redirect_uris": appRedirect,
		"shared_redirect": true, "definition_yaml": strings.ReplaceAll(`name: Git
kinds: [authorization_code, api_key, basic]
inputs:
  - name: base
    set_by: provider
    by_kind: {api_key: {set_by: connection}}
    default: URL
    pattern: 'https?://[a-z0-9.:]+'
endpoints:
  authorize: '{base}/authorize'
  token: '{base}/token'
  revoke: '{base}/revoke'
  identity: '{base}/userinfo'
  health: '{base}/userinfo'
api_base: '{base}/api'
refresh: {token: rotating}
revoke: {reach: account}
identity: {}
health: {}
account: {id: [sub]}
key:
  fields:
    - {name: login, required: true}
    - {name: token, required: true, secret: true}
  send: {basic_user: '{login}', basic_password: '{token}'}
`, "URL", f.provider.URL),
	}, more)).OK(t)
}

// aHost is a host that a connection names. It gives one answer to all, and keeps what arrives.
func aHost(t *testing.T, status int, body string, headers ...string) (url string, loot func() []string) {
	t.Helper()
	var (
		mu  sync.Mutex
		got []string
	)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		dump, _ := httputil.DumpRequest(r, true)
		_, password, _ := r.BasicAuth()
		mu.Lock()
		got = append(got, string(dump)+"\n"+password)
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return got
	}
}

func at(url string) map[string]any { return map[string]any{"base": url} }

func theKey(more map[string]any) map[string]any {
	return with(map[string]any{"provider": "git", "kind": "api_key", "login": "alice", "token": "the-token-of-alice"},
		more)
}

// A key may come with its host, and is shown to no other before it is written again.
func TestKeyComesWithItsHost(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.git(t, nil)
		home, visits := aHost(t, http.StatusOK, `{"sub":"alice"}`)
		other, others := aHost(t, http.StatusOK, `{"sub":"alice"}`)
		f.Write("connections/k", theKey(map[string]any{"inputs": at(home)}), alice).OK(t)
		require.Len(t, visits(), 1)
		assert.Contains(t, visits()[0], "the-token-of-alice")
		read := f.Read("creds/k", map[string]any{"include": "send"}).OK(t)
		assert.Equal(t, home+"/api", read["api_base"])
		assert.Equal(t, home, members(t, read["connection_config"])["base"])
		assert.Contains(t, members(t, members(t, read["send"])["headers"]), "Authorization")
		assert.Equal(t, "true", f.Write("check/k", nil).OK(t)["token_valid"])

		back := f.Read("connections/k", nil).OK(t)
		assert.Equal(t, home, members(t, back["inputs"])["base"])
		f.Write("connections/k", back).OK(t)
		f.Write("connections/k", map[string]any{"label": "mine"}).OK(t)
		f.Write("connections/k", map[string]any{"login": "al"}, alice).OK(t)
		f.Write("connections/k", map[string]any{"inputs": at(other)}).Refused(t, http.StatusBadRequest, "write it again")
		assert.Empty(t, others())
		f.Write("connections/k", theKey(map[string]any{"inputs": at(other)})).OK(t)
		assert.Equal(t, other+"/api", f.Read("creds/k", nil).OK(t)["api_base"])
		f.Write("connections/k", map[string]any{"restore_former": true}).Refused(t, http.StatusConflict, "no former key")

		f.Write("connections/default", theKey(map[string]any{"verify": false})).OK(t)
		assert.Equal(t, f.provider.URL+"/api", f.Read("creds/default", nil).OK(t)["api_base"])
		shown := members(t, f.Read("catalog/provider:git", nil).OK(t)["inputs"])
		assert.Equal(t, map[string]any{"api_key": map[string]any{"set_by": "connection"}},
			members(t, shown["base"])["by_kind"])
		for _, refused := range []map[string]any{
			{"kind": "basic", "inputs": at(other)}, {"inputs": at("file://x")}, {"inputs": at("https://a/b")},
		} {
			f.Write("connections/new", theKey(refused)).Refused(t, http.StatusBadRequest, `input "base"`)
		}
		f.Write("auth-code-url/new", map[string]any{"provider": "git", "inputs": at(other)}).
			Refused(t, http.StatusBadRequest, `input "base" is set on the provider`)
		f.Write("connections/new", map[string]any{"provider": "git", "access_token": "x", "inputs": at(other)}).
			Refused(t, http.StatusBadRequest, `input "base" is set on the provider`)
		assert.Len(t, others(), 1)
	})
}

// Who may write a connection, and does not know its secret, has it sent to no host of theirs: by no field, by no change
// of the kind, and by nothing that comes back.
func TestAttackHostOfAKey(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.git(t, nil)
		home, _ := aHost(t, http.StatusOK, `{"sub":"alice"}`)
		mallorys, loot := aHost(t, http.StatusOK, `{"sub":"alice"}`)
		f.Write("connections/k", theKey(map[string]any{"inputs": at(home), "token": "the-former-of-alice"})).OK(t)
		f.Write("connections/k", theKey(map[string]any{"inputs": at(home)})).OK(t)
		f.Write("connections/b", theKey(map[string]any{"kind": "basic", "verify": false})).OK(t)
		before, beside := f.Read("creds/k", nil).OK(t), f.Read("creds/b", nil).OK(t)
		mask := members(t, f.Read("connections/k", nil).OK(t)["key"])["token"]
		for i, steal := range []map[string]any{
			{"inputs": at(mallorys)},
			{"inputs": at(mallorys), "login": "mallory"},
			{"inputs": at(mallorys), "login": "mallory", "kind": "api_key"},
			{"inputs": at(mallorys), "login": "mallory", "token": mask},
			{"inputs": at(mallorys), "login": "alice", "token": mask, "kind": "api_key"},
			{"inputs": at(mallorys), "restore_former": true},
			{"inputs": at(mallorys), "kind": "basic"},
			{"kind": "basic"},
			{"kind": "basic", "login": "mallory"},
			{"kind": "basic", "login": "alice", "inputs": map[string]any{}},
		} {
			for _, verify := range []bool{true, false} {
				r := f.Write("connections/k", with(steal, map[string]any{"verify": verify}))
				r.Refused(t, http.StatusBadRequest)
				assert.NotContains(t, r.Text, "of-alice", "%d", i)
			}
		}
		for _, steal := range []map[string]any{
			{"kind": "api_key"},
			{"kind": "api_key", "inputs": at(mallorys)},
			{"kind": "api_key", "login": "alice"},
			{"kind": "api_key", "login": "alice", "inputs": at(mallorys)},
			{"inputs": at(mallorys)},
			{"login": "alice", "inputs": at(mallorys)},
		} {
			f.Write("connections/b", with(steal, map[string]any{"verify": false})).Refused(t, http.StatusBadRequest)
		}
		f.Write("check/k", nil).OK(t)
		f.Write("check/b", nil).OK(t)
		assert.Equal(t, before, f.Read("creds/k", nil).OK(t))
		assert.Equal(t, beside, f.Read("creds/b", nil).OK(t))
		assert.Empty(t, loot())
	})
}

// Who writes a key of their own to a connection that somebody else pointed to a host sees that host first.
func TestAttackHostThatSomebodyElseNamed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.git(t, nil)
		mallorys, loot := aHost(t, http.StatusOK, `{"sub":"alice"}`)
		home, _ := aHost(t, http.StatusOK, `{"sub":"alice"}`)
		f.Write("connections/k", theKey(map[string]any{"inputs": at(home)}), alice).OK(t)
		f.Write("connections/k", map[string]any{"login": "alice", "token": "the-next-of-alice"}, alice).OK(t)
		f.Write("connections/k", theKey(map[string]any{"inputs": at(mallorys), "token": "mallorys-own"}), bob).OK(t)
		f.Write("connections/user/e-alice/k", theKey(map[string]any{
			"inputs": at(mallorys), "token": "mallorys-own", "provision": true,
		}), bob).OK(t)
		seen := len(loot())
		f.Write("connections/k", map[string]any{"token": "the-last-of-alice"}, alice).
			Refused(t, http.StatusBadRequest, "somebody else", mallorys, "inputs")
		f.Write("connections/k", map[string]any{"token": "the-last-of-alice", "verify": false}, alice).
			Refused(t, http.StatusBadRequest, "somebody else", mallorys, "inputs")
		f.Write("connections/self/k", theKey(nil), alice).Refused(t, http.StatusBadRequest, "somebody else", "inputs")
		f.Write("connections/k", map[string]any{"login": "al"}, alice).
			Refused(t, http.StatusBadRequest, "somebody else", mallorys, "inputs") // or the host would be hers from then on
		f.Write("connections/k", map[string]any{"label": "mine"}, alice).OK(t)
		f.Write("connections/k", map[string]any{"token": "the-last-of-alice"}, alice).Refused(t, http.StatusBadRequest)
		assert.NotContains(t, strings.Join(loot()[seen:], "\n"), "of-alice")
		f.Write("connections/k", theKey(map[string]any{"inputs": at(home)}), alice).OK(t)
		f.Write("connections/k", map[string]any{"token": "the-last-of-alice"}, alice).OK(t)
		assert.NotContains(t, strings.Join(loot(), "\n"), "of-alice")
	})
}

// Callers without an entity are not one person: what one of them pointed to a host is somebody else's for the next.
func TestAttackHostThatAnotherWithoutAnEntityNamed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.git(t, nil)
		mallorys, loot := aHost(t, http.StatusOK, `{"sub":"alice"}`)
		home, _ := aHost(t, http.StatusOK, `{"sub":"alice"}`)
		f.Write("connections/k", theKey(map[string]any{"inputs": at(home)}), testenv.Root).OK(t)
		f.Write("connections/k", theKey(map[string]any{"inputs": at(mallorys), "token": "mallorys-own"}), testenv.Batch).OK(t)
		seen := len(loot())
		for _, next := range []map[string]any{
			{"token": "the-next"}, {"token": "the-next", "verify": false}, {"login": "al"},
		} {
			f.Write("connections/k", next, testenv.Root).Refused(t, http.StatusBadRequest, "somebody else", mallorys)
		}
		f.Write("connections/k", map[string]any{"label": "mine"}, testenv.Root).OK(t)
		f.Write("connections/k", theKey(map[string]any{"inputs": at(home)}), testenv.Root).OK(t)
		assert.Len(t, loot(), seen)
	})
}

// A host that a key named for itself gets nothing of what is the operator's app's, whatever becomes of the connection.
func TestAttackHostOfAKeyGetsNoGrant(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.git(t, nil)
		mallorys, loot := aHost(t, http.StatusOK, `{"sub":"alice","access_token":"x","token_type":"Bearer"}`)
		plant := func(path string) {
			t.Helper()
			f.Write("connections/"+path, theKey(map[string]any{"inputs": at(mallorys), "token": "mallorys-own"})).OK(t)
		}
		plant("x")
		planted := len(loot())
		parked := f.own(t, "x", map[string]any{"provider": "git"})
		for _, secret := range []string{parked["code"].(string), providertest.ClientSecret} {
			assert.NotContains(t, strings.Join(loot(), "\n"), secret)
		}
		other := f.own(t, "x", map[string]any{"provider": "git"})
		f.Write("exchange", with(parked, map[string]any{"allow_account_change": true})).OK(t)
		read := f.Read("connections/x", nil).OK(t)
		assert.Equal(t, "authorization_code", read["kind"])
		assert.Empty(t, read["inputs"])
		f.Advance(time.Minute)
		f.Write("refresh/x", nil).OK(t)
		assert.Equal(t, "true", f.Write("check/x", nil).OK(t)["token_valid"])

		// a key that comes while a flow is open leads its code nowhere
		plant("x")
		require.Len(t, loot(), planted*2)
		f.Write("exchange", with(other, map[string]any{"allow_account_change": true})).OK(t)
		grant := f.Read("creds/x", nil).OK(t)["access_token"].(string)
		assert.Equal(t, f.provider.URL+"/api", f.Read("creds/x", nil).OK(t)["api_base"])

		// nor does an import in its place
		plant("y")
		f.Write("connections/y", map[string]any{"access_token": grant, "allow_account_change": true}).OK(t)
		assert.Empty(t, f.Read("connections/y", nil).OK(t)["inputs"])
		f.Write("check/y", nil).OK(t)
		plant("z")
		f.Write("connections/z", map[string]any{"refresh_token": "brought", "allow_account_change": true}).
			Refused(t, http.StatusConflict)
		f.Delete("connections/y", nil).OK(t)
		f.Delete("connections/x", nil).OK(t)
		assert.Len(t, loot(), planted*4)
		for _, secret := range []string{providertest.ClientSecret, grant, "brought", other["code"].(string)} {
			assert.NotContains(t, strings.Join(loot(), "\n"), secret)
		}
	})
}

// Where the operator sets the host it holds for all keys, and a key is not sent there by mistake.
func TestHostOfTheProviderHolds(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		home, visits := aHost(t, http.StatusOK, `{"sub":"alice"}`)
		mine, mines := aHost(t, http.StatusOK, `{"sub":"alice"}`)
		f.git(t, nil)
		f.Write("connections/k", theKey(map[string]any{"inputs": at(mine)}), alice).OK(t)
		assert.Len(t, mines(), 1)
		f.Write("providers/git", map[string]any{"inputs": at(home), "client_secret": providertest.ClientSecret}).OK(t)
		assert.Equal(t, "provider_changed", f.Read("connections/k", nil).OK(t)["status_reason"])
		f.Write("check/k", nil).OK(t)
		f.Write("connections/k", map[string]any{"login": "alice"}, alice).Refused(t, http.StatusBadRequest, `"token"`)
		f.Write("connections/k", theKey(nil), alice).Refused(t,
			http.StatusBadRequest, `input "base" is set on the provider`)
		f.Write("connections/k", theKey(map[string]any{"inputs": map[string]any{}})).OK(t)
		f.Write("connections/l", theKey(map[string]any{"inputs": at(mine)})).
			Refused(t, http.StatusBadRequest, `input "base" is set on the provider`)
		f.Write("connections/l", theKey(nil)).OK(t)
		assert.Equal(t, home+"/api", f.Read("creds/l", nil).OK(t)["api_base"])
		assert.Len(t, visits(), 2)
		assert.Len(t, mines(), 1)
	})
}

// endpoint_hosts and the address guard hold for it, when it is written and at each use.
func TestHostOfAKeyIsGuarded(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.git(t, nil)
		home, visits := aHost(t, http.StatusOK, `{"sub":"alice"}`)
		f.Write("config", map[string]any{"endpoint_hosts": "127.0.0.1,*.example.com"}).OK(t)
		for _, verify := range []bool{true, false} {
			f.Write("connections/k", theKey(map[string]any{"inputs": at("https://mallory.test"), "verify": verify})).
				Refused(t, http.StatusConflict, "endpoint_hosts", `"mallory.test"`)
		}
		f.Write("connections/k", theKey(map[string]any{"inputs": at(home)})).OK(t)
		f.Write("config", map[string]any{"endpoint_hosts": "*.example.com"}).OK(t)
		assert.NotContains(t, f.Read("creds/k", nil).OK(t), "api_base", "where applications are not to send it either")
		f.Advance(time.Minute)
		found := f.Write("check/k", nil).OK(t)
		assert.Equal(t, "not_asked", found["service"])
		assert.Contains(t, fmt.Sprint(found["advice"]), "endpoint_hosts")
		assert.Len(t, visits(), 1)

		f.Write("config", map[string]any{"endpoint_hosts": "*"}).OK(t)
		f.Write("providers/woocommerce", nil).OK(t)
		f.Write("connections/woocommerce", map[string]any{
			"inputs":       map[string]any{"store_url": "https://shop.example.org"},
			"consumer_key": "ck_" + strings.Repeat("1", 40), "consumer_secret": "cs_" + strings.Repeat("2", 40),
			"verify": false,
		}).OK(t)
		assert.Equal(t, "https://shop.example.org/wp-json/wc/v3", f.Read("creds/woocommerce", nil).OK(t)["api_base"])
		f.Write("config", map[string]any{"endpoint_hosts": "*.example.com"}).OK(t)
		assert.NotContains(t, f.Read("creds/woocommerce", nil).OK(t), "api_base")
		f.Write("config", map[string]any{"endpoint_hosts": "*"}).OK(t)
		for _, host := range []string{"https://10.0.0.1", "https://169.254.169.254", "https://localhost"} {
			r := f.Write("connections/inside", theKey(map[string]any{"inputs": at(host)}))
			r.OK(t)
			assert.Contains(t, strings.Join(r.Warnings, " "), "could not be found out", host)
			found := f.Write("check/inside", nil).OK(t)
			assert.Contains(t, fmt.Sprint(found["advice"]), "egress_allow", host)
		}
	})
}

// How the hosts of keys fare says nothing of the service, and whose account it is they may lie about.
func TestHostsOfKeysAreNotTheService(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.git(t, nil)
	f.Write("exchange", f.own(t, "grant", map[string]any{"provider": "git"})).OK(t)
	account := members(t, f.Read("connections/grant", nil).OK(t)["account"])["id"]
	down, _ := aHost(t, http.StatusBadGateway, "")
	limited, asked := aHost(t, http.StatusTooManyRequests, "", "Retry-After", "3600")
	hosts := []string{"https://no.such.example.com", down, limited}
	for i := range 12 {
		f.Write(fmt.Sprintf("connections/user/%d/k", i),
			theKey(map[string]any{"inputs": at(hosts[i%len(hosts)]), "provision": true})).OK(t)
	}
	for i := range 12 {
		f.Write(fmt.Sprintf("check/user/%d/k", i), nil).OK(t)
		k := store.Key{Owner: store.Owner{User: fmt.Sprint(i)}, Name: "k"}
		_ = f.engine().identifyAgain(t.Context(), k) // it fails
	}
	assert.GreaterOrEqual(t, len(asked()), 8, "written, and whose it is")
	assert.Empty(t, members(t, f.Read("providers/git", nil).OK(t)["circuit"]))
	assert.Empty(t, f.Read("status", nil).OK(t)["circuits"])
	release := f.fullOf(t, "git"+keyHosts) // as slow hosts could
	f.Advance(time.Minute)
	f.Write("refresh/grant", nil).OK(t)
	release()
	release = f.fullOf(t, "git")
	well, _ := aHost(t, http.StatusOK, `{"sub":"alice"}`)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	f.WriteCtx(ctx, "connections/well", theKey(map[string]any{"inputs": at(well)})).OK(t)
	cancel()
	release()
	pass, err := f.engine().gate.Enter(t.Context(), gate.Visit{
		Key: "git" + keyHosts, Connection: "another", Account: "another", Class: gate.Background,
	})
	require.NoError(t, err, "one host that asks to be left alone keeps no other from being asked")
	pass.Leave(gate.NotSent, 0)

	liar, _ := aHost(t, http.StatusOK, fmt.Sprintf(`{"sub":%q}`, account))
	f.Write("connections/liar", theKey(map[string]any{"inputs": at(liar)})).OK(t)
	require.NoError(t, f.engine().identifyAgain(t.Context(), aKey("liar")))
	assert.Equal(t, account, members(t, f.Read("connections/liar", nil).OK(t)["account"])["id"])
	f.Delete("connections/grant", nil).OK(t)
	assert.Equal(t, 1, f.provider.Count(providers.StepRevoke), "a key rests on no grant")
}

// Slow hosts of one owner's keys keep nobody else's from being called, however many there are.
func TestAttackSlowHostsOfOneOwner(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.git(t, nil)
	open := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-open }))
	t.Cleanup(slow.Close)
	release := sync.OnceFunc(func() { close(open) })
	t.Cleanup(release)
	well, _ := aHost(t, http.StatusOK, `{"sub":"alice"}`)
	var all sync.WaitGroup
	for i := range gate.Places + 4 { // as a member of many organizations
		path := fmt.Sprintf("org/o%d/self/k", i)
		f.Write("connections/"+path, theKey(map[string]any{"inputs": at(slow.URL), "verify": false}), bob).OK(t)
		all.Go(func() { f.Write("check/"+path, nil, bob) })
	}
	gates := f.engine().gate
	require.Eventually(t, func() bool {
		now := gates.Report()
		return now.Inside+now.Waiting == gate.Places+4
	}, time.Minute, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	f.WriteCtx(ctx, "connections/org/o1/k", theKey(map[string]any{"inputs": at(well), "verify": false}), alice).OK(t)
	assert.Equal(t, "true", f.WriteCtx(ctx, "check/org/o1/k", nil, alice).OK(t)["token_valid"])
	require.Eventually(t, func() bool { return gates.Report().Inside == 4 }, time.Minute, time.Millisecond)
	release()
	all.Wait()
}
