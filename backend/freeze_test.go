package backend

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// freezing is one way to freeze something, and to lift that.
type freezing struct {
	at           string
	freeze, lift map[string]any
	path         string   // of a connection that is frozen so
	free         string   // of one that is not; empty: there is none
	says         []string // what whoever is refused reads
	frozen       int      // connections that are, of those that TestFreeze makes
	line         string   // of the log
}

func freezings() map[string]freezing {
	owners := func(list string) map[string]any {
		return map[string]any{"frozen_owners": list, "frozen_reason": "laptop stolen"}
	}
	none := map[string]any{"frozen_owners": ""}
	on, off := map[string]any{"frozen": true, "frozen_reason": "laptop stolen"}, map[string]any{"frozen": false}
	return map[string]freezing{
		"a provider": {
			"providers/acme", on, off, "org/acme/slack", "org/acme/key",
			[]string{`provider "acme" is frozen (laptop stolen)`, "frozen=false to providers/acme"},
			3, `what="provider acme"`,
		},
		"an organization": {
			"config", owners("org/acme"), none, "org/acme/slack", "user/u1/slack",
			[]string{"org/acme is frozen (laptop stolen)", "out of frozen_owners on config"},
			3, "what=org/acme",
		},
		"an organization, of which somebody is a member": {
			"config", owners("org/acme"), none, "org/acme/user/u1/slack", "user/u1/slack",
			[]string{"org/acme/user/u1 is frozen (laptop stolen)", "out of frozen_owners on config"},
			3, "what=org/acme",
		},
		"a member": {
			"config", owners("org/acme/user/u1"), none, "org/acme/user/u1/slack", "org/acme/slack",
			[]string{"org/acme/user/u1 is frozen"},
			1, "what=org/acme/user/u1",
		},
		"all who stand for themselves": {
			"config", owners("user/*"), none, "user/u1/slack", "org/acme/user/u1/slack",
			[]string{"user/u1 is frozen"},
			1,
			`what="user/*"`,
		},
		"the mount": {
			"config", on, off, "org/acme/slack", "",
			[]string{"this mount is frozen (laptop stolen)", "frozen=false to config"},
			4,
			`what="the mount"`,
		},
	}
}

// sent counts all that was sent to the provider.
func (f *fixture) sent() (n int) {
	for _, step := range []providers.Step{
		providers.StepToken, providers.StepRefresh, providers.StepIdentity, providers.StepRevoke, providers.StepIntrospect,
		providers.StepDiscovery,
	} {
		n += f.provider.Count(step)
	}
	return n
}

// What is frozen is not handed out, and nothing is sent for it, from the answer of the write to that of the one that
// lifts it. Underneath it is as it was.
func TestFreeze(t *testing.T) {
	for name, way := range freezings() {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				for _, path := range []string{"org/acme/slack", "org/acme/user/u1/slack", "user/u1/slack"} {
					f.connect(t, path)
				}
				f.key(t, "org/acme/key")
				own := f.own(t, way.path+"2", map[string]any{"provider": "acme"})
				token := f.token(t, way.path)
				before, calls := f.written(t, "connection/"+way.path), f.sent()
				answer := f.Write(way.at, way.freeze, alice).OK(t)
				for field, v := range way.freeze {
					if field != "frozen_owners" {
						assert.Equal(t, v, answer[field])
					}
				}
				stopped := func() {
					t.Helper()
					says := append([]string{"connection " + way.path + " is frozen: "}, way.says...)
					f.Read("creds/"+way.path, nil).Refused(t, http.StatusForbidden, says...)
					f.Read("status", nil).OK(t) // by then a start has read what it reads
					f.Storage.Forget()
					f.Read("creds/"+way.path, nil).Refused(t, http.StatusForbidden, says...)
					for _, a := range f.Storage.History() { // beside what a start looks for
						read := a.Under("connection/") || a.Under("provider/") || a.Key == "config"
						assert.False(t, a.Op == "get" && read, "it costs no storage: %s", a.Key)
					}
					f.Read("creds/"+way.path, map[string]any{"min_ttl": "50m"}).Refused(t, http.StatusForbidden, says...)
					f.Write("refresh/"+way.path, nil).Refused(t, http.StatusForbidden, says...)
					f.Write("check/"+way.path, nil).Refused(t, http.StatusForbidden, says...)
					f.Write("auth-code-url/"+way.path, nil).Refused(t, http.StatusForbidden, says...)
					f.Write("auth-code-url/"+way.path+"3", map[string]any{"provider": "acme"}).
						Refused(t, http.StatusForbidden, way.says...)
					f.Write("exchange", own).Refused(t, http.StatusForbidden, way.says...)
					imports := map[string]any{"provider": "acme", "access_token": "elsewhere"}
					f.Write("connections/"+way.path+"3", imports).Refused(t, http.StatusForbidden)
					f.Write("connections/"+way.path, with(imports, map[string]any{"verify": false})).
						Refused(t, http.StatusForbidden)
					if way.at == "config" {
						keys := map[string]any{"provider": "openai", "api_key": openaiKey}
						f.Write("connections/"+way.path+"3", keys).Refused(t, http.StatusForbidden, way.says...)
						f.Write("connections/"+way.path+"3", with(keys, map[string]any{"verify": false})).
							Refused(t, http.StatusForbidden, way.says...)
					}
					view := f.Read("connections/"+way.path, nil).OK(t)
					assert.Equal(t, []any{"disabled", "frozen", ""}, []any{view["status"], view["status_reason"], view["status_since"]})
					owner, last, _ := cutLast(way.path)
					listed := members(t, members(t, f.List("connections/" + owner + "/").OK(t)["key_info"])[last])
					assert.Equal(t, "disabled", listed["status"])
					status := f.Read("status", nil).OK(t)
					assert.InDelta(t, way.frozen, number(status["frozen_connections"]), 0)
					assert.InDelta(t, way.frozen, number(members(t, status["by_status"])["disabled"]), 0)
					assert.Contains(t, fmt.Sprint(members(t, status["frozen"])), "laptop stolen")
					if way.free != "" {
						f.Read("creds/"+way.free, nil).OK(t)
					}
				}
				stopped()
				f.Write("connections/"+way.path, map[string]any{"label": "Sales"}).OK(t)
				f.Write("connections/"+way.path, map[string]any{"label": ""}).OK(t)
				f.restart(t)
				stopped()
				assert.Equal(t, calls, f.sent(), "nothing was sent")

				f.System.SetReplication(0)
				f.Write(way.at, way.lift, bob).OK(t)
				assert.Equal(t, token, f.token(t, way.path))
				after := f.written(t, "connection/"+way.path)
				delete(before, "updated")
				delete(after, "updated") // by whom its label was written
				delete(before, "record")
				delete(after, "record")
				assert.Equal(t, before, after)
				assert.Equal(t, "active", f.Read("connections/"+way.path, nil).OK(t)["status"])
				status := f.Read("status", nil).OK(t)
				assert.Zero(t, number(status["frozen_connections"]))
				assert.NotContains(t, fmt.Sprint(members(t, status["frozen"])), "laptop stolen", "the reason goes with it")
				f.Write("exchange", own).OK(t)
				assert.Empty(t, f.Read(way.at, nil).OK(t)["frozen_reason"])
			})
		})
	}
}

// cutLast cuts a path at its last slash.
func cutLast(path string) (before, after string, found bool) {
	i := strings.LastIndex(path, "/")
	return path[:max(i, 0)], path[i+1:], i >= 0
}

// Who froze something, and who lifted that, stands in the log, once each.
func TestFreezeIsLogged(t *testing.T) {
	for name, way := range freezings() {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				for range 2 { // the second time it changes nothing
					f.Write(way.at, way.freeze, alice).OK(t)
				}
				for range 2 {
					f.Write(way.at, way.lift, bob).OK(t)
				}
				var lines []string
				require.Eventually(t, func() bool { // over gRPC they come a little later
					lines = nil
					for line := range strings.Lines(f.Logs.String()) {
						if strings.Contains(line, "an operator ") {
							lines = append(lines, line)
						}
					}
					return len(lines) >= 2
				}, time.Minute, time.Millisecond)
				require.Len(t, lines, 2)
				for i, words := range [][]string{
					{"froze something", `reason="laptop stolen"`, "entity=e-alice", "display_name=userpass-e-alice"},
					{"lifted a freeze", "entity=e-bob", "display_name=userpass-e-bob"},
				} {
					for _, word := range append(words, way.line) {
						assert.Contains(t, lines[i], word)
					}
				}
			})
		})
	}
}

// A reason is of something, fits in a line, and goes with what it was of. Owners are owners.
func TestFreezeIsValidated(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for _, at := range []string{"providers/acme", "config"} {
			before := f.written(t, strings.Replace(at, "providers", "provider", 1))
			for _, bad := range []map[string]any{
				{"frozen_reason": "why"},
				{"frozen": true, "frozen_reason": "a\nb"},
				{"frozen": true, "frozen_reason": strings.Repeat("x", 257)},
				{"frozen": "perhaps"},
			} {
				f.Write(at, bad).Refused(t, http.StatusBadRequest, "frozen")
			}
			assert.Equal(t, before, f.written(t, strings.Replace(at, "providers", "provider", 1)))
			f.Write(at, map[string]any{"frozen": true}).OK(t)
			assert.Equal(t, "why", f.Write(at, map[string]any{"frozen_reason": " why "}).OK(t)["frozen_reason"])
			assert.Equal(t, "why", f.Write(at, map[string]any{"frozen": true}).OK(t)["frozen_reason"])
			lifted := f.Write(at, map[string]any{"frozen": false, "frozen_reason": "why"}) // a read that came back
			assert.Equal(t, []any{false, ""}, []any{lifted.OK(t)["frozen"], lifted.Data["frozen_reason"]})
		}
		for _, bad := range []string{"acme", "org/", "user/..", "org/a*", "*"} {
			f.Write("config", map[string]any{"frozen_owners": bad}).Refused(t, http.StatusBadRequest, "frozen_owners")
		}
		f.Write("config", map[string]any{"frozen": true, "frozen_owners": "user/u1", "frozen_reason": "both"}).OK(t)
		assert.Equal(t, "both", f.Write("config", map[string]any{"frozen": false}).OK(t)["frozen_reason"])
		assert.Empty(t, f.Write("config", map[string]any{"frozen_owners": ""}).OK(t)["frozen_reason"])
		f.Write("providers/new", with(f.acme(), map[string]any{"frozen": true})).OK(t)
		f.Write("auth-code-url/x", map[string]any{"provider": "new"}).Refused(t, http.StatusForbidden, "frozen")
	})
}

// Who waits when the freeze comes is not told what their refresh brings. It is saved all the same.
func TestFreezeWhileReadersWait(t *testing.T) {
	for name, way := range freezings() {
		for how, ask := range map[string]struct {
			age  time.Duration
			send func(*fixture, string) testenv.Result
		}{
			"a reader of a dead token": {2 * time.Hour, func(f *fixture, path string) testenv.Result {
				return f.Read("creds/"+path, nil)
			}},
			"a reader of one that lives": {30 * time.Minute, func(f *fixture, path string) testenv.Result {
				return f.Read("creds/"+path, map[string]any{"min_ttl": "45m"})
			}},
			"who refreshes": {time.Minute, func(f *fixture, path string) testenv.Result {
				return f.Write("refresh/"+path, nil)
			}},
		} {
			t.Run(how+", and "+name, func(t *testing.T) {
				each(t, func(t *testing.T, f *fixture) {
					f.connect(t, way.path)
					f.Advance(ask.age)
					begun, release := f.blocked()
					answers := make(chan testenv.Result, 3)
					for range cap(answers) {
						go func() { answers <- ask.send(f, way.path) }()
					}
					<-begun
					f.Write(way.at, way.freeze).OK(t)
					close(release)
					for range cap(answers) {
						(<-answers).Refused(t, http.StatusForbidden, way.says...)
					}
					f.Write(way.at, way.lift).OK(t)
					assert.True(t, f.provider.Alive(f.token(t, way.path).(string)))
					assert.Equal(t, 1, f.spent(), "what it brought was saved")
					assert.Empty(t, f.stored(t, "wal/"))
				})
			})
		}
	}
}

// An intent may wait for storage. What is frozen meanwhile is not sent after it.
func TestFreezeWhileAnIntentIsStored(t *testing.T) {
	for name, way := range freezings() {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.connect(t, way.path)
				f.Advance(2 * time.Hour)
				storing, release := make(chan struct{}), make(chan struct{})
				var once sync.Once
				f.Storage.Block(func(a testenv.Access) bool { return a.Op == "put" && a.Under("wal/") }, func(testenv.Access) {
					once.Do(func() { close(storing); <-release })
				})
				answer := make(chan testenv.Result, 1)
				go func() { answer <- f.Read("creds/"+way.path, nil) }()
				<-storing
				f.Write(way.at, way.freeze).OK(t)
				close(release)
				(<-answer).Refused(t, http.StatusForbidden, way.says...)
				assert.Zero(t, f.spent())
				f.Storage.Block(nil, nil)
				f.Write(way.at, way.lift).OK(t)
				assert.True(t, f.provider.Alive(f.token(t, way.path).(string)), "nothing holds it back")
				assert.Empty(t, f.stored(t, "wal/"))
			})
		})
	}
}

// A renewal that a freeze stopped may still be at its end when that is lifted. Who asks then waits for another.
func TestFreezeLiftedBeforeItsRenewalEnds(t *testing.T) {
	for name, way := range freezings() {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.connect(t, way.path)
				f.Advance(2 * time.Hour)
				storing, frozen := make(chan struct{}), make(chan struct{})
				ending, release := make(chan struct{}), make(chan struct{})
				var put, end sync.Once
				f.Storage.Block(func(a testenv.Access) bool { return a.Op != "get" && a.Under("wal/") }, func(a testenv.Access) {
					if a.Op == "put" {
						put.Do(func() { close(storing); <-frozen })
						return
					}
					end.Do(func() { close(ending); <-release })
				})
				first, second := make(chan struct{}), make(chan testenv.Result, 1)
				go func() { defer close(first); f.Read("creds/"+way.path, nil) }()
				<-storing
				f.Write(way.at, way.freeze).OK(t)
				close(frozen)
				<-ending
				f.Write(way.at, way.lift).OK(t)
				go func() { second <- f.Read("creds/"+way.path, nil) }()
				assert.Never(t, func() bool { return len(second) > 0 }, 20*time.Millisecond, time.Millisecond)
				close(release)
				assert.True(t, f.provider.Alive((<-second).OK(t)["access_token"].(string)))
				assert.Equal(t, 1, f.spent())
				<-first // either answer will do: it may have looked while all was frozen
				f.Storage.Block(nil, nil)
			})
		})
	}
}

// A hundred readers ask while it is frozen and lifted again and again: between the answer of the one write and the next
// nobody gets a token.
func TestFreezeUnderACrowd(t *testing.T) {
	const readers, rounds = 100, 6
	for _, name := range []string{"a provider", "an organization", "the mount"} {
		way := freezings()[name]
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.connect(t, way.path)
				var era, served, refused atomic.Int64 // an odd era is one in which it is frozen
				done := make(chan struct{})
				var all sync.WaitGroup
				for range readers {
					all.Go(func() {
						for {
							select {
							case <-done:
								return
							default:
							}
							then := era.Load()
							r := f.Read("creds/"+way.path, nil)
							switch {
							case r.Status == http.StatusForbidden:
								refused.Add(1)
							case r.Status == http.StatusOK && then%2 == 1 && era.Load() == then:
								assert.Fail(t, "a token was handed out while it was frozen")
							case r.Status == http.StatusOK:
								served.Add(1)
							case strings.Contains(r.Text, "dead already"): // the clock was moved while they waited
							default:
								assert.Fail(t, "another answer", "%d %s", r.Status, r.Text)
							}
						}
					})
				}
				waits := func(of *atomic.Int64) {
					n := of.Load()
					require.Eventually(t, func() bool { return of.Load() > n+readers }, time.Minute, time.Millisecond)
				}
				for round := range rounds {
					if round%2 == 0 { // else while they wait for a refresh
						waits(&served)
					}
					f.Write(way.at, way.freeze).OK(t)
					era.Add(1)
					spent := f.spent()
					waits(&refused)
					f.Advance(2 * time.Hour)
					waits(&refused)
					assert.LessOrEqual(t, f.spent(), spent+1, "but for one that was under way")
					era.Add(1)
					f.Write(way.at, way.lift).OK(t)
				}
				waits(&served)
				close(done)
				all.Wait()
			})
		})
	}
}

// The background sends nothing for what is frozen, also after a restart. Once that is lifted, everything follows.
func TestFreezeStopsTheWorker(t *testing.T) {
	const crowd = 5
	for name, way := range freezings() {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, Options{}, testenv.InProcess)
			var paths []string
			for i := range crowd {
				paths = append(paths, fmt.Sprint(way.path, i))
				f.Write("exchange", f.own(t, paths[i], map[string]any{"provider": "acme"})).OK(t)
			}
			f.connect(t, way.path)
			f.Write(way.at, way.freeze).OK(t)
			f.beats(t)
			status := f.Read("status", nil).OK(t)
			assert.LessOrEqual(t, number(status["scheduled"]), 1.0, "nothing falls due but the look at owners")
			calls := f.sent()
			f.Advance(2 * time.Hour)
			f.beats(t)
			f.anew(t)
			f.Advance(2 * time.Hour)
			f.beats(t)
			assert.Equal(t, calls, f.sent(), "nothing is sent")
			assert.Zero(t, number(f.Read("status", nil).OK(t)["due"]))

			f.account("nobody") // so that no other connection rests on it
			f.Delete("connections/"+paths[0], nil).OK(t)
			f.Write(way.at, way.lift).OK(t)
			assert.Zero(t, number(f.Read("status", nil).OK(t)["due"]), "not all at once")
			f.Advance(leastResume)
			require.Eventually(t, func() bool {
				f.periodic(t)
				return f.spent() == crowd
			}, time.Minute, time.Millisecond, "those that are left are refreshed")
			f.beats(t)
			assert.Equal(t, crowd, f.spent())
			for _, path := range append(paths[1:], way.path) {
				assert.True(t, f.provider.Alive(f.token(t, path).(string)))
			}
			assert.Equal(t, crowd, f.spent())
		})
	}
}

// What is deleted while it is frozen is revoked, and a deletion that was cut off is finished.
func TestFreezeRevokes(t *testing.T) {
	for name, way := range freezings() {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.connect(t, way.path)
				token := f.token(t, way.path).(string)
				f.Write(way.at, way.freeze).OK(t)
				r := f.Delete("connections/"+way.path, nil)
				assert.Empty(t, r.OK(t))
				assert.Equal(t, http.StatusNoContent, r.Status, "without a warning")
				assert.Equal(t, 1, f.provider.Count(providers.StepRevoke))
				assert.False(t, f.provider.Alive(token))
				f.Read("creds/"+way.path, nil).Refused(t, http.StatusBadRequest, "no connection")
			})
		})
	}
}

// A refresh and an import that a crash cut off stay noted while they are frozen, and are carried on with after.
func TestFreezeKeepsWhatWasCutOff(t *testing.T) {
	for name, way := range freezings() {
		t.Run("a refresh, and "+name, func(t *testing.T) {
			f := newFixture(t, Options{}, testenv.InProcess)
			f.connect(t, way.path)
			f.Advance(2 * time.Hour)
			begun, release := f.blocked()
			defer close(release)
			go f.Read("creds/"+way.path, nil)
			<-begun
			f.Write(way.at, way.freeze).OK(t)
			f.restart(t)
			f.System.SetReplication(0)
			for range 3 {
				f.Advance(10 * time.Minute)
				f.beats(t)
				require.Len(t, f.stored(t, "wal/"), 1)
				require.Equal(t, 1, f.spent())
			}
			f.Write(way.at, way.lift).OK(t)
			f.Advance(leastResume)
			require.Eventually(t, func() bool {
				f.periodic(t)
				return f.spent() == 2 && len(f.stored(t, "wal/")) == 0
			}, time.Minute, time.Millisecond)
			assert.True(t, f.provider.Alive(f.token(t, way.path).(string)))
		})
		t.Run("an import, and "+name, func(t *testing.T) {
			f := newFixture(t, Options{}, testenv.InProcess)
			f.Write("providers/acme", map[string]any{"allow_import": "all"}).OK(t)
			begun, release := f.blocked()
			defer close(release)
			token := f.elsewhere(t)
			go f.Write("connections/"+way.path, map[string]any{"provider": "acme", "refresh_token": token})
			<-begun
			f.Write(way.at, way.freeze).OK(t)
			f.restart(t)
			f.System.SetReplication(0)
			for range 3 {
				f.Advance(10 * time.Minute)
				f.beats(t)
				require.Len(t, f.stored(t, "import/"), 1)
				require.Equal(t, 1, f.spent())
			}
			f.Write(way.at, way.lift).OK(t)
			require.Eventually(t, func() bool {
				f.periodic(t)
				return f.spent() == 2 && len(f.stored(t, "import/")) == 0
			}, time.Minute, time.Millisecond)
			assert.True(t, f.provider.Alive(f.token(t, way.path).(string)))
		})
	}
}

// No try is counted and no flow claimed while it is frozen, and the page parks codes.
func TestFreezeOfFlows(t *testing.T) {
	for name, way := range freezings() {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				flow := f.start(t, way.path, nil)
				back := f.provider.Consent(t, flow["url"].(string))
				calls := f.sent()
				f.Write(way.at, way.freeze).OK(t)
				shown := shownCode.FindStringSubmatch(f.callback(t, "acme", back))
				require.NotNil(t, shown, "the page parks the code")
				before := f.written(t, "flow/"+flow["flow_id"].(string))
				for _, code := range []string{"AAAAAAAA", shown[1] + shown[2]} {
					for range store.MaxConfirmationTries + 1 {
						f.Write("exchange", map[string]any{"flow_id": flow["flow_id"], "confirmation_code": code}).
							Refused(t, http.StatusForbidden, way.says...)
					}
				}
				assert.Equal(t, before, f.written(t, "flow/"+flow["flow_id"].(string)))
				f.Write("exchange", map[string]any{"flow_id": flow["flow_id"], "confirmation_code": "AAAAAAAA"}, bob).
					Refused(t, http.StatusForbidden, "somebody else")
				assert.Equal(t, calls, f.sent())
				f.Write(way.at, way.lift).OK(t)
				f.Write("exchange", map[string]any{"flow_id": flow["flow_id"], "confirmation_code": shown[1] + shown[2]}).OK(t)
				f.Write(way.at, way.freeze).OK(t)
				again := map[string]any{"flow_id": flow["flow_id"], "confirmation_code": shown[1] + shown[2]}
				assert.Equal(t, "disabled", f.Write("exchange", again).OK(t)["status"], "what it came to is told")
			})
		})
	}
}

// The token of a refused grant, which is otherwise erased after a week, is kept.
func TestFreezeErasesNothing(t *testing.T) {
	for name, way := range freezings() {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, Options{}, testenv.InProcess)
			f.connect(t, way.path)
			f.Advance(time.Minute)
			f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusBadRequest, `{"error":"invalid_grant"}`))
			f.Write("refresh/"+way.path, nil).Refused(t, http.StatusConflict)
			k, err := store.ParseKey(way.path)
			require.NoError(t, err)
			kept := func() bool {
				c, err := store.New(f.Storage).Connection(t.Context(), k)
				require.NoError(t, err)
				return !c.Grant.RefreshToken.IsZero()
			}
			f.Write(way.at, way.freeze).OK(t)
			f.Advance(refusedTokenLife + time.Hour)
			f.beats(t)
			assert.True(t, kept())
			f.Write(way.at, way.lift).OK(t)
			f.Advance(leastResume)
			require.Eventually(t, func() bool { f.periodic(t); return !kept() }, time.Minute, time.Millisecond)
		})
	}
}

// To freeze a provider and to lift that changes nothing of how it fares, and nothing else of it.
func TestFreezeLiftsNothingOfTheGate(t *testing.T) {
	on, off := map[string]any{"frozen": true, "frozen_reason": "why"}, map[string]any{"frozen": false}
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "limited")
		f.connect(t, "other")
		f.rests(t, "limited")
		whole := func() map[string]any { return asClient(t, f.Read("providers/acme", nil).OK(t)) }
		entry := func() map[string]any {
			e, err := f.Storage.Get(t.Context(), "provider/acme")
			require.NoError(t, err)
			var fields map[string]any
			require.NoError(t, json.Unmarshal(e.Value, &fields))
			delete(fields, "updated")
			delete(fields, "notices") // of what was done last
			return fields
		}
		before, stored := whole(), entry()
		require.NotEmpty(t, before["circuit"])
		for _, writes := range [][]map[string]any{
			{on, off}, {with(before, on), with(before, off)}, {on, {"frozen_reason": "another"}, off},
		} {
			for i, write := range writes {
				f.Advance(time.Second)
				answer := asClient(t, f.Write("providers/acme", write).OK(t))
				assert.Equal(t, before["circuit"], answer["circuit"])
				assert.Equal(t, i < len(writes)-1, answer["frozen"])
				want := with(stored, map[string]any{"version": 3.0, "frozen": true, "frozen_reason": answer["frozen_reason"]})
				if i == len(writes)-1 {
					want = stored
				}
				assert.Equal(t, want, entry(), "its serial and its secrets, too")
			}
		}
		f.Write("refresh/other", nil).Refused(t, http.StatusBadGateway, "left alone")
		assert.Equal(t, "active", f.Read("connections/other", nil).OK(t)["status"], "it points where it did")

		f.Write("providers/acme", with(on, map[string]any{"return_urls": ""})).OK(t)
		assert.Empty(t, whole()["circuit"], "what else is written lifts it, as ever")
		f.Write("providers/acme", off).OK(t)
		f.Write("refresh/other", nil).OK(t)
	})
}

// Nor is an app asked again that the provider refused: nobody corrected it.
func TestFreezeLiftsNoRefusedApp(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Advance(2 * time.Hour)
		refused := providertest.Respond(http.StatusUnauthorized, `{"error":"invalid_client"}`)
		f.provider.Next(providers.StepRefresh, refused)
		f.Read("creds/slack", nil).Refused(t, http.StatusConflict, "refuses the app")
		spent := f.spent()
		f.Write("providers/acme", map[string]any{"frozen": true}).OK(t)
		f.Write("providers/acme", map[string]any{"frozen": false}).OK(t)
		f.Advance(10 * time.Second)
		f.Read("creds/slack", nil).Refused(t, http.StatusConflict, "refuses the app")
		assert.Equal(t, spent, f.spent())
		f.Write("providers/acme", map[string]any{"return_urls": ""}).OK(t)
		require.Eventually(t, func() bool { return f.Read("creds/slack", nil).Status == http.StatusOK }, time.Minute,
			time.Millisecond)
	})
}

// A provider can be frozen whatever else is wrong with it, and its issuer is not asked meanwhile.
func TestFreezeOfAProviderThatIsNotRight(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.issuer(t)
		f.Write("config", map[string]any{"endpoint_hosts": "nowhere.example.com"}).OK(t)
		f.Write("providers/acme", map[string]any{"return_urls": ""}).Refused(t, http.StatusBadRequest, "endpoint_hosts")
		f.Write("providers/acme", map[string]any{"frozen": true}).OK(t)
		f.Read("creds/slack", nil).Refused(t, http.StatusForbidden, "frozen")
		f.Write("providers/acme", map[string]any{"frozen": false}).OK(t)
		f.Read("creds/slack", nil).OK(t)

		f.Write("config", map[string]any{"endpoint_hosts": "*", "frozen": true}).OK(t)
		calls := f.sent()
		f.Write("providers/idp", map[string]any{"issuer": f.provider.URL}).OK(t)
		f.Write("config", map[string]any{"frozen": false}).OK(t)
		f.Write("providers/idp", map[string]any{"issuer": f.provider.URL, "frozen": true, "return_urls": ""}).OK(t)
		assert.Equal(t, calls, f.sent())
	})
}

// What is frozen stays so though its provider cannot be used, or would be deleted.
func TestFreezeIsNotWalkedRound(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Write("providers/acme", map[string]any{"frozen": true}).OK(t)
		for _, force := range []bool{false, true} {
			f.Delete("providers/acme", map[string]any{"force": force}).Refused(t, http.StatusConflict)
		}
		f.Delete("providers/acme", map[string]any{"force": true}).
			Refused(t, http.StatusConflict, "is frozen", "frozen=false to providers/acme")
		f.Read("creds/slack", nil).Refused(t, http.StatusForbidden, "frozen")

		entry, err := f.Storage.Get(t.Context(), "provider/acme")
		require.NoError(t, err)
		whole := string(entry.Value)
		entry.Value = []byte(strings.Replace(whole, `"definition":"oauth2"`, `"definition":"of-a-later-release"`, 1))
		require.NotEqual(t, whole, string(entry.Value))
		require.NoError(t, f.Storage.Put(t.Context(), entry))
		f.restart(t)
		f.System.SetReplication(0)
		f.Read("creds/slack", nil).Refused(t, http.StatusForbidden, `provider "acme" is frozen`)
		status := f.Read("status", nil).OK(t)
		assert.InDelta(t, 1, number(status["frozen_connections"]), 0)
		assert.Contains(t, members(t, status["frozen"])["providers"], "acme")
		f.Write("providers/acme", map[string]any{"frozen": false}).OK(t)
		assert.Equal(t, "provider_missing", f.Read("connections/slack", nil).OK(t)["status_reason"], "as without a freeze")

		f.Write("config", map[string]any{"frozen_owners": "org/default"}).OK(t)
		f.Delete("providers/acme", map[string]any{"force": true}).OK(t)
		f.Read("creds/slack", nil).Refused(t, http.StatusForbidden, "org/default is frozen")
	})
}

// What storage refuses is not said to be done: the former state holds, and the write is sent again.
func TestFreezeWhileStorageRefuses(t *testing.T) {
	for name, way := range freezings() {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.connect(t, way.path)
				refuses := func(data map[string]any) {
					f.Storage.FailWrite(1)
					f.Write(way.at, data).Refused(t, http.StatusInternalServerError)
					f.Storage.Judge(nil)
				}
				refuses(way.freeze)
				f.Read("creds/"+way.path, nil).OK(t)
				f.Write(way.at, way.freeze).OK(t)
				f.Read("creds/"+way.path, nil).Refused(t, http.StatusForbidden, way.says...)
				refuses(way.lift)
				f.Read("creds/"+way.path, nil).Refused(t, http.StatusForbidden, way.says...)
				f.restart(t)
				f.System.SetReplication(0)
				f.Read("creds/"+way.path, nil).Refused(t, http.StatusForbidden, way.says...)
				f.Write(way.at, way.lift).OK(t)
				f.Read("creds/"+way.path, nil).OK(t)
				f.Storage.Judge(func(a testenv.Access) error {
					if a.Key == "config" || a.Under("provider/") {
						return testenv.ErrStorage
					}
					return nil
				})
				f.Write(way.at, way.freeze).Refused(t, http.StatusInternalServerError)
			})
		})
	}
}

// A write that was given up may have been made all the same: then what storage has holds.
func TestFreezeLandsLate(t *testing.T) {
	for at, data := range map[string]map[string]any{
		"providers/openai": {"frozen": true}, "config": {"frozen_owners": "org/default"},
	} {
		bubbled(t, at, func(t *testing.T, e *testenv.Env) {
			e.Write("connections/key", map[string]any{"provider": "openai", "api_key": openaiKey, "verify": false}).OK(t)
			e.Read("creds/key", nil).OK(t)
			e.Storage.Hang(func(a testenv.Access) bool { return a.Write() }, func(testenv.Access) {})
			assert.Equal(t, http.StatusServiceUnavailable, e.Write(at, data).Status)
			synctest.Wait()
			e.Storage.Hang(nil, nil)
			require.Equal(t, 1, e.Storage.Landed())
			e.Read("creds/key", nil).Refused(t, http.StatusForbidden, "frozen")
		})
	}
}

// An operator learns what it costs to leave it frozen.
func TestFreezeTellsOfLimits(t *testing.T) {
	const day = 24 * time.Hour
	limits := func(f *fixture, t *testing.T) [3]float64 {
		l := members(t, f.Read("status", nil).OK(t)["frozen_limits"])
		return [3]float64{number(l["passed"]), number(l["within_a_day"]), number(l["within_a_week"])}
	}
	for name, c := range map[string]struct {
		rules    string
		provider map[string]any
	}{
		"it may not lie idle":        {"", map[string]any{"idle_ttl": "30d"}},
		"its refresh token ends":     {"", map[string]any{"refresh_ttl": "30d"}},
		"its consent ends":           {"  hard: 30d\n", nil},
		"the first of several holds": {"  hard: 60d\n", map[string]any{"refresh_ttl": "90d", "idle_ttl": "30d"}},
	} {
		t.Run(name, func(t *testing.T) {
			eachWith(t, limited(t, c.rules), func(t *testing.T, f *fixture) {
				f.Write("providers/acme", c.provider).OK(t)
				f.connect(t, "slack")
				f.connect(t, "off")
				f.Write("connections/off", map[string]any{"disabled": true}).OK(t)
				assert.Equal(t, [3]float64{}, limits(f, t))
				f.Write("config", map[string]any{"frozen": true}).OK(t)
				assert.InDelta(t, 2, number(f.Read("status", nil).OK(t)["frozen_connections"]), 0)
				for _, step := range []struct {
					after time.Duration
					want  [3]float64
				}{
					{0, [3]float64{0, 0, 0}},
					{22 * day, [3]float64{0, 0, 0}},
					{day + time.Hour, [3]float64{0, 0, 1}},
					{6 * day, [3]float64{0, 1, 1}},
					{day, [3]float64{1, 1, 1}},
				} {
					f.Advance(step.after)
					assert.Equal(t, step.want, limits(f, t), "after %s", step.after)
				}
				f.restart(t)
				assert.Equal(t, [3]float64{1, 1, 1}, limits(f, t))
			})
		})
	}
}
