package backend

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

const day = 24 * time.Hour

// rotateBy is by when the key of a connection, or the client secret of a provider, is to be replaced.
func (f *fixture) rotateBy(t *testing.T, path string) any {
	t.Helper()
	return f.Read(path, nil).OK(t)["rotate_by"]
}

func (f *fixture) in(d time.Duration) string { return rfc3339(f.Now().Add(d)) }

// Its own word holds for a key, else the definition's, else the mount's, else none.
func TestRotateAfterOfAKey(t *testing.T) {
	eachWith(t, withKeys(t), func(t *testing.T, f *fixture) {
		f.keyed(t)
		assert.Empty(t, f.rotateBy(t, "connections/keys"), "nobody says")
		f.Write("config", map[string]any{"rotate_after": "30d"}).OK(t)
		assert.Equal(t, f.in(30*day), f.rotateBy(t, "connections/keys"))
		f.Advance(day)
		f.Write("connections/keys", map[string]any{"rotate_after": "90d"}).OK(t)
		assert.Equal(t, f.in(89*day), f.rotateBy(t, "connections/keys"))
		f.restart(t)
		read := f.Read("connections/keys", nil).OK(t)
		assert.Equal(t, f.in(89*day), read["rotate_by"])
		assert.Equal(t, "2160h0m0s", read["rotate_after"])
		f.Write("connections/keys", map[string]any{"rotate_after": "0"}).OK(t)
		read = f.Read("connections/keys", nil).OK(t)
		assert.Equal(t, []any{"0s", ""}, []any{read["rotate_after"], read["rotate_by"]}, "never")
		f.Write("connections/keys", map[string]any{"rotate_after": read["rotate_after"]}).OK(t)
		assert.Empty(t, f.rotateBy(t, "connections/keys"))
		f.Write("connections/keys", map[string]any{"rotate_after": ""}).OK(t)
		assert.Equal(t, f.in(29*day), f.rotateBy(t, "connections/keys"))

		for _, bad := range []any{"1h", "4000d", "soon", "-1d", "-1"} {
			f.Write("connections/keys", map[string]any{"rotate_after": bad}).Refused(t, http.StatusBadRequest, "rotate_after")
			f.Write("providers/keys", map[string]any{"rotate_after": bad}).Refused(t, http.StatusBadRequest, "rotate_after")
			if bad != "soon" {
				f.Write("config", map[string]any{"rotate_after": bad}).Refused(t, http.StatusBadRequest)
			}
		}
		assert.Equal(t, f.in(29*day), f.rotateBy(t, "connections/keys"))
	})
	eachWith(t, withKeys(t, "  # that is all"), func(t *testing.T, f *fixture) {
		f.keyed(t)
		f.Write("config", map[string]any{"rotate_after": "0"}).OK(t)
		assert.Empty(t, f.rotateBy(t, "connections/keys"))
	})
}

// The definition's word goes before the mount's, for keys and for client secrets.
func TestRotateAfterOfADefinition(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("config", map[string]any{"rotate_after": "30d"}).OK(t)
		f.Write("providers/gitlab", map[string]any{"client_id": "x", "client_secret": "the-secret-of-gitlab"}).OK(t)
		f.Write("providers/microsoft", map[string]any{"client_id": "x", "client_secret": "the-secret-of-it"}).OK(t)
		f.Write("connections/gitlab", map[string]any{
			"token": "glpat-abcdefghijklmnopqrstuvwxyz", "verify": false,
		}).OK(t)
		assert.Equal(t, f.in(335*day), f.rotateBy(t, "connections/gitlab"))
		assert.Equal(t, f.in(30*day), f.rotateBy(t, "providers/gitlab"))
		assert.Equal(t, f.in(180*day), f.rotateBy(t, "providers/microsoft"))
		f.Write("providers/microsoft", map[string]any{"rotate_after": "0"}).OK(t)
		assert.Empty(t, f.rotateBy(t, "providers/microsoft"))
		f.Advance(31 * day)
		status := f.Read("status", nil).OK(t)
		assert.Equal(t, []string{"acme", "gitlab"}, texts(t, status["rotation_due_providers"]))
		assert.InDelta(t, 0, number(status["rotation_due"]), 0)
	})
}

// A key is as old as it was first written: the same again is no rotation, another is.
func TestKeyAge(t *testing.T) {
	eachWith(t, withKeys(t), func(t *testing.T, f *fixture) {
		f.Write("config", map[string]any{"rotate_after": "30d"}).OK(t)
		f.keyed(t)
		due := f.in(30 * day)
		f.Advance(5 * day)
		f.Write("connections/keys", map[string]any{"api_key": "the-key-1234", "verify": false}).OK(t)
		assert.Equal(t, due, f.rotateBy(t, "connections/keys"))
		f.Write("providers/keys", map[string]any{"endpoints": map[string]any{
			"identity": "https://elsewhere.example.com/me",
		}}).OK(t)
		f.Write("connections/keys", map[string]any{"api_key": "the-key-1234", "verify": false}).OK(t)
		assert.Equal(t, "active", f.statusOf(t, "keys")[0])
		assert.Equal(t, due, f.rotateBy(t, "connections/keys"), "it is the same key, for a provider that was changed")

		f.Write("connections/keys", map[string]any{"api_key": "another-key-5678", "verify": false}).OK(t)
		assert.Equal(t, f.in(30*day), f.rotateBy(t, "connections/keys"))
		f.Write("connections/keys", map[string]any{"restore_former": true}).OK(t)
		assert.Equal(t, due, f.rotateBy(t, "connections/keys"), "what comes back is as old as it was")
		f.Advance(time.Hour)
		f.Write("connections/keys", map[string]any{"restore_former": true}).OK(t)
		f.restart(t)
		assert.Equal(t, f.in(30*day-time.Hour), f.rotateBy(t, "connections/keys"))

		f.Write("transfer/keys", map[string]any{"to": "org/default/others"}).OK(t)
		if f.Read("connections/others", nil).Status == http.StatusOK {
			assert.Equal(t, f.in(30*day-time.Hour), f.rotateBy(t, "connections/others"), "a rename is no rotation")
		}
	})
}

// A key that buys tokens is as old as the key, not as its token.
func TestAgeOfAKeyThatBuys(t *testing.T) {
	eachWith(t, withBought(t), func(t *testing.T, f *fixture) {
		f.Write("config", map[string]any{"rotate_after": "30d"}).OK(t)
		file := f.robots(t)
		f.Write("connections/robots", map[string]any{"file": file, "subject": "ada"}).OK(t)
		due := f.in(30 * day)
		for range 2 {
			f.Advance(2 * time.Hour)
			f.Read("creds/robots", nil).OK(t)
			assert.Equal(t, due, f.rotateBy(t, "connections/robots"))
		}
		assert.Empty(t, rowsOnly(t, f.Read("inventory", map[string]any{"rotation_due": true})))

		// a former release notes no age: it is counted from the next refresh, and nothing is due before
		entry, err := f.Storage.Get(t.Context(), "connection/org/default/robots")
		require.NoError(t, err)
		var stored map[string]any
		require.NoError(t, json.Unmarshal(entry.Value, &stored))
		require.Contains(t, stored, "key_age")
		delete(stored, "key_age")
		entry.Value, err = json.Marshal(stored)
		require.NoError(t, err)
		require.NoError(t, f.Storage.Put(t.Context(), entry))
		f.restart(t)
		assert.Empty(t, f.rotateBy(t, "connections/robots"), "nobody knows")
		f.Advance(2 * time.Hour)
		f.Read("creds/robots", nil).OK(t)
		assert.Equal(t, f.in(30*day), f.rotateBy(t, "connections/robots"))

		// and one that came back and wrote another leaves the age of the one before
		entry, err = f.Storage.Get(t.Context(), "connection/org/default/robots")
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(entry.Value, &stored))
		stored["generation"] = number(stored["generation"]) + 1
		entry.Value, err = json.Marshal(stored)
		require.NoError(t, err)
		require.NoError(t, f.Storage.Put(t.Context(), entry))
		f.restart(t)
		assert.Empty(t, f.rotateBy(t, "connections/robots"))
	})
}

// A client secret is as old as it was first written; one of a former release is counted from the next write.
func TestAgeOfAClientSecret(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"rotate_after": "30d"}).OK(t)
		due := f.in(30 * day)
		f.Advance(day)
		f.Write("providers/acme", map[string]any{"scopes": "read"}).OK(t)
		f.Write("providers/acme/client-secret", map[string]any{"client_secret": providertest.ClientSecret}).OK(t)
		assert.Equal(t, due, f.rotateBy(t, "providers/acme"), "the same again is no rotation")
		again := f.Write("providers/acme", f.Read("providers/acme", nil).OK(t)).OK(t)
		assert.Equal(t, due, again["rotate_by"], "nor is what a read answered")

		answer := f.Write("providers/acme/client-secret", map[string]any{"client_secret": "the-second-secret"}).OK(t)
		assert.Equal(t, f.in(30*day), answer["rotate_by"])
		f.Advance(day)
		f.Write("providers/acme", map[string]any{"client_secret": providertest.ClientSecret}).OK(t)
		assert.Equal(t, f.in(30*day), f.rotateBy(t, "providers/acme"), "nor does the former one know how old it is")
		f.Write("providers/acme", map[string]any{"client_id": "another"}).OK(t)
		assert.Empty(t, f.rotateBy(t, "providers/acme"), "there is none")
		f.Write("providers/acme", map[string]any{"client_secret": "the-third-secret"}).OK(t)

		entry, err := f.Storage.Get(t.Context(), "provider/acme")
		require.NoError(t, err)
		var stored map[string]any
		require.NoError(t, json.Unmarshal(entry.Value, &stored))
		for what, change := range map[string]func(){
			"a former release wrote it":        func() { delete(stored, "secret_age") },
			"one wrote another, and left this": func() { stored["client_secret"] = "the-fourth-secret" },
		} {
			before := stored["secret_age"]
			change()
			entry.Value, err = json.Marshal(stored)
			require.NoError(t, err)
			require.NoError(t, f.Storage.Put(t.Context(), entry))
			f.restart(t)
			f.Advance(40 * day)
			assert.Empty(t, f.rotateBy(t, "providers/acme"), what)
			assert.Empty(t, f.Read("status", nil).OK(t)["rotation_due_providers"], what)
			f.Write("providers/acme", map[string]any{"scopes": "read,write"}).OK(t)
			assert.Equal(t, f.in(30*day), f.rotateBy(t, "providers/acme"), what)
			stored["secret_age"] = before
		}
	})
}

// What is due is counted by status, by metrics and by the inventory alike, and comes with revoke's filters.
func TestWhatIsDue(t *testing.T) {
	eachWith(t, withKeys(t), func(t *testing.T, f *fixture) {
		f.keyed(t)
		f.connect(t, "acme")
		old := map[string]any{"provider": "keys", "api_key": "the-key-1234", "verify": false, "rotate_after": "10d"}
		f.Write("connections/org/acme/old", old).OK(t)
		f.Write("connections/org/acme/shelved", old).OK(t)
		f.Write("connections/org/acme/never", with(old, map[string]any{"rotate_after": "0"})).OK(t)
		f.Write("connections/org/acme/shelved", map[string]any{"archived": true}).OK(t)
		counts := func(keys, secrets int) {
			t.Helper()
			status := f.Read("status", nil).OK(t)
			assert.InDelta(t, keys, number(status["rotation_due"]), 0)
			assert.Len(t, texts(t, status["rotation_due_providers"]), secrets)
			assert.Len(t, rowsOnly(t, f.Read("inventory", map[string]any{"rotation_due": true})), keys)
			f.Advance(time.Minute) // the metrics are counted at most four times a minute
			m, _ := f.scrape(t)
			assert.InDelta(t, keys, m[`connectors_rotation_due{class="keys"}`], 0)
			assert.InDelta(t, secrets, m[`connectors_rotation_due{class="apps"}`], 0)
		}
		counts(0, 0)
		f.Advance(10 * day)
		counts(1, 0)
		f.Write("config", map[string]any{"rotate_after": "5d"}).OK(t)
		counts(2, 1)
		f.restart(t)
		counts(2, 1)
		assert.Equal(t, []string{"org/acme/old", "org/default/keys"},
			rowsOnly(t, f.Read("inventory", map[string]any{"rotation_due": true})))
		assert.Equal(t, []string{"org/acme/shelved"},
			rowsOnly(t, f.Read("inventory", map[string]any{"rotation_due": true, "archived": true})))
		assert.Equal(t, []string{"org/acme/never", "org/default/acme"},
			rowsOnly(t, f.Read("inventory", map[string]any{"rotation_due": false})))
		byOwner := f.Read("inventory", map[string]any{"rotation_due": true, "archived": false, "count_by": "owner"}).OK(t)
		assert.InDelta(t, 2, number(byOwner["total"]), 0)
		row := asClient(t, f.Read("inventory", map[string]any{"rotation_due": true}).OK(t))["connections"].([]any)[0]
		assert.Equal(t, f.rotateBy(t, "connections/org/acme/old"), row.(map[string]any)["rotate_by"])

		plan := f.Write("revoke", map[string]any{"rotation_due": true}).OK(t)
		assert.InDelta(t, 3, number(plan["count"]), 0, "archived ones too")
		assert.Contains(t, fmt.Sprint(asClient(t, plan)["filters"]), "rotation_due:true")
		f.Write("connections/org/acme/old", map[string]any{"api_key": "another-key-5678", "verify": false}).OK(t)
		counts(1, 1)
		f.Write("revoke/"+plan["job"].(string), map[string]any{"run": true, "expect": 3}).OK(t)
		job := func() map[string]any { return f.Read("revoke/"+plan["job"].(string), nil).OK(t) }
		require.Eventually(t, func() bool { return job()["state"] == "done" }, time.Minute, 10*time.Millisecond)
		assert.InDelta(t, 2, number(job()["done"]), 0, "a key that was replaced meanwhile is not ended")
		counts(0, 1)
	})
}

// Where the write fails nothing is newer, and the next one tells the truth.
func TestRotationWhileStorageFails(t *testing.T) {
	for n := 1; ; n++ {
		f := newFixture(t, withKeys(t), testenv.InProcess)
		f.keyed(t)
		f.Write("config", map[string]any{"rotate_after": "30d"}).OK(t)
		key, secret := f.in(30*day), f.rotateBy(t, "providers/acme")
		f.Advance(day)
		f.Storage.FailWrite(n)
		first := f.Write("connections/keys", map[string]any{"api_key": "another-key-5678", "verify": false})
		second := f.Write("providers/acme/client-secret", map[string]any{"client_secret": "the-second-secret"})
		f.Storage.Judge(nil)
		f.restart(t)
		if first.Status == http.StatusOK {
			key = f.in(30 * day)
		}
		if second.Status == http.StatusOK {
			secret = f.in(30 * day)
		}
		assert.Equal(t, key, f.rotateBy(t, "connections/keys"), "write %d", n)
		assert.Equal(t, secret, f.rotateBy(t, "providers/acme"), "write %d", n)
		if first.Status == http.StatusOK && second.Status == http.StatusOK {
			require.Greater(t, n, 2, "both were met")
			return
		}
	}
}
