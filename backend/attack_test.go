package backend

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
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

// placed is the generic definition with an input of the connection's that says where tokens go: it stands in each
// refresh, in place of the host that it would be.
func placed(t *testing.T) Options {
	t.Helper()
	generic, err := os.ReadFile("../providers/catalog/oauth2.yaml")
	require.NoError(t, err)
	text := strings.Replace(string(generic), "token: may_rotate", "params: {shop: '{shop}'}\n  token: may_rotate", 1)
	text += "\ninputs:\n  - name: shop\n    set_by: connection\n    default: one\n    pattern: '[a-z]+'\n"
	const pair = `
id: pair
name: Pair
summary: A name and a password, at a place.
category: generic
kinds: [basic]
sources: [https://example.com/docs]
inputs:
  - {name: shop, set_by: connection, default: one, pattern: '[a-z]+'}
api_base: 'https://{shop}.example.com'
key:
  fields:
    - {name: username, required: true}
    - {name: password, required: true, secret: true}
send:
  basic_user: '{username}'
  basic_password: '{password}'
`
	catalog, err := providers.NewRegistry(fstest.MapFS{"oauth2.yaml": {Data: []byte(text)}, "pair.yaml": {Data: []byte(pair)}})
	require.NoError(t, err)
	return Options{Catalog: catalog}
}

var mallorysShop = map[string]any{"shop": "mallorys"}

// held lets the coming call of a step hang until released.
func (f *fixture) held(step providers.Step) (asked chan struct{}, release func()) {
	asked = make(chan struct{})
	until := make(chan struct{})
	f.provider.Next(step, func(s *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc) {
		close(asked)
		providertest.HangUntil(until)(s, w, r, behave)
	})
	return asked, func() { close(until) }
}

// Naming required_scopes must not make the inputs that somebody else planted Alice's own.
func TestAttackPlantedInputsAreLaundered(t *testing.T) {
	eachWith(t, placed(t), func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"allow_import": "all"}).OK(t)
		f.Write("connections/user/e-alice/acme", map[string]any{
			"access_token": "bogus", "verify": false, "provision": true, "inputs": mallorysShop,
		}).OK(t)
		f.Write("connections/self/acme", map[string]any{"required_scopes": "read"}, alice).OK(t)
		r := f.Write("auth-code-url/self/acme", map[string]any{"redirect_uri": appRedirect}, alice)
		if !assert.Equal(t, http.StatusBadRequest, r.Status, "the inputs are not hers") {
			back := f.provider.Consent(t, r.OK(t)["url"].(string))
			made := f.Write("exchange", map[string]any{"state": back["state"], "code": back["code"]}, alice).OK(t)
			assert.NotEqual(t, "mallorys", members(t, made["inputs"])["shop"], "her consent went to the planted place")
		}
	})
}

// The same for a field of a key.
func TestAttackPlantedKeyFieldsAreLaundered(t *testing.T) {
	eachWith(t, placed(t), func(t *testing.T, f *fixture) {
		f.Write("providers/pair", nil).OK(t)
		f.Write("connections/user/e-alice/pair", map[string]any{
			"username": "mallory", "password": "mallorys-password", "provision": true, "inputs": mallorysShop,
		}).OK(t)
		f.Write("connections/self/pair", map[string]any{"required_scopes": "read"}, alice).OK(t)
		r := f.Write("connections/self/pair", map[string]any{"password": "alices-password"}, alice)
		assert.Equal(t, http.StatusBadRequest, r.Status, "name and place are not hers")
		got := f.Read("creds/self/pair", nil, alice).OK(t)
		if got["password"] == "alices-password" {
			assert.NotEqual(t, "mallory", got["username"])
			assert.NotEqual(t, "mallorys", members(t, got["connection_config"])["shop"])
		}
	})
}

// Inputs say where the credential belongs, and move only with it: a field that is no secret must not take the password
// along.
func TestAttackPasswordMovesWithItsName(t *testing.T) {
	eachWith(t, placed(t), func(t *testing.T, f *fixture) {
		f.Write("providers/pair", nil).OK(t)
		f.Write("connections/pair", map[string]any{"username": "carol", "password": "carols-password"}).OK(t)
		f.Write("connections/pair", map[string]any{"inputs": mallorysShop}, bob).
			Refused(t, http.StatusBadRequest, "write it again in the same call")
		r := f.Write("connections/pair", map[string]any{"username": "carol", "inputs": mallorysShop}, bob)
		got := f.Read("creds/pair", nil).OK(t)
		assert.False(t, got["password"] == "carols-password" && members(t, got["connection_config"])["shop"] == "mallorys",
			"the application sends Carol's password to Mallory's place (%d)", r.Status)
	})
}

// An import must not land on what was made of another provider meanwhile.
func TestAttackImportLandsOnAnotherProvider(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/openai", nil).OK(t)
		answer, release := f.deletedDuringAnImport(t)
		f.Write("connections/x", map[string]any{"provider": "openai", "api_key": openaiKey}).OK(t)
		release()
		r := <-answer
		assert.Equal(t, http.StatusConflict, r.Status, "%v", r.Response)
		view := f.Read("connections/x", nil).OK(t)
		assert.Equal(t, "openai api_key active", fmt.Sprint(view["provider"], " ", view["kind"], " ", view["status"]))
		got := f.Read("creds/x", nil)
		require.Equal(t, http.StatusOK, got.Status, "%s", got.Text)
		assert.Equal(t, openaiKey, got.Data["api_key"])
	})
}

// A token that was tried at one place must not be sent to another, because somebody changed the inputs meanwhile.
func TestAttackInputsChangeUnderAnImport(t *testing.T) {
	for name, replace := range map[string]func(t *testing.T, f *fixture){
		"deleted and made anew": func(t *testing.T, f *fixture) {
			f.Delete("connections/x", nil).OK(t)
			f.Write("exchange", f.own(t, "x", map[string]any{"inputs": mallorysShop}, bob), bob).OK(t)
		},
		"reconnected": func(t *testing.T, f *fixture) {
			f.Write("exchange", f.own(t, "x", map[string]any{"inputs": mallorysShop}, bob), bob).OK(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachWith(t, placed(t), func(t *testing.T, f *fixture) {
				f.connect(t, "x")
				import_ := map[string]any{"refresh_token": f.elsewhere(t), "label": "carols"}
				asked, release := f.held(providers.StepRefresh)
				answer := make(chan testenv.Result, 1)
				go func() { answer <- f.Write("connections/x", import_) }()
				<-asked
				replace(t, f)
				release()
				r := <-answer
				view := f.Read("connections/x", nil).OK(t)
				assert.False(t, r.Status == http.StatusOK && members(t, view["inputs"])["shop"] == "mallorys",
					"tried at the default place, stored for Mallory's")
				f.Advance(time.Minute)
				f.Write("refresh/x", nil).OK(t)
				sent := f.provider.Requests(providers.StepRefresh)
				if r.Status == http.StatusOK {
					assert.NotEqual(t, "mallorys", sent[len(sent)-1].Form.Get("shop"),
						"Carol's refresh token went to Mallory's place")
				}
			})
		})
	}
}

// surplus_scopes=refuse holds for every way to import.
func TestAttackSurplusScopesByImport(t *testing.T) {
	wide := providertest.Respond(http.StatusOK, `{"access_token":"wide","refresh_token":"next","token_type":"bearer",`+
		`"expires_in":7200,"scope":"read admin"}`)
	for name, import_ := range map[string]map[string]any{
		"as it is":                   {"refresh_token": "brought"},
		"untried":                    {"refresh_token": "brought", "verify": false},
		"beside a token that lives":  {"refresh_token": "brought", "access_token": "lives"},
		"beside one, and it ends":    {"refresh_token": "brought", "access_token": "lives", "expires_in": "20m"},
		"beside one, and is untried": {"refresh_token": "brought", "access_token": "lives", "verify": false},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.Write("providers/acme", map[string]any{"surplus_scopes": "refuse"}).OK(t)
				f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"carol"}`))
				f.provider.Next(providers.StepRefresh, wide)
				f.Write("connections/x", with(map[string]any{"provider": "acme"}, import_))
				f.Advance(time.Minute)
				f.Write("refresh/x", nil)
				r := f.Read("creds/x", nil)
				assert.False(t, r.Status == http.StatusOK && r.Data["access_token"] == "wide",
					"a token with scope admin is served though the operator said refuse")
			})
		})
	}
}

// Who deletes a name ends an import for it whose answer is not there yet, though there is no connection.
func TestAttackDeletionLeavesAnImport(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		import_ := map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}
		f.provider.Next(providers.StepRefresh, providertest.Reset(), providertest.Reset())
		f.Write("connections/x", import_, bob).Refused(t, http.StatusBadGateway, "nothing was changed")
		require.Len(t, f.stored(t, "import/"), 1)
		f.Delete("connections/x", nil).OK(t)
		assert.Empty(t, f.stored(t, "import/"), "the refresh token is kept, and will be spent")
		for range 20 {
			f.periodic(t)
			time.Sleep(10 * time.Millisecond)
		}
		assert.Nil(t, f.Read("connections/x", nil).Response, "the background made what was deleted")
	})
}

// deletedDuringAnImport deletes the connection x while the provider is asked for tokens that are imported there.
func (f *fixture) deletedDuringAnImport(t *testing.T) (answer chan testenv.Result, release func()) {
	t.Helper()
	f.connect(t, "x")
	import_ := map[string]any{"refresh_token": f.elsewhere(t)}
	asked, release := f.held(providers.StepRefresh)
	answer = make(chan testenv.Result, 1)
	go func() { answer <- f.Write("connections/x", import_) }()
	<-asked
	f.Delete("connections/x", nil).OK(t)
	return answer, release
}

// An import in flight does not outlive the deletion of its connection.
func TestAttackDeletionDuringAnImport(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		answer, release := f.deletedDuringAnImport(t)
		release()
		(<-answer).Refused(t, http.StatusConflict, "deleted meanwhile")
		assert.Empty(t, f.stored(t, "import/"), "a grant of a deleted connection rests in storage, and nobody revoked it")
	})
}

// A parked import is for who brought it. Its refresh token is spent, so whoever stole that has nothing by it.
func TestAttackParkedImportOfAnother(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"allow_import": "all"}).OK(t)
		stolen := f.elsewhere(t) // Bob has read it in a backup
		asked, release := f.held(providers.StepRefresh)
		answer := make(chan testenv.Result, 1)
		go func() {
			answer <- f.Write("connections/self/x", map[string]any{"provider": "acme", "refresh_token": stolen}, alice)
		}()
		<-asked
		f.account("bobs")
		f.connect(t, "user/e-alice/x", bob)
		release()
		(<-answer).Refused(t, http.StatusConflict, "kept for an hour")
		require.Equal(t, 1, f.spent())
		r := f.Write("connections/user/e-alice/x", map[string]any{
			"refresh_token": stolen, "allow_account_change": true,
		}, bob)
		got := f.Read("creds/user/e-alice/x", nil, bob)
		assert.False(t, r.Status == http.StatusOK && got.Status == http.StatusOK &&
			f.provider.Alive(got.Data["access_token"].(string)), "Bob reads what Alice's token was exchanged for")
	})
}

// What the operator forbids while an import waits is not done.
func TestAttackImportForbiddenMeanwhile(t *testing.T) {
	for name, forbid := range map[string]map[string]any{
		"allow_import": {"allow_import": "none"}, "allowed_owners": {"allowed_owners": "org/acme"},
		"client_id": {"client_id": "another", "client_secret": "x"},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				first, second := f.elsewhere(t), f.elsewhere(t)
				f.connect(t, "x")
				asked, release := f.held(providers.StepRefresh)
				answers := make(chan testenv.Result, 2)
				go func() { answers <- f.Write("connections/x", map[string]any{"refresh_token": first}) }()
				<-asked
				f.Backend.InvalidateKey(t.Context(), "provider/acme")
				seen := len(f.Storage.History())
				go func() { answers <- f.Write("connections/x", map[string]any{"refresh_token": second}) }()
				require.Eventually(t, func() bool { // it was planned
					for _, a := range f.Storage.History()[seen:] {
						if a.Key == "provider/acme" {
							return true
						}
					}
					return false
				}, time.Minute, time.Millisecond)
				time.Sleep(50 * time.Millisecond)
				f.Write("providers/acme", forbid).OK(t)
				release()
				<-answers
				<-answers
				for _, r := range f.provider.Requests(providers.StepRefresh) {
					assert.NotEqual(t, second, r.Form.Get("refresh_token"), "it was redeemed after it was forbidden")
				}
			})
		})
	}
}

// Imports that are refused pile up without a bound, whatever an owner may have.
func TestAttackParkedImportsPileUp(t *testing.T) {
	const many = 200
	each(t, func(t *testing.T, f *fixture) {
		f.Write("config", map[string]any{"max_connections_per_owner": 1}).OK(t)
		f.Write("providers/acme", map[string]any{"surplus_scopes": "refuse"}).OK(t)
		token := f.elsewhere(t)
		tags := map[string]any{}
		for i := range 60 {
			tags[fmt.Sprint("t", i)] = strings.Repeat("x", 250)
		}
		wide := providertest.Respond(http.StatusOK, `{"access_token":"wide","token_type":"bearer",`+
			`"expires_in":7200,"scope":"read admin"}`) // a service that rotates nothing
		for i := range many {
			f.provider.Next(providers.StepRefresh, wide)
			f.Write(fmt.Sprintf("connections/x%d", i), map[string]any{
				"provider": "acme", "refresh_token": token, "tags": tags,
			}).Refused(t, http.StatusConflict, "kept for an hour")
		}
		n := len(f.stored(t, "import/"))
		assert.Less(t, n, many, "one token, one owner who may have one connection, and %d records", n)
	})
}

// A flow that is over answers what it connected, and not what somebody else connected since.
func TestAttackExchangeTellsOfAStranger(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		brought := f.own(t, "user/e-alice/x", map[string]any{"provision": true}, bob)
		f.Write("exchange", brought, bob).OK(t)
		f.Delete("connections/self/x", nil, alice).OK(t)
		f.account("alices-secret-account")
		f.connect(t, "self/x", alice)
		r := f.Write("exchange", brought, bob)
		if r.Status == http.StatusOK {
			assert.NotContains(t, fmt.Sprint(r.Data), "alices-secret-account", "without a policy on her connections")
		}
	})
}

// Who runs another mount must not keep this one from revoking, nor learn whose accounts it has, by naming a client id.
func TestAttackAccountsOfAnotherMount(t *testing.T) {
	o := Options{Process: &Process{}}
	own := newFixture(t, o, testenv.InProcess)
	other := newFixture(t, o, testenv.InProcess) // its provider is Mallory's, who names the same client id
	forged := func() {
		other.account(providertest.AccountID)
		other.connect(t, "forged")
	}
	t.Run("nobody is kept from revoking", func(t *testing.T) {
		own.connect(t, "victim")
		forged()
		before := own.provider.Count(providers.StepRevoke)
		own.Delete("connections/victim", nil).OK(t)
		assert.Equal(t, before+1, own.provider.Count(providers.StepRevoke), "the victim's grant lives on")
	})
	t.Run("nobody learns whose account is connected", func(t *testing.T) {
		other.Delete("connections/forged", nil).OK(t)
		forged()
		absent := other.Delete("connections/forged", nil).Response != nil
		own.connect(t, "victim")
		forged()
		assert.Equal(t, absent, other.Delete("connections/forged", nil).Response != nil, "a warning tells")
	})
}

// A flow that starts while its connection is being deleted does not bring it back, in a live entity's name and without
// a word about provision.
func TestAttackFlowStartedDuringADeletion(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.System.AddEntity("e-alice")
		f.connect(t, "self/x", alice)
		f.Write("connections/self/x", map[string]any{"private": false}, alice).OK(t)
		marking, release := make(chan struct{}), make(chan struct{})
		f.Storage.Delay(testenv.Nth(1, func(a testenv.Access) bool {
			return a.Write() && a.Key == "connection/user/e-alice/x"
		}), func(testenv.Access) { close(marking); <-release })
		gone := make(chan testenv.Result, 1)
		go func() { gone <- f.Delete("connections/self/x", nil, alice) }()
		<-marking
		brought := f.own(t, "user/e-alice/x", nil, bob)
		close(release)
		(<-gone).OK(t)
		r := f.Write("exchange", brought, bob)
		assert.NotEqual(t, http.StatusOK, r.Status, "it was deleted, and Bob did not say provision=true")
		assert.Nil(t, f.Read("connections/self/x", nil, alice).Response)
	})
}

// The kinds that the operator lets be made hold for imports, whatever kind the import calls itself.
func TestAttackImportCallsItselfAnotherKind(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"kinds": "client_credentials"}).OK(t)
		for _, verify := range []bool{true, false} {
			r := f.Write(fmt.Sprint("connections/x-", verify), map[string]any{
				"provider": "acme", "kind": "client_credentials", "refresh_token": f.elsewhere(t), "verify": verify,
			})
			assert.NotEqual(t, http.StatusOK, r.Status, "tokens of a person under the kind of the app")
		}
		f.Write("connections/app", map[string]any{"provider": "acme", "kind": "client_credentials"}).OK(t)
		r := f.Write("connections/app", map[string]any{
			"access_token": "anybodys", "kind": "client_credentials", "verify": false, "allow_account_change": true,
		})
		assert.NotEqual(t, http.StatusOK, r.Status, "a person's token under the kind of the app")
	})
}

// What Alice says of privacy in the very call that brings her credential holds, though storage refuses the write.
func TestAttackPrivateIsForgottenWhenStorageRefuses(t *testing.T) {
	for name, bring := range map[string]func(t *testing.T, f *fixture, brought map[string]any) testenv.Result{
		"a flow": func(_ *testing.T, f *fixture, brought map[string]any) testenv.Result {
			return f.Write("exchange", brought, alice)
		},
		"an import": func(t *testing.T, f *fixture, _ map[string]any) testenv.Result {
			return f.Write("connections/self/x", map[string]any{"refresh_token": f.elsewhere(t), "private": true}, alice)
		},
		"an import that is switched off": func(t *testing.T, f *fixture, _ map[string]any) testenv.Result {
			return f.Write("connections/self/x", map[string]any{"refresh_token": f.elsewhere(t), "disabled": true}, alice)
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.Write("providers/acme", map[string]any{"allow_import": "all"}).OK(t)
				f.connect(t, "self/x", alice)
				f.Write("connections/self/x", map[string]any{"private": false}, alice).OK(t)
				before := f.token(t, "user/e-alice/x")
				brought := f.own(t, "self/x", map[string]any{"private": true}, alice)
				refuseConnections(f.Storage)
				r := bring(t, f, brought)
				for _, when := range []string{"while it is held", "once it is saved"} {
					got := f.Read("creds/user/e-alice/x", nil, bob)
					assert.False(t, r.Status == http.StatusOK && got.Status == http.StatusOK &&
						got.Data["access_token"] != before, "%s: everybody reads the new credential: %v", when, r.Warnings)
					f.Storage.Judge(nil)
					f.saved(t)
				}
			})
		})
	}
}

// The token that Alice imports is hers alone, also where somebody else was quicker with the same one.
func TestAttackSameImportStaysOpen(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"allow_import": "all"}).OK(t)
		token := f.elsewhere(t)
		import_ := map[string]any{"provider": "acme", "refresh_token": token}
		f.Write("connections/user/e-alice/x", with(import_, map[string]any{"provision": true}), bob).OK(t)
		r := f.Write("connections/self/x", import_, alice)
		assert.Equal(t, true, r.OK(t)["private"], "%v", r.Warnings)
		f.Read("creds/user/e-alice/x", nil, bob).Refused(t, http.StatusForbidden, "private")
	})
}

// A secret that somebody made up does not become the stored one that opens the way for certificates.
func TestAttackCertificatesInTwoSteps(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		r := newRoad(t, f)
		f.Write("providers/acme", r.settings()).OK(t)
		f.connect(t, "slack")
		secrets := r.secrets(t)
		stored := f.own(t, "parked", nil)
		f.Write("providers/acme", map[string]any{"client_secret": "made up"}).OK(t)
		f.Write("providers/acme", map[string]any{"ca_pem": r.thief.pem, "client_secret": "made up"})
		assert.NotEqual(t, "active", f.Read("connections/slack", nil).OK(t)["status"])
		r.show(r.thief)
		f.Advance(time.Minute)
		f.Write("refresh/slack", nil)
		f.Write("exchange", stored)
		for _, secret := range append(secrets, stored["code"].(string)) {
			assert.NotContains(t, r.stolen(), secret)
		}
	})
}

// What is kept of an import is forgotten after an hour, also where a deletion came between.
func TestAttackParkedForEver(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		answer, release := f.deletedDuringAnImport(t)
		for range 3 {
			f.periodic(t)
			time.Sleep(20 * time.Millisecond)
		}
		release()
		(<-answer).Refused(t, http.StatusConflict, "deleted meanwhile")
		for range 10 {
			f.Advance(2 * time.Hour)
			f.periodic(t)
			time.Sleep(20 * time.Millisecond)
		}
		assert.Empty(t, f.stored(t, "import/"), "a refresh token rests in storage after a day, and nothing looks for it")
	})
}

// One caller leaves places for others, also under an organization's names.
func TestAttackOneCallerTakesAllPlaces(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.Write("config", map[string]any{"request_timeout": "1m"}).OK(t)
	own := f.own(t, "self/slack", nil, alice)
	b := f.keepsWaiting(t, 16)
	defer close(b.release)
	for _, name := range f.names(16) {
		go f.Write("connections/org/bobs/"+name, map[string]any{"provider": "acme", "refresh_token": "of " + name}, bob)
	}
	require.Eventually(t, func() bool {
		report := f.engine().gate.Report()
		return report.Inside+report.Waiting == 16 && b.inside.Load() > 0
	}, time.Minute, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	f.WriteCtx(ctx, "exchange", own, alice).OK(t)
}

// A recovery goes by what the owner may have now.
func TestAttackRecoveryBeyondTheLimit(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.provider.Next(providers.StepRefresh, providertest.Reset(), providertest.Reset())
		f.Write("connections/x", map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}).
			Refused(t, http.StatusBadGateway)
		f.connect(t, "y")
		f.Write("config", map[string]any{"max_connections_per_owner": 1}).OK(t)
		for range 10 {
			f.periodic(t)
			time.Sleep(20 * time.Millisecond)
		}
		assert.Nil(t, f.Read("connections/x", nil).Response)
	})
}

// An import whose answer was lost does not come back over what a person put in its place since.
func TestAttackLateImportReplacesWhatCameAfter(t *testing.T) {
	for name, after := range map[string]func(t *testing.T, f *fixture){
		"another import": func(t *testing.T, f *fixture) {
			f.account("right")
			f.Write("connections/x", map[string]any{
				"refresh_token": f.elsewhere(t), "allow_account_change": true,
			}).OK(t)
		},
		"a consent": func(t *testing.T, f *fixture) {
			f.account("right")
			f.Write("exchange", with(f.own(t, "x", nil), map[string]any{"allow_account_change": true})).OK(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.connect(t, "x")
				f.provider.Next(providers.StepRefresh, providertest.Reset(), providertest.Reset())
				f.Write("connections/x", map[string]any{
					"refresh_token": f.elsewhere(t), "allow_account_change": true,
				}).Refused(t, http.StatusBadGateway, "nothing was changed")
				after(t, f)
				token := f.token(t, "x")
				require.Equal(t, "right", f.accountOf(t, "x"))
				f.account("wrong")
				for range 10 {
					f.periodic(t)
					time.Sleep(20 * time.Millisecond)
				}
				assert.Equal(t, "right", f.accountOf(t, "x"), "the background put the earlier import in its place")
				assert.Equal(t, token, f.token(t, "x"))
			})
		})
	}
}

// An import whose answer is lost again and again is not sent every minute: nobody makes the engine hammer a provider.
func TestAttackOpenImportHammers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for range 120 {
			f.provider.Next(providers.StepRefresh, providertest.Reset())
		}
		f.Write("connections/x", map[string]any{"provider": "acme", "refresh_token": "anything"}).
			Refused(t, http.StatusBadGateway)
		for range 50 {
			f.Advance(time.Minute)
			f.periodic(t)
			time.Sleep(10 * time.Millisecond)
		}
		assert.Less(t, f.spent(), 30, "calls for one request of one caller, in fifty minutes")
	})
}

// A redirect URI becomes no mix-up by a second write that does not name it.
func TestAttackSharedRedirectInTwoSteps(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/mallory", f.acme()).OK(t) // the same service: that is fine
		r := f.Write("providers/mallory", map[string]any{"client_secret": "x", "endpoints": map[string]any{
			"authorize": f.provider.URL + "/authorize", "token": "https://mallory.example.com/token",
		}})
		assert.Equal(t, http.StatusConflict, r.Status, "its token endpoint is Mallory's now: %v", r.Text)
	})
	t.Run("the word that allowed it is taken back", func(t *testing.T) {
		each(t, func(t *testing.T, f *fixture) {
			f.Write("providers/acme", map[string]any{"shared_redirect": true}).OK(t)
			mallorys := with(f.acme(), map[string]any{"shared_redirect": true, "endpoints": map[string]any{
				"authorize": "https://mallory.example.com/a", "token": "https://mallory.example.com/token",
			}})
			f.Write("providers/mallory", mallorys).OK(t)
			r := f.Write("providers/mallory", map[string]any{"shared_redirect": false})
			assert.Equal(t, http.StatusConflict, r.Status, "%v", r.Text)
		})
	})
}

// What people say of a connection after an import holds, when the background comes back to that import.
func TestAttackRecoveryTakesBackWhatPeopleSaid(t *testing.T) {
	beats := func(t *testing.T, f *fixture) {
		t.Helper()
		require.Eventually(t, func() bool {
			f.periodic(t)
			return len(f.stored(t, "import/")) == 0
		}, time.Minute, 5*time.Millisecond)
	}
	t.Run("private, after one that storage refused", func(t *testing.T) {
		each(t, func(t *testing.T, f *fixture) {
			f.Write("providers/acme", map[string]any{"allow_import": "all"}).OK(t)
			refuseConnections(f.Storage)
			f.Write("connections/self/x", map[string]any{
				"provider": "acme", "refresh_token": f.elsewhere(t), "private": false,
			}, alice).OK(t)
			f.Storage.Judge(nil)
			f.Write("connections/self/x", map[string]any{"private": true}, alice).OK(t)
			f.Read("creds/user/e-alice/x", nil, bob).Refused(t, http.StatusForbidden, "private")
			beats(t, f)
			f.Read("creds/user/e-alice/x", nil, bob).Refused(t, http.StatusForbidden, "private")
		})
	})
	t.Run("private, after one whose answer was lost", func(t *testing.T) {
		each(t, func(t *testing.T, f *fixture) {
			f.Write("providers/acme", map[string]any{"allow_import": "all"}).OK(t)
			import_ := map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}
			f.provider.Next(providers.StepRefresh, providertest.Reset(), providertest.Reset())
			f.Write("connections/self/x", with(import_, map[string]any{"private": false}), alice).
				Refused(t, http.StatusBadGateway)
			f.Write("connections/self/x", with(import_, map[string]any{"private": true, "verify": false}), alice).OK(t)
			f.Read("creds/user/e-alice/x", nil, bob).Refused(t, http.StatusForbidden, "private")
			beats(t, f)
			f.Read("creds/user/e-alice/x", nil, bob).Refused(t, http.StatusForbidden, "private")
		})
	})
	t.Run("switched off", func(t *testing.T) {
		each(t, func(t *testing.T, f *fixture) {
			refuseConnections(f.Storage)
			f.Write("connections/x", map[string]any{
				"provider": "acme", "refresh_token": f.elsewhere(t), "disabled": false,
			}, bob).OK(t)
			f.Storage.Judge(nil)
			f.Write("connections/x", map[string]any{"disabled": true}).OK(t)
			beats(t, f)
			f.Read("creds/x", nil, bob).Refused(t, http.StatusForbidden, "disabled")
		})
	})
}

// A connection that is switched off rests: the background spends nothing for it.
func TestAttackRecoveryOfWhatIsSwitchedOff(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "x")
		f.provider.Next(providers.StepRefresh, providertest.Reset(), providertest.Reset())
		f.Write("connections/x", map[string]any{"refresh_token": f.elsewhere(t)}).Refused(t, http.StatusBadGateway)
		f.Write("connections/x", map[string]any{"disabled": true}).OK(t)
		before, rotated := f.spent(), f.Read("connections/x", nil).OK(t)["last_rotation"]
		f.Advance(time.Minute)
		for range 10 {
			f.periodic(t)
			time.Sleep(20 * time.Millisecond)
		}
		assert.Equal(t, before, f.spent())
		assert.Equal(t, rotated, f.Read("connections/x", nil).OK(t)["last_rotation"])
	})
}

// An import of one that nobody may use any more is not carried on with: its owner closed the connection meanwhile.
func TestAttackRecoveryOverWhatIsPrivate(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"allow_import": "all"}).OK(t)
		f.connect(t, "self/x", alice)
		f.Write("connections/self/x", map[string]any{"private": false}, alice).OK(t)
		f.provider.Next(providers.StepRefresh, providertest.Reset(), providertest.Reset())
		f.Write("connections/user/e-alice/x", map[string]any{
			"refresh_token": f.elsewhere(t), "allow_account_change": true,
		}, bob).Refused(t, http.StatusBadGateway)
		f.Write("connections/self/x", map[string]any{"private": true}, alice).OK(t)
		token := f.Read("creds/self/x", nil, alice).OK(t)["access_token"]
		for range 10 {
			f.periodic(t)
			time.Sleep(20 * time.Millisecond)
		}
		assert.Equal(t, token, f.Read("creds/self/x", nil, alice).OK(t)["access_token"])
		assert.Equal(t, true, f.Read("connections/self/x", nil, alice).OK(t)["private"])
	})
}

// An import that succeeded does not come back over a later consent, because storage kept its record.
func TestAttackKeptRecordReplacesALaterConsent(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "x")
		f.Storage.Judge(func(a testenv.Access) error {
			if a.Op == "delete" && strings.HasPrefix(a.Key, "import/") {
				return testenv.ErrStorage
			}
			return nil
		})
		f.Write("connections/x", map[string]any{"refresh_token": f.elsewhere(t)}).OK(t)
		f.Storage.Judge(nil)
		f.connect(t, "x")
		token := f.token(t, "x")
		for range 10 {
			f.periodic(t)
			time.Sleep(20 * time.Millisecond)
		}
		assert.Equal(t, token, f.token(t, "x"), "the background put an older grant in the place of a consent")
	})
}

// A recovery changes no connection of another provider that has the name since.
func TestAttackRecoveryOverAnotherProvider(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/openai", nil).OK(t)
		f.connect(t, "x")
		import_ := map[string]any{"refresh_token": f.elsewhere(t)}
		writes := 0
		f.Storage.Judge(func(a testenv.Access) error {
			if a.Op == "put" && strings.HasPrefix(a.Key, "import/") {
				if writes++; writes > 3 { // the mark that nobody may have it
					return testenv.ErrStorage
				}
			}
			return nil
		})
		asked, release := f.held(providers.StepRefresh)
		answer := make(chan testenv.Result, 1)
		go func() { answer <- f.Write("connections/x", import_) }()
		<-asked
		f.Delete("connections/x", nil).OK(t)
		release()
		(<-answer).Refused(t, http.StatusConflict, "deleted meanwhile")
		f.Storage.Judge(nil)
		f.Write("connections/x", map[string]any{"provider": "openai", "api_key": openaiKey}).OK(t)
		for range 10 {
			f.periodic(t)
			time.Sleep(20 * time.Millisecond)
		}
		r := f.Read("creds/x", nil)
		require.Equal(t, http.StatusOK, r.Status, "%s", r.Text)
		assert.Equal(t, openaiKey, r.Data["api_key"])
	})
}

// Requests that meet exceed an owner's limit by a few, and not by as many as can wait.
func TestAttackOwnerLimitByACrowd(t *testing.T) {
	const crowd = 40
	f := newFixture(t, Options{}, testenv.InProcess, providertest.WithReusableRefreshTokens())
	f.Write("config", map[string]any{"max_connections_per_owner": 1, "request_timeout": "1m"}).OK(t)
	token := f.elsewhere(t)
	until := make(chan struct{})
	for range 16 {
		f.provider.Next(providers.StepRefresh, providertest.HangUntil(until))
	}
	answers := make(chan testenv.Result, crowd)
	for i := range crowd {
		go func() {
			answers <- f.Write(fmt.Sprintf("connections/org/bobs/x%d", i), map[string]any{
				"provider": "acme", "refresh_token": token,
			}, bob)
		}()
	}
	require.Eventually(t, func() bool {
		report := f.engine().gate.Report()
		return report.Inside+report.Waiting == crowd
	}, time.Minute, time.Millisecond)
	close(until)
	for range crowd {
		<-answers
	}
	assert.LessOrEqual(t, len(f.stored(t, "connection/org/bobs/")), 5)
}

// Imports whose provider hangs do not stop the heartbeat's other work.
func TestAttackOpenImportsStopTheHeartbeat(t *testing.T) {
	const many = 5
	f := newFixture(t, Options{}, testenv.InProcess)
	f.Write("config", map[string]any{"request_timeout": "1m"}).OK(t)
	for i := range many {
		f.provider.Next(providers.StepRefresh, providertest.Reset(), providertest.Reset())
		f.Write(fmt.Sprintf("connections/x%d", i), map[string]any{
			"provider": "acme", "refresh_token": fmt.Sprint("anything ", i),
		}, bob).Refused(t, http.StatusBadGateway)
	}
	for range 2 * many {
		f.provider.Next(providers.StepRefresh, providertest.Hang())
	}
	f.periodic(t)
	assert.Eventually(t, func() bool { return !f.engine().beating.Load() }, time.Minute, 10*time.Millisecond,
		"%d requests of one caller hold the heartbeat for up to %d minutes", many, 2*many)
}

// Whatever others do in Alice's name, and whatever storage refuses: what she puts in without a word of opening it is
// served to nobody else.
func TestAttackAtRandom(t *testing.T) {
	const seeds, steps = 60, 60
	answer := func(s *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc) {
		of := r.Form.Get("refresh_token") + r.Form.Get("code")
		providertest.Respond(http.StatusOK, `{"access_token":"of `+of+`","refresh_token":"next-`+of+
			`","token_type":"bearer","expires_in":3600,"scope":"read"}`)(s, w, r, behave)
	}
	same := providertest.Respond(http.StatusOK, `{"sub":"same"}`)
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			f := newFixture(t, Options{}, testenv.InProcess)
			f.System.AddEntity("e-alice")
			f.Write("providers/acme", map[string]any{"allow_import": "all"}).OK(t)
			for range 500 {
				f.provider.Next(providers.StepToken, answer)
				f.provider.Next(providers.StepRefresh, answer)
				f.provider.Next(providers.StepIdentity, same)
			}
			var log []string
			flows := map[string][]string{} // states, by who
			n := 0
			who := func(name string) (string, testenv.Caller) {
				return map[string]string{
						"alice": []string{"self", "user/e-alice"}[rnd.IntN(2)], "bob": "user/e-alice", "root": "user/e-alice",
					}[name], map[string]testenv.Caller{
						"alice": alice, "bob": bob, "root": testenv.Root,
					}[name]
			}
			bring := func(name string) map[string]any {
				n++
				data := map[string]any{
					"provider": "acme", "provision": true, "allow_account_change": true,
					"verify": rnd.IntN(2) == 0, "required_scopes": "read",
				}
				switch rnd.IntN(3) {
				case 0:
					data["access_token"] = fmt.Sprintf("%s-%d", name, n)
				case 1:
					data["refresh_token"] = fmt.Sprintf("%s-%d", name, n)
				default:
					data["access_token"] = fmt.Sprintf("%s-a%d", name, n)
					data["refresh_token"] = fmt.Sprintf("%s-%d", name, n)
				}
				return data
			}
			private := func(name string, data map[string]any) map[string]any {
				if k := rnd.IntN(4); k == 0 {
					data["private"] = true
				} else if k == 1 && name != "alice" {
					data["private"] = false
				}
				return data
			}
			for range steps {
				name := []string{"alice", "bob", "root"}[rnd.IntN(3)]
				owner, as := who(name)
				var r testenv.Result
				op := rnd.IntN(13)
				switch op {
				case 0, 1:
					r = f.Write("connections/"+owner+"/x", private(name, bring(name)), as)
				case 2, 3:
					r = f.Write("auth-code-url/"+owner+"/x", private(name, map[string]any{
						"provider": "acme", "redirect_uri": appRedirect, "provision": true, "required_scopes": "read",
					}), as)
					if r.Status < 300 {
						flows[name] = append(flows[name], query(t, r.Data["url"].(string), "state"))
					}
				case 4, 5, 6:
					if of := flows[name]; len(of) > 0 {
						n++
						i := rnd.IntN(len(of))
						r = f.Write("exchange", map[string]any{
							"state": of[i], "code": fmt.Sprintf("%s-%d", name, n), "allow_account_change": true,
						}, as)
						flows[name] = append(of[:i:i], of[i+1:]...)
					}
				case 7:
					r = f.Write("connections/"+owner+"/x", private(name, map[string]any{"label": name}), as)
				case 8:
					r = f.Write("connections/"+owner+"/x", map[string]any{"disabled": rnd.IntN(3) == 0}, as)
				case 9:
					if rnd.IntN(3) == 0 {
						r = f.Delete("connections/"+owner+"/x", nil, as)
					} else {
						r = f.Write("refresh/"+owner+"/x", nil, as)
					}
				case 10:
					mode := rnd.IntN(6)
					name = fmt.Sprint("storage ", mode)
					f.Storage.Judge(func(a testenv.Access) error {
						switch {
						case mode == 0 && a.Write() && strings.HasPrefix(a.Key, "connection/"),
							mode == 1 && a.Write(),
							mode == 2 && strings.HasPrefix(a.Key, "connection/"),
							mode == 3 && strings.HasPrefix(a.Key, "import/"):
							return testenv.ErrStorage
						}
						return nil
					})
				case 11:
					f.Advance(time.Duration(rnd.IntN(90)) * time.Second)
					f.periodic(t)
				case 12:
					if rnd.IntN(4) == 0 {
						f.Storage.Judge(nil)
						f.restart(t)
						f.System.AddEntity("e-alice")
						f.System.SetReplication(0)
					}
				}
				log = append(log, fmt.Sprint(name, " ", op, " ", r.Status, " ", r.Text))
				for _, reader := range []testenv.Caller{bob, testenv.Root} {
					got := f.Read("creds/user/e-alice/x", nil, reader)
					if got.Status == http.StatusOK {
						require.NotContains(t, got.Data["access_token"], "alice", "%s", strings.Join(log, "\n"))
					}
				}
			}
			f.Storage.Judge(nil)
		})
	}
}

// Spellings of one redirect URI, at which one application receives the answers.
func TestAttackSpellingsOfARedirect(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"redirect_uris": appRedirect}).OK(t)
		for i, uri := range []string{
			"https://app.example.com./oauth/callback", "https://app.example.com/oauth/%63allback",
			"https://app.example.com/x/../oauth/callback", "https://app.example.com/oauth/./callback",
			"https://app.example.com/oauth/callback?",
			"https://app.example.com:0443/oauth/callback", "https://x@app.example.com/oauth/callback",
		} {
			r := f.Write(fmt.Sprintf("providers/mallory%d", i), with(f.acme(), map[string]any{
				"redirect_uris": uri, "endpoints": map[string]any{
					"authorize": "https://mallory.example.com/a", "token": "https://mallory.example.com/t",
				},
			}))
			assert.NotEqual(t, http.StatusOK, r.Status, uri)
		}
	})
}
