package backend

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPagesOfLists(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/slack-emea", map[string]any{
			"definition": "slack", "client_id": "id", "client_secret": "a secret of the app",
		}).OK(t)
		for _, path := range []string{"a", "b", "z", "org/acme/a", "org/acme.eu/a", "user/u1/a", "user/u2/a", "self/b", "self/c"} {
			f.key(t, path, alice)
		}
		for path, described := range map[string]bool{
			"catalog/": true, "providers/": true, "connections/": true, "connections/org/": false,
			"connections/org/acme/": true, "connections/user/": false, "connections/user/u1/": true, "connections/self/": true,
		} {
			all := texts(t, f.List(path, alice).OK(t)["keys"])
			require.NotEmpty(t, all, path)
			assert.IsNonDecreasing(t, all, path)
			assert.Equal(t, all, texts(t, f.Page(path, map[string]any{"limit": 0}, alice).OK(t)["keys"]), path)
			for size := 1; size <= len(all)+1; size++ {
				var paged []string
				for after := ""; ; after = paged[len(paged)-1] {
					got := f.Page(path, map[string]any{"after": after, "limit": size}, alice).OK(t)
					if got["keys"] == nil {
						break
					}
					keys := texts(t, got["keys"])
					require.LessOrEqual(t, len(keys), size, path)
					paged = append(paged, keys...)
					if !described {
						assert.NotContains(t, got, "key_info")
						continue
					}
					for name := range members(t, got["key_info"]) {
						assert.Contains(t, keys, name, "of others nothing is told")
					}
				}
				assert.Equal(t, all, paged, "%s by %d", path, size)
			}
		}
		assert.Equal(t, []string{"b", "org/"}, texts(t,
			f.Page("connections/", map[string]any{"after": "aa", "limit": "2"}).OK(t)["keys"]), "as HTTP brings them")
		for _, path := range []string{"catalog/", "providers/", "connections/", "connections/user/", "connections/org/acme/"} {
			f.Page(path, map[string]any{"limit": -1}).Refused(t, http.StatusBadRequest, "limit")
			f.Page(path, map[string]any{"limit": "many"}).Refused(t, http.StatusBadRequest, "limit")
		}
	})
}

// A page of a list that is too long to be described is described, and nothing beside it is read.
func TestPageOfALongList(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "org/many/c-0000")
		original, err := f.Storage.Get(t.Context(), "connection/org/many/c-0000")
		require.NoError(t, err)
		for i := 1; i <= maxKeyInfo; i++ {
			entry := *original
			entry.Key = fmt.Sprintf("connection/org/many/c-%04d", i)
			require.NoError(t, f.Storage.Put(t.Context(), &entry))
		}
		f.Storage.Forget()
		got := f.Page("connections/org/many/", map[string]any{"after": "c-0499", "limit": 3}).OK(t)
		assert.Equal(t, []string{"c-0500", "c-0501", "c-0502"}, texts(t, got["keys"]))
		assert.Len(t, members(t, got["key_info"]), 3)
		for _, a := range f.Storage.History() {
			if a.Op == "get" && a.Under("connection/org/many/") {
				assert.Contains(t, a.Key, "/c-050")
			}
		}
	})
}
