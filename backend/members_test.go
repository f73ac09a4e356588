package backend

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

// A member of an organization is an owner of its own: neither the organization nor the same user alone, whichever way
// it is spelled.
func TestMembers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/openai", nil).OK(t)
		owners := []string{"org/acme", "user/e-alice", "org/acme/user/e-alice", "org/beta/user/e-alice"}
		for _, owner := range owners {
			f.Write("connections/"+owner+"/keys", map[string]any{
				"provider": "openai", "api_key": "key of " + owner, "private": false,
			}, alice).OK(t)
		}
		for path, owner := range map[string]string{
			"org/acme/keys": owners[0], "user/e-alice/keys": owners[1], "self/keys": owners[1],
			"org/acme/user/e-alice/keys": owners[2], "org/acme/self/keys": owners[2], "org/beta/self/keys": owners[3],
		} {
			got := f.Read("creds/"+path, map[string]any{"org": "beta", "user": "u9"}, alice).OK(t)
			assert.Equal(t, "key of "+owner, got["api_key"], path)
			view := f.Read("connections/"+path, nil, alice).OK(t)
			assert.Equal(t, owner, view["owner"], path)
		}
		f.Delete("connections/org/acme/keys", nil).OK(t)
		f.Delete("connections/self/keys", nil, alice).OK(t)
		for path, status := range map[string]int{
			"org/acme/keys": http.StatusBadRequest, "user/e-alice/keys": http.StatusBadRequest,
		} {
			f.Read("creds/"+path, nil, alice).Refused(t, status, "no connection")
		}
		f.Read("creds/org/acme/self/keys", nil, alice).OK(t)
		for _, path := range []string{"org/acme/self/keys", "org/Acme/user/u1/keys", "org/acme/user/-/keys"} {
			f.Read("creds/"+path, nil).Refused(t, http.StatusBadRequest)
		}
		f.Read("creds/org/acme/self/keys", nil, testenv.Batch).Refused(t, http.StatusBadRequest, "no entity")
	})
}

// What holds for a user holds for one as a member: private to the entity, made by others only if they mean to, and no
// import unless the operator takes those of users.
func TestMembersArePersons(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.System.AddEntity("e-alice")
		f.connect(t, "org/acme/self/slack", alice)
		assert.Equal(t, true, f.Read("connections/org/acme/self/slack", nil, alice).OK(t)["private"])
		for _, who := range []testenv.Caller{testenv.Root, bob} {
			f.Read("creds/org/acme/user/e-alice/slack", nil, who).Refused(t, http.StatusForbidden, "private")
			f.Write("refresh/org/acme/user/e-alice/slack", nil, who).Refused(t, http.StatusForbidden, "private")
			f.Write("check/org/acme/user/e-alice/slack", nil, who).Refused(t, http.StatusForbidden, "private")
			f.Write("connections/org/acme/user/e-alice/slack", map[string]any{"private": false}, who).
				Refused(t, http.StatusForbidden, "private")
		}
		f.Read("creds/org/acme/self/slack", nil, bob).Refused(t, http.StatusBadRequest, "no connection")
		f.Read("creds/org/acme/user/e-alice/slack", nil, alice).OK(t)

		f.Write("providers/openai", nil).OK(t)
		key := map[string]any{"provider": "openai", "api_key": "sk-1"}
		f.Write("connections/org/acme/user/e-alice/keys", key, bob).Refused(t, http.StatusForbidden, "provision=true")
		f.Write("connections/org/acme/user/e-alice/keys", with(key, map[string]any{"provision": true}), bob).OK(t)
		f.Write("connections/org/acme/user/u1/keys", key, bob).OK(t)
		f.Write("connections/org/acme/keys", with(key, map[string]any{"private": true}), bob).
			Refused(t, http.StatusBadRequest, "an organization has no entity")
		f.Write("connections/org/acme/user/u1/token", map[string]any{"provider": "acme", "access_token": "x"}).
			Refused(t, http.StatusForbidden, "allow_import")

		f.System.RemoveEntity("e-alice")
		view := f.Read("connections/org/acme/user/e-alice/slack", nil)
		view.OK(t)
		if assert.Len(t, view.Warnings, 1) {
			assert.Contains(t, view.Warnings[0], "Vault knows no entity e-alice")
		}
	})
}

// A limit of connections is each owner's: a member's do not count as the organization's.
func TestLimitOfMembers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("config", map[string]any{"max_connections_per_owner": 1}).OK(t)
		f.key(t, "org/acme/a")
		f.key(t, "org/acme/user/u1/a")
		f.key(t, "user/u1/a")
		for _, path := range []string{"org/acme/b", "org/acme/user/u1/b", "user/u1/b"} {
			f.Write("connections/"+path, map[string]any{"provider": "openai", "api_key": "sk-1"}).
				Refused(t, http.StatusConflict, "max_connections_per_owner")
		}
	})
}
