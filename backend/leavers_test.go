package backend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// leaving is a mount whose looks at owners the test makes itself.
type leaving struct {
	*fixture
	b atomic.Pointer[backend] // behind gRPC too
}

func eachLeaving(t *testing.T, test func(*testing.T, *leaving)) {
	t.Helper()
	for name, mount := range map[string]mounter{"in process": testenv.InProcess, "over gRPC": testenv.OverGRPC} {
		t.Run(name, func(t *testing.T) { test(t, newLeaving(t, mount)) })
	}
}

func newLeaving(t *testing.T, mount mounter) *leaving {
	t.Helper()
	l := &leaving{}
	l.fixture = newFixture(t, Options{}, func(tb testing.TB, factory logical.Factory, s *testenv.Storage) *testenv.Env {
		return mount(tb, func(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
			made, err := factory(ctx, conf)
			if b, ok := made.(*backend); ok {
				b.leavers.entered.Store(true) // nothing looks by itself
				l.b.Store(b)
			}
			return made, err
		}, s)
	}, providertest.WithLifetime(10*365*24*time.Hour)) // the background renews nothing meanwhile
	return l
}

// look makes a look, and tells when the next one is to be.
func (l *leaving) look(t *testing.T) time.Duration {
	t.Helper()
	return l.b.Load().leavers.Run(t.Context()).Sub(l.Now())
}

// days lets days pass, each with a look.
func (l *leaving) days(t *testing.T, n int) {
	t.Helper()
	for range n {
		l.Advance(24 * time.Hour)
		require.Equal(t, 24*time.Hour, l.look(t))
	}
}

// standing is what a connection's metadata tells of its status, to somebody else than its owner.
func (l *leaving) standing(t *testing.T, path string) string {
	t.Helper()
	view := l.Read("connections/"+path, nil).OK(t)
	return fmt.Sprint(view["status"], " ", view["status_reason"])
}

const (
	alicesSlack = "user/e-alice/slack"
	isActive    = "active "
	isDisabled  = "disabled owner_disabled"
	isMissing   = "disabled owner_missing"
)

// What somebody had whose entity is disabled serves nobody and is not renewed, whoever could read it; and it serves
// again when the entity is enabled.
func TestOwnerThatIsDisabled(t *testing.T) {
	eachLeaving(t, func(t *testing.T, l *leaving) {
		l.Write("config", map[string]any{"check_interval": 0}).OK(t)
		l.sharing(t)
		l.share(t, map[string]any{"entities": "e-bob"})
		l.connect(t, "self/open", alice)
		l.Write("connections/self/open", map[string]any{"private": false}, alice).OK(t)
		l.key(t, "org/acme/self/key", alice)
		l.Write("connections/user/e-alice/given", map[string]any{
			"provider": "openai", "api_key": openaiKey, "provision": true,
		}, bob).OK(t)
		l.key(t, "self/key", bob)
		all := []string{alicesSlack, "user/e-alice/open", "org/acme/user/e-alice/key", "user/e-alice/given"}
		l.days(t, 1)
		for _, path := range append(all, "user/e-bob/key") {
			require.Equal(t, isActive, l.standing(t, path))
		}

		require.Positive(t, number(l.Read("status", nil).OK(t)["scheduled"]), "they are to be renewed")
		before := l.Read("connections/"+alicesSlack, nil).OK(t)
		l.System.DisableEntity("e-alice", true)
		l.days(t, 1)
		for _, path := range all {
			assert.Equal(t, isDisabled, l.standing(t, path))
		}
		view := l.Read("connections/"+alicesSlack, nil).OK(t)
		assert.Equal(t, rfc3339(l.Now()), view["status_since"])
		assert.Empty(t, view["disabled_by"], "no person did that")
		assert.Equal(t, before["updated_time"], view["updated_time"], "and none changed it")
		assert.Equal(t, isActive, l.standing(t, "user/e-bob/key"))
		assert.Equal(t, 4, l.counted(t, "disabled"))
		info := l.List("connections/user/e-alice/").OK(t)["key_info"].(map[string]any)
		assert.Equal(t, "disabled", info["slack"].(map[string]any)["status"])

		asked := l.System.EntityLookups()
		const why = "owner_disabled"
		l.Read(sharedSlack, nil, bob).Refused(t, http.StatusForbidden, why)
		l.Read("creds/user/e-alice/open", nil).Refused(t, http.StatusForbidden, why, "the next daily look")
		l.Read("creds/user/e-alice/given", nil).Refused(t, http.StatusForbidden, why)
		l.Read("creds/self/slack", nil, alice).Refused(t, http.StatusForbidden, why)
		l.Write("refresh/self/slack", nil, alice).Refused(t, http.StatusForbidden, why)
		l.Write("refresh/user/e-alice/open", nil).Refused(t, http.StatusForbidden, why)
		l.Read("connections/self/slack", nil, alice).OK(t)
		assert.Equal(t, asked, l.System.EntityLookups(), "no read of a credential asks")
		lifted := l.Write("connections/user/e-alice/open", map[string]any{"disabled": false})
		assert.Equal(t, "disabled", lifted.OK(t)["status"])
		require.Len(t, lifted.Warnings, 1)
		assert.Contains(t, lifted.Warnings[0], "still stopped for its owner (owner_disabled)")

		l.days(t, 3)
		l.b.Load().tasks.Wake()
		assert.Zero(t, number(l.Read("status", nil).OK(t)["scheduled"]), "nothing falls due")

		l.System.DisableEntity("e-alice", false)
		l.days(t, 1)
		for _, path := range all {
			assert.Equal(t, isActive, l.standing(t, path))
		}
		l.Read(sharedSlack, nil, bob).OK(t)
		l.Read("creds/self/slack", nil, alice).OK(t)
		assert.True(t, l.Logs.Contains("looked whether the owners of connections are still there"))
	})
}

// An owner is missing once two looks that lie a day apart did not find it, also over a restart.
func TestOwnerThatIsMissing(t *testing.T) {
	eachLeaving(t, func(t *testing.T, l *leaving) {
		l.sharing(t)
		l.share(t, map[string]any{"everyone": true})
		l.days(t, 1)
		l.System.RemoveEntity("e-alice")
		l.look(t)
		assert.Equal(t, isActive, l.standing(t, alicesSlack), "once is not enough")
		l.Advance(time.Hour)
		l.look(t)
		assert.Equal(t, isActive, l.standing(t, alicesSlack), "nor is twice on one day")
		warned := l.Read("connections/"+alicesSlack, nil)
		require.Len(t, warned.Warnings, 1)
		assert.Contains(t, warned.Warnings[0], "Vault knows no entity e-alice")

		l.restart(t)
		l.System.AddEntity("e-bob")
		l.Advance(22 * time.Hour)
		l.look(t)
		assert.Equal(t, isMissing, l.standing(t, alicesSlack), "a day after the first")
		l.Read(sharedSlack, nil, bob).Refused(t, http.StatusForbidden, "owner_missing", "delete the connection")
		l.Read("creds/self/slack", nil, alice).Refused(t, http.StatusForbidden, "owner_missing")

		l.Storage.Forget()
		l.days(t, 2)
		assert.Equal(t, isMissing, l.standing(t, alicesSlack))
		assert.LessOrEqual(t, l.Storage.Writes(), 1, "but that it need not be remembered any more")
		l.Storage.Forget()
		l.days(t, 2)
		assertNothingWritten(t, l.fixture)

		l.System.AddEntity("e-alice")
		l.days(t, 1)
		assert.Equal(t, isActive, l.standing(t, alicesSlack))
		l.Read(sharedSlack, nil, bob).OK(t)

		l.System.RemoveEntity("e-alice")
		l.days(t, 1)
		l.System.AddEntity("e-alice")
		l.days(t, 1)
		l.System.RemoveEntity("e-alice")
		l.days(t, 1)
		assert.Equal(t, isActive, l.standing(t, alicesSlack), "it was there between")
	})
}

// An id that an application made up is unknown to Vault as one that was deleted is, and nothing happens to it. Who was
// a live entity is asked for each day, and the others once.
func TestOwnersThatVaultNeverKnew(t *testing.T) {
	eachLeaving(t, func(t *testing.T, l *leaving) {
		l.connect(t, "user/u1/slack")
		l.key(t, "org/acme/user/u2/key")
		l.key(t, "user/u2/key", bob)
		l.key(t, "key")
		asked := l.System.EntityLookups() // that nobody puts something under an entity's name
		l.look(t)
		assert.Equal(t, 2, l.System.EntityLookups()-asked)
		l.Storage.Forget()
		l.days(t, 5)
		assert.Equal(t, 2, l.System.EntityLookups()-asked)
		for _, a := range l.Storage.History() {
			assert.False(t, a.Write() && (a.Key == "leavers" || a.Under("connection/org/acme") || a.Under("connection/user/u2")))
		}
		for _, path := range []string{"user/u1/slack", "org/acme/user/u2/key", "user/u2/key", "key"} {
			assert.Equal(t, isActive, l.standing(t, path))
		}
		l.Read("creds/user/u1/slack", nil).OK(t)
		l.connect(t, "user/u1/other")
		asked = l.System.EntityLookups()
		l.days(t, 2)
		assert.Equal(t, 1, l.System.EntityLookups()-asked, "of a new one it is not known")
	})
}

// Entries of former releases do not say that their owner was a live entity: the first look that finds it so does.
func TestOwnersOfFormerEntries(t *testing.T) {
	eachLeaving(t, func(t *testing.T, l *leaving) {
		l.System.AddEntity("e-alice")
		l.key(t, "user/u1/key")
		l.Write("connections/"+alicesSlack, map[string]any{
			"provider": "openai", "api_key": openaiKey, "provision": true,
		}).OK(t)
		l.System.FailEntities(errors.New("nobody tells"))
		l.look(t)
		l.System.FailEntities(nil)
		l.Storage.Forget()
		l.days(t, 1)
		assert.Equal(t, 1, l.Storage.Writes(), "one, once")
		l.days(t, 3)
		assert.Equal(t, 1, l.Storage.Writes())
		l.System.RemoveEntity("e-alice")
		l.days(t, 2)
		assert.Equal(t, isMissing, l.standing(t, alicesSlack))
		assert.Equal(t, isActive, l.standing(t, "user/u1/key"))
	})
}

// That Vault does not tell is not that an owner is gone, nor that it is back.
func TestVaultThatTellsNothingOfOwners(t *testing.T) {
	eachLeaving(t, func(t *testing.T, l *leaving) {
		silent := errors.New("the system view of this test is down")
		l.sharing(t)
		l.key(t, "self/key", bob)
		l.System.DisableEntity("e-bob", true)
		l.days(t, 1)
		require.Equal(t, isDisabled, l.standing(t, "user/e-bob/key"))
		l.System.RemoveEntity("e-alice")
		l.System.DisableEntity("e-bob", false)
		l.System.FailEntities(silent)
		l.Storage.Forget()
		for range 3 {
			l.Advance(24 * time.Hour)
			assert.Equal(t, time.Hour, l.look(t), "it is asked again sooner")
		}
		assertNothingWritten(t, l.fixture)
		assert.True(t, l.Logs.Contains("the daily look at the owners of connections could not do all"))

		l.System.FailEntities(nil)
		l.days(t, 1)
		assert.Equal(t, isActive, l.standing(t, "user/e-bob/key"))
		assert.Equal(t, isActive, l.standing(t, alicesSlack), "missed for the first time")
		l.System.FailEntities(silent)
		l.Advance(24 * time.Hour)
		l.look(t)
		l.System.FailEntities(nil)
		assert.Equal(t, isActive, l.standing(t, alicesSlack))
		l.days(t, 1)
		assert.Equal(t, isMissing, l.standing(t, alicesSlack), "for the second")
	})
}

func TestOwnersAreLookedAtWhereOneMayWrite(t *testing.T) {
	eachLeaving(t, func(t *testing.T, l *leaving) {
		l.sharing(t)
		l.System.DisableEntity("e-alice", true)
		l.System.SetReplication(consts.ReplicationPerformanceStandby)
		asked := l.System.EntityLookups()
		assert.LessOrEqual(t, l.look(t), time.Minute)
		assert.Equal(t, asked, l.System.EntityLookups())
		l.System.SetReplication(0)
		assert.Equal(t, isActive, l.standing(t, alicesSlack))
		l.look(t)
		assert.Equal(t, isDisabled, l.standing(t, alicesSlack))
		l.Stop()
		asked = l.System.EntityLookups()
		l.look(t)
		assert.Equal(t, asked, l.System.EntityLookups(), "the mount ends")
	})
}

// After leaver_grace what somebody had is archived, and lifted when they are back. What persons decided stays.
func TestLeaverGrace(t *testing.T) {
	eachLeaving(t, func(t *testing.T, l *leaving) {
		for _, field := range []string{"never", "-1", "1h", "4000d"} {
			l.Write("config", map[string]any{"leaver_grace": field}).Refused(t, http.StatusBadRequest, "leaver_grace")
		}
		assert.Zero(t, number(l.Read("config", nil).OK(t)["leaver_grace"]))
		l.sharing(t)
		l.key(t, "self/own", alice)
		l.Write("connections/self/own", map[string]any{"disabled": true}, alice).OK(t)
		l.key(t, "self/put", alice)
		l.Write("connections/user/e-alice/put", map[string]any{"archived": true, "archived_reason": "mine"}).OK(t)
		l.key(t, "self/key", bob)
		l.System.DisableEntity("e-alice", true)
		l.System.RemoveEntity("e-bob")
		l.days(t, 40)
		assert.Equal(t, isDisabled, l.standing(t, alicesSlack), "never, unless somebody says when")
		assert.Equal(t, "disabled disabled_by_person", l.standing(t, "user/e-alice/own"))
		assert.Equal(t, "archived disabled_by_person", l.standing(t, "user/e-alice/put"))

		r := l.Write("connections/user/e-alice/own", map[string]any{"disabled": false})
		assert.Contains(t, fmt.Sprint(r.Warnings), "its owner's entity")
		assert.NotContains(t, fmt.Sprint(r.Warnings), "still stopped for its owner (", "a person's word stands before that")

		l.System.DisableEntity("e-alice", false)
		l.days(t, 1)
		l.System.DisableEntity("e-alice", true)
		assert.InDelta(t, 259200, number(l.Write("config", map[string]any{"leaver_grace": "72h"}).OK(t)["leaver_grace"]), 0)
		l.days(t, 3)
		assert.Equal(t, isDisabled, l.standing(t, alicesSlack))
		assert.Equal(t, "archived owner_missing", l.standing(t, "user/e-bob/key"), "that was long ago")
		l.days(t, 1)
		assert.Equal(t, "archived owner_disabled", l.standing(t, alicesSlack))
		assert.Equal(t, rfc3339(l.Now()), l.Read("connections/"+alicesSlack, nil).OK(t)["status_since"])
		l.Read("creds/self/slack", nil, alice).Refused(t, http.StatusForbidden, "owner_disabled")
		assert.Equal(t, 4, l.counted(t, "archived"), "what its owner had switched off is among them")
		l.Storage.Forget()
		l.days(t, 3)
		assertNothingWritten(t, l.fixture)

		l.Write("config", map[string]any{"leaver_grace": 0}).OK(t)
		l.System.RemoveEntity("e-alice")
		l.days(t, 2)
		assert.Equal(t, "archived owner_missing", l.standing(t, alicesSlack))
		l.System.AddEntity("e-alice")
		l.System.AddEntity("e-bob")
		l.days(t, 1)
		assert.Equal(t, isActive, l.standing(t, alicesSlack))
		assert.Equal(t, isActive, l.standing(t, "user/e-bob/key"))
		assert.Equal(t, "disabled disabled_by_person", l.standing(t, "user/e-alice/own"))
		assert.Equal(t, "archived disabled_by_person", l.standing(t, "user/e-alice/put"))
		l.Read("creds/self/slack", nil, alice).OK(t)
	})
}

// owners makes that many entities, each with a connection.
func (l *leaving) owners(t *testing.T, n int) (ids []string) {
	t.Helper()
	for i := range n {
		id := fmt.Sprintf("e-%05d", i)
		l.System.AddEntity(id)
		k := store.Key{Owner: store.Owner{User: id}, Name: "key"}
		_, err := l.b.Load().connections.Update(t.Context(), k, connections.Act{},
			func(*store.Connection) (*store.Connection, error) {
				return &store.Connection{Provider: "acme", Created: store.Actor{EntityID: id, Time: l.Now()}}, nil
			})
		require.NoError(t, err)
		ids = append(ids, id)
	}
	return ids
}

func (l *leaving) held(t *testing.T) int {
	t.Helper()
	return int(number(l.Read("status", nil).OK(t)["owners_missing_held"]))
}

// counted is how many connections have that status.
func (l *leaving) counted(t *testing.T, status string) int {
	t.Helper()
	encoded, err := json.Marshal(l.Read("status", nil).OK(t)["by_status"])
	require.NoError(t, err)
	var all map[string]int
	require.NoError(t, json.Unmarshal(encoded, &all))
	return all[status]
}

// Many owners that are missing on one day are a restored identity store.
func TestManyOwnersThatAreMissingAtOnce(t *testing.T) {
	// days are how many go on each; a look follows, and looks beside it are made an hour later.
	for name, c := range map[string]struct {
		owners        int
		days          []int
		hours         int // instead of a day
		held, stopped int
	}{
		"the only one":                    {1, []int{1, 0}, 24, 0, 1},
		"three of a few":                  {4, []int{3, 0}, 24, 0, 3},
		"four of a few":                   {10, []int{4, 0, 0}, 24, 4, 0},
		"a twentieth":                     {100, []int{5, 0}, 24, 0, 5},
		"more than that":                  {100, []int{6, 0, 0}, 24, 6, 0},
		"a hundred of many":               {2100, []int{100, 0}, 24, 0, 100},
		"a hundred and one":               {2100, []int{101, 0, 0}, 24, 101, 0},
		"three a day":                     {20, []int{3, 3, 3, 0}, 24, 0, 9},
		"four on one day, at three looks": {20, []int{2, 1, 1}, 1, 4, 0},
		"three on one day, then too many": {20, []int{3, 4, 0}, 24, 4, 0},
		"those that hold are not believed later, by parts": {20, []int{2, 2, 0, 0}, 20, 4, 0},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLeaving(t, testenv.InProcess)
			ids := l.owners(t, c.owners)
			l.days(t, 1)
			for _, n := range c.days {
				for _, id := range ids[:n] {
					l.System.RemoveEntity(id)
				}
				ids = ids[n:]
				l.Advance(time.Duration(c.hours) * time.Hour)
				l.look(t)
			}
			assert.Equal(t, c.held, l.held(t))
			assert.Equal(t, c.stopped, l.counted(t, "disabled"))
			assert.Equal(t, c.held > 0, l.Logs.Contains("many owners of connections are missing from Vault at once"))
			if c.held == 0 {
				return
			}
			l.restart(t)
			assert.Equal(t, c.held, l.held(t), "a restart forgets nothing")
			for i := range c.owners {
				l.System.AddEntity(fmt.Sprintf("e-%05d", i))
			}
			l.days(t, 1)
			assert.Equal(t, []int{0, 0}, []int{l.held(t), l.counted(t, "disabled")}, "they are back")
		})
	}
}

// However many there are, each owner is asked for once, and some are in memory at a time.
func TestVeryManyOwners(t *testing.T) {
	l := newLeaving(t, testenv.InProcess)
	ids := l.owners(t, 2*ownersAtOnce+1)
	require.EqualValues(t, 3, l.b.Load().directory.parts())
	l.System.DisableEntity(ids[0], true)
	l.System.DisableEntity(ids[len(ids)-1], true)
	l.look(t)
	assert.Equal(t, len(ids), l.System.EntityLookups())
	assert.Equal(t, 2, l.counted(t, "disabled"))
	l.System.FailEntities(errors.New("nobody tells"))
	asked := l.System.EntityLookups()
	l.look(t)
	assert.Equal(t, silentInARow, l.System.EntityLookups()-asked, "it leaves off")
}

// Whichever write storage refuses, the next look does what is left.
func TestLookWhileStorageFails(t *testing.T) {
	type step struct {
		name    string
		prepare func(*leaving)
		days    int
		want    string
	}
	for _, s := range []step{
		{"disabled", func(l *leaving) { l.System.DisableEntity("e-alice", true) }, 1, isDisabled},
		{"missing", func(l *leaving) { l.System.RemoveEntity("e-alice") }, 2, isMissing},
		{"back", func(l *leaving) { l.System.DisableEntity("e-alice", false) }, 1, isActive},
		{"archived", func(*leaving) {}, 4, "archived owner_disabled"},
	} {
		t.Run(s.name, func(t *testing.T) {
			failed := false
			for n := 1; n == 1 || failed; n++ {
				l := newLeaving(t, testenv.InProcess)
				l.sharing(t)
				names := []string{"slack", "a", "b", "c"}
				for _, name := range names[1:] {
					l.key(t, "self/"+name, alice)
				}
				l.Write("config", map[string]any{"leaver_grace": "48h"}).OK(t)
				before := isActive
				if s.name == "back" || s.name == "archived" {
					l.System.DisableEntity("e-alice", true)
					l.days(t, 1)
					before = isDisabled
				}
				s.prepare(l)
				refuses := testenv.Nth(n, func(a testenv.Access) bool {
					return a.Write() && (a.Under("connection/user/e-alice") || a.Key == "leavers")
				})
				var hit atomic.Bool
				l.Storage.Judge(func(a testenv.Access) error {
					if refuses(a) {
						hit.Store(true)
						return testenv.ErrStorage
					}
					return nil
				})
				for range s.days {
					l.Advance(24 * time.Hour)
					l.look(t)
				}
				failed = hit.Load()
				for _, name := range names {
					is := l.standing(t, "user/e-alice/"+name)
					assert.Contains(t, []string{before, s.want}, is, "%s, write %d", name, n)
				}
				l.Storage.Judge(nil)
				l.Advance(time.Hour)
				l.look(t)
				if s.days > 1 { // the first look may be the one that was not remembered
					l.Advance(24 * time.Hour)
					l.look(t)
				}
				for _, name := range names {
					assert.Equal(t, s.want, l.standing(t, "user/e-alice/"+name), "write %d", n)
				}
				require.Less(t, n, 50)
			}
		})
	}
}

// The looks come by themselves, the first one soon after a start.
func TestOwnersAreLookedAtByThemselves(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.System.AddEntity("e-alice")
		f.key(t, "self/key", alice)
		is := func(want string) {
			t.Helper()
			require.Eventually(t, func() bool {
				f.periodic(t)
				return f.Read("connections/user/e-alice/key", nil).OK(t)["status_reason"] == want
			}, time.Minute, time.Millisecond)
		}
		f.System.DisableEntity("e-alice", true)
		f.Advance(firstLook)
		is("owner_disabled")
		f.System.DisableEntity("e-alice", false)
		f.Advance(lookEvery)
		is("")
		f.restart(t)
		f.System.AddEntity("e-alice")
		f.System.DisableEntity("e-alice", true)
		require.Eventually(t, func() bool { return number(f.Read("status", nil).OK(t)["scheduled"]) == 2 },
			time.Minute, time.Millisecond, "the key's check, and the look")
		f.Advance(firstLook)
		is("owner_disabled")
	})
}

// Where no person has a connection nothing is to be done.
func TestNoOwnersNoLook(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.connect(t, "slack")
	f.connect(t, "org/acme/slack")
	f.Write("config", map[string]any{"refresh_paused": true}).OK(t)
	f.passHours(t, 0)
	assert.False(t, f.engine().leavers.entered.Load())
	assert.InDelta(t, 2, number(f.Read("status", nil).OK(t)["scheduled"]), 0)
}

// assertNothingWritten asserts that a look wrote neither what it remembers nor a connection. What else falls due may be
// done beside it.
func assertNothingWritten(t *testing.T, f *fixture) {
	t.Helper()
	for _, a := range f.Storage.History() {
		assert.False(t, a.Write() && (a.Key == "leavers" || strings.HasPrefix(a.Key, "connection/")), "%s %s", a.Op, a.Key)
	}
}
