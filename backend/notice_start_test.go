package backend

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

// expected are the ids of what happened, by what storage has of it.
func expected(t *testing.T, e *testenv.Env) (ids []string) {
	t.Helper()
	s, ctx := store.New(e.Storage), t.Context()
	histories, err := s.Histories(ctx)
	require.NoError(t, err)
	add := func(k store.Key, r *store.Record) {
		for _, l := range store.NoticesOf(k, r) {
			if !slices.Contains(ids, l.ID) {
				ids = append(ids, l.ID)
			}
		}
	}
	for _, id := range histories {
		h, err := s.HistoryByID(ctx, id)
		require.NoError(t, err)
		k, err := store.ParseKey(h.Key)
		require.NoError(t, err)
		for _, r := range h.Records {
			add(k, &r)
		}
	}
	require.NoError(t, s.EachKey(ctx, func(k store.Key) {
		c, err := s.Connection(ctx, k)
		require.NoError(t, err)
		add(k, c.Record)
	}))
	config, err := s.Config(ctx)
	require.NoError(t, err)
	for _, l := range config.Notices {
		ids = append(ids, l.ID)
	}
	p, err := s.Provider(ctx, "openai")
	require.NoError(t, err)
	for _, l := range p.Notices {
		ids = append(ids, l.ID)
	}
	return ids
}

// Wherever a process ends, at whichever write, each transition that storage has is told exactly once in the end: by it,
// or by the next. The writes of the log itself are among those.
func TestNoticesSurviveACrashAtEachWrite(t *testing.T) {
	ended := false
	for n := 1; !ended; n++ {
		require.Less(t, n, 60)
		bubbled(t, fmt.Sprint("write ", n), func(t *testing.T, e *testenv.Env) {
			e.Write("config", map[string]any{"check_interval": 0}).OK(t) // nothing else is to happen
			time.Sleep(time.Minute)
			var writes atomic.Int32
			refuses := func(a testenv.Access) error {
				if a.Op != "put" && a.Op != "delete" {
					return nil
				}
				if int(writes.Add(1)) >= n {
					return testenv.ErrStorage
				}
				return nil
			}
			e.Storage.Judge(refuses)
			key := map[string]any{"provider": "openai", "api_key": openaiKey, "verify": false}
			steps := []func(){
				func() { e.Write("connections/one", key) },
				func() { e.Write("connections/one", map[string]any{"disabled": true}) },
				func() { e.Write("connections/one", map[string]any{"label": "not worth a notice"}) },
				func() { time.Sleep(1100 * time.Millisecond) },
				func() { e.Write("connections/one", map[string]any{"disabled": false}) },
				func() { e.Write("connections/two", key) },
				func() {
					e.Write("transfer/two", map[string]any{"to": "org/default/three"})
				},
				func() { e.Delete("connections/one", nil) },
				func() { e.Write("providers/openai", map[string]any{"frozen": true}) },
				func() { e.Write("config", map[string]any{"frozen_owners": "org/acme,org/beta"}) },
			}
			for _, step := range steps {
				step()
			}
			ended = int(writes.Load()) < n
			ends(e)
			e.Storage.Judge(func(testenv.Access) error { return nil })
			for range 2 { // a crash once more, while it catches up
				e.Storage.Judge(nil)
				next := testenv.InProcess(t, New(Options{}), e.Storage)
				heartbeat(t, next)
				heartbeat(t, next)
				var ids []string
				for _, l := range wholeLog(t, engineOf(next).notices) {
					ids = append(ids, l.ID)
				}
				assert.ElementsMatch(t, expected(t, next), ids)
				ends(next)
			}
		})
	}
}

// ends lets a process do nothing more, as if it were gone.
func ends(e *testenv.Env) {
	e.System.SetReplication(consts.ReplicationPerformanceStandby)
	engineOf(e).mayWrite()
}

// What was counted before a crash is not told again one by one, and what was not is counted after it.
func TestNoticesAreCountedOverACrash(t *testing.T) {
	for _, stored := range []bool{false, true} {
		bubbled(t, fmt.Sprint("count stored ", stored), func(t *testing.T, e *testenv.Env) {
			time.Sleep(time.Minute)
			b := engineOf(e)
			const all = 3000
			conns := map[store.Key]*store.Connection{}
			for i := range all {
				c := &store.Connection{ID: fmt.Sprint("c", i), Provider: "openai", Record: &store.Record{
					ID: fmt.Sprint("c", i), N: 1, By: store.Actor{Time: time.Now()}, Provider: "openai",
					Tells: []store.Transition{{Kind: store.NoticeNeedsReconnect, Reason: "grant_refused"}},
				}}
				k := aKey(fmt.Sprint("c", i))
				conns[k] = c
				b.tellRecord(k, c.Record)
			}
			if time.Sleep(10 * time.Second); stored {
				time.Sleep(foldTime + time.Second)
			}
			e.System.SetReplication(consts.ReplicationPerformanceStandby)
			next := testenv.InProcess(t, New(Options{}), e.Storage)
			n := engineOf(next).notices
			require.NoError(t, n.start(t.Context()))
			for k, c := range conns {
				n.found(k, c)
			}
			require.NoError(t, n.catchUp(t.Context()))
			heartbeat(t, next)
			time.Sleep(foldTime + time.Minute)
			singles, counted := 0, 0
			for _, l := range wholeLog(t, n) {
				if l.Count > 0 {
					counted += l.Count
				} else {
					singles++
				}
			}
			assert.Equal(t, maxSingles, singles)
			assert.Equal(t, all-maxSingles, counted)
		})
	}
}

// Of an older release's mount nothing old is told, and where the log was read nothing old is looked at.
func TestOldRecordsAreNotTold(t *testing.T) {
	bubbled(t, "old", func(t *testing.T, e *testenv.Env) {
		e.Write("connections/one", map[string]any{"provider": "openai", "api_key": openaiKey, "verify": false}).OK(t)
		time.Sleep(time.Hour)
		for _, name := range mustList(t, e, "notice/") {
			require.NoError(t, e.Storage.Delete(t.Context(), "notice/"+name))
		}
		e.System.SetReplication(consts.ReplicationPerformanceStandby)
		next := testenv.InProcess(t, New(Options{}), e.Storage)
		heartbeat(t, next)
		heartbeat(t, next)
		assert.Empty(t, wholeLog(t, engineOf(next).notices))
		assert.False(t, engineOf(next).notices.isCatching(), "it has told what was to be told")
		next.Write("connections/one", map[string]any{"disabled": true}).OK(t)
		time.Sleep(2 * time.Second)
		assert.Len(t, wholeLog(t, engineOf(next).notices), 1)
	})
}

// A standby tells nothing, and keeps nothing for it.
func TestNoticesOnAStandby(t *testing.T) {
	bubbled(t, "standby", func(t *testing.T, e *testenv.Env) {
		e.Write("connections/one", map[string]any{"provider": "openai", "api_key": openaiKey, "verify": false}).OK(t)
		time.Sleep(2 * time.Second)
		standby := testenv.InProcess(t, New(Options{}), e.Storage)
		standby.System.SetReplication(consts.ReplicationPerformanceStandby)
		e.Storage.Forget()
		heartbeat(t, standby)
		for _, a := range e.Storage.History() {
			assert.False(t, a.WritesNotices())
		}
		assert.Len(t, standby.Read("notices", nil).OK(t)["notices"], 1)
	})
}

func mustList(t *testing.T, e *testenv.Env, prefix string) []string {
	t.Helper()
	names, err := e.Storage.List(t.Context(), prefix)
	require.NoError(t, err)
	return names
}
