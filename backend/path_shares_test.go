package backend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
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

var carol = testenv.Entity("e-carol")

// sharing has alice own a connection, in three spellings of owner, and bob and carol exist.
func (f *fixture) sharing(t *testing.T) {
	t.Helper()
	for _, id := range []string{"e-alice", "e-bob", "e-carol"} {
		f.System.AddEntity(id)
	}
	f.connect(t, "self/slack", alice)
}

const (
	sharedSlack = "creds/shared/user/e-alice/slack"
	ownShares   = "shares/self/slack"
)

func (f *fixture) share(t *testing.T, data map[string]any) testenv.Result {
	t.Helper()
	r := f.Write(ownShares, data, alice)
	r.OK(t)
	return r
}

// notThere is what everybody hears of what is not shared with them.
func notThere(t *testing.T, r testenv.Result) {
	t.Helper()
	r.Refused(t, http.StatusForbidden, "no connection user/e-alice/slack is shared with you")
}

func TestSharedWithAnEntity(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.sharing(t)
		notThere(t, f.Read(sharedSlack, nil, bob))
		f.share(t, map[string]any{"entities": "e-bob"})
		got := f.Read(sharedSlack, nil, bob).OK(t)
		assert.Equal(t, f.Read("creds/self/slack", nil, alice).OK(t)["access_token"], got["access_token"])
		f.Write("check/shared/user/e-alice/slack", nil, bob).OK(t)
		for _, who := range []testenv.Caller{carol, testenv.Root, testenv.Batch} {
			notThere(t, f.Read(sharedSlack, nil, who))
			notThere(t, f.Write("check/shared/user/e-alice/slack", nil, who))
		}
		f.Read("creds/user/e-alice/slack", nil, bob).Refused(t, http.StatusForbidden, "private")
		f.Write("refresh/user/e-alice/slack", nil, bob).Refused(t, http.StatusForbidden, "private")
		f.Read(sharedSlack, map[string]any{"include": "companions"}, bob).Refused(t, http.StatusBadRequest, "include")
		assert.Zero(t, f.System.GroupLookups(), "nothing hangs on groups")

		f.restart(t)
		f.Read(sharedSlack, nil, bob).OK(t)
		f.Delete(ownShares, nil, alice)
		notThere(t, f.Read(sharedSlack, nil, bob))
	})
}

func TestSharedWithAGroup(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.sharing(t)
		f.System.SetGroups("e-alice", "g-one")
		r := f.share(t, map[string]any{"groups": "G-ONE,g-two"})
		require.Len(t, r.Warnings, 1)
		assert.Contains(t, r.Warnings[0], `"g-two" is none that you are in`)
		shares := asClient(t, r.OK(t))["shares"].([]any)
		assert.Equal(t, []any{"g-one", "G-ONE", false}, []any{
			members(t, shares[0])["group"], members(t, shares[0])["name"], members(t, shares[0])["unchecked"],
		})
		assert.Equal(t, []any{"g-two", "", true}, []any{
			members(t, shares[1])["group"], members(t, shares[1])["name"], members(t, shares[1])["unchecked"],
		})
		notThere(t, f.Read(sharedSlack, nil, bob))
		for _, group := range []string{"g-one", "g-two"} {
			f.System.SetGroups("e-bob", group)
			f.Read(sharedSlack, nil, bob).OK(t)
		}
		f.System.SetGroups("e-bob", "G-ONE") // a group whose id is the name that was written
		notThere(t, f.Read(sharedSlack, nil, bob))

		f.System.SetGroups("e-bob", "g-one")
		f.System.FailEntities(errors.New("the view is away"))
		r = f.Read(sharedSlack, nil, bob)
		r.Refused(t, http.StatusServiceUnavailable, "groups")
		assert.NotContains(t, r.Text, "away")
		f.System.SetReplication(consts.ReplicationPerformanceStandby)
		assert.ErrorContains(t, f.Read(sharedSlack, nil, bob).Err, logical.ErrReadOnly.Error())
		f.System.SetReplication(0)
		f.Write(ownShares, map[string]any{"entities": "e-bob"}, alice).Refused(t,
			http.StatusServiceUnavailable, "try again")
		f.System.FailEntities(nil)
		f.share(t, map[string]any{"entities": "e-bob"})
		f.System.FailEntities(errors.New("the view is away"))
		f.Read(sharedSlack, nil, bob).OK(t)
	})
}

func TestSharedWithEveryone(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.sharing(t)
		f.share(t, map[string]any{"everyone": true, "expires": "2h"})
		f.Read(sharedSlack, nil, bob).OK(t)
		f.Read(sharedSlack, map[string]any{"include": "git"}, bob).Refused(t, http.StatusBadRequest, "names no host")
		for _, who := range []testenv.Caller{testenv.Root, testenv.Batch} {
			notThere(t, f.Read(sharedSlack, nil, who))
		}
		assert.Equal(t, []string{"user/"}, texts(t, f.List("connections/shared/", bob).OK(t)["keys"]))
		f.Advance(2 * time.Hour)
		notThere(t, f.Read(sharedSlack, nil, bob))
		assert.Empty(t, f.List("connections/shared/", bob).Data["keys"])
		assert.Empty(t, f.Read(ownShares, nil, alice).OK(t)["shares"])
	})
}

// What is not shared, what is private, what is gone and what never was are told alike, by whatever path.
func TestSharedTellsNothing(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.sharing(t)
		f.connect(t, "self/open", alice)
		f.Write("connections/self/open", map[string]any{"private": false}, alice).OK(t)
		f.share(t, map[string]any{"entities": "e-bob"})
		f.Write("connections/self/slack", map[string]any{"disabled": true}, alice).OK(t)
		for _, verb := range []func(string, testenv.Caller) testenv.Result{
			func(path string, as testenv.Caller) testenv.Result { return f.Read("creds/shared/"+path, nil, as) },
			func(path string, as testenv.Caller) testenv.Result { return f.Write("check/shared/"+path, nil, as) },
		} {
			for _, path := range []string{
				"user/e-alice/slack", "user/e-alice/open", "user/e-alice/none", "user/nobody/slack", "org/acme/user/e-alice/slack",
			} {
				r := verb(path, carol)
				r.Refused(t, http.StatusForbidden, "no connection "+path+" is shared with you")
				assert.NotContains(t, r.Text, "disabled")
			}
		}
		f.Read(sharedSlack, nil, bob).Refused(t, http.StatusForbidden, "disabled")
	})
}

// Only the owner's entity shares; everybody with a policy ends a share.
func TestWhoShares(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.sharing(t)
		for _, who := range []testenv.Caller{bob, testenv.Root, testenv.Batch} {
			f.Write("shares/user/e-alice/slack", map[string]any{"entities": "e-carol"}, who).Refused(t, http.StatusForbidden,
				"by the entity that owns it")
		}
		f.share(t, map[string]any{"entities": "e-bob,e-carol"})
		f.Delete("shares/user/e-alice/slack", map[string]any{"entities": "e-carol"}, bob)
		notThere(t, f.Read(sharedSlack, nil, carol))
		f.Read(sharedSlack, nil, bob).OK(t)
		f.key(t, "org/acme/key")
		f.Write("shares/org/acme/key", map[string]any{"everyone": true}, alice).Refused(t, http.StatusForbidden)
		f.Write("connections/self/slack", map[string]any{"private": false}, alice).OK(t)
		f.Write(ownShares, map[string]any{"everyone": true}, alice).Refused(t, http.StatusConflict, "not private")
	})
}

func TestSharesRefuse(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.sharing(t)
		groups := func(from, to int) string {
			var all []string
			for i := from; i < to; i++ {
				all = append(all, fmt.Sprintf("g-%d", i))
			}
			return strings.Join(all, ",")
		}
		f.share(t, map[string]any{"entities": "e-bob"})
		before := f.Read(ownShares, nil, alice).OK(t)
		for _, c := range []struct {
			data map[string]any
			text string
		}{
			{nil, "name with whom"},
			{map[string]any{"everyone": false}, "name with whom"},
			{map[string]any{"entities": "e-alice"}, "your own id"},
			{map[string]any{"entities": "e-nobody"}, "no entity"},
			{map[string]any{"entities": "entity-e-bob"}, "no entity"},
			{map[string]any{"groups": groups(0, 65)}, "at the most"},
			{map[string]any{"groups": "two words"}, "no id of a group"},
			{map[string]any{"everyone": true, "expires": "yesterday"}, "expires"},
			{map[string]any{"everyone": true, "expires": "2020-01-01T00:00:00Z"}, "over already"},
			{map[string]any{"everyone": true, "expires": "-2h"}, "over already"},
			{map[string]any{"everyone": true, "bob": 1}, "bob"},
		} {
			f.Write(ownShares, c.data, alice).Refused(t, http.StatusBadRequest, c.text)
		}
		f.share(t, map[string]any{"groups": groups(0, 63)})
		f.Write(ownShares, map[string]any{"groups": groups(63, 64)}, alice).Refused(t, http.StatusConflict, "more than 64")
		f.share(t, map[string]any{"groups": groups(10, 20)})
		f.Delete(ownShares, map[string]any{"entities": ""}, alice).Refused(t, http.StatusBadRequest, "or nothing")
		f.Read(sharedSlack, nil, bob).OK(t)
		assert.Len(t, before["shares"], 1)
		f.Read("shares/self/none", nil, alice).Refused(t, http.StatusBadRequest, "no connection")
	})
}

// Whoever reads shares sees who they are, to tell those who share.
func TestSharesRead(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.sharing(t)
		f.System.SetGroups("e-bob", "g-one")
		f.share(t, map[string]any{"entities": "e-bob", "expires": "2026-04-01T00:00:00Z"})
		got := asClient(t, f.Read("shares/user/e-alice/slack", nil, bob).OK(t))
		assert.Equal(t, "e-bob", got["entity_id"])
		assert.Equal(t, []any{map[string]any{"id": "g-one", "name": "G-ONE"}}, got["groups"])
		assert.Equal(t, true, got["private"])
		assert.Equal(t, []any{map[string]any{
			"entity": "e-bob", "name": "entity-e-bob", "unchecked": false, "expires": "2026-04-01T00:00:00Z",
			"shared_by":    "userpass-e-alice",
			"shared_by_id": "e-alice", "shared_time": f.Now().Format(time.RFC3339),
		}}, got["shares"])
		f.share(t, map[string]any{"entities": "e-carol", "groups": "g-one", "everyone": true})
		f.share(t, map[string]any{"entities": "e-bob"}) // renewed, without an end
		words := f.Read("connections/self/slack", nil, alice).OK(t)["shared_with"]
		assert.Equal(t, "everyone who has a Vault entity, 2 entities, 1 group: they act as ada@example.test, the account of its "+
			"owner", words)
	})
}

// A list of what is shared holds that, level by level, and nothing else.
func TestConnectionsShared(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.sharing(t)
		keys := func(path string, as testenv.Caller) (names []string) {
			if listed := f.List("connections/shared"+path, as).Data["keys"]; listed != nil {
				names = texts(t, listed)
			}
			return names
		}
		assert.Empty(t, keys("/", bob))
		f.connect(t, "self/own", alice)
		f.key(t, "org/acme/self/key", carol)
		f.key(t, "org/acme/self/other", carol)
		f.System.SetGroups("e-bob", "g-one")
		f.share(t, map[string]any{"entities": "e-bob"})
		f.Write("shares/org/acme/self/key", map[string]any{"groups": "g-one"}, carol).OK(t)
		for _, restarts := range []bool{false, true} {
			if restarts {
				f.restart(t)
				f.System.SetGroups("e-bob", "g-one")
			}
			for path, want := range map[string][]string{
				"/": {"org/", "user/"}, "/user/": {"e-alice/"}, "/user/e-alice/": {"slack"}, "/org/": {"acme/"},
				"/org/acme/": {"user/"}, "/org/acme/user/": {"e-carol/"}, "/org/acme/user/e-carol/": {"key"},
			} {
				assert.Equal(t, want, keys(path, bob), path)
				assert.Empty(t, keys(path, testenv.Root), path)
			}
			for _, path := range []string{"/user/e-bob/", "/org/none/", "/org/acme/user/e-alice/", "/user/nobody/"} {
				assert.Empty(t, keys(path, bob), path)
			}
		}
		info := members(t, f.List("connections/shared/user/e-alice/", bob).OK(t)["key_info"])
		assert.Equal(t, map[string]any{"provider": "acme", "status": "active", "label": ""}, info["slack"])
		assert.Empty(t, keys("/user/", carol), "one's own is not shared with oneself")
		f.System.AddEntity("e-carol")
		f.share(t, map[string]any{"everyone": true, "entities": "e-carol"})
		assert.Equal(t, []string{"e-alice/"}, keys("/user/", carol))
		for _, who := range []testenv.Caller{alice, testenv.Root, testenv.Batch} {
			assert.Empty(t, keys("/user/", who))
		}
		f.Delete(ownShares, map[string]any{"everyone": true}, alice)
		f.Delete(ownShares, map[string]any{"entities": "e-carol"}, alice)
		assert.Empty(t, keys("/user/", carol), "what has ended is not listed, though others go on")
		assert.Equal(t, []string{"e-alice/"}, keys("/user/", bob))
		f.Delete("connections/user/e-alice/slack", nil)
		assert.Equal(t, []string{"org/"}, keys("/", bob))
	})
}

// Shares end with the connection: who makes one anew under its name shares it with nobody.
func TestSharesEndWithTheConnection(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.sharing(t)
		f.share(t, map[string]any{"entities": "e-bob"})
		f.connect(t, "self/slack", alice) // a reconnect keeps them
		f.Read(sharedSlack, nil, bob).OK(t)
		f.Delete("connections/self/slack", nil, alice)
		notThere(t, f.Read(sharedSlack, nil, bob))
		f.connect(t, "self/slack", alice)
		notThere(t, f.Read(sharedSlack, nil, bob))
	})
}

// Whoever waits for a new token when their share ends gets none.
func TestShareEndsWhileAReaderWaits(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.sharing(t)
		f.share(t, map[string]any{"entities": "e-bob"})
		f.Advance(2 * time.Hour)
		asked, answer := make(chan struct{}), make(chan struct{})
		f.provider.Next(providers.StepRefresh, func(_ *providertest.Server, w http.ResponseWriter, r *http.Request,
			behave http.HandlerFunc,
		) {
			close(asked)
			<-answer
			behave(w, r)
		})
		got := make(chan testenv.Result)
		go func() { got <- f.Read(sharedSlack, nil, bob) }()
		<-asked
		f.Delete(ownShares, nil, alice)
		close(answer)
		notThere(t, <-got)
	}, providertest.WithLifetime(time.Hour))
}

// Nor does it learn what the wait came to.
func TestShareEndsWhileAReaderWaitsInVain(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.sharing(t)
		f.share(t, map[string]any{"entities": "e-bob"})
		f.Advance(2 * time.Hour)
		asked, answer := make(chan struct{}), make(chan struct{})
		f.provider.Next(providers.StepRefresh, func(_ *providertest.Server, w http.ResponseWriter, _ *http.Request,
			_ http.HandlerFunc,
		) {
			close(asked)
			<-answer
			w.WriteHeader(http.StatusBadRequest)
			_, err := w.Write([]byte(`{"error":"invalid_grant"}`))
			assert.NoError(t, err)
		})
		got := make(chan testenv.Result)
		go func() { got <- f.Read(sharedSlack, nil, bob) }()
		<-asked
		f.Delete(ownShares, nil, alice)
		close(answer)
		notThere(t, <-got)
	}, providertest.WithLifetime(time.Hour))
}

// At no moment after a share's end has been answered does anybody get the credential by it.
func TestSharesUnderConcurrency(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.sharing(t)
		f.System.SetGroups("e-bob", "g-one")
		var (
			open    atomic.Int64 // odd while shared, told before the write is sent and after its answer
			readers sync.WaitGroup
		)
		ctx, stop := context.WithCancel(t.Context())
		for range 64 {
			readers.Go(func() {
				for ctx.Err() == nil {
					before := open.Load()
					r := f.Read(sharedSlack, nil, bob)
					if after := open.Load(); before == after && before%2 == 0 {
						assert.NotEqual(t, http.StatusOK, r.Status, "it was shared with nobody")
					}
				}
			})
		}
		for i := range 20 {
			open.Add(1)
			f.share(t, []map[string]any{{"entities": "e-bob"}, {"groups": "g-one"}, {"everyone": true}}[i%3])
			if i%2 == 0 {
				f.Read(sharedSlack, nil, bob).OK(t)
			}
			f.Delete(ownShares, nil, alice)
			open.Add(1)
			notThere(t, f.Read(sharedSlack, nil, bob))
		}
		stop()
		readers.Wait()
	})
}

// Storage that refuses a write of shares leaves what was.
func TestSharesWhenStorageRefuses(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.sharing(t)
		f.share(t, map[string]any{"entities": "e-carol"})
		f.Storage.Judge(func(a testenv.Access) error {
			if a.Write() {
				return testenv.ErrStorage
			}
			return nil
		})
		assert.Equal(t, http.StatusInternalServerError, f.Write(ownShares, map[string]any{"entities": "e-bob"}, alice).Status)
		notThere(t, f.Read(sharedSlack, nil, bob))
		assert.Equal(t, http.StatusInternalServerError, f.Delete(ownShares, nil, alice).Status)
		f.Storage.Judge(nil)
		f.Read(sharedSlack, nil, carol).OK(t)
		assert.Equal(t, []string{"user/"}, texts(t, f.List("connections/shared/", carol).OK(t)["keys"]))
		assert.Empty(t, f.List("connections/shared/", bob).Data["keys"])
	})
}

// Shares are of a private connection. While it is open they are nothing: policy alone says who uses it.
func TestSharesWhileTheConnectionIsOpen(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.sharing(t)
		f.System.SetGroups("e-bob", "g-one")
		f.share(t, map[string]any{"entities": "e-bob", "groups": "g-one", "everyone": true})
		listed := func() any { return f.List("connections/shared/", bob).Data["keys"] }
		shared := func() (bool, int) {
			row := asClient(t, f.Read("inventory", nil).OK(t))["connections"].([]any)[0].(map[string]any)
			rows, _ := rowsOf(t, f.Read("inventory", map[string]any{"shared": true}))
			return row["shared"].(bool), len(rows)
		}
		is, rows := shared()
		assert.Equal(t, []any{true, 1}, []any{is, rows})
		f.Write("connections/self/slack", map[string]any{"private": false}, alice).OK(t)
		for range 2 {
			notThere(t, f.Read(sharedSlack, nil, bob))
			assert.Empty(t, listed())
			assert.Empty(t, f.Read("connections/self/slack", nil, alice).OK(t)["shared_with"])
			is, rows = shared()
			assert.Equal(t, []any{false, 0}, []any{is, rows})
			f.restart(t)
			f.System.SetGroups("e-bob", "g-one")
		}
	})
}

// What is over counts nowhere, by whatever the share was, though a share with somebody else goes on.
func TestSharesThatAreOver(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.sharing(t)
		f.System.SetGroups("e-bob", "g-one")
		f.share(t, map[string]any{"groups": "g-one", "expires": "2h"})
		f.share(t, map[string]any{"groups": "g-two", "expires": "3h"})
		f.Read(sharedSlack, nil, bob).OK(t)
		f.Advance(2 * time.Hour)
		notThere(t, f.Read(sharedSlack, nil, bob))
		f.Advance(time.Hour)
		row := asClient(t, f.Read("inventory", nil).OK(t))["connections"].([]any)[0].(map[string]any)
		assert.Equal(t, false, row["shared"])
	})
}

// Names of groups may be ids of others. An id is meant first, and a name ends no share with an entity.
func TestGroupsByIDBeforeName(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.sharing(t)
		f.System.SetGroups("e-alice", "g-one", "G-ONE") // the name of the first is the id of the second
		r := f.share(t, map[string]any{"groups": "G-ONE", "entities": "e-bob"})
		shares := asClient(t, r.OK(t))["shares"].([]any)
		require.Len(t, shares, 2)
		assert.Equal(t, "G-ONE", members(t, shares[1])["group"])
		f.Delete(ownShares, map[string]any{"groups": "entity-e-bob"}, alice)
		f.Read(sharedSlack, nil, bob).OK(t)
	})
}

// A connection may be opened between the look at it and the write: what is open is not shared.
func TestShareOfAConnectionThatIsOpenedMeanwhile(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.sharing(t)
		writing, release := make(chan struct{}), make(chan struct{})
		f.Storage.Delay(testenv.Nth(1, func(a testenv.Access) bool {
			return a == testenv.Access{Op: "put", Key: "connection/user/e-alice/slack"}
		}), func(testenv.Access) { close(writing); <-release })
		opened, shared := make(chan testenv.Result, 1), make(chan testenv.Result, 1)
		go func() { opened <- f.Write("connections/self/slack", map[string]any{"private": false}, alice) }()
		<-writing
		asked := f.System.EntityLookups()
		go func() { shared <- f.Write(ownShares, map[string]any{"entities": "e-bob"}, alice) }()
		assert.Eventually(t, func() bool { return f.System.EntityLookups() > asked }, time.Minute, time.Millisecond)
		close(release)
		(<-opened).OK(t)
		(<-shared).Refused(t, http.StatusConflict, "not private")
		assert.Empty(t, f.Read(ownShares, nil, alice).OK(t)["shares"])
	})
}

// The index of shares keeps nothing of what has ended.
func TestIndexOfSharesEmpties(t *testing.T) {
	g, k, now := newGrantees(), aKeyOf(t, "user/e-alice/slack"), time.Now()
	conn := &store.Connection{Private: true, Shares: []store.Share{{Entity: "e-bob"}, {Group: "g-one"}}}
	g.set(k, conn)
	assert.Len(t, g.keys([]string{store.GranteeEntity("e-bob")}, now), 1)
	conn.Shares = conn.Shares[1:]
	g.set(k, conn)
	assert.Empty(t, g.keys([]string{store.GranteeEntity("e-bob")}, now))
	assert.Len(t, g.with, 1)
	g.gone(k)
	assert.Empty(t, g.with)
	assert.Empty(t, g.of)
}

func TestAsManySharesAsThereMayBe(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.sharing(t)
		ids := []string{}
		for i := range store.MaxShares {
			ids = append(ids, fmt.Sprintf("e-%d", i))
			f.System.AddEntity(ids[i])
		}
		f.share(t, map[string]any{"entities": strings.Join(ids, ",")})
		assert.Len(t, f.Read(ownShares, nil, alice).OK(t)["shares"], store.MaxShares)
		f.Write(ownShares, map[string]any{"entities": strings.Join(ids, ","), "expires": rfc3339(f.Now())}, alice).
			Refused(t, http.StatusBadRequest, "over already")
	})
}
