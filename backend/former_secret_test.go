package backend

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// While a client secret is being rotated, the former one is for a provider that has refused the new one in so many
// words. Whoever did not answer may have spent the refresh token, and must not see it again under another secret.
func TestFormerClientSecretOfASlowProvider(t *testing.T) {
	slow := providertest.Hang()
	for name, c := range map[string]struct {
		answers []providertest.Behavior // of the provider, which knows the former secret only; then it is well
		sent    []string                // the secrets of these calls
		class   string                  // of the failure that they end in; empty: they end well
		reason  string
	}{
		"refuses the new one and is slow for the former": {
			[]providertest.Behavior{providertest.Behave(), slow, providertest.Behave(), slow},
			[]string{"new", "former", "new", "former"},
			"unknown", "timeout",
		},
		"slow for the new one": {
			[]providertest.Behavior{slow, slow},
			[]string{"new", "new"},
			"unknown", "timeout",
		},
		"slow for the new one once, then refuses it": {
			[]providertest.Behavior{slow},
			[]string{"new", "new", "former"},
			"", "",
		},
		"refuses the new one in a way that anything between may have": {
			[]providertest.Behavior{providertest.Respond(http.StatusUnauthorized, "<html>", "Content-Type", "text/html")},
			[]string{"new"},
			"transient", "bare_unauthorized",
		},
		"refuses the new one while it is unwell": {
			[]providertest.Behavior{providertest.Respond(http.StatusBadGateway, `{"error":"invalid_client"}`)},
			[]string{"new"},
			"transient", "server_error",
		},
		"cuts the refusal of the new one off": {
			[]providertest.Behavior{cutOff(`{"error":"invalid_client"`)},
			[]string{"new"},
			"transient", "bare_unauthorized",
		},
	} {
		t.Run(name, func(t *testing.T) { // in process: what is waited for is the time-out, a second at the least
			t.Parallel()
			f := newFixture(t, Options{}, testenv.InProcess)
			f.connect(t, "slack")
			f.Write("config", map[string]any{"request_timeout": 1}).OK(t)
			f.Write("providers/acme", map[string]any{"client_secret": "new"}).OK(t)
			f.Advance(time.Minute)

			f.provider.Next(providers.StepRefresh, c.answers...)
			r := f.Write("refresh/slack", nil)
			assert.Equal(t, c.class == "", r.Status < 300, "%d: %s", r.Status, r.Text)
			sent := f.provider.Requests(providers.StepRefresh)
			assert.Equal(t, c.sent, secretsOf(sent))
			view := f.Read("connections/slack", nil).OK(t)
			assert.Equal(t, "active", view["status"], view["status_reason"])
			serves("slack")(t, f)
			if c.class == "" {
				return
			}
			failure := members(t, view["last_error"])
			assert.Equal(t, c.class, failure["class"])
			assert.Equal(t, c.reason, failure["reason"])

			f.Advance(6 * time.Second)
			f.Write("refresh/slack", nil).OK(t)
			sent = f.provider.Requests(providers.StepRefresh)[len(sent):]
			assert.Equal(t, []string{"new", "former"}, secretsOf(sent), "the provider is well again")
			assert.Empty(t, f.Read("connections/slack", nil).OK(t)["last_error"])
			serves("slack")(t, f)
		})
	}
}

// cutOff answers 401 and only the beginning of a body.
func cutOff(beginning string) providertest.Behavior {
	return providertest.Respond(http.StatusUnauthorized, beginning, "Content-Length", "1000")
}

// secretsOf names the client secrets with which requests were made.
func secretsOf(requests []providertest.Request) []string {
	var names []string
	for _, r := range requests {
		_, password, _ := (&http.Request{Header: r.Header}).BasicAuth()
		switch password {
		case "new":
			names = append(names, "new")
		case "secret%2Fof%2Bclient+1":
			names = append(names, "former")
		default:
			names = append(names, "neither")
		}
	}
	return names
}
