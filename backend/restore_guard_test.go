package backend

import (
	"net/http"
	"slices"
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
)

const guardTime = 24 * time.Hour

// snapshot is a copy of what storage holds now.
func (f *fixture) snapshot(t *testing.T) *testenv.Storage {
	t.Helper()
	copied := &testenv.Storage{}
	keys, err := logical.CollectKeys(t.Context(), f.Storage)
	require.NoError(t, err)
	for _, key := range keys {
		entry, err := f.Storage.Get(t.Context(), key)
		require.NoError(t, err)
		require.NoError(t, copied.Put(t.Context(), entry))
	}
	return copied
}

// restores mounts the engine on a snapshot. The former process is gone.
func (f *fixture) restores(t *testing.T, s *testenv.Storage) {
	t.Helper()
	f.System.SetReplication(consts.ReplicationPerformanceStandby)
	f.Stop()
	f.Env = f.mount(t, s)
}

func (f *fixture) guarded(t *testing.T) {
	t.Helper()
	f.Write("config", map[string]any{"restore_guard": guardTime.String()}).OK(t)
}

// status is what it says of the guard.
func (f *fixture) guardStatus(t *testing.T) []any {
	t.Helper()
	s := f.Read("status", nil).OK(t)
	return []any{s["refresh_paused"], s["refresh_paused_reason"], number(s["restored_gap"]), s["restored_gap_since"]}
}

// becomesStatus waits until the guard says so: it judges while requests are served.
func (f *fixture) becomesStatus(t *testing.T, paused bool, reason string, gap time.Duration, since string) {
	t.Helper()
	want := []any{paused, reason, gap.Seconds(), since}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.Equal(c, want, f.guardStatus(t))
	}, time.Minute, time.Millisecond)
}

// lives lets minutes pass for the background, each with a heartbeat of Vault's.
func (f *fixture) lives(t *testing.T, minutes int) {
	t.Helper()
	for range minutes {
		f.Advance(time.Minute)
		f.periodic(t)
		if b, ok := f.Backend.(*backend); ok {
			require.Eventually(t, func() bool { return !b.beating.Load() && b.refresher.InFlight() == 0 }, time.Minute,
				time.Millisecond)
		}
	}
}

// beats waits until the heartbeat in storage is of now.
func (f *fixture) beatsNow(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		beat, err := store.New(f.Storage).Heartbeat(t.Context())
		return err == nil && beat != nil && beat.Time.Equal(f.Now())
	}, time.Minute, time.Millisecond)
}

func (f *fixture) beatNow(t *testing.T) string {
	t.Helper()
	beat, err := store.New(f.Storage).Heartbeat(t.Context())
	require.NoError(t, err)
	require.NotNil(t, beat)
	return rfc3339(beat.Time)
}

// A restored snapshot spends nothing that may have been spent since, until an operator says that it may.
func TestRestoredSnapshotPausesItself(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.allowApp(t)
		f.guarded(t)
		f.connect(t, "x")
		f.Write("connections/app", map[string]any{"provider": "acme", "kind": "client_credentials"}).OK(t)
		taken, since := f.snapshot(t), f.beatNow(t)
		f.Advance(guardTime + time.Hour)
		f.Read("creds/x", nil).OK(t)
		spent := f.spent()

		f.restores(t, taken)
		f.becomesStatus(t, true, "restore_suspected", guardTime+time.Hour, since)
		f.beatsNow(t)
		f.Read("creds/x", nil).Refused(t, http.StatusConflict, "restore_suspected", "refresh_paused=false")
		f.Write("refresh/x", nil).Refused(t, http.StatusConflict, "restore_suspected")
		f.Write("connections/y", map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}).
			Refused(t, http.StatusConflict, "restore_suspected")
		assert.NotEmpty(t, f.token(t, "app"), "what cannot rotate is had anew")
		f.lives(t, 3)
		assert.Equal(t, spent, f.spent())
		config := f.Read("config", nil).OK(t)
		assert.Equal(t, []any{true, "restore_suspected", guardTime.Seconds()}, []any{
			config["refresh_paused"], config["refresh_paused_reason"], number(config["restore_guard"]),
		})
		assert.True(t, f.Logs.Contains("may be a restored snapshot"))

		f.Write("config", map[string]any{"poll_interval": "3m"}).OK(t) // of something else
		f.restart(t)
		f.becomesStatus(t, true, "restore_suspected", guardTime+time.Hour, since)
		f.Read("creds/x", nil).Refused(t, http.StatusConflict, "restore_suspected")

		f.Write("config", map[string]any{"refresh_paused": false}).OK(t)
		f.becomesStatus(t, false, "", guardTime+time.Hour, since)
		f.Write("refresh/x", nil)
		assert.Equal(t, spent+1, f.spent())
		f.restart(t)
		f.becomesStatus(t, false, "", guardTime+time.Hour, since)
		f.Advance(gapTold)
		f.becomesStatus(t, false, "", 0, "")
	})
}

// unfinished leaves what each start carries on with: a renewal, an import, a deletion, a move, an end, a job, and a
// flow on another device.
func (f *fixture) unfinished(t *testing.T) (job string) {
	t.Helper()
	f.allowDevices(t)
	for _, name := range []string{"cut", "deleted", "moved", "ended", "job"} {
		f.connect(t, name)
	}
	s := store.New(f.Storage)
	f.device(t, "tv", nil)
	job, _ = f.plan(t, map[string]any{"all": true})
	entry, err := s.Job(t.Context(), strings.TrimPrefix(job, "revoke/"))
	require.NoError(t, err)
	entry.Ran = store.Actor{DisplayName: "root", Time: f.Now()}
	require.NoError(t, s.PutJob(t.Context(), entry))
	change := func(name string, change func(*store.Connection)) {
		c, err := s.Connection(t.Context(), aKey(name))
		require.NoError(t, err)
		change(c)
		c.Serial++
		require.NoError(t, s.PutConnection(t.Context(), aKey(name), c))
	}
	change("deleted", func(c *store.Connection) { c.Deleting = f.Now() })
	change("moved", func(c *store.Connection) { c.Moving = store.Moving{To: aKey("there").String(), Since: f.Now()} })
	change("ended", func(c *store.Connection) {
		c.BeginEnd(store.Ending{Job: "gone", By: store.Actor{Time: f.Now()}})
	})
	cut, err := s.Connection(t.Context(), aKey("cut"))
	require.NoError(t, err)
	require.NoError(t, s.PutIntent(t.Context(), aKey("cut"), &store.Intent{
		Key: aKey("cut").String(), Generation: cut.Generation, Time: f.Now(),
	}))
	f.crashed(t, "imported", map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)})
	return job
}

// Nothing that was begun goes on in storage that may be a restored snapshot, nor behind the fence: the mount that it is
// from goes on with the same.
func TestNothingIsCarriedOnAfterARestore(t *testing.T) {
	for name, o := range map[string]Options{"guarded": {}, "behind the fence": {Paused: true}} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, Options{}, testenv.InProcess)
			f.guarded(t)
			job := f.unfinished(t)
			taken := f.snapshot(t)
			f.Advance(guardTime + time.Hour)
			if o.Paused { // a snapshot of a minute ago
				f.Advance(-guardTime)
			}
			o.Now, o.Resolver = f.Now, noNames
			f.mount = func(tb testing.TB, s *testenv.Storage) *testenv.Env { return testenv.InProcess(tb, New(o), s) }
			f.Env = f.mount(t, taken)
			require.Eventually(t, func() bool {
				return f.Read("status", nil).OK(t)["refresh_paused"] == true && f.engine().recovered.Load()
			}, time.Minute, time.Millisecond)
			calls := f.calls()
			trials := f.stored(t, "import/")
			f.lives(t, 8)
			assert.Equal(t, calls, f.calls(), "nobody was asked anything")
			assert.Equal(t, trials, f.stored(t, "import/"))
			names := f.stored(t, "connection/org/default/")
			assert.NotContains(t, names, "there")
			assert.Contains(t, names, "deleted")
			assert.Equal(t, "disabled revoking", f.state(t, "ended"))
			assert.Equal(t, "active ", f.state(t, "job"))
			assert.Equal(t, "waiting", f.Read(job, nil).OK(t)["state"])
			assert.Len(t, f.stored(t, "wal/"), 1)
			if o.Paused {
				return
			}
			f.Write("config", map[string]any{"refresh_paused": false}).OK(t)
			f.passes(t, time.Minute, func() bool {
				names := f.stored(t, "connection/org/default/")
				return !slices.Contains(names, "deleted") && slices.Contains(names, "there") &&
					f.state(t, "ended") == "needs_reconnect revoked" && len(f.stored(t, "wal/")) == 0
			})
			assert.Greater(t, f.calls(), calls)
		})
	}
}

// A gap is told whether anybody set a guard or not. Without one nothing depends on it.
func TestGapsAreTold(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "x") // which no former process refreshes meanwhile
		f.becomesStatus(t, false, "", 0, "")
		f.Advance(leastGap) // as after a crash, and a restart
		f.restart(t)
		f.beatsNow(t)
		f.becomesStatus(t, false, "", 0, "")
		since := f.beatNow(t)
		f.Advance(30 * 24 * time.Hour)
		f.restart(t)
		f.becomesStatus(t, false, "", 30*24*time.Hour, since)
		f.Read("creds/x", nil).OK(t)
		assert.True(t, f.Logs.Contains("nobody was at work on this storage for a while"))
	})
}

// One write an hour, and one at a clean stop.
func TestHeartbeats(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	beats := func() (n int) {
		for _, a := range f.Storage.History() {
			if a.Write() && a.Key == "heartbeat" {
				n++
			}
		}
		return n
	}
	require.Equal(t, 1, beats())
	f.lives(t, 59)
	assert.Equal(t, 1, beats())
	f.lives(t, 1)
	assert.Equal(t, 2, beats())
	f.lives(t, 60)
	assert.Equal(t, 3, beats())
	f.Advance(50 * time.Minute)
	f.Storage.Judge(func(a testenv.Access) error {
		if a.Key == "heartbeat" {
			return testenv.ErrStorage
		}
		return nil
	})
	f.lives(t, 12)
	assert.NotEqual(t, rfc3339(f.Now()), f.beatBefore(t))
	f.Storage.Judge(nil)
	f.lives(t, 1)
	assert.Equal(t, rfc3339(f.Now()), f.beatNow(t), "what storage refuses is written a minute later")
	f.Advance(20 * time.Minute)
	f.Stop()
	assert.Equal(t, rfc3339(f.Now()), f.beatNow(t), "a clean stop writes it")
}

// beatBefore reads the heartbeat though storage refuses that.
func (f *fixture) beatBefore(t *testing.T) string {
	t.Helper()
	beat := f.engine().guard.seen.Load()
	require.NotNil(t, beat)
	return rfc3339(beat.Time)
}

// What nobody could judge yet is guarded like what is suspicious; and without a guard nothing waits for it.
func TestHeartbeatThatCannotBeRead(t *testing.T) {
	refuse := func(s *testenv.Storage) {
		s.Judge(func(a testenv.Access) error {
			if a.Key == "heartbeat" {
				return testenv.ErrStorage
			}
			return nil
		})
	}
	each(t, func(t *testing.T, f *fixture) {
		f.guarded(t)
		f.connect(t, "x")
		f.connect(t, "alive")
		f.endsItsWork(t)
		f.Advance(50 * time.Minute) // in its margin
		refuse(f.Storage)
		f.restart(t)
		f.Read("creds/alive", nil).OK(t)
		f.Advance(11 * time.Minute)
		f.Read("creds/x", nil).Refused(t, http.StatusConflict, "restore_unknown")
		f.lives(t, 2)
		assert.Zero(t, f.spent())
		f.becomesStatus(t, true, "restore_unknown", 0, "")
		f.Storage.Judge(nil)
		f.passes(t, time.Minute, func() bool { return f.Read("creds/x", nil).Status == http.StatusOK })
		f.becomesStatus(t, false, "", 0, "")
	})
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "x")
		f.endsItsWork(t)
		refuse(f.Storage)
		f.Advance(61 * time.Minute)
		f.restart(t)
		f.Read("creds/x", nil).OK(t)
		assert.Equal(t, 1, f.spent())
	})
}

// What storage does not take into config holds in memory, and is told; each write of the judgement may fail.
func TestPauseThatStorageRefuses(t *testing.T) {
	for _, key := range []string{"config", "heartbeat"} {
		for _, how := range []string{"lifted", "healed"} {
			t.Run(key+" "+how, func(t *testing.T) {
				f := newFixture(t, Options{}, testenv.InProcess)
				f.guarded(t)
				f.connect(t, "x")
				taken := f.snapshot(t)
				f.endsItsWork(t)
				f.Advance(2 * guardTime)
				taken.Judge(func(a testenv.Access) error {
					if a.Write() && a.Key == key {
						return testenv.ErrStorage
					}
					return nil
				})
				f.restores(t, taken)
				require.Eventually(t, func() bool {
					return f.Read("status", nil).OK(t)["refresh_paused_reason"] == "restore_suspected"
				}, time.Minute, time.Millisecond)
				f.lives(t, 2)
				assert.Equal(t, true, f.Read("config", nil).OK(t)["refresh_paused"])
				assert.NotZero(t, number(f.Read("status", nil).OK(t)["restored_gap"]))
				f.Read("creds/x", nil).Refused(t, http.StatusConflict, "restore_suspected")
				assert.Zero(t, f.spent())
				taken.Judge(nil)
				if how == "lifted" {
					f.Write("config", map[string]any{"refresh_paused": false}).OK(t)
					f.lives(t, 2)
					f.Read("creds/x", nil).OK(t)
					assert.Equal(t, false, f.Read("config", nil).OK(t)["refresh_paused"])
					return
				}
				f.lives(t, 2)
				assert.Equal(t, rfc3339(f.Now().Add(-time.Minute)), f.beatNow(t))
				f.restart(t)
				f.lives(t, 1)
				f.Read("creds/x", nil).Refused(t, http.StatusConflict, "restore_suspected")
			})
		}
	}
}

// A heartbeat that lies ahead, or that nobody can decode, tells nothing of how old storage is.
func TestHeartbeatsThatTellNothing(t *testing.T) {
	damage := func(t *testing.T, f *fixture) { f.undecodable(t, "heartbeat") }
	longer := func(_ *testing.T, f *fixture) { f.Advance(guardTime + time.Second) }
	for name, c := range map[string]struct {
		alter func(t *testing.T, f *fixture)
		guard time.Duration
		held  bool
	}{
		"ahead":                           {func(_ *testing.T, f *fixture) { f.Advance(-time.Hour) }, guardTime, true},
		"ahead, and nobody set a guard":   {func(_ *testing.T, f *fixture) { f.Advance(-time.Hour) }, 0, false},
		"ahead by what clocks differ":     {func(_ *testing.T, f *fixture) { f.Advance(-mostAhead) }, guardTime, false},
		"damaged":                         {damage, guardTime, true},
		"damaged, and nobody set a guard": {damage, 0, false},
		"of a release that wrote none": {func(t *testing.T, f *fixture) {
			require.NoError(t, f.Storage.Delete(t.Context(), "heartbeat"))
			f.Advance(2 * guardTime)
		}, guardTime, false},
		"as long ago as the guard says": {func(_ *testing.T, f *fixture) { f.Advance(guardTime) }, guardTime, false},
		"longer":                        {longer, guardTime, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, Options{}, testenv.InProcess)
			f.Write("config", map[string]any{"restore_guard": c.guard.String()}).OK(t)
			f.System.SetReplication(consts.ReplicationPerformanceStandby) // it leaves no other
			f.Stop()
			c.alter(t, f)
			f.Env = f.mount(t, f.Storage)
			require.Eventually(t, func() bool { return f.engine().guard.isJudged() }, time.Minute, time.Millisecond)
			assert.Equal(t, c.held, f.Read("status", nil).OK(t)["refresh_paused"])
			f.beatsNow(t)
		})
	}
}

// A standby writes and judges nothing. When it leads it judges anew: by the heartbeat of its own cluster.
func TestHeartbeatOfAStandby(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.guarded(t)
		f.connect(t, "x")
		first := f.Env
		f.Advance(time.Minute) // so that the next beat is the second's, whose start is over by then
		f.restart(t)
		f.beatsNow(t)
		second, began := f.Env, f.beatNow(t)
		second.System.SetReplication(consts.ReplicationPerformanceStandby)
		f.lives(t, 1)
		f.Storage.Forget()
		f.lives(t, 2)
		f.Advance(2 * guardTime)
		assert.EqualError(t, second.Read("creds/x", nil).Err, logical.ErrReadOnly.Error())
		for _, a := range f.Storage.History() {
			assert.False(t, a.Write(), "%s %s", a.Op, a.Key)
		}
		second.System.SetReplication(0)
		second.Read("creds/x", nil).Refused(t, http.StatusConflict, "paused")
		f.lives(t, 1)
		// by which of these minutes it judged, is by chance
		require.Eventually(t, func() bool { return f.guardStatus(t)[1] == "restore_suspected" }, time.Minute,
			time.Millisecond)
		s := f.guardStatus(t)
		assert.Equal(t, []any{true, began}, []any{s[0], s[3]})
		assert.InDelta(t, (2*guardTime + 4*time.Minute).Seconds(), number(s[2]), 61)
		assert.Zero(t, f.spent())
		require.Eventually(t, func() bool { return f.beatNow(t) != began }, time.Minute, time.Millisecond)
		f.Write("config", map[string]any{"refresh_paused": false}).OK(t)
		f.passes(t, time.Minute, func() bool { return f.Read("creds/x", nil).Status == http.StatusOK })

		f.endsItsWork(t)
		f.Env = first
		f.lives(t, 1)
		first.Backend.InvalidateKey(t.Context(), "config")
		first.Backend.InvalidateKey(t.Context(), "connection/org/default/x")
		first.System.SetReplication(0) // the other leads, an hour later
		f.Advance(time.Hour)
		f.passes(t, time.Minute, func() bool { return f.Read("creds/x", nil).Status == http.StatusOK })
		assert.Equal(t, false, f.Read("status", nil).OK(t)["refresh_paused"])
	})
}

// Its fields can be written back, and nothing else is taken for a reason.
func TestRestoreGuardFields(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for _, wrong := range []map[string]any{
			{"restore_guard": "1h"},
			{"restore_guard": "9000h"},
			{"restore_guard": "-1h"},
			{"refresh_paused": true, "refresh_paused_reason": "lunch"},
			{"refresh_paused_reason": "restore_suspected"},
		} {
			f.Write("config", wrong).Refused(t, http.StatusBadRequest)
		}
		f.Write("config", map[string]any{
			"refresh_paused": true, "refresh_paused_reason": "restore_suspected", "restore_guard": "48h",
		}).OK(t)
		f.allowApp(t)
		f.Write("connections/app", map[string]any{"provider": "acme", "kind": "client_credentials"}).OK(t)
		f.connect(t, "x")
		f.Write("refresh/x", nil).Refused(t, http.StatusConflict, "restore_suspected")
		f.Write("refresh/app", nil).OK(t)
		read := f.Read("config", nil).OK(t)
		f.Write("config", read).OK(t)
		assert.Equal(t, read, f.Read("config", nil).OK(t))
		f.Write("config", with(read, map[string]any{"refresh_paused": false})).OK(t)
		assert.Equal(t, "", f.Read("config", nil).OK(t)["refresh_paused_reason"], "it goes with the pause")
		f.Write("config", map[string]any{"refresh_paused": true}).OK(t)
		f.Write("refresh/app", nil).Refused(t, http.StatusConflict, "paused")
		assert.Zero(t, f.provider.Count(providers.StepRefresh))
	})
}
