package providers_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// Every secret of a call, and every word of the provider, holds "planted"; no rendering of any error may.
func TestErrorsHoldNoSecret(t *testing.T) {
	const words = `{"error":"planted-code","error_description":"planted-words","access_token":"","ok":false}`
	answers := map[string]providertest.Behavior{
		"400":          providertest.Respond(400, words),
		"401":          providertest.Respond(401, words),
		"200":          providertest.Respond(200, words),
		"200 token":    providertest.Respond(200, `{"access_token":"planted\nx"}`),
		"500":          providertest.Respond(500, "<html>planted"),
		"cut off":      providertest.Respond(200, "planted", "Content-Length", "100"),
		"reset":        providertest.Reset(),
		"redirect":     providertest.Respond(302, "", "Location", "https://planted.test"),
		"rate limited": providertest.Respond(429, words, "Retry-After", "planted"),
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			server := providertest.New(t)
			app := server.App()
			app.ClientSecret, app.FormerSecret = providers.NewSecret("planted-1"), providers.NewSecret("planted-2")
			app.Definition.Endpoints["refresh"] = app.Definition.Endpoints["token"]
			app.Definition.Refresh = providers.Refresh{Token: "self", Call: &providers.Call{
				Method: "GET", Auth: "none", Params: map[string]providers.Template{"t": "{access_token}", "s": "{client_secret}"},
			}}
			client := newClient(t, time.Now)
			res, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
			require.NoError(t, err)
			g := &providers.Grant{AccessToken: providers.NewSecret("planted-3"), RefreshToken: providers.NewSecret("planted-4")}
			calls := map[string]func() error{
				"exchange": func() error {
					_, err := client.Exchange(t.Context(), app, providers.ExchangeRequest{
						Resolved: res, Code: providers.NewSecret("planted-5"), Verifier: providers.NewSecret("planted-6"),
						Callback: map[string]string{"code": "planted-5"},
					})
					return err
				},
				"refresh": func() error {
					_, err := client.Refresh(t.Context(), app, res, providers.KindAuthorizationCode, g)
					return err
				},
				"identify": func() error { return client.Identify(t.Context(), app, res, ofPerson, g) },
				"revoke":   func() error { return client.Revoke(t.Context(), app, res, providers.KindAuthorizationCode, g) },
			}
			for step, call := range calls {
				server.Next(providers.StepToken, answer)
				server.Next(providers.StepIdentity, answer)
				server.Next(providers.StepRevoke, answer)
				err := call()
				if step == "revoke" && strings.HasPrefix(name, "200") {
					require.NoError(t, err) // RFC 7009 section 2.2: any 200 is a success
					continue
				}
				require.Error(t, err, step)
				inJSON, jsonErr := json.Marshal(err)
				require.NoError(t, jsonErr)
				for _, text := range []string{
					err.Error(), fmt.Sprintf("%v", err), fmt.Sprintf("%+v", err),
					fmt.Sprintf("%#v", err), string(inJSON),
				} {
					assert.NotContains(t, text, "planted", step)
				}
				if cause := failure(t, err).Unwrap(); cause != nil {
					assert.NotContains(t, fmt.Sprintf("%+v", cause), "planted", step)
				}
			}
		})
	}
}
