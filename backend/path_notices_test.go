package backend

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// heard lets a second pass and gives what the log has by then.
func (f *fixture) heard(t *testing.T, filter map[string]any) (all []map[string]any) {
	t.Helper()
	require.Eventually(t, func() bool {
		f.Advance(noticeSoon)
		f.Read("config", nil)
		return number(f.Read("status", nil).OK(t)["notices_pending"]) == 0
	}, time.Minute, 5*time.Millisecond)
	return asRows(t, f.Read("notices", filter).OK(t)["notices"])
}

func asRows(t *testing.T, v any) (rows []map[string]any) {
	t.Helper()
	switch list := v.(type) {
	case []map[string]any:
		return list
	case []any:
		for _, row := range list {
			rows = append(rows, row.(map[string]any))
		}
		return rows
	}
	require.Failf(t, "no rows", "%T", v)
	return nil
}

func kindsOfNotices(rows []map[string]any) (kinds []string) {
	for _, row := range rows {
		kinds = append(kinds, strings.TrimSpace(row["kind"].(string)+" "+row["reason"].(string)))
	}
	return kinds
}

// What happens to connections is told once each, to whoever reads and in the server's log.
func TestNotices(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Advance(time.Minute)
		f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusBadRequest, `{"error":"invalid_grant"}`))
		f.Write("refresh/slack", nil)
		f.connect(t, "slack")
		f.Write("connections/slack", map[string]any{"label": "Sales"}).OK(t)
		f.Write("connections/slack", map[string]any{"disabled": true}).OK(t)
		f.Write("connections/slack", map[string]any{"disabled": false}).OK(t)
		f.Write("transfer/slack", map[string]any{"to": "org/default/moved"}).OK(t)
		f.Delete("connections/moved", nil).OK(t)
		f.Write("providers/acme", map[string]any{"frozen": true, "frozen_reason": "why"}, alice).OK(t)
		f.Write("providers/acme", map[string]any{"frozen": false}).OK(t)
		f.Write("config", map[string]any{"frozen_owners": "org/b"}).OK(t)
		all := f.heard(t, nil)
		assert.Equal(t, []string{
			"connect authorization_code", "needs_reconnect grant_refused", "reconnect authorization_code",
			"disabled disabled", "recovered disabled_by_person", "transferred", "deleted", "frozen", "recovered frozen",
			"frozen",
		}, kindsOfNotices(all))
		assert.Equal(t, "org/default/slack", all[0]["connection"])
		assert.Equal(t, "org/default/moved", all[5]["connection"])
		assert.Equal(t, all[0]["connection_id"], all[6]["connection_id"])
		assert.Equal(t, "root", all[3]["by"])
		assert.Equal(t, "e-alice", all[7]["by_id"])
		assert.Equal(t, "acme", all[7]["provider"])
		assert.Equal(t, "org/b", asRows(t, all[9]["changes"])[0]["after"])
		for _, row := range all {
			assert.Equal(t, 1, strings.Count(f.Logs.String(), `"id":"`+row["id"].(string)+`"`), "one line of the log")
		}
		assert.Equal(t, 1, strings.Count(f.Logs.String(), "a connection was changed"), "the label is no notice")
		assert.Len(t, f.heard(t, map[string]any{"kind": "frozen,deleted"}), 3)
		assert.Len(t, f.heard(t, map[string]any{"provider": "acme", "kind": "frozen"}), 1)
		assert.Len(t, f.heard(t, map[string]any{"owner": "org/default"}), 7)

		page := f.Read("notices", map[string]any{"limit": 4}).OK(t)
		first := asRows(t, page["notices"])
		rest := asRows(t, f.Read("notices", map[string]any{"cursor": page["cursor"]}).OK(t)["notices"])
		assert.Equal(t, kindsOfNotices(all), append(kindsOfNotices(first), kindsOfNotices(rest)...))
		end := f.Read("notices", map[string]any{"cursor": page["cursor"]}).OK(t)["cursor"]
		again := f.Read("notices", map[string]any{"cursor": end}).OK(t)
		assert.Empty(t, asRows(t, again["notices"]))
		assert.Equal(t, end, again["cursor"])

		f.Read("notices", map[string]any{"cursor": "x"}).Refused(t, http.StatusBadRequest, "cursor")
		f.Read("notices", map[string]any{"cursor": "18446744073709551615"}).Refused(t, http.StatusBadRequest, "cursor")
		f.Read("notices", map[string]any{"kind": "x"}).Refused(t, http.StatusBadRequest, "kind")
		f.Read("notices", map[string]any{"owner": "x"}).Refused(t, http.StatusBadRequest, "owner")
		f.Read("notices", map[string]any{"limit": 1001}).Refused(t, http.StatusBadRequest, "limit")
	})
}

// Neither what somebody named a private connection, nor whose account it is, leaves it.
func TestNoticesOfAPrivateConnection(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/openai", nil).OK(t)
		f.Write("connections/self/key", map[string]any{
			"provider": "openai", "api_key": openaiKey, "label": "my-own-label", "tags": map[string]any{"t": "my-own-tag"},
		}, alice).OK(t)
		f.Write("shares/self/key", map[string]any{"entities": "e-bob"}, alice)
		all := f.heard(t, nil)
		require.NotEmpty(t, all)
		for _, row := range all {
			assert.Equal(t, true, row["private"])
			assert.Empty(t, row["by"])
			assert.Equal(t, "e-alice", row["by_id"])
		}
		f.Write("connections/self/key", map[string]any{"label": "my-own-label-again"}, alice).OK(t)
		logged := f.Logs.String()
		_, changed, _ := strings.Cut(logged[:strings.LastIndexByte(logged, '\n')], "a connection was changed")
		require.Contains(t, changed, "label", "what is no notice is a line of the log")
		assert.NotContains(t, changed, "userpass-e-alice", "what its owner is called may be their address")
		for _, secret := range []string{"my-own-label", "my-own-tag", openaiKey} {
			assert.NotContains(t, f.Logs.String(), secret)
			for _, name := range f.stored(t, "notice/") {
				entry, err := f.Storage.Get(t.Context(), "notice/"+name)
				require.NoError(t, err)
				assert.NotContains(t, string(entry.Value), secret)
			}
		}
	})
}

// What nothing renews is told when it has run out, once.
func TestNoticeOfALimit(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("connections/brought", map[string]any{
			"provider": "acme", "access_token": "the-token-itself", "expires_in": 3600, "verify": false,
		}).OK(t)
		assert.Equal(t, []string{"connect authorization_code"}, kindsOfNotices(f.heard(t, nil)))
		f.Advance(time.Hour)
		f.periodic(t)
		want := []string{"connect authorization_code", "needs_reconnect expired"}
		require.Eventually(t, func() bool { return len(f.heard(t, nil)) == 2 }, time.Minute, time.Millisecond)
		assert.Equal(t, want, kindsOfNotices(f.heard(t, nil)))
		assert.Equal(t, "expired", f.Read("connections/brought", nil).OK(t)["status"])
		f.restart(t)
		f.periodic(t)
		f.Advance(time.Hour)
		assert.Equal(t, want, kindsOfNotices(f.heard(t, nil)), "it was told")
	})
}

// What an operator changes of a provider, so that its connections belong elsewhere, is one notice with their number.
func TestNoticeOfAProviderThatChanged(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "one")
		f.connect(t, "two")
		f.heard(t, nil)
		f.Write("providers/acme", map[string]any{"client_id": "another", "client_secret": "s"}).OK(t)
		f.Write("providers/acme", map[string]any{
			"client_id": providertest.ClientID, "client_secret": providertest.ClientSecret,
		}).OK(t)
		all := f.heard(t, nil)
		require.Len(t, all, 4)
		assert.Equal(t, []string{"needs_reconnect provider_changed", "recovered provider_changed"}, kindsOfNotices(all[2:]))
		assert.InDelta(t, 2, number(all[2]["count"]), 0)
		assert.InDelta(t, 2, number(all[3]["count"]), 0)
		f.Delete("providers/acme", map[string]any{"force": true}).OK(t)
		all = f.heard(t, nil)
		require.Len(t, all, 5)
		assert.Equal(t, []string{"needs_reconnect provider_missing"}, kindsOfNotices(all[4:]))
		assert.Equal(t, []any{2.0, "delete"}, []any{number(all[4]["count"]), all[4]["verb"]})
	})
}

// An old key is told once, and so is the next one when it is old; a client secret by the daily look.
func TestNoticesOfWhatIsOld(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "key")
		f.Write("config", map[string]any{"rotate_after": "30d"}).OK(t)
		f.heard(t, nil)
		told := func() (paths []string) {
			for _, row := range f.heard(t, map[string]any{"kind": "rotation_due"}) {
				paths = append(paths, row["provider"].(string)+" "+row["connection"].(string))
			}
			slices.Sort(paths)
			return paths
		}
		assert.Empty(t, told())
		f.Advance(30 * day)
		f.periodic(t)
		want := []string{"acme ", "openai org/default/key"}
		require.Eventually(t, func() bool { return len(told()) == 2 }, time.Minute, time.Millisecond)
		assert.Equal(t, want, told())
		f.restart(t)
		for range 2 {
			f.Advance(25 * time.Hour)
			f.periodic(t)
			f.idle(t)
		}
		assert.Equal(t, want, told(), "it was told")
		f.Write("connections/key", map[string]any{"api_key": secondKey}).OK(t)
		f.Advance(30 * day)
		f.periodic(t)
		require.Eventually(t, func() bool { return len(told()) == 3 }, time.Minute, time.Millisecond)
		assert.Equal(t, append(want, want[1]), told())
	})
}

// A key that is old by another word than when it was written is told without a write of its connection.
func TestNoticeOfAKeyThatIsOldByAnotherWord(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "key")
		f.Advance(40 * day)
		f.periodic(t)
		f.idle(t)
		f.Write("config", map[string]any{"rotate_after": "30d"}).OK(t)
		require.Eventually(t, func() bool {
			f.periodic(t)
			return len(f.heard(t, map[string]any{"kind": "rotation_due", "provider": "openai"})) == 1
		}, time.Minute, time.Millisecond)
	})
}

// Scopes that a provider asks for anew are one notice with the number of its connections; those that a grant lost are
// told of that.
func TestNoticesOfDrift(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Write("providers/acme", map[string]any{"scopes": "read,write,admin"}).OK(t)
		f.Write("providers/acme", map[string]any{"scopes": "read,write"}).OK(t)
		f.Advance(time.Minute)
		f.drop("read")
		f.Write("refresh/slack", nil).OK(t)
		all := f.heard(t, map[string]any{"kind": "scope_drift"})
		assert.Equal(t, []string{"scope_drift grown", "scope_drift lost"}, kindsOfNotices(all))
		assert.InDelta(t, 1, number(all[0]["count"]), 0)
		assert.Equal(t, "org/default/slack", all[1]["connection"])
	})
}

// What an operator did is told once, though its write failed and was made later, whether they send it again or not.
func TestNoticesOfALateWrite(t *testing.T) {
	for name, c := range map[string]struct {
		path, entry string
	}{"config": {"config", "config"}, "provider": {"providers/acme", "provider/"}} {
		for _, again := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				f := newFixture(t, Options{}, testenv.InProcess)
				f.periodic(t)
				require.Eventually(t, func() bool { return !f.Backend.(*backend).notices.isCatching() }, time.Minute,
					time.Millisecond, "this process looks for itself alone by now")
				ctx, hangUp := context.WithCancel(t.Context())
				f.Storage.Hang(testenv.Nth(1, func(a testenv.Access) bool { return a.Write() && a.Under(c.entry) }),
					func(testenv.Access) {})
				time.AfterFunc(50*time.Millisecond, hangUp)
				f.WriteCtx(ctx, c.path, map[string]any{"frozen": true, "frozen_reason": "why"}, alice).Refused(t,
					http.StatusServiceUnavailable)
				f.Storage.Hang(nil, nil)
				require.Eventually(t, func() bool { return f.Storage.Landed() == 1 }, time.Minute, time.Millisecond)
				if again {
					f.Write(c.path, map[string]any{"frozen": true, "frozen_reason": "why"}, alice).OK(t)
				} else {
					f.periodic(t)
				}
				require.Eventually(t, func() bool { return len(f.heard(t, map[string]any{"kind": "frozen"})) > 0 },
					time.Minute, 10*time.Millisecond)
				f.periodic(t)
				f.Write(c.path, map[string]any{"frozen": false}).OK(t)
				assert.Equal(t, []string{"frozen", "recovered frozen"}, kindsOfNotices(f.heard(t, nil)))
			})
		}
	}
}
