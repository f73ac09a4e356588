package backend

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

// aNotice is one of a provider's.
func aNotice(provider string, i int) store.Notice {
	id := fmt.Sprintf("%s-%d", provider, i)
	return store.Notice{
		ID: id, Time: time.Now(), Kind: store.NoticeNeedsReconnect, Provider: provider, ConnectionID: id,
		Connection: "org/acme/" + id, Changes: []store.Change{{Field: "refused", After: strings.Repeat("x", 60)}},
	}
}

// wholeLog reads the whole log, and asserts that its places rise without a gap and that no notice is in it twice.
func wholeLog(t *testing.T, n *noticeLog) (all []store.Notice) {
	t.Helper()
	all, _, _, err := n.read(context.Background(), 0, 1<<30, nil)
	require.NoError(t, err)
	seen := map[string]bool{}
	for i, l := range all {
		if i > 0 {
			assert.Equal(t, all[i-1].Seq+1, l.Seq)
		}
		assert.False(t, seen[l.ID], "%s is told twice", l.ID)
		seen[l.ID] = true
	}
	return all
}

func engineOf(e *testenv.Env) *backend { return e.Backend.(*backend) }

// heartbeat is Vault's, and what it begins.
func heartbeat(t *testing.T, e *testenv.Env) {
	t.Helper()
	_, err := e.Backend.HandleRequest(context.Background(), &logical.Request{
		Operation: logical.RollbackOperation, Storage: e.Storage,
	})
	require.NoError(t, err)
	time.Sleep(3 * time.Second)
}

// A hundred thousand in one minute cost a write a second and little memory; reads do not wait for them, nor for storage
// that hangs.
func TestManyNotices(t *testing.T) {
	bubbled(t, "at once", func(t *testing.T, e *testenv.Env) {
		b := engineOf(e)
		e.Write("config", map[string]any{"check_interval": 0}).OK(t) // nothing else is to happen in a day
		e.Write("connections/key", map[string]any{"provider": "openai", "api_key": openaiKey, "verify": false}).OK(t)
		time.Sleep(2 * time.Second)
		before := len(wholeLog(t, b.notices))
		e.Storage.Forget()
		const all, topics = 100_000, 4
		for i := range all {
			if b.notices.offer(aNotice(fmt.Sprint("p", i%topics), i)); i%(all/60) == 0 {
				time.Sleep(time.Second)
				e.Read("creds/key", nil).OK(t)
				pending, _ := b.notices.report()
				assert.LessOrEqual(t, pending, i+1)
			}
		}
		time.Sleep(foldTime + time.Minute)
		writes := 0
		for _, a := range e.Storage.History() {
			if a.WritesNotices() {
				writes++
			}
		}
		assert.Less(t, writes, 70)
		singles, counted := 0, 0
		for _, l := range wholeLog(t, b.notices)[before:] {
			if l.Count > 0 {
				counted += l.Count
				assert.False(t, l.Since.IsZero())
				assert.Empty(t, l.Connection)
			} else {
				singles++
			}
		}
		assert.Equal(t, topics*maxSingles, singles)
		assert.Equal(t, all, singles+counted)
		pending, more := b.notices.report()
		assert.Zero(t, pending)
		assert.Equal(t, counted, more)
		e.Storage.Forget()
		time.Sleep(24 * time.Hour)
		for _, a := range e.Storage.History() {
			assert.False(t, a.WritesNotices(), "an idle mount writes no notices")
		}
	})
}

// Storage that hangs and then refuses holds up nobody, and loses nothing: what waits is kept, and counted beyond that.
func TestNoticesWhileStorageHangs(t *testing.T) {
	bubbled(t, "hang", func(t *testing.T, e *testenv.Env) {
		b := engineOf(e)
		e.Storage.Hang(testenv.Access.WritesNotices, func(testenv.Access) { time.Sleep(time.Minute) })
		at := time.Now()
		e.Write("connections/key", map[string]any{"provider": "openai", "api_key": openaiKey, "verify": false}).OK(t)
		for i := range 2 * maxWaiting {
			b.notices.offer(aNotice(fmt.Sprint("p", i%20), i))
		}
		e.Read("creds/key", nil).OK(t)
		e.Write("connections/key", map[string]any{"disabled": true}).OK(t)
		assert.Zero(t, time.Since(at), "nobody waits")
		time.Sleep(10 * time.Minute)
		assert.True(t, e.Logs.Contains("notices could not be stored"))
		pending, _ := b.notices.report()
		assert.InDelta(t, 2*maxWaiting+2, pending, 20, "those that were counted are one in the queue by now")
		e.Storage.Hang(nil, nil)
		time.Sleep(foldTime + 5*time.Minute)
		total := 0
		for _, l := range wholeLog(t, b.notices) {
			total += max(l.Count, 1)
		}
		assert.Equal(t, 2*maxWaiting+2, total)
		assert.Positive(t, e.Storage.Landed(), "old writes landed late, and changed nothing")
		for _, l := range wholeLog(t, b.notices) {
			assert.Equal(t, 1, strings.Count(e.Logs.String(), `notice: {"seq":`+fmt.Sprint(l.Seq)+","), "one line of the log")
		}
	})
}

// A node that leads no more appends late, and after it the one that took its place: what that wrote stays, in order.
func TestNoticesAfterAFailover(t *testing.T) {
	bubbled(t, "failover", func(t *testing.T, e *testenv.Env) {
		old := engineOf(e)
		for i := range 10 {
			old.notices.offer(aNotice("before", i))
		}
		time.Sleep(2 * time.Second)
		release := make(chan struct{})
		var landed atomic.Int32
		var own atomic.Bool
		e.Storage.Hang(func(a testenv.Access) bool { return own.Load() && a.WritesNotices() }, func(testenv.Access) {
			<-release
			landed.Add(1)
		})
		own.Store(true)
		for i := range 10 {
			old.notices.offer(aNotice("late", i))
		}
		time.Sleep(2 * time.Second) // its write is under way
		e.System.SetReplication(consts.ReplicationPerformanceStandby)
		own.Store(false)
		next := testenv.InProcess(t, New(Options{}), e.Storage)
		for i := range 5 {
			engineOf(next).notices.offer(aNotice("next", i))
		}
		time.Sleep(10 * time.Second)
		before := wholeLog(t, engineOf(next).notices)
		require.Len(t, before, 15)
		close(release)
		time.Sleep(time.Second)
		require.Positive(t, landed.Load(), "the old write landed")
		assert.Equal(t, before, wholeLog(t, engineOf(next).notices))
		for i := range 5 {
			engineOf(next).notices.offer(aNotice("after", i))
		}
		time.Sleep(2 * time.Second)
		after := wholeLog(t, engineOf(next).notices)
		require.Len(t, after, 20)
		assert.Equal(t, before, after[:15])
		standby, _, _, err := old.notices.read(t.Context(), 0, 100, nil)
		require.NoError(t, err)
		assert.Equal(t, after, standby, "it reads what the other wrote")
	})
}

// The log is bounded; who comes too late is told how much they missed, to the notice.
func TestNoticesAreBounded(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	n, ctx := f.engine().notices, t.Context()
	const batches = 80
	for i := range batches {
		for j := range maxSingles {
			n.offer(aNotice(fmt.Sprint("p", i), j))
		}
		for pending, _ := n.report(); pending > 0; pending, _ = n.report() {
			_, err := n.append(ctx, false)
			require.NoError(t, err)
		}
	}
	size := 0
	for _, name := range f.stored(t, "notice/") {
		entry, err := f.Storage.Get(ctx, "notice/"+name)
		require.NoError(t, err)
		require.LessOrEqual(t, len(entry.Value), store.MaxEntry)
		size += len(entry.Value)
	}
	assert.Less(t, size, maxLog+2*maxChunk)
	assert.Greater(t, size, maxLog-2*maxChunk)
	all := wholeLog(t, n)
	last := all[len(all)-1].Seq
	require.GreaterOrEqual(t, last, uint64(batches*maxSingles))
	first := all[0].Seq
	found, at, dropped, err := n.read(ctx, 10, 5, nil)
	require.NoError(t, err)
	assert.Equal(t, first-11, dropped)
	assert.Equal(t, all[:5], found)
	assert.Equal(t, all[4].Seq, at)
	found, at, dropped, err = n.read(ctx, at, 5, func(l *store.Notice) bool { return l.Seq%1000 == 0 })
	require.NoError(t, err)
	assert.Zero(t, dropped)
	assert.Len(t, found, 5)
	assert.Equal(t, found[4].Seq, at)
	found, at, _, err = n.read(ctx, last, 5, nil)
	require.NoError(t, err)
	assert.Empty(t, found)
	assert.Equal(t, last, at)
	newest, err := n.newest(ctx)
	require.NoError(t, err)
	assert.Equal(t, last, newest)

	page := f.Read("notices", map[string]any{"cursor": "10", "limit": 2}).OK(t)
	assert.InDelta(t, first-11, number(page["dropped"]), 0)
	assert.Zero(t, number(f.Read("notices", nil).OK(t)["dropped"]), "nobody asked for what is gone")
	ahead := f.Read("notices", map[string]any{"cursor": "99999999"})
	assert.Equal(t, fmt.Sprint(last), ahead.OK(t)["cursor"])
	assert.Len(t, ahead.Warnings, 1)

	// A chunk that nobody can decode hides no other, and counts as dropped.
	log, _, err := f.engine().store.NoticeChunks(ctx)
	require.NoError(t, err)
	f.undecodable(t, "notice/"+log[1].String())
	found, _, dropped, err = n.read(ctx, first-1, 1<<30, nil)
	require.NoError(t, err)
	assert.Equal(t, log[2].First-log[1].First, dropped)
	assert.Len(t, found, len(all)-int(dropped))
	// Nor does one at the end: what comes then has places of its own.
	f.undecodable(t, "notice/"+log[len(log)-1].String())
	f.restart(t)
	f.engine().notices.offer(aNotice("after", 1))
	_, err = f.engine().notices.append(ctx, false)
	require.NoError(t, err)
	found, _, _, err = f.engine().notices.read(ctx, last, 10, nil)
	require.NoError(t, err)
	require.NotEmpty(t, found)
	assert.Equal(t, "after-1", found[len(found)-1].ID)
	// What a newer release wrote is not written over.
	f.restart(t)
	log, _, err = f.engine().store.NoticeChunks(ctx)
	require.NoError(t, err)
	require.NoError(t, f.Storage.Put(ctx, &logical.StorageEntry{
		Key: "notice/" + log[len(log)-1].String(), Value: []byte(`{"version":99}`),
	}))
	f.restart(t)
	f.engine().notices.offer(aNotice("never", 1))
	_, err = f.engine().notices.append(ctx, false)
	require.ErrorContains(t, err, "newer release")
	f.Read("notices", map[string]any{"cursor": fmt.Sprint(last)}).Refused(t, 500, "newer release")
}

// A follower is woken once what it waits for can be read.
func TestNoticesWakeFollowers(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	n := f.engine().notices
	woken := 0
	n.follow(func() { woken++ })
	f.Storage.Judge(func(a testenv.Access) error {
		if a.WritesNotices() {
			return testenv.ErrStorage
		}
		return nil
	})
	n.offer(aNotice("p", 1))
	_, err := n.append(t.Context(), false)
	require.Error(t, err)
	assert.Zero(t, woken)
	f.Storage.Judge(nil)
	_, err = n.append(t.Context(), false)
	require.NoError(t, err)
	assert.Equal(t, 1, woken)
	assert.True(t, slices.ContainsFunc(wholeLog(t, n), func(l store.Notice) bool { return l.ID == "p-1" }))
	var line store.Notice
	_, text, _ := strings.Cut(f.Logs.String(), "notice: ")
	text, _, _ = strings.Cut(text, "\n")
	require.NoError(t, json.Unmarshal([]byte(text), &line))
	assert.Equal(t, uint64(1), line.Seq)
}
