package backend

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// What its owner stopped, and opened before, others let serve again by taking it elsewhere.
func TestAttackOwnersStopIsLiftedByATransfer(t *testing.T) {
	for _, field := range []string{"disabled", "archived"} {
		t.Run(field, func(t *testing.T) {
			f := newFixture(t, Options{}, testenv.InProcess)
			f.people()
			f.connect(t, "self/slack", alice)
			token := f.Read("creds/self/slack", nil, alice).OK(t)["access_token"]
			f.Write("connections/self/slack", map[string]any{"private": false, field: true}, alice).OK(t)
			f.Read("creds/"+aliceSlack, nil, bob).Refused(t, http.StatusForbidden, "who alone lifts that")
			f.Write("transfer/"+aliceSlack, map[string]any{"to": "org/acme/slack"}, bob)
			f.accept("org/acme/slack", aliceSlack, bob)
			r := f.Read("creds/org/acme/slack", nil, bob)
			if r.Response != nil {
				assert.NotEqual(t, token, r.Data["access_token"], "alice stopped it, and alone lifts that")
			}
			assert.NotEqual(t, http.StatusOK, r.Status)
		})
	}
}

// What others stopped its owner lets serve again by a way through an organization.
func TestAttackOthersStopIsLiftedByItsOwner(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.people()
	f.connect(t, "self/slack", alice)
	f.Write("connections/"+aliceSlack, map[string]any{"disabled": true}, carol).OK(t)
	f.Write("connections/self/slack", map[string]any{"disabled": false}, alice).OK(t)
	f.Read("creds/self/slack", nil, alice).Refused(t, http.StatusForbidden, "disabled")
	f.Write("transfer/self/slack", map[string]any{"to": "org/hers/slack"}, alice)
	f.accept("org/hers/slack", "self/slack", alice)
	f.Write("connections/org/hers/slack", map[string]any{"disabled": false}, alice)
	f.Write("transfer/org/hers/slack", map[string]any{"to": "self/slack"}, alice)
	f.accept("self/slack", "org/hers/slack", alice)
	assert.NotEqual(t, http.StatusOK, f.Read("creds/self/slack", nil, alice).Status, "carol stopped it")
}

// What an owner that left had opened serves again where others take it, and an offer outlives its owner's leaving.
func TestAttackLeaversConnectionIsTakenElsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		private, before bool
		who             testenv.Caller
	}{
		"open, offered by others": {false, false, bob},
		"offered by its owner":    {true, true, alice},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLeaving(t, testenv.InProcess)
			l.people()
			l.connect(t, "self/slack", alice)
			l.Write("connections/self/slack", map[string]any{"private": c.private}, alice).OK(t)
			if c.before {
				l.offers(t, aliceSlack, "org/acme/slack", c.who)
			}
			l.System.DisableEntity("e-alice", true)
			l.Advance(12 * time.Hour)
			l.look(t)
			require.Equal(t, isDisabled, l.standing(t, aliceSlack))
			if !c.before {
				l.offers(t, aliceSlack, "org/acme/slack", c.who)
			}
			l.accept("org/acme/slack", aliceSlack, bob)
			assert.NotEqual(t, http.StatusOK, l.Read("creds/org/acme/slack", nil, bob).Status, "alice left")
		})
	}
}

// What arrives without its credential tells its new owner's readers nothing of the account, nor of whom it was shared
// with; nor does any that moves tell of another that had the name before.
func TestAttackHistoryGoesAlongWithAMove(t *testing.T) {
	t.Run("without its credential", func(t *testing.T) {
		f := newFixture(t, Options{}, testenv.InProcess)
		f.people()
		f.connect(t, "self/slack", alice)
		f.share(t, map[string]any{"entities": "e-carol"})
		f.offers(t, aliceSlack, "org/acme/slack", bob)
		f.accept("org/acme/slack", aliceSlack, bob).OK(t)
		told := fmt.Sprint(f.told(t, "org/acme/slack"))
		assert.NotContains(t, told, providertest.AccountID)
		assert.NotContains(t, told, "e-carol")
	})
	t.Run("of another connection", func(t *testing.T) {
		f := newFixture(t, Options{}, testenv.InProcess)
		f.people()
		f.key(t, "self/key", alice)
		f.Write("connections/self/key", map[string]any{"label": "of my own"}, alice).OK(t)
		f.Delete("connections/self/key", nil, alice).OK(t)
		f.key(t, "self/key", alice)
		f.offers(t, "user/e-alice/key", "org/acme/key", alice)
		f.accept("org/acme/key", "user/e-alice/key", bob).OK(t)
		assert.NotContains(t, fmt.Sprint(f.told(t, "org/acme/key")), "of my own")
	})
}

// One provider that cannot be decoded hides no connection of any other from the inventory.
func TestAttackInventoryWithAnUnreadableProvider(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.connect(t, "org/acme/slack")
	f.key(t, "org/acme/key")
	f.undecodable(t, "provider/openai")
	f.Backend.InvalidateKey(t.Context(), "provider/openai")
	for _, query := range []map[string]any{nil, {"provider": "acme"}, {"label": ""}, {"missing_scopes": false}} {
		r := f.Read("inventory", query)
		if assert.Equal(t, http.StatusOK, r.Status, "%v: %s", query, r.Text) {
			paths, _ := rowsOf(t, r)
			assert.Contains(t, paths, "org/acme/slack")
		}
	}
}

// A grant that somebody else brings again for one place is put in no other.
func TestAttackRestoreForAnotherPlace(t *testing.T) {
	f := newFixture(t, placed(t), testenv.InProcess)
	f.people()
	at := func(shop string) {
		back := f.own(t, "self/slack", map[string]any{"inputs": map[string]any{"shop": shop}}, alice)
		f.Write("exchange", back, alice).OK(t)
	}
	at("first")
	late := f.own(t, aliceSlack, nil, bob)
	at("second")
	before := f.Read("creds/self/slack", nil, alice).OK(t)["access_token"]
	f.Write("exchange", late, bob).Refused(t, http.StatusConflict, "inputs", "changed meanwhile")
	view := f.Read("connections/self/slack", nil, alice).OK(t)
	require.Equal(t, "second", members(t, view["inputs"])["shop"])
	assert.Equal(t, before, f.Read("creds/self/slack", nil, alice).OK(t)["access_token"],
		"a grant of shop first is renewed at shop second")
}

// An end that cannot be written down is bad input.
func TestAttackShareThatEndsTooLate(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.sharing(t)
	for _, expires := range []string{
		"9999-12-31T23:59:59-23:00", "0000-01-01T00:00:00Z", "99999999999999", "18446744074", "9223372037", "300000000h",
		"100000000d", "NaN", "1e30", "36893488150", "-1",
	} {
		r := f.Write(ownShares, map[string]any{"everyone": true, "expires": expires}, alice)
		assert.Equal(t, http.StatusBadRequest, r.Status, "%s: %s %v", expires, r.Text, r.Response)
	}
	assert.Empty(t, f.Read(ownShares, nil, alice).OK(t)["shares"])
}

// A key of the owner's that takes the place of the one that was offered is not what was offered.
func TestAttackOfferOfAnotherKey(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.people()
	f.key(t, "self/key", alice)
	f.offers(t, "user/e-alice/key", "org/acme/key", alice)
	f.Write("connections/self/key", map[string]any{"api_key": openaiKey + "private"}, alice).OK(t)
	f.accept("org/acme/key", "user/e-alice/key", bob)
	r := f.Read("creds/org/acme/key", nil, bob)
	if r.Response != nil {
		assert.NotEqual(t, openaiKey+"private", r.Data["api_key"])
	}
}

// Once its owner ended a share, stopped or moved the connection, no reader that asks then is served.
func TestAttackReadersThatRaceTheOwner(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.sharing(t)
	for name, c := range map[string]struct{ stop, undo func() testenv.Result }{
		"unshare": {
			func() testenv.Result { return f.Delete(ownShares, nil, alice) },
			func() testenv.Result { return testenv.Result{} },
		},
		"disable": {
			func() testenv.Result {
				return f.Write("connections/self/slack", map[string]any{"disabled": true}, alice)
			},
			func() testenv.Result {
				return f.Write("connections/self/slack", map[string]any{"disabled": false}, alice)
			},
		},
		"move": {
			func() testenv.Result { return f.Write("transfer/self/slack", map[string]any{"to": "self/crm"}, alice) },
			func() testenv.Result { return f.Write("transfer/self/crm", map[string]any{"to": "self/slack"}, alice) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 {
				f.share(t, map[string]any{"entities": "e-bob"})
				var over sync.WaitGroup
				done := make(chan struct{})
				for range 4 {
					over.Go(func() {
						for {
							select {
							case <-done:
								return
							default:
								f.Read(sharedSlack, nil, bob)
								f.List("connections/shared/user/e-alice/", bob)
								f.Write("check/shared/user/e-alice/slack", nil, bob)
							}
						}
					})
				}
				c.stop()
				assert.NotEqual(t, http.StatusOK, f.Read(sharedSlack, nil, bob).Status)
				close(done)
				over.Wait()
				c.undo()
			}
		})
	}
}

// Whatever write fails, a share that was ended is not served, nor after a crash; and what failed changed nothing else.
func TestAttackSharesWhileStorageFails(t *testing.T) {
	for n := 1; n <= 5; n++ {
		for _, name := range []string{"share", "unshare", "restore"} {
			t.Run(fmt.Sprint(name, n), func(t *testing.T) {
				f := newFixture(t, Options{}, testenv.InProcess)
				f.sharing(t)
				f.share(t, map[string]any{"entities": "e-bob"})
				back := f.own(t, aliceSlack, nil, bob)
				f.Storage.FailWrite(n)
				var r testenv.Result
				switch name {
				case "share":
					r = f.Write(ownShares, map[string]any{"entities": "e-carol"}, alice)
				case "unshare":
					r = f.Delete(ownShares, nil, alice)
				default:
					r = f.Write("exchange", back, bob)
				}
				f.Storage.Judge(nil)
				for range 2 {
					carols, bobs := f.Read(sharedSlack, nil, carol).Status, f.Read(sharedSlack, nil, bob).Status
					ok := r.Status < 300
					assert.Equal(t, name == "share" && ok, carols == http.StatusOK, "%d", carols)
					assert.Equal(t, name != "unshare" || !ok, bobs == http.StatusOK, "%d", bobs)
					f.Read("creds/"+aliceSlack, nil, bob).Refused(t, http.StatusForbidden, "private")
					view := f.Read("connections/self/slack", nil, alice).OK(t)
					assert.Equal(t, true, view["private"])
					f.Read("creds/self/slack", nil, alice).OK(t)
					f.saved(t)
					f.restart(t)
					f.System.SetReplication(0)
					f.people()
				}
			})
		}
	}
}

// What an operator froze of an owner is not served under another, whoever takes it there.
func TestAttackFreezeIsLiftedByATransfer(t *testing.T) {
	for name, offered := range map[string]bool{"offered before": true, "offered since": false} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, Options{}, testenv.InProcess)
			f.people()
			f.connect(t, "self/slack", alice)
			if offered {
				f.offers(t, aliceSlack, "org/hers/slack", alice)
			}
			f.Write("config", map[string]any{"frozen_owners": "user/e-alice", "frozen_reason": "laptop stolen"}).OK(t)
			f.Read("creds/self/slack", nil, alice).Refused(t, http.StatusForbidden, "frozen")
			if !offered {
				f.Write("transfer/self/slack", map[string]any{"to": "org/hers/slack"}, alice)
			}
			f.accept("org/hers/slack", "self/slack", alice)
			assert.NotEqual(t, http.StatusOK, f.Read("creds/org/hers/slack", nil, alice).Status, "user/e-alice is frozen")
		})
	}
}

// What is archived since its owner left is not among the rows that leave out what is archived.
func TestAttackInventoryOfLeavers(t *testing.T) {
	l := newLeaving(t, testenv.InProcess)
	l.Write("config", map[string]any{"leaver_grace": "24h"}).OK(t)
	l.people()
	l.connect(t, "self/slack", alice)
	l.days(t, 1)
	l.System.DisableEntity("e-alice", true)
	l.days(t, 4)
	require.Equal(t, "archived owner_disabled", l.standing(t, aliceSlack))
	paths, _ := rowsOf(t, l.Read("inventory", nil))
	assert.Empty(t, paths, "rows leave out what is archived")
	paths, _ = rowsOf(t, l.Read("inventory", map[string]any{"archived": true}))
	assert.Equal(t, []string{aliceSlack}, paths)
}

// A grant that somebody else brings again takes nothing from what there was: it lives, and reaches more.
func TestAttackRestoreTakesScopesAway(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.people()
	f.Write("providers/acme", map[string]any{"scopes": "", "allowed_scopes": "*"}).OK(t)
	asked := map[string]any{"scopes": "read,write,admin", "required_scopes": "read"}
	f.Write("exchange", f.own(t, "self/slack", asked, alice), alice).OK(t)
	before := texts(t, f.Read("connections/self/slack", nil, alice).OK(t)["scopes"])
	require.Contains(t, before, "admin")
	f.Write("exchange", f.own(t, aliceSlack, nil, bob), bob)
	assert.Equal(t, before, texts(t, f.Read("connections/self/slack", nil, alice).OK(t)["scopes"]))
}

// Neither spellings nor words in the place of owners lead to what is shared of another owner.
func TestAttackOwnersAreToldApart(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.sharing(t)
	f.key(t, "org/acme/self/slack", alice)
	f.key(t, "org/e-alice/slack")
	f.share(t, map[string]any{"entities": "e-bob"})
	for _, path := range []string{
		"org/acme/user/e-alice/slack", "org/e-alice/slack", "self/slack", "org/acme/self/slack", "slack",
		"shared/user/e-alice/slack",
		"user/e-alice/shared", "user/shared/user/e-alice/slack", "org/shared/user/e-alice/slack", "user/E-ALICE/slack",
		"user/e-alice/slack/", "org//user/e-alice/slack", "user/e-alice/../e-alice/slack", "org/e-alice/user/e-alice/slack",
		"user/self/slack", "org/default/user/e-alice/slack", "user/entity:e-alice/slack",
	} {
		for _, r := range []testenv.Result{
			f.Read("creds/shared/"+path, map[string]any{"user": "e-alice", "name": "slack", "org": ""}, bob),
			f.Write("check/shared/"+path, map[string]any{"user": "e-alice", "name": "slack"}, bob),
		} {
			assert.GreaterOrEqual(t, r.Status, 400, path)
		}
	}
	for _, path := range []string{"org/acme/user/e-alice/slack", "org/e-alice/slack"} {
		assert.GreaterOrEqual(t, f.Write("shares/"+path, map[string]any{"everyone": true}, testenv.Entity("acme")).Status, 400)
		assert.GreaterOrEqual(t, f.Write("shares/"+path, map[string]any{"everyone": true}, bob).Status, 400)
	}
	paths, _ := rowsOf(t, f.Read("inventory/self", map[string]any{"owner": "user/e-alice"}, bob))
	assert.Empty(t, paths)
	paths, _ = rowsOf(t, f.Read("inventory/org/e-alice", nil, bob))
	assert.Equal(t, []string{"org/e-alice/slack"}, paths)
	paths, _ = rowsOf(t, f.Read("inventory/user/e-alice", map[string]any{"cursor": cursorOf(aKey("a"))}, bob))
	assert.Equal(t, []string{"user/e-alice/slack"}, paths)
}

// Who deleted or moved what was private is told to its owner, and to nobody else.
func TestAttackWhatBecameOfAPrivateConnection(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *fixture){
		"deleted": func(t *testing.T, f *fixture) { f.Delete("connections/"+aliceSlack, nil, carol).OK(t) },
		"renamed": func(t *testing.T, f *fixture) { f.offers(t, aliceSlack, "user/e-alice/crm", alice) },
		"taken without its credential": func(t *testing.T, f *fixture) {
			f.offers(t, aliceSlack, "org/acme/slack", carol)
			f.accept("org/acme/slack", aliceSlack, carol).OK(t)
		},
		"given away": func(t *testing.T, f *fixture) {
			f.offers(t, aliceSlack, "org/acme/slack", alice)
			f.accept("org/acme/slack", aliceSlack, carol).OK(t)
		},
		"opened, closed and deleted": func(t *testing.T, f *fixture) {
			f.Write("connections/self/slack", map[string]any{"private": false}, alice).OK(t)
			f.Write("connections/self/slack", map[string]any{"private": true}, alice).OK(t)
			f.Delete("connections/"+aliceSlack, nil, carol).OK(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, Options{}, testenv.InProcess)
			f.sharing(t)
			f.share(t, map[string]any{"entities": "e-bob"})
			end(t, f)
			for range 2 {
				told := f.Read("creds/self/slack", nil, alice)
				told.Refused(t, http.StatusBadRequest, "; it was ")
				for _, who := range []testenv.Caller{bob, carol, testenv.Root, testenv.Batch} {
					for _, path := range []string{"creds/" + aliceSlack, sharedSlack} {
						r := f.Read(path, nil, who)
						assert.GreaterOrEqual(t, r.Status, 400)
						assert.NotContains(t, r.Text, "; it was ")
					}
				}
				f.restart(t)
				f.System.SetReplication(0)
				f.people()
			}
		})
	}
}

// Two who accept, rename, delete and stop at once leave one connection, which one path serves at the most, and an
// owner's stop that was taken holds.
func TestAttackMovesThatRaceStops(t *testing.T) {
	for range 20 {
		f := newFixture(t, Options{}, testenv.InProcess)
		f.people()
		f.connect(t, "self/slack", alice)
		f.Write("connections/self/slack", map[string]any{"private": false}, alice).OK(t)
		f.offers(t, aliceSlack, "org/acme/slack", bob)
		var stopped testenv.Result
		var all sync.WaitGroup
		all.Go(func() { f.accept("org/acme/slack", aliceSlack, bob) })
		all.Go(func() { f.Write("transfer/"+aliceSlack, map[string]any{"to": "user/e-alice/crm"}, carol) })
		all.Go(func() { stopped = f.Write("connections/self/slack", map[string]any{"disabled": true}, alice) })
		all.Wait()
		served := 0
		for _, path := range []string{aliceSlack, "user/e-alice/crm", "org/acme/slack"} {
			if f.Read("creds/"+path, nil, bob).Status == http.StatusOK {
				served++
			}
		}
		assert.LessOrEqual(t, served, 1)
		if stopped.Status < 300 {
			assert.Zero(t, served, "alice was told that it is stopped")
		}
	}
}
