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

// exchanges are the lines of debug mode.
func (f *fixture) exchanges() (lines []string) {
	for line := range strings.Lines(f.Logs.String()) {
		if strings.Contains(line, "an exchange with a service") {
			lines = append(lines, line)
		}
	}
	return lines
}

// logs waits until a line of debug mode has all of these.
func (f *fixture) logs(t *testing.T, parts ...string) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		for _, line := range f.exchanges() {
			all := true
			for _, part := range parts {
				all = all && strings.Contains(line, part)
			}
			if all {
				return
			}
		}
		assert.Fail(c, "no line has it", "%s in\n%s", parts, strings.Join(f.exchanges(), ""))
	}, time.Minute, time.Millisecond)
}

// Each exchange is told, with nothing in it that either side sent.
func TestDebugTellsEachExchange(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.allowApp(t)
		f.connect(t, "quiet")
		f.Write("check/quiet", nil).OK(t)
		assert.Empty(t, f.exchanges(), "nobody asked for them")

		until := f.Write("providers/acme", map[string]any{"debug_until": "10m"}).OK(t)
		require.NotNil(t, until)
		own := f.own(t, "x", nil)
		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK,
			`{"sub":"planted-account","planted_name":"planted-value","email":"planted@example.com"}`))
		f.Write("exchange", own).OK(t)
		f.logs(t, "connection=org/default/x", "provider=acme", "step=token", "method=POST", "path=/token", "status=200",
			"grant_type", "redirect_uri", "access_token")
		f.logs(t, "step=identity", "method=GET", "path=/userinfo", "Authorization", "sub", "and 1 others")
		first := f.token(t, "x").(string)
		f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusBadRequest,
			`{"error":"planted-code","error_description":"planted words"}`))
		f.Advance(11 * time.Second)
		assert.GreaterOrEqual(t, f.Write("refresh/x", nil).Status, http.StatusBadRequest)
		f.logs(t, "step=refresh", "status=400", `code=""`, "error error_description")
		f.Advance(time.Minute)
		f.Write("refresh/x", nil).OK(t)
		f.logs(t, "step=refresh", "status=200", "refresh_token")
		second := f.token(t, "x").(string)
		f.Write("connections/app", map[string]any{"provider": "acme", "kind": "client_credentials"}).OK(t)
		f.logs(t, "connection=org/default/app", "step=token")
		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusUnauthorized, `{"error":"invalid_request"}`))
		f.Write("check/app", nil)
		f.logs(t, "connection=org/default/app", "step=identity", "status=401", "code=invalid_request")
		f.Delete("connections/x", nil).OK(t)
		f.logs(t, "connection=org/default/x", "step=revoke")

		all := strings.Join(f.exchanges(), "")
		for _, secret := range []string{
			providertest.ClientSecret, own["code"].(string), own["state"].(string), first, second, "planted",
		} {
			assert.NotContains(t, all, secret)
		}
	})
}

// It ends by itself, with no write, and is for an hour at most.
func TestDebugEnds(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "x")
		f.connect(t, "other")
		for _, path := range []string{"connections/x", "providers/acme"} {
			for _, wrong := range []any{
				"61m", 3601, "soon", "-5m", rfc3339(f.Now().Add(-time.Minute)), rfc3339(f.Now().Add(2 * time.Hour)),
			} {
				f.Write(path, map[string]any{"debug_until": wrong}).Refused(t, http.StatusBadRequest, "debug_until")
			}
			until := f.Now().Add(time.Hour).UTC().Truncate(time.Second)
			for _, way := range []any{"1h", 3600, "3600", until.Format(time.RFC3339)} {
				f.Write(path, map[string]any{"debug_until": way})
				assert.Equal(t, until.Format(time.RFC3339), f.Read(path, nil).OK(t)["debug_until"], "%v", way)
			}
			f.Write(path, map[string]any{"debug_until": ""})
			assert.Equal(t, "", f.Read(path, nil).OK(t)["debug_until"])
		}
		f.Write("connections/x", map[string]any{"debug_until": "10m"}).OK(t)
		f.Write("check/other", nil).OK(t)
		assert.Empty(t, f.exchanges(), "of another connection")
		f.Write("check/x", nil).OK(t)
		f.logs(t, "connection=org/default/x", "step=identity")
		n := len(f.exchanges())
		f.Advance(9*time.Minute + 59*time.Second)
		read := f.Read("connections/x", nil).OK(t)
		f.Advance(time.Second)
		f.Write("connections/x", map[string]any{"debug_until": read["debug_until"]}).OK(t) // which came back too late
		f.Storage.Forget()
		assert.Equal(t, "", f.Read("connections/x", nil).OK(t)["debug_until"])
		f.Write("check/x", nil).OK(t)
		assert.Len(t, f.exchanges(), n)
	})
}

// What is private is its owner's to have told: by no spelling, and by no provider.
func TestDebugOfPrivateConnections(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.people()
		f.Write("providers/acme", map[string]any{"debug_until": "1h"})
		f.connect(t, "self/x", alice)
		f.Write("check/self/x", nil, alice).OK(t)
		f.Write("connections/user/e-alice/x", map[string]any{"debug_until": "1h"}).Refused(t, http.StatusForbidden, "private")
		assert.Empty(t, f.exchanges())
		f.Write("connections/self/x", map[string]any{"debug_until": "1h"}, alice).OK(t)
		f.Advance(11 * time.Second)
		f.Write("check/self/x", nil, alice).OK(t)
		f.logs(t, "connection=user/e-alice/x", "step=identity")

		// Others' word on what was open ends when it becomes private.
		f.Write("providers/acme", map[string]any{"allow_import": "all"})
		f.Write("connections/self/open", map[string]any{
			"private": false, "provider": "acme", "refresh_token": f.elsewhere(t),
		}, alice).OK(t)
		f.Write("connections/user/e-alice/open", map[string]any{"debug_until": "1h"}, bob).OK(t)
		f.Advance(11 * time.Second)
		f.Write("check/self/open", nil, alice).OK(t)
		f.logs(t, "connection=user/e-alice/open", "step=identity")
		f.Write("connections/self/open", map[string]any{"private": true}, alice).OK(t)
		n := len(f.exchanges())
		f.Advance(11 * time.Second)
		f.Write("check/self/open", nil, alice).OK(t)
		assert.Len(t, f.exchanges(), n)
	})
}

// A storm does not fill the log, and is told of.
func TestDebugIsBounded(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.Write("providers/acme", map[string]any{"debug_until": "1h"})
	for i := range debugLines {
		f.connect(t, fmt.Sprintf("n%02d", i)) // two calls each
	}
	assert.Len(t, f.exchanges(), debugLines)
	f.Advance(time.Minute)
	f.connect(t, "later")
	f.logs(t, "connection=org/default/later", fmt.Sprintf("left_out=%d", debugLines))
	f.logs(t, "connection=org/default/later", "left_out=0")
}
