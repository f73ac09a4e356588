package backend

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// silent sends an import that no answer comes to.
func (f *fixture) silent(t *testing.T, path string, import_ map[string]any) {
	t.Helper()
	f.provider.Next(providers.StepRefresh, providertest.Reset(), providertest.Reset())
	f.Write("connections/"+path, import_).Refused(t, http.StatusBadGateway, "may be spent")
	require.Len(t, f.stored(t, "import/"), 1)
}

// crashed sends an import whose process dies once the provider answered, when nothing but that is stored. Before that,
// somebody does something else.
func (f *fixture) crashed(t *testing.T, path string, import_ map[string]any, meanwhile ...func()) {
	t.Helper()
	refuseConnections(f.Storage)
	f.Write("connections/"+path, import_).OK(t)
	for _, do := range meanwhile {
		do()
	}
	f.Stop()
	f.Storage.Judge(nil)
	require.Len(t, f.stored(t, "import/"), 1)
}

// next mounts the engine anew, and lets it carry on.
func (f *fixture) next(t *testing.T) {
	t.Helper()
	f.Env = f.mount(t, f.Storage)
	f.beats(t)
}

// inProcess runs tests by name, each with a fixture of its own.
func inProcess(t *testing.T, tests map[string]func(*testing.T, *fixture)) {
	t.Helper()
	all := map[string]func(*testing.T){}
	for name, test := range tests {
		all[name] = func(t *testing.T) { test(t, newFixture(t, Options{}, testenv.InProcess)) }
	}
	abreast(t, all)
}

// What the operator allows by the time that an import is carried on with counts, and what others did to the connection.
func TestImportCutOffIsLookedAtAnew(t *testing.T) {
	absent := func(t *testing.T, f *fixture, path string) {
		t.Helper()
		assert.Equal(t, http.StatusNotFound, f.Read("connections/"+path, nil).Status)
	}
	// forbids has the operator change the provider between two processes, and back.
	forbids := func(t *testing.T, f *fixture, change, back map[string]any) {
		t.Helper()
		import_ := map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}
		f.crashed(t, "org/acme/x", import_, func() { f.Write("providers/acme", change).OK(t) })
		f.next(t)
		absent(t, f, "org/acme/x")
		require.Len(t, f.stored(t, "import/"), 1, "what was spent for it is kept")
		f.Write("providers/acme", back).OK(t)
		f.beats(t)
		absent(t, f, "org/acme/x") // it waits for a person by now
		f.Write("connections/org/acme/x", import_).OK(t)
		assert.Equal(t, 1, f.spent())
		f.serving(t, "org/acme/x")
	}
	inProcess(t, map[string]func(*testing.T, *fixture){
		"no imports": func(t *testing.T, f *fixture) {
			forbids(t, f, map[string]any{"allow_import": "none"}, map[string]any{"allow_import": ""})
		},
		"other owners": func(t *testing.T, f *fixture) {
			forbids(t, f, map[string]any{"allowed_owners": "org/others"}, map[string]any{"allowed_owners": ""})
		},
		"no imports, and its answer never came": func(t *testing.T, f *fixture) {
			f.silent(t, "x", map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)})
			f.Write("providers/acme", map[string]any{"allow_import": "none"}).OK(t)
			for range 10 { // a beat that finds the import still on its way leaves it to the next
				if f.beats(t); len(f.stored(t, "import/")) == 0 {
					break
				}
			}
			assert.Empty(t, f.stored(t, "import/"), "nothing is kept that nobody may have")
			assert.Equal(t, 2, f.spent())
		},
		"another app": func(t *testing.T, f *fixture) {
			f.silent(t, "x", map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)})
			f.Write("providers/acme", map[string]any{"client_id": "another", "client_secret": "its"}).OK(t)
			f.beats(t)
			assert.Equal(t, 2, f.spent(), "the token is sent to nobody else")
			absent(t, f, "x")
		},
		"another app, for which it was sent again": func(t *testing.T, f *fixture) {
			import_ := map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}
			f.silent(t, "x", import_)
			f.Write("providers/acme", map[string]any{"client_id": "another", "client_secret": "its"}).OK(t)
			f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusOK,
				`{"access_token":"of another app","refresh_token":"next","token_type":"bearer","expires_in":7200}`))
			f.account("carol")
			f.crashed(t, "x", import_)
			f.next(t)
			assert.Equal(t, "of another app", f.token(t, "x"))
			assert.Equal(t, 3, f.spent())
		},
		"it was connected meanwhile": func(t *testing.T, f *fixture) {
			f.silent(t, "x", map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)})
			f.connect(t, "x")
			token := f.token(t, "x")
			f.beats(t)
			assert.Equal(t, token, f.token(t, "x"))
			assert.Equal(t, 2, f.spent())
		},
		"it was deleted meanwhile": func(t *testing.T, f *fixture) {
			f.connect(t, "x")
			f.silent(t, "x", map[string]any{"refresh_token": f.elsewhere(t)})
			prefix := "import/" + f.stored(t, "import/")[0]
			left, err := f.Storage.Get(t.Context(), prefix+f.stored(t, prefix)[0])
			require.NoError(t, err)
			f.Delete("connections/x", nil).OK(t)
			require.NoError(t, f.Storage.Put(t.Context(), &logical.StorageEntry{Key: left.Key, Value: left.Value}))
			f.Stop()
			f.next(t)
			absent(t, f, "x")
			assert.Equal(t, 2, f.spent())
		},
	})
}

// What waits for a person is adopted by nobody else, also where the operator has changed their mind.
func TestParkedImportWaits(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	import_ := map[string]any{"provider": "acme", "refresh_token": "brought"}
	f.Write("providers/acme", map[string]any{"surplus_scopes": "refuse"}).OK(t)
	f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusOK, `{"access_token":"wide",`+
		`"refresh_token":"next","token_type":"bearer","expires_in":7200,"scope":"read admin"}`))
	f.Write("connections/x", import_).Refused(t, http.StatusConflict, "allowed_scopes")
	f.Write("providers/acme", map[string]any{"allowed_scopes": "read,write,admin"}).OK(t)
	f.beats(t)
	assert.Equal(t, http.StatusNotFound, f.Read("connections/x", nil).Status)

	f.Write("providers/acme", map[string]any{"client_id": "another", "client_secret": "its"}).OK(t)
	f.Write("connections/x", import_).Refused(t, http.StatusConflict, "configured otherwise")
	f.Write("providers/acme", f.acme()).OK(t)
	f.Write("connections/x", import_).OK(t)
	assert.Equal(t, "wide", f.token(t, "x"))
	assert.Equal(t, 1, f.spent())
}

// What is known of a token that is about to be spent is stored first, and again before it is sent once more.
func TestImportIsStoredBeforeItIsSpent(t *testing.T) {
	refuses := func(f *fixture, n int) {
		refused := testenv.Nth(n, func(a testenv.Access) bool { return a.Op == "put" && a.Under("import/") })
		f.Storage.Judge(func(a testenv.Access) error {
			if refused(a) {
				return testenv.ErrStorage
			}
			return nil
		})
	}
	inProcess(t, map[string]func(*testing.T, *fixture){
		"before it is spent": func(t *testing.T, f *fixture) {
			refuses(f, 1)
			import_ := map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}
			f.Write("connections/x", import_).Refused(t, http.StatusInternalServerError)
			assert.Zero(t, f.spent())
			f.Write("connections/x", import_).OK(t)
			f.serving(t, "x")
		},
		"before it is sent again": func(t *testing.T, f *fixture) {
			refuses(f, 2)
			f.provider.Next(providers.StepRefresh, providertest.Reset())
			import_ := map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}
			f.Write("connections/x", import_).Refused(t, http.StatusBadGateway, "may be spent")
			assert.Equal(t, 1, f.spent(), "this node may not lead any more")
			f.Write("connections/x", import_).OK(t)
			f.serving(t, "x")
		},
		"whose it is, which is asked once": func(t *testing.T, f *fixture) {
			f.crashed(t, "x", map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)})
			asked := f.provider.Count(providers.StepIdentity)
			f.next(t)
			assert.Equal(t, providertest.AccountID, f.accountOf(t, "x"))
			assert.Equal(t, asked, f.provider.Count(providers.StepIdentity))
		},
		"that another account is meant": func(t *testing.T, f *fixture) {
			f.connect(t, "x")
			f.account("somebody-else")
			f.crashed(t, "x", map[string]any{"refresh_token": f.elsewhere(t), "allow_account_change": true})
			f.next(t)
			assert.Equal(t, "somebody-else", f.accountOf(t, "x"))
			assert.Equal(t, 1, f.spent())
		},
	})
}

// The record of an import ends with the doubt about its token, and not before.
func TestImportIsForgottenInTime(t *testing.T) {
	inProcess(t, map[string]func(*testing.T, *fixture){
		"not while an answer may be lost": func(t *testing.T, f *fixture) {
			import_ := map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}
			f.provider.Next(providers.StepRefresh, providertest.Reset(),
				providertest.Respond(http.StatusServiceUnavailable, ""))
			f.Write("connections/x", import_).Refused(t, http.StatusBadGateway)
			assert.Len(t, f.stored(t, "import/"), 1)
			f.Write("connections/x", import_).OK(t)
			f.serving(t, "x")
		},
		"once it is refused": func(t *testing.T, f *fixture) {
			import_ := map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}
			f.silent(t, "x", import_)
			f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusBadRequest, `{"error":"invalid_grant"}`))
			f.Write("connections/x", import_).Refused(t, http.StatusConflict, "an earlier answer was lost")
			assert.Empty(t, f.stored(t, "import/"))
		},
		"once it is sent again": func(t *testing.T, f *fixture) {
			import_ := map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}
			f.keepTrials()
			f.Write("connections/x", import_).OK(t)
			require.Len(t, f.stored(t, "import/"), 1)
			f.Storage.Judge(nil)
			f.Write("connections/x", import_).OK(t)
			assert.Empty(t, f.stored(t, "import/"))
		},
	})
}

// keepTrials has storage keep the records of imports: it removes none.
func (f *fixture) keepTrials() {
	f.Storage.Judge(func(a testenv.Access) error {
		if a.Op == "delete" && a.Under("import/") {
			return testenv.ErrStorage
		}
		return nil
	})
}

// An access token is taken for dead where its API says so, and no more asked of where its refresh token may be spent.
func TestImportOfADeadAccessToken(t *testing.T) {
	inProcess(t, map[string]func(*testing.T, *fixture){
		"refused": func(t *testing.T, f *fixture) {
			f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusBadRequest, `{"error":"invalid_grant"}`))
			f.Write("connections/x", map[string]any{
				"provider": "acme", "access_token": "dead", "refresh_token": f.elsewhere(t),
			}).OK(t)
			assert.Equal(t, 1, f.spent())
			f.serving(t, "x")
		},
		"beside a refresh token that may be spent": func(t *testing.T, f *fixture) {
			import_ := map[string]any{"provider": "acme", "access_token": "lives", "refresh_token": f.elsewhere(t)}
			f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusUnauthorized, ""))
			f.silent(t, "x", import_)
			f.account("carol")
			f.Write("connections/x", import_).OK(t)
			assert.Equal(t, 3, f.spent())
			f.serving(t, "x")
		},
	})
}

// An import waits for a renewal that spends the very token that it brings.
func TestImportOfATokenBeingSpent(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	import_ := map[string]any{
		"provider": "acme", "access_token": "first", "refresh_token": f.elsewhere(t), "verify": false, "expires_in": 3600,
	}
	f.Write("connections/x", import_).OK(t)
	f.Advance(2 * time.Hour)
	begun, release := f.blocked()
	read, again := make(chan testenv.Result, 1), make(chan testenv.Result, 1)
	go func() { read <- f.Read("creds/x", nil) }()
	<-begun
	f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusUnauthorized, ""))
	go func() {
		again <- f.Write("connections/x", with(import_, map[string]any{"access_token": "dead", "verify": true}))
	}()
	require.Eventually(t, func() bool { return f.engine().tasks.Count("import ") == 1 }, time.Minute, time.Millisecond)
	time.Sleep(50 * time.Millisecond)
	close(release)
	(<-read).OK(t)
	r := <-again
	r.OK(t)
	assert.Contains(t, strings.Join(r.Warnings, " "), "refreshed since")
	assert.Equal(t, 1, f.spent())
	f.serving(t, "x")
}

// Two imports of different tokens into one connection are made one after the other; each gets its own answer.
func TestTwoImportsAtOnce(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.connect(t, "x")
	begun, release := f.blocked()
	first, second := make(chan testenv.Result, 1), make(chan testenv.Result, 1)
	go func() {
		first <- f.Write("connections/x", map[string]any{"refresh_token": f.elsewhere(t), "label": "first"})
	}()
	<-begun
	later := f.elsewhere(t)
	go func() { second <- f.Write("connections/x", map[string]any{"refresh_token": later, "label": "second"}) }()
	time.Sleep(50 * time.Millisecond)
	assert.Equal(t, 1, f.spent(), "it waits")
	close(release)
	assert.Equal(t, "first", (<-first).OK(t)["label"])
	assert.Equal(t, "second", (<-second).OK(t)["label"])
	sent := f.provider.Requests(providers.StepRefresh)
	require.Len(t, sent, 2)
	assert.Equal(t, later, sent[1].Form.Get("refresh_token"))
	f.serving(t, "x")
}

// Of a connection that became another's while an import waited, nothing is spent for it.
func TestImportThatWaitsForAnother(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.Write("providers/acme", map[string]any{"allow_import": "all"}).OK(t)
	f.connect(t, "user/e-alice/x", bob)
	begun, release := f.blocked()
	first, second := make(chan testenv.Result, 1), make(chan testenv.Result, 1)
	go func() {
		first <- f.Write("connections/self/x", map[string]any{"refresh_token": f.elsewhere(t), "provider": "acme"}, alice)
	}()
	<-begun
	later := f.elsewhere(t)
	go func() { second <- f.Write("connections/user/e-alice/x", map[string]any{"refresh_token": later}, bob) }()
	time.Sleep(50 * time.Millisecond)
	close(release)
	assert.Equal(t, true, (<-first).OK(t)["private"])
	(<-second).Refused(t, http.StatusForbidden, "private meanwhile")
	assert.Equal(t, 1, f.spent())
	assert.Empty(t, f.stored(t, "import/"))
}

// A provider that asks an import to leave it alone is left alone by all.
func TestImportTellsTheGate(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.connect(t, "x")
	f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusTooManyRequests, `{}`, "Retry-After", "60"))
	f.Write("connections/x", map[string]any{"refresh_token": f.elsewhere(t)}).Refused(t, http.StatusBadGateway)
	f.Write("connections/x", map[string]any{"refresh_token": f.elsewhere(t)}).
		Refused(t, http.StatusBadGateway, "left alone")
	assert.Equal(t, 1, f.spent())
}
