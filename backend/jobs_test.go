package backend

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// three has a grant that can be revoked, one whose provider refuses to, and a key; all secrets of them are in secrets.
type three struct {
	*fixture
	job     string
	secrets []string
}

func newThree(t *testing.T) *three {
	t.Helper()
	f := newFixture(t, Options{}, testenv.InProcess)
	f.Write("providers/bad", with(f.acme(), map[string]any{"endpoints": map[string]any{
		"authorize": f.provider.URL + "/authorize", "token": f.provider.URL + "/token",
		"revoke": f.provider.URL + "/missing", "identity": f.provider.URL + "/userinfo",
	}})).OK(t)
	f.connect(t, "good")
	f.Write("exchange", f.own(t, "bad", map[string]any{"provider": "bad"})).OK(t)
	f.key(t, "key")
	x := &three{fixture: f, secrets: []string{openaiKey}}
	for _, name := range []string{"good", "bad"} {
		c, err := f.engine().store.Connection(t.Context(), aKey(name))
		require.NoError(t, err)
		x.secrets = append(x.secrets, c.Grant.AccessToken.Reveal(), c.Grant.RefreshToken.Reveal())
	}
	var count int
	x.job, count = f.plan(t, map[string]any{"all": true})
	require.Equal(t, 3, count)
	return x
}

// send runs the plan, and gives the answer.
func (x *three) send(then string) testenv.Result {
	data := map[string]any{"run": true, "expect": 3}
	if then != "" {
		data["then"] = then
	}
	return x.Write(x.job, data)
}

// whole holds that each target is untouched or wholly ended, and that of a job that is over nothing is half.
func (x *three) whole(t *testing.T, began bool, then string) {
	t.Helper()
	if !began {
		for _, name := range []string{"good", "bad", "key"} {
			x.Read("creds/"+name, nil).OK(t)
		}
		assert.Zero(t, x.provider.Count(providers.StepRevoke))
		return
	}
	x.passes(t, time.Minute, func() bool {
		r := x.Read(x.job, nil)
		return r.Status == http.StatusOK && r.Data["ended"] != ""
	})
	done := x.over(t, x.job)
	assert.Equal(t, []any{"done", 0.0, 0.0}, []any{done["state"], done["left"], done["ending"]})
	if then == "delete" {
		x.passes(t, time.Minute, func() bool { return len(x.stored(t, "connection/")) == 0 })
	} else {
		assert.Equal(t, map[string]any{"revoked": 1.0, "failed": 1.0, "key": 1.0}, done["outcomes"])
		for _, name := range []string{"good", "bad", "key"} {
			assert.Equal(t, "needs_reconnect revoked", x.state(t, name))
		}
	}
	for _, prefix := range []string{"connection/", "import/", "wal/", "job/"} {
		x.noSecrets(t, prefix, x.secrets...)
	}
	assert.NotZero(t, x.provider.Count(providers.StepRevoke), "its provider was asked")
	assert.False(t, x.provider.Alive(x.secrets[1]))
}

// survivor mounts the engine anew on what storage holds now; the former process reaches it no more.
func (x *three) survivor(t *testing.T) {
	t.Helper()
	copied := &testenv.Storage{}
	var walk func(prefix string)
	walk = func(prefix string) {
		names, err := x.Storage.List(context.Background(), prefix)
		require.NoError(t, err)
		for _, name := range names {
			if strings.HasSuffix(name, "/") {
				walk(prefix + name)
				continue
			}
			e, err := x.Storage.Get(context.Background(), prefix+name)
			require.NoError(t, err)
			require.NoError(t, copied.Put(context.Background(), e))
		}
	}
	walk("")
	x.Env = x.mount(t, copied)
}

// A crash after any write leaves each target untouched, or has it ended by the next process.
func TestRevokeCrash(t *testing.T) {
	for _, then := range []string{"", "delete"} {
		for n := 0; ; n++ {
			reached := false
			t.Run(fmt.Sprint("after write ", n, ", then ", then), func(t *testing.T) {
				x := newThree(t)
				var writes atomic.Int32
				crashed := make(chan struct{})
				var once sync.Once
				x.Storage.Judge(func(a testenv.Access) error {
					if a.Write() && int(writes.Add(1)) > n {
						once.Do(func() { close(crashed) })
						return testenv.ErrStorage
					}
					return nil
				})
				r := x.send(then)
				require.Eventually(t, func() bool {
					select {
					case <-crashed:
						reached = true
						return true
					default:
						return x.Read(x.job, nil).OK(t)["ended"] != ""
					}
				}, time.Minute, time.Millisecond)
				x.survivor(t)
				x.whole(t, r.Status == http.StatusOK, then)
			})
			if !reached {
				assert.Greater(t, n, 7, "it writes more than that")
				break
			}
		}
	}
}

// Storage that refuses any one write, or takes it late, keeps nothing half.
func TestRevokeStorageFaults(t *testing.T) {
	for fault, set := range map[string]func(*testenv.Storage, int){
		"refuses": func(s *testenv.Storage, n int) { s.FailWrite(n) },
		"hangs at": func(s *testenv.Storage, n int) {
			s.Hang(testenv.Nth(n, testenv.Access.Write), func(testenv.Access) {})
		},
		"does not read at": func(s *testenv.Storage, n int) {
			picked := testenv.Nth(n, func(a testenv.Access) bool {
				return a.Op == "get" && (a.Under("job/") || a.Under("connection/"))
			})
			s.Judge(func(a testenv.Access) error {
				if picked(a) {
					return testenv.ErrStorage
				}
				return nil
			})
		},
	} {
		for n := 1; n <= 10; n++ {
			t.Run(fmt.Sprint("storage ", fault, " ", n), func(t *testing.T) {
				t.Parallel()
				x := newThree(t)
				set(x.Storage, n)
				r := x.send("")
				if r.Status != http.StatusOK && fault != "refuses" {
					x.Storage.Judge(nil)
					// whether the first one was taken nobody knows, and if it was, it may be over
					if again := x.send(""); again.Status != http.StatusOK {
						again.Refused(t, http.StatusConflict, "is over")
					}
					r.Status = http.StatusOK
				}
				x.whole(t, r.Status == http.StatusOK, "")
			})
		}
	}
}

// After the first write of a target nobody gets its token, whoever reads and refreshes meanwhile.
func TestRevokeWhileOthersRead(t *testing.T) {
	const many = 100
	f := newFixture(t, Options{}, testenv.InProcess, providertest.WithLifetime(30*time.Second))
	f.Write("providers/acme", map[string]any{"allow_import": "all"}).OK(t)
	for i := range many {
		f.connect(t, fmt.Sprint("x", i))
	}
	var marked sync.Map
	f.Storage.Judge(func(testenv.Access) error { return nil })
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			for i := w; ctx.Err() == nil; i = (i + 7) % many {
				name := fmt.Sprint("x", i)
				_, before := marked.Load(name)
				var r testenv.Result
				if w%2 == 0 {
					r = f.Read("creds/"+name, map[string]any{"min_ttl": 20})
				} else if r = f.Write("refresh/"+name, nil); r.Status == http.StatusOK && before {
					assert.Fail(t, "a token was renewed after its end had begun", name)
				}
				if before {
					assert.NotEqual(t, http.StatusOK, r.Status, name)
				}
				if state := f.Read("connections/"+name, nil); state.Status == http.StatusOK &&
					state.Data["status"] != "active" {
					marked.Store(name, true)
				}
				f.Advance(10 * time.Millisecond)
			}
		})
	}
	job, _ := f.plan(t, map[string]any{"all": true})
	f.run(t, job, nil)
	done := f.over(t, job)
	stop()
	all.Wait()
	assert.Equal(t, map[string]any{"revoked": float64(many)}, done["outcomes"])
	assert.GreaterOrEqual(t, f.provider.Count(providers.StepRevoke), many)
	for i := range many {
		c, err := f.engine().store.Connection(t.Context(), aKey(fmt.Sprint("x", i)))
		require.NoError(t, err)
		assert.True(t, c.Grant.AccessToken.IsZero() && c.Grant.RefreshToken.IsZero())
	}
}

// A renewal that is out when the end begins lands first, and its token is ended with the rest.
func TestRevokeWhileARenewalIsOut(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.connect(t, "slack")
	f.Advance(2 * time.Hour)
	begun, release := f.blocked()
	answer := make(chan testenv.Result, 1)
	go func() { answer <- f.Read("creds/slack", nil) }()
	<-begun
	job, _ := f.plan(t, map[string]any{"all": true})
	f.run(t, job, nil)
	f.engine().tasks.Wake() // the clock of the test moved while the worker slept
	require.Eventually(t, func() bool { return f.state(t, "slack") == "disabled revoking" },
		time.Minute, time.Millisecond)
	assert.Zero(t, f.provider.Count(providers.StepRevoke), "it waits for what the renewal brings")
	close(release)
	(<-answer).Refused(t, http.StatusForbidden, "revoking")
	done := f.over(t, job)
	assert.Equal(t, map[string]any{"revoked": 1.0}, done["outcomes"])
	c, err := f.engine().store.Connection(t.Context(), aKey("slack"))
	require.NoError(t, err)
	assert.True(t, c.Grant.AccessToken.IsZero() && c.Grant.RefreshToken.IsZero())
	for _, r := range f.provider.Requests(providers.StepRevoke) {
		assert.False(t, f.provider.Alive(r.Form.Get("token")))
	}
	assert.Empty(t, f.stored(t, "wal/"))
}

// Connections that storage does not give keep no others waiting, and have their turn when it gives them.
func TestRevokePastWhatStorageLost(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for i := range 10 {
			f.key(t, fmt.Sprint("x", i))
		}
		f.restart(t)
		job, _ := f.plan(t, map[string]any{"all": true})
		f.restart(t) // nothing is in memory
		var lost []string
		for i := range 6 { // more than are ended at once
			lost = append(lost, fmt.Sprint("connection/org/default/x", i))
		}
		f.loses(lost...)
		f.run(t, job, nil)
		f.passes(t, time.Minute, func() bool { return number(f.Read(job, nil).OK(t)["done"]) == 4 })
		assert.Equal(t, "needs_reconnect revoked", f.state(t, "x9"))
		f.Storage.Judge(nil)
		f.passes(t, time.Minute, func() bool { return f.Read(job, nil).OK(t)["ended"] != "" })
		assert.Equal(t, map[string]any{"key": 10.0}, f.over(t, job)["outcomes"])
	})
}

// A flow that was open when its connection was ended, and tokens that were ended with it, do not bring it back.
func TestRevokedStaysSo(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"allow_import": "all"}).OK(t)
		token := f.elsewhere(t)
		f.Write("connections/slack", map[string]any{"provider": "acme", "refresh_token": token, "verify": false}).OK(t)
		open := f.own(t, "slack", nil)
		f.Advance(time.Second)
		f.ended(t, map[string]any{"all": true}, nil)
		f.Advance(time.Second)
		f.Write("exchange", with(open, map[string]any{"allow_account_change": true})).Refused(t,
			http.StatusConflict, "ended meanwhile")
		for _, verify := range []bool{true, false} {
			f.Write("connections/slack", map[string]any{
				"provider": "acme", "refresh_token": token, "verify": verify,
			}).Refused(t, http.StatusConflict, "were ended with connection org/default/slack")
		}
		assert.Equal(t, "needs_reconnect revoked", f.state(t, "slack"))
		f.restart(t)
		assert.Equal(t, "needs_reconnect revoked", f.state(t, "slack"))
		f.Write("connections/slack", map[string]any{
			"provider": "acme", "refresh_token": f.elsewhere(t), "allow_account_change": true,
		}).OK(t)
		f.Read("creds/slack", nil).OK(t)
	})
}

// Another consent that arrives while the end is under way is refused, and what it brought is for nobody.
func TestRevokeWhileItIsConnected(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.connect(t, "slack")
	f.provider.Next(providers.StepRevoke, outage)
	own := f.own(t, "slack", nil)
	job, _ := f.plan(t, map[string]any{"all": true})
	f.run(t, job, nil)
	require.Eventually(t, func() bool { return f.state(t, "slack") == "disabled revoking" },
		time.Minute, time.Millisecond)
	f.Write("exchange", own).Refused(t, http.StatusConflict, "being ended")
	f.passes(t, time.Minute, func() bool { return f.Read(job, nil).OK(t)["ended"] != "" })
	assert.Equal(t, "needs_reconnect revoked", f.state(t, "slack"))
}

// Past a day, what was not begun waits until somebody confirms it; what has begun is finished.
func TestRevokePastADay(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for i := range 3 {
			f.connect(t, fmt.Sprint("x", i))
		}
		job, _ := f.plan(t, map[string]any{"all": true})
		refuseConnections(f.Storage)
		f.run(t, job, nil)
		require.Eventually(t, func() bool {
			for _, a := range f.Storage.History() {
				if a.Op == "put" && a.Under("connection/") {
					return true
				}
			}
			return false
		}, time.Minute, time.Millisecond)
		f.Advance(25 * time.Hour)
		f.Stop()
		f.Storage.Judge(nil)
		f.Env = f.mount(t, f.Storage)
		f.passed(t)
		data := asClient(t, f.Read(job, nil).OK(t))
		assert.Equal(t, []any{"waiting", 3.0, 0.0}, []any{data["state"], data["left"], data["done"]})
		assert.Zero(t, f.provider.Count(providers.StepRevoke))
		f.Write(job, map[string]any{"run": true, "expect": 3, "then": "delete"}).Refused(t, http.StatusConflict,
			"was run with then=(none)")
		f.Write(job, map[string]any{"run": true, "expect": 2}).Refused(t, http.StatusConflict, "nothing was begun")
		f.run(t, job, nil, bob)
		done := f.over(t, job)
		assert.Equal(t, map[string]any{"revoked": 3.0}, done["outcomes"])
		assert.Equal(t, "e-bob", done["ran"].(map[string]any)["entity_id"])
	})
}

// Behind the fence nothing is begun, and nothing carried on, until it is confirmed there.
func TestRevokeBehindTheFence(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.connect(t, "one")
	f.connect(t, "two")
	job, _ := f.plan(t, map[string]any{"all": true})
	f.Storage.Judge(func(a testenv.Access) error {
		if a.Op == "put" && (a.Under("connection/org/default/two") || a.Under(strings.Replace(job, "revoke", "job", 1)+"/")) {
			return testenv.ErrStorage
		}
		return nil
	})
	f.provider.Next(providers.StepRevoke, outage)
	f.run(t, job, nil)
	require.Eventually(t, func() bool { return f.state(t, "one") == "disabled revoking" },
		time.Minute, time.Millisecond)
	require.Eventually(t, func() bool { return f.provider.Count(providers.StepRevoke) == 1 },
		time.Minute, time.Millisecond)

	f.Stop()
	f.Storage.Judge(nil)
	f.Env = testenv.InProcess(t, New(Options{Now: f.Now, Resolver: noNames, Paused: true}), f.Storage)
	f.lives(t, 5)
	assert.Equal(t, "disabled revoking", f.state(t, "one"))
	assert.Equal(t, 1, f.provider.Count(providers.StepRevoke))
	assert.Equal(t, "waiting", f.Read(job, nil).OK(t)["state"])
	assert.Equal(t, "active ", f.state(t, "two"))
	f.run(t, job, nil)
	f.passes(t, time.Minute, func() bool { return f.state(t, "one") == "needs_reconnect revoked" })
	done := f.over(t, job)
	assert.Equal(t, 2.0, done["done"])
	assert.Equal(t, "needs_reconnect revoked", f.state(t, "two"))
}

// A plan that was cut off leaves nothing; a damaged one says so.
func TestPlansThatWereCutOff(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		for n := 1; n <= 2; n++ {
			f.Storage.FailWrite(n)
			f.Write("revoke", map[string]any{"all": true}).Refused(t, http.StatusInternalServerError)
			f.Storage.Judge(nil)
			assert.Empty(t, f.stored(t, "job/"), "write %d", n)
		}
		id := store.NewJobID()
		s := store.New(f.Storage)
		require.NoError(t, s.PutChunk(t.Context(), id, 0, store.NewChunk([]store.Target{{Path: "org/default/slack"}})))
		f.restart(t)
		require.Eventually(t, func() bool { return len(f.stored(t, "job/")) == 0 }, time.Minute, time.Millisecond)

		id = store.NewJobID()
		f.undecodable(t, "job/"+id)
		f.restart(t)
		f.Read("revoke/"+id, nil).Refused(t, http.StatusInternalServerError)
		assert.Equal(t, []string{id}, texts(t, f.List("revoke/").OK(t)["keys"]), "it hides no other")
		require.Eventually(t, func() bool { return f.Logs.Contains("a job cannot be read") },
			time.Minute, time.Millisecond)
		f.Read("creds/slack", nil).OK(t)
	})
}

// A job of more than one entry goes on where it was, through a restart, and lets another one take its turn.
func TestRevokeMany(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	const many = store.ChunkSize + 120
	f := newFixture(t, Options{}, testenv.InProcess)
	f.Write("providers/openai", nil).OK(t)
	f.Write("providers/other", map[string]any{"definition": "openai"}).OK(t)
	for i := range many {
		f.Write(fmt.Sprint("connections/k", i), map[string]any{
			"provider": "openai", "api_key": openaiKey, "verify": false,
		}).OK(t)
	}
	f.Write("connections/alone", map[string]any{"provider": "other", "api_key": openaiKey, "verify": false}).OK(t)
	job, count := f.plan(t, map[string]any{"provider": "openai"})
	require.Equal(t, many, count)
	other, _ := f.plan(t, map[string]any{"provider": "other"})
	f.run(t, job, nil)
	f.run(t, other, nil)
	assert.Equal(t, 1.0, f.over(t, other)["done"])
	assert.Less(t, number(f.Read(job, nil).OK(t)["done"]), float64(many), "the other one did not wait for all of it")
	f.Stop()
	f.Env = f.mount(t, f.Storage)
	f.passes(t, time.Second, func() bool { return f.Read(job, nil).OK(t)["ended"] != "" })
	done := f.over(t, job)
	assert.Equal(t, map[string]any{"key": float64(many)}, done["outcomes"])
	assert.Len(t, done["failures"], maxFailures)
	progress := 0
	for _, a := range f.Storage.History() {
		if a.Op == "put" && a.Under(strings.Replace(job, "revoke", "job", 1)+"/") {
			progress++
		}
	}
	assert.LessOrEqual(t, progress, 2+many/batch+4, "its progress is written once per fifty")
}

// The page where a person ends a grant by hand stands in the warning of a deletion too.
func TestDeletionNamesThePage(t *testing.T) {
	const handy = `id: handy
name: Handy
kinds: [authorization_code]
checked: '2026-11-29'
setup: {manage_url: 'https://example.com/grants'}
endpoints:
  authorize: https://example.com/authorize
  token: https://example.com/token
  revoke: https://example.com/revoke
`
	eachWith(t, withDefinition(t, "handy", handy), func(t *testing.T, f *fixture) {
		u := f.provider.URL
		f.Write("providers/own", with(f.acme(), map[string]any{"definition": "handy", "endpoints": map[string]any{
			"authorize": u + "/authorize", "token": u + "/token", "revoke": u + "/revoke",
		}})).OK(t)
		f.Write("exchange", f.own(t, "x", map[string]any{"provider": "own"})).OK(t)
		f.provider.Next(providers.StepRevoke, providertest.Respond(http.StatusForbidden, `{}`))
		r := f.Delete("connections/x", nil)
		assert.Contains(t, r.Warnings[0], "settings at the service: https://example.com/grants")
	})
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "key")
		r := f.Delete("connections/key", nil)
		assert.Contains(t, r.Warnings[0], "https://platform.openai.com/")
	})
}

// What a crash left of a renewal is not tried again, while the connection is being ended and after.
func TestRevokedLeavesNoIntent(t *testing.T) {
	for name, ending := range map[string]bool{"while it is being ended": true, "after it was ended": false} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, Options{}, testenv.InProcess)
			f.connect(t, "slack")
			c, err := f.engine().store.Connection(t.Context(), aKey("slack"))
			require.NoError(t, err)
			if ending {
				c.BeginEnd(store.Ending{Job: store.NewJobID(), By: store.Actor{Time: f.Now()}})
				c.Serial++
				require.NoError(t, f.engine().store.PutConnection(t.Context(), aKey("slack"), c))
			} else {
				f.ended(t, map[string]any{"all": true}, nil)
			}
			require.NoError(t, f.engine().store.PutIntent(t.Context(), aKey("slack"), &store.Intent{
				Key: aKey("slack").String(), Generation: c.Generation, Time: f.Now(),
			}))
			f.restart(t)
			f.passes(t, time.Minute, func() bool {
				return len(f.stored(t, "wal/")) == 0 && f.state(t, "slack") == "needs_reconnect revoked"
			})
			assert.Zero(t, f.provider.Count(providers.StepRefresh))
			assert.Equal(t, 1, f.provider.Count(providers.StepRevoke))
		})
	}
}

// An import that is under way brings nothing, and leaves nothing of what was spent for it.
func TestRevokeWhileItIsImported(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.Write("providers/acme", map[string]any{"allow_import": "all"}).OK(t)
	f.connect(t, "slack")
	token, asked, release := f.elsewhere(t), make(chan struct{}), make(chan struct{})
	f.provider.Next(providers.StepIdentity, func(
		s *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc,
	) {
		close(asked)
		providertest.HangUntil(release)(s, w, r, behave)
	})
	answer := make(chan testenv.Result, 1)
	go func() {
		answer <- f.Write("connections/slack", map[string]any{"provider": "acme", "refresh_token": token})
	}()
	<-asked
	assert.NotEmpty(t, f.stored(t, "import/"), "the token was spent")
	job, _ := f.plan(t, map[string]any{"all": true})
	f.run(t, job, nil)
	require.Eventually(t, func() bool {
		_, told := f.engine().endedImports.Load(aKey("slack"))
		return told
	}, time.Minute, time.Millisecond, "the end waits for the import")
	close(release)
	(<-answer).Refused(t, http.StatusConflict, "being ended")
	done := f.over(t, job)
	assert.Equal(t, map[string]any{"revoked": 1.0}, done["outcomes"])
	assert.Empty(t, f.stored(t, "import/"))
	assert.Equal(t, "needs_reconnect revoked", f.state(t, "slack"))
}

// After a restart nobody knows what else a job ends until that was read: the account is not taken for shared meanwhile.
func TestRevokeOfOneAccountAfterARestart(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.connect(t, "one")
	f.connect(t, "two")
	f.provider.Next(providers.StepRevoke, outage)
	job, _ := f.plan(t, map[string]any{"all": true})
	f.Storage.Judge(func(a testenv.Access) error {
		if a.Op == "put" && (a.Under("connection/org/default/two") || a.Under(strings.Replace(job, "revoke", "job", 1)+"/")) {
			return testenv.ErrStorage
		}
		return nil
	})
	f.run(t, job, nil)
	require.Eventually(t, func() bool { return f.provider.Count(providers.StepRevoke) == 1 },
		time.Minute, time.Millisecond)
	f.Stop()
	f.Storage.Judge(func(a testenv.Access) error {
		if a.Under("job/") {
			return testenv.ErrStorage
		}
		return nil
	})
	f.Env = f.mount(t, f.Storage)
	for range 5 {
		f.Advance(time.Minute)
		f.periodic(t)
	}
	assert.Equal(t, "disabled revoking", f.state(t, "one"))
	f.Storage.Judge(nil)
	f.passes(t, time.Minute, func() bool { return f.Read(job, nil).OK(t)["ended"] != "" })
	assert.Equal(t, map[string]any{"revoked": 2.0}, f.over(t, job)["outcomes"])
}

// What was ended is not shown to its service, and others are not told another thing than its readers.
func TestRevokedIsNotChecked(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.key(t, "key")
		f.ended(t, map[string]any{"all": true}, nil)
		f.Advance(time.Minute)
		asked := f.provider.Count(providers.StepIdentity)
		for _, name := range []string{"slack", "key"} {
			found := f.Write("check/"+name, nil).OK(t)
			assert.Equal(t, []any{"needs_reconnect", "revoked", "not_asked"}, []any{
				found["status"], found["status_reason"], found["service"],
			})
			assert.Contains(t, found["advice"], "it was ended here")
		}
		assert.Equal(t, asked, f.provider.Count(providers.StepIdentity))
		rows, _ := rowsOf(t, f.Read("inventory", map[string]any{"status_reason": "revoked"}))
		assert.Equal(t, []string{"org/default/key", "org/default/slack"}, rows)
	})
}

// A flow from before the connection was there does not make it anew after its job deleted it.
func TestRevokeDeletesForGood(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		early := f.own(t, "slack", nil)
		f.connect(t, "slack")
		f.ended(t, map[string]any{"all": true}, map[string]any{"then": "delete"})
		f.passes(t, time.Minute, func() bool { return len(f.stored(t, "connection/")) == 0 })
		f.Write("exchange", early).Refused(t, http.StatusBadRequest, "no such flow")
		assert.Empty(t, f.stored(t, "connection/"))
	})
}
