package acceptance

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

const (
	person    = "alice" // who connects, unless a test says otherwise
	appSecret = "app-secret-for-acceptance-tests"
)

// suite is what the tests of this package share.
var suite struct {
	tools stack.Tools
	vault func() (*stack.Vault, error) // starts it once

	browser func() (*stack.Chromium, error) // starts it once; each test has windows of its own
}

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv("UNIT_ONLY") != "" {
		fmt.Println("skipping all acceptance tests: UNIT_ONLY is set")
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	tools, err := stack.Locate(ctx, os.Stderr)
	if err != nil {
		fmt.Fprintf(os.Stderr, "the acceptance tests lack a tool; make it available or set UNIT_ONLY=1: %v\n", err)
		return 1
	}
	var started *stack.Vault
	suite.tools = tools
	suite.vault = sync.OnceValues(func() (*stack.Vault, error) {
		var err error
		started, err = stack.StartVaultDev(ctx, tools, stack.VaultOptions{})
		return started, err
	})
	var opened *stack.Chromium
	var profiles string
	suite.browser = sync.OnceValues(func() (*stack.Chromium, error) {
		var err error
		if profiles, err = os.MkdirTemp("", "chromium-"); err != nil {
			return nil, err
		}
		opened, err = stack.StartChromium(ctx, profiles)
		return opened, err
	})
	defer func() {
		if started != nil {
			started.Stop()
		}
		if opened != nil {
			opened.Stop()
		}
		if profiles != "" {
			_ = os.RemoveAll(profiles)
		}
	}()
	return m.Run()
}

// engine is a mount of the engine.
type engine struct {
	vault *stack.Vault
	path  string
}

// newEngine mounts the engine on the Vault that all tests share. Its providers may be on loopback.
func newEngine(t *testing.T) *engine {
	t.Helper()
	v, err := suite.vault()
	require.NoError(t, err)
	return mountOn(t, v)
}

// mountOn mounts the engine on a Vault under a path of its own, until the test ends.
func mountOn(t *testing.T, v *stack.Vault) *engine {
	t.Helper()
	path := mountPath(t)
	require.NoError(t, v.Mount(t.Context(), path))
	t.Cleanup(func() {
		// The test's own context has ended by now. A Vault that the test killed has nothing left to unmount.
		_ = v.Client.Sys().UnmountWithContext(context.Background(), path)
	})
	e := &engine{vault: v, path: path}
	e.write(t, "config", map[string]any{"public_url": e.url(), "egress_allow": "127.0.0.1"})
	return e
}

var notInPaths = regexp.MustCompile(`[^a-zA-Z0-9]+`)

func mountPath(t *testing.T) string {
	return "connectors-" + notInPaths.ReplaceAllString(t.Name(), "-")
}

// url is the mount's public address.
func (e *engine) url() string {
	return e.vault.Addr + "/v1/" + e.path
}

func (e *engine) callback(provider string) string {
	return e.url() + "/callback/" + provider
}

func (e *engine) write(t *testing.T, path string, data map[string]any) map[string]any {
	t.Helper()
	answer, err := e.vault.Client.Logical().WriteWithContext(t.Context(), e.path+"/"+path, data)
	require.NoError(t, err)
	if answer == nil {
		return nil
	}
	return answer.Data
}

func (e *engine) read(t *testing.T, path string) map[string]any {
	t.Helper()
	answer, err := e.vault.Client.Logical().ReadWithContext(t.Context(), e.path+"/"+path)
	require.NoError(t, err)
	require.NotNil(t, answer, "%s is absent", path)
	return answer.Data
}

var shownCode = regexp.MustCompile(`<code>([A-Z0-9-]{8,9})</code>`)

// connect makes a connection by Vault's own callback, with a robot in the person's place, and returns its metadata.
func (e *engine) connect(t *testing.T, name, provider string) map[string]any {
	t.Helper()
	flow := e.write(t, "auth-code-url/"+name, map[string]any{"provider": provider})
	start, _ := flow["url"].(string)
	page, err := stack.NewRobot(person).Visit(t.Context(), start, e.callback(provider))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, page.Status)
	code := shownCode.FindStringSubmatch(page.Body)
	require.NotNil(t, code, "the callback shows no confirmation code: %s", page.Body)
	return e.write(t, "exchange", map[string]any{"flow_id": flow["flow_id"], "confirmation_code": code[1]})
}

// newOIDC starts an OpenID provider that lets the mount's provider of that name, and any further URIs, take its
// answers, and configures this provider with the given one of its clients.
func (e *engine) newOIDC(t *testing.T, provider, client string, o stack.OIDCOptions) *stack.OIDC {
	t.Helper()
	o.ClientSecret = appSecret
	o.RedirectURIs = append(o.RedirectURIs, e.callback(provider))
	server, err := stack.StartOIDC(t.Context(), suite.tools, o)
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	settings := map[string]any{
		"definition": "oidc", "client_id": client, "issuer": server.Issuer, "client_secret": appSecret,
		"client_auth":      client,
		"scopes":           []string{"openid", "offline_access"},
		"authorize_params": map[string]string{"prompt": "consent"}, // without it there is no refresh token
	}
	switch client {
	case "public":
		settings["client_auth"] = "none"
		delete(settings, "client_secret")
	case "machine":
		settings["client_auth"] = "basic"
	}
	e.write(t, "providers/"+provider, settings)
	return server
}

// newEmulate starts emulated services and configures providers named by their definitions.
func (e *engine) newEmulate(t *testing.T) *stack.Emulate {
	t.Helper()
	app := func(provider string) stack.EmulatedApp {
		return stack.EmulatedApp{
			ClientID: "acceptance", ClientSecret: appSecret, RedirectURIs: []string{e.callback(provider)},
			Scopes: []string{"chat:write", "channels:history", "users:read", "read"},
		}
	}
	server, err := stack.StartEmulate(t.Context(), suite.tools, stack.EmulateOptions{
		Slack: app("slack"), GitHub: app("github"), Google: app("google"), Microsoft: app("microsoft"),
		Linear: app("linear"), Okta: app("okta"),
	})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	for _, name := range []string{"slack", "github", "google", "microsoft", "linear"} {
		e.write(t, "providers/"+name, map[string]any{
			"client_id": "acceptance", "client_secret": appSecret, "endpoints": server.Endpoints(name),
		})
	}
	e.write(t, "providers/okta", map[string]any{
		"definition": "oidc", "client_id": "acceptance", "client_secret": appSecret, "issuer": server.Okta,
	})
	return server
}
