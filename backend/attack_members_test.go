package backend

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

// Nothing but the six spellings reaches a member's connection, with any verb, and no field of a body names another
// owner.
func TestAttackSpellingsOfAMember(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/openai", nil).OK(t)
		f.Write("connections/org/acme/self/keys", map[string]any{
			"provider": "openai", "api_key": "the-key-of-alice", "private": false,
		}, alice).OK(t)
		for _, path := range []string{
			"org/acme/user/E-ALICE/keys", "org/Acme/user/e-alice/keys", "org/acme/users/e-alice/keys", "org/acme/user//keys",
			"org//user/e-alice/keys", "org/acme/user/e-alice//keys", "org/acme/user/e-alice/keys/", "org/acme/./self/keys",
			"org/acme/user/e-alice%2Fkeys", "org/acme%2Fuser/e-alice/keys", "org/acme/user%2Fe-alice/keys",
			"org/acme/user/x/../e-alice/keys", "org/acme/self/../user/e-alice/keys", "user/e-alice/org/acme/keys",
			"self/org/acme/keys", "org/acme/org/acme/user/e-alice/keys", "org/acme/self/self/keys", "org/user/e-alice/keys",
			"org/self/user/e-alice/keys", "org/shared/user/e-alice/keys", "org/*/user/e-alice/keys", "org/acme/user/*/keys",
			"org/acme/user/e-alice\n/keys", "org/acme/user/e-alice/keys\n", "org/acme\x00/user/e-alice/keys",
			"org/acme/user/e-alice\u200b/keys", "org/acme/SELF/keys", "org/acme/self/keys", "org/acme/user/self/keys",
			"self/keys", "user/e-alice/keys", "org/acme/keys", "keys", "org/acme/user/keys", "org/acme/e-alice/keys",
		} {
			body := map[string]any{"org": "acme", "user": "e-alice"}
			for name, r := range map[string]testenv.Result{
				"creds":         f.Read("creds/"+path, body, bob),
				"connections":   f.Read("connections/"+path, body, bob),
				"refresh":       f.Write("refresh/"+path, body, bob),
				"check":         f.Write("check/"+path, body, bob),
				"disable":       f.Write("connections/"+path, with(body, map[string]any{"disabled": true}), bob),
				"auth-code-url": f.Write("auth-code-url/"+path, with(body, map[string]any{"provider": "openai"}), bob),
				"delete":        f.Delete("connections/"+path, nil, bob),
			} {
				if name != "delete" || r.Status != http.StatusNoContent { // of what is not there, too
					assert.GreaterOrEqual(t, r.Status, 400, "%s %q", name, path)
				}
				assert.NotContains(t, fmt.Sprint(r.Response, r.Text), "the-key-of-alice", "%s %q", name, path)
			}
		}
		got := f.Read("creds/org/acme/self/keys", map[string]any{"org": "x", "user": "y"}, alice).OK(t)
		assert.Equal(t, "the-key-of-alice", got["api_key"])
	})
}

// A list shows one owner's names, whatever it is asked by; reserved words and other spellings show nobody's.
func TestAttackListsOfMembers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for _, path := range []string{
			"org/acme/user/e-alice/a", "org/acme/user/u1/b", "org/acme/c", "user/e-alice/d", "e",
		} {
			f.key(t, path)
		}
		lists := func(path string, who testenv.Caller) any {
			r := f.Page(path, map[string]any{"org": "acme", "user": "e-alice"}, who)
			if r.Status != http.StatusOK || r.Data["keys"] == nil {
				return r.Status
			}
			return strings.Join(texts(t, r.Data["keys"]), " ")
		}
		for path, want := range map[string]any{
			"connections/": "e org/ user/", "connections/org/": "acme/ default/", "connections/user/": "e-alice/",
			"connections/org/acme/": "c user/", "connections/org/acme/user/": "e-alice/ u1/",
			"connections/org/acme/user/e-alice/": "a", "connections/org/acme/self/": "a", "connections/self/": "d",
			"connections/user/e-alice/": "d", "connections/org/beta/self/": http.StatusOK,
			"connections/org/default/": "e", "connections/org/default/user/": http.StatusOK,
			"connections/user/user/": http.StatusOK, "connections/user/self/": http.StatusOK,
			"connections/org/acme/user/self/": http.StatusOK,
			"connections/org/user/":           http.StatusBadRequest, "connections/org/self/": http.StatusBadRequest,
			"connections/org/user/user/": http.StatusBadRequest, "connections/org/ACME/user/": http.StatusBadRequest,
			"connections/org/acme/user/../": http.StatusBadRequest, "connections/org/acme//": http.StatusBadRequest,
			"connections/org/acme/user/e-alice/a/": http.StatusBadRequest,
		} {
			assert.Equal(t, want, lists(path, alice), path)
		}
		for _, who := range []testenv.Caller{testenv.Root, testenv.Batch} {
			for _, path := range []string{"connections/self/", "connections/org/acme/self/"} {
				assert.Equal(t, http.StatusBadRequest, lists(path, who), path)
			}
		}
	})
}

// What somebody planted under a member's id is no more built on than under a user's: not by a key, a flow or an import.
func TestAttackPlantedUnderAMember(t *testing.T) {
	eachWith(t, placed(t), func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"allow_import": "all"}).OK(t)
		f.Write("providers/pair", nil).OK(t)
		f.System.AddEntity("e-alice")
		pair := map[string]any{
			"provider": "pair", "username": "mallory", "password": "mallorys", "inputs": mallorysShop,
		}
		f.Write("connections/org/acme/user/e-alice/pair", pair, bob).Refused(t, http.StatusForbidden, "provision=true")
		f.Write("auth-code-url/org/acme/user/e-alice/acme", nil, bob).Refused(t, http.StatusForbidden, "provision=true")
		f.Write("connections/org/acme/user/e-alice/pair", with(pair, map[string]any{"provision": true}), bob).OK(t)
		f.Write("connections/org/acme/user/e-alice/acme", map[string]any{
			"access_token": "bogus", "verify": false, "provision": true, "inputs": mallorysShop,
		}, bob).OK(t)
		f.Write("connections/org/acme/self/pair", map[string]any{"password": "alices"}, alice).
			Refused(t, http.StatusBadRequest)
		f.Write("auth-code-url/org/acme/self/acme", map[string]any{"redirect_uri": appRedirect}, alice).
			Refused(t, http.StatusBadRequest, "set up by somebody else")
		f.Write("connections/org/acme/self/acme", map[string]any{"refresh_token": f.elsewhere(t)}, alice).
			Refused(t, http.StatusBadRequest, "set up by somebody else")
		f.Write("connections/org/acme/self/pair", map[string]any{
			"username": "alice", "password": "alices", "inputs": map[string]any{},
		}, alice).OK(t)
		f.Read("creds/org/acme/user/e-alice/pair", nil, bob).Refused(t, http.StatusForbidden, "private")
		f.Read("creds/org/acme/user/e-alice/pair", nil).Refused(t, http.StatusForbidden, "private")
		require.Equal(t, "alices", f.Read("creds/org/acme/self/pair", nil, alice).OK(t)["password"])
	})
}

// A flow is for the connection that it was started for: under whichever spelling, for the same member alone, and not
// once the operator takes the member away.
func TestAttackFlowsOfMembers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"allowed_owners": "org/acme/user/*"}).OK(t)
		for _, path := range []string{"x", "org/acme/x", "self/x", "user/e-alice/x", "org/beta/self/x"} {
			f.Write("auth-code-url/"+path, map[string]any{"provider": "acme", "redirect_uri": appRedirect}, alice).
				Refused(t, http.StatusForbidden, "allowed_owners")
		}
		back := f.own(t, "org/acme/user/e-alice/x", map[string]any{"provider": "acme"}, alice)
		f.Write("exchange", back, bob).Refused(t, http.StatusForbidden, "somebody else")
		late := f.own(t, "org/acme/self/y", map[string]any{"provider": "acme"}, alice)
		view := f.Write("exchange", back, alice).OK(t)
		assert.Equal(t, "org/acme/user/e-alice", view["owner"])
		assert.Equal(t, true, view["private"])
		f.Read("creds/org/acme/self/x", nil, alice).OK(t)
		for _, path := range []string{"self/x", "user/e-alice/x", "org/acme/x", "org/beta/self/x"} {
			f.Read("creds/"+path, nil, alice).Refused(t, http.StatusBadRequest, "no connection")
		}
		f.Write("providers/acme", map[string]any{"allowed_owners": "org/*,user/*,org/acme/user/u1"}).OK(t)
		f.Write("exchange", late, alice).Refused(t, http.StatusForbidden, "allowed_owners")
		f.Read("creds/org/acme/self/x", nil, alice).Refused(t, http.StatusForbidden, "owner_not_allowed")
	})
}

// A * in a list of owners stands for one whole id, and nothing else in it for anything but itself.
func TestAttackPatternsOfOwners(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for _, pattern := range []string{
			"*", "*/*", "*/acme", "org/**", "org/a*", "org/acme/*", "org/acme/*/u1", "org/*/*/*", "org/[a-z]", "org/a?me",
			`org/\*`,
			"org/acme/user", "org/acme/user/", "/org/acme", "org/acme/", "user/*/x", "user/u*", "org/acme/self", "self",
			"org/ac me",
			"org/self", "user/..", "org/acme/user/*/x", "ORG/acme", "org/acme/user/u1,u2/x",
		} {
			for _, field := range []string{"allowed_owners", "companions_for"} {
				f.Write("providers/acme", map[string]any{field: []any{pattern}}).Refused(t, http.StatusBadRequest, field)
			}
			f.Write("providers/acme", map[string]any{"bound_inputs": map[string]any{pattern: map[string]any{}}}).
				Refused(t, http.StatusBadRequest, "bound_inputs")
		}
		for _, all := range []string{"user/*", "org/acme/user/*", "org/*/user/*"} {
			f.Write("providers/acme", map[string]any{"companions_for": all}).Refused(t, http.StatusBadRequest, "everybody")
			f.Write("providers/acme", map[string]any{"bound_inputs": map[string]any{all: map[string]any{}}}).
				Refused(t, http.StatusBadRequest, "no organization")
		}
	})
}
