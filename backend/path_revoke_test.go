package backend

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// plan plans the end of connections, and gives the job's path and count.
func (f *fixture) plan(t *testing.T, filters map[string]any, as ...testenv.Caller) (job string, count int) {
	t.Helper()
	data := asClient(t, f.Write("revoke", filters, as...).OK(t))
	require.Equal(t, "planned", data["state"])
	return "revoke/" + data["job"].(string), int(number(data["count"]))
}

// run runs a plan as it is.
func (f *fixture) run(t *testing.T, job string, more map[string]any, as ...testenv.Caller) map[string]any {
	t.Helper()
	count := f.Read(job, nil).OK(t)["count"]
	return f.Write(job, with(map[string]any{"run": true, "expect": count}, more), as...).OK(t)
}

// over waits until a job is over, and tells how it stands then.
func (f *fixture) over(t *testing.T, job string) map[string]any {
	t.Helper()
	var data map[string]any
	require.Eventually(t, func() bool {
		r := f.Read(job, nil)
		if r.Status != http.StatusOK {
			return false
		}
		data = asClient(t, r.Data)
		return data["ended"] != ""
	}, time.Minute, 2*time.Millisecond)
	return data
}

// ended ends what the filters choose, and tells how that went.
func (f *fixture) ended(t *testing.T, filters, more map[string]any, as ...testenv.Caller) map[string]any {
	t.Helper()
	job, _ := f.plan(t, filters, as...)
	f.run(t, job, more, as...)
	return f.over(t, job)
}

// state is the status of a connection with its reason.
func (f *fixture) state(t *testing.T, path string) string {
	t.Helper()
	d := f.Read("connections/"+path, nil).OK(t)
	return fmt.Sprint(d["status"], " ", d["status_reason"])
}

func TestRevoke(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for _, id := range []string{"e-alice", "e-bob"} {
			f.System.AddEntity(id)
		}
		f.connect(t, "self/slack", alice)
		f.key(t, "self/key", alice)
		f.key(t, "org/acme/key")
		token := f.Read("creds/self/slack", nil, alice).OK(t)["access_token"].(string)
		f.Advance(time.Minute)

		planned := f.Write("revoke", map[string]any{"owner": "user/e-alice"}, bob)
		data := asClient(t, planned.OK(t))
		job := "revoke/" + data["job"].(string)
		assert.Equal(t, []any{"planned", 2.0, 0.0, 2.0, "", map[string]any{"owner": "user/e-alice"}}, []any{
			data["state"], data["count"], data["done"], data["left"], data["then"], data["filters"],
		})
		assert.Equal(t, map[string]any{
			"display_name": "userpass-e-bob", "entity_id": "e-bob", "time": f.Now().Format(time.RFC3339),
		}, data["planned"])
		assert.Equal(t, f.Now().Add(time.Hour).Format(time.RFC3339), data["good_until"])
		assert.Contains(t, planned.Warnings[0], "nothing was changed")
		assert.Contains(t, planned.Warnings[0], "expect=2")
		assert.Equal(t, "active ", f.state(t, "user/e-alice/slack"), "a plan changes nothing")
		assert.Zero(t, f.provider.Count(providers.StepRevoke))

		ran := asClient(t, f.Write(job, map[string]any{"run": true, "expect": 2}, bob).OK(t))
		assert.Equal(t, "e-bob", ran["ran"].(map[string]any)["entity_id"])
		done := f.over(t, job)
		assert.Equal(t, []any{"done", 2.0, 0.0, 0.0, 0.0}, []any{
			done["state"], done["done"], done["left"], done["skipped"], done["ending"],
		})
		assert.Equal(t, map[string]any{"revoked": 1.0, "key": 1.0}, done["outcomes"])
		failures := done["failures"].([]any)
		require.Len(t, failures, 1)
		assert.Equal(t, []any{"user/e-alice/key", "key"}, []any{
			failures[0].(map[string]any)["path"], failures[0].(map[string]any)["outcome"],
		})
		assert.Contains(t, failures[0].(map[string]any)["reason"], "https://platform.openai.com/", "where it is ended by hand")

		assert.Equal(t, 1, f.provider.Count(providers.StepRevoke))
		assert.False(t, f.provider.Alive(token))
		f.Read("creds/self/slack", nil, alice).Refused(t,
			http.StatusConflict, "revoked", "auth-code-url/user/e-alice/slack")
		f.Read("creds/self/key", nil, alice).Refused(t, http.StatusConflict, "revoked", "connections/user/e-alice/key")
		f.Write("refresh/self/slack", nil, alice).Refused(t, http.StatusConflict, "revoked")
		assert.Equal(t, "needs_reconnect revoked", f.state(t, "user/e-alice/slack"))
		assert.Equal(t, "needs_reconnect revoked", f.state(t, "user/e-alice/key"))
		view := f.Read("connections/user/e-alice/slack", nil).OK(t)
		assert.Equal(t, providertest.AccountID, members(t, view["account"])["id"], "whose account it was stays")
		assert.Empty(t, f.Read("connections/user/e-alice/key", nil).OK(t)["key"])
		f.noSecrets(t, "connection/user/e-alice/", token, openaiKey)
		f.Read("creds/org/acme/key", nil).OK(t)

		f.Advance(time.Minute)
		f.connect(t, "self/slack", alice)
		f.Read("creds/self/slack", nil, alice).OK(t)
		f.key(t, "self/key", alice)
		f.Read("creds/self/key", nil, alice).OK(t)
		assert.Equal(t, "active ", f.state(t, "user/e-alice/slack"), "its owner connected it again")
		f.Write(job, map[string]any{"run": true, "expect": 2}).Refused(t, http.StatusConflict, "is over")
	})
}

// noSecrets holds that storage has none of these below a prefix.
func (f *fixture) noSecrets(t *testing.T, prefix string, secrets ...string) {
	t.Helper()
	for _, name := range f.stored(t, prefix) {
		if strings.HasSuffix(name, "/") {
			f.noSecrets(t, prefix+name, secrets...)
			continue
		}
		e, err := f.Storage.Get(t.Context(), prefix+name)
		require.NoError(t, err)
		require.NotNil(t, e)
		for _, secret := range secrets {
			assert.NotContains(t, string(e.Value), secret, prefix+name)
		}
	}
}

// What is not clear is refused, and nothing is planned.
func TestRevokePlanRefused(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		for name, c := range map[string]struct {
			data map[string]any
			text string
		}{
			"nothing named":       {nil, "at least one filter"},
			"all=false":           {map[string]any{"all": false}, "at least one filter"},
			"a filter of nothing": {map[string]any{"owner_missing": false}, "at least one filter"},
			"all, and a filter":   {map[string]any{"all": true, "provider": "acme"}, "without filters"},
			"an empty list":       {map[string]any{"provider": ""}, "provider is empty"},
			"an empty text":       {map[string]any{"owner": "", "provider": "acme"}, "owner is empty"},
			"an empty time":       {map[string]any{"expires_within": 0}, "expires_within is empty"},
			"no owner":            {map[string]any{"owner": "acme"}, "is no owner"},
			"no status":           {map[string]any{"status": "active,broken"}, `status "broken" is none`},
			"a limit":             {map[string]any{"provider": "acme", "limit": 10}, "unknown field"},
			"a typing error":      {map[string]any{"providr": "acme", "all": true}, "unknown field"},
		} {
			t.Run(name, func(t *testing.T) {
				f.Write("revoke", c.data).Refused(t, http.StatusBadRequest, c.text)
			})
		}
		assert.Empty(t, f.stored(t, "job/"))
		_, count := f.plan(t, map[string]any{"provider": "none"})
		assert.Zero(t, count)
		_, count = f.plan(t, map[string]any{"all": true})
		assert.Equal(t, 1, count)
	})
}

// The filters of a plan are those of the inventory.
func TestRevokeFilters(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.stocked(t)
		for name, c := range map[string]struct {
			data map[string]any
			want int
		}{
			"all":             {map[string]any{"all": true}, 6},
			"provider":        {map[string]any{"provider": "acme"}, 2},
			"definition":      {map[string]any{"definition": "openai"}, 4},
			"category":        {map[string]any{"category": "ai", "archived": false}, 3},
			"owner":           {map[string]any{"owner": "org/acme"}, 2},
			"creator":         {map[string]any{"created_by": "e-alice"}, 2},
			"archived":        {map[string]any{"archived": true}, 1},
			"archived or not": {map[string]any{"kind": "api_key"}, 4},
			"tag":             {map[string]any{"tag": "team=sales"}, 1},
			"label":           {map[string]any{"label": "SALES"}, 1},
			"shared":          {map[string]any{"shared": true}, 1},
			"missing scopes":  {map[string]any{"missing_scopes": true}, 1},
			"account":         {map[string]any{"account": providertest.AccountID}, 2},
			"status":          {map[string]any{"status": "needs_reconnect"}, 0},
		} {
			_, count := f.plan(t, c.data)
			assert.Equal(t, c.want, count, name)
		}
	})
}

func TestRevokeRunRefused(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		job, _ := f.plan(t, map[string]any{"all": true})
		for name, c := range map[string]struct {
			path   string
			data   map[string]any
			status int
			text   string
		}{
			"not said":           {job, nil, 400, "run=true expect=<count>"},
			"run=false":          {job, map[string]any{"run": false, "expect": 1}, 400, "run=true"},
			"nothing expected":   {job, map[string]any{"run": true}, 400, "expect=<count>"},
			"another count":      {job, map[string]any{"run": true, "expect": 2}, 409, "has 1 connections, and not 2"},
			"an unknown then":    {job, map[string]any{"run": true, "expect": 1, "then": "burn"}, 400, "archive and delete"},
			"an unknown field":   {job, map[string]any{"run": true, "expect": 1, "force": true}, 400, "unknown field"},
			"no such job":        {"revoke/" + store.NewJobID(), map[string]any{"run": true, "expect": 1}, 404, "no such job"},
			"no name of a job":   {"revoke/x", map[string]any{"run": true, "expect": 1}, 404, "no such job"},
			"a name that climbs": {"revoke/..", map[string]any{"run": true, "expect": 1}, 404, "no such job"},
		} {
			t.Run(name, func(t *testing.T) { f.Write(c.path, c.data).Refused(t, c.status, c.text) })
		}
		f.Read("revoke/x", nil).Refused(t, 404, "no such job")
		f.Delete("revoke/"+store.NewJobID(), nil).Refused(t, 404, "no such job")
		f.Advance(time.Hour)
		assert.Equal(t, "expired", f.Read(job, nil).OK(t)["state"])
		f.Write(job, map[string]any{"run": true, "expect": 1}).Refused(t, http.StatusConflict, "older than an hour")
		assert.Equal(t, "active ", f.state(t, "slack"))
		assert.Zero(t, f.provider.Count(providers.StepRevoke))
	})
}

// A target must still be what was planned, and still match.
func TestRevokeSkips(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for _, name := range []string{"gone", "anew", "changed", "meant", "deleting"} {
			f.connect(t, name)
			f.Write("connections/"+name, map[string]any{"label": "old"}).OK(t)
		}
		job, count := f.plan(t, map[string]any{"label": "old"})
		require.Equal(t, 5, count)
		f.Delete("connections/gone", nil)
		f.Delete("connections/anew", nil)
		f.Advance(time.Minute)
		f.connect(t, "anew")
		f.Write("connections/anew", map[string]any{"label": "old"}).OK(t)
		f.Write("connections/changed", map[string]any{"label": "new"}).OK(t)
		f.Storage.Judge(func(a testenv.Access) error {
			if a.Op == "delete" && a.Under("connection/org/default/deleting") {
				return testenv.ErrStorage
			}
			return nil
		})
		f.Delete("connections/deleting", nil)
		f.run(t, job, nil)
		done := f.over(t, job)
		assert.Equal(t, map[string]any{"gone": 2.0, "changed": 1.0, "busy": 1.0, "shared_account": 1.0}, done["outcomes"],
			"those that are skipped keep their account")
		assert.Equal(t, []any{1.0, 4.0}, []any{done["done"], done["skipped"]})
		f.Read("creds/anew", nil).OK(t)
		f.Read("creds/changed", nil).OK(t)
		f.Read("creds/meant", nil).Refused(t, http.StatusConflict, "revoked")
		f.Storage.Judge(nil)
	})
}

// What becomes of an ended connection is said with its run.
func TestRevokeThen(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.System.AddEntity("e-alice")
		f.connect(t, "self/one", alice)
		f.connect(t, "org/acme/two")
		job, _ := f.plan(t, map[string]any{"owner": "user/e-alice"})
		f.run(t, job, map[string]any{"then": "archive"}, bob)
		done := f.over(t, job)
		assert.Equal(t, "archive", done["then"])
		assert.Equal(t, "archived disabled_by_person", f.state(t, "user/e-alice/one"))
		by := asClient(t, f.Read("connections/user/e-alice/one", nil).OK(t))["disabled_by"].([]any)
		assert.Equal(t, []any{"others", "e-bob"}, []any{
			by[0].(map[string]any)["side"], by[0].(map[string]any)["entity_id"],
		})
		f.Read("creds/self/one", nil, alice).Refused(t, http.StatusForbidden, "archived")

		done = f.ended(t, map[string]any{"owner": "org/acme"}, map[string]any{"then": "delete"})
		assert.Equal(t, map[string]any{"revoked": 1.0}, done["outcomes"])
		assert.Empty(t, f.stored(t, "connection/org/acme/"))
		f.Read("connections/org/acme/two", nil).Refused(t, http.StatusNotFound)
	})
}

// Its people may be ended who read nothing of it.
func TestRevokePrivate(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.System.AddEntity("e-alice")
		f.connect(t, "self/slack", alice)
		f.Read("creds/user/e-alice/slack", nil, bob).Refused(t, http.StatusForbidden, "private")
		r := f.ended(t, map[string]any{"owner": "user/e-alice"}, nil, bob)
		assert.Equal(t, map[string]any{"revoked": 1.0}, r["outcomes"])
		assert.Equal(t, true, f.Read("connections/user/e-alice/slack", nil).OK(t)["private"], "and it stays private")
	})
}

// Two connections of one account do not keep each other from being revoked. One that stays does.
func TestRevokeOfOneAccount(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for _, name := range []string{"a", "b", "c"} {
			f.connect(t, name)
			f.Write("connections/"+name, map[string]any{"label": name}).OK(t)
		}
		done := f.ended(t, map[string]any{"label": "a"}, nil)
		assert.Equal(t, map[string]any{"shared_account": 1.0}, done["outcomes"])
		assert.Contains(t, done["failures"].([]any)[0].(map[string]any)["reason"], "may rest on the same account")
		assert.Zero(t, f.provider.Count(providers.StepRevoke))
		f.Read("creds/a", nil).Refused(t, http.StatusConflict, "revoked")

		done = f.ended(t, map[string]any{"provider": "acme", "status": "active"}, nil)
		assert.Equal(t, map[string]any{"revoked": 2.0}, done["outcomes"])
		assert.Equal(t, 2, f.provider.Count(providers.StepRevoke))

		done = f.ended(t, map[string]any{"provider": "acme"}, nil)
		assert.Equal(t, map[string]any{"nothing": 3.0}, done["outcomes"], "there was nothing left of them")
		assert.Equal(t, 2, f.provider.Count(providers.StepRevoke))
	})
}

// What the provider says decides the outcome; what passes is waited for, a day long.
func TestRevokeOutcomes(t *testing.T) {
	t.Run("a provider that cannot be asked", func(t *testing.T) {
		each(t, func(t *testing.T, f *fixture) {
			endpoints := map[string]any{"authorize": f.provider.URL + "/authorize", "token": f.provider.URL + "/token"}
			f.Write("providers/acme", with(f.acme(), map[string]any{"endpoints": endpoints})).OK(t)
			f.connect(t, "slack")
			done := f.ended(t, map[string]any{"all": true}, nil)
			assert.Equal(t, map[string]any{"not_supported": 1.0}, done["outcomes"])
		})
	})
	t.Run("a provider that refuses", func(t *testing.T) {
		each(t, func(t *testing.T, f *fixture) {
			f.connect(t, "slack")
			f.provider.Next(providers.StepRevoke, providertest.Respond(http.StatusForbidden, `{"error":"hidden words"}`))
			done := f.ended(t, map[string]any{"all": true}, nil)
			assert.Equal(t, map[string]any{"failed": 1.0}, done["outcomes"])
			reason := done["failures"].([]any)[0].(map[string]any)["reason"]
			assert.Contains(t, reason, "not revoked (revoke call failed")
			assert.NotContains(t, reason, "hidden words")
			f.Read("creds/slack", nil).Refused(t, http.StatusConflict, "revoked")
		})
	})
	t.Run("a provider that was changed", func(t *testing.T) {
		each(t, func(t *testing.T, f *fixture) {
			f.connect(t, "slack")
			f.Write("providers/acme", with(f.acme(), map[string]any{"client_id": "another"})).OK(t)
			done := f.ended(t, map[string]any{"all": true}, nil)
			assert.Equal(t, map[string]any{"failed": 1.0}, done["outcomes"])
			assert.Contains(t, done["failures"].([]any)[0].(map[string]any)["reason"], "gone or has changed")
			assert.Equal(t, "needs_reconnect revoked", f.state(t, "slack"))
		})
	})
	t.Run("a provider that is down for a while", func(t *testing.T) {
		each(t, func(t *testing.T, f *fixture) {
			f.connect(t, "slack")
			f.key(t, "key")
			f.provider.Next(providers.StepRevoke, outage, outage)
			job, _ := f.plan(t, map[string]any{"all": true})
			f.run(t, job, nil)
			require.Eventually(t, func() bool { return number(f.Read(job, nil).OK(t)["ending"]) == 1 }, time.Minute,
				time.Millisecond)
			assert.Equal(t, "running", f.Read(job, nil).OK(t)["state"])
			assert.Equal(t, "disabled revoking", f.state(t, "slack"))
			f.Read("creds/slack", nil).Refused(t, http.StatusForbidden, "revoking")
			f.Write("refresh/slack", nil).Refused(t, http.StatusForbidden, "revoking")
			f.Write("connections/slack", map[string]any{"disabled": false}).Refused(t, http.StatusConflict, "revoking")
			f.Write("auth-code-url/slack", nil).Refused(t, http.StatusConflict, "revoking")
			assert.Equal(t, 1, f.provider.Count(providers.StepRevoke))
			f.passes(t, time.Minute, func() bool { return f.Read(job, nil).OK(t)["ended"] != "" })
			done := f.over(t, job)
			assert.Equal(t, map[string]any{"revoked": 1.0, "key": 1.0}, done["outcomes"])
			assert.Equal(t, 3, f.provider.Count(providers.StepRevoke))
		})
	})
	t.Run("a provider that is down for a day", func(t *testing.T) {
		each(t, func(t *testing.T, f *fixture) {
			f.connect(t, "slack")
			token := f.Read("creds/slack", nil).OK(t)["access_token"].(string)
			for range 500 {
				f.provider.Next(providers.StepRevoke, outage)
			}
			job, _ := f.plan(t, map[string]any{"all": true})
			f.run(t, job, nil)
			require.Eventually(t, func() bool { return number(f.Read(job, nil).OK(t)["ending"]) == 1 }, time.Minute,
				time.Millisecond)
			begun := f.Now()
			f.passes(t, 30*time.Minute, func() bool { return f.Read(job, nil).OK(t)["ended"] != "" })
			assert.GreaterOrEqual(t, f.Now().Sub(begun), 24*time.Hour)
			assert.Less(t, f.Now().Sub(begun), 27*time.Hour)
			done := f.over(t, job)
			assert.Equal(t, map[string]any{"unreachable": 1.0}, done["outcomes"])
			assert.Contains(t, done["failures"].([]any)[0].(map[string]any)["reason"], "not revoked, provider unreachable")
			assert.Equal(t, "needs_reconnect revoked", f.state(t, "slack"))
			f.noSecrets(t, "connection/", token)
		})
	})
}

// passes lets time pass until something is so.
func (f *fixture) passes(t *testing.T, step time.Duration, is func() bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		if is() {
			return true
		}
		f.Advance(step)
		f.periodic(t)
		return false
	}, time.Minute, 10*time.Millisecond)
}

func TestRevokeCancel(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for i := range 12 {
			f.connect(t, fmt.Sprintf("x%02d", i))
		}
		release := make(chan struct{})
		for range 12 {
			f.provider.Next(providers.StepRevoke, providertest.HangUntil(release))
		}
		job, _ := f.plan(t, map[string]any{"all": true})
		f.run(t, job, nil)
		require.Eventually(t, func() bool { return f.provider.Count(providers.StepRevoke) == endsAtOnce }, time.Minute,
			time.Millisecond)
		f.Delete(job, nil).OK(t)
		f.Delete(job, nil).OK(t)
		f.Write(job, map[string]any{"run": true, "expect": 12}).Refused(t, http.StatusConflict, "is over")
		close(release)
		done := f.over(t, job)
		assert.Equal(t, []any{"cancelled", 8.0, 4.0, 0.0}, []any{done["state"], done["left"], done["done"], done["ending"]})
		assert.Equal(t, "root", done["cancelled"].(map[string]any)["display_name"])
		serving := 0
		for i := range 12 {
			if f.Read(fmt.Sprintf("creds/x%02d", i), nil).Status == http.StatusOK {
				serving++
			}
		}
		assert.Equal(t, 8, serving, "what was not begun is left")

		job, _ = f.plan(t, map[string]any{"all": true})
		f.Delete(job, nil).OK(t)
		assert.Equal(t, "cancelled", f.Read(job, nil).OK(t)["state"])
		f.Write(job, map[string]any{"run": true, "expect": 12}).Refused(t, http.StatusConflict, "is over")
	})
}

func TestRevokeList(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		assert.Empty(t, f.List("revoke/").OK(t)["keys"])
		f.connect(t, "slack")
		first, _ := f.plan(t, map[string]any{"all": true}, bob)
		second, _ := f.plan(t, map[string]any{"provider": "acme"})
		f.run(t, second, nil)
		f.over(t, second)
		data := asClient(t, f.List("revoke/").OK(t))
		assert.Len(t, data["keys"], 2)
		info := data["key_info"].(map[string]any)
		now := f.Now().Format(time.RFC3339)
		assert.Equal(t, map[string]any{"state": "planned", "count": 1.0, "planned_by": "userpass-e-bob", "planned_time": now},
			info[strings.TrimPrefix(first, "revoke/")])
		assert.Equal(t, "done", info[strings.TrimPrefix(second, "revoke/")].(map[string]any)["state"])

		f.passes(t, 24*time.Hour, func() bool { return len(f.stored(t, "job/")) == 0 })
		f.Read(first, nil).Refused(t, http.StatusNotFound, "no such job")
		assert.Empty(t, f.List("revoke/").OK(t)["keys"])
	})
}

// A standby reads, and leaves the rest to the node that writes.
func TestRevokeOnAStandby(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		job, _ := f.plan(t, map[string]any{"all": true})
		f.System.SetReplication(consts.ReplicationPerformanceStandby)
		for _, r := range []testenv.Result{
			f.Write("revoke", map[string]any{"all": true}), f.Write(job, map[string]any{"run": true, "expect": 1}),
			f.Delete(job, nil),
		} {
			require.ErrorContains(t, r.Err, logical.ErrReadOnly.Error())
		}
		assert.Equal(t, "planned", f.Read(job, nil).OK(t)["state"])
		assert.Len(t, f.List("revoke/").OK(t)["keys"], 1)
	})
}
