package backend

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// told gives the records of a history as "verb by: field before>after", newest first.
func (f *fixture) told(t *testing.T, path string) (all []string) {
	t.Helper()
	r := f.Read("history/"+path, nil)
	if r.Response == nil {
		return nil
	}
	for _, one := range asClient(t, r.OK(t))["records"].([]any) {
		record := one.(map[string]any)
		var changes []string
		for _, c := range record["changes"].([]any) {
			change := c.(map[string]any)
			changes = append(changes, fmt.Sprintf("%s %s>%s", change["field"], change["before"], change["after"]))
		}
		all = append(all, fmt.Sprintf("%s %s: %s", record["verb"], record["by_id"], strings.Join(changes, "; ")))
	}
	return all
}

func TestHistory(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		assert.Empty(t, f.told(t, "org/acme/slack"))
		f.connect(t, "org/acme/slack", alice)
		f.Write("connections/org/acme/slack", map[string]any{"label": "one"}, bob).OK(t)
		f.Write("connections/org/acme/slack", map[string]any{"label": "one"}, bob).OK(t) // changes nothing
		f.Advance(2 * time.Hour)
		f.Read("creds/org/acme/slack", nil).OK(t) // a renewal
		f.Write("refresh/org/acme/slack", nil, bob).OK(t)
		f.Write("connections/org/acme/slack", map[string]any{"disabled": true}, bob).OK(t)
		f.Write("connections/org/acme/slack", map[string]any{"disabled": false, "label": "two"}, alice).OK(t)
		for range 2 {
			told := f.told(t, "org/acme/slack")
			require.Len(t, told, 4)
			assert.Equal(t, []string{
				"write e-alice: label one>two; stops disabled by others>",
				"write e-bob: stops >disabled by others",
				"write e-bob: label >one",
			}, told[:3])
			assert.Contains(t, told[3], "exchange e-alice: account >")
			f.restart(t)
		}
		records := asClient(t, f.Read("history/org/acme/slack", nil).OK(t))["records"].([]any)
		id := f.Read("connections/org/acme/slack", nil).OK(t)["connection_id"]
		for i, r := range records {
			assert.Equal(t, []any{float64(4 - i), id}, []any{r.(map[string]any)["number"], r.(map[string]any)["connection_id"]})
		}
		f.connect(t, "org/acme/slack", bob)
		assert.Contains(t, f.told(t, "org/acme/slack")[0], "exchange e-bob: credential >replaced")
	}, providertest.WithLifetime(time.Hour))
}

// What the engine finds is told too, once, and that it ended.
func TestHistoryOfTheEngine(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Advance(2 * time.Hour)
		down := providertest.Respond(http.StatusServiceUnavailable, "")
		f.provider.Next(providers.StepRefresh, down, down, down, down)
		for range 2 {
			f.Read("creds/slack", nil).Refused(t, http.StatusBadGateway)
			f.Advance(10 * time.Minute)
		}
		require.Equal(t, "refresh : failing >true", f.told(t, "slack")[0])
		for i := 0; f.Read("creds/slack", nil).Status != http.StatusOK; i++ {
			require.Less(t, i, 20)
			f.Advance(10 * time.Minute)
		}
		assert.Equal(t, []string{"refresh : failing true>", "refresh : failing >true"}, f.told(t, "slack")[:2])
		f.Advance(2 * time.Hour)
		f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusBadRequest, `{"error":"invalid_grant"}`))
		f.Read("creds/slack", nil).Refused(t, http.StatusConflict, "reconnected")
		assert.Contains(t, f.told(t, "slack")[0], "refused >grant_refused")
	}, providertest.WithLifetime(time.Hour))
}

// A history outlives its connection, and creds tells whoever may know by whom it was deleted.
func TestHistoryOfADeletedConnection(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "org/acme/key")
		f.key(t, "self/key", alice)
		f.Delete("connections/org/acme/key", nil, bob)
		f.Delete("connections/user/e-alice/key", nil, bob)
		for range 2 {
			for _, verb := range []func() testenv.Result{
				func() testenv.Result { return f.Read("creds/org/acme/key", nil, alice) },
				func() testenv.Result { return f.Write("check/org/acme/key", nil, alice) },
				func() testenv.Result { return f.Read("creds/self/key", nil, alice) },
			} {
				verb().Refused(t,
					http.StatusBadRequest, "no connection", "was disconnected by userpass-e-bob at 2026-03-01T12:00:00Z")
			}
			r := f.Read("creds/user/e-alice/key", nil, bob)
			r.Refused(t, http.StatusBadRequest, "no connection")
			assert.NotContains(t, r.Text, "disconnected", "of a private one its owner alone is told")
			assert.Equal(t, "delete e-bob: deleting >true", f.told(t, "org/acme/key")[0])
			f.restart(t)
		}
		f.key(t, "org/acme/key", alice) // another of its name
		told := f.told(t, "org/acme/key")
		require.Len(t, told, 3)
		assert.Contains(t, told[0], "write e-alice: kind >api_key")
		assert.Equal(t, "delete e-bob: deleting >true", told[1])

		f.Advance(31 * 24 * time.Hour)
		f.periodic(t)
		require.Eventually(t, func() bool { return len(f.stored(t, "history/")) == 1 }, time.Minute, time.Millisecond)
		assert.Len(t, f.told(t, "org/acme/key"), 3, "of what is there nothing is forgotten")
		assert.Empty(t, f.told(t, "user/e-alice/key"))
	})
}

func TestHistoryRetention(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("config", map[string]any{"history_retention": 0}).OK(t)
		assert.Equal(t, 0.0, number(f.Read("config", nil).OK(t)["history_retention"]))
		f.key(t, "org/acme/key")
		f.Delete("connections/org/acme/key", nil)
		f.Advance(25 * time.Hour)
		f.periodic(t)
		require.Eventually(t, func() bool { return len(f.stored(t, "history/")) == 0 }, time.Minute, time.Millisecond)
		f.Write("config", map[string]any{"history_retention": "-1s"}).Refused(t, http.StatusBadRequest, "history_retention")
	})
}

// Twenty records are kept, and none is larger than its share.
func TestHistoryIsBounded(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.key(t, "org/acme/key")
	for i := range 30 {
		tags := map[string]any{}
		for n := range 20 {
			tags[fmt.Sprintf("tag-%d", n)] = fmt.Sprintf("value %d %d", i, n)
		}
		f.Write("connections/org/acme/key", map[string]any{
			"label": strings.Repeat("l", 250) + fmt.Sprint(i%10), "tags": tags, "required_scopes": strings.Repeat("s", 900),
		}).OK(t)
	}
	entry, err := f.Storage.Get(t.Context(), "history/"+aKeyOf(t, "org/acme/key").HistoryID())
	require.NoError(t, err)
	assert.Less(t, len(entry.Value), 13<<10)
	var h struct{ Records []json.RawMessage }
	require.NoError(t, json.Unmarshal(entry.Value, &h))
	assert.LessOrEqual(t, len(h.Records), 20)
	assert.Greater(t, len(h.Records), 15)
	for _, r := range h.Records {
		assert.LessOrEqual(t, len(r), 600)
	}
}

// Wherever storage fails, each change that was made has one record, and no other has one.
func TestHistoryWhenStorageFails(t *testing.T) {
	for n := 1; n < 20; n++ {
		f := newFixture(t, Options{}, testenv.InProcess)
		f.key(t, "org/acme/key")
		done := []string{""}
		writes := 0
		f.Storage.Judge(func(a testenv.Access) error {
			if a.Write() {
				if writes++; writes == n {
					return testenv.ErrStorage
				}
			}
			return nil
		})
		for i := range 6 {
			label := fmt.Sprintf("l%d", i)
			if f.Write("connections/org/acme/key", map[string]any{"label": label}).Status == http.StatusOK {
				done = append(done, label)
			}
		}
		if n%2 == 0 {
			f.restart(t)
		}
		var want []string
		for i := len(done) - 1; i > 0; i-- {
			want = append(want, "write : label "+done[i-1]+">"+done[i])
		}
		told := f.told(t, "org/acme/key")
		require.Len(t, told, len(want)+1, "fails at write %d", n)
		for i := range want {
			assert.Equal(t, want[i], told[i], "fails at write %d", n)
		}
	}
}

// The log has the same, of private connections without what they hold.
func TestHistoryInTheLog(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "org/acme/key")
		f.key(t, "self/key", alice)
		f.Write("connections/org/acme/key", map[string]any{"label": "seen"}, bob).OK(t)
		f.Write("connections/self/key", map[string]any{"label": "hidden"}, alice).OK(t)
		logs := f.Logs.String()
		assert.Contains(t, logs, "label:  -> seen")
		assert.NotContains(t, logs, "hidden")
		assert.NotContains(t, logs, openaiKey)
	})
}

func aKeyOf(t *testing.T, path string) store.Key {
	t.Helper()
	k, err := store.ParseKey(path)
	require.NoError(t, err)
	return k
}

// What the look at owners does, and a transfer, is told too, and goes along with a move.
func TestHistoryOfOwners(t *testing.T) {
	eachLeaving(t, func(t *testing.T, l *leaving) {
		l.sharing(t)
		l.days(t, 1)
		l.System.DisableEntity("e-alice", true)
		l.days(t, 1)
		l.System.DisableEntity("e-alice", false)
		l.days(t, 1)
		assert.Equal(t, []string{"owner back : owner_left owner_disabled>", "owner left : owner_left >owner_disabled"},
			l.told(t, "user/e-alice/slack")[:2])
		before := l.told(t, "user/e-alice/slack")
		l.Write("transfer/self/slack", map[string]any{"to": "org/acme/slack"}, alice).OK(t)
		l.Write("accept/org/acme/slack", map[string]any{"from": "user/e-alice/slack"}, bob).OK(t)
		after := l.told(t, "org/acme/slack")
		assert.Equal(t, before, after[len(after)-len(before):])
		assert.Len(t, after, len(before)+2)
		left := l.told(t, "user/e-alice/slack")
		require.Len(t, left, 1, "the record of the move is left")
		assert.Contains(t, left[0], "moving >org/acme/slack")
		l.Read("creds/self/slack", nil, alice).Refused(t, http.StatusBadRequest, "moved to another owner or name by")
		r := l.Read("creds/user/e-alice/slack", nil)
		r.Refused(t, http.StatusBadRequest, "no connection")
		assert.NotContains(t, r.Text, "moved")
	})
}

// Under a name that a connection left nothing stays of its history but that it left.
func TestHistoryLeavesWithTheConnection(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.System.AddEntity("e-alice")
		f.key(t, "self/key", alice)
		for _, label := range []string{"one", "two"} {
			f.Write("connections/self/key", map[string]any{"label": label}, alice).OK(t)
		}
		f.Write("transfer/self/key", map[string]any{"to": "self/crm"}, alice).OK(t)
		assert.Len(t, f.told(t, "user/e-alice/key"), 1)
		assert.Greater(t, len(f.told(t, "user/e-alice/crm")), 3)
	})
}

// A damaged entry hides no history, and a damaged history no last record.
func TestHistoryBesideDamage(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "org/acme/key")
		f.Write("connections/org/acme/key", map[string]any{"label": "one"}).OK(t)
		f.Write("connections/org/acme/key", map[string]any{"label": "two"}).OK(t)
		f.undecodable(t, "connection/org/acme/key")
		f.restart(t)
		assert.Len(t, f.told(t, "org/acme/key"), 2)

		f.key(t, "org/acme/other")
		f.undecodable(t, "history/"+aKeyOf(t, "org/acme/other").HistoryID())
		f.restart(t)
		assert.Len(t, f.told(t, "org/acme/other"), 1)
	})
}

// A connection goes when its last record is kept, and not before: creds would tell nobody by whom it was deleted.
func TestHistoryBeforeTheDeletion(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "org/acme/key")
		k := aKeyOf(t, "org/acme/key")
		var deletes atomic.Bool
		var kept atomic.Int32 // the first is of what was before it was marked as being deleted
		f.Storage.Judge(func(a testenv.Access) error {
			if a.Op == "delete" && a.Key == "connection/org/acme/key" {
				deletes.Store(true)
			}
			if a.Op == "put" && a.Key == "history/"+k.HistoryID() && kept.Add(1) > 1 {
				return errors.New("storage is full")
			}
			return nil
		})
		f.Delete("connections/org/acme/key", nil)
		f.Storage.Judge(nil)
		assert.Greater(t, kept.Load(), int32(1))
		assert.False(t, deletes.Load())
		conn, err := store.New(f.Storage).Connection(t.Context(), k)
		require.NoError(t, err)
		assert.NotNil(t, conn)
	})
}

// What was deleted lately keeps its history, and so does what storage does not tell of.
func TestTidyHistories(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.key(t, "org/acme/key")
	f.Delete("connections/org/acme/key", nil)
	is := "history/" + aKeyOf(t, "org/acme/key").HistoryID()
	require.NoError(t, f.engine().tidyHistories(t.Context()))
	assert.Len(t, f.stored(t, "history/"), 1)
	f.Advance(400 * 24 * time.Hour)
	f.Storage.Judge(func(a testenv.Access) error {
		if a.Op == "get" && a.Key == is {
			return errors.New("storage is away")
		}
		return nil
	})
	require.Error(t, f.engine().tidyHistories(t.Context()))
	f.Storage.Judge(nil)
	assert.Len(t, f.stored(t, "history/"), 1)
	require.NoError(t, f.engine().tidyHistories(t.Context()))
	assert.Empty(t, f.stored(t, "history/"))
}
