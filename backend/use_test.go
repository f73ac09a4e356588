package backend

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

// isKept reports whether a start is over, as far as use goes.
func (u *uses) isKept() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.kept
}

// readersOf tells who read a connection, as entity or display name and day, the latest first.
func (f *fixture) readersOf(t *testing.T, path string, as ...testenv.Caller) (readers []string) {
	t.Helper()
	for _, r := range asClient(t, f.Read("connections/"+path, nil, as...).OK(t))["readers"].([]any) {
		reader := r.(map[string]any)
		readers = append(readers, fmt.Sprint(reader["entity_id"], " ", reader["display_name"], " ", reader["last_used"]))
	}
	return readers
}

// asUnread is metadata without who read the credential, which is noted a moment after it was.
func asUnread(metadata map[string]any) map[string]any {
	rest := maps.Clone(metadata)
	delete(rest, "last_used")
	delete(rest, "readers")
	return rest
}

// reads reads a credential, and waits until that is noted.
func (f *fixture) reads(t *testing.T, path string, as ...testenv.Caller) {
	t.Helper()
	f.Read("creds/"+path, nil, as...).OK(t)
	var req logical.Request
	for _, who := range append([]testenv.Caller{testenv.Root}, as...) {
		who(&req)
	}
	noted := fmt.Sprint(req.EntityID, " ", req.DisplayName, " ", f.Now().Format(time.DateOnly))
	require.Eventually(t, func() bool {
		return slices.Contains(f.readersOf(t, strings.TrimPrefix(path, "shared/"), alice), noted) // hers is what is private
	}, time.Minute, time.Millisecond)
}

func TestUse(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.key(t, "key")
		f.key(t, "stopped")
		f.Write("connections/stopped", map[string]any{"disabled": true}).OK(t)
		f.System.AddEntity("e-alice")
		f.System.AddEntity("e-bob")
		f.connect(t, "self/slack", alice)
		f.Write("shares/self/slack", map[string]any{"entities": "e-bob"}, alice).OK(t)
		for _, path := range []string{"slack", "key", "user/e-alice/slack"} {
			data := f.Read("connections/"+path, nil, alice).OK(t)
			assert.Empty(t, data["last_used"], path)
			assert.Empty(t, data["readers"], path)
		}
		f.reads(t, "slack")
		f.Advance(24 * time.Hour)
		f.reads(t, "slack", alice)
		require.Eventually(t, func() bool { return len(f.readersOf(t, "slack")) == 2 }, time.Minute, time.Millisecond)
		assert.Equal(t, []string{"e-alice userpass-e-alice 2026-03-02", " root 2026-03-01"}, f.readersOf(t, "slack"))

		f.reads(t, "shared/user/e-alice/slack", bob)
		const private = "user/e-alice/slack"
		assert.Equal(t, []string{"e-bob userpass-e-bob 2026-03-02"}, f.readersOf(t, private, alice))
		assert.Empty(t, f.readersOf(t, private), "by whom a private connection was read is its owner's to know")
		assert.Empty(t, f.readersOf(t, private, bob))

		f.Read("creds/stopped", nil).Refused(t, http.StatusForbidden)
		f.Read("creds/key", map[string]any{"provider": "acme"}).Refused(t, http.StatusConflict)
		f.Read("creds/key", map[string]any{"include": "nothing"}).Refused(t, http.StatusBadRequest)
		f.Write("check/slack", nil).OK(t)
		f.reads(t, "slack", bob) // whatever came before is noted
		used := map[string]any{}
		for _, row := range asClient(t, f.Read("inventory", nil).OK(t))["connections"].([]any) {
			row := row.(map[string]any)
			used[row["path"].(string)] = row["last_used"]
			assert.NotContains(t, row, "readers")
		}
		assert.Equal(t, map[string]any{
			"org/default/slack": "2026-03-02", "org/default/key": "", "org/default/stopped": "", private: "2026-03-02",
		}, used, "a read that failed is no use")
	})
}

// unused gives the rows that nobody read for so long, and what is warned of.
func (f *fixture) unused(t *testing.T, days int) (paths, warnings []string) {
	t.Helper()
	r := f.Read("inventory", map[string]any{"unused_for": fmt.Sprintf("%dh", 24*days)})
	return rowsOnly(t, r), r.Warnings
}

// The last day counts whole, the day on which a connection was made too.
func TestUnusedFor(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "never")
		f.key(t, "used")
		f.Advance(9*24*time.Hour + 11*time.Hour) // the 10th, 23:00
		f.reads(t, "used")
		f.key(t, "young")
		is := func(days int, want ...string) {
			t.Helper()
			rows, warnings := f.unused(t, days)
			var paths []string
			for _, name := range want {
				paths = append(paths, "org/default/"+name)
			}
			assert.Equal(t, paths, rows, days)
			assert.Empty(t, warnings)
		}
		is(8, "never")
		_, warnings := f.unused(t, 10)
		assert.Contains(t, fmt.Sprint(warnings), "use is noted since 2026-03-01T")
		f.Advance(24 * time.Hour) // the 11th, 23:00
		is(1, "never")
		f.Advance(time.Hour)
		is(1, "never", "used", "young")
		is(2, "never")
		f.reads(t, "never")
		is(1, "used", "young")
		counts := f.Read("inventory", map[string]any{"unused_for": "24h", "count_by": "provider"}).OK(t)
		assert.InDelta(t, 2, number(counts["total"]), 0)
	})
}

// A plan ends nothing that was read since.
func TestRevokeWhatIsUnused(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "one")
		f.key(t, "two")
		f.Advance(30 * 24 * time.Hour)
		f.reads(t, "two")
		f.Write("revoke", map[string]any{"unused_for": 0}).Refused(t, http.StatusBadRequest, "unused_for is empty")
		f.key(t, "three")
		f.Advance(20 * 24 * time.Hour)
		plan := f.Write("revoke", map[string]any{"unused_for": "240h"}).OK(t)
		require.InDelta(t, 3, number(plan["count"]), 0)
		assert.InDelta(t, 240*3600, number(members(t, plan["filters"])["unused_for"]), 0)
		f.reads(t, "two")
		job := "revoke/" + plan["job"].(string)
		f.Write(job, map[string]any{"run": true, "expect": 3}).OK(t)
		require.Eventually(t, func() bool {
			f.periodic(t) // time was moved past what was due, and the worker sleeps
			return f.Read(job, nil).OK(t)["state"] == "done"
		}, time.Minute, 5*time.Millisecond)
		f.Read("creds/two", nil).OK(t)
		assert.InDelta(t, 1, number(members(t, f.Read(job, nil).OK(t)["outcomes"])["changed"]), 0)
		for _, ended := range []string{"one", "three"} {
			assert.GreaterOrEqual(t, f.Read("creds/"+ended, nil).Status, 400, ended)
		}
	})
}

// Where config says so nothing is noted, and nothing is known of what was read meanwhile.
func TestUseIsNotTracked(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "key")
		f.reads(t, "key")
		assert.Equal(t, true, f.Read("config", nil).OK(t)["track_use"])
		f.Write("config", map[string]any{"track_use": false}).OK(t)
		before := f.stored(t, "use/")
		f.Read("creds/key", nil, alice).OK(t)
		f.Advance(30 * 24 * time.Hour)
		f.Read("creds/key", nil, bob).OK(t)
		data := f.Read("connections/key", nil).OK(t)
		assert.Empty(t, data["last_used"])
		assert.Empty(t, data["readers"])
		for _, send := range []func() testenv.Result{
			func() testenv.Result { return f.Read("inventory", map[string]any{"unused_for": "24h"}) },
			func() testenv.Result { return f.Write("revoke", map[string]any{"unused_for": "24h"}) },
		} {
			send().Refused(t, http.StatusBadRequest, "track_use on config is false")
		}
		row := asClient(t, f.Read("inventory", nil).OK(t))["connections"].([]any)[0].(map[string]any)
		assert.Empty(t, row["last_used"])
		f.Stop()
		assert.Equal(t, before, f.stored(t, "use/"), "nothing is written, and what was noted is forgotten")
		f.restart(t)
		f.System.SetReplication(0)
		assert.Equal(t, false, f.Read("config", nil).OK(t)["track_use"])
		f.Write("config", map[string]any{"track_use": true}).OK(t)
		rows, warnings := f.unused(t, 7)
		assert.Empty(t, rows, "it may have been read meanwhile")
		assert.Contains(t, fmt.Sprint(warnings), "use is noted since 2026-03-31")
		f.Advance(8 * 24 * time.Hour)
		rows, _ = f.unused(t, 7)
		assert.Equal(t, []string{"org/default/key"}, rows)
	})
}

// A standby serves what lives, and cannot write. It says so.
func TestUseOnAStandby(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "key")
		f.Advance(30 * 24 * time.Hour)
		f.restart(t)
		f.System.SetReplication(consts.ReplicationPerformanceStandby)
		f.periodic(t) // it asks Vault
		f.Storage.Forget()
		f.Read("creds/key", nil).OK(t)
		var values scraped
		require.Eventually(t, func() bool {
			values, _ = f.scrape(t)
			return values[`connectors_use_dropped_total{class="standby"}`] == 1
		}, time.Minute, time.Millisecond)
		values.has(t, scraped{`connectors_use_dropped_total{class="full"}`: 0})
		_, warnings := f.unused(t, 7)
		assert.Contains(t, fmt.Sprint(warnings), "this node may not write, so it notes no reads")
		f.Stop()
		assert.Zero(t, f.Storage.Writes())
		for _, a := range f.Storage.History() {
			assert.False(t, a.Write(), a)
		}
	})
}

// Of an edition whose standbys serve reads nobody knows whether they do.
func TestUseWhereStandbysServe(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "key")
		f.Advance(30 * 24 * time.Hour)
		_, warnings := f.unused(t, 7)
		assert.Empty(t, warnings)
		f.System.SetEdition("ent.hsm")
		_, warnings = f.unused(t, 7)
		assert.Contains(t, fmt.Sprint(warnings), "standbys and secondaries of this Vault serve reads too")
		r := f.Write("revoke", map[string]any{"unused_for": "24h"})
		r.OK(t)
		assert.Contains(t, fmt.Sprint(r.Warnings), "standbys and secondaries of this Vault serve reads too")
	})
}

// Whatever becomes of what was read, no reader waits for it: what is too much is dropped, and counted.
func TestUseThatNobodyTakes(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.key(t, "key")
	u := f.engine().uses
	const readers, each = 1000, 3
	u.mu.Lock() // whoever notes waits for it
	var crowd sync.WaitGroup
	for i := range readers {
		crowd.Go(func() {
			for n := range each {
				f.Read("creds/key", nil, testenv.Entity(fmt.Sprintf("e-%d-%d", i, n))).OK(t)
			}
		})
	}
	crowd.Wait()
	offered := u.dropped.Load()
	u.mu.Unlock()
	assert.InDelta(t, readers*each-maxOffered, float64(offered), 2, "but for what is held, and what is being noted")
	values, _ := f.scrape(t)
	values.has(t, scraped{
		`connectors_use_dropped_total{class="full"}`: float64(offered),
		`connectors_reads_total{outcome="served"}`:   readers * each,
	})
	_, warnings := f.unused(t, 1)
	assert.Contains(t, fmt.Sprint(warnings), "some reads were not noted, as too many came at once")
	require.Eventually(t, func() bool { return len(u.offered) == 0 }, time.Minute, time.Millisecond)
	assert.Len(t, f.readersOf(t, "key"), store.MaxReaders)
	f.Read("creds/key", nil, testenv.Entity("e-999-2")).OK(t)
	assert.Equal(t, offered, u.dropped.Load(), "what was dropped is offered again by the next read")
}

// Who reads again on a day costs the one who notes nothing.
func TestReadingsAreOfferedOnce(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.key(t, "key")
	u := f.engine().uses
	f.reads(t, "key")
	f.reads(t, "key", alice)
	u.mu.Lock()
	for range 100 {
		f.Read("creds/key", nil).OK(t)
		f.Read("creds/key", nil, alice).OK(t)
	}
	assert.Empty(t, u.offered)
	f.Read("creds/key", nil, bob).OK(t)
	u.mu.Unlock()
	require.Eventually(t, func() bool { return len(f.readersOf(t, "key")) == 3 }, time.Minute, time.Millisecond)
	u.mu.Lock()
	f.Advance(24 * time.Hour)
	for range 3 {
		f.Read("creds/key", nil).OK(t)
		f.Read("creds/key", nil, alice).OK(t)
	}
	assert.LessOrEqual(t, len(u.offered), 2, "each once on another day")
	u.mu.Unlock()
}

// The record of a connection fits where it is.
func TestRecordIsSmall(t *testing.T) {
	assert.LessOrEqual(t, unsafe.Sizeof(record{}), uintptr(128), "which is a size that Go allocates")
}

// What the read of a credential costs for it.
func BenchmarkOffer(b *testing.B) {
	f := newFixture(b, Options{}, testenv.InProcess)
	c := &store.Connection{ID: "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
	u, k := f.engine().uses, aKey("key")
	who := caller{entity: "e-alice", display: "userpass-alice"}
	b.Run("seen today", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			u.offer(who, k, c)
		}
	})
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			u.seen.marks.Load()[0].Store(0)
			c.ID = fmt.Sprint(b.N)
			u.offer(who, k, c)
		}
	})
}
