package acceptance

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A browser, unlike the robot, follows the page by itself and applies the policies that Vault lets through.
func TestBrowserLedOn(t *testing.T) {
	t.Parallel()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no Chromium on this machine: install the chromium package to run the browser test")
	}
	visitor := make(chan *http.Request, 1)
	application := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/done" {
			visitor <- r
		}
	}))
	t.Cleanup(application.Close)
	service := newPlant(t) // consents without asking, so that nobody need click
	e := newEngine(t)
	e.write(t, "providers/app", map[string]any{
		"definition": "oauth2", "client_id": "app", "client_secret": plantedSecret, "return_urls": application.URL + "/done",
		"endpoints": map[string]string{"authorize": service.url + "/authorize", "token": service.url + "/token"},
	})
	flow := e.write(t, "auth-code-url/account", map[string]any{
		"provider":   "app",
		"return_url": application.URL + "/done",
	})

	cmd := exec.CommandContext(t.Context(), chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
		"--no-proxy-server",
		"--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
		"--user-data-dir="+t.TempDir(), "--virtual-time-budget=10000", "--dump-dom", flow["url"].(string))
	require.NoError(t, cmd.Run())
	require.Len(t, visitor, 1, "the browser was led on")
	led := <-visitor
	assert.Empty(t, led.Referer())
	query := led.URL.Query()
	assert.Equal(t, url.Values{"flow_id": {flow["flow_id"].(string)}, "confirmation_code": query["confirmation_code"]},
		query)
	assert.Equal(t, "active", e.write(t, "exchange", arguments(query))["status"])
}
