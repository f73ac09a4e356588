package backend

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// allowDevices has the provider acme take device codes, of entities that Vault knows.
func (f *fixture) allowDevices(t *testing.T) {
	t.Helper()
	settings := f.acme()
	settings["endpoints"].(map[string]any)["device"] = f.provider.URL + "/device"
	settings["kinds"] = "authorization_code,device_code"
	f.Write("providers/acme", settings).OK(t)
	for _, entity := range []string{"e-alice", "e-bob"} {
		f.System.AddEntity(entity)
	}
}

// device starts a flow on another device and gives its answer.
func (f *fixture) device(t *testing.T, path string, data map[string]any, as ...testenv.Caller) map[string]any {
	t.Helper()
	return f.Write("device-code/"+path, with(map[string]any{"provider": "acme"}, data), as...).OK(t)
}

// agree has a person type the code of a flow and consent.
func (f *fixture) agree(t *testing.T, flow map[string]any) {
	t.Helper()
	f.provider.Agree(t, flow["user_code"].(string))
}

func (f *fixture) polls() int { return f.provider.Count(providertest.StepPoll) }

// idle waits until nothing is due and nothing is under way.
func (f *fixture) idle(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		s := f.Read("status", nil).OK(t)
		rests := number(s["calls"])+number(s["calls_waiting"])+number(s["due"]) == 0
		if b, ok := f.Backend.(*backend); ok {
			report := b.tasks.Report()
			rests = rests && report.Running+report.Due == 0 && !b.beating.Load()
		}
		return rests
	}, time.Minute, time.Millisecond, "nothing is left to do now")
}

// elapses lets time pass, and whatever falls due be done.
func (f *fixture) elapses(t *testing.T, d time.Duration) {
	t.Helper()
	f.Advance(d)
	f.periodic(t)
	f.idle(t)
}

// polled lets time pass until the next poll, and waits for what comes of it.
func (f *fixture) polled(t *testing.T, d time.Duration) {
	t.Helper()
	before := f.polls()
	f.Advance(d)
	f.periodic(t)
	require.Eventually(t, func() bool { return f.polls() > before }, time.Minute, time.Millisecond, "it is polled")
	f.idle(t)
}

// becomes waits until a flow has a state, and gives why.
func (f *fixture) becomes(t *testing.T, path, state string, as ...testenv.Caller) string {
	t.Helper()
	var data map[string]any
	require.Eventually(t, func() bool {
		data = f.Read("device-code/"+path, nil, as...).OK(t)
		return data["state"] == state
	}, time.Minute, time.Millisecond, "it becomes %s, and is %v", state, &data)
	return data["reason"].(string)
}

// awaits waits until a pending flow says what it waits for.
func (f *fixture) awaits(t *testing.T, path, says string, as ...testenv.Caller) {
	t.Helper()
	var data map[string]any
	require.Eventually(t, func() bool {
		data = f.Read("device-code/"+path, nil, as...).OK(t)
		return data["state"] == "pending" && strings.Contains(data["reason"].(string), says)
	}, time.Minute, time.Millisecond, "it waits for %s, and is %v", says, &data)
}

// connects lets time pass until a flow has connected.
func (f *fixture) connects(t *testing.T, path string, as ...testenv.Caller) {
	t.Helper()
	require.Eventually(t, func() bool {
		f.elapses(t, 5*time.Second)
		return f.Read("device-code/"+path, nil, as...).OK(t)["state"] == "connected"
	}, time.Minute, time.Millisecond)
}

func TestDeviceCode(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.allowDevices(t)
		r := f.Write("device-code/self/tv", map[string]any{"provider": "acme", "scopes": "read"}, alice)
		flow := r.OK(t)
		require.Len(t, r.Warnings, 1)
		assert.Contains(t, r.Warnings[0], "user/e-alice/tv")
		assert.NotEmpty(t, flow["user_code"])
		assert.Equal(t, f.provider.URL+"/activate", flow["verification_uri"])
		assert.Equal(t, f.provider.URL+"/activate?user_code="+flow["user_code"].(string), flow["verification_uri_complete"])
		assert.EqualValues(t, 5, number(flow["interval"]))
		assert.Equal(t, "2026-03-01T12:10:00Z", flow["expire_time"], "flow_ttl, for the service's code lives longer")
		assert.Contains(t, flow["next_step"], "connectors/device-code/self/tv")
		assert.Equal(t, "read", f.provider.Requests(providers.StepDevice)[0].Form.Get("scope"))

		state := f.Read("device-code/self/tv", nil, alice).OK(t)
		assert.Equal(t, map[string]any{
			"state": "pending", "reason": "", "provider": "acme", "expire_time": flow["expire_time"], "flow_id": flow["flow_id"],
			"interval": state["interval"],
		}, state)
		assert.EqualValues(t, 5, number(state["interval"]))
		view := f.Read("connections/self/tv", nil, alice).OK(t)
		assert.Equal(t, []any{"pending", "flow_open", flow["expire_time"]},
			[]any{view["status"], view["status_reason"], view["open_flow_until"]})
		f.Read("creds/self/tv", nil, alice).Refused(t, http.StatusConflict, "is pending until", "device-code/user/e-alice/tv")

		f.polled(t, 5*time.Second)
		assert.Equal(t, "pending", f.Read("device-code/self/tv", nil, alice).OK(t)["state"])
		f.agree(t, flow)
		f.polled(t, 5*time.Second)
		assert.Empty(t, f.becomes(t, "self/tv", "connected", alice))
		view = f.Read("connections/self/tv", nil, alice).OK(t)
		assert.Equal(t, []any{"active", "device_code", true, true, ""},
			[]any{view["status"], view["kind"], view["private"], view["refreshable"], view["open_flow_until"]})
		assert.Equal(t, providertest.AccountID, members(t, view["account"])["id"])
		first := f.Read("creds/self/tv", nil, alice).OK(t)["access_token"].(string)
		assert.True(t, f.provider.Alive(first))

		f.Advance(2 * time.Hour)
		second := f.Read("creds/self/tv", nil, alice).OK(t)["access_token"].(string)
		assert.NotEqual(t, first, second)
		assert.True(t, f.provider.Alive(second), "it is renewed like any other")
		polls := f.polls()
		f.elapses(t, time.Minute)
		assert.Equal(t, polls, f.polls(), "a code is not asked about once it is spent")

		code := f.provider.Requests(providertest.StepPoll)[0].Form.Get("device_code")
		require.NotEmpty(t, code)
		for _, secret := range []string{code, first, second} {
			assert.NotContains(t, f.Logs.String(), secret)
			for _, answer := range []testenv.Result{
				f.Read("connections/self/tv", nil, alice), f.Read("history/self/tv", nil, alice), f.Read("inventory", nil),
			} {
				assert.NotContains(t, fmt.Sprint(answer.OK(t)), secret)
			}
		}
	})
}

// What is kept of a flow says nothing that could be spent, nor what the person types.
func TestStoredDeviceFlow(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.allowDevices(t)
		flow := f.device(t, "tv", nil)
		entry := func() string {
			e, err := f.Storage.Get(t.Context(), "flow/"+flow["flow_id"].(string))
			require.NoError(t, err)
			require.NotNil(t, e)
			return string(e.Value)
		}
		f.polled(t, 5*time.Second)
		code := f.provider.Requests(providertest.StepPoll)[0].Form.Get("device_code")
		assert.Contains(t, entry(), code, "the entry is sealed, and the next process goes on with it")
		assert.NotContains(t, entry(), flow["user_code"])
		for _, key := range f.stored(t, "flow/") {
			assert.NotContains(t, code, key)
		}
		f.agree(t, flow)
		f.polled(t, 5*time.Second)
		f.becomes(t, "tv", "connected")
		assert.NotContains(t, entry(), code)
		assert.Less(t, len(entry()), 1<<10)
	})
}

// Whether definition, operator or owner: who does not want it has it not.
func TestDeviceCodeIsOff(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		start := func(provider string, as ...testenv.Caller) testenv.Result {
			return f.Write("device-code/self/tv", map[string]any{"provider": provider}, append(as, alice)...)
		}
		for _, kinds := range []string{"", "authorization_code", "authorization_code,client_credentials"} {
			f.Write("providers/acme", map[string]any{"kinds": kinds}).OK(t)
			assert.NotContains(t, fmt.Sprint(f.Read("providers/acme", nil).OK(t)["kinds"]), "device_code")
			start("acme").Refused(t, http.StatusForbidden, "kind device_code", "kinds on providers/acme")
		}
		f.Write("providers/slack", map[string]any{"client_id": "i", "client_secret": "s"}).OK(t)
		start("slack").Refused(t, http.StatusBadRequest, "Slack", "authorization_code")
		f.allowDevices(t)
		f.Write("providers/acme", map[string]any{"allowed_owners": "org/*"}).OK(t)
		start("acme").Refused(t, http.StatusForbidden, "allowed_owners")
		f.Write("providers/acme", map[string]any{"frozen": true, "frozen_reason": "leaked"}).OK(t)
		start("acme").Refused(t, http.StatusForbidden, "is frozen")
		assert.Zero(t, f.provider.Count(providers.StepDevice), "nobody is asked")
		f.Write("auth-code-url/tv", map[string]any{"provider": "acme", "kind": "device_code"}).Refused(t,
			http.StatusBadRequest, "device-code/org/default/tv")
	})
}

func TestDeviceCodeRequest(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.allowDevices(t)
		for name, c := range map[string]struct {
			path string
			data map[string]any
			as   testenv.Caller
			code int
			says string
		}{
			"a scope that is not allowed": {"tv", map[string]any{"scopes": "admin"}, alice, 400, "allowed_scopes"},
			"an unknown field":            {"tv", map[string]any{"redirect_uri": appRedirect}, alice, 400, "unknown field"},
			"an unknown provider":         {"tv", map[string]any{"provider": "other"}, alice, 400, "no provider"},
			"an input there is not":       {"tv", map[string]any{"inputs": map[string]any{"shop": "x"}}, alice, 400, "shop"},
			"a flow's name":               {"tv", map[string]any{"flow_id": "x"}, alice, 400, "flow_id"},
			"another's name":              {"user/e-bob/tv", nil, alice, 403, "provision=true"},
			"nobody that could be proven": {"tv", nil, testenv.Batch, 400, "neither an entity nor an accessor"},
			"self of nobody":              {"self/tv", nil, testenv.Root, 400, "no entity"},
			"a bad name":                  {"TV", nil, alice, 400, "TV"},
			"private of an organization":  {"tv", map[string]any{"private": true}, alice, 400, "private"},
		} {
			r := f.Write("device-code/"+c.path, with(map[string]any{"provider": "acme"}, c.data), c.as)
			require.Equal(t, c.code, r.Status, "%s: %s", name, r.Text)
			assert.Contains(t, r.Text, c.says, name)
		}
		f.System.SetReplication(consts.ReplicationPerformanceStandby)
		r := f.Write("device-code/tv", map[string]any{"provider": "acme"}, alice)
		assert.ErrorContains(t, r.Err, "readonly", "so that Vault asks the active node")
		assert.Zero(t, f.provider.Count(providers.StepDevice))
		assert.Empty(t, f.stored(t, "flow/"), "bad input leaves no trace")
	})
}

// What the service says to the start is told at once, and nothing is left of it.
func TestDeviceCodeIsNotGiven(t *testing.T) {
	for name, c := range map[string]struct {
		answer providertest.Behavior
		status int
		says   string
	}{
		"app refused": {
			providertest.Respond(401, `{"error":"invalid_client","error_description":"words"}`), 400, "client_id",
		},
		"scope":        {providertest.Respond(400, `{"error":"invalid_scope","error_description":"words"}`), 400, "scopes"},
		"server error": {providertest.Respond(503, `words`), 502, "try again later"},
		"a lost code":  {providertest.Respond(200, `{"user_code":"words"}`), 502, "device"},
		"no address":   {providertest.Respond(200, `{"device_code":"d","user_code":"words","expires_in":9}`), 502, "device"},
		"an address that runs": {providertest.Respond(200,
			`{"device_code":"d","user_code":"u","expires_in":9,"verification_uri":"javascript:words"}`), 502, "device"},
		"a code that misleads": {
			providertest.Respond(200,
				`{"device_code":"d","user_code":"words\u202e","expires_in":9,"verification_uri":"https://e.example"}`),
			502, "device",
		},
		"no end": {providertest.Respond(200,
			`{"device_code":"d","user_code":"words","verification_uri":"https://e.example"}`), 502, "device"},
		"hangs up": {providertest.Reset(), 502, "try again later"},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.allowDevices(t)
				f.provider.Next(providers.StepDevice, c.answer)
				r := f.Write("device-code/tv", map[string]any{"provider": "acme"}, alice)
				r.Refused(t, c.status, c.says)
				assert.NotContains(t, r.Text, "words")
				assert.Empty(t, f.stored(t, "flow/"))
			})
		})
	}
}

func TestDeviceCodeEndsWithoutAccount(t *testing.T) {
	words := `","error_description":"words of theirs"}`
	for name, c := range map[string]struct {
		answer providertest.Behavior
		state  string
		says   string
	}{
		"denied":  {providertest.Respond(400, `{"error":"access_denied`+words), "denied", "the person said no"},
		"expired": {providertest.Respond(400, `{"error":"expired_token`+words), "expired", "nobody typed the code in time"},
		"unknown code": {
			providertest.Respond(400, `{"error":"invalid_grant`+words), "failed", "refused the code",
		},
		"app refused": {
			providertest.Respond(401, `{"error":"invalid_client`+words), "failed", "refused the app itself",
		},
		"not for this app": {
			providertest.Respond(400, `{"error":"unauthorized_client`+words), "failed", "refused the app itself",
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.allowDevices(t)
				f.device(t, "tv", nil)
				f.provider.Next(providertest.StepPoll, c.answer)
				f.polled(t, 5*time.Second)
				why := f.becomes(t, "tv", c.state)
				assert.Contains(t, why, c.says)
				assert.Contains(t, why, "device-code/org/default/tv", "it says what to do next")
				assert.NotContains(t, why, "words of theirs")
				assert.NotContains(t, why, "may have been lost", "nothing was asked before")
				if c.state == "denied" {
					assert.Equal(t, "denied", f.Read("connections/tv", nil).OK(t)["status_reason"])
					f.Read("creds/tv", nil).Refused(t, http.StatusConflict, "device-code/org/default/tv")
				} else {
					assert.Equal(t, http.StatusNotFound, f.Read("connections/tv", nil).Status)
				}
				f.restart(t)
				f.System.SetReplication(0)
				assert.Equal(t, why, f.becomes(t, "tv", c.state), "the next process says the same")
				f.elapses(t, time.Minute)
				assert.Equal(t, 1, f.polls(), "and asks no more")
				f.device(t, "tv", nil)
			})
		})
	}
}

// Our own end comes without the service, and is told for a while.
func TestDeviceCodeExpires(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.allowDevices(t)
		f.Write("config", map[string]any{"flow_ttl": "30s"}).OK(t)
		f.device(t, "tv", nil)
		f.polled(t, 20*time.Second)
		f.elapses(t, 10*time.Second)
		assert.Contains(t, f.becomes(t, "tv", "expired"), "in time")
		polls := f.polls()
		f.elapses(t, 5*time.Minute)
		assert.Equal(t, polls, f.polls())
		f.becomes(t, "tv", "expired")
		f.elapses(t, 6*time.Minute)
		f.Read("device-code/tv", nil).Refused(t, http.StatusBadRequest, "no device flow of yours")
		assert.Empty(t, f.stored(t, "flow/"))
	})
}

func TestOnlyTheStarterReadsADeviceFlow(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.allowDevices(t)
		f.Read("device-code/tv", nil, alice).Refused(t, http.StatusBadRequest, "no device flow of yours")
		flow := f.device(t, "tv", nil, alice)
		for _, who := range []testenv.Caller{bob, testenv.Root, testenv.Batch} {
			f.Read("device-code/tv", nil, who).Refused(t, http.StatusForbidden, "somebody else")
			f.Read("device-code/tv", map[string]any{"flow_id": flow["flow_id"]}, who).Refused(t, http.StatusForbidden)
			f.Delete("device-code/tv", nil, who).Refused(t, http.StatusForbidden, "somebody else")
		}
		f.Read("device-code/other", map[string]any{"flow_id": flow["flow_id"]}, alice).Refused(t, http.StatusBadRequest)
		own := f.device(t, "tv", nil, bob)
		assert.Equal(t, own["flow_id"], f.Read("device-code/tv", nil, bob).OK(t)["flow_id"])
		assert.Equal(t, flow["flow_id"], f.Read("device-code/tv", nil, alice).OK(t)["flow_id"])
		f.Delete("device-code/tv", nil, bob).OK(t)
		assert.Equal(t, "pending", f.Read("device-code/tv", nil, alice).OK(t)["state"])
		f.Read("device-code/tv", nil, bob).Refused(t, http.StatusForbidden, "somebody else")
		f.Delete("device-code/tv", nil, alice).OK(t)
		f.Read("device-code/tv", nil, alice).Refused(t, http.StatusBadRequest, "no device flow of yours")
	})
}

func TestDeviceFlowIsEnded(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.allowDevices(t)
		flow := f.device(t, "tv", nil, alice)
		f.Delete("device-code/tv", nil, alice).OK(t)
		f.agree(t, flow)
		f.elapses(t, time.Minute)
		assert.Zero(t, f.polls())
		assert.Equal(t, http.StatusNotFound, f.Read("connections/tv", nil).Status)

		former := f.device(t, "tv", nil, alice) // a start ends the former one
		flow = f.device(t, "tv", nil, alice)
		f.agree(t, former)
		f.polled(t, 5*time.Second)
		assert.Equal(t, "pending", f.Read("device-code/tv", nil, alice).OK(t)["state"])
		f.agree(t, flow)
		f.polled(t, 5*time.Second)
		f.becomes(t, "tv", "connected", alice)
		f.Delete("device-code/tv", nil, alice).OK(t)
		f.becomes(t, "tv", "connected", alice)
		assert.Equal(t, "active", f.Read("connections/tv", nil).OK(t)["status"], "what is connected stays so")
	})
}

// Whoever ends a flow while its tokens are on their way gets none.
func TestDeviceFlowIsEndedDuringAPoll(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *fixture){
		"by its starter":                func(t *testing.T, f *fixture) { f.Delete("device-code/tv", nil, alice).OK(t) },
		"by the end of its connection":  func(t *testing.T, f *fixture) { f.Delete("connections/tv", nil, alice).OK(t) },
		"by another start of the owner": func(t *testing.T, f *fixture) { f.device(t, "tv", nil, alice) },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.allowDevices(t)
				f.connect(t, "tv", alice)
				f.Advance(time.Minute)
				flow := f.device(t, "tv", nil, alice)
				f.agree(t, flow)
				asked, release := make(chan struct{}), make(chan struct{})
				f.provider.Next(providertest.StepPoll, func(s *providertest.Server, w http.ResponseWriter, r *http.Request,
					behave http.HandlerFunc,
				) {
					close(asked)
					providertest.HangUntil(release)(s, w, r, behave)
				})
				before := f.Read("creds/tv", nil).OK(t)["access_token"]
				f.Advance(5 * time.Second)
				f.periodic(t)
				<-asked
				end(t, f)
				close(release)
				f.idle(t)
				creds := f.Read("creds/tv", nil)
				if creds.Status == http.StatusOK {
					assert.Equal(t, before, creds.Data["access_token"])
				}
				if view := f.Read("connections/tv", nil); view.Status == http.StatusOK {
					assert.Equal(t, "authorization_code", view.Data["kind"])
				}
			})
		})
	}
}

// As many are open as may be, however many are started at once; and no more ask the service.
func TestDeviceStartsAtOnce(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.allowDevices(t)
		f.Write("config", map[string]any{"max_open_flows": 10}).OK(t)
		var all sync.WaitGroup
		results := make([]testenv.Result, 200)
		for i := range results {
			all.Go(func() {
				results[i] = f.Write(fmt.Sprintf("device-code/self/n%d", i), map[string]any{"provider": "acme"}, alice)
			})
		}
		all.Wait()
		opened := 0
		for _, r := range results {
			if r.Status < 300 {
				opened++
				continue
			}
			r.Refused(t, http.StatusConflict, "max_open_flows")
		}
		assert.Equal(t, 10, opened)
		assert.Equal(t, 10, f.provider.Count(providers.StepDevice))
		f.start(t, "more", nil, bob)
		f.Write("auth-code-url/self/more", map[string]any{"provider": "acme"}, alice).Refused(t, http.StatusConflict,
			"max_open_flows")
		f.device(t, "more", nil, bob)
	})
}

// The service's interval is kept, and what it says of that holds for good, in the next process too.
func TestDeviceInterval(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.allowDevices(t)
	slow := providertest.Respond(400, `{"error":"slow_down"}`)
	flow := f.device(t, "tv", nil)
	quietly := func(d time.Duration) {
		t.Helper()
		polls := f.polls()
		f.elapses(t, d)
		assert.Equal(t, polls, f.polls(), "it is too early")
	}
	quietly(4 * time.Second)
	f.polled(t, time.Second)
	quietly(4 * time.Second)
	f.provider.Next(providertest.StepPoll, slow)
	f.polled(t, time.Second)
	quietly(9 * time.Second)
	assert.EqualValues(t, 10, number(f.Read("device-code/tv", nil).OK(t)["interval"]))
	f.polled(t, time.Second)
	f.provider.Next(providertest.StepPoll, slow)
	f.polled(t, 10*time.Second)
	f.anew(t)
	quietly(14 * time.Second)
	f.polled(t, time.Second)
	f.anew(t)
	quietly(14 * time.Second)
	f.provider.Next(providertest.StepPoll, func(_ *providertest.Server, w http.ResponseWriter, r *http.Request,
		behave http.HandlerFunc,
	) {
		f.Advance(time.Minute) // the answer takes its time
		behave(w, r)
	})
	f.polled(t, time.Second)
	quietly(14 * time.Second)
	f.agree(t, flow)
	f.polled(t, time.Second)
	f.becomes(t, "tv", "connected")
	assert.Equal(t, 7, f.polls())
}
