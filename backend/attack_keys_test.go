package backend

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// The same key sent again is no new one, unless somebody or something made it one meanwhile: then the write has no
// token to store, and says so.
func TestSameKeyThatIsAnotherByThen(t *testing.T) {
	for name, meanwhile := range map[string]func(t *testing.T, f *fixture){
		"another key was written": func(t *testing.T, f *fixture) {
			f.Write("connections/robots", map[string]any{"file": f.robots(t), "subject": "ada"}).OK(t)
		},
		"the service refused it": func(t *testing.T, f *fixture) {
			f.provider.Trust(nil)
			f.Advance(2 * time.Hour)
			f.Read("creds/robots", nil).Refused(t, http.StatusConflict, "grant_refused")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, withBought(t), testenv.InProcess)
			file := f.robots(t)
			again := map[string]any{"file": file, "subject": "ada"}
			f.Write("connections/robots", again).OK(t)
			b := f.Backend.(*backend)
			k := store.Key{Owner: store.Owner{Org: "default"}, Name: "robots"}
			w := plannedWrite(t, b, k, again)
			require.False(t, w.issues(), "it is the key that is there")
			meanwhile(t, f)
			before := f.Read("connections/robots", nil).OK(t)
			conn, err := w.store(t.Context(), b, w.apply)
			assert.Nil(t, conn)
			require.ErrorContains(t, err, "changed meanwhile")
			assert.Equal(t, asUnread(before), asUnread(f.Read("connections/robots", nil).OK(t)))
		})
	}
}

// plannedWrite is a write of a connection that was validated, and nothing more.
func plannedWrite(t *testing.T, b *backend, k store.Key, data map[string]any) *write {
	t.Helper()
	var fields map[string]*framework.FieldSchema
	for _, p := range b.Paths {
		if _, there := p.Fields["restore_former"]; there {
			fields = p.Fields
		}
	}
	require.NotNil(t, fields)
	w, err := b.planWrite(t.Context(), k, callerOf(&logical.Request{ClientTokenAccessor: "a"}),
		&framework.FieldData{Raw: data, Schema: fields})
	require.NoError(t, err)
	return w
}

// Keys of one person that the service takes no more, in whatever words, keep nobody else's from buying.
func TestRefusedKeysStopNobodyElse(t *testing.T) {
	for _, words := range []string{
		"invalid_scope", "invalid_request", "unsupported_grant_type", "invalid_client", "invalid_grant",
	} {
		t.Run(words, func(t *testing.T) {
			f := newFixture(t, withBought(t), testenv.InProcess)
			file := f.robots(t)
			for _, name := range []string{"one", "two", "three"} {
				f.Write("connections/"+name, map[string]any{"provider": "robots", "file": file, "subject": name}).OK(t)
			}
			for range 20 { // whoever asks first
				f.provider.Next(providers.StepToken, refusesSubjects(t, words, "one", "two"))
			}
			f.Advance(2 * time.Hour)
			for _, name := range []string{"one", "two"} {
				f.Read("creds/"+name, nil).Refused(t, http.StatusConflict)
			}
			assert.True(t, f.provider.Alive(f.token(t, "three").(string)))
		})
	}
}

// refusesSubjects refuses the assertions that name one of these, and no other.
func refusesSubjects(t *testing.T, words string, subjects ...string) providertest.Behavior {
	return func(s *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		r.Body = io.NopCloser(bytes.NewReader(body))
		form, err := url.ParseQuery(string(body))
		assert.NoError(t, err)
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(form.Get("assertion"), ".")[1])
		assert.NoError(t, err)
		var claims struct{ Sub string }
		assert.NoError(t, json.Unmarshal(payload, &claims))
		if slices.Contains(subjects, claims.Sub) {
			providertest.Respond(http.StatusBadRequest, `{"error":"`+words+`"}`)(s, w, r, behave)
			return
		}
		behave(w, r)
	}
}

// A private key is told by its id, the former one by its own, whichever of both paths brought the new one.
func TestFormerKeyIDIsKept(t *testing.T) {
	for name, rotate := range map[string]func(f *fixture, key, certificate string){
		"at once": func(f *fixture, key, certificate string) {
			f.Write("providers/signs", map[string]any{
				"client_secret": key, "client_key_id": "second", "client_certificate": certificate,
			}).OK(t)
		},
		"by the secret's own path": func(f *fixture, key, certificate string) {
			f.Write("providers/signs/client-secret", map[string]any{"client_key_id": "second"}).
				Refused(t, http.StatusBadRequest, "client_key_id", "write it with client_secret")
			f.Write("providers/signs/client-secret", map[string]any{
				"client_secret": key, "client_key_id": "second", "client_certificate": certificate,
			}).OK(t)
		},
		"one after the other": func(f *fixture, key, certificate string) {
			f.Write("providers/signs", map[string]any{"client_certificate": ""}).OK(t)
			f.Write("providers/signs/client-secret", map[string]any{"client_secret": key}).OK(t)
			f.Write("providers/signs", map[string]any{"client_key_id": "second", "client_certificate": certificate}).OK(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, withBought(t), testenv.InProcess)
			first, certificate := certifiedKey(t)
			f.Write("providers/signs", map[string]any{
				"definition": "oauth2", "client_id": "app-1", "client_secret": first, "client_key_id": "first",
				"client_certificate": certificate, "kinds": "client_credentials",
				"endpoints": map[string]any{"token": f.provider.URL + "/token"},
			}).OK(t)
			second, another := certifiedKey(t)
			rotate(f, second, another)
			p, err := f.Backend.(*backend).store.Provider(t.Context(), "signs")
			require.NoError(t, err)
			assert.Equal(t, first, p.FormerSecret.Reveal()+"\n")
			assert.Equal(t, "first", p.FormerKeyID)
			assert.Equal(t, "second", p.ClientKeyID)
			assert.Equal(t, strings.TrimSpace(another), strings.TrimSpace(p.ClientCertificate))
			shown := f.Read("providers/signs", nil)
			assert.NotContains(t, shown.Text, "PRIVATE")
			f.Write("providers/signs/client-secret", map[string]any{"drop_former": true}).OK(t)
			p, err = f.Backend.(*backend).store.Provider(t.Context(), "signs")
			require.NoError(t, err)
			assert.Empty(t, p.FormerKeyID+p.FormerCertificate)
		})
	}
}

// What a key that buys tokens holds is in no answer, error, list or line of a log, and neither is what is signed with
// it.
func TestNothingOfAKeyThatBuysIsTold(t *testing.T) {
	eachWith(t, withBought(t), func(t *testing.T, f *fixture) {
		file := f.robots(t)
		var pem struct{ Pem string }
		require.NoError(t, json.Unmarshal([]byte(file), &pem))
		secrets := strings.Split(strings.TrimSpace(pem.Pem), "\n")[1:20]
		var told []string
		say := func(r testenv.Result) testenv.Result {
			text, err := json.Marshal(r.Response)
			require.NoError(t, err)
			told = append(told, string(text)+r.Text+fmt.Sprint(r.Err))
			return r
		}
		say(f.Write("connections/self/robots", map[string]any{"file": file, "subject": "ada"}, alice)).OK(t)
		for _, path := range []string{
			"connections/self/robots", "creds/self/robots", "history/self/robots", "inventory/self", "status",
			"providers/robots", "catalog/robots", "shares/self/robots",
		} {
			say(f.Read(path, map[string]any{}, alice))
		}
		say(f.Read("creds/self/robots", map[string]any{"include": "send,companions"}, alice))
		say(f.List("connections/", alice))
		for _, path := range []string{"check/self/robots", "refresh/self/robots"} {
			say(f.Write(path, nil, alice))
		}
		say(f.Write("connections/self/robots", map[string]any{"file": strings.Replace(file, "BEGIN", "BEGUN", 1)}, alice))
		say(f.Write("connections/self/robots", map[string]any{"file": file + file}, alice))
		say(f.Write("connections/self/robots", map[string]any{"file": file, "subject": "UPPER"}, alice))
		say(f.Write("connections/self/robots", map[string]any{"restore_former": true}, alice))
		say(f.Write("connections/self/robots", map[string]any{"access_token": "x", "kind": "jwt_bearer"}, alice))
		f.provider.Next(providers.StepToken, providertest.Respond(http.StatusBadRequest,
			`{"error":"invalid_grant","x":"`+secrets[3]+`"}`))
		f.Advance(2 * time.Hour)
		say(f.Read("creds/self/robots", nil, alice))
		say(f.Read("connections/self/robots", nil, alice))
		say(f.Delete("connections/self/robots", nil, alice))
		say(f.Read("history/self/robots", nil, alice))
		told = append(told, f.Logs.String())
		for _, r := range f.provider.Requests(providers.StepToken) {
			form, err := url.ParseQuery(r.Body)
			require.NoError(t, err)
			secrets = append(secrets, form.Get("assertion"))
		}
		for _, text := range told {
			for _, secret := range secrets {
				require.NotEmpty(t, secret)
				assert.NotContains(t, text, secret)
			}
		}
		for name, entry := range map[string]any{
			"grant": providers.Grant{Key: map[string]providers.Secret{"file": providers.NewSecret(file)}},
			"write": write{grant: &providers.Grant{Key: map[string]providers.Secret{"file": providers.NewSecret(file)}}},
		} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
				assert.NotContains(t, fmt.Sprintf(verb, entry), secrets[3], name)
			}
		}
	})
}

// Imported tokens are of a consent: no kind whose token is bought takes them.
func TestBoughtKindsTakeNoImport(t *testing.T) {
	f := newFixture(t, withBought(t), testenv.InProcess)
	f.robots(t)
	for _, kind := range []string{"", "jwt_bearer"} {
		f.Write("connections/robots", map[string]any{"access_token": "acc", "kind": kind}).Refused(t, http.StatusBadRequest)
		f.Write("connections/robots", map[string]any{"refresh_token": "ref", "kind": kind}).Refused(t, http.StatusBadRequest)
	}
	assert.Equal(t, http.StatusNotFound, f.Read("connections/robots", nil).Status)
}

// A key goes along with a transfer by its owner, and with nobody else's.
func TestTransferOfAKeyThatBuys(t *testing.T) {
	for name, c := range map[string]struct {
		who  testenv.Caller
		goes bool
	}{"by its owner": {alice, true}, "by another": {bob, false}} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, withBought(t), testenv.InProcess)
			f.people()
			file := f.robots(t)
			f.Write("connections/self/robots", map[string]any{"file": file, "subject": "ada"}, alice).OK(t)
			f.offers(t, "user/e-alice/robots", "org/acme/robots", c.who)
			f.accept("org/acme/robots", "user/e-alice/robots").OK(t)
			e, err := f.Storage.Get(t.Context(), "connection/org/acme/robots")
			require.NoError(t, err)
			require.NotNil(t, e)
			text := string(e.Value)
			assert.Equal(t, c.goes, strings.Contains(text, "PRIVATE KEY"))
			f.Advance(2 * time.Hour)
			r := f.Read("creds/org/acme/robots", nil)
			if c.goes {
				assert.True(t, f.provider.Alive(r.OK(t)["access_token"].(string)))
				return
			}
			r.Refused(t, http.StatusConflict)
		})
	}
}

// Whoever writes many keys at once has as many places as anybody, whatever names the connections have.
func TestWritersOfKeysLeavePlaces(t *testing.T) {
	f := newFixture(t, withBought(t), testenv.InProcess)
	file := f.robots(t)
	release := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 16 {
		f.provider.Next(providers.StepToken, providertest.HangUntil(release))
		wg.Go(func() {
			f.Write(fmt.Sprintf("connections/org/o%d/robots", i), map[string]any{
				"provider": "robots", "file": file, "subject": "bob",
			}, bob)
		})
	}
	defer wg.Wait()
	defer close(release)
	b := f.Backend.(*backend)
	require.Eventually(t, func() bool {
		r := b.gate.Report()
		return r.Inside+r.Waiting == 16
	}, time.Minute, time.Millisecond)
	assert.Equal(t, 4, b.gate.Report().Inside)
	assert.Equal(t, 12, b.gate.Report().Waiting)
}

const tenantsYAML = `name: Tenants
kinds: [client_credentials]
endpoints: {token: https://tenants.example.com/token}
inputs: [{name: tenant, set_by: connection, required: true, pattern: '[a-z]+'}]
token: {params: {tenant: '{tenant}'}}
account: {id: ['token:who'], label: ['token:who']}
`

// Whose account it was under other inputs is not told of the one that those open now.
func TestAccountOfOtherInputs(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.Write("providers/tenants", map[string]any{
		"definition_yaml": tenantsYAML, "client_id": "app-1", "client_secret": "words", "kinds": "client_credentials",
		"endpoints":    map[string]any{"token": f.provider.URL + "/token"},
		"bound_inputs": map[string]any{"org/acme": map[string]any{"tenant": []any{"one", "two"}}},
	}).OK(t)
	of := func(tenant string) map[string]any {
		return map[string]any{
			"provider": "tenants", "kind": "client_credentials", "inputs": map[string]any{"tenant": tenant},
		}
	}
	f.provider.Next(providers.StepToken,
		providertest.Respond(200, `{"access_token":"a-1","expires_in":60,"who":"one-ltd"}`))
	made := f.Write("connections/org/acme/tenants", of("one")).OK(t)
	assert.Equal(t, "one-ltd", members(t, made["account"])["id"])
	f.provider.Next(providers.StepToken, providertest.Respond(200, `{"access_token":"a-2","expires_in":60}`))
	made = f.Write("connections/org/acme/tenants", of("two")).OK(t)
	assert.Empty(t, members(t, made["account"])["id"])
	f.Advance(time.Hour)
	f.provider.Next(providers.StepToken,
		providertest.Respond(200, `{"access_token":"a-3","expires_in":60,"who":"two-ltd"}`))
	f.Write("refresh/org/acme/tenants", nil).OK(t)
	assert.Equal(t, "two-ltd", members(t, f.Read("connections/org/acme/tenants", nil).OK(t)["account"])["id"])
}

const bothYAML = `name: Both
kinds: [jwt_bearer, key_pair, api_key]
key:
  fields: [{name: pem, required: true, secret: true, multiline: true, handed_out: true}, {name: login, required: true}]
  send: {headers: {X-Key: '{login}'}}
assertion: {alg: RS256, key: pem, claims: {iss: '{login}', aud: 'https://both.example.com/token'}, ttl: 1h}
endpoints: {token: https://both.example.com/token}
token: {by_kind: {jwt_bearer: {auth: none}}}
check: none
`

// The same fields as a key of its own kind are handed out, and as what buys a token they are not; from one kind to the
// other there is no way back to the former key.
func TestSameKeyOfTwoKinds(t *testing.T) {
	f := newFixture(t, withBought(t), testenv.InProcess)
	pem, _ := someKey(t)
	f.Write("providers/both", map[string]any{
		"definition_yaml": bothYAML, "endpoints": map[string]any{"token": f.provider.URL + "/token"},
	}).OK(t)
	key := func(kind, login string) map[string]any {
		return map[string]any{"provider": "both", "kind": kind, "pem": pem, "login": login}
	}
	f.Write("connections/both", key("key_pair", "ada")).OK(t)
	f.Write("connections/both", key("key_pair", "eve")).OK(t)
	assert.NotEmpty(t, f.Read("creds/both", nil).OK(t)["pem"])
	answer := providertest.Respond(200, `{"access_token":"a-1","expires_in":60}`)
	f.provider.Next(providers.StepToken, answer)
	f.Write("connections/both", key("jwt_bearer", "ada")).OK(t)
	f.Write("connections/both", map[string]any{"restore_former": true}).Refused(t, http.StatusConflict, "no former key")
	for _, include := range []string{"", "send", "companions", "send,companions"} {
		r := f.Read("creds/both", map[string]any{"include": include})
		text, err := json.Marshal(r.Response)
		require.NoError(t, err)
		assert.Equal(t, "a-1", r.OK(t)["access_token"])
		assert.NotContains(t, string(text), "BEGIN")
		assert.NotContains(t, r.Data, "login")
	}
	assert.NotContains(t, fmt.Sprint(f.Read("connections/both", nil).OK(t)), "BEGIN")
	f.Write("connections/both", map[string]any{"kind": "key_pair", "login": "ada"}).
		Refused(t, http.StatusBadRequest, `write field "pem" again`)
	f.Write("connections/both", key("key_pair", "ada")).OK(t)
	assert.NotEmpty(t, f.Read("creds/both", nil).OK(t)["pem"])
	assert.NotContains(t, f.Read("creds/both", nil).OK(t), "access_token")
}

// Whatever storage does at each access, and for however long, no key is lost that was acknowledged, and nothing is half
// written.
func TestStorageHangsWhileAKeyBuys(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for time-outs")
	}
	tests := map[string]func(*testing.T){}
	for n := 1; n <= 8; n++ {
		tests[fmt.Sprint("access ", n)] = func(t *testing.T) {
			f := newFixture(t, withBought(t), testenv.InProcess)
			file := f.robots(t)
			land := make(chan struct{})
			picked := testenv.Nth(n, func(a testenv.Access) bool { return a.Op != "list" })
			f.Storage.Hang(picked, func(testenv.Access) { <-land })
			first := f.Write("connections/robots", map[string]any{"file": file, "subject": "ada"})
			f.Storage.Hang(nil, nil)
			close(land)
			if first.Status >= 300 {
				assert.NotContains(t, first.Text, "PRIVATE")
				require.Eventually(t, func() bool {
					return f.Write("connections/robots", map[string]any{"file": file, "subject": "ada"}).Status < 300
				}, time.Minute, 10*time.Millisecond)
			}
			assert.True(t, f.provider.Alive(f.token(t, "robots").(string)))
			f.Advance(time.Minute) // what was not saved at once is soon, and the process lives till then
			require.Eventually(t, func() bool {
				f.periodic(t)
				e, err := f.Storage.Get(t.Context(), "connection/org/default/robots")
				return err == nil && e != nil
			}, time.Minute, 10*time.Millisecond)
			f.restart(t)
			f.System.SetReplication(0)
			f.Advance(2 * time.Hour)
			assert.True(t, f.provider.Alive(f.token(t, "robots").(string)), "the key is in storage")
		}
	}
	abreast(t, tests)
}

// An offer is of the key that was there when it was made, however often a token was bought with it since.
func TestOfferIsOfTheKeyThatBuys(t *testing.T) {
	for name, again := range map[string]string{"the key": "pass-1234", "another key": "pass-5678"} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, withBought(t), testenv.InProcess)
			f.provider.SetPassword("pass-1234")
			f.Write("providers/logins", map[string]any{"endpoints": map[string]any{"token": f.provider.URL + "/login"}}).OK(t)
			f.Write("connections/org/acme/logins", map[string]any{"username": "ada", "password": "pass-1234"}, alice).OK(t)
			f.offers(t, "org/acme/logins", "org/umbrella/logins", alice)
			f.Advance(2 * time.Hour)
			f.Read("creds/org/acme/logins", nil).OK(t)
			f.provider.SetPassword(again)
			f.Write("connections/org/acme/logins", map[string]any{"username": "ada", "password": again}, alice).OK(t)
			r := f.accept("org/umbrella/logins", "org/acme/logins")
			if again == "pass-1234" {
				r.OK(t)
				return
			}
			assert.GreaterOrEqual(t, r.Status, 400)
			assert.Equal(t, http.StatusNotFound, f.Read("connections/org/umbrella/logins", nil).Status)
		})
	}
}

// While the mount is frozen nothing is asked with what is the operator's, and nothing is bought.
func TestFrozenMountBuysNothing(t *testing.T) {
	f := newFixture(t, withBought(t), testenv.InProcess)
	file := f.robots(t)
	f.Write("connections/robots", map[string]any{"file": file}).OK(t)
	pem, public := someKey(t)
	f.provider.Trust(public)
	f.Write("providers/apps", map[string]any{
		"client_id": "app-1", "pem": pem, "kinds": "jwt_bearer",
		"inputs":    map[string]any{"audience": f.provider.URL + "/token"},
		"endpoints": map[string]any{"token": f.provider.URL + "/token", "reaches": f.provider.URL + "/userinfo"},
	}).OK(t)
	f.Write("config", map[string]any{"frozen": true, "frozen_reason": "an incident"}).OK(t)
	f.Write("providers/apps/reach", nil).Refused(t, http.StatusForbidden, "frozen", "an incident")
	f.Read("creds/robots", nil).Refused(t, http.StatusForbidden, "frozen")
	for _, verify := range []bool{true, false} {
		f.Write("connections/robots", map[string]any{"file": file, "subject": "eve", "verify": verify}).
			Refused(t, http.StatusForbidden, "frozen")
		f.Write("connections/more", map[string]any{"provider": "robots", "file": file, "verify": verify}).
			Refused(t, http.StatusForbidden, "frozen")
	}
	f.Advance(2 * time.Hour)
	f.periodic(t)
	f.Read("creds/robots", nil).Refused(t, http.StatusForbidden, "frozen")
	assert.Equal(t, 1, f.provider.Count(providers.StepToken))
	assert.Zero(t, f.provider.Count(providers.StepIdentity))
}

// An end forgets the key with the token, and says that people end it at the service; until another is written
// nothing is bought.
func TestEndOfAKeyThatBuys(t *testing.T) {
	f := newFixture(t, withBought(t), testenv.InProcess)
	file := f.robots(t)
	for name, verify := range map[string]bool{"bought": true, "held": false} {
		f.Write("connections/org/acme/"+name, map[string]any{"provider": "robots", "file": file, "verify": verify}).OK(t)
	}
	told := f.ended(t, map[string]any{"all": true}, nil)
	bought := f.provider.Count(providers.StepToken) // what nobody tried was bought by itself, or was not
	assert.NotContains(t, fmt.Sprint(told), "PRIVATE")
	for _, name := range []string{"bought", "held"} {
		key := "connection/org/acme/" + name
		f.passes(t, time.Minute, func() bool {
			e, err := f.Storage.Get(t.Context(), key)
			return err == nil && e != nil && !strings.Contains(string(e.Value), "PRIVATE KEY")
		})
		f.Read("creds/org/acme/"+name, nil).Refused(t, http.StatusConflict, "revoked")
		f.Write("refresh/org/acme/"+name, nil).Refused(t, http.StatusConflict, "revoked")
	}
	assert.Equal(t, bought, f.provider.Count(providers.StepToken))
	f.Write("connections/org/acme/bought", map[string]any{"file": file}).OK(t)
	assert.True(t, f.provider.Alive(f.token(t, "org/acme/bought").(string)))
}

// The app's own token is asked for anew, by the words that asked for it first, where the provider refused it or leads
// elsewhere now; and the operator's key is asked for again before.
func TestTokenOfTheAppIsAskedForAnew(t *testing.T) {
	f := newFixture(t, withBought(t), testenv.InProcess)
	pem, public := someKey(t)
	f.provider.Trust(public)
	f.Write("providers/apps", map[string]any{
		"client_id": "app-1", "pem": pem, "kinds": "jwt_bearer",
		"inputs":       map[string]any{"audience": f.provider.URL + "/token"},
		"endpoints":    map[string]any{"token": f.provider.URL + "/token"},
		"bound_inputs": map[string]any{"org/acme": map[string]any{"tenant": "one"}},
	}).OK(t)
	words := map[string]any{"provider": "apps", "kind": "jwt_bearer", "inputs": map[string]any{"tenant": "one"}}
	f.Write("connections/org/acme/apps", words).OK(t)
	f.provider.Next(providers.StepToken, providertest.Respond(http.StatusBadRequest, `{"error":"invalid_grant"}`))
	f.Advance(2 * time.Hour)
	f.Read("creds/org/acme/apps", nil).Refused(t, http.StatusConflict, "grant_refused", "kind=jwt_bearer alone")
	f.Write("connections/org/acme/apps", words).OK(t)
	assert.True(t, f.provider.Alive(f.token(t, "org/acme/apps").(string)))

	asked := f.provider.Count(providers.StepToken)
	f.Write("providers/apps", map[string]any{"client_id": "app-2"}).OK(t)
	assert.Equal(t, "provider_changed", f.Read("connections/org/acme/apps", nil).OK(t)["status_reason"])
	r := f.Write("connections/org/acme/apps", words)
	assert.GreaterOrEqual(t, r.Status, 400, "the key was cleared")
	assert.Equal(t, asked, f.provider.Count(providers.StepToken))
	f.Write("providers/apps", map[string]any{"pem": pem}).OK(t)
	f.Write("connections/org/acme/apps", words).OK(t)
	assert.True(t, f.provider.Alive(f.token(t, "org/acme/apps").(string)))
	f.Write("connections/org/acme/apps", words).OK(t)
	assert.Equal(t, asked+1, f.provider.Count(providers.StepToken))
}

// Lines are for private keys: a secret that holds some was copied with what is none of it.
func TestOnlyKeysHaveLines(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	for _, secret := range []string{
		"a\nb", "a\r\nb", "words -----BEGIN PRIVATE KEY-----\nb", "\n-----BEGIN PRIVATE KEY-----",
	} {
		r := f.Write("providers/acme", map[string]any{"client_secret": secret})
		r.Refused(t, http.StatusBadRequest, "client_secret")
		assert.NotContains(t, r.Text, "words")
	}
}
