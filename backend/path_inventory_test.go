package backend

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// stocked has a connection of each sort.
func (f *fixture) stocked(t *testing.T) {
	t.Helper()
	for _, id := range []string{"e-alice", "e-bob"} {
		f.System.AddEntity(id)
	}
	f.connect(t, "org/acme/slack")
	f.key(t, "org/acme/zkey")
	f.key(t, "org/acme/self/key", alice)
	f.key(t, "org/beta/key", bob)
	f.connect(t, "self/slack", alice)
	f.key(t, "user/u-1/key")
	f.Write("connections/org/acme/slack", map[string]any{
		"label": "Sales Team", "tags": map[string]any{"team": "sales", "env": "prod"}, "required_scopes": "read,admin",
	}).OK(t)
	f.Write("connections/org/beta/key", map[string]any{"tags": map[string]any{"team": "hr"}}).OK(t)
	f.Write("connections/user/u-1/key", map[string]any{"archived": true}).OK(t)
	f.Write("shares/self/slack", map[string]any{"entities": "e-bob"}, alice).OK(t)
}

// rowsOf gives the paths of an inventory's rows, and its cursor.
func rowsOf(t *testing.T, r testenv.Result) (paths []string, cursor string) {
	t.Helper()
	data := asClient(t, r.OK(t))
	for _, row := range data["connections"].([]any) {
		paths = append(paths, row.(map[string]any)["path"].(string))
	}
	return paths, data["cursor"].(string)
}

func rowsOnly(t *testing.T, r testenv.Result) []string {
	t.Helper()
	rows, _ := rowsOf(t, r)
	return rows
}

func TestInventory(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.stocked(t)
		all := []string{
			"org/acme/slack", "org/acme/zkey", "org/acme/user/e-alice/key", "org/beta/key", "user/e-alice/slack",
		}
		for _, restarts := range []bool{false, true} {
			if restarts {
				f.restart(t)
				f.System.AddEntity("e-alice")
			}
			for name, c := range map[string]struct {
				data map[string]any
				want []string
			}{
				"all":               {nil, all},
				"provider":          {map[string]any{"provider": "acme"}, []string{all[0], all[4]}},
				"two providers":     {map[string]any{"provider": "acme,openai"}, all},
				"definition":        {map[string]any{"definition": "openai"}, []string{all[1], all[2], all[3]}},
				"category":          {map[string]any{"category": "ai"}, []string{all[1], all[2], all[3]}},
				"owner":             {map[string]any{"owner": "org/acme"}, all[:2]},
				"member":            {map[string]any{"owner": "org/acme/user/e-alice"}, all[2:3]},
				"creator":           {map[string]any{"created_by": "e-alice"}, []string{all[2], all[4]}},
				"other creator":     {map[string]any{"created_by": "e-bob"}, all[3:4]},
				"root":              {map[string]any{"created_by": "root"}, all[:2]},
				"status":            {map[string]any{"status": "active"}, all},
				"archived":          {map[string]any{"archived": true}, []string{"user/u-1/key"}},
				"status archived":   {map[string]any{"status": "archived,active"}, append(all, "user/u-1/key")},
				"reason":            {map[string]any{"status_reason": "disabled_by_person", "archived": true}, []string{"user/u-1/key"}},
				"kind":              {map[string]any{"kind": "authorization_code"}, []string{all[0], all[4]}},
				"tag":               {map[string]any{"tag": "team"}, []string{all[0], all[3]}},
				"tag and value":     {map[string]any{"tag": "team=sales"}, all[:1]},
				"label":             {map[string]any{"label": "sales"}, all[:1]},
				"missing scopes":    {map[string]any{"missing_scopes": true}, all[:1]},
				"no missing scopes": {map[string]any{"missing_scopes": false, "kind": "authorization_code"}, all[4:]},
				"shared":            {map[string]any{"shared": true}, all[4:]},
				"not shared":        {map[string]any{"shared": false}, all[:4]},
				"together":          {map[string]any{"provider": "acme", "label": "sales", "owner": "org/beta"}, nil},
				"unknown provider":  {map[string]any{"provider": "none"}, nil},
				"owner missing":     {map[string]any{"owner_missing": true}, nil},
				"not yet unchecked": {map[string]any{"unchecked_for": "1h"}, nil},
			} {
				rows, cursor := rowsOf(t, f.Read("inventory", c.data))
				assert.Equal(t, c.want, rows, name)
				assert.Empty(t, cursor, name)
			}
		}
		for path, want := range map[string][]string{
			"inventory/org/acme": all[:3], "inventory/org/beta": all[3:4], "inventory/user/e-alice": all[4:],
			"inventory/self": {all[2], all[4]}, "inventory/org/none": nil, "inventory/user/e-bob": nil,
		} {
			rows, _ := rowsOf(t, f.Read(path, nil, alice))
			assert.Equal(t, want, rows, path)
			rows, _ = rowsOf(t, f.Read(path, map[string]any{"owner": "org/beta"}, alice))
			if path == "inventory/org/beta" {
				assert.Equal(t, want, rows)
			} else {
				assert.Empty(t, rows, "a filter opens nothing that the path does not")
			}
		}
		f.Advance(2 * time.Hour)
		rows, _ := rowsOf(t, f.Read("inventory", map[string]any{"unchecked_for": "1h", "kind": "api_key"}))
		assert.Equal(t, []string{all[1], all[2], all[3]}, rows)
	})
}

// A row is the masked view, and holds no secret.
func TestInventoryRow(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.stocked(t)
		r := f.Read("inventory", nil)
		for _, secret := range []string{openaiKey, f.Read("creds/org/acme/slack", nil).OK(t)["access_token"].(string)} {
			assert.NotContains(t, fmt.Sprint(asClient(t, r.OK(t))), secret)
		}
		row := asClient(t, r.OK(t))["connections"].([]any)[0].(map[string]any)
		seen := asClient(t, f.Read("connections/org/acme/slack", nil).OK(t))
		for _, field := range []string{
			"connection_id", "provider", "kind", "label", "tags", "status", "status_reason", "private", "account", "created_by",
			"created_by_id", "created_time", "expire_time", "reconnect_by", "last_rotation", "missing_scopes",
		} {
			assert.Equal(t, seen[field], row[field], field)
		}
		assert.Equal(t, []any{"oauth2", "generic", false, false}, []any{
			row["definition"], row["category"], row["shared"], row["archived"],
		})
	})
}

// What is about to end is found without reading it.
func TestInventoryOfEnds(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"allow_import": "all", "refresh_ttl": "0s"}).OK(t)
		for name, seconds := range map[string]int{"soon": 3600, "late": 360000} {
			f.Write("connections/"+name, map[string]any{
				"provider": "acme", "access_token": "of-" + name, "expires_in": seconds, "verify": false,
			}).OK(t)
		}
		f.connect(t, "renewed")
		rows, _ := rowsOf(t, f.Read("inventory", map[string]any{"expires_within": "2h"}))
		assert.Equal(t, []string{"org/default/soon"}, rows)
		f.Advance(time.Hour)
		rows, _ = rowsOf(t, f.Read("inventory", map[string]any{"expires_within": "2h"}))
		assert.Empty(t, rows, "it has ended")
		rows, _ = rowsOf(t, f.Read("inventory", map[string]any{"status": "expired"}))
		assert.Equal(t, []string{"org/default/soon"}, rows)
		rows, _ = rowsOf(t, f.Read("inventory", map[string]any{"reconnect_within": "8760h"}))
		assert.Empty(t, rows)
	}, providertest.WithLifetime(30*time.Minute))
}

// Pages follow each other in one order, show each connection once, and read no more than they show.
func TestInventoryPages(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/openai", nil).OK(t)
		const n = 25
		for i := range n {
			f.Write(fmt.Sprintf("connections/org/o%d/k%02d", i%3, i), map[string]any{
				"provider": "openai", "api_key": openaiKey, "label": []string{"even", "odd"}[i%2],
			}).OK(t)
		}
		f.restart(t)
		rowsOf(t, f.Read("inventory", nil)) // which fills the directory
		for _, filter := range []map[string]any{{}, {"label": "odd"}} {
			var got []string
			cursor, pages := "", 0
			for {
				f.Backend.InvalidateKey(t.Context(), "config")
				rows, next := rowsOf(t, f.Read("inventory", with(filter, map[string]any{"limit": 4, "cursor": cursor})))
				assert.LessOrEqual(t, len(rows), 4)
				got, cursor, pages = append(got, rows...), next, pages+1
				if cursor == "" {
					break
				}
				require.Less(t, pages, 30)
			}
			assert.IsIncreasing(t, got)
			assert.Len(t, got, map[bool]int{true: n, false: n / 2}[len(filter) == 0])
		}
		// A connection that is the cursor may go, and others come.
		rows, cursor := rowsOf(t, f.Read("inventory", map[string]any{"limit": 2}))
		f.Delete("connections/"+rows[1], nil)
		next, _ := rowsOf(t, f.Read("inventory", map[string]any{"limit": 1, "cursor": cursor}))
		assert.Greater(t, next[0], rows[1])
	})
}

func TestInventoryReadsOnlyWhatItShows(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.Write("providers/openai", nil).OK(t)
	for i := range 20 {
		f.Write(fmt.Sprintf("connections/k%02d", i), map[string]any{"provider": "openai", "api_key": openaiKey}).OK(t)
	}
	f.restart(t)
	rowsOf(t, f.Read("inventory", map[string]any{"limit": 1}))
	f.engine().uncached.Store(true)
	read := func(data map[string]any) (n int) {
		f.Storage.Forget()
		f.Read("inventory", data).OK(t)
		for _, a := range f.Storage.History() {
			if a.Op == "get" && strings.HasPrefix(a.Key, "connection/") {
				n++
			}
		}
		return n
	}
	assert.Equal(t, 3, read(map[string]any{"limit": 3, "status": "active"}))
	assert.Zero(t, read(map[string]any{"status": "expired"}))
	assert.Zero(t, read(map[string]any{"count_by": "status"}))
}

func TestInventoryCounts(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.stocked(t)
		for by, want := range map[string]map[string]any{
			"provider": {"acme": 2.0, "openai": 4.0},
			"status":   {"active": 5.0, "archived": 1.0},
			"owner": {
				"org/acme": 2.0, "org/acme/user/e-alice": 1.0, "org/beta": 1.0, "user/e-alice": 1.0, "user/u-1": 1.0,
			},
		} {
			got := asClient(t, f.Read("inventory", map[string]any{"count_by": by}).OK(t))
			assert.Equal(t, want, got["counts"], by)
			assert.Equal(t, 6.0, number(got["total"]), by)
			assert.NotContains(t, got, "connections")
		}
		got := asClient(t, f.Read("inventory/org/acme", map[string]any{"count_by": "provider", "archived": false}).OK(t))
		assert.Equal(t, map[string]any{"acme": 1.0, "openai": 2.0}, got["counts"])
	})
}

func TestInventoryRefuses(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.stocked(t)
		for _, c := range []struct {
			path, text string
			data       map[string]any
		}{
			{"inventory", "limit", map[string]any{"limit": 1001}},
			{"inventory", "limit", map[string]any{"limit": -1}},
			{"inventory", "cursor", map[string]any{"cursor": "!"}},
			{"inventory", "cursor", map[string]any{"cursor": "b3Jn"}},
			{"inventory", "no owner", map[string]any{"owner": "acme"}},
			{"inventory", "count_by", map[string]any{"count_by": "label"}},
			{"inventory", "count_by", map[string]any{"count_by": "owner", "label": "x"}},
			{"inventory", "count_by", map[string]any{"count_by": "owner", "limit": 3}},
			{"inventory", `status "broken" is none`, map[string]any{"status": "active,broken"}},
			{"inventory", `status_reason "nope" is none`, map[string]any{"status_reason": "nope"}},
			{"inventory/org/acme", `kind "token" is none`, map[string]any{"kind": "token"}},
			{"inventory/org/ACME", "org name", nil},
			{"inventory/user/..", "user id", nil},
		} {
			f.Read(c.path, c.data).Refused(t, http.StatusBadRequest, c.text)
		}
		f.Read("inventory/self", nil, testenv.Root).Refused(t, http.StatusBadRequest, "no entity")
	})
}

// What cannot be read hides nothing else, and is counted.
func TestInventoryOfDamage(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.stocked(t)
		f.undecodable(t, "connection/org/acme/damaged")
		f.restart(t)
		r := f.Read("inventory", nil)
		rows, _ := rowsOf(t, r)
		assert.Len(t, rows, 5)
		assert.Equal(t, 1.0, number(r.OK(t)["unreadable"]))
		assert.Equal(t, 0.0, number(f.Read("inventory/org/beta", nil).OK(t)["unreadable"]))
		assert.Len(t, rowsOnly(t, f.Read("inventory", map[string]any{"limit": 1000})), 5)
		counted := asClient(t, f.Read("inventory", map[string]any{"count_by": "owner"}).OK(t))
		assert.Equal(t, 6.0, number(counted["total"]), "what cannot be read is not among them")

		f.undecodable(t, "provider/acme")
		f.restart(t)
		r = f.Read("inventory", nil)
		assert.Len(t, rowsOnly(t, r), 5)
		assert.Equal(t, 2.0, number(r.OK(t)["unreadable"]))
		for i, row := range asClient(t, r.OK(t))["connections"].([]any) {
			assert.Equal(t, "active", members(t, row)["status"], i)
		}
		f.Write("config", map[string]any{"frozen": true}).OK(t)
		row := asClient(t, f.Read("inventory", nil).OK(t))["connections"].([]any)[0]
		assert.Equal(t, "frozen", members(t, row)["status_reason"])
		assert.Equal(t, 0.0, number(f.Read("inventory/org/beta", nil).OK(t)["unreadable"]), "providers are the mount's")
	})
}

// Pages are read while connections come and go.
func TestInventoryUnderConcurrency(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/openai", nil).OK(t)
		write := func(path string) {
			assert.Equal(t, http.StatusOK, f.Write(path, map[string]any{"provider": "openai", "api_key": openaiKey}).Status)
		}
		for i := range 10 {
			write(fmt.Sprintf("connections/stays%d", i))
		}
		ctx, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				for ctx.Err() == nil {
					path := fmt.Sprintf("connections/comes%d", i)
					write(path)
					f.Delete(path, nil)
				}
			})
		}
		for range 20 {
			var got []string
			for cursor := ""; ; {
				rows, next := rowsOf(t, f.Read("inventory", map[string]any{"limit": 3, "cursor": cursor}))
				if got, cursor = append(got, rows...), next; cursor == "" {
					break
				}
			}
			assert.IsIncreasing(t, got)
			stays := 0
			for _, path := range got {
				if strings.Contains(path, "stays") {
					stays++
				}
			}
			assert.Equal(t, 10, stays)
		}
		stop()
		all.Wait()
	})
}

// What an operator froze is told and found as such, whatever the freeze is of.
func TestInventoryOfWhatIsFrozen(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.stocked(t)
		frozen := map[string]any{"status_reason": "frozen"}
		for _, c := range []struct {
			at           string
			freeze, lift map[string]any
			want         []string
		}{
			{
				"config",
				map[string]any{"frozen_owners": "org/beta"},
				map[string]any{"frozen_owners": ""},
				[]string{"org/beta/key"},
			},
			{
				"config",
				map[string]any{"frozen": true},
				map[string]any{"frozen": false},
				[]string{
					"org/acme/slack", "org/acme/zkey", "org/acme/user/e-alice/key", "org/beta/key", "user/e-alice/slack",
				},
			},
			{
				"providers/acme",
				map[string]any{"frozen": true},
				map[string]any{"frozen": false},
				[]string{"org/acme/slack", "user/e-alice/slack"},
			},
		} {
			rows, _ := rowsOf(t, f.Read("inventory", frozen))
			assert.Empty(t, rows)
			f.Write(c.at, c.freeze).OK(t)
			rows, _ = rowsOf(t, f.Read("inventory", frozen))
			assert.Equal(t, c.want, rows)
			f.Write(c.at, c.lift).OK(t)
		}
	})
}

func TestInventoryOrderOfCounts(t *testing.T) {
	assert.Negative(t, byCount(2, 1, "b", "a"), "the most first")
	assert.Positive(t, byCount(1, 2, "a", "b"))
	assert.Negative(t, byCount(1, 1, "a", "b"))
}
