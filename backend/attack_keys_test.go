package backend

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
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

// The same key sent again is no new one, unless somebody or something made it one meanwhile: then the write has no token
// to store, and says so.
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
			assert.Equal(t, before, f.Read("connections/robots", nil).OK(t))
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
	for _, words := range []string{"invalid_scope", "invalid_request", "unsupported_grant_type", "invalid_client", "invalid_grant"} {
		t.Run(words, func(t *testing.T) {
			f := newFixture(t, withBought(t), testenv.InProcess)
			file := f.robots(t)
			for _, name := range []string{"one", "two", "three"} {
				f.Write("connections/"+name, map[string]any{"provider": "robots", "file": file, "subject": name}).OK(t)
			}
			f.Advance(2 * time.Hour)
			for _, name := range []string{"one", "two"} {
				f.provider.Next(providers.StepToken, providertest.Respond(http.StatusBadRequest, `{"error":"`+words+`"}`))
				f.Read("creds/"+name, nil).Refused(t, http.StatusConflict)
			}
			assert.True(t, f.provider.Alive(f.token(t, "three").(string)))
		})
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
			shown := f.Read("providers/signs", nil)
			assert.NotContains(t, shown.Text, "PRIVATE")
			f.Write("providers/signs/client-secret", map[string]any{"drop_former": true}).OK(t)
			p, err = f.Backend.(*backend).store.Provider(t.Context(), "signs")
			require.NoError(t, err)
			assert.Empty(t, p.FormerKeyID+p.FormerCertificate)
		})
	}
}

// What a key that buys tokens holds is in no answer, error, list or line of a log, and neither is what is signed with it.
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
		f.provider.Next(providers.StepToken, providertest.Respond(http.StatusBadRequest, `{"error":"invalid_grant","x":"`+secrets[3]+`"}`))
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
