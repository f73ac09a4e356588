package backend

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// What the directory keeps tells the status as the connection itself does.
func TestRecordTellsTheStatus(t *testing.T) {
	now, same, other := newClock().Now(), "p", "q"
	grant := func(change func(*providers.Grant)) *providers.Grant {
		g := &providers.Grant{AccessToken: providers.NewSecret("t"), Issued: now.Add(-time.Hour)}
		change(g)
		return g
	}
	whole := grant(func(*providers.Grant) {})
	for name, c := range map[string]store.Connection{
		"active": {Credential: store.Credential{Pinned: "p", Grant: whole}},
		"a key":  {Credential: store.Credential{Pinned: "p"}},
		"a key that failed its check": {Credential: store.Credential{
			Kind: providers.KindAPIKey, Pinned: "p", Invalid: now,
		}},
		"a token that failed its check": {Credential: store.Credential{
			Kind: providers.KindAuthorizationCode, Pinned: "p", Grant: whole, Invalid: now,
		}},
		"disabled": {
			Stops: store.Stops{Either: store.Actor{Time: now}}, Credential: store.Credential{Pinned: "p", Grant: whole},
		},
		"archived": {
			Stops:      store.Stops{Owner: store.Stop{Archived: store.Actor{Time: now}}},
			Credential: store.Credential{Pinned: "p", Grant: whole},
		},
		"deleting": {Deleting: now, Credential: store.Credential{Pinned: "p", Grant: whole}},
		"refused": {
			Credential: store.Credential{Pinned: "p", Grant: whole, Refused: store.Refusal{Reason: store.ReasonIdleLimit}},
		},
		"expired": {Credential: store.Credential{Pinned: "p", Grant: grant(func(g *providers.Grant) {
			g.Expires = now
		})}},
		"past a limit": {Credential: store.Credential{Pinned: "p", Grant: grant(func(g *providers.Grant) {
			g.HardLimit = now
		})}},
	} {
		for _, renewable := range []bool{true, false} {
			for _, fingerprint := range []*string{&same, &other, nil} {
				r := lookup(store.Key{Name: "a"})
				r.summarize(&backend{now: newClock().Now, uses: &uses{}}, &c, refresh.Terms{CanRefresh: renewable}, "app")
				status, reason := c.Facts(renewable).Status(fingerprint, now)
				got, why := r.facts().Status(fingerprint, now)
				assert.Equal(t, []any{status, reason}, []any{got, why}, name)
			}
		}
	}
}

// Connections come and go while the directory is filled and asked.
func TestDirectoryUnderConcurrency(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/openai", nil).OK(t)
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				for n := range 5 {
					path := fmt.Sprintf("connections/user/u%d/c%d", i, n)
					assert.Equal(t, http.StatusOK, f.Write(path, map[string]any{"provider": "openai", "api_key": openaiKey}).Status)
					assert.Equal(t, http.StatusOK, f.Read("status", nil).Status)
					f.Backend.InvalidateKey(t.Context(), "connection/user/u0/c0")
					if n%2 == 0 {
						assert.Less(t, f.Delete(path, nil).Status, http.StatusMultipleChoices)
					}
				}
			})
		}
		all.Wait()
		assert.InDelta(t, 8, number(f.Read("status", nil).OK(t)["connections"]), 0)
	})
}

// One entry that cannot be read must not hide the others from an operator.
func TestDamagedEntry(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "good")
		entry, err := f.Storage.Get(t.Context(), "connection/org/default/good")
		require.NoError(t, err)
		entry.Key, entry.Value = "connection/org/default/bad", []byte(`{"version":1,"status":`)
		require.NoError(t, f.Storage.Put(t.Context(), entry))
		f.restart(t)
		counts := func() [2]float64 {
			status := f.Read("status", nil).OK(t)
			return [2]float64{number(status["connections"]), number(status["unreadable"])}
		}
		assert.Equal(t, [2]float64{1, 1}, counts())
		f.Backend.InvalidateKey(t.Context(), "connection/org/default/bad")
		f.Backend.InvalidateKey(t.Context(), "connection/org/default/good")
		assert.Equal(t, [2]float64{1, 1}, counts(), "nor when it is read again")
		f.Read("creds/good", nil).OK(t)
		r := f.Read("creds/bad", nil)
		r.Refused(t, http.StatusInternalServerError, "restore it from a snapshot")
		assert.NotContains(t, r.Text, "version")
	})
}

// loses makes storage refuse to give these entries, as it does with a damaged ciphertext.
func (f *fixture) loses(keys ...string) {
	f.Storage.Judge(func(a testenv.Access) error {
		if a.Op == "get" && slices.Contains(keys, a.Key) {
			return testenv.ErrStorage
		}
		return nil
	})
}

// Nor must one that storage does not give: the others are counted, listed and refreshed in the background, and it
// follows when storage gives it again.
func TestLostEntry(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for _, name := range []string{"a", "lost", "z"} {
			f.connect(t, name)
		}
		const lost = "connection/org/default/lost"
		f.loses(lost)
		f.restart(t)
		reads := func() (keys []string) {
			for _, a := range f.Storage.History() {
				if a.Op == "get" && strings.HasPrefix(a.Key, "connection/") {
					keys = append(keys, a.Key)
				}
			}
			return keys
		}
		check := func(connections, unreadable int) {
			t.Helper()
			status := f.Read("status", nil).OK(t)
			for field, want := range map[string]int{
				"connections": connections, "scheduled": connections,
				"unreadable": unreadable,
			} {
				assert.InDelta(t, want, number(status[field]), 0, field)
			}
			list := f.List("connections/").OK(t)
			assert.Equal(t, []string{"a", "lost", "org/", "z"}, texts(t, list["keys"]))
			assert.Len(t, members(t, list["key_info"]), connections)
		}
		check(2, 1)
		f.Storage.Forget()
		check(2, 1)
		assert.Equal(t, []string{lost}, slices.Compact(reads()), "the others are known")
		f.periodic(t)
		assert.Eventually(t, func() bool {
			return f.Logs.Contains("storage did not give some connections") && f.Logs.Contains("org/default/lost") &&
				f.Logs.Contains(testenv.ErrStorage.Error())
		}, time.Minute, 5*time.Millisecond, "the log says which one")

		f.Storage.Judge(nil)
		check(3, 0)
		f.loses(lost)
		f.Backend.InvalidateKey(t.Context(), lost)
		status := f.Read("status", nil).OK(t)
		assert.InDelta(t, 2, number(status["connections"]), 0, "nobody knows what another node made of it")
		assert.InDelta(t, 1, number(status["unreadable"]), 0)
	})
}

// A connection that cannot be read may rest on any account, and many providers would end its grant too.
func TestRevocationBesideALostEntry(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "lost")
		f.connect(t, "slack")
		token := f.Read("creds/slack", nil).OK(t)["access_token"].(string)
		f.loses("connection/org/default/lost")
		f.restart(t)
		r := f.Delete("connections/slack", nil)
		r.OK(t)
		require.Len(t, r.Warnings, 1)
		assert.Contains(t, r.Warnings[0], "not revoked")
		assert.True(t, f.provider.Alive(token))
	})
}

// Nor must a flow.
func TestDamagedFlow(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.start(t, "slack", nil)
		require.NoError(t, f.Storage.Put(t.Context(), &logical.StorageEntry{
			Key: "flow/" + strings.Repeat("ab", 32), Value: []byte(`{"version":9}`),
		}))
		f.restart(t)
		assert.InDelta(t, 1, number(f.Read("status", nil).OK(t)["open_flows"]), 0)
		assert.Equal(t, "flow_open", f.Read("connections/slack", nil).OK(t)["status_reason"])
		f.periodic(t)
	})
}

// A change by another node costs one read, however many connections there are.
func TestOneEntryIsReadAgain(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for i := range 5 {
			f.key(t, fmt.Sprint("key", i))
		}
		f.restart(t) // the worker that hears of the provider's writes may be late, and looks at all of them
		count := func() float64 { return number(f.Read("status", nil).OK(t)["connections"]) }
		assert.InDelta(t, 5, count(), 0)
		require.NoError(t, f.Storage.Delete(t.Context(), "connection/org/default/key3"))
		f.Storage.Forget()
		f.Backend.InvalidateKey(t.Context(), "connection/org/default/key3")
		assert.InDelta(t, 4, count(), 0)
		reads := 0
		for _, a := range f.Storage.History() {
			if strings.HasPrefix(a.Key, "connection/") {
				reads++
			}
		}
		assert.LessOrEqual(t, reads, 2, "the worker may have looked at it too")
	})
}

// What was read before something changed must not undo what the change entered: a connection would never be refreshed
// again.
func TestLookThatIsOld(t *testing.T) {
	const entry = "connection/org/default/slack"
	slow := func(t *testing.T, f *fixture) (looking, answer chan struct{}) {
		t.Helper()
		looking, answer = make(chan struct{}), make(chan struct{})
		read := func(a testenv.Access) bool { return a.Op == "get" && a.Key == entry }
		f.Storage.Delay(testenv.Nth(1, read), func(testenv.Access) {
			close(looking)
			<-answer
		})
		return looking, answer
	}
	// change makes storage hold the connection as it is disabled, unseen.
	change := func(t *testing.T, f *fixture) (behind func()) {
		t.Helper()
		f.Write("connections/slack", map[string]any{"disabled": true}).OK(t)
		disabled, err := f.Storage.Get(t.Context(), entry)
		require.NoError(t, err)
		f.Write("connections/slack", map[string]any{"disabled": false}).OK(t)
		return func() { require.NoError(t, f.Storage.Put(t.Context(), disabled)) }
	}
	enabled := func(t *testing.T, f *fixture, answer chan struct{}) {
		t.Helper()
		f.Write("connections/slack", map[string]any{"disabled": false}).OK(t)
		close(answer)
		f.Read("status", nil).OK(t) // which waits for the scan
		f.Advance(time.Hour)
		require.Eventually(t, func() bool {
			f.periodic(t)
			return f.provider.Count(providers.StepRefresh) > 0
		}, time.Minute, 5*time.Millisecond, "it is refreshed, though nobody reads")
	}
	for name, test := range map[string]func(*testing.T, *fixture){
		"of the first scan": func(t *testing.T, f *fixture) {
			change(t, f)()
			looking, answer := slow(t, f)
			f.restart(t)
			<-looking
			enabled(t, f, answer)
		},
		"of the background, at what is due": func(t *testing.T, f *fixture) {
			behind := change(t, f)
			f.restart(t)
			require.Eventually(t, func() bool {
				return number(f.Read("status", nil).OK(t)["scheduled"]) == 1
			}, time.Minute, time.Millisecond)
			behind()
			looking, answer := slow(t, f)
			f.Advance(55 * time.Minute)
			f.periodic(t)
			<-looking
			enabled(t, f, answer)
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.connect(t, "slack")
				test(t, f)
			})
		})
	}
}
