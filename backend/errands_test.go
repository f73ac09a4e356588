package backend

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// An errand is a request that asks the service something and writes down what came of it: a check, a key, a choice.
// Whatever fails on the way, the connection x is as it was, or as it is to be, and nothing between.
type errand struct {
	*fixture
	send func() testenv.Result
	// state tells the two from whatever else there may be; of a key that the service says nothing to, nobody knows
	// whose it is
	before, after, unknown string
	state                  func() string
	step                   providers.Step // of the call that it makes first
	renews                 bool           // it may renew a token
	answers                bool           // an answer is worth something though it could not be written down
}

// pair is a service whose keys have two halves, so that one that is half of each shows.
const pair = `
id: pair
name: Pair
kinds: [api_key]
endpoints: {identity: 'https://pair.example.com/me'}
key: {fields: [{name: key_id, required: true}, {name: api_key, required: true, secret: true}]}
send: {headers: {X-Id: '{key_id}', X-Key: '{api_key}'}}
identity: {method: GET}
account: {id: [sub]}
`

func newErrand(t *testing.T) *errand {
	t.Helper()
	f := newFixture(t, sited(t, pair), testenv.InProcess)
	f.Write("providers/pair", map[string]any{"endpoints": map[string]any{"identity": f.provider.URL + "/userinfo"}}).OK(t)
	return &errand{fixture: f, step: providers.StepIdentity}
}

// keyIs writes the key of that name, as the service would take it.
func (e *errand) keyIs(name string) func() testenv.Result {
	return func() testenv.Result {
		e.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"of-`+name+`"}`))
		return e.Write("connections/x", map[string]any{"provider": "pair", "key_id": name, "api_key": "key-" + name})
	}
}

// stateOfKey tells both halves of the key, whose it is, and whether another could be brought back.
func (e *errand) stateOfKey() string {
	creds := e.Read("creds/x", nil)
	if creds.Status == http.StatusBadRequest {
		return "none"
	}
	view := e.Read("connections/x", nil)
	if creds.Status != http.StatusOK || view.Status != http.StatusOK {
		return fmt.Sprint(creds.Status, " ", creds.Text)
	}
	former, _ := view.Data["former_key"].(map[string]any)
	account, _ := view.Data["account"].(map[string]any)
	return fmt.Sprint(creds.Data["key_id"], " ", creds.Data["api_key"], " of ", account["id"], ", before it ",
		former["key_id"], ": ", view.Data["status"], " ", view.Data["status_reason"])
}

// stateOfGrant tells how a connection by consent stands, whose it is, and whether its token is one of those alive.
func (e *errand) stateOfGrant() string {
	view := e.Read("connections/x", nil)
	if view.Status != http.StatusOK {
		return fmt.Sprint(view.Status)
	}
	account, _ := view.Data["account"].(map[string]any)
	return fmt.Sprint(view.Data["status"], " ", view.Data["status_reason"], " of ", account["id"])
}

func errands() map[string]func(*testing.T) *errand {
	check := func(e *errand) func() testenv.Result {
		return func() testenv.Result {
			e.Advance(11 * time.Second) // or the answer of the last check is given again
			return e.Write("check/x", nil)
		}
	}
	return map[string]func(*testing.T) *errand{
		"a check that learns whose it is": func(t *testing.T) *errand {
			e := newErrand(t)
			e.provider.Next(providers.StepIdentity, outage)
			e.connect(t, "x")
			e.send, e.state, e.answers = check(e), e.stateOfGrant, true
			e.before, e.after = "active  of ", "active  of "+providertest.AccountID
			return e
		},
		"a check of a token that is refused": func(t *testing.T) *errand {
			e := newErrand(t)
			e.connect(t, "x")
			e.Advance(time.Minute)
			first := e.token(t, "x")
			e.send = func() testenv.Result {
				if e.spent() == 0 {
					e.provider.Next(providers.StepIdentity, refusal)
				}
				return check(e)()
			}
			e.state = func() string { return e.stateOfGrant() + ", " + e.stateOfToken(first) }
			active := "active  of " + providertest.AccountID
			e.before, e.after, e.answers, e.renews = active+", old", active+", new", true, true
			return e
		},
		"a check of a key that is refused": func(t *testing.T) *errand {
			e := newErrand(t)
			e.keyIs("one")().OK(t)
			e.send = func() testenv.Result {
				e.provider.Next(providers.StepIdentity, refusal)
				return check(e)()
			}
			e.state, e.answers = e.stateOfKey, true
			const key = "one key-one of of-one, before it <nil>: "
			e.before, e.after = key+"active ", key+"failed_validation key_refused"
			return e
		},
		"a check of a key that is taken again": func(t *testing.T) *errand {
			e := newErrand(t)
			e.keyIs("one")().OK(t)
			e.provider.Next(providers.StepIdentity, refusal)
			check(e)().OK(t)
			e.send = func() testenv.Result {
				e.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"of-one"}`))
				return check(e)()
			}
			e.state, e.answers = e.stateOfKey, true
			const key = "one key-one of of-one, before it <nil>: "
			e.before, e.after = key+"failed_validation key_refused", key+"active "
			return e
		},
		"a new key": func(t *testing.T) *errand {
			e := newErrand(t)
			e.send, e.state = e.keyIs("one"), e.stateOfKey
			e.before, e.after = "none", "one key-one of of-one, before it <nil>: active "
			e.unknown = "one key-one of , before it <nil>: active "
			return e
		},
		"a key in the place of another": func(t *testing.T) *errand {
			e := newErrand(t)
			e.keyIs("one")().OK(t)
			e.send, e.state = e.keyIs("two"), e.stateOfKey
			e.before = "one key-one of of-one, before it <nil>: active "
			e.after = "two key-two of of-two, before it one: active "
			e.unknown = "two key-two of , before it one: active "
			return e
		},
		"a key that is brought back": func(t *testing.T) *errand {
			e := newErrand(t)
			e.keyIs("one")().OK(t)
			e.keyIs("two")().OK(t)
			e.before = "two key-two of of-two, before it one: active "
			e.after = "one key-one of , before it two: active "
			e.state = e.stateOfKey
			e.send = func() testenv.Result {
				if e.state() == e.after { // or it would go to and fro
					return e.Read("connections/x", nil)
				}
				return e.Write("connections/x", map[string]any{"restore_former": true})
			}
			return e
		},
		"a choice": func(t *testing.T) *errand {
			e, s := choosing(t)
			s.list = []string{"one", "two"}
			s.consent(t, "x", nil).OK(t)
			e.send = func() testenv.Result { return s.Write("connections/x", siteInputs("site", "two")) }
			e.before, e.after = "pending choice of  ", "active  of two https://two.example.com"
			return e
		},
		"a choice that must be looked for": func(t *testing.T) *errand {
			e, s := choosing(t)
			s.list = []string{"one", "two"}
			s.consent(t, "x", nil).OK(t)
			s.Write("connections/x", siteInputs("site", "one")).OK(t)
			s.reach("one", "two", "three")
			var once sync.Once
			e.send = func() testenv.Result {
				once.Do(func() { s.Advance(2 * time.Hour) }) // so that the token must be renewed for it
				return s.Write("connections/x", siteInputs("site", "three"))
			}
			e.before, e.after = "active  of one https://one.example.com", "active  of three https://three.example.com"
			e.step, e.renews = providers.StepRefresh, true
			return e
		},
	}
}

// stateOfToken tells whether a connection still has the token that it had first.
func (e *errand) stateOfToken(first any) string {
	creds := e.Read("creds/x", nil)
	switch {
	case creds.Status != http.StatusOK:
		return fmt.Sprint(creds.Status, " ", creds.Text)
	case creds.Data["access_token"] == first:
		return "old"
	case e.provider.Alive(creds.Data["access_token"].(string)):
		return "new"
	}
	return "dead"
}

// choosing is an errand beside a service whose grants reach several sites.
func choosing(t *testing.T) (*errand, *sites) {
	t.Helper()
	e := newErrand(t)
	s := newSites(t, e.fixture)
	e.state = func() string {
		view := e.Read("connections/x", nil)
		if view.Status != http.StatusOK {
			return fmt.Sprint(view.Status)
		}
		config, _ := view.Data["connection_config"].(map[string]string)
		return fmt.Sprint(view.Data["status"], " ", view.Data["status_reason"], " of ", config["site"], " ",
			config["site_url"])
	}
	return e, s
}

// sound asserts that nothing is lost and nothing is half done, whoever looks.
func (e *errand) sound(t *testing.T, what string) (done bool) {
	t.Helper()
	state := e.state()
	require.Contains(t, []string{e.before, e.after}, state, what)
	e.most(t, 2)
	return state == e.after
}

// afterwards asserts what must hold once the failure is over: what was answered is there, in this process and the next,
// and the request sent again does all of it.
func (e *errand) afterwards(t *testing.T, first testenv.Result, what string) {
	t.Helper()
	what = fmt.Sprintf("%s: %d %s", what, first.Status, first.Text)
	succeeded := first.Status < 300
	require.True(t, succeeded || first.Status >= 500, "the status says that it was no fault of the caller: %s", what)
	e.quiet(t)
	done := e.sound(t, what)
	require.True(t, done || !succeeded || e.answers, "what was answered is there: %s", what)
	if number(e.Read("status", nil).OK(t)["unsaved"]) > 0 { // the answer said that a crash would lose it
		e.saved(t)
	}
	e.endsItsWork(t)
	e.restart(t)
	e.System.SetReplication(0)
	e.beats(t)
	again := e.sound(t, what)
	require.True(t, again || !succeeded || e.answers, "what was answered is there for the next process: %s", what)
	e.send().OK(t)
	e.quiet(t)
	require.True(t, e.sound(t, what), "sent again: %s: %s", what, e.state())
	e.endsItsWork(t)
	e.restart(t)
	e.System.SetReplication(0)
	require.True(t, e.sound(t, what), "sent again, for the next process: %s: %s", what, e.state())
}

// Storage refuses one access, whichever it is, once or for as long as the request lasts.
func TestErrandsWhileStorageFails(t *testing.T) {
	for name, prepare := range errands() {
		for _, how := range []struct{ lasting, cold bool }{{false, false}, {true, false}, {false, true}, {true, true}} {
			lasting, cold := how.lasting, how.cold
			t.Run(fmt.Sprintf("%s, lasting %t, cold %t", name, lasting, cold), func(t *testing.T) {
				t.Parallel()
				for n := 1; ; n++ {
					e := prepare(t)
					if cold { // nothing is in memory yet
						e.restart(t)
						e.System.SetReplication(0)
						e.beats(t)
					} else {
						require.Equal(t, e.before, e.state())
					}
					e.quiet(t)
					met := e.refuses(n, lasting)
					first := e.send()
					e.Storage.Judge(nil)
					if !met() {
						require.Greater(t, n, 1, "the request needs no storage")
						require.Equal(t, e.after, e.state())
						return
					}
					e.afterwards(t, first, fmt.Sprint("access ", n))
					e.Stop()
					require.Less(t, n, 60, "the request has no end")
				}
			})
		}
	}
}

// refuses has storage refuse the n-th access from now, and those after it if that lasts. met tells whether it came.
func (e *errand) refuses(n int, lasting bool) (met func() bool) {
	var mu sync.Mutex
	seen := 0
	e.Storage.Judge(func(testenv.Access) error {
		mu.Lock()
		defer mu.Unlock()
		if seen++; seen == n || lasting && seen > n {
			return testenv.ErrStorage
		}
		return nil
	})
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		return seen >= n
	}
}

// The process dies at one access to storage, whichever it is: from then on it reads and writes nothing.
func TestErrandsWhileTheProcessDies(t *testing.T) {
	for name, prepare := range errands() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				e := prepare(t)
				e.quiet(t)
				met := e.refuses(n, true)
				first := e.send()
				e.Stop()
				e.Storage.Judge(nil)
				if !met() {
					require.Greater(t, n, 1, "the request needs no storage")
					return
				}
				e.restart(t)
				e.System.SetReplication(0)
				e.beats(t)
				what := fmt.Sprintf("access %d: %d %s", n, first.Status, first.Text)
				view := e.Read("connections/x", nil)
				if e.renews && view.Status == http.StatusOK && view.Data["status_reason"] == "refresh_outcome_unknown" {
					// what took the place of the spent token went with the process, and everybody is told
					require.Positive(t, e.spent(), what)
					continue
				}
				done := e.sound(t, what)
				require.True(t, done || first.Status >= 500 || e.answers, "what was answered is there: %s", what)
				e.send().OK(t)
				e.quiet(t)
				require.True(t, e.sound(t, what), "sent again: %s: %s", what, e.state())
				require.Less(t, n, 60, "the request has no end")
			}
		})
	}
}

// hangsAt sends a request while the n-th access hangs; every second time it is sent again before a write that hung
// lands. It gives the first answer.
func (f *fixture) hangsAt(t *testing.T, n int, send func() testenv.Result) testenv.Result {
	t.Helper()
	land := make(chan struct{})
	var late atomic.Int32
	nth := testenv.Nth(n, func(a testenv.Access) bool { return a.Op != "list" })
	f.Storage.Hang(func(a testenv.Access) bool {
		hangs := nth(a)
		if hangs && a.Write() {
			late.Add(1)
		}
		return hangs
	}, func(testenv.Access) { <-land })
	first := send()
	f.Storage.Hang(nil, nil)
	if n%2 == 0 {
		send()
	}
	close(land)
	require.Eventually(t, func() bool { return f.Storage.Landed() == int(late.Load()) }, time.Minute, time.Millisecond)
	return first
}

// Storage hangs at one access, whichever it is, and a write lands when nobody expects it any more.
func TestErrandsWhileStorageHangs(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for time-outs")
	}
	tests := map[string]func(*testing.T){}
	for name, prepare := range errands() {
		for n := 1; n < 12; n++ {
			tests[fmt.Sprintf("%s, access %d", name, n)] = func(t *testing.T) {
				e := prepare(t)
				e.quiet(t)
				first := e.hangsAt(t, n, e.send)
				e.Advance(time.Minute) // late writes are looked after by then
				e.beats(t)
				e.afterwards(t, first, fmt.Sprint("access ", n))
			}
		}
	}
	abreast(t, tests)
}

// The caller, the mount or the process goes while the service thinks.
func TestErrandsThatAreLeft(t *testing.T) {
	tests := map[string]func(*testing.T){}
	for name, prepare := range errands() {
		if slices.Contains([]string{"a key that is brought back", "a choice"}, name) { // they ask nobody
			continue
		}
		for _, ends := range []string{"caller", "mount", "crash"} {
			for _, answers := range []bool{false, true} {
				if name == "a choice that must be looked for" && ends == "crash" && answers {
					continue // the token that took the place of the spent one went with the process
				}
				tests[fmt.Sprintf("%s, %s, answers %t", name, ends, answers)] = func(t *testing.T) {
					e := prepare(t)
					e.quiet(t)
					asked, release := make(chan struct{}), make(chan struct{})
					e.provider.Next(e.step, func(s *providertest.Server, w http.ResponseWriter, r *http.Request,
						behave http.HandlerFunc,
					) {
						close(asked)
						if answers {
							providertest.HangUntil(release)(s, w, r, behave)
						} else {
							providertest.Hang()(s, w, r, behave)
						}
					})
					if !answers && ends != "crash" && e.unknown != "" {
						e.after = e.unknown
					}
					e.hangsUp(t, e.send, asked, release, ends, answers)
					e.sound(t, name)
					e.send()
					e.quiet(t)
					e.send().OK(t) // the answers that were meant for the first are used up
					e.quiet(t)
					assert.True(t, e.sound(t, name), e.state())
				}
			}
		}
	}
	abreast(t, tests)
}
