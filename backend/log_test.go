package backend

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// What goes on is one line when it begins and one when it ends, whoever tries how often in between.
func TestLogTellsOfChanges(t *testing.T) {
	lines := func(f *fixture, level, text string) (n int) {
		for line := range strings.Lines(f.Logs.String()) {
			if strings.Contains(line, level) && strings.Contains(line, text) {
				n++
			}
		}
		return n
	}
	t.Run("a connection that fails", func(t *testing.T) {
		f := newFixture(t, Options{}, testenv.InProcess)
		f.connect(t, "slack")
		f.Advance(2 * time.Hour)
		try := func(status int) {
			f.Advance(time.Hour) // past the backoff
			f.provider.Next(providers.StepRefresh, providertest.Respond(status, "down"))
			f.Read("creds/slack", nil).Refused(t, http.StatusBadGateway)
		}
		const fails, works = "a refresh failed", "refreshing works again"
		for range 4 {
			try(http.StatusServiceUnavailable)
		}
		assert.Equal(t, 1, lines(f, "[WARN]", fails))
		try(http.StatusTooManyRequests)
		assert.Equal(t, 2, lines(f, "[WARN]", fails), "it fails in another way")
		assert.Zero(t, lines(f, "[INFO]", works))
		for range 3 {
			f.Advance(time.Hour)
			f.Read("creds/slack", nil).OK(t)
		}
		assert.Equal(t, 2, lines(f, "[WARN]", fails))
		assert.Equal(t, 1, lines(f, "[INFO]", works))
	})
	t.Run("a provider that is down", func(t *testing.T) {
		f := newFixture(t, Options{}, testenv.InProcess)
		const crowd = 10
		endpoints := map[string]any{"authorize": f.provider.URL + "/authorize", "token": f.provider.URL + "/token"}
		// it does not say whose an account is
		f.Write("providers/quiet", with(f.acme(), map[string]any{"endpoints": endpoints})).OK(t)
		for i := range crowd {
			f.Write("exchange", f.own(t, fmt.Sprint("account", i), map[string]any{"provider": "quiet"})).OK(t)
		}
		down := make([]providertest.Behavior, 100)
		for i := range down {
			down[i] = providertest.Respond(http.StatusServiceUnavailable, "down")
		}
		f.provider.Next(providers.StepRefresh, down...)
		f.Advance(2 * time.Hour)
		for i := range crowd {
			_ = f.Write(fmt.Sprint("refresh/account", i), nil)
		}
		require.Equal(t, crowd, f.provider.Count(providers.StepRefresh), "people are heard")
		assert.Equal(t, 1, lines(f, "[WARN]", "a provider fails for several connections"))
		assert.LessOrEqual(t, lines(f, "[WARN]", "a refresh failed"), 2, "those before it was known")
	})
	t.Run("storage that refuses intents", func(t *testing.T) {
		f := newFixture(t, Options{}, testenv.InProcess)
		const crowd = 5
		for i := range crowd {
			f.connect(t, fmt.Sprint("account", i))
		}
		f.Storage.Judge(func(a testenv.Access) error {
			if a.Write() && strings.HasPrefix(a.Key, "wal/") {
				return testenv.ErrStorage
			}
			return nil
		})
		f.Advance(2 * time.Hour)
		for i := range crowd {
			f.Read(fmt.Sprint("creds/account", i), nil).Refused(t, http.StatusServiceUnavailable,
				"storage refuses the intent", "check Vault's storage")
		}
		assert.Zero(t, f.provider.Count(providers.StepRefresh))
		assert.Equal(t, 1, lines(f, "[ERROR]", "storage refuses intents"))
		f.Storage.Judge(nil)
		for i := range crowd {
			f.Read(fmt.Sprint("creds/account", i), nil).OK(t)
		}
		assert.Equal(t, 1, lines(f, "[INFO]", "storage takes intents again"))
	})
	t.Run("storage that refuses", func(t *testing.T) {
		f := newFixture(t, Options{}, testenv.InProcess)
		const crowd = 5
		for i := range crowd {
			f.connect(t, fmt.Sprint("account", i))
		}
		refuseConnections(f.Storage)
		f.Advance(2 * time.Hour)
		for i := range crowd {
			f.Read(fmt.Sprint("creds/account", i), nil).OK(t)
		}
		assert.Equal(t, 1, lines(f, "[ERROR]", "storage refuses a connection"))
		f.Storage.Judge(nil)
		f.saved(t)
		assert.Equal(t, 1, lines(f, "[INFO]", "storage takes connections again"))
	})
}

// Storage that neither reads nor writes is one line in the log, and that tells what storage said.
func TestLogTellsWhatStorageSaid(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Advance(time.Hour)
		begun, release := f.blocked()
		answer := make(chan testenv.Result, 1)
		go func() { answer <- f.Read("creds/slack", nil) }()
		<-begun
		f.Storage.Judge(func(a testenv.Access) error {
			if a.Under("connection/") {
				return testenv.ErrStorage
			}
			return nil
		})
		// Nothing is known of it from now on but what was asked with.
		f.Backend.InvalidateKey(t.Context(), "connection/org/default/slack")
		close(release)
		r := <-answer
		assert.True(t, f.provider.Alive(r.OK(t)["access_token"].(string)))
		assert.NotEmpty(t, r.Warnings)
		var lines []string
		for line := range strings.Lines(f.Logs.String()) {
			if strings.Contains(line, "storage refuses a connection") {
				lines = append(lines, line)
			}
		}
		require.Len(t, lines, 1)
		assert.Contains(t, lines[0], testenv.ErrStorage.Error())
		assert.Contains(t, lines[0], "org/default/slack")
		f.Storage.Judge(nil)
		f.saved(t)
	})
}
