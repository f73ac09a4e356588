package backend

import (
	"encoding/json"
	"maps"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// whole asserts that a value is a whole number, and gives it. Consumers fail on others: Vault Agent panics on a text,
// the Vault Secrets Operator refuses a fraction.
func whole(t *testing.T, data map[string]any, field string) int {
	t.Helper()
	switch v := data[field].(type) {
	case int:
		return v
	case json.Number:
		n, err := v.Int64()
		require.NoError(t, err, field)
		return int(n)
	case float64: // gRPC keeps JSON numbers so where the SDK decodes them
		require.InDelta(t, v, math.Trunc(v), 0, field)
		return int(v)
	}
	require.Failf(t, "no integer", "%s is %T", field, data[field])
	return 0
}

// steady is an answer without what may change while the credential stays the same.
func steady(data map[string]any) map[string]any {
	data = maps.Clone(data)
	delete(data, "ttl")
	return data
}

// What Vault Agent and the Kubernetes operators go by: they read again one second after ttl, and take any other change
// of the answer for a new credential.
func TestTimingOfConsumers(t *testing.T) {
	for name, c := range map[string]struct {
		life        time.Duration
		ttl, period int // just after a rotation
	}{
		"no expiry":       {0, 300, 300},
		"a moment":        {3 * time.Second, 5, 5},
		"below the least": {6 * time.Second, 5, 5},
		"20 s":            {20 * time.Second, 13, 13},
		"an hour":         {time.Hour, 3000, 3000},
		"90 days":         {90 * 24 * time.Hour, 90*24*3600 - 600, 90*24*3600 - 600},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.connect(t, "slack")
				first := f.Read("creds/slack", nil).OK(t)
				assert.Equal(t, c.ttl, whole(t, first, "ttl"))
				assert.Equal(t, c.period, whole(t, first, "rotation_period"))
				rotated, err := time.Parse(time.RFC3339, first["last_vault_rotation"].(string))
				require.NoError(t, err)
				assert.Equal(t, f.Now().Truncate(time.Second), rotated)

				const pause = 1300 * time.Millisecond
				f.Advance(pause)
				second := f.Read("creds/slack", nil).OK(t)
				assert.Equal(t, steady(first), steady(second))
				left := max(c.ttl-2, 5)
				if c.life == 0 {
					left = c.ttl
				}
				assert.Equal(t, left, whole(t, second, "ttl"), "whole seconds, rounded down")

				f.Advance(time.Duration(c.ttl+1)*time.Second - pause)
				var third map[string]any
				if c.life == 0 {
					assert.Equal(t, first, f.Read("creds/slack", nil).OK(t))
					return
				}
				// The read at ttl+1 starts a refresh, and the next has what it brought.
				require.Eventually(t, func() bool {
					third = f.Read("creds/slack", nil).OK(t)
					assert.GreaterOrEqual(t, whole(t, third, "ttl"), 5)
					return third["access_token"] != first["access_token"]
				}, time.Minute, time.Millisecond)
				assert.NotEqual(t, first["last_vault_rotation"], third["last_vault_rotation"])
				changed := steady(third)
				for _, field := range []string{"access_token", "expire_time", "last_vault_rotation"} {
					changed[field] = first[field]
				}
				assert.Equal(t, steady(first), changed, "and nothing else")
				assert.Equal(t, c.ttl, whole(t, third, "ttl"))
			}, providertest.WithLifetime(c.life))
		})
	}
}
