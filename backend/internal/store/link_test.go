package store

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// aLink is a link that nobody has used, and its flow.
func aLink() (value string, f *Flow) {
	value = strings.Repeat("A", 43)
	return value, &Flow{
		ID: LinkID(value), Created: ann, Expires: noon.Add(time.Hour), Link: &Link{Until: noon.Add(time.Hour)},
	}
}

func TestLinkIsOfferedUntilItIsUsed(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Flow)
		at     time.Time
		want   bool
	}{
		"new":                  {func(*Flow) {}, noon, true},
		"in its last moment":   {func(*Flow) {}, noon.Add(time.Hour - 1), true},
		"expired":              {func(*Flow) {}, noon.Add(time.Hour), false},
		"expired, and started": {func(f *Flow) { f.Lead("s", noon.Add(2*time.Hour)) }, noon.Add(time.Hour), false},
		"started":              {func(f *Flow) { f.Lead("s", noon.Add(time.Minute)) }, noon, true},
		"four tries":           {func(f *Flow) { f.Link.Tries = MaxLinkTries - 1 }, noon, true},
		"five tries":           {func(f *Flow) { f.Link.Tries = MaxLinkTries }, noon, false},
		"parked":               {func(f *Flow) { f.Park(&Parked{Time: noon}) }, noon, false},
		"void":                 {func(f *Flow) { f.Void = true }, noon, false},
		"claimed":              {func(f *Flow) { f.Claimed = "digest" }, noon, false},
		"ended":                {func(f *Flow) { f.Outcome = &Outcome{} }, noon, false},
		"no link":              {func(f *Flow) { f.Link = nil }, noon, false},
	} {
		_, f := aLink()
		c.change(f)
		assert.Equal(t, c.want, f.Offered(c.at), name)
	}
}

// What comes back belongs to the latest try, and to that as long as it lasts.
func TestStateOfATry(t *testing.T) {
	value, f := aLink()
	first, second := LinkState(f.ID, "one"), LinkState(f.ID, "two")
	f.BeginTry()
	assert.False(t, f.StateIs(first, noon), "it leads nowhere yet")
	f.Lead(first, noon.Add(10*time.Minute))
	assert.True(t, f.StateIs(first, noon.Add(10*time.Minute-1)))
	assert.False(t, f.StateIs(first, noon.Add(10*time.Minute)))
	f.Verifier, f.Nonce = providers.NewSecret("v"), "n"
	f.BeginTry()
	assert.True(t, f.Verifier.IsZero() && f.Nonce == "", "those of the former try")
	f.Lead(second, noon.Add(10*time.Minute))
	assert.False(t, f.StateIs(first, noon), "of the former try")
	assert.True(t, f.StateIs(second, noon))
	for _, other := range []string{"", value, f.ID, f.Link.State, second + "x", LinkState(f.ID, ""), "." + second} {
		assert.False(t, f.StateIs(other, noon), other)
	}
	f.DenyTry("access_denied")
	assert.False(t, f.StateIs(second, noon))
	assert.True(t, f.Offered(noon))
	f.Void = true
	f.Lead(second, noon.Add(time.Minute))
	assert.False(t, f.StateIs(second, noon))

	assert.True(t, (&Flow{ID: FlowID("s")}).StateIs("s", noon))
	assert.False(t, (&Flow{ID: FlowID("s")}).StateIs(LinkState(FlowID("s"), "x"), noon), "the id of a flow is no secret")
}

func TestFlowOfState(t *testing.T) {
	_, f := aLink()
	assert.Equal(t, f.ID, FlowOfState(LinkState(f.ID, "random")))
	for _, state := range []string{"", "plain", ".", "a.b", strings.Repeat("A", 42) + ".x", "=" + strings.Repeat("A", 42) + ".x"} {
		assert.Equal(t, FlowID(state), FlowOfState(state))
		assert.True(t, ValidFlowID(FlowOfState(state)))
	}
	assert.NotEqual(t, FlowID("x"), LinkID("x"), "a link is no state")
}

func TestValidLink(t *testing.T) {
	assert.True(t, ValidLink(strings.Repeat("A", 43)))
	for _, bad := range []string{
		"", strings.Repeat("A", 42), strings.Repeat("A", 44), strings.Repeat("A", 42) + "B", strings.Repeat("A", 42) + "=",
		strings.Repeat("A", 43) + "," + strings.Repeat("A", 43), strings.Repeat("A", 42) + "\n",
	} {
		assert.False(t, ValidLink(bad), bad)
	}
}

func TestLinkOfOneAccount(t *testing.T) {
	one := &Link{Account: "ann@example.com"}
	for _, mine := range []providers.Account{{ID: "ann@example.com"}, {ID: "1", Email: "ann@example.com"}} {
		assert.Empty(t, one.Refuses(mine))
	}
	for _, other := range []providers.Account{
		{}, {Label: "ann@example.com"}, {ID: "2", Label: "ann@example.com"}, {ID: "1", Email: "Ann@example.com"}, {Email: "x"},
	} {
		assert.NotEmpty(t, one.Refuses(other))
		assert.NotContains(t, one.Refuses(other), "ann", "nobody learns which account was meant")
		assert.Empty(t, (&Link{}).Refuses(other))
		assert.Empty(t, (*Link)(nil).Refuses(other))
	}
}

// A flow that is over keeps that it was of a link, and no key.
func TestKeptOfALink(t *testing.T) {
	f := storedLinkFlow
	f.Outcome = &Outcome{Connected: true}
	kept := f.Kept()
	encoded, err := encodeFlow(kept)
	require.NoError(t, err)
	for _, gone := range []string{"parked key", "reports", "api_key\":", "shop", "hash"} {
		assert.NotContains(t, string(encoded), gone)
	}
	assert.Equal(t, []any{f.Kind, f.Link.Until, f.Link.Tries}, []any{kept.Kind, kept.Link.Until, kept.Link.Tries})
	assert.Equal(t, "ABCDEFGH", kept.Parked.ConfirmationCode.Reveal(), "who asks again is known by it")
}

// What an older release would end without knowing of the link it refuses, and no other flow.
func TestLinksAndOlderReleases(t *testing.T) {
	const known = 2
	version := func(f *Flow) (h header) {
		b, err := encodeFlow(f)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(b, &h))
		return h
	}
	require.ErrorContains(t, version(&storedLinkFlow).check("flow", known), "newer release")
	over := storedLinkFlow
	over.Void = true
	require.ErrorContains(t, version(over.Kept()).check("flow", known), "newer release")
	require.NoError(t, version(&storedFlow).check("flow", known))
	require.NoError(t, version(&storedDeviceFlow).check("flow", known))
}
