package backend

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// toldKeys say more than whose they are: which hub they are for, and what its hook is called by.
const toldKeys = `
api_base: 'https://api.example.com/{hub}'
connection_config:
  - {name: hub, from: identity, path: [hub], pattern: '[0-9]+'}
  - {name: hook, from: identity, path: [hook], secret: true}
`

// tells is how the service answers who shows it a key.
func (f *fixture) tells(fields string) {
	f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"the account"`+fields+`}`))
}

// config is what creds answers beside a key.
func (f *fixture) config(t *testing.T) map[string]any {
	t.Helper()
	return members(t, f.Read("creds/keys", nil).OK(t)["connection_config"])
}

// tellsNow checks the key at once, and the service tells that of it.
func (f *fixture) tellsNow(t *testing.T, fields string) map[string]any {
	t.Helper()
	f.Advance(time.Minute)
	f.tells(fields)
	return f.Write("check/keys", nil).OK(t)
}

// Applications get what the service tells of a key as they get what came with a grant.
func TestKeyIsTold(t *testing.T) {
	eachWith(t, withKeys(t, toldKeys), func(t *testing.T, f *fixture) {
		f.keyed(t)
		assert.Empty(t, f.config(t), "nobody was asked")
		assert.NotContains(t, f.Read("creds/keys", nil).OK(t), "api_base")
		another := map[string]any{"api_key": "another-5678"}
		f.tells(`,"hub":42,"hook":"s3cr3t"`)
		wrote := f.Write("connections/keys", another)
		assert.Equal(t, map[string]any{"hub": "42"}, members(t, wrote.OK(t)["connection_config"]), "the secret is not shown")
		assert.Empty(t, wrote.Warnings)
		f.restart(t)
		assert.Equal(t, map[string]any{"hub": "42", "hook": "s3cr3t"}, f.config(t))
		read := f.Read("connections/keys", nil)
		assert.Equal(t, map[string]any{"hub": "42"}, members(t, read.OK(t)["connection_config"]))
		assert.NotContains(t, read.Text, "s3cr3t")
		assert.Equal(t, "https://api.example.com/42", f.Read("creds/keys", nil).OK(t)["api_base"])

		f.Storage.Forget()
		f.tellsNow(t, `,"hub":"42","hook":"s3cr3t"`)
		f.tellsNow(t, ``)
		assert.Zero(t, f.Storage.Writes(), "nothing is new")
		f.tellsNow(t, `,"hub":"not a number"`)
		assert.Zero(t, f.Storage.Writes(), "what does not fit is not taken")
		f.tellsNow(t, `,"hub":43`)
		assert.Equal(t, map[string]any{"hub": "43", "hook": "s3cr3t"}, f.config(t))
		assert.Positive(t, f.Storage.Writes())
		for _, doubt := range []int{http.StatusBadGateway, http.StatusForbidden, http.StatusUnauthorized} {
			f.Advance(time.Minute)
			f.provider.Next(providers.StepIdentity, providertest.Respond(doubt, `{"hub":44}`))
			f.Write("check/keys", nil).OK(t)
			assert.Equal(t, map[string]any{"hub": "43", "hook": "s3cr3t"}, f.config(t), "%d", doubt)
		}

		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusBadGateway, ""))
		f.Write("connections/keys", map[string]any{"api_key": "yet-another-9012"}).OK(t)
		assert.Empty(t, f.config(t), "that was told of another key")
		f.tellsNow(t, `,"hub":45`)
		assert.Equal(t, map[string]any{"hub": "45"}, f.config(t))
	})
}

// What was told of a key comes back with it.
func TestFormerKeyWasTold(t *testing.T) {
	eachWith(t, withKeys(t, toldKeys), func(t *testing.T, f *fixture) {
		f.keyed(t)
		f.tellsNow(t, `,"hub":1,"hook":"s3cr3t"`)
		f.tells(`,"hub":2`)
		f.Write("connections/keys", map[string]any{"api_key": "another-5678"}).OK(t)
		assert.Equal(t, map[string]any{"hub": "2"}, f.config(t))
		f.restart(t)
		restore := map[string]any{"restore_former": true}
		for range 2 {
			f.Write("connections/keys", restore).OK(t)
			assert.Equal(t, map[string]any{"hub": "1", "hook": "s3cr3t"}, f.config(t))
			f.Write("connections/keys", restore).OK(t)
			assert.Equal(t, map[string]any{"hub": "2"}, f.config(t))
		}
	})
	f := newFixture(t, withKeys(t, toldKeys), testenv.InProcess)
	f.keyed(t)
	f.tellsNow(t, `,"hook":"s3cr3t"`)
	f.Write("connections/keys", map[string]any{"api_key": "another-5678", "verify": false}).OK(t)
	kept := func() bool {
		entry, err := f.Storage.Get(t.Context(), "connection/org/default/keys")
		return err != nil || strings.Contains(string(entry.Value), "s3cr3t")
	}
	assert.True(t, kept())
	f.passHours(t, 7*24+1)
	assert.Eventually(t, func() bool { return !kept() }, time.Minute, 10*time.Millisecond, "it is erased with the key")
}

// What the definition requires may be missing: the key is stored, with a warning, as a grant is.
func TestKeyIsNotToldWhatIsRequired(t *testing.T) {
	required := strings.ReplaceAll(toldKeys, "path: [hub]", "path: [hub], required: true")
	eachWith(t, withKeys(t, required), func(t *testing.T, f *fixture) {
		f.keyed(t)
		f.tells("")
		r := f.Write("connections/keys", map[string]any{"api_key": "another-5678"})
		assert.Equal(t, "active", r.OK(t)["status"])
		assert.Contains(t, strings.Join(r.Warnings, " "), "connection_config is not whole")
		assert.Contains(t, strings.Join(r.Warnings, " "), "capture_missing")
		found := f.tellsNow(t, "")
		assert.Equal(t, []any{"active", "true"}, []any{found["status"], found["token_valid"]})
		assert.Contains(t, found["advice"], "capture_missing")
		assert.NotContains(t, f.tellsNow(t, `,"hub":1`)["advice"], "capture_missing")
		assert.NotContains(t, f.tellsNow(t, "")["advice"], "capture_missing", "it is known")
	})
}

func TestWhatAKeyWasToldIsNotStored(t *testing.T) {
	f := newFixture(t, withKeys(t, toldKeys), testenv.InProcess)
	f.keyed(t)
	f.tellsNow(t, `,"hub":1`)
	refuseConnections(f.Storage)
	found := f.tellsNow(t, `,"hub":2`)
	assert.Equal(t, "true", found["token_valid"])
	assert.Contains(t, f.Logs.String(), "what a check found could not be stored")
	assert.Equal(t, map[string]any{"hub": "1"}, f.config(t))
	f.tells(`,"hub":3`)
	assert.GreaterOrEqual(t, f.Write("connections/keys", map[string]any{"api_key": "another-5678"}).Status, 500)
	f.Storage.Judge(nil)
	assert.Equal(t, map[string]any{"hub": "1"}, f.config(t))
	f.tellsNow(t, `,"hub":2`)
	assert.Equal(t, map[string]any{"hub": "2"}, f.config(t))
}

// The daily check tells, and rewrites nothing where it tells nothing new.
func TestDailyCheckTells(t *testing.T) {
	f := newFixture(t, withKeys(t, toldKeys), testenv.InProcess)
	f.keyed(t)
	for range 20 {
		f.tells(`,"hub":1,"hook":"s3cr3t"`)
	}
	f.passHours(t, 48)
	assert.Equal(t, map[string]any{"hub": "1", "hook": "s3cr3t"}, f.config(t))
	f.Storage.Forget()
	asked := f.asked()
	f.passHours(t, 4*24)
	assert.Greater(t, f.asked(), asked)
	for _, a := range f.Storage.History() {
		assert.False(t, a.Write() && a.Key == "connection/org/default/keys")
	}
}

// What a service tells is bounded, and so is an entry with two keys and all that was told of both.
func TestKeyIsToldTooMuch(t *testing.T) {
	var captures, few, many strings.Builder
	captures.WriteString("connection_config:\n")
	for i := range 12 {
		fmt.Fprintf(&captures, "  - {name: v%02d, from: identity, path: [v%02d]}\n", i, i)
		value := fmt.Sprintf(`,"v%02d":%q`, i, strings.Repeat("v", 4<<10))
		many.WriteString(value)
		if i < 7 {
			few.WriteString(value)
		}
	}
	eachWith(t, withKeys(t, captures.String()), func(t *testing.T, f *fixture) {
		f.keyed(t)
		f.tells(many.String())
		r := f.Write("connections/keys", map[string]any{"api_key": strings.Repeat("a", 60<<10)})
		r.OK(t)
		assert.Contains(t, strings.Join(r.Warnings, " "), "grant_too_large")
		assert.Empty(t, f.config(t))
		f.tellsNow(t, few.String())
		assert.Len(t, f.config(t), 7)
		assert.Contains(t, f.tellsNow(t, many.String())["advice"], "grant_too_large")
		assert.Len(t, f.config(t), 7, "as it was")

		f.tells(few.String())
		f.Write("connections/keys", map[string]any{"api_key": strings.Repeat("b", 3<<10)}).OK(t)
		assert.Empty(t, f.Read("connections/keys", nil).OK(t)["former_key_until"], "that one was too large to keep")
		f.tells(few.String())
		f.Write("connections/keys", map[string]any{"api_key": strings.Repeat("c", 60<<10)}).OK(t)
		assert.NotEmpty(t, f.Read("connections/keys", nil).OK(t)["former_key_until"])
		entry, err := f.Storage.Get(t.Context(), "connection/org/default/keys")
		require.NoError(t, err)
		assert.Greater(t, len(entry.Value), 100<<10)
		assert.Less(t, len(entry.Value), store.MaxEntry-64<<10, "room for all that people may write")

		f.tells(few.String())
		f.Write("connections/keys", map[string]any{"api_key": strings.Repeat("d", 5<<10)}).OK(t)
		f.tells("")
		f.Write("connections/keys", map[string]any{"api_key": "e"}).OK(t)
		assert.Empty(t, f.Read("connections/keys", nil).OK(t)["former_key_until"], "with what it was told it is too large")
	})
}

// askedTwice has keys of which the health call tells the plan, and the identity call the hub and whose they are.
func askedTwice(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t, withKeys(t, `  health: https://keys.example.com/plan
health: {}
connection_config:
  - {name: hub, from: identity, path: [hub]}
  - {name: plan, from: health, path: [plan]}
`), testenv.InProcess)
	f.Write("providers/keys", map[string]any{"endpoints": map[string]any{
		"identity": f.provider.URL + "/userinfo", "health": f.provider.URL + "/userinfo",
	}}).OK(t)
	return f
}

// Where another call tells whose a key is, what that one tells is kept too.
func TestIdentificationOfAKeyTells(t *testing.T) {
	f := askedTwice(t)
	f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"plan":"small"}`))
	f.Write("connections/keys", map[string]any{"api_key": "the-key-1234"}).OK(t)
	assert.Equal(t, map[string]any{"plan": "small"}, f.config(t))

	f.Advance(time.Minute)
	plan := providertest.Respond(http.StatusOK, `{"plan":"large"}`)
	f.provider.Next(providers.StepIdentity, plan, providertest.Respond(http.StatusOK, `{"sub":"one","hub":7}`), plan)
	f.Write("check/keys", nil).OK(t)
	assert.Eventually(t, func() bool { return f.config(t)["hub"] == "7" }, time.Minute, 5*time.Millisecond)
	assert.Equal(t, map[string]any{"plan": "large", "hub": "7"}, f.config(t))
	assert.Equal(t, "one", f.accountOf(t, "keys"))
	f.Advance(time.Minute)
	f.provider.Next(providers.StepIdentity, plan)
	f.Write("check/keys", nil).OK(t)
	assert.Equal(t, map[string]any{"plan": "large", "hub": "7"}, f.config(t))
}

// What a check tells while another call asks whose the key is: that call does not know of it, so nothing of it is kept,
// and it is made again, rather than that one half stays unknown for good.
func TestCheckTellsWhileAKeyIsIdentified(t *testing.T) {
	f := askedTwice(t)
	plan := func(size string) providertest.Behavior {
		return providertest.Respond(http.StatusOK, `{"plan":"`+size+`"}`)
	}
	person := providertest.Respond(http.StatusOK, `{"sub":"one","hub":7}`)
	asked, until := make(chan struct{}), make(chan struct{})
	f.provider.Next(providers.StepIdentity, plan("small"), plan("large"),
		func(s *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc) {
			close(asked)
			<-until
			person(s, w, r, behave)
		})
	f.Write("connections/keys", map[string]any{"api_key": "the-key-1234"}).OK(t)
	f.Advance(time.Minute)
	f.Write("check/keys", nil).OK(t)
	<-asked
	f.Advance(time.Minute)
	f.provider.Next(providers.StepIdentity, plan("huge"))
	f.Write("check/keys", nil).OK(t)
	f.provider.Next(providers.StepIdentity, plan("huge"))
	close(until)
	f.quiet(t)
	assert.Equal(t, map[string]any{"plan": "huge"}, f.config(t))
	assert.Empty(t, f.accountOf(t, "keys"))

	f.Advance(2 * time.Hour)
	f.provider.Next(providers.StepIdentity, plan("huge"), person, plan("huge"))
	f.Write("check/keys", nil).OK(t)
	f.quiet(t)
	assert.Equal(t, map[string]any{"plan": "huge", "hub": "7"}, f.config(t))
	assert.Equal(t, "one", f.accountOf(t, "keys"))
}

// Of two answers that were waited for at once the first that came stays: the other did not know of it.
func TestWhatWasToldMeanwhile(t *testing.T) {
	told := func(hub string) *providers.Captured {
		return &providers.Captured{Config: map[string]string{"hub": hub}}
	}
	before := &store.Connection{}
	before.Capture(told("1"))
	now := before.Clone()
	captured(now, before, told("2"))
	captured(now, before, told("3"))
	assert.Equal(t, told("2"), now.Captured)
	assert.True(t, tellsMore(before, told("2")))
	assert.False(t, tellsMore(before, told("1")))
	assert.False(t, tellsMore(before, nil))
	now.Grant = &providers.Grant{}
	assert.False(t, tellsMore(now, told("4")))
}

// Inputs stand beside what was told, and where the service does not tell, an input may stand for it.
func TestInputsOfAKey(t *testing.T) {
	f := newFixture(t, withKeys(t, `
inputs: [{name: region, set_by: provider, pattern: '[a-z]+', default: eu}]
connection_config:
  - {name: region, from: input, path: [region]}
  - {name: area, any_of: [{from: identity, path: [area]}, {from: input, path: [region]}]}
`), testenv.InProcess)
	f.keyed(t)
	assert.Equal(t, map[string]any{"region": "eu"}, f.config(t))
	f.tellsNow(t, "")
	assert.Equal(t, map[string]any{"region": "eu", "area": "eu"}, f.config(t))
	f.tellsNow(t, `,"area":"north"`)
	assert.Equal(t, map[string]any{"region": "eu", "area": "north"}, f.config(t))
}
