package backend

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

// A passage is a request by which a connection moves. Whatever fails on the way, there is one connection, of which one
// path serves.
type passage struct {
	*fixture
	from, to string
	send     func() testenv.Result
	as       testenv.Caller // who may read it
	token    string         // before it moved
	id       any
	bare     bool // its credential stays behind
}

func passages() map[string]func(*testing.T) *passage {
	begin := func(t *testing.T, from, to string, as testenv.Caller) *passage {
		f := newFixture(t, Options{}, testenv.InProcess)
		f.people()
		f.connect(t, from, as)
		p := &passage{fixture: f, from: from, to: to, as: as}
		p.token = f.Read("creds/"+from, nil, as).OK(t)["access_token"].(string)
		p.id = f.Read("connections/"+from, nil, as).OK(t)["connection_id"]
		return p
	}
	return map[string]func(*testing.T) *passage{
		"an acceptance": func(t *testing.T) *passage {
			p := begin(t, "org/acme/slack", "org/umbrella/crm", testenv.Root)
			p.offers(t, p.from, p.to)
			p.send = func() testenv.Result { return p.accept(p.to, p.from) }
			return p
		},
		"a rename": func(t *testing.T) *passage { // the keys' order is another
			p := begin(t, "user/e-alice/slack", "user/e-alice/crm", alice)
			p.send = func() testenv.Result { return p.Write("transfer/"+p.from, map[string]any{"to": p.to}, alice) }
			return p
		},
		"an acceptance without the credential": func(t *testing.T) *passage {
			p := begin(t, "user/e-alice/slack", "org/acme/slack", alice)
			p.offers(t, p.from, p.to, bob)
			p.send, p.bare = func() testenv.Result { return p.accept(p.to, p.from, bob) }, true
			return p
		},
	}
}

// entry is what storage has of a connection, as far as a move depends on it.
type movingEntry struct {
	ID     string
	Moving struct{ To string }
	Grant  struct {
		AccessToken string `json:"access_token"`
	}
	Disabled struct{ On bool }
}

func (p *passage) entry(path string) *movingEntry {
	e, err := p.Storage.Get(context.Background(), "connection/"+path)
	if err != nil || e == nil {
		return nil
	}
	entry := &movingEntry{}
	if json.Unmarshal(e.Value, entry) != nil {
		return nil
	}
	return entry
}

// watched asserts before each access that what storage has at that moment is one connection: a crash would leave that.
func (p *passage) watched(t *testing.T, judge func(testenv.Access) error) {
	var looks sync.Mutex
	var inside atomic.Bool
	p.Storage.Judge(func(a testenv.Access) error {
		if inside.Load() {
			return nil
		}
		looks.Lock()
		inside.Store(true)
		from, to := p.entry(p.from), p.entry(p.to)
		inside.Store(false)
		looks.Unlock()
		assert.True(t, from != nil || to != nil, "never none: %v", a)
		if from != nil && to != nil {
			assert.Equal(t, p.to, from.Moving.To, "never two that serve: %v", a)
			assert.True(t, from.Disabled.On, "nor for a release that does not know the mark")
			assert.Equal(t, from.ID, to.ID)
		}
		if p.bare && to != nil {
			assert.Empty(t, to.Grant.AccessToken)
		}
		return judge(a)
	})
}

// serves tells which paths hand the credential out.
func (p *passage) serves() (from, to testenv.Result) {
	return p.Read("creds/"+p.from, nil, p.as), p.Read("creds/"+p.to, nil, p.as)
}

// settled lets time pass until there is one entry, and asserts that it is the connection. It reports whether it moved.
func (p *passage) settled(t *testing.T, what string) (moved bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		p.Advance(time.Minute)
		p.beats(t)
		from, to := p.entry(p.from), p.entry(p.to)
		return (from == nil) != (to == nil) && (from == nil || from.Moving.To == "")
	}, time.Minute, time.Millisecond, what)
	at, gone := p.from, p.to
	if moved = p.entry(p.from) == nil; moved {
		at, gone = gone, at
	}
	view := p.Read("connections/"+at, nil, p.as)
	require.Equal(t, p.id, view.OK(t)["connection_id"], what)
	assert.Equal(t, http.StatusNotFound, p.Read("connections/"+gone, nil, p.as).Status, what)
	creds := p.Read("creds/"+at, nil, p.as)
	if moved && p.bare {
		creds.Refused(t, http.StatusConflict, "transferred")
		assert.False(t, p.provider.Alive(p.token), what)
		return moved
	}
	require.Equal(t, http.StatusOK, creds.Status, "%s: %s", what, creds.Text)
	require.True(t, p.provider.Alive(creds.Data["access_token"].(string)), what)
	return moved
}

// ends asserts what must hold once the failure is over.
func (p *passage) ends(t *testing.T, first testenv.Result, what string) {
	t.Helper()
	what = fmt.Sprintf("%s: %d %s", what, first.Status, first.Text)
	from, to := p.serves()
	assert.False(t, from.Status == http.StatusOK && to.Status == http.StatusOK, what)
	if first.Status < 300 {
		assert.NotEqual(t, http.StatusOK, from.Status, what)
	} else {
		assert.GreaterOrEqual(t, first.Status, 500, "no fault of the caller: %s", what)
	}
	moved := p.settled(t, what)
	assert.True(t, moved || first.Status >= 500, "what was answered is there: %s", what)
	if !moved {
		p.Write("refresh/"+p.from, nil, p.as).OK(t)
		if p.Read("transfer/"+p.from, nil, p.as).Status == http.StatusNotFound && p.bare {
			p.offers(t, p.from, p.to, bob) // time has passed
		} else if p.from == "org/acme/slack" {
			p.offers(t, p.from, p.to)
		}
		p.token = p.Read("creds/"+p.from, nil, p.as).OK(t)["access_token"].(string)
		p.send().OK(t)
		require.True(t, p.settled(t, what), what)
	}
}

// Storage refuses one access, whichever it is, once or for as long as the request lasts.
func TestMovesWhileStorageFails(t *testing.T) {
	for name, prepare := range passages() {
		for _, how := range []struct{ lasting, cold bool }{{false, false}, {true, false}, {false, true}, {true, true}} {
			t.Run(fmt.Sprintf("%s, lasting %t, cold %t", name, how.lasting, how.cold), func(t *testing.T) {
				t.Parallel()
				for n := 1; ; n++ {
					p := prepare(t)
					if how.cold {
						p.restart(t)
						p.System.SetReplication(0)
						p.people()
						p.beats(t)
					}
					p.quiet(t)
					var seen atomic.Int32
					p.watched(t, func(testenv.Access) error {
						if at := int(seen.Add(1)); at == n || how.lasting && at > n {
							return testenv.ErrStorage
						}
						return nil
					})
					first := p.send()
					p.watched(t, func(testenv.Access) error { return nil })
					if int(seen.Load()) < n {
						require.Greater(t, n, 3)
						first.OK(t)
						return
					}
					p.ends(t, first, fmt.Sprint("access ", n))
					p.Storage.Judge(nil)
					p.Stop()
					require.Less(t, n, 60, "the request has no end")
				}
			})
		}
	}
}

// The process dies at one access to storage, whichever it is: the next one finds what there is, and goes on.
func TestMovesWhileTheProcessDies(t *testing.T) {
	for name, prepare := range passages() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seenMarked := false
			for n := 1; ; n++ {
				p := prepare(t)
				p.quiet(t)
				var seen atomic.Int32
				p.watched(t, func(testenv.Access) error {
					if int(seen.Add(1)) >= n {
						return testenv.ErrStorage
					}
					return nil
				})
				first := p.send()
				p.Stop()
				p.Storage.Judge(nil)
				if int(seen.Load()) < n {
					require.True(t, seenMarked, "it was cut off between its writes")
					return
				}
				if from := p.entry(p.from); from != nil && from.Moving.To != "" {
					seenMarked = true
				}
				p.restart(t)
				p.System.SetReplication(0)
				p.people()
				p.ends(t, first, fmt.Sprint("access ", n))
				p.Stop()
				require.Less(t, n, 60, "the request has no end")
			}
		})
	}
}

// Storage hangs at one access, whichever it is, and a write lands when nobody expects it any more.
func TestMovesWhileStorageHangs(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for time-outs")
	}
	tests := map[string]func(*testing.T){}
	for name, prepare := range passages() {
		for n := 1; n < 16; n++ {
			tests[fmt.Sprintf("%s, access %d", name, n)] = func(t *testing.T) {
				p := prepare(t)
				p.quiet(t)
				first := p.hangsAt(t, n, p.send)
				p.ends(t, first, fmt.Sprint("access ", n))
			}
		}
	}
	abreast(t, tests)
}

// cutOff marks a connection as moving, as a crash right after that leaves it.
func (p *passage) cutOff(t *testing.T, more ...func(*store.Connection)) {
	t.Helper()
	b := p.engine()
	k, err := store.ParseKey(p.from)
	require.NoError(t, err)
	c, err := b.store.Connection(t.Context(), k)
	require.NoError(t, err)
	c.Serial++
	c.Move(store.Moving{To: p.to, Since: p.Now()})
	for _, change := range more {
		change(c)
	}
	require.NoError(t, b.store.PutConnection(t.Context(), k, c))
	p.restart(t)
	p.System.SetReplication(0)
	p.people()
}

// While a connection moves nobody gets it, nothing renews it and nobody changes it.
func TestMovingConnectionRests(t *testing.T) {
	p := passages()["an acceptance"](t)
	p.cutOff(t, func(c *store.Connection) { c.Moving.Since = p.Now().Add(time.Hour) })
	p.beats(t)
	p.Advance(58 * time.Minute)
	p.beats(t)
	asked := p.spent()
	p.Read("creds/"+p.from, nil).Refused(t, http.StatusConflict, "is moving to another owner or name")
	p.Write("refresh/"+p.from, nil).Refused(t, http.StatusConflict, "is moving")
	found := p.Write("check/"+p.from, nil).OK(t)
	assert.Equal(t, []any{"moving", "not_asked", "unknown"}, []any{
		found["status_reason"], found["service"], found["token_valid"],
	})
	view := p.Read("connections/"+p.from, nil).OK(t)
	assert.Equal(t, []any{"disabled", "moving", p.to, ""}, []any{
		view["status"], view["status_reason"], view["transfer_to"], view["transfer_until"],
	})
	assert.Equal(t, map[string]any{"disabled": float64(1)}, members(t, p.Read("status", nil).OK(t)["by_status"]))
	for path, data := range map[string]map[string]any{
		"connections/" + p.from:   {"label": "x"},
		"transfer/" + p.from:      {"to": "org/other/x"},
		"auth-code-url/" + p.from: {"provider": "acme"},
	} {
		p.Write(path, data).Refused(t, http.StatusConflict, "is being moved")
	}
	p.Write("connections/"+p.from, map[string]any{"disabled": false}).Refused(t, http.StatusConflict, "is being moved")
	p.Write("connections/"+p.from, map[string]any{"refresh_token": p.elsewhere(t)}).Refused(t,
		http.StatusConflict, "moved")
	p.Delete("connections/"+p.from, nil).Refused(t, http.StatusConflict, "is being moved")
	assert.Equal(t, asked, p.spent())
	p.send().OK(t) // whoever accepts it again hastens it
	assert.True(t, p.settled(t, "accepted again"))
}

// A move that was cut off is taken back where another connection has the name by now.
func TestMoveThatWasCutOffBeforeAnotherTookItsPlace(t *testing.T) {
	p := passages()["an acceptance"](t)
	p.cutOff(t, func(c *store.Connection) { c.Moving.Since = p.Now().Add(time.Minute) })
	p.beats(t)
	p.key(t, p.to)
	taken := p.Read("connections/"+p.to, nil).OK(t)["connection_id"]
	p.send().Refused(t, http.StatusConflict, "already")
	require.Eventually(t, func() bool {
		p.Advance(time.Minute)
		p.beats(t)
		return p.Read("creds/"+p.from, nil).Status == http.StatusOK
	}, time.Minute, time.Millisecond)
	assert.Equal(t, taken, p.Read("connections/"+p.to, nil).OK(t)["connection_id"])
	assert.True(t, p.Logs.Contains("a move that was cut off was taken back"))
	assert.Equal(t, http.StatusNotFound, p.Read("transfer/"+p.from, nil).Status)
}

// What is left of a move does not bring a connection back that was deleted, or went on, where it had arrived.
func TestRestOfAMoveBringsNothingBack(t *testing.T) {
	for name, act := range map[string]func(*testing.T, *passage){
		"deleted":         func(t *testing.T, p *passage) { p.Delete("connections/"+p.to, nil).OK(t) },
		"asked for again": func(t *testing.T, p *passage) { p.send().OK(t); p.Delete("connections/"+p.to, nil).OK(t) },
		"went on":         func(t *testing.T, p *passage) { p.offers(t, p.to, "org/umbrella/further") },
	} {
		t.Run(name, func(t *testing.T) {
			p := passages()["an acceptance"](t)
			p.Storage.Judge(func(a testenv.Access) error {
				if a.Op == "delete" && a.Under("connection/") {
					return testenv.ErrStorage
				}
				return nil
			})
			p.send().OK(t)
			p.Storage.Judge(nil)
			require.NotNil(t, p.entry(p.from), "its deletion was refused")
			p.Read("creds/"+p.from, nil).Refused(t, http.StatusConflict, "is moving")
			p.Read("creds/"+p.to, nil).OK(t)
			act(t, p)
			p.Advance(time.Minute)
			p.beats(t)
			p.restart(t)
			p.System.SetReplication(0)
			p.Advance(time.Minute)
			p.beats(t)
			assert.Nil(t, p.entry(p.from))
			assert.Nil(t, p.entry(p.to))
		})
	}
}

// A rename that is sent again finishes what is left of it.
func TestRenameSentAgain(t *testing.T) {
	for _, refused := range []string{"put", "delete"} {
		p := passages()["a rename"](t)
		p.Storage.Judge(func(a testenv.Access) error {
			if refused == "delete" && isWriteOf(a, "delete", p.from) || refused == "put" && isWriteOf(a, "put", p.to) {
				return testenv.ErrStorage
			}
			return nil
		})
		first := p.send()
		if p.Storage.Judge(nil); refused == "delete" {
			first.OK(t)
		} else {
			first.Refused(t, http.StatusServiceUnavailable, "is on its way to "+p.to, "sent again")
		}
		p.Read("creds/"+p.from, nil, alice).Refused(t, http.StatusConflict, "is moving")
		p.send().OK(t)
		assert.Nil(t, p.entry(p.from))
		p.Read("creds/"+p.to, nil, alice).OK(t)
		p.Stop()
	}
}

func isWriteOf(a testenv.Access, op, path string) bool {
	return a.Op == op && a.Key == "connection/"+path
}

// A refresh that is under way lands first, or the move is refused: no token is lost.
func TestMoveWhileARefreshIsUnderWay(t *testing.T) {
	p := passages()["an acceptance"](t)
	p.Advance(time.Minute)
	begun, release := p.blocked()
	refreshed, accepted := make(chan testenv.Result, 1), make(chan testenv.Result, 1)
	go func() { refreshed <- p.Write("refresh/"+p.from, nil) }()
	<-begun
	go func() { accepted <- p.send() }()
	require.Eventually(t, func() bool { return p.engine().tasks.Count("move ") == 1 }, time.Minute, time.Millisecond)
	assert.Empty(t, p.entry(p.from).Moving.To, "it waits")
	close(release)
	assert.Less(t, (<-refreshed).Status, 500)
	(<-accepted).OK(t)
	got := p.Read("creds/"+p.to, nil).OK(t)["access_token"].(string)
	assert.NotEqual(t, p.token, got)
	assert.True(t, p.provider.Alive(got))
	assert.Equal(t, 1, p.spent())
	p.Advance(2 * time.Hour)
	p.Read("creds/"+p.to, nil).OK(t) // its refresh token is the newest
}

// A refresh that was cut off, or whose token storage refused, is seen to before anything moves.
func TestMoveWhileATokenIsInDoubtOrUnsaved(t *testing.T) {
	t.Run("in doubt", func(t *testing.T) {
		p := passages()["an acceptance"](t)
		b := p.engine()
		k, err := store.ParseKey(p.from)
		require.NoError(t, err)
		c, err := b.store.Connection(t.Context(), k)
		require.NoError(t, err)
		require.NoError(t, b.store.PutIntent(t.Context(), k, &store.Intent{
			Key: p.from, Generation: c.Generation, Time: p.Now(),
		}))
		p.send().Refused(t, http.StatusConflict, "try again")
		p.Read("creds/"+p.from, nil).OK(t)
		p.restart(t)
		p.System.SetReplication(0)
		p.beats(t)
		p.send().OK(t) // it was tried again by then
		p.Read("creds/"+p.to, nil).OK(t)
	})
	t.Run("unsaved", func(t *testing.T) {
		p := passages()["an acceptance"](t)
		p.Advance(time.Minute)
		refuseConnections(p.Storage)
		p.Write("refresh/"+p.from, nil).OK(t)
		assert.GreaterOrEqual(t, p.send().Status, 500)
		p.Storage.Judge(nil)
		p.saved(t)
		p.send().OK(t)
		assert.True(t, p.provider.Alive(p.Read("creds/"+p.to, nil).OK(t)["access_token"].(string)))
	})
	t.Run("marked late, while the grant was spent", func(t *testing.T) {
		p := passages()["an acceptance"](t)
		p.cutOff(t, func(c *store.Connection) {
			require.NoError(t, p.engine().store.PutIntent(t.Context(), mustKey(t, p.from), &store.Intent{
				Key: p.from, Generation: c.Generation, Time: p.Now(),
			}))
		})
		require.Eventually(t, func() bool {
			p.Advance(time.Minute)
			p.beats(t)
			return p.Read("creds/"+p.from, nil).Status == http.StatusOK
		}, time.Minute, time.Millisecond, "it is taken back, and the refresh tried again")
	})
}

func mustKey(t *testing.T, path string) store.Key {
	t.Helper()
	k, err := store.ParseKey(path)
	require.NoError(t, err)
	return k
}

// Whatever meets, one of them has it, and no reader ever finds it at both paths.
func TestMovesThatMeet(t *testing.T) {
	for name, other := range map[string]func(*passage) testenv.Result{
		"two acceptances": func(p *passage) testenv.Result { return p.send() },
		"a deletion":      func(p *passage) testenv.Result { return p.Delete("connections/"+p.from, nil) },
		"a refresh":       func(p *passage) testenv.Result { return p.Write("refresh/"+p.from, nil) },
		"a rename": func(p *passage) testenv.Result {
			return p.Write("transfer/"+p.from, map[string]any{"to": "org/acme/renamed"})
		},
		"a withdrawal": func(p *passage) testenv.Result { return p.Delete("transfer/"+p.from, nil) },
		"a new connection there": func(p *passage) testenv.Result {
			return p.Write("connections/"+p.to, map[string]any{"provider": "openai", "api_key": openaiKey})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 8 {
				p := passages()["an acceptance"](t)
				p.Write("providers/openai", nil).OK(t)
				p.Advance(time.Minute)
				start, stop := make(chan struct{}), make(chan struct{})
				var all, readers sync.WaitGroup
				results := make([]testenv.Result, 2)
				readers.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						there := p.Read("creds/"+p.to, nil)
						here := p.Read("creds/"+p.from, nil) // the later look: what has left does not come back
						if there.Status == http.StatusOK && there.Data["provider"] == "acme" {
							assert.NotEqual(t, http.StatusOK, here.Status)
						}
					}
				})
				for i, send := range []func() testenv.Result{p.send, func() testenv.Result { return other(p) }} {
					all.Go(func() { <-start; results[i] = send() })
				}
				close(start)
				all.Wait()
				close(stop)
				readers.Wait()
				p.quiet(t)
				for _, r := range results {
					assert.Less(t, r.Status, 500, r.Text)
				}
				found := 0
				for _, path := range []string{p.from, p.to, "org/acme/renamed"} {
					creds := p.Read("creds/"+path, nil)
					if creds.Status == http.StatusOK && creds.Data["provider"] == "acme" {
						found++
						assert.True(t, p.provider.Alive(creds.Data["access_token"].(string)), path)
						p.Advance(2 * time.Hour)
						p.Read("creds/"+path, nil).OK(t) // the newest refresh token went along
					}
				}
				if name == "a deletion" && results[0].Status >= 300 {
					assert.Zero(t, found)
				} else {
					assert.Equal(t, 1, found)
				}
				p.Stop()
			}
		})
	}
}
