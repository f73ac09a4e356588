package backend

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// account has the provider's next identity call answer with this account.
func (f *fixture) account(id string) {
	f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"`+id+`"}`))
}

// accountOf is the account that a connection has.
func (f *fixture) accountOf(t *testing.T, path string) string {
	t.Helper()
	return members(t, f.Read("connections/"+path, nil).OK(t)["account"])["id"].(string)
}

func (f *fixture) spent() int { return f.provider.Count(providers.StepRefresh) }

func (f *fixture) token(t *testing.T, path string) any {
	t.Helper()
	return f.Read("creds/"+path, nil).OK(t)["access_token"]
}

// A refresh token is spent once, whoever sends it how often; what it brought serves.
func TestImportIsTried(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		import_ := map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}
		made := f.Write("connections/x", import_).OK(t)
		assert.Equal(t, "active", made["status"])
		assert.NotEmpty(t, members(t, made["account"])["id"])
		require.Equal(t, 1, f.spent())
		token := f.token(t, "x")
		assert.True(t, f.provider.Alive(token.(string)))
		for range 3 { // as a configuration tool does
			r := f.Write("connections/x", with(import_, map[string]any{"label": "again"}))
			assert.Equal(t, "again", r.OK(t)["label"])
			assert.Contains(t, strings.Join(r.Warnings, " "), "refreshed since")
		}
		assert.Equal(t, 1, f.spent())
		assert.Equal(t, token, f.token(t, "x"))
		assert.Empty(t, f.stored(t, "import/"), "what was tried is the connection's now")
	})
}

// An access token that lives is identified with, and nothing is spent.
func TestImportOfLivingToken(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		refresh := f.elsewhere(t)
		f.account("carol")
		made := f.Write("connections/x", map[string]any{
			"provider": "acme", "access_token": "lives", "refresh_token": refresh, "expires_in": "1h",
		}).OK(t)
		assert.Equal(t, "carol", members(t, made["account"])["id"])
		assert.Equal(t, "lives", f.token(t, "x"))
		assert.Zero(t, f.spent())

		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusUnauthorized, `{"error":"invalid_token"}`))
		f.Write("connections/y", map[string]any{"provider": "acme", "access_token": "dead"}).
			Refused(t, http.StatusConflict, "does not take this access token")
		assert.Nil(t, f.Read("connections/y", nil).Response)

		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusUnauthorized, `{"error":"invalid_token"}`))
		f.Write("connections/y", map[string]any{
			"provider": "acme", "access_token": "dead", "refresh_token": f.elsewhere(t),
		}).OK(t)
		assert.Equal(t, 1, f.spent(), "a dead access token is no reason to refuse a refresh token")
		assert.NotEqual(t, "dead", f.token(t, "y"))
	})
}

// An import does not swap whose account a connection is without a word. What was spent to find out is not lost.
func TestImportOfAnotherAccount(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "x")
		before := f.token(t, "x")
		import_ := map[string]any{"refresh_token": f.elsewhere(t)}
		f.account("somebody-else")
		f.Write("connections/x", import_).
			Refused(t, http.StatusConflict, "another account", "allow_account_change=true", "kept for an hour")
		assert.Equal(t, before, f.token(t, "x"), "the connection is as it was")
		require.Equal(t, 1, f.spent())
		f.Write("connections/x", import_).Refused(t, http.StatusConflict, "another account")
		f.restart(t)
		f.System.SetReplication(0)
		f.periodic(t)
		f.Write("connections/x", import_).Refused(t, http.StatusConflict, "another account")
		assert.Equal(t, before, f.token(t, "x"), "nobody adopts it but who sends it again")

		made := f.Write("connections/x", with(import_, map[string]any{"allow_account_change": true})).OK(t)
		assert.Equal(t, "somebody-else", members(t, made["account"])["id"])
		assert.Equal(t, 1, f.spent(), "the token was spent once")
		assert.NotEqual(t, before, f.token(t, "x"))
		assert.Empty(t, f.stored(t, "import/"))

		f.account("a-third")
		f.Write("connections/x", map[string]any{"access_token": "lives"}).
			Refused(t, http.StatusConflict, "another account")
		f.Write("connections/x", map[string]any{"access_token": "lives", "verify": false}).
			Refused(t, http.StatusConflict, "could not be learned")
	})
}

// A grant whose scopes are refused is kept for an hour as well, and then forgotten.
func TestImportOfSurplusScopes(t *testing.T) {
	answer := providertest.Respond(http.StatusOK, `{"access_token":"wide","refresh_token":"next","token_type":"bearer",`+
		`"expires_in":7200,"scope":"read admin"}`)
	each(t, func(t *testing.T, f *fixture) {
		import_ := func(name string) testenv.Result {
			return f.Write("connections/"+name, map[string]any{"provider": "acme", "refresh_token": "brought-" + name})
		}
		f.Write("providers/acme", map[string]any{"surplus_scopes": "refuse"}).OK(t)
		f.provider.Next(providers.StepRefresh, answer, answer)
		import_("x").Refused(t, http.StatusConflict, "allowed_scopes", "kept for an hour")
		import_("y").Refused(t, http.StatusConflict, "allowed_scopes")
		f.Write("providers/acme", map[string]any{"allowed_scopes": "read,write,admin"}).OK(t)
		assert.Equal(t, "active", import_("x").OK(t)["status"])
		assert.Equal(t, "wide", f.token(t, "x"))
		assert.Equal(t, 2, f.spent())
		require.Len(t, f.stored(t, "import/"), 1)
		f.Advance(time.Hour)
		require.Eventually(t, func() bool {
			f.periodic(t)
			return len(f.stored(t, "import/")) == 0
		}, time.Minute, time.Millisecond)
	})
}

// What a crash cuts off is carried on with by the next process, also where there is no connection yet.
func TestImportSurvivesCrash(t *testing.T) {
	serves := func(t *testing.T, f *fixture, spent int) {
		t.Helper()
		require.Eventually(t, func() bool { return f.Read("creds/x", nil).Status == http.StatusOK },
			time.Minute, time.Millisecond)
		assert.True(t, f.provider.Alive(f.token(t, "x").(string)))
		assert.Equal(t, spent, f.spent())
		assert.Equal(t, "mine", f.Read("connections/x", nil).OK(t)["label"])
		require.Eventually(t, func() bool { return len(f.stored(t, "import/")) == 0 }, time.Minute, time.Millisecond)
	}
	crash := func(t *testing.T, f *fixture) {
		t.Helper()
		f.Storage.Judge(nil)
		f.restart(t)
		f.System.SetReplication(0)
		f.periodic(t)
	}
	brought := func(t *testing.T, f *fixture) map[string]any {
		return map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t), "label": "mine"}
	}
	t.Run("between the answer and the connection", func(t *testing.T) {
		each(t, func(t *testing.T, f *fixture) {
			import_ := brought(t, f)
			refuseConnections(f.Storage)
			made := f.Write("connections/x", import_)
			made.OK(t)
			assert.Contains(t, strings.Join(made.Warnings, " "), "storage refused")
			crash(t, f)
			serves(t, f, 1)
		})
	})
	t.Run("between the answer and whose it is", func(t *testing.T) {
		each(t, func(t *testing.T, f *fixture) {
			import_ := brought(t, f)
			f.provider.Next(providers.StepIdentity, func(_ *providertest.Server, w http.ResponseWriter, r *http.Request,
				behave http.HandlerFunc,
			) {
				f.Storage.Judge(func(testenv.Access) error { return testenv.ErrStorage }) // as after its process is gone
				behave(w, r)
			})
			f.Write("connections/x", import_)
			crash(t, f)
			serves(t, f, 1)
			assert.Equal(t, providertest.AccountID, f.accountOf(t, "x"))
		})
	})
	t.Run("before the answer", func(t *testing.T) {
		each(t, func(t *testing.T, f *fixture) {
			import_ := brought(t, f)
			f.provider.Next(providers.StepRefresh, providertest.Reset(), providertest.Reset())
			f.Write("connections/x", import_).Refused(t, http.StatusBadGateway, "may be spent", "send the same import")
			assert.Nil(t, f.Read("connections/x", nil).Response)
			crash(t, f)
			serves(t, f, 3)
		})
	})
	t.Run("and a deletion ends it", func(t *testing.T) {
		each(t, func(t *testing.T, f *fixture) {
			f.connect(t, "x")
			import_ := map[string]any{"refresh_token": f.elsewhere(t)}
			f.provider.Next(providers.StepRefresh, providertest.Reset(), providertest.Reset())
			f.Write("connections/x", import_).Refused(t, http.StatusBadGateway)
			require.NotEmpty(t, f.stored(t, "import/"))
			f.Delete("connections/x", nil).OK(t)
			crash(t, f)
			assert.Empty(t, f.stored(t, "import/"))
			assert.Nil(t, f.Read("connections/x", nil).Response)
		})
	})
}

// What speaks against an import is found before anything is spent, and leaves nothing.
func TestImportRefused(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		import_ := map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}
		untouched := func(calls int) {
			t.Helper()
			assert.Equal(t, calls, f.spent())
			assert.Empty(t, f.stored(t, "import/"))
			assert.Empty(t, f.stored(t, "connection/"))
		}
		for word, paths := range map[string][]string{
			"none": {"x", "org/acme/x", "user/u1/x"}, "org": {"user/u1/x"}, "": {"user/u1/x"},
		} {
			f.Write("providers/acme", map[string]any{"allow_import": word}).OK(t)
			for _, path := range paths {
				f.Write("connections/"+path, import_).Refused(t, http.StatusForbidden, "allow_import")
			}
		}
		f.Write("connections/self/x", import_, alice).Refused(t, http.StatusForbidden, "allow_import")
		f.Write("providers/acme", map[string]any{"allow_import": "some"}).Refused(t, http.StatusBadRequest, "allow_import")
		f.Write("providers/acme", map[string]any{"allow_import": "org"}).OK(t)
		untouched(0)

		f.Write("config", map[string]any{"refresh_paused": true}).OK(t)
		f.Write("connections/x", import_).Refused(t, http.StatusConflict, "paused")
		f.Write("config", map[string]any{"refresh_paused": false}).OK(t)
		untouched(0)

		f.connect(t, "worked")
		f.Advance(time.Minute)
		f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusTooManyRequests, `{}`, "Retry-After", "60"))
		f.Write("refresh/worked", nil).Refused(t, http.StatusBadGateway)
		f.Write("connections/x", import_).Refused(t, http.StatusBadGateway, "left alone")
		f.Delete("connections/worked", nil)
		untouched(1)
		f.Write("providers/acme", nil).OK(t)

		f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusBadRequest, `{"error":"invalid_grant"}`))
		f.Write("connections/x", import_).Refused(t, http.StatusConflict, "nothing was changed")
		untouched(2)
		f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusServiceUnavailable, ``))
		f.Write("connections/x", import_).Refused(t, http.StatusBadGateway, "nothing was")
		untouched(3)
		f.Write("connections/x", import_).OK(t)
	})
}

// verify=false asks nobody, and says so.
func TestImportUntried(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		made := f.Write("connections/x", map[string]any{
			"provider": "acme", "refresh_token": f.elsewhere(t), "verify": false,
			"access_token": "lives", "expires_in": "1h",
		})
		made.OK(t)
		assert.Contains(t, strings.Join(made.Warnings, " "), "untried")
		assert.Zero(t, f.spent())
		assert.Zero(t, f.provider.Count(providers.StepIdentity))
		assert.Equal(t, "lives", f.token(t, "x"))
		f.Advance(2 * time.Hour)
		assert.True(t, f.provider.Alive(f.token(t, "x").(string)))
		assert.Equal(t, 1, f.spent())
	})
}

// A crowd that imports the same token into one connection spends it once.
func TestImportByACrowd(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		import_ := map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}
		release := make(chan struct{})
		f.provider.Next(providers.StepRefresh, providertest.HangUntil(release))
		var crowd sync.WaitGroup
		answers := make(chan testenv.Result, 20)
		for range cap(answers) {
			crowd.Go(func() { answers <- f.Write("connections/x", import_) })
		}
		require.Eventually(t, func() bool { return f.spent() == 1 }, time.Minute, time.Millisecond)
		close(release)
		crowd.Wait()
		close(answers)
		served := 0
		for r := range answers {
			switch r.Status {
			case http.StatusOK:
				served++
			default:
				r.Refused(t, http.StatusConflict, "again")
			}
		}
		assert.NotZero(t, served)
		assert.Equal(t, 1, f.spent())
		f.Write("connections/x", import_).OK(t)
		assert.Equal(t, 1, f.spent())
		assert.True(t, f.provider.Alive(f.token(t, "x").(string)))
	})
}

// Whose account the connection is counts when the import lands, not when it set out.
func TestImportMeetsAReconnect(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusServiceUnavailable, ""))
		f.connect(t, "x")
		asked, release := make(chan struct{}), make(chan struct{})
		f.provider.Next(providers.StepIdentity, func(
			s *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc,
		) {
			close(asked)
			providertest.HangUntil(release)(s, w, r, func(w http.ResponseWriter, r *http.Request) {
				providertest.Respond(http.StatusOK, `{"sub":"somebody-else"}`)(s, w, r, behave)
			})
		})
		answer := make(chan testenv.Result, 1)
		go func() {
			answer <- f.Write("connections/x", map[string]any{"access_token": "lives", "refresh_token": f.elsewhere(t)})
		}()
		<-asked
		f.connect(t, "x")
		token := f.token(t, "x")
		close(release)
		(<-answer).Refused(t, http.StatusConflict, "another account")
		assert.Equal(t, token, f.token(t, "x"))
	})
}

// What nobody but the record and memory have stays in the record, whatever the background looks at meanwhile.
func TestRecordOfAnImportOutlivesTheHeartbeat(t *testing.T) {
	t.Run("while the connection is not saved", func(t *testing.T) {
		f := newFixture(t, Options{}, testenv.InProcess)
		refuseConnections(f.Storage)
		f.Write("connections/x", map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}).OK(t)
		for range 3 {
			f.engine().finishImports(t.Context())
		}
		require.NotEmpty(t, f.stored(t, "import/"))
		f.Storage.Judge(nil)
		f.restart(t)
		f.System.SetReplication(0)
		f.periodic(t)
		require.Eventually(t, func() bool { return f.Read("creds/x", nil).Status == http.StatusOK },
			time.Minute, time.Millisecond)
		assert.Equal(t, 1, f.spent())
	})
	t.Run("when what was given is another account's", func(t *testing.T) {
		f := newFixture(t, Options{}, testenv.InProcess)
		f.connect(t, "x")
		import_ := map[string]any{"refresh_token": f.elsewhere(t)}
		f.provider.Next(providers.StepRefresh, providertest.Reset(), providertest.Reset())
		f.Write("connections/x", import_).Refused(t, http.StatusBadGateway)
		f.account("somebody-else")
		f.engine().finishImports(t.Context())
		require.Equal(t, 3, f.spent())
		require.NotEmpty(t, f.stored(t, "import/"), "what was given is kept for who brought it")
		f.Write("connections/x", with(import_, map[string]any{"allow_account_change": true})).OK(t)
		assert.Equal(t, 3, f.spent())
		assert.True(t, f.provider.Alive(f.token(t, "x").(string)))
	})
}

// What otherwise only a callback tells comes with an import as an input, and without it nothing is spent.
func TestImportBringsWhatTheCallbackTells(t *testing.T) {
	const more = `
inputs:
  - {name: company, set_by: connection, pattern: '[0-9]+', help: its number}
connection_config:
  - name: realm
    pattern: '[0-9]+'
    required: true
    any_of: [{from: callback, path: [realmId]}, {from: input, path: [company]}]
`
	eachWith(t, unproven(t, more), func(t *testing.T, f *fixture) {
		import_ := map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}
		f.Write("connections/x", import_).Refused(t, http.StatusBadRequest, "name it in inputs: company")
		f.Read("connections/x", nil).Refused(t, http.StatusNotFound)
		require.Zero(t, f.spent())
		import_["inputs"] = map[string]any{"company": "42"}
		f.Write("connections/x", import_).OK(t)
		assert.Equal(t, map[string]any{"realm": "42"}, members(t, f.Read("creds/x", nil).OK(t)["connection_config"]))
		told := members(t, members(t, f.Read("catalog/oauth2", nil).OK(t)["connection_config"])["realm"])
		assert.Equal(t, true, told["required"])
		assert.Equal(t, []string{"callback", "input"}, texts(t, told["from"]))
	})
}
