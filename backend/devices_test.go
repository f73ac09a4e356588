package backend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// What becomes void while a person looks for the code connects nothing, and the code is sent nowhere any more.
func TestDeviceFlowIsVoid(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*testing.T, *fixture)
		says   string // empty: nothing is told any more
	}{
		"provider leads elsewhere": {func(t *testing.T, f *fixture) {
			settings := f.acme()
			settings["endpoints"].(map[string]any)["device"] = f.provider.URL + "/other"
			f.Write("providers/acme", settings).OK(t)
		}, "changed since the flow was started"},
		"provider deleted": {func(t *testing.T, f *fixture) {
			f.Delete("providers/acme", map[string]any{"force": true}).OK(t)
		}, "changed since the flow was started"},
		"kind taken away": {func(t *testing.T, f *fixture) {
			f.Write("providers/acme", map[string]any{"kinds": "authorization_code"}).OK(t)
		}, "kind device_code"},
		"owner not allowed": {func(t *testing.T, f *fixture) {
			f.Write("providers/acme", map[string]any{"allowed_owners": "user/*"}).OK(t)
		}, "allowed_owners"},
		"starter deleted":  {func(_ *testing.T, f *fixture) { f.System.RemoveEntity("e-alice") }, "not there any more"},
		"starter disabled": {func(_ *testing.T, f *fixture) { f.System.DisableEntity("e-alice", true) }, "is disabled"},
		"connection deleted": {func(t *testing.T, f *fixture) {
			f.Delete("connections/tv", nil).OK(t)
		}, ""},
		"connection renamed": {func(t *testing.T, f *fixture) {
			f.Write("transfer/tv", map[string]any{"to": "org/default/other"}).OK(t)
		}, ""},
		"connection revoked": {func(t *testing.T, f *fixture) {
			job := f.Write("revoke", map[string]any{"provider": "acme"}).OK(t)["job"].(string)
			f.Write("revoke/"+job, map[string]any{"run": true, "expect": 1}).OK(t)
			require.Eventually(t, func() bool {
				return f.Read("connections/tv", nil).OK(t)["status_reason"] == "revoked"
			}, time.Minute, time.Millisecond)
		}, "was ended meanwhile"},
		"connection of another provider": {func(t *testing.T, f *fixture) {
			f.Delete("connections/tv", nil).OK(t)
			f.key(t, "tv")
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.allowDevices(t)
				f.connect(t, "tv", alice)
				f.Advance(time.Minute)
				flow := f.device(t, "tv", nil, alice)
				f.polled(t, 5*time.Second)
				c.change(t, f)
				f.agree(t, flow)
				polls := f.polls()
				f.elapses(t, 30*time.Second)
				if c.says == "" {
					f.Read("device-code/tv", nil, alice).Refused(t, http.StatusBadRequest, "no device flow of yours")
				} else {
					assert.Contains(t, f.becomes(t, "tv", "failed", alice), c.says)
				}
				assert.Equal(t, polls, f.polls(), "the code is sent nowhere")
				if view := f.Read("connections/tv", nil); view.Status == http.StatusOK {
					assert.NotEqual(t, "device_code", view.Data["kind"])
				}
			})
		})
	}
}

// What only holds a flow up is told, and it goes on afterwards.
func TestDeviceFlowWaits(t *testing.T) {
	for name, c := range map[string]struct {
		begin, end func(*testing.T, *fixture)
		says       string
	}{
		"while it is frozen": {
			func(t *testing.T, f *fixture) { f.Write("providers/acme", map[string]any{"frozen": true}).OK(t) },
			func(t *testing.T, f *fixture) { f.Write("providers/acme", map[string]any{"frozen": false}).OK(t) },
			"is frozen",
		},
		"while Vault tells of no entities": {
			func(_ *testing.T, f *fixture) { f.System.FailEntities(errors.New("not now")) },
			func(_ *testing.T, f *fixture) { f.System.FailEntities(nil) },
			"does not tell of the entity",
		},
		"while the owner has as many as they may": {
			func(t *testing.T, f *fixture) {
				f.key(t, "full", alice)
				f.Write("config", map[string]any{"max_connections_per_owner": 1}).OK(t)
			},
			func(t *testing.T, f *fixture) {
				f.Write("config", map[string]any{"max_connections_per_owner": 0}).OK(t)
			},
			"max_connections_per_owner",
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.allowDevices(t)
				flow := f.device(t, "tv", nil, alice)
				f.agree(t, flow)
				c.begin(t, f)
				f.elapses(t, 5*time.Second)
				f.elapses(t, 30*time.Second)
				assert.Zero(t, f.polls(), "nothing is sent")
				f.awaits(t, "tv", c.says, alice)
				c.end(t, f)
				f.connects(t, "tv", alice)
			})
		})
	}
}

// What is known of the service holds for its codes, too: it asked to be left alone, and that is told.
func TestDeviceFlowWaitsForItsService(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.allowDevices(t)
	f.connect(t, "x")
	f.Advance(time.Minute)
	flow := f.device(t, "tv", nil)
	f.agree(t, flow)
	f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusTooManyRequests, "", "Retry-After", "120"))
	f.Write("refresh/x", nil)
	f.Advance(5 * time.Second)
	f.periodic(t)
	f.awaits(t, "tv", "left alone now (limited)")
	require.Eventually(t, func() bool { return !f.engine().beating.Load() }, time.Minute, time.Millisecond)
	assert.Zero(t, f.polls())
	f.polled(t, 3*time.Minute)
	assert.Empty(t, f.becomes(t, "tv", "connected"))
}

// Whose account it is, and what was granted, is judged as after a consent in a browser.
func TestDeviceCodeIsJudgedAsAConsent(t *testing.T) {
	other := providertest.Respond(http.StatusOK, `{"sub":"account-2","name":"Mallory"}`)
	connect := func(t *testing.T, f *fixture, data map[string]any, state string, as ...testenv.Caller) string {
		t.Helper()
		f.Advance(time.Minute)
		flow := f.device(t, "self/tv", data, as...)
		f.agree(t, flow)
		f.polled(t, 5*time.Second)
		return f.becomes(t, "self/tv", state, as...)
	}
	each(t, func(t *testing.T, f *fixture) {
		f.allowDevices(t)
		f.connect(t, "self/tv", alice)
		before := f.Read("creds/self/tv", nil, alice).OK(t)["access_token"]
		f.provider.Next(providers.StepIdentity, other)
		assert.Contains(t, connect(t, f, nil, "failed", alice), "another account than before")
		assert.Equal(t, before, f.Read("creds/self/tv", nil, alice).OK(t)["access_token"])
		f.provider.Next(providers.StepIdentity, other)
		connect(t, f, map[string]any{"allow_account_change": true}, "connected", alice)
		view := f.Read("connections/self/tv", nil, alice).OK(t)
		assert.Equal(t, "account-2", members(t, view["account"])["id"])
		assert.Equal(t, true, view["private"])

		f.Write("providers/acme", map[string]any{"surplus_scopes": "refuse"}).OK(t)
		f.provider.Next(providers.StepIdentity, other)
		f.provider.Next(providertest.StepPoll, providertest.Respond(http.StatusOK,
			`{"access_token":"a","refresh_token":"r","token_type":"bearer","scope":"read admin"}`))
		assert.Contains(t, connect(t, f, nil, "failed", alice), "more was granted than allowed_scopes")

		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusServiceUnavailable, ""))
		assert.Contains(t, connect(t, f, nil, "failed", alice), "could not be learned")
	})
	each(t, func(t *testing.T, f *fixture) { // what is somebody's own, others restore for the very account
		f.allowDevices(t)
		f.connect(t, "user/e-alice/tv", alice)
		f.Write("device-code/user/e-alice/tv", map[string]any{"provider": "acme", "scopes": "read"}, bob).Refused(t,
			http.StatusForbidden, "private")
		flow := f.device(t, "user/e-alice/tv", nil, bob)
		f.agree(t, flow)
		f.provider.Next(providers.StepIdentity, other)
		f.polled(t, 5*time.Second)
		assert.Contains(t, f.becomes(t, "user/e-alice/tv", "failed", bob), "for the account that it was of")
		flow = f.device(t, "user/e-alice/tv", nil, bob)
		f.agree(t, flow)
		f.polled(t, 5*time.Second)
		f.becomes(t, "user/e-alice/tv", "connected", bob)
		f.Read("creds/user/e-alice/tv", nil, bob).Refused(t, http.StatusForbidden, "private")
		f.Read("creds/user/e-alice/tv", nil, alice).OK(t)
	})
}

// An issuer's id_token is checked, though no nonce can be in it; and where its keys cannot be had, the tokens wait.
func TestDeviceCodeAtAnIssuer(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.issuer(t)
		f.Write("providers/idp", map[string]any{"kinds": "device_code"}).OK(t)
		f.System.AddEntity("e-alice")
		flow := f.device(t, "tv", map[string]any{"provider": "idp"}, alice)
		f.agree(t, flow)
		f.provider.Next("jwks", providertest.Respond(http.StatusServiceUnavailable, ""), providertest.Reset())
		f.polled(t, 5*time.Second)
		f.awaits(t, "tv", "keys cannot be had", alice)
		assert.Equal(t, http.StatusOK, f.Read("connections/tv", nil).Status, "it is pending")
		f.connects(t, "tv", alice)
		assert.Equal(t, 1, f.polls(), "a code is spent once")
		assert.Equal(t, "account-1", members(t, f.Read("connections/tv", nil).OK(t)["account"])["id"])
	})
	each(t, func(t *testing.T, f *fixture) {
		f.issuer(t)
		f.Write("providers/idp", map[string]any{"kinds": "device_code"}).OK(t)
		f.System.AddEntity("e-alice")
		flow := f.device(t, "tv", map[string]any{"provider": "idp"}, alice)
		f.agree(t, flow)
		f.polled(t, 5*time.Second)
		assert.Contains(t, f.becomes(t, "tv", "failed", alice), "id_token_refused")
		assert.Equal(t, http.StatusNotFound, f.Read("connections/tv", nil).Status)
	}, providertest.WithIDTokenClaims(func(claims map[string]any) { claims["aud"] = "another" }))
}

// A service that fails is asked again, ever less often, and nothing is given up before the end.
func TestDevicePollsOfAServiceThatFails(t *testing.T) {
	for name, answer := range map[string]providertest.Behavior{
		"server error":   providertest.Respond(500, "words"),
		"gateway":        providertest.Respond(502, "words"),
		"firewall":       providertest.Respond(403, "<html>words"),
		"rate limited":   providertest.Respond(429, "words"),
		"garbage":        providertest.Respond(200, `{"access_token":`),
		"nothing at all": providertest.Reset(),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, Options{}, testenv.InProcess)
			f.allowDevices(t)
			flow := f.device(t, "tv", nil, alice)
			f.provider.Next(providertest.StepPoll, answer, answer)
			f.polled(t, 5*time.Second)
			why := f.becomes(t, "tv", "pending", alice)
			assert.Contains(t, why, "it is asked again")
			assert.NotContains(t, why, "words")
			polls := f.polls()
			f.elapses(t, 9*time.Second)
			assert.Equal(t, polls, f.polls(), "half as often")
			f.agree(t, flow)
			require.Eventually(t, func() bool {
				f.elapses(t, 10*time.Second)
				return f.Read("device-code/tv", nil, alice).OK(t)["state"] == "connected"
			}, time.Minute, time.Millisecond)
			assert.Equal(t, 3, f.polls())
		})
	}
}

// An answer that was lost on its way is told, since tokens may have been in it.
func TestDevicePollIsLost(t *testing.T) {
	for name, answer := range map[string]providertest.Behavior{
		"connection": providertest.ResetAfter(), "garbage": providertest.GarbageAfter(),
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.allowDevices(t)
				flow := f.device(t, "tv", nil, alice)
				f.polled(t, 5*time.Second)
				f.agree(t, flow)
				f.provider.Next(providertest.StepPoll, answer)
				f.polled(t, 5*time.Second)
				f.polled(t, 10*time.Second)
				assert.Contains(t, f.becomes(t, "tv", "failed", alice), "an earlier answer may have been lost")
				assert.Equal(t, http.StatusNotFound, f.Read("connections/tv", nil).Status)
			})
		})
	}
}

// tasksRest waits until no task runs and none is due, without a request of its own.
func (f *fixture) tasksRest(t *testing.T, within time.Duration) {
	t.Helper()
	assert.Eventually(t, func() bool {
		r := f.engine().tasks.Report()
		return r.Running+r.Due == 0
	}, within, time.Millisecond)
}

// Storage refuses one access of the poll that brings the tokens, whichever it is, once or until the person is told.
func TestDevicePollWhileStorageFails(t *testing.T) {
	for _, lasting := range []bool{false, true} {
		t.Run(fmt.Sprintf("lasting %t", lasting), func(t *testing.T) {
			for n := 1; ; n++ {
				f := newFixture(t, Options{}, testenv.InProcess)
				e := &errand{fixture: f}
				f.allowDevices(t)
				flow := f.device(t, "tv", nil)
				f.agree(t, flow)
				f.idle(t)
				met := e.refuses(n, lasting)
				f.Advance(5 * time.Second)
				f.engine().tasks.Wake()
				f.tasksRest(t, 20*time.Second)
				f.Storage.Judge(nil)
				what := fmt.Sprint("access ", n)
				if !met() {
					require.Greater(t, n, 4, "it needs storage")
					f.becomes(t, "tv", "connected")
					return
				}
				require.Eventually(t, func() bool {
					f.elapses(t, 5*time.Second)
					return f.Read("device-code/tv", nil).OK(t)["state"] == "connected"
				}, time.Minute, time.Millisecond, what)
				assert.Equal(t, 1, f.polls(), "tokens come once: %s", what)
				f.saved(t)
				f.idle(t)
				token := f.token(t, "tv")
				f.anew(t)
				assert.Equal(t, "connected", f.Read("device-code/tv", nil).OK(t)["state"], what)
				assert.Equal(t, token, f.token(t, "tv"), what)
				assert.True(t, f.provider.Alive(token.(string)), what)
				f.Stop()
				require.Less(t, n, 40, "it has no end")
			}
		})
	}
}

// Storage hangs at one access of it, and a write lands when nobody expects it any more.
func TestDevicePollWhileStorageHangs(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for time-outs")
	}
	tests := map[string]func(*testing.T){}
	for n := 1; n < 10; n++ {
		tests[fmt.Sprint("access ", n)] = func(t *testing.T) {
			f := newFixture(t, Options{}, testenv.InProcess)
			f.allowDevices(t)
			flow := f.device(t, "tv", nil)
			f.agree(t, flow)
			f.idle(t)
			f.hangsAt(t, n, func() testenv.Result {
				f.Advance(5 * time.Second)
				f.engine().tasks.Wake()
				f.tasksRest(t, 60*time.Second)
				return testenv.Result{}
			})
			f.Advance(time.Minute) // late writes are looked after by then
			require.Eventually(t, func() bool {
				f.elapses(t, 5*time.Second)
				return f.Read("device-code/tv", nil).OK(t)["state"] == "connected"
			}, time.Minute, time.Millisecond)
			assert.Equal(t, 1, f.polls())
			f.saved(t)
			token := f.token(t, "tv")
			f.anew(t)
			assert.Equal(t, token, f.token(t, "tv"))
			assert.True(t, f.provider.Alive(token.(string)))
		}
	}
	abreast(t, tests)
}

// A flow that was ended stays so though a write from before lands after it.
func TestDeviceFlowThatWasEndedStaysSo(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for time-outs")
	}
	f := newFixture(t, Options{}, testenv.InProcess)
	f.allowDevices(t)
	flow := f.device(t, "tv", nil)
	f.agree(t, flow)
	f.idle(t)
	land := make(chan struct{})
	f.Storage.Hang(testenv.Nth(1, testenv.Access.Write), func(testenv.Access) { <-land })
	f.elapses(t, 5*time.Second)
	f.Storage.Hang(nil, nil)
	require.Zero(t, f.polls(), "it could not be noted")
	f.Delete("device-code/tv", nil).OK(t)
	close(land)
	require.Eventually(t, func() bool { return f.Storage.Landed() == 1 }, time.Minute, time.Millisecond)
	f.elapses(t, 10*time.Second)
	f.elapses(t, time.Minute)
	f.elapses(t, time.Minute)
	assert.Zero(t, f.polls())
	f.Read("device-code/tv", nil).Refused(t, http.StatusBadRequest, "no device flow of yours")
	f.restart(t)
	f.System.SetReplication(0)
	f.elapses(t, time.Minute)
	assert.Zero(t, f.polls(), "for the next process, too")
}

// A start that storage refuses, at whichever write, leaves nothing that is polled.
func TestDeviceStartWhileStorageFails(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.allowDevices(t)
		f.Storage.FailWrite(1)
		f.Write("device-code/tv", map[string]any{"provider": "acme"}, alice).Refused(t, http.StatusInternalServerError)
		f.Storage.Judge(nil)
		f.elapses(t, time.Minute)
		assert.Zero(t, f.polls())
		former := f.device(t, "tv", nil, alice)
		f.Advance(time.Second)
		f.Storage.FailWrite(2) // the former flow cannot be ended
		flow := f.device(t, "tv", nil, alice)
		f.Storage.Judge(nil)
		assert.NotEqual(t, former["flow_id"], flow["flow_id"])
		assert.Equal(t, flow["flow_id"], f.Read("device-code/tv", nil, alice).OK(t)["flow_id"])
		f.agree(t, flow)
		f.polled(t, 5*time.Second)
		f.becomes(t, "tv", "connected", alice)
	})
}

// The process dies at one access to storage of the poll that brings the tokens: the next one connects, or says that
// they may be lost. It never says "connected" of what is not there.
func TestDevicePollWhileTheProcessDies(t *testing.T) {
	for n := 1; ; n++ {
		f := newFixture(t, Options{}, testenv.InProcess)
		e := &errand{fixture: f}
		f.allowDevices(t)
		flow := f.device(t, "tv", nil)
		f.agree(t, flow)
		f.idle(t)
		met := e.refuses(n, true)
		f.Advance(5 * time.Second)
		f.engine().tasks.Wake()
		f.tasksRest(t, 20*time.Second)
		f.Stop()
		f.Storage.Judge(nil)
		if !met() {
			require.Greater(t, n, 4, "it needs storage")
			return
		}
		f.anew(t)
		f.elapses(t, 10*time.Second)
		f.elapses(t, 10*time.Second)
		state := f.Read("device-code/tv", nil).OK(t)
		view := f.Read("connections/tv", nil)
		if view.Status == http.StatusOK {
			require.Equal(t, []any{"connected", "active"}, []any{state["state"], view.Data["status"]}, "access %d", n)
			assert.True(t, f.provider.Alive(f.token(t, "tv").(string)))
		} else {
			require.Equal(t, "failed", state["state"], "access %d", n)
			assert.Contains(t, state["reason"], "an earlier answer may have been lost")
		}
		require.Less(t, n, 40, "it has no end")
	}
}

// Of two nodes the one polls that may write; when the lead changes during a poll, the other goes on when that is due.
func TestDevicePollsOfTwoNodes(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.allowDevices(t)
	first := f.Env
	second := f.mount(t, f.Storage) // before there is a flow, which it would take for its own while it may write
	second.System.SetReplication(consts.ReplicationPerformanceStandby)
	f.Env = second
	f.beats(t)
	f.Env = first
	flow := f.device(t, "tv", nil)
	both := func() {
		t.Helper()
		for _, node := range []*testenv.Env{first, second} {
			f.Env = node
			f.periodic(t)
			f.idle(t)
		}
	}
	for range 3 {
		polls := f.polls()
		f.Advance(5 * time.Second)
		both()
		require.Equal(t, polls+1, f.polls(), "one of them polls")
	}
	asked, release := make(chan struct{}), make(chan struct{})
	f.provider.Next(providertest.StepPoll, func(s *providertest.Server, w http.ResponseWriter, r *http.Request,
		behave http.HandlerFunc,
	) {
		close(asked)
		providertest.HangUntil(release)(s, w, r, behave)
	})
	f.Advance(5 * time.Second)
	f.Env = first
	f.periodic(t)
	<-asked
	first.System.SetReplication(consts.ReplicationPerformanceStandby)
	f.Env = f.mount(t, f.Storage) // the mounts of a node that begins to write are made anew
	f.beats(t)
	polls := f.polls()
	f.elapses(t, 4*time.Second)
	assert.Equal(t, polls, f.polls(), "the former node's poll counts")
	f.agree(t, flow)
	f.polled(t, time.Second)
	f.becomes(t, "tv", "connected")
	close(release) // its answer comes at last: the code is spent
	f.Env, second = first, f.Env
	f.idle(t)
	f.Env = second
	assert.Equal(t, "active", f.Read("connections/tv", nil).OK(t)["status"])
	f.becomes(t, "tv", "connected")
}

// A node whose writes do not arrive sends no code: it may have lost the lead.
func TestDevicePollIsFenced(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.allowDevices(t)
		flow := f.device(t, "tv", nil, alice)
		f.agree(t, flow)
		f.Storage.FailWrites()
		f.elapses(t, 5*time.Second)
		f.elapses(t, 20*time.Second)
		assert.Zero(t, f.polls())
		f.awaits(t, "tv", "storage", alice)
		f.Storage.Judge(nil)
		f.connects(t, "tv", alice)
	})
	f := newFixture(t, Options{Paused: true}, testenv.InProcess) // a restored snapshot: the original has the flow too
	f.allowDevices(t)
	f.device(t, "tv", nil, alice)
	assert.Contains(t, f.Read("device-code/tv", nil, alice).OK(t)["reason"], "refresh_paused_reason")
	f.Advance(time.Minute)
	f.periodic(t)
	require.Eventually(t, func() bool { return !f.engine().beating.Load() }, time.Minute, time.Millisecond)
	assert.Zero(t, f.polls())
}

// What is done for a flow ends with the mount: tokens that came by then are kept.
func TestMountEndsDuringADevicePoll(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.allowDevices(t)
	flow := f.device(t, "tv", nil)
	f.agree(t, flow)
	asked, release := make(chan struct{}), make(chan struct{})
	f.provider.Next(providertest.StepPoll, func(s *providertest.Server, w http.ResponseWriter, r *http.Request,
		behave http.HandlerFunc,
	) {
		close(asked)
		providertest.HangUntil(release)(s, w, r, behave)
	})
	f.Advance(5 * time.Second)
	f.periodic(t)
	<-asked
	time.AfterFunc(50*time.Millisecond, func() { close(release) })
	f.Stop()
	f.anew(t)
	assert.Equal(t, "connected", f.Read("device-code/tv", nil).OK(t)["state"])
	assert.True(t, f.provider.Alive(f.token(t, "tv").(string)))
}

// One service that hangs does not keep the codes of another waiting, and no flow is polled in a hot loop.
func TestDevicePollsAreBounded(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.allowDevices(t)
	const flows = 40
	for i := range flows {
		f.device(t, fmt.Sprintf("n%d", i), nil, alice)
	}
	var inside, most atomic.Int32
	for range flows {
		f.provider.Next(providertest.StepPoll, func(_ *providertest.Server, w http.ResponseWriter, r *http.Request,
			behave http.HandlerFunc,
		) {
			now := inside.Add(1)
			defer inside.Add(-1)
			for before := most.Load(); now > before && !most.CompareAndSwap(before, now); before = most.Load() {
			}
			behave(w, r)
		})
	}
	f.Advance(5 * time.Second)
	f.periodic(t)
	require.Eventually(t, func() bool { return f.polls() == flows }, time.Minute, time.Millisecond)
	f.idle(t)
	assert.LessOrEqual(t, most.Load(), int32(12), "places of a provider that no person asked for")
	for range 20 {
		f.periodic(t)
		f.idle(t)
	}
	assert.Equal(t, flows, f.polls())
}

// GitHub says no under HTTP 200.
func TestDeviceCodeAtGitHub(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		u := f.provider.URL
		f.Write("providers/github", map[string]any{
			"client_id": providertest.ClientID, "client_secret": providertest.ClientSecret, "kinds": "device_code",
			"endpoints": map[string]any{
				"device": u + "/device", "token": u + "/token", "identity": u + "/userinfo", "revoke": u + "/revoke",
			},
		}).OK(t)
		f.System.AddEntity("e-alice")
		codes := `{"device_code":"d-1","user_code":"WDJB-MJHT","verification_uri":"https://github.com/login/device",
			"expires_in":900,"interval":5}`
		start := func() {
			t.Helper()
			f.provider.Next(providers.StepDevice, providertest.Respond(200, codes))
			flow := f.Write("device-code/tv", map[string]any{"provider": "github"}, alice).OK(t)
			assert.Equal(t, []any{"WDJB-MJHT", "https://github.com/login/device", ""},
				[]any{flow["user_code"], flow["verification_uri"], flow["verification_uri_complete"]})
		}
		says := func(body string) { f.provider.Next(providertest.StepPoll, providertest.Respond(200, body)) }
		start()
		says(`{"error":"authorization_pending","error_description":"words"}`)
		f.polled(t, 5*time.Second)
		f.becomes(t, "tv", "pending", alice)
		says(`{"error":"slow_down","interval":10}`)
		f.polled(t, 5*time.Second)
		says(`{"access_token":"gho_1","token_type":"bearer","scope":"read:user,user:email"}`)
		f.provider.Next(providers.StepIdentity, providertest.Respond(200, `{"id":1,"login":"octocat"}`, "X-OAuth-Scopes",
			"read:user, user:email"))
		f.polled(t, 10*time.Second)
		f.becomes(t, "tv", "connected", alice)
		assert.Equal(t, "gho_1", f.Read("creds/tv", nil).OK(t)["access_token"])
		for _, c := range []struct{ body, state string }{
			{`{"error":"access_denied"}`, "denied"},
			{`{"error":"expired_token"}`, "expired"},
			{`{"error":"token_expired"}`, "expired"},
			{`{"error":"incorrect_device_code"}`, "failed"},
			{`{"error":"device_flow_disabled"}`, "failed"},
			{`{"error":"incorrect_client_credentials"}`, "failed"},
			{`{"error":"unsupported_grant_type"}`, "failed"},
		} {
			start()
			says(c.body)
			f.polled(t, 5*time.Second)
			f.becomes(t, "tv", c.state, alice)
		}
		f.provider.Next(providers.StepDevice, providertest.Respond(200, `{"error":"device_flow_disabled"}`))
		f.Write("device-code/tv", map[string]any{"provider": "github"}, alice).Refused(t, http.StatusBadRequest,
			"device_flow_disabled")
	})
}

// A caller who hangs up while the service thinks leaves nothing.
func TestDeviceStartIsLeft(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.allowDevices(t)
		f.Write("config", map[string]any{"max_open_flows": 1}).OK(t)
		asked := make(chan struct{})
		f.provider.Next(providers.StepDevice, func(s *providertest.Server, w http.ResponseWriter, r *http.Request,
			behave http.HandlerFunc,
		) {
			close(asked)
			providertest.Hang()(s, w, r, behave)
		})
		ctx, hangUp := context.WithCancel(t.Context())
		gone := make(chan testenv.Result)
		go func() { gone <- f.WriteCtx(ctx, "device-code/tv", map[string]any{"provider": "acme"}, alice) }()
		<-asked
		f.Write("device-code/tv", map[string]any{"provider": "acme"}, alice).Refused(t, http.StatusConflict, "max_open_flows")
		hangUp()
		assert.GreaterOrEqual(t, (<-gone).Status, 500)
		require.Eventually(t, func() bool {
			return f.Write("device-code/tv", map[string]any{"provider": "acme"}, alice).Status < 300
		}, time.Minute, time.Millisecond, "what was counted for it is free again")
		assert.Len(t, f.stored(t, "flow/"), 1)
	})
}
