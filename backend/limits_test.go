package backend

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// limited is the generic definition of a service with rules of its own about when tokens are renewed.
func limited(t *testing.T, rules string) Options {
	t.Helper()
	generic, err := os.ReadFile("../providers/catalog/oauth2.yaml")
	require.NoError(t, err)
	const refresh = "\nrefresh:\n"
	require.Contains(t, string(generic), refresh)
	definition := strings.Replace(string(generic), refresh, refresh+rules, 1)
	catalog, err := providers.NewRegistry(fstest.MapFS{"oauth2.yaml": {Data: []byte(definition)}})
	require.NoError(t, err)
	return Options{Catalog: catalog}
}

// The consent ends thirty days after it was given, and refreshing does not move that.
func TestConsentRunsOut(t *testing.T) {
	eachWith(t, limited(t, "  hard: 30d\n"), func(t *testing.T, f *fixture) {
		const day = 24 * time.Hour
		end := f.Now().Add(30 * day)
		f.connect(t, "slack")
		soon := func() float64 { return number(f.Read("status", nil).OK(t)["reconnect_soon"]) }
		assert.Equal(t, end.Format(time.RFC3339), f.Read("connections/slack", nil).OK(t)["reconnect_by"])
		assert.Zero(t, soon())

		f.Advance(16*day + time.Second)
		r := f.Read("creds/slack", nil)
		assert.True(t, f.provider.Alive(r.OK(t)["access_token"].(string)))
		assert.Contains(t, strings.Join(r.Warnings, "\n"), end.Format(time.RFC3339))
		assert.Equal(t, end.Format(time.RFC3339), f.Read("connections/slack", nil).OK(t)["reconnect_by"])
		assert.InDelta(t, 1, soon(), 0)
		f.restart(t)
		assert.InDelta(t, 1, soon(), 0, "read from storage")

		asked := f.provider.Count("refresh")
		f.Advance(14 * day)
		f.Read("creds/slack", nil).Refused(t, 409, "hard_limit", "auth-code-url/")
		c := f.Read("connections/slack", nil).OK(t)
		assert.Equal(t, []any{"needs_reconnect", "hard_limit"}, []any{c["status"], c["status_reason"]})
		assert.Zero(t, soon(), "it is too late")
		assert.Equal(t, asked, f.provider.Count("refresh"), "nobody is asked")

		f.connect(t, "slack")
		c = f.Read("connections/slack", nil).OK(t)
		assert.Equal(t, []any{"active", f.Now().Add(30 * day).Format(time.RFC3339)}, []any{c["status"], c["reconnect_by"]})
	})
}

// The definition's margin is asked for instead of the mount's, and its least age is waited for.
func TestMarginOfADefinition(t *testing.T) {
	eachWith(t, limited(t, "  margin: 3m\n  min_age: 58m\n"), func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		life := number(f.Read("creds/slack", nil).OK(t)["rotation_period"])
		assert.InDelta(t, (57 * time.Minute).Seconds(), life, 0, "of an hour")
		f.Write("refresh/slack", nil).Refused(t, 400, "no token younger than 58m")
		f.Advance(57*time.Minute + 30*time.Second)
		assert.InDelta(t, 30, number(f.Read("creds/slack", nil).OK(t)["ttl"]), 0)
		f.Advance(31 * time.Second)
		f.Write("refresh/slack", nil).OK(t)
		assert.Equal(t, 1, f.provider.Count("refresh"))
	})
}
