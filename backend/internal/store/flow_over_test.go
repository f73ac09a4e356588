package store

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

func TestKept(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Flow)
		over   bool
	}{
		"open":              {func(*Flow) {}, false},
		"claimed":           {func(f *Flow) { f.Claimed = "digest" }, false},
		"tried":             {func(f *Flow) { f.Tries = 4 }, false},
		"void":              {func(f *Flow) { f.Void = true }, true},
		"denied":            {func(f *Flow) { f.Parked = &Parked{Denied: "access_denied"} }, true},
		"connected":         {func(f *Flow) { f.Outcome = &Outcome{Connected: true} }, true},
		"failed":            {func(f *Flow) { f.Outcome = &Outcome{Failure: "why"} }, true},
		"failed, then void": {func(f *Flow) { f.Outcome, f.Void = &Outcome{Failure: "why"}, true }, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := storedFlow
			parked := *storedFlow.Parked
			parked.Denied = ""
			f.Parked, f.Outcome, f.Void, f.Claimed = &parked, nil, false, ""
			c.change(&f)
			before := f
			kept := f.Kept()
			assert.Equal(t, before, f, "the flow itself stays whole")
			assert.Equal(t, c.over, f.Over())
			if !c.over {
				assert.Same(t, &f, kept)
				return
			}
			encoded, err := encodeFlow(kept)
			require.NoError(t, err)
			for _, gone := range []string{
				`"verifier"`, `"nonce"`, `"code"`, "https://", `"shop"`, `"scopes"`, "userpass-ann", `"pin"`,
			} {
				assert.NotContains(t, string(encoded), gone)
			}
			assert.Equal(t, []any{f.ID, f.Key, f.Provider, f.Caller, f.Expires, f.OwnRedirect, f.SessionBinding},
				[]any{kept.ID, kept.Key, kept.Provider, kept.Caller, kept.Expires, kept.OwnRedirect, kept.SessionBinding})
			assert.Equal(t, []any{f.Confirm, f.Tries, f.Void, f.Claimed, f.Outcome, f.Parked != nil},
				[]any{kept.Confirm, kept.Tries, kept.Void, kept.Claimed, kept.Outcome, kept.Parked != nil})
		})
	}
}

// Of a flow on another device it is kept how it ended, and the code goes.
func TestKeptOfADevice(t *testing.T) {
	f := storedDeviceFlow
	open := *f.Device
	open.Ended, f.Device = "", &open
	assert.Same(t, &f, f.Kept())
	for _, end := range []DeviceEnd{"", DeviceDenied, DeviceExpired} {
		ended := open
		ended.Ended = end
		f.Device, f.Outcome = &ended, &Outcome{Failure: "why"}
		encoded, err := encodeFlow(f.Kept())
		require.NoError(t, err)
		assert.NotContains(t, string(encoded), "device code")
		again, err := decodeFlow(encoded)
		require.NoError(t, err)
		assert.Equal(t, &Device{Ended: end}, again.Device)
		assert.Equal(t, providers.KindDeviceCode, again.Kind)
		assert.True(t, again.Over())
	}
}

func TestDeviceInterval(t *testing.T) {
	d := Device{Interval: 5 * time.Second}
	d.Ask(noon, 0)
	assert.Equal(t, Device{Interval: 5 * time.Second, Asked: noon}, d)
	d.Ask(noon.Add(time.Minute), 10*time.Second)
	d.SlowTo(7 * time.Second)
	assert.Equal(t, Device{Interval: 10 * time.Second, Asked: noon.Add(time.Minute)}, d, "it never gets shorter")
}

// Whatever the texts are, the entry is small; and the text of a failure goes after the warnings.
func TestKeptIsSmall(t *testing.T) {
	long := strings.Repeat("ä<", 5000)
	for name, c := range map[string]struct {
		outcome  Outcome
		warnings int
		failure  string
	}{
		"short":         {Outcome{Failure: "why", Warnings: []string{"a", "b"}}, 2, "why"},
		"long warnings": {Outcome{Failure: "why", Warnings: []string{"a", long, long}}, 2, "why"},
		"long failure":  {Outcome{Failure: long}, 0, ""},
		"both long":     {Outcome{Failure: long, Warnings: []string{long}}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := &Flow{
				ID: strings.Repeat("0", 64), Key: "user/" + strings.Repeat("u", 128) + "/" + strings.Repeat("n", 64),
				Provider: strings.Repeat("p", 64), Caller: "entity:" + strings.Repeat("e", 36), Created: ann, Expires: noon,
				OwnRedirect: true, SessionBinding: strings.Repeat("s", 43), Claimed: strings.Repeat("c", 64),
				Outcome: &c.outcome, Verifier: providers.NewSecret("v"),
			}
			kept := f.Kept()
			encoded, err := encodeFlow(kept)
			require.NoError(t, err)
			assert.LessOrEqual(t, len(encoded), maxOver)
			assert.Len(t, kept.Outcome.Warnings, c.warnings)
			if c.failure != "" {
				assert.Equal(t, c.failure, kept.Outcome.Failure)
			} else {
				assert.NotEmpty(t, kept.Outcome.Failure, "something is told")
			}
			again, err := decodeFlow(encoded)
			require.NoError(t, err)
			assert.Equal(t, kept.Outcome.Failure, again.Outcome.Failure, "whole characters are left")
		})
	}
}
