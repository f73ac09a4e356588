package backend

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

func TestSpellings(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "slack")
		f.key(t, "user/e-alice/mine", alice)
		for path, owner := range map[string]string{
			"connections/slack": "org/default", "connections/org/default/slack": "org/default",
			"connections/user/e-alice/mine": "user/e-alice", "connections/self/mine": "user/e-alice",
		} {
			assert.Equal(t, owner, f.Read(path, nil, alice).OK(t)["owner"], path)
		}
		assert.Equal(t, http.StatusNotFound, f.Read("connections/self/mine", nil, bob).Status, "self is the caller's own")
		assert.Equal(t, http.StatusNotFound, f.Read("connections/org/other/slack", nil).Status)

		f.Delete("connections/self/mine", nil, alice).OK(t)
		assert.Equal(t, http.StatusNotFound, f.Read("connections/user/e-alice/mine", nil).Status)
	})
}

func TestSelfWithoutEntity(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for _, who := range []testenv.Caller{testenv.Root, testenv.Batch} {
			for _, r := range []testenv.Result{
				f.Read("connections/self/x", nil, who), f.Write("connections/self/x", map[string]any{"label": "x"}, who),
				f.Delete("connections/self/x", nil, who), f.List("connections/self/", who),
				f.Read("creds/self/x", nil, who), f.Write("refresh/self/x", nil, who),
				f.Write("auth-code-url/self/x", map[string]any{"provider": "acme"}, who),
			} {
				r.Refused(t, http.StatusBadRequest, "no entity")
			}
		}
		assert.Empty(t, f.List("connections/user/").OK(t)["keys"])
	})
}

func TestConnectionNames(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/openai", nil).OK(t)
		data := map[string]any{"provider": "openai", "api_key": openaiKey}
		long := strings.Repeat("a", 64)
		for _, path := range []string{
			"a", "0", long, "a.b_c@d-e", "org/acme.corp/x", "user/auth0|ABC:1~2-3@x.y/z",
			"user/" + strings.Repeat("U", 128) + "/x",
		} {
			f.Write("connections/"+path, data).OK(t)
			f.Read("creds/"+path, nil).OK(t)
		}
		for _, path := range []string{
			"org", "user", "self", "shared", "PROD", "prod-", "_prod", "a..b", "..", ".", long + "a", "a b", "å", "a%2fb",
			"org/Acme/x", "org/../x", "org/self/x", "org/acme/..",
			"user/../x", "user/-u/x", "user/u..v/x", "user/" + strings.Repeat("U", 129) + "/x", "user/u/self", "user/ü/x",
		} {
			f.Write("connections/"+path, data).Refused(t, http.StatusBadRequest)
			f.Read("connections/"+path, nil).Refused(t, http.StatusBadRequest)
			f.Read("creds/"+path, nil).Refused(t, http.StatusBadRequest)
			f.Write("auth-code-url/"+path, map[string]any{"provider": "acme"}).Refused(t, http.StatusBadRequest)
			f.Delete("connections/"+path, nil).Refused(t, http.StatusBadRequest)
		}
		f.Write("connections/PROD", data).Refused(t, http.StatusBadRequest, `"PROD"`, "a-z")
		f.Read("creds/user/U1/z", nil).Refused(t, http.StatusBadRequest, "no connection user/U1/z")
	})
}

func TestKeyIsMasked(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/http_header",
			map[string]any{"inputs": map[string]any{"base_url": "https://api.example.com"}}).OK(t)
		for key, shown := range map[string]string{
			"short": "****", strings.Repeat("k", 15) + "LAST": "****", strings.Repeat("k", 16) + "LAST": "****LAST",
		} {
			f.Write("connections/h", map[string]any{"provider": "http_header", "api_key": key}).OK(t)
			assert.Equal(t, map[string]any{"api_key": shown}, members(t, f.Read("connections/h", nil).OK(t)["key"]))
			assert.Equal(t, key, f.Read("creds/h", nil).OK(t)["api_key"])
		}
		f.Write("providers/http_basic",
			map[string]any{"inputs": map[string]any{"base_url": "https://api.example.com"}}).OK(t)
		f.Write("connections/b", map[string]any{
			"provider": "http_basic", "username": "a-public-user-name-of-mine", "password": "pässwörd-that-is-löng-é",
		}).OK(t)
		key := members(t, f.Read("connections/b", nil).OK(t)["key"])
		assert.Equal(t, map[string]any{"username": "a-public-user-name-of-mine", "password": "****"}, key,
			"a cut through a rune shows nothing")
		assert.Equal(t, "basic", f.Read("connections/b", nil).OK(t)["kind"])
		f.Delete("providers/http_basic", map[string]any{"force": true}).OK(t)
		assert.Equal(t, "****mine", members(t, f.Read("connections/b", nil).OK(t)["key"])["username"],
			"what nobody declares is masked")
	})
}

// Of a key leaves what the application is to send, sign or log in with, and what is no secret.
func TestWhatLeavesOfAKey(t *testing.T) {
	const pair = `id: pair
name: Pair
kinds: [key_pair]
key:
  fields:
    - {name: access_key, required: true}
    - {name: signing_key, required: true, secret: true, handed_out: true, derive: {shard: '([a-z]).*'}}
`
	eachWith(t, withDefinition(t, "pair", pair), func(t *testing.T, f *fixture) {
		f.Write("providers/pair", nil).OK(t)
		f.Write("connections/pair", map[string]any{"access_key": "a", "signing_key": "signing"}).OK(t)
		creds := f.Read("creds/pair", nil).OK(t)
		assert.Equal(t, "signing", creds["signing_key"])
		assert.Equal(t, "s", creds["shard"])
		assert.Equal(t, "a", creds["access_key"])
	})

	// A release whose definition knows more of a field, or no longer knows it.
	definition := &providers.Definition{Kinds: []providers.Kind{providers.KindAPIKey}, Key: &providers.Key{
		Send: &providers.Send{Headers: map[string]providers.Template{"X-Key": "{api_key}"}},
		Fields: []providers.KeyField{
			{Name: "api_key", Secret: true},
			{Name: "private_key", Secret: true, Derive: map[string]string{"issuer": "(.).*"}},
			{Name: "note"},
			{Name: "app_key", SetBy: providers.SetByProvider, Secret: true, HandedOut: true},
		},
	}}
	conn := &store.Connection{Credential: store.Credential{Key: map[string]providers.Secret{}}}
	for _, name := range []string{"api_key", "private_key", "note", "former", "app_key"} {
		conn.Key[name] = providers.NewSecret("of " + name)
	}
	assert.Equal(t, map[string]string{"api_key": "of api_key", "note": "of note"},
		handedOut(&configured{app: &providers.App{Definition: definition}}, conn))
}

func TestKeyFieldsThatFollow(t *testing.T) {
	eachWith(t, held(t), func(t *testing.T, f *fixture) {
		f.Write("providers/held", map[string]any{"app_key": "app-key-of-the-operator-1234"}).OK(t)
		f.Write("connections/a", map[string]any{
			"provider": "held", "api_key": "0123456789abcdefghij-us7",
			"note": "mine",
		}).OK(t)
		creds := f.Read("creds/a", nil).OK(t)
		for field, want := range map[string]string{
			"api_key": "0123456789abcdefghij-us7", "note": "mine", "region": "eu",
			"data_center": "us7",
		} {
			assert.Equal(t, want, creds[field], field)
		}
		assert.NotContains(t, creds, "app_key")
		masked := members(t, f.Read("connections/a", nil).OK(t)["key"])
		assert.Equal(t, map[string]any{"api_key": "****-us7", "note": "mine", "region": "eu", "data_center": "****"}, masked)

		f.Write("connections/a", map[string]any{"note": "", "region": "us"}).OK(t)
		creds = f.Read("creds/a", nil).OK(t)
		assert.NotContains(t, creds, "note", "an optional field that is emptied goes")
		assert.Equal(t, "us", creds["region"])
		assert.Equal(t, "0123456789abcdefghij-us7", creds["api_key"], "what is not named keeps its value")
		f.Write("connections/a", map[string]any{"api_key": ""}).Refused(t, http.StatusBadRequest, "api_key")
	})
}

func TestConnectionMetadata(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		made := f.connect(t, "slack", alice)
		for field, want := range map[string]any{
			"owner": "org/default", "name": "slack", "provider": "acme", "kind": "authorization_code", "status": "active",
			"status_reason": "",
			"private":       false, "refreshable": true, "created_by": "userpass-e-alice", "open_flow_until": "", "last_refresh": "",
			"next_refresh": "",
			"expire_time":  "2026-03-01T13:00:00Z", "last_rotation": "2026-03-01T12:00:00Z",
			"created_time": "2026-03-01T12:00:00Z",
			"status_since": "2026-03-01T12:00:00Z", "label": "",
		} {
			assert.Equal(t, want, made[field], field)
		}
		assert.Equal(t, map[string]any{"id": "account-1", "label": "Ada Example", "email": "ada@example.test"},
			members(t, made["account"]))
		assert.Equal(t, []string{"read", "write"}, texts(t, made["scopes"]))
		assert.Equal(t, asUnread(made), asUnread(f.Read("connections/slack", nil).OK(t)))
	})
}

func TestLabelTagsAndScopes(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Write("connections/slack", map[string]any{
			"label": "Sales", "tags": map[string]any{"team": "sales", "tier": "1"}, "required_scopes": "read,admin",
		}).OK(t)
		view := f.Write("connections/slack", map[string]any{"tags": map[string]any{"team": "ops"}}).OK(t)
		assert.Equal(t, map[string]any{"team": "ops"}, members(t, view["tags"]), "a map that is named is replaced whole")
		assert.Equal(t, "Sales", view["label"])
		assert.Equal(t, []string{"read", "admin"}, texts(t, view["required_scopes"]))
		assert.Equal(t, []string{"admin"}, texts(t, view["missing_scopes"]))
		assert.Equal(t, "active", view["status"])

		before := f.Read("connections/slack", nil).OK(t)
		for name, data := range map[string]map[string]any{
			"label too long": {"label": strings.Repeat("x", 257)},
			"tag name":       {"tags": map[string]any{"Team": "x"}},
			"tag too long":   {"tags": map[string]any{"team": strings.Repeat("x", 257)}},
			"unknown field":  {"labels": "x"},
			"kind":           {"kind": "api_key"},
			"other provider": {"provider": "openai"},
			"inputs":         {"inputs": map[string]any{"shop": "x"}},
			"org private":    {"private": true},
			"key of another": {"api_key": "x"},
			"lone expiry":    {"refresh_token": "x", "expires_in": 60},
		} {
			f.Write("connections/slack", with(map[string]any{"label": "changed"}, data)).Refused(t, http.StatusBadRequest)
			require.Equal(t, before, f.Read("connections/slack", nil).OK(t), name)
		}
	})
}

func TestNothingToStore(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("connections/x", map[string]any{"provider": "acme"}).Refused(t, http.StatusBadRequest,
			"auth-code-url/org/default/x")
		f.Write("connections/x", map[string]any{"label": "x"}).Refused(t, http.StatusBadRequest, `no provider "x"`)
		f.Write("connections/x", map[string]any{"provider": "ACME"}).Refused(t, http.StatusBadRequest, "provider name")
		f.Write("providers/openai", nil).OK(t)
		f.Write("connections/x", map[string]any{"provider": "openai", "api_key": openaiKey, "refresh_token": "r"}).Refused(t,
			http.StatusBadRequest, "not both")
		f.Write("connections/x", map[string]any{"provider": "openai", "refresh_token": "r"}).Refused(t,
			http.StatusBadRequest, "cannot be connected this way")
		f.Write("connections/x", map[string]any{"provider": "openai", "kind": "basic", "api_key": openaiKey}).Refused(t,
			http.StatusBadRequest, "no kind")
		assert.Equal(t, http.StatusNotFound, f.Read("connections/x", nil).Status)
		assert.Empty(t, f.List("connections/").OK(t)["keys"])
	})
}

func TestDisable(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		view := f.Write("connections/slack", map[string]any{"disabled": true}).OK(t)
		assert.Equal(t, "disabled", view["status"])
		assert.Equal(t, "disabled_by_person", view["status_reason"])
		f.Read("creds/slack", nil).Refused(t, http.StatusForbidden, "disabled=false")
		f.Write("refresh/slack", nil).Refused(t, http.StatusForbidden, "disabled")
		f.restart(t)
		f.Read("creds/slack", nil).Refused(t, http.StatusForbidden)
		assert.Equal(t, "active", f.Write("connections/slack", map[string]any{"disabled": false}).OK(t)["status"])
		f.Read("creds/slack", nil).OK(t)
	})
}

func TestPrivate(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		assert.Equal(t, true, f.connect(t, "self/slack", alice)["private"])
		assert.Equal(t, true, f.key(t, "user/e-alice/key", alice)["private"])
		calls := f.provider.Count(providers.StepRefresh)
		for _, who := range []testenv.Caller{testenv.Root, bob, testenv.Batch} {
			for _, name := range []string{"slack", "key"} {
				f.Read("creds/user/e-alice/"+name, nil, who).Refused(t, http.StatusForbidden, "private")
				f.Write("refresh/user/e-alice/"+name, nil, who).Refused(t, http.StatusForbidden, "private")
				path := "connections/user/e-alice/" + name
				assert.Equal(t, "user/e-alice", f.Read(path, nil, who).OK(t)["owner"], "masked metadata is policy's affair")
				for _, data := range []map[string]any{
					{"private": false},
					{"label": "mine now"},
					{"refresh_token": "x"},
					{"api_key": openaiKey},
					{"tags": map[string]any{}},
					{"disabled": true, "private": false},
					{"archived": true, "label": "x"},
					{"provision": true, "label": "x"},
				} {
					f.Write(path, data, who).Refused(t, http.StatusForbidden, "private")
				}
			}
			f.Write("auth-code-url/user/e-alice/key", map[string]any{"provider": "acme", "provision": true}, bob).Refused(t,
				http.StatusBadRequest, "provider")
		}
		assert.Equal(t, calls, f.provider.Count(providers.StepRefresh))

		f.Write("connections/self/slack", map[string]any{"private": false}, alice).OK(t)
		f.Read("creds/user/e-alice/slack", nil).OK(t)
		f.Delete("connections/user/e-alice/key", nil, bob).OK(t)
	})
}

func TestUsersOfTheApplication(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		assert.Equal(t, false, f.connect(t, "user/u1/slack")["private"], "not private unless asked")
		f.Read("creds/user/u1/slack", nil, bob).OK(t)

		f.System.AddEntity("e-carol")
		f.Write("providers/openai", nil).OK(t)
		data := map[string]any{"provider": "openai", "api_key": openaiKey}
		f.Write("connections/user/e-carol/key", data).Refused(t, http.StatusForbidden, "provision=true")
		f.Write("auth-code-url/user/e-carol/slack", map[string]any{"provider": "acme"}, bob).Refused(t, http.StatusForbidden,
			"provision=true")
		assert.Equal(t, false, f.Write("connections/user/e-carol/key",
			with(data, map[string]any{"provision": true})).OK(t)["private"])
		f.start(t, "user/e-carol/slack", map[string]any{"provision": true}, bob)
		f.Write("connections/user/e-carol/own", data, testenv.Entity("e-carol")).OK(t)
		f.Write("connections/user/e-carol/key", map[string]any{"label": "later writes create nothing"}).OK(t)
	})
}

func TestDeleteRevokes(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		token := f.Read("creds/slack", nil).OK(t)["access_token"].(string)
		r := f.Delete("connections/slack", nil)
		r.OK(t)
		assert.Nil(t, r.Response, "nothing to warn of")
		assert.False(t, f.provider.Alive(token))
		revoked := f.provider.Requests(providers.StepRevoke)
		require.Len(t, revoked, 1)
		assert.Equal(t, "refresh_token", revoked[0].Form.Get("token_type_hint"))
		assert.Equal(t, http.StatusNotFound, f.Read("connections/slack", nil).Status)
		f.Read("creds/slack", nil).Refused(t, http.StatusBadRequest, "auth-code-url")
		f.Delete("connections/slack", nil).OK(t)
		assert.Equal(t, 1, f.provider.Count(providers.StepRevoke))
	})
}

func TestDeleteSparesTheAccountOfAnother(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "one")
		f.connect(t, "user/u1/two")
		r := f.Delete("connections/one", nil)
		r.OK(t)
		require.Len(t, r.Warnings, 1)
		assert.Equal(t, sharedWarning, r.Warnings[0])
		assert.Zero(t, f.provider.Count(providers.StepRevoke))
		f.restart(t)
		assert.Nil(t, f.Delete("connections/user/u1/two", nil).Response)
		assert.Equal(t, 1, f.provider.Count(providers.StepRevoke), "the last one takes the grant along")
	})
}

func TestDeleteWhileTheProviderIsDown(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.provider.Next(providers.StepRevoke, providertest.Reset())
		r := f.Delete("connections/slack", nil)
		r.OK(t)
		require.Len(t, r.Warnings, 1)
		assert.Contains(t, r.Warnings[0], "may live on")
		assert.Equal(t, http.StatusNotFound, f.Read("connections/slack", nil).Status)
	})
}

// A credential written while a deletion waits for the provider would go with it, so it is refused instead.
func TestNothingComesBackDuringDeletion(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		reconnect := f.own(t, "slack", nil)
		asked, release := make(chan struct{}), make(chan struct{})
		f.provider.Next(providers.StepRevoke, func(
			s *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc,
		) {
			close(asked)
			providertest.HangUntil(release)(s, w, r, behave)
		})
		done := make(chan testenv.Result)
		go func() { done <- f.Delete("connections/slack", nil) }()
		<-asked
		assert.Equal(t, "deleting", f.Read("connections/slack", nil).OK(t)["status_reason"])
		f.Read("creds/slack", nil).Refused(t, http.StatusForbidden)
		f.Write("connections/slack", map[string]any{"refresh_token": "x"}).Refused(t, http.StatusConflict, "being deleted")
		f.Write("connections/slack", map[string]any{"disabled": false}).Refused(t, http.StatusConflict, "being deleted")
		f.Write("auth-code-url/slack", map[string]any{"provider": "acme"}).Refused(t, http.StatusConflict, "being deleted")
		f.Write("exchange", reconnect).Refused(t, http.StatusBadRequest, "no such flow")
		close(release)
		(<-done).OK(t)
		assert.Equal(t, http.StatusNotFound, f.Read("connections/slack", nil).Status)
	})
}

func TestDeletingEndsOpenFlows(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		pending, other := f.own(t, "slack", nil), f.own(t, "other", nil)
		assert.Nil(t, f.Delete("connections/slack", nil).OK(t))
		assert.Equal(t, http.StatusNotFound, f.Read("connections/slack", nil).Status, "it is no longer pending")
		f.Write("exchange", pending).Refused(t, http.StatusBadRequest, "no such flow")
		f.Write("exchange", other).OK(t)
	})
}

func TestPending(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		flow := f.start(t, "slack", nil)
		view := f.Read("connections/slack", nil).OK(t)
		for field, want := range map[string]any{
			"status": "pending", "status_reason": "flow_open", "provider": "acme", "open_flow_until": flow["expire_time"],
			"status_since": "2026-03-01T12:00:00Z",
		} {
			assert.Equal(t, want, view[field], field)
		}
		f.Read("creds/slack", nil).Refused(t, http.StatusConflict, "pending")
		f.Write("refresh/slack", nil).Refused(t, http.StatusConflict, "pending")
		f.callback(t, "acme", map[string]string{"state": query(t, flow["url"].(string), "state"), "error": "access_denied"})
		assert.Equal(t, "denied", f.Read("connections/slack", nil).OK(t)["status_reason"])
		f.Read("creds/slack", nil).Refused(t, http.StatusConflict, "said no")
		f.Advance(10 * time.Minute)
		assert.Equal(t, http.StatusNotFound, f.Read("connections/slack", nil).Status)
		f.Read("creds/slack", nil).Refused(t, http.StatusBadRequest, "no connection")
	})
}

// A flow changes nothing of a connection that serves, but its metadata tell of the flow.
func TestOpenFlowBesideAConnection(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		before := f.Read("connections/slack", nil).OK(t)
		flow := f.start(t, "slack", nil)
		assert.Equal(t, with(before, map[string]any{"open_flow_until": flow["expire_time"]}),
			f.Read("connections/slack", nil).OK(t))
		f.Read("creds/slack", nil).OK(t)
		f.restart(t)
		assert.Equal(t, flow["expire_time"], f.Read("connections/slack", nil).OK(t)["open_flow_until"])
	})
}

// Whoever switched a connection off was told that it failed. What storage made of it nevertheless is what holds.
func TestDisablingThatLandsLate(t *testing.T) {
	for name, reading := range map[string]bool{"while nobody reads": false, "while somebody reads": true} {
		bubbled(t, name, func(t *testing.T, e *testenv.Env) {
			e.Write("connections/key", map[string]any{"provider": "openai", "api_key": openaiKey}).OK(t)
			e.Read("creds/key", nil).OK(t)
			const late = 20 * time.Second
			write := func(a testenv.Access) bool { return a.Write() && a.Under("connection/") }
			e.Storage.Hang(testenv.Nth(1, write), func(testenv.Access) { time.Sleep(late) })
			assert.GreaterOrEqual(t, e.Write("connections/key", map[string]any{"disabled": true}).Status, 500)
			for range 90 {
				time.Sleep(time.Second)
				if reading {
					e.Read("creds/key", nil)
				}
			}
			e.Read("creds/key", nil).Refused(t, http.StatusForbidden, "disabled_by_person")
			assert.Equal(t, "disabled", e.Read("connections/key", nil).OK(t)["status"])
			assert.EqualValues(t, 1, members(t, e.Read("status", nil).OK(t)["by_status"])["disabled"])
			e.Write("connections/key", map[string]any{"disabled": false}).OK(t)
			time.Sleep(24 * time.Hour)
			e.Read("creds/key", nil).OK(t)
		})
	}
}

// A deletion that was begun ends without anybody's help, whatever became of the process that began it.
func TestDeletionThatWasCutOff(t *testing.T) {
	for name, cut := range map[string]func(*testing.T, *fixture) (end func()){
		"by storage": func(t *testing.T, f *fixture) func() {
			f.Storage.Judge(func(a testenv.Access) error {
				if a.Op == "delete" && a.Under("connection/") {
					return testenv.ErrStorage
				}
				return nil
			})
			assert.Equal(t, http.StatusInternalServerError, f.Delete("connections/slack", nil).Status)
			f.Storage.Judge(nil)
			return func() {}
		},
		"while the provider revoked": func(t *testing.T, f *fixture) func() {
			asked, release, answered := make(chan struct{}), make(chan struct{}), make(chan struct{})
			f.provider.Next(providers.StepRevoke, func(
				s *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc,
			) {
				close(asked)
				providertest.HangUntil(release)(s, w, r, behave)
			})
			crashed := f.Env
			go func() {
				defer close(answered)
				crashed.Delete("connections/slack", nil)
			}()
			<-asked
			return func() { close(release); <-answered }
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.connect(t, "slack")
				token := f.Read("creds/slack", nil).OK(t)["access_token"].(string)
				end := cut(t, f)
				f.restart(t)
				f.Read("creds/slack", nil).Refused(t, http.StatusForbidden, "being deleted")
				require.Eventually(t, func() bool {
					f.Advance(time.Second)
					f.periodic(t)
					return f.Read("connections/slack", nil).Status == http.StatusNotFound
				}, time.Minute, 5*time.Millisecond, "the next process carries it through")
				assert.Empty(t, f.stored(t, "connection/org/default/"))
				assert.Empty(t, f.stored(t, "wal/"))
				assert.False(t, f.provider.Alive(token))
				f.Read("creds/slack", nil).Refused(t, http.StatusBadRequest, "no connection")
				end()
				f.connect(t, "slack")
				assert.Equal(t, "active", f.Read("connections/slack", nil).OK(t)["status"])
			})
		})
	}
}
