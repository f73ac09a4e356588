package stack_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// landing is where providers send the browser. Nobody listens there: the robot stops before it.
const landing = "http://127.0.0.1:9/landing"

func locate(t *testing.T) stack.Tools {
	t.Helper()
	if os.Getenv("UNIT_ONLY") != "" {
		t.Skip("UNIT_ONLY is set: the real servers are not started")
	}
	tools, err := stack.Locate(t.Context(), os.Stderr)
	require.NoError(t, err)
	return tools
}

func startOIDC(t *testing.T, o stack.OIDCOptions) *stack.OIDC {
	t.Helper()
	o.RedirectURIs, o.ClientSecret = []string{landing}, "s3cret"
	server, err := stack.StartOIDC(t.Context(), locate(t), o)
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	return server
}

// client is an application of the OpenID provider, by the name of its client.
func client(issuer, id string) *oauth2.Config {
	c := &oauth2.Config{
		ClientID: id, RedirectURL: landing, Scopes: []string{"openid", "offline_access"},
		Endpoint: oauth2.Endpoint{
			AuthURL: issuer + "/auth", TokenURL: issuer + "/token", DeviceAuthURL: issuer + "/device/auth",
			AuthStyle: oauth2.AuthStyleInParams,
		},
	}
	if id != "public" {
		c.ClientSecret = "s3cret"
	}
	if id == "basic" {
		c.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
	}
	return c
}

func connect(t *testing.T, c *oauth2.Config) *oauth2.Token {
	t.Helper()
	verifier := oauth2.GenerateVerifier()
	start := c.AuthCodeURL("a state", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("prompt", "consent"))
	back, err := stack.NewRobot("alice").Walk(t.Context(), start, landing)
	require.NoError(t, err)
	require.Equal(t, "a state", back.URL.Query().Get("state"))
	token, err := c.Exchange(t.Context(), back.URL.Query().Get("code"), oauth2.VerifierOption(verifier))
	require.NoError(t, err)
	return token
}

func refresh(ctx context.Context, c *oauth2.Config, token string) (*oauth2.Token, error) {
	return c.TokenSource(ctx, &oauth2.Token{RefreshToken: token}).Token()
}

func TestOIDCConnect(t *testing.T) {
	server := startOIDC(t, stack.OIDCOptions{AccessTokenTTL: 77})
	for _, id := range []string{"basic", "post", "public"} {
		t.Run(id, func(t *testing.T) {
			token := connect(t, client(server.Issuer, id))
			assert.NotEmpty(t, token.RefreshToken)
			assert.EqualValues(t, 77, token.ExpiresIn)

			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.Issuer+"/me", nil)
			require.NoError(t, err)
			token.SetAuthHeader(req)
			page, err := stack.NewRobot("").Open(req)
			require.NoError(t, err)
			assert.JSONEq(t, `{"sub":"alice"}`, page.Body)
		})
	}
	counts, err := server.Counts(t.Context())
	require.NoError(t, err)
	assert.Equal(t, map[string]int{"authorization_code": 3}, counts.Received)
}

func TestOIDCDeny(t *testing.T) {
	server := startOIDC(t, stack.OIDCOptions{})
	robot := stack.NewRobot("alice")
	robot.Deny = true
	back, err := robot.Walk(t.Context(), client(server.Issuer, "basic").AuthCodeURL("a state"), landing)
	require.NoError(t, err)
	assert.Equal(t, "access_denied", back.URL.Query().Get("error"))
	assert.Equal(t, server.Issuer, back.URL.Query().Get("iss"))
}

func TestOIDCRotation(t *testing.T) {
	tests := map[string]struct {
		options  stack.OIDCOptions
		rotates  bool
		reusable bool
	}{
		"default: a confidential client keeps its token": {rotates: false, reusable: true},
		"always": {options: stack.OIDCOptions{RotateRefreshToken: "always"}, rotates: true},
		"always, with reuse window": {
			options: stack.OIDCOptions{RotateRefreshToken: "always", OIDCControl: stack.OIDCControl{ReuseWindow: 60}},
			rotates: true, reusable: true,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			server := startOIDC(t, tc.options)
			c := client(server.Issuer, "basic")
			first := connect(t, c)
			second, err := refresh(t.Context(), c, first.RefreshToken)
			require.NoError(t, err)
			assert.Equal(t, tc.rotates, first.RefreshToken != second.RefreshToken)

			_, err = refresh(t.Context(), c, first.RefreshToken)
			answered := 2
			if !tc.reusable {
				assert.ErrorContains(t, err, "invalid_grant")
				answered = 1
			} else {
				assert.NoError(t, err)
			}
			counts, err := server.Counts(t.Context())
			require.NoError(t, err)
			assert.Equal(t, 2, counts.Received["refresh_token"])
			assert.Equal(t, answered, counts.Answered["refresh_token"])
		})
	}
}

func TestOIDCTokenDelay(t *testing.T) {
	server := startOIDC(t, stack.OIDCOptions{})
	require.NoError(t, server.Control(t.Context(), stack.OIDCControl{TokenDelayMS: 60_000}))
	c := client(server.Issuer, "machine")
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		values := url.Values{"grant_type": {"client_credentials"}, "client_id": {"machine"}}
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, server.Issuer+"/token",
			strings.NewReader(values.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth(c.ClientID, c.ClientSecret)
		_, err := http.DefaultClient.Do(req)
		failed <- err
	}()
	require.Eventually(t, func() bool {
		counts, err := server.Counts(t.Context())
		return err == nil && counts.Received["client_credentials"] == 1
	}, time.Minute, 10*time.Millisecond, "the request arrives")
	cancel()
	require.ErrorIs(t, <-failed, context.Canceled, "and was not answered")
}

func TestOIDCDevice(t *testing.T) {
	server := startOIDC(t, stack.OIDCOptions{})
	c := client(server.Issuer, "public")
	device, err := c.DeviceAuth(t.Context())
	require.NoError(t, err)
	page, err := stack.NewRobot("alice").Walk(t.Context(), device.VerificationURIComplete, "nowhere")
	require.Nil(t, page)
	require.ErrorContains(t, err, "Sign-in Success", "the pages end there")
	device.Interval = 1
	token, err := c.DeviceAccessToken(t.Context(), device)
	require.NoError(t, err)
	assert.NotEmpty(t, token.AccessToken)
}

func TestEmulate(t *testing.T) {
	app := func(id string) stack.EmulatedApp {
		return stack.EmulatedApp{
			ClientID: id, ClientSecret: "s3cret", RedirectURIs: []string{landing}, Scopes: []string{"chat:write"},
		}
	}
	servers, err := stack.StartEmulate(t.Context(), locate(t), stack.EmulateOptions{
		Slack: app("slack-id"), GitHub: app("github-id"), Google: app("google-id"),
	})
	require.NoError(t, err)
	t.Cleanup(servers.Stop)
	tests := map[string]struct {
		id, authorize, token, scope string
	}{
		"Slack": {"slack-id", servers.Slack + "/oauth/v2/authorize", servers.Slack + "/api/oauth.v2.access", "chat:write"},
		"GitHub": {
			"github-id", servers.GitHub + "/login/oauth/authorize", servers.GitHub + "/login/oauth/access_token", "repo",
		},
		"Google": {"google-id", servers.Google + "/o/oauth2/v2/auth", servers.Google + "/oauth2/token", "email"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			token := connect(t, &oauth2.Config{
				ClientID: tc.id, ClientSecret: "s3cret", RedirectURL: landing, Scopes: []string{tc.scope},
				Endpoint: oauth2.Endpoint{AuthURL: tc.authorize, TokenURL: tc.token, AuthStyle: oauth2.AuthStyleInParams},
			})
			assert.NotEmpty(t, token.AccessToken)
			if name == "GitHub" {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, servers.GitHub+"/user", nil)
				require.NoError(t, err)
				token.SetAuthHeader(req)
				resp, err := http.DefaultClient.Do(req)
				require.NoError(t, err)
				defer resp.Body.Close()
				var user struct{ Login string }
				require.NoError(t, json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&user))
				assert.Equal(t, "alice", user.Login, "the robot chose its own account")
			}
		})
	}
}

func TestVaultRaftSurvivesKill(t *testing.T) {
	tools := locate(t)
	v, err := stack.StartVaultRaft(t.Context(), tools, stack.VaultOptions{})
	require.NoError(t, err)
	t.Cleanup(v.Stop)
	require.NoError(t, v.Mount(t.Context(), "connectors"))
	pids, err := v.PluginPIDs()
	require.NoError(t, err)
	assert.Len(t, pids, 1)

	restarts := map[string]func(){"killed": v.Kill, "running": func() {}}
	for name, before := range restarts {
		t.Run(name, func(t *testing.T) {
			before()
			require.NoError(t, v.Restart(t.Context()))
			out, err := v.CLI(t.Context(), "secrets", "list")
			require.NoError(t, err)
			assert.Contains(t, out, "connectors/")
		})
	}
	assert.FileExists(t, v.AuditFile)
}

func TestVaultDevPluginProcess(t *testing.T) {
	v, err := stack.StartVaultDev(t.Context(), locate(t), stack.VaultOptions{})
	require.NoError(t, err)
	t.Cleanup(v.Stop)
	require.NoError(t, v.Mount(t.Context(), "connectors"))
	before, err := v.PluginPIDs()
	require.NoError(t, err)
	require.Len(t, before, 1)

	require.NoError(t, v.KillPlugin(t.Context()))
	_, err = v.Client.Logical().ReadWithContext(t.Context(), "connectors/config")
	require.NoError(t, err)
	after, err := v.PluginPIDs()
	require.NoError(t, err)
	require.Len(t, after, 1)
	assert.NotEqual(t, before, after)

	require.NoError(t, v.Reload(t.Context()))
	reloaded, err := v.PluginPIDs()
	require.NoError(t, err)
	require.Len(t, reloaded, 1)
	assert.NotEqual(t, after, reloaded)

	v.Stop()
	assert.ErrorIs(t, syscall.Kill(reloaded[0], 0), syscall.ESRCH, "the plugin ends with Vault")
	assert.NoFileExists(t, v.AuditFile)
}
