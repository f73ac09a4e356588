package acceptance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// Where a mount keeps the connections of its default org, and the intents.
const (
	connectionsFolder = "connection/org/default"
	intentsFolder     = "wal"
)

// fragile is a Vault whose storage refuses writes when told to.
type fragile struct {
	*stack.FileVault
}

func newFragile(t *testing.T) fragile {
	t.Helper()
	v, err := stack.StartVaultFile(t.Context(), suite.tools, stack.VaultOptions{})
	require.NoError(t, err)
	t.Cleanup(v.Stop)
	return fragile{v}
}

// refuse has storage refuse what a mount writes in a folder, until lift is called or the test ends.
func (v fragile) refuse(t *testing.T, e *engine, folder string) (lift func()) {
	t.Helper()
	undo, err := v.Refuse(t.Context(), e.path, folder)
	require.NoError(t, err)
	lift = sync.OnceFunc(func() { assert.NoError(t, undo()) })
	t.Cleanup(lift) // a mount with something unsaved takes its time to go, and cannot be removed
	return lift
}

// demand refreshes a connection, and gives what the answer warns of.
func (e *engine) demand(t *testing.T, name string) (warnings []string) {
	t.Helper()
	answer, err := e.renew(t.Context(), name)
	require.NoError(t, err)
	return answer.Warnings
}

// unsaved asserts how many connections the engine comes to hold in memory only.
func (e *engine) unsaved(t *testing.T, want int) {
	t.Helper()
	require.Eventually(t, func() bool { return e.read(t, "status")["unsaved"] == json.Number(fmt.Sprint(want)) },
		patience, 20*time.Millisecond, "status does not come to tell that %d are unsaved", want)
}

// served gives the token that a read answers, and whether it warns that storage refuses it.
func (e *engine) served(t *testing.T, name string) (token string, warned bool) {
	t.Helper()
	answer, err := e.vault.Client.Logical().ReadWithContext(t.Context(), e.path+"/creds/"+name)
	require.NoError(t, err)
	return answer.Data["access_token"].(string), strings.Contains(strings.Join(answer.Warnings, "\n"),
		"storage refuses to save")
}

// rotate refreshes a connection whose new state storage refuses, and gives the new token.
func (s *service) rotate(t *testing.T, name string) string {
	t.Helper()
	former, asked := s.token(t, name), s.Count("refresh")
	s.ages(t, restless, name)
	warnings := s.demand(t, name)
	require.Len(t, warnings, 1)
	assert.Contains(t, warnings[0], "storage refused the refreshed token")
	assert.Len(t, s.demand(t, name), 1, "who asks for a refresh right afterwards is answered that one, and warned too")
	token, warned := s.served(t, name)
	require.NotEqual(t, former, token)
	assert.True(t, s.Alive(token))
	assert.True(t, warned)
	s.unsaved(t, 1)
	assert.Equal(t, asked+1, s.Count("refresh"))
	return token
}

// holds asserts that a token which storage refuses is served with a warning for a while,
// and nobody is asked for another.
func (s *service) holds(t *testing.T, name, token string, while time.Duration) {
	t.Helper()
	asked := s.Count("refresh")
	require.Never(t, func() bool {
		got, warned := s.served(t, name)
		return got != token || !warned
	}, while, 500*time.Millisecond)
	assert.Equal(t, asked, s.Count("refresh"))
	s.unsaved(t, 1)
}

// kept asserts that a token comes to be saved by itself:
// it is there for a plugin that knows nothing of the one before.
func (v fragile) kept(t *testing.T, s *service, name, token string) {
	t.Helper()
	asked := s.Count("refresh")
	s.unsaved(t, 0)
	for _, begin := range []func(){func() {}, func() { killPlugin(t, v.Vault) }} {
		begin()
		got, warned := s.served(t, name)
		assert.Equal(t, token, got)
		assert.False(t, warned)
		assert.True(t, s.Alive(token))
		s.stands(t, name, "active", "")
	}
	assert.Equal(t, asked, s.Count("refresh"))
}

func TestStorageRefusesForAMoment(t *testing.T) {
	t.Parallel()
	v := newFragile(t)
	// All are connected before the first of them needs to be of some age.
	one := mountAt(t, v.Vault, "one").newService(t, "service")
	one.adopt(t, "account")
	many := mountAt(t, v.Vault, "many").newService(t, "service")
	const crowd = 50
	names, before := make([]string, crowd), make([]string, crowd)
	for i := range names {
		names[i] = fmt.Sprintf("account%d", i)
		before[i] = many.adopt(t, names[i])
	}
	replaced := mountAt(t, v.Vault, "replaced").newService(t, "service", providertest.WithLifetime(replaceable))
	former := replaced.adopt(t, "living")

	t.Run("a new token", func(t *testing.T) {
		s := one
		lift := v.refuse(t, s.engine, connectionsFolder)
		token := s.rotate(t, "account")
		lift()
		v.kept(t, s, "account", token)
		assert.Equal(t, 1, s.Count("refresh"))
	})

	t.Run("fifty new tokens at once", func(t *testing.T) {
		s := many
		s.ages(t, restless, names...)
		lift := v.refuse(t, s.engine, connectionsFolder)
		var callers sync.WaitGroup
		for _, name := range names {
			callers.Go(func() {
				answer, err := s.renew(t.Context(), name)
				if assert.NoError(t, err) {
					assert.Len(t, answer.Warnings, 1)
				}
			})
		}
		callers.Wait()
		s.unsaved(t, crowd)
		tokens := make([]string, crowd)
		for i, name := range names {
			tokens[i] = s.token(t, name)
			assert.NotEqual(t, before[i], tokens[i])
		}
		lift()
		s.unsaved(t, 0)
		killPlugin(t, v.Vault)
		for i, name := range names {
			token, warned := s.served(t, name)
			assert.Equal(t, tokens[i], token)
			assert.False(t, warned)
			assert.True(t, s.Alive(token))
			s.stands(t, name, "active", "")
		}
		assert.Equal(t, crowd, s.Count("refresh"))
	})

	// Whose answer could be lost without a trace is not asked.
	t.Run("an intent", func(t *testing.T) {
		s, e := replaced, replaced.engine
		short := e.newService(t, "short", providertest.WithLifetime(2*time.Second))
		e.ages(t, soonest, "living")
		short.adopt(t, "dead")
		e.expires(t, "dead", short.Alive)
		lift := v.refuse(t, e, intentsFolder)
		token, warnings, err := e.insist(t.Context(), "living", replaceable)
		require.NoError(t, err)
		assert.Equal(t, former, token)
		require.Len(t, warnings, 1)
		assert.Contains(t, warnings[0], "no token that lives as long as min_ttl can be had now: storage refuses the intent")
		e.refusesWrite(t, http.StatusServiceUnavailable, "storage refuses the intent to refresh connection org/default/dead",
			"refresh/dead", nil)
		assert.Zero(t, s.Count("refresh")+short.Count("refresh"))
		for _, name := range []string{"living", "dead"} {
			e.stands(t, name, "active", "")
		}

		lift()
		token, warnings, err = e.insist(t.Context(), "living", replaceable)
		require.NoError(t, err)
		assert.NotEqual(t, former, token)
		assert.Empty(t, warnings)
		assert.True(t, short.Alive(e.token(t, "dead")))
		assert.Equal(t, 1, s.Count("refresh"))
		assert.Equal(t, 1, short.Count("refresh"))
	})
}

// A token that storage refuses may itself be replaced: what is saved in the end is the newest.
func TestStorageRefusesForAMinute(t *testing.T) {
	t.Parallel()
	v := newFragile(t)
	s := mountOn(t, v.Vault).newService(t, "service")
	s.adopt(t, "account")
	lift := v.refuse(t, s.engine, connectionsFolder)
	until := time.Now().Add(time.Minute)
	s.holds(t, "account", s.rotate(t, "account"), restless)
	token := s.rotate(t, "account")
	s.holds(t, "account", token, time.Until(until))
	lift()
	v.kept(t, s, "account", token)
	assert.Equal(t, 2, s.Count("refresh"))

	assert.Empty(t, s.demand(t, "account"), "the refresh token that was saved is the newest too")
	assert.True(t, s.Alive(s.token(t, "account")))
	assert.Equal(t, 3, s.Count("refresh"))
}

// What the process held goes with it, and only the intent is left to tell why the provider refuses the former token.
func TestStorageRefusesForEver(t *testing.T) {
	t.Parallel()
	v := newFragile(t)
	for name, rotations := range map[string]int{"one refresh": 1, "one refresh on top of another": 2} {
		t.Run(name, func(t *testing.T) {
			s := mountOn(t, v.Vault).newService(t, "service")
			former := s.adopt(t, "account")
			v.refuse(t, s.engine, connectionsFolder)
			for range rotations {
				s.holds(t, "account", s.rotate(t, "account"), restless)
			}

			logged := v.logged(t)
			reloaded := meanwhile(func() { assert.NoError(t, v.Reload(t.Context())) })
			select {
			case <-reloaded:
			case <-time.After(15 * time.Second):
				require.Fail(t, "the reload waits for storage")
			}
			assert.Regexp(t, `\[ERROR\].*shutting down with states that storage refused.*count=1`, v.logged(t)[len(logged):])

			// The start tries once what was cut off, and is refused.
			require.Eventually(t, func() bool {
				return s.read(t, "connections/account")["status"] != "active"
			}, patience, 20*time.Millisecond)
			for range 3 {
				s.refusesWrite(t, http.StatusConflict, "needs to be reconnected (refresh_outcome_unknown)", "refresh/account", nil)
				token, _ := s.served(t, "account")
				assert.Equal(t, former, token, "storage has nothing newer")
			}
			s.stands(t, "account", "needs_reconnect", "refresh_outcome_unknown")
			assert.Equal(t, rotations+1, s.Count("refresh"))
		})
	}
}

// logged is what Vault and its plugins have logged so far.
func (v fragile) logged(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(v.LogFile)
	require.NoError(t, err)
	return string(text)
}
