package backend

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// passHours lets time pass, and the background do what falls due in each hour.
func (f *fixture) passHours(t *testing.T, hours int) {
	t.Helper()
	for range hours {
		f.Advance(time.Hour)
		f.engine().tasks.Wake()
		require.Eventually(t, func() bool { return number(f.Read("status", nil).OK(t)["due"]) == 0 },
			time.Minute, time.Millisecond)
		f.engine().tasks.Quiesce(t.Context())
	}
}

func TestDailyCheck(t *testing.T) {
	f := newFixture(t, withKeys(t), testenv.InProcess)
	f.keyed(t)
	f.connect(t, "acme") // its refreshes prove it
	f.periodic(t)
	before := f.asked()
	for range 100 {
		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"the account"}`))
	}
	f.passHours(t, 1)
	f.Write("check/keys", nil).OK(t) // whose account it is, is written down once
	f.Storage.Forget()
	asked := f.asked()
	f.passHours(t, 10*24)
	assert.InDelta(t, 10, f.asked()-asked, 2, "once a day")
	for _, a := range f.Storage.History() {
		assert.False(t, a.Write() && a.Key == "connection/org/default/keys", "a check that finds nothing new writes nothing")
	}
	assert.Positive(t, asked-before)

	f.Write("config", map[string]any{"check_interval": "6h"}).OK(t)
	f.Write("providers/keys", map[string]any{"scopes": ""}).OK(t) // its connections are looked at anew
	asked = f.asked()
	f.passHours(t, 5*24)
	// a moment of a period that the steps of this clock leap over is left out
	assert.InDelta(t, 20, f.asked()-asked, 5)
}

func TestDailyCheckFindsOut(t *testing.T) {
	f := newFixture(t, withKeys(t), testenv.InProcess)
	f.keyed(t)
	f.provider.Next(providers.StepIdentity, refusal, refusal)
	f.passHours(t, 48)
	assert.Equal(t, []any{"failed_validation", "key_refused"}, f.statusOf(t, "keys"))
	for range 3 {
		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"the account"}`))
	}
	f.passHours(t, 48)
	assert.Equal(t, []any{"active", ""}, f.statusOf(t, "keys"))
}

func TestDailyCheckIsOff(t *testing.T) {
	f := newFixture(t, withKeys(t), testenv.InProcess)
	f.Write("config", map[string]any{"check_interval": 0}).OK(t)
	assert.Zero(t, number(f.Read("config", nil).OK(t)["check_interval"]))
	f.keyed(t)
	f.passHours(t, 72)
	assert.Zero(t, f.asked())
	assert.Zero(t, number(f.Read("status", nil).OK(t)["scheduled"]), "and costs nothing")
	f.Write("config", map[string]any{"check_interval": 60}).Refused(t, http.StatusBadRequest, "check_interval")
}

// Each connection has one moment in each period, and those of many lie apart.
func TestSlots(t *testing.T) {
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for _, every := range []time.Duration{time.Hour, 24 * time.Hour, 7 * 24 * time.Hour} {
		byTenth := make([]int, 10)
		for i := range 1000 {
			k := store.Key{Owner: store.Owner{Org: "acme"}, Name: fmt.Sprint("c", i)}
			at := start
			for n := range 10 {
				next := slotAfter(k, at, every)
				period := func(t time.Time) int64 { return t.Unix() / int64(every/time.Second) }
				require.True(t, next.After(at))
				if n > 0 {
					require.Equal(t, period(at)+1, period(next), "each period has one")
				}
				at = next
			}
			byTenth[at.Sub(start)%every*10/every]++
		}
		for _, n := range byTenth {
			assert.InDelta(t, 100, n, 50, "%v", byTenth)
		}
	}
}
