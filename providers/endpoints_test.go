package providers

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/endpoints"
)

// The endpoints that golang.org/x/oauth2 knows are ours, or documentation says otherwise.
func TestEndpointsAsElsewhere(t *testing.T) {
	catalog, err := Builtin()
	require.NoError(t, err)
	for id, other := range map[string]oauth2.Endpoint{
		"coinbase_oauth": endpoints.Coinbase,
		"discord":        endpoints.Discord,
		"dropbox":        endpoints.Dropbox,
		"github":         endpoints.GitHub,
		"gitlab":         endpoints.GitLab,
		"google":         endpoints.Google,
		"instagram":      endpoints.Instagram,
		"linkedin":       endpoints.LinkedIn,
		"microsoft":      endpoints.AzureAD("common"),
		"pipedrive":      endpoints.Pipedrive,
		"shopify":        endpoints.Shopify("acme.myshopify.com"),
		"slack":          endpoints.Slack,
		"slackbot":       endpoints.Slack,
		"splitwise":      endpoints.Splitwise,
	} {
		t.Run(id, func(t *testing.T) {
			def, known := catalog.Get(id)
			require.True(t, known)
			inputs, err := def.MergeInputs(KindAuthorizationCode, nil, map[string]string{"shop": "acme"})
			require.NoError(t, err)
			want := map[Step]string{StepAuthorize: other.AuthURL, StepToken: other.TokenURL}
			switch id {
			case "google": // developers.google.com/identity/protocols/oauth2/web-server
				want[StepAuthorize] = "https://accounts.google.com/o/oauth2/v2/auth"
			case "instagram": // developers.facebook.com/docs/instagram-platform/instagram-api-with-instagram-login
				want[StepAuthorize] = "https://www.instagram.com/oauth/authorize"
			case "splitwise": // dev.splitwise.com
				want[StepAuthorize] = "https://secure.splitwise.com/oauth/authorize"
				want[StepToken] = "https://secure.splitwise.com/oauth/token"
			}
			for step, url := range want {
				got, err := ExpandURL(def.Endpoints[step], inputs)
				require.NoError(t, err)
				assert.Equal(t, url, got.String(), step)
			}
		})
	}
}
