package backend

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestListOfConnections(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		assert.Empty(t, f.List("connections/").OK(t)["keys"])
		f.connect(t, "slack")
		f.key(t, "keys")
		f.key(t, "org/acme/deep")
		f.key(t, "user/u1/a")
		f.key(t, "user/u2/b")
		f.key(t, "self/mine", alice)
		f.key(t, "org/acme/user/u1/theirs")
		f.key(t, "org/acme/self/hers", alice)
		f.key(t, "org/lone/user/u1/theirs")
		f.Write("connections/keys", map[string]any{"label": "Keys", "disabled": true}).OK(t)
		for path, want := range map[string][]string{
			"connections/":             {"keys", "org/", "slack", "user/"},
			"connections/org/":         {"acme/", "default/", "lone/"},
			"connections/org/default/": {"keys", "slack"},
			"connections/org/acme/":    {"deep", "user/"},
			"connections/org/lone/":    {"user/"},
			"connections/user/":        {"e-alice/", "u1/", "u2/"},
			"connections/user/u1/":     {"a"},
			"connections/self/":        {"mine"},
			"connections/user/nobody/": {},

			"connections/org/acme/user/":         {"e-alice/", "u1/"},
			"connections/org/acme/user/u1/":      {"theirs"},
			"connections/org/acme/user/e-alice/": {"hers"},
			"connections/org/acme/self/":         {"hers"},
			"connections/org/acme/user/u2/":      {},
			"connections/org/default/user/":      {},
		} {
			keys := f.List(path, alice).OK(t)["keys"]
			if keys == nil {
				keys = []string{}
			}
			assert.Equal(t, want, texts(t, keys), path)
		}
		info := members(t, f.List("connections/").OK(t)["key_info"])
		assert.Equal(t, map[string]any{
			"slack": map[string]any{"provider": "acme", "status": "active", "label": ""},
			"keys":  map[string]any{"provider": "openai", "status": "disabled", "label": "Keys"},
		}, info)
		f.Delete("providers/acme", map[string]any{"force": true}).OK(t)
		info = members(t, f.List("connections/").OK(t)["key_info"])
		assert.Equal(t, "needs_reconnect", info["slack"].(map[string]any)["status"])
	})
}

func TestListRefusesBadOwners(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for _, path := range []string{
			"connections/org/Acme/", "connections/org/../", "connections/user/../",
			"connections/user/-/", "connections/org/Acme/user/", "connections/org/Acme/user/u1/",
			"connections/org/acme/user/-/", "connections/org/Acme/self/",
		} {
			f.List(path).Refused(t, http.StatusBadRequest, "is not valid")
		}
		f.List("connections/org/self/").Refused(t, http.StatusBadRequest, "reserved")
		f.List("connections/org/user/user/").Refused(t, http.StatusBadRequest, "reserved")
		f.List("connections/org/acme/self/").Refused(t, http.StatusBadRequest, "no entity")
	})
}

func TestLongListsHaveNamesOnly(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "org/many/c-0000")
		original, err := f.Storage.Get(t.Context(), "connection/org/many/c-0000")
		require.NoError(t, err)
		for i := 1; i < maxKeyInfo; i++ {
			entry := *original
			entry.Key = fmt.Sprintf("connection/org/many/c-%04d", i)
			require.NoError(t, f.Storage.Put(t.Context(), &entry))
		}
		full := f.List("connections/org/many/").OK(t)
		assert.Len(t, texts(t, full["keys"]), maxKeyInfo)
		assert.Len(t, members(t, full["key_info"]), maxKeyInfo)

		f.key(t, "org/many/one-more")
		f.Read("status", nil).OK(t) // whatever reads them all in the background has done so
		f.Storage.Forget()
		long := f.List("connections/org/many/").OK(t)
		assert.Len(t, texts(t, long["keys"]), maxKeyInfo+1)
		assert.NotContains(t, long, "key_info")
		for _, a := range f.Storage.History() { // the worker may look at the one that was made last
			assert.NotContains(t, a.Key, "connection/org/many/c-", "none is read")
		}
	})
}
