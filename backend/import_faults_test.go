package backend

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// quiet waits until nothing is under way.
func (f *fixture) quiet(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		s := f.Read("status", nil).OK(t)
		return number(s["calls"])+number(s["calls_waiting"])+number(s["in_flight"]) == 0 &&
			f.engine().tasks.Count("") == 0
	}, time.Minute, 5*time.Millisecond, "no call and no work is left")
}

// beats lets Vault's heartbeat run to its end, twice: the first of a process leaves imports to others.
func (f *fixture) beats(t *testing.T) {
	t.Helper()
	for range 2 {
		f.quiet(t)
		require.Eventually(t, func() bool { return !f.engine().beating.Load() }, time.Minute, time.Millisecond)
		f.periodic(t)
		require.Eventually(t, func() bool { return !f.engine().beating.Load() }, time.Minute, time.Millisecond)
		f.quiet(t)
	}
}

// anew restarts the engine, and lets it carry on with what was cut off.
func (f *fixture) anew(t *testing.T) {
	t.Helper()
	f.restart(t)
	f.System.SetReplication(0)
	f.beats(t)
}

// most asserts that no refresh token was sent more often than that.
func (f *fixture) most(t *testing.T, times int) {
	t.Helper()
	sent := map[string]int{}
	for _, r := range f.provider.Requests(providers.StepRefresh) {
		sent[r.Form.Get("refresh_token")]++
	}
	for token, n := range sent {
		assert.LessOrEqual(t, n, times, "%s was sent %d times", token, n)
	}
}

// serving asserts that a connection serves a token which its provider takes, now and once that has expired.
func (f *fixture) serving(t *testing.T, path string) {
	t.Helper()
	assert.True(t, f.provider.Alive(f.token(t, path).(string)))
	f.Advance(2 * time.Hour)
	assert.True(t, f.provider.Alive(f.token(t, path).(string)))
	f.beats(t)
	assert.Empty(t, f.stored(t, "import/"), "nothing is left for ever")
}

// abreast runs tests that mostly wait, many at a time.
func abreast(t *testing.T, tests map[string]func(*testing.T)) {
	t.Helper()
	var all sync.WaitGroup
	places := make(chan struct{}, 24)
	for name, test := range tests {
		all.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			t.Run(name, test)
		})
	}
	all.Wait()
}

// fallible are requests that spend something.
var fallible = map[string]func(*testing.T, *fixture) (send func() testenv.Result){
	"an import": func(t *testing.T, f *fixture) func() testenv.Result {
		import_ := map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}
		return func() testenv.Result { return f.Write("connections/x", import_) }
	},
	"an import over another": func(t *testing.T, f *fixture) func() testenv.Result {
		f.connect(t, "x")
		import_ := map[string]any{"refresh_token": f.elsewhere(t)}
		return func() testenv.Result { return f.Write("connections/x", import_) }
	},
	"an exchange": func(t *testing.T, f *fixture) func() testenv.Result {
		own := f.own(t, "x", nil)
		return func() testenv.Result { return f.Write("exchange", own) }
	},
	"a reconnect": func(t *testing.T, f *fixture) func() testenv.Result {
		f.connect(t, "x")
		own := f.own(t, "x", nil)
		return func() testenv.Result { return f.Write("exchange", own) }
	},
}

// Storage refuses one access, whichever it is, once or as long as the request lasts. Whether the request is sent again
// then, or another process begins: what is left is whole.
func TestStorageFailsAtEachAccess(t *testing.T) {
	for name, prepare := range fallible {
		for _, lasting := range []bool{false, true} {
			for _, again := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, lasting %t, again %t", name, lasting, again), func(t *testing.T) {
					t.Parallel()
					for n := 1; n < 60; n++ {
						f := newFixture(t, Options{}, testenv.InProcess)
						send := prepare(t, f)
						f.quiet(t)
						seen, met := 0, false
						var mu sync.Mutex
						f.Storage.Judge(func(a testenv.Access) error {
							mu.Lock()
							defer mu.Unlock()
							if seen++; seen == n || lasting && seen > n {
								met = true
								return testenv.ErrStorage
							}
							return nil
						})
						first := send()
						f.Storage.Judge(nil)
						f.whole(t, fmt.Sprintf("access %d", n), first, send, again)
						if t.Failed() {
							t.Logf("access %d: %d %s", n, first.Status, first.Text)
							return
						}
						if mu.Lock(); !met {
							mu.Unlock()
							return
						}
						mu.Unlock()
						f.Stop()
					}
					t.Fatal("the request has no end")
				})
			}
		}
	}
}

// whole asserts that nothing is lost of a request that met a failure.
func (f *fixture) whole(t *testing.T, what string, first testenv.Result, send func() testenv.Result, again bool) {
	t.Helper()
	if again {
		second := send()
		if second.Status >= 300 { // a flow may have ended, and says so
			assert.Contains(t, second.Text, "start again with auth-code-url", what)
		} else {
			assert.Equal(t, "active", second.OK(t)["status"], what)
		}
		if first.Status < 300 {
			assert.Less(t, second.Status, 300, what)
		}
	}
	if number(f.Read("status", nil).OK(t)["unsaved"]) > 0 { // the answer said that a crash would lose it
		f.saved(t)
	}
	f.anew(t)
	f.most(t, 2)
	if c := f.Read("connections/x", nil); c.Status == http.StatusOK && c.Data["status"] != "pending" {
		f.serving(t, "x")
	} else if first.Status < 300 {
		assert.Fail(t, "the connection is lost", what)
	}
	f.Advance(2 * time.Hour)
	f.beats(t)
	assert.Empty(t, f.stored(t, "import/"), what)
}

// Storage hangs at one access, whichever it is, and a write lands when it is not expected any more.
func TestStorageHangsAtEachAccess(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for time-outs")
	}
	tests := map[string]func(*testing.T){}
	for name, prepare := range fallible {
		for n := 1; n < 20; n++ {
			tests[fmt.Sprintf("%s, access %d", name, n)] = func(t *testing.T) {
				f := newFixture(t, Options{}, testenv.InProcess)
				send := prepare(t, f)
				f.quiet(t)
				land, landed := make(chan struct{}), make(chan struct{}, 1)
				f.Storage.Hang(testenv.Nth(n, func(a testenv.Access) bool { return a.Op != "list" }),
					func(testenv.Access) { <-land; landed <- struct{}{} })
				first := send()
				f.Storage.Hang(nil, nil)
				if n%2 == 0 {
					send()
				}
				close(land)
				select {
				case <-landed:
					time.Sleep(20 * time.Millisecond)
				case <-time.After(50 * time.Millisecond):
				}
				f.Advance(time.Minute)
				f.beats(t)
				f.whole(t, fmt.Sprintf("%d %s", first.Status, first.Text), testenv.Result{Status: 500}, send, n%4 < 2)
			}
		}
	}
	abreast(t, tests)
}

// Who hangs up, and the end of the mount, find nothing half done.
func TestLeavingInTheMiddle(t *testing.T) {
	tests := map[string]func(*testing.T){}
	steps := map[string]providers.Step{"grant": providers.StepRefresh, "identity": providers.StepIdentity}
	for name, prepare := range fallible {
		for at, step := range steps {
			for _, answers := range []bool{false, true} {
				for _, ends := range []string{"caller", "mount", "crash"} {
					tests[fmt.Sprintf("%s, at the %s, answers %t, %s", name, at, answers, ends)] = func(t *testing.T) {
						f := newFixture(t, Options{}, testenv.InProcess)
						send := prepare(t, f)
						step := step
						if at == "grant" && (name == "an exchange" || name == "a reconnect") {
							step = providers.StepToken
						}
						asked, release := make(chan struct{}), make(chan struct{})
						f.provider.Next(step, func(s *providertest.Server, w http.ResponseWriter, r *http.Request,
							behave http.HandlerFunc,
						) {
							close(asked)
							if answers {
								providertest.HangUntil(release)(s, w, r, behave)
							} else {
								providertest.Hang()(s, w, r, behave)
							}
						})
						f.hangsUp(t, send, asked, release, ends, answers)
						f.most(t, 2)
						r := send()
						if r.Status >= 300 {
							text := "start again with auth-code-url"
							if ends == "crash" && answers && step == providers.StepRefresh { // the answer went with the process
								text = "invalid_grant"
							}
							assert.Contains(t, r.Text, text)
							f.connect(t, "x")
						}
						f.serving(t, "x")
					}
				}
			}
		}
	}
	abreast(t, tests)
}

func (f *fixture) hangsUp(t *testing.T, send func() testenv.Result, asked, release chan struct{}, ends string,
	answers bool,
) {
	t.Helper()
	f.Write("config", map[string]any{"request_timeout": "2s"}).OK(t)
	gone := make(chan struct{})
	go func() { defer close(gone); send() }()
	<-asked
	switch ends {
	case "mount":
		if answers {
			time.AfterFunc(50*time.Millisecond, func() { close(release) })
		}
		f.Stop()
		<-gone
		f.Env = f.mount(t, f.Storage)
		f.beats(t)
	case "crash":
		f.Storage.Judge(func(testenv.Access) error { return testenv.ErrStorage }) // as when its process is gone
		if answers {
			close(release)
		}
		<-gone
		f.Stop()
		f.Storage.Judge(nil)
		f.Env = f.mount(t, f.Storage)
		f.beats(t)
	case "caller":
		if answers {
			close(release)
		}
		f.quiet(t)
		<-gone
	}
}

// A crowd imports, reads, refreshes, reconnects and deletes one connection, all at once.
func TestImportsBesideEverything(t *testing.T) {
	for round := range 6 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, Options{}, testenv.InProcess)
			f.connect(t, "x")
			var crowd sync.WaitGroup
			imports, owns := make([]map[string]any, 20), make([]map[string]any, 3)
			for i := range imports {
				imports[i] = map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}
			}
			for i := range owns {
				owns[i] = f.own(t, "x", nil)
			}
			f.Advance(time.Minute)
			for i, data := range imports {
				crowd.Go(func() {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					if i%5 == 0 {
						time.AfterFunc(time.Duration(i)*time.Millisecond, cancel)
					}
					f.WriteCtx(ctx, "connections/x", data)
				})
			}
			for _, own := range owns {
				crowd.Go(func() { f.Write("exchange", own) })
			}
			for range 5 {
				crowd.Go(func() { f.Write("refresh/x", nil) })
				crowd.Go(func() { f.Read("creds/x", nil) })
				crowd.Go(func() { f.Write("connections/x", map[string]any{"label": "L"}) })
				crowd.Go(func() { f.periodic(t) })
			}
			if round%2 == 0 {
				crowd.Go(func() {
					time.Sleep(time.Duration(round*10) * time.Millisecond)
					f.Delete("connections/x", nil)
				})
			}
			crowd.Wait()
			f.beats(t)
			f.most(t, 2)
			if c := f.Read("connections/x", nil); c.Status == http.StatusOK && c.Data["status"] != "pending" {
				f.serving(t, "x")
			}
			f.anew(t)
			f.Advance(2 * time.Hour)
			f.beats(t)
			assert.Empty(t, f.stored(t, "import/"))
		})
	}
}

// The same import into twenty connections at once, of a provider that lets a refresh token be used again.
func TestOneImportIntoTwenty(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess, providertest.WithReusableRefreshTokens())
	import_ := map[string]any{"provider": "acme", "refresh_token": f.elsewhere(t)}
	var crowd sync.WaitGroup
	for i := range 20 {
		crowd.Go(func() { f.Write(fmt.Sprintf("connections/x%d", i), import_) })
	}
	crowd.Wait()
	f.beats(t)
	for i := range 20 {
		f.Write(fmt.Sprintf("connections/x%d", i), import_).OK(t)
		assert.True(t, f.provider.Alive(f.token(t, fmt.Sprintf("x%d", i)).(string)))
	}
	assert.Empty(t, f.stored(t, "import/"))
}
