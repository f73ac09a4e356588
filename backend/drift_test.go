package backend

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// drifted are new_scopes and lost_scopes of a connection, and its metadata. Everything else that tells of drift agrees.
func (f *fixture) drifted(t *testing.T, path string) (grown, lost []string, read map[string]any) {
	t.Helper()
	read = f.Read("connections/"+path, nil).OK(t)
	grown, lost = texts(t, read["new_scopes"]), texts(t, read["lost_scopes"])
	is := len(grown)+len(lost) > 0
	assert.Equal(t, is, read["scope_drift"])
	assert.Equal(t, is, read["scope_drift_advice"] != "")
	full := read["owner"].(string) + "/" + read["name"].(string)
	rows := rowsOnly(t, f.Read("inventory", map[string]any{"scope_drift": true}))
	assert.Equal(t, is, slices.Contains(rows, full), "%s in %v", full, rows)
	assert.InDelta(t, len(rows), number(f.Read("status", nil).OK(t)["scope_drift"]), 0)
	f.Advance(time.Second * 16)
	m, _ := f.scrape(t)
	assert.InDelta(t, len(rows), m["connectors_scope_drift"], 0)
	return grown, lost, read
}

func (f *fixture) drop(scope string) {
	f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusOK,
		`{"access_token":"newer-`+scope+`","expires_in":3600,"refresh_token":"newer-`+scope+`","scope":"`+scope+`"}`))
}

// settles waits until the connections of a provider that was written were looked at.
func (f *fixture) settles(t *testing.T, drifting int) {
	t.Helper()
	require.Eventually(t, func() bool {
		return number(f.Read("status", nil).OK(t)["scope_drift"]) == float64(drifting)
	}, time.Minute, 5*time.Millisecond)
}

// A provider that asks for more than was granted is told, with the command that mends it; and that keeps all else.
func TestScopesThatGrew(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.System.AddEntity("e-alice")
		f.System.AddEntity("e-bob")
		f.connect(t, "self/slack", alice)
		f.Write("connections/self/slack", map[string]any{
			"label": "Mine", "tags": map[string]any{"team": "sales"},
		}, alice).OK(t)
		f.Write("shares/self/slack", map[string]any{"entities": "e-bob"}, alice).OK(t)
		grown, lost, before := f.drifted(t, "user/e-alice/slack")
		assert.Empty(t, grown)
		assert.Empty(t, lost)

		f.Write("providers/acme", map[string]any{"scopes": "read,write,admin"}).OK(t)
		f.settles(t, 1)
		grown, lost, read := f.drifted(t, "user/e-alice/slack")
		assert.Equal(t, []string{"admin"}, grown)
		assert.Empty(t, lost)
		assert.Empty(t, read["missing_scopes"], "it was not required")
		assert.Empty(t, read["surplus_scopes"])
		assert.Contains(t, read["scope_drift_advice"], "a flow that auth-code-url/user/e-alice/slack starts")
		assert.Equal(t, "active", read["status"], "and serves on")

		f.restart(t)
		f.drifted(t, "user/e-alice/slack")
		flow := f.Write("auth-code-url/self/slack", map[string]any{"redirect_uri": appRedirect}, alice).OK(t)
		back := f.provider.Consent(t, flow["url"].(string))
		f.Write("exchange", map[string]any{"state": back["state"], "code": back["code"]}, alice).OK(t)
		f.settles(t, 0)
		grown, _, after := f.drifted(t, "user/e-alice/slack")
		assert.Empty(t, grown)
		assert.Equal(t, []string{"read", "write", "admin"}, texts(t, after["scopes"]))
		for _, field := range []string{
			"label", "tags", "connection_id", "account", "shared_with", "private", "created_by", "created_time", "owner",
			"required_scopes",
		} {
			assert.Equal(t, asClient(t, before)[field], asClient(t, after)[field], field)
		}
	})
}

// What is required and missing is told by missing_scopes alone; what a flow did not ask for is its own choice, unless
// the provider asks for more since.
func TestDriftIsNotTheRest(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "wide")
		f.Write("connections/wide", map[string]any{"required_scopes": "admin"}).OK(t)
		f.Write("exchange", f.own(t, "narrow", map[string]any{"scopes": "read"})).OK(t)
		grown, _, _ := f.drifted(t, "narrow")
		assert.Empty(t, grown, "it asked for less")
		f.Write("providers/acme", map[string]any{"scopes": "read,write,admin"}).OK(t)
		f.settles(t, 1)
		grown, _, read := f.drifted(t, "wide")
		assert.Empty(t, grown)
		assert.Equal(t, []string{"admin"}, texts(t, read["missing_scopes"]))
		grown, _, read = f.drifted(t, "narrow")
		assert.Equal(t, []string{"admin"}, grown, "write was there, and not asked for")
		assert.Contains(t, read["scope_drift_advice"], "auth-code-url/org/default/narrow starts")

		// a consent that is declined is told on
		f.provider.Next(providers.StepToken, providertest.Respond(http.StatusOK,
			`{"access_token":"a","expires_in":3600,"refresh_token":"r","scope":"read write"}`))
		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"`+providertest.AccountID+`"}`))
		f.Write("exchange", f.own(t, "narrow", nil)).OK(t)
		grown, _, _ = f.drifted(t, "narrow")
		assert.Equal(t, []string{"admin"}, grown)

		f.Write("providers/acme", map[string]any{"scopes": "read"}).OK(t)
		f.settles(t, 0)
		f.Write("providers/acme", map[string]any{"scopes": "", "allowed_scopes": "", "scopes_ignored": true}).OK(t)
		f.settles(t, 0)
	})
}

// A flow that names more than the provider's own scopes is told to name them again.
func TestDriftNamesWhatWasAskedFor(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"allowed_scopes": "read,write,files,admin"}).OK(t)
		f.Write("exchange", f.own(t, "more", map[string]any{"scopes": "read,write,files"})).OK(t)
		f.Write("providers/acme", map[string]any{"scopes": "read,admin"}).OK(t)
		f.settles(t, 1)
		grown, _, read := f.drifted(t, "more")
		assert.Equal(t, []string{"admin"}, grown)
		assert.Contains(t, read["scope_drift_advice"], "auth-code-url/org/default/more scopes=read,admin,write,files starts")
		f.Write("exchange", f.own(t, "more", map[string]any{"scopes": "read,admin,write,files"})).OK(t)
		f.settles(t, 0)
	})
}

// A refresh whose answer names fewer scopes tells that they went away, until they are back or somebody consents again.
func TestScopesThatARefreshLost(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Advance(time.Minute)
		f.drop("read")
		f.Write("refresh/slack", nil).OK(t)
		_, lost, read := f.drifted(t, "slack")
		assert.Equal(t, []string{"write"}, lost)
		assert.Equal(t, []string{"read"}, texts(t, read["scopes"]))
		assert.Empty(t, read["new_scopes"], "it is lost, and not asked for anew")
		f.restart(t)
		f.Advance(time.Minute)
		f.drop("write read")
		f.Write("refresh/slack", nil).OK(t)
		_, lost, _ = f.drifted(t, "slack")
		assert.Empty(t, lost, "they are back")

		f.Advance(time.Minute)
		f.drop("read")
		f.Write("refresh/slack", nil).OK(t)
		f.Advance(time.Minute)
		f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusOK,
			`{"access_token":"silent","expires_in":3600,"refresh_token":"silent"}`))
		f.Write("refresh/slack", nil).OK(t)
		_, lost, _ = f.drifted(t, "slack")
		assert.Equal(t, []string{"write"}, lost, "an answer that names none tells nothing")
		f.Write("exchange", f.own(t, "slack", nil)).OK(t)
		_, lost, _ = f.drifted(t, "slack")
		assert.Empty(t, lost)
	})
}

// A check that finds fewer scopes tells so, and one that finds them again, too. Most checks write nothing.
func TestScopesThatACheckLost(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		told := with(f.acme(), map[string]any{
			"definition_yaml": "extends: oauth2\nname: Told\nidentity: {scopes_path: [granted]}\n",
		})
		delete(told, "definition")
		f.Write("providers/told", told).OK(t)
		f.Write("exchange", f.own(t, "me", map[string]any{"provider": "told"})).OK(t)
		check := func(granted string) (writes int) {
			t.Helper()
			f.Advance(time.Minute)
			f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK,
				`{"sub":"`+providertest.AccountID+`","granted":"`+granted+`"}`))
			before := f.Storage.Writes()
			f.Write("check/me", nil).OK(t)
			return f.Storage.Writes() - before
		}
		assert.Zero(t, check("write read"))
		assert.Positive(t, check("read"))
		_, lost, read := f.drifted(t, "me")
		assert.Equal(t, []string{"write"}, lost)
		assert.Equal(t, []string{"read"}, texts(t, read["scopes"]))
		assert.Zero(t, check("read"))
		assert.Zero(t, check(""), "nothing is told")
		assert.Positive(t, check("read write"))
		_, lost, _ = f.drifted(t, "me")
		assert.Empty(t, lost)
		assert.Zero(t, check("read write more"))
	})
}

// The app's own token is asked for with the scopes that the operator has set by then.
func TestDriftOfTheApp(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.allowApp(t)
		f.Write("connections/org/acme/app", map[string]any{"provider": "acme", "kind": "client_credentials"}).OK(t)
		f.Write("providers/acme", map[string]any{"scopes": "read,write,admin"}).OK(t)
		f.settles(t, 1)
		grown, _, read := f.drifted(t, "org/acme/app")
		assert.Equal(t, []string{"admin"}, grown)
		assert.Contains(t, read["scope_drift_advice"], "refresh/org/acme/app")
		f.Write("refresh/org/acme/app", nil).OK(t)
		grown, _, read = f.drifted(t, "org/acme/app")
		assert.Empty(t, grown)
		assert.Equal(t, []string{"read", "write", "admin"}, texts(t, read["scopes"]))
		f.Write("providers/acme", map[string]any{"scopes": "read"}).OK(t)
		f.Advance(time.Minute)
		f.Write("refresh/org/acme/app", nil).OK(t)
		_, lost, _ := f.drifted(t, "org/acme/app")
		assert.Empty(t, lost, "the operator asks for less")
	})
}

// What nobody knows is no drift, and neither is what belongs to nothing any more.
func TestNoDrift(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "silent")
		entry, err := f.Storage.Get(t.Context(), "connection/org/default/silent")
		require.NoError(t, err)
		var stored map[string]any
		require.NoError(t, json.Unmarshal(entry.Value, &stored))
		grant := stored["grant"].(map[string]any)
		require.Contains(t, grant, "scopes")
		delete(grant, "scopes")
		entry.Value, err = json.Marshal(stored)
		require.NoError(t, err)
		require.NoError(t, f.Storage.Put(t.Context(), entry))
		f.restart(t)
		f.Write("providers/acme", map[string]any{"scopes": "read,write,admin"}).OK(t)
		grown, lost, _ := f.drifted(t, "silent")
		assert.Empty(t, grown)
		assert.Empty(t, lost)
		f.connect(t, "other")
		f.Write("providers/acme", map[string]any{"client_id": "another", "scopes": "read,more"}).OK(t)
		f.drifted(t, "other")
		f.Delete("providers/acme", map[string]any{"force": true}).OK(t)
		f.drifted(t, "other")
		f.settles(t, 0)
	})
}

// Where storage refuses the scopes that a refresh brought, memory tells them, and then storage does.
func TestDriftWhileStorageFails(t *testing.T) {
	for n := 1; n <= 4; n++ {
		f := newFixture(t, Options{}, testenv.InProcess)
		f.connect(t, "slack")
		f.Advance(time.Minute)
		f.drop("read")
		f.Storage.FailWrite(n)
		first := f.Write("refresh/slack", nil)
		f.Storage.Judge(nil)
		if first.Status != http.StatusOK { // the intent was refused: nothing was sent
			require.Equal(t, 1, n)
			f.Write("refresh/slack", nil).OK(t)
		}
		_, lost, _ := f.drifted(t, "slack")
		assert.Equal(t, []string{"write"}, lost, "write %d", n)
		f.saved(t)
		f.restart(t)
		_, lost, _ = f.drifted(t, "slack")
		assert.Equal(t, []string{"write"}, lost, "write %d", n)
	}
}
