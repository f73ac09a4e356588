package backend

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

// hooks is a definition with a companion on either side.
const hooks = `name: Hooks
kinds: [api_key]
key: {fields: [{name: api_key, secret: true}]}
send: {headers: {X: '{api_key}'}}
companions:
  - {name: signing, on: provider, help: on the app's page, pattern: '[a-z-]+'}
  - {name: hook, on: connection}
`

var withIt = map[string]any{"include": "companions"}

// hooked configures such a provider, with a connection of each of two organizations.
func (f *fixture) hooked(t *testing.T, more map[string]any) {
	t.Helper()
	f.Write("providers/hooks", with(map[string]any{
		"definition_yaml": hooks, "companions": map[string]any{"signing": "the-signing-secret"},
	}, more)).OK(t)
	for _, path := range []string{"connections/a", "connections/org/other/a"} {
		f.Write(path, map[string]any{
			"provider": "hooks", "api_key": "key", "companions": map[string]any{"hook": "hook of " + path},
		}).OK(t)
	}
}

// companionsOf are the companions that a read of creds answers; nil where it answers none.
func companionsOf(t *testing.T, r testenv.Result) map[string]any {
	t.Helper()
	if _, there := r.OK(t)["companions"]; !there {
		return nil
	}
	return members(t, r.Data["companions"])
}

func TestCompanionsOfAConnection(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.hooked(t, nil)
		assert.Nil(t, companionsOf(t, f.Read("creds/a", nil)), "nobody asked")
		assert.Nil(t, companionsOf(t, f.Read("creds/a", map[string]any{"include": "send"})))
		both := f.Read("creds/a", map[string]any{"include": "send,companions"})
		assert.Equal(t, map[string]any{"hook": "hook of connections/a"}, companionsOf(t, both))
		assert.NotEmpty(t, both.Data["send"])
		f.Read("creds/a", map[string]any{"include": "all"}).Refused(t, http.StatusBadRequest, "companions")

		view := f.Read("connections/a", nil).OK(t)
		assert.Equal(t, "****ns/a", members(t, view["companions"])["hook"])
		f.Write("connections/a", map[string]any{"companions": map[string]any{"hook": "****ns/b"}}).
			Refused(t, http.StatusBadRequest, "is a mask")
		f.Write("connections/a", map[string]any{"companions": map[string]any{"hooc": "x"}}).
			Refused(t, http.StatusBadRequest, `"hooc" is not declared`, "allowed here are hook")
		f.Write("connections/a", map[string]any{"companions": map[string]any{"hooc": ""}}).
			Refused(t, http.StatusBadRequest, `"hooc" is not declared`)
		f.Write("connections/a", map[string]any{"companions": map[string]any{"signing": "x"}}).
			Refused(t, http.StatusBadRequest, `"signing" is not declared`)
		f.Write("connections/a", map[string]any{"companions": map[string]any{"hook": "a\nb"}}).
			Refused(t, http.StatusBadRequest, "companions")
		assert.Equal(t, asUnread(view), asUnread(f.Read("connections/a", nil).OK(t)))

		f.Write("connections/a", map[string]any{"api_key": "another", "label": "x"}).OK(t)
		assert.Equal(t, "hook of connections/a", companionsOf(t, f.Read("creds/a", withIt))["hook"], "it is kept")
		f.restart(t)
		assert.Equal(t, "hook of connections/a", companionsOf(t, f.Read("creds/a", withIt))["hook"])
		f.Write("connections/a", map[string]any{"companions": map[string]any{"hook": ""}}).OK(t)
		assert.Empty(t, f.Read("connections/a", nil).OK(t)["companions"])
		assert.Empty(t, companionsOf(t, f.Read("creds/a", withIt)))
	})
}

func TestCompanionsOfAProvider(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.hooked(t, nil)
		read := f.Read("providers/hooks", nil).OK(t)
		assert.Equal(t, "****", members(t, read["companions"])["signing"].(string)[:4])
		assert.NotContains(t, read["companions"], "the-signing-secret")
		assert.Equal(t, "provider",
			members(t, f.Read("catalog/provider:hooks", nil).OK(t)["companions"])["signing"].(map[string]any)["on"])
		refused := f.Read("creds/a", withIt)
		assert.NotContains(t, companionsOf(t, refused), "signing", "by default it is nobody's")
		assert.Contains(t, strings.Join(refused.Warnings, " "), "companions_for on providers/hooks")

		for owners, gets := range map[string][2]bool{
			"org/default": {true, false}, "org/other": {false, true}, "org/*": {true, true}, "user/x": {false, false},
		} {
			f.Write("providers/hooks", map[string]any{
				"companions_for": owners, "companions": map[string]any{"signing": "the-signing-secret"},
			}).OK(t)
			for i, path := range []string{"creds/a", "creds/org/other/a"} {
				_, got := companionsOf(t, f.Read(path, withIt))["signing"]
				assert.Equal(t, gets[i], got, "%s for %s", path, owners)
				assert.NotContains(t, f.Read(path, nil).OK(t), "companions", "never unless it is asked for")
			}
		}
		for _, c := range []struct {
			data map[string]any
			want string
		}{
			{map[string]any{"companions_for": "user/*"}, "user/*"},
			{map[string]any{"companions_for": "everybody"}, "companions_for: \"everybody\" is no owner"},
			{map[string]any{"companions": map[string]any{"hook": "x"}}, `"hook" is not declared`},
			{map[string]any{"companions": map[string]any{"signing": "NO"}}, "must match [a-z-]+ (on the app's page)"},
		} {
			f.Write("providers/hooks", c.data).Refused(t, http.StatusBadRequest, c.want)
		}
		f.Write("providers/acme", map[string]any{"companions": map[string]any{"signing": "x"}}).
			Refused(t, http.StatusBadRequest, "allowed here are none")
	})
}

// Whoever may write a provider, and knows none of its secrets, does not learn them as one of its owners.
func TestCompanionsForOthers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.hooked(t, map[string]any{"companions_for": "org/other"})
		mask := f.Read("providers/hooks", nil).OK(t)["companions"]
		for _, data := range []map[string]any{
			{"companions_for": "org/default"},
			{"companions_for": "org/other,org/*"},
			{"companions_for": "org/default", "companions": mask},
		} {
			f.Write("providers/hooks", data).Refused(t, http.StatusForbidden, "companions_for", "same call")
		}
		assert.NotContains(t, companionsOf(t, f.Read("creds/a", withIt)), "signing")
		f.Write("providers/hooks", map[string]any{
			"companions_for": "org/default", "companions": map[string]any{"signing": "made-up"},
		}).OK(t)
		assert.Equal(t, "made-up", companionsOf(t, f.Read("creds/a", withIt))["signing"])
		f.Write("providers/hooks", map[string]any{"companions_for": ""}).OK(t)
		f.Write("providers/hooks", map[string]any{"companions": map[string]any{"signing": ""}}).OK(t)
		f.Write("providers/hooks", map[string]any{"companions_for": "org/*"}).OK(t)

		f.hooked(t, map[string]any{"companions_for": "org/*"})
		f.Write("providers/hooks", map[string]any{"companions_for": "org/*,org/default"}).OK(t)
		moved := f.Write("providers/hooks", map[string]any{
			"definition_yaml": strings.Replace(hooks, "X: ", "Y: ", 1),
		})
		assert.Empty(t, moved.OK(t)["companions"], "cleared with the other secrets")
		assert.Contains(t, strings.Join(moved.Warnings, " "), "secrets were cleared")
	})
}

// What somebody else planted beside a person's own credential would have that person trust what the planter signs.
func TestPlantedCompanions(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.hooked(t, nil)
		f.Write("connections/user/e-alice/k", map[string]any{
			"provider": "hooks", "api_key": "of-bob", "companions": map[string]any{"hook": "known to bob"}, "provision": true,
		}, bob).OK(t)
		assert.Equal(t, "known to bob", companionsOf(t, f.Read("creds/user/e-alice/k", withIt, bob))["hook"],
			"with a key of bob's")
		f.Write("connections/self/k", map[string]any{"provider": "hooks", "api_key": "of-alice"}, alice).OK(t)
		f.Read("creds/user/e-alice/k", withIt, bob).Refused(t, http.StatusForbidden, "private")
		read := f.Read("creds/self/k", withIt, alice)
		assert.Empty(t, companionsOf(t, read))
		assert.Contains(t, strings.Join(read.Warnings, " "), "by somebody else")
		f.Write("connections/user/e-alice/k", map[string]any{"companions": map[string]any{"hook": "bob's again"}}, bob).
			Refused(t, http.StatusForbidden, "private")
		f.Write("connections/self/k", f.Read("connections/self/k", nil, alice).OK(t), alice).OK(t)
		assert.Empty(t, companionsOf(t, f.Read("creds/self/k", withIt, alice)), "a mask that came back is no word of hers")
		f.Write("connections/self/k", map[string]any{"companions": map[string]any{"hook": "of alice's own"}}, alice).OK(t)
		assert.Equal(t, "of alice's own", companionsOf(t, f.Read("creds/self/k", withIt, alice))["hook"])
		require.NotContains(t, f.Read("connections/user/e-alice/k", nil, bob).OK(t)["companions"], "of alice's own")
	})
}

// An import is carried on with after a crash, so it brings its tokens and nothing else.
func TestCompanionsOfAnImport(t *testing.T) {
	const yaml = "name: Mine\nextends: oauth2\ncompanions: [{name: hook, on: connection}]\n"
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/mine", with(f.acme(), map[string]any{
			"definition": nil, "definition_yaml": yaml, "shared_redirect": true, "redirect_uris": "",
		})).OK(t)
		hook := map[string]any{"companions": map[string]any{"hook": "x-hook"}}
		f.Write("connections/i", with(hook, map[string]any{"provider": "mine", "access_token": "t", "verify": false})).
			Refused(t, http.StatusBadRequest, "call of their own")
		f.Write("connections/i", map[string]any{"provider": "mine", "access_token": "t", "verify": false}).OK(t)
		f.Write("connections/i", hook).OK(t)
		assert.Equal(t, "x-hook", companionsOf(t, f.Read("creds/i", withIt))["hook"])
	})
}

// Slack signs what it sends to an app.
func TestCompanionsOfSlack(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for _, definition := range []string{"slack", "slackbot"} {
			made := f.Write("providers/"+definition, map[string]any{
				"client_id": "id", "companions": map[string]any{"signing_secret": "0123456789abcdef0123456789abcdef"},
			}).OK(t)
			assert.Equal(t, map[string]any{"signing_secret": "****cdef"}, members(t, made["companions"]))
		}
	})
}
