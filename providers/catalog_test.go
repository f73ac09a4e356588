package providers

import (
	"encoding/json"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every file is an example for the next one, so it must also say what a validator cannot ask for.
func TestCatalogue(t *testing.T) {
	r, err := Builtin()
	require.NoError(t, err)
	ids := r.IDs()
	for _, id := range []string{
		"slack", "slackbot", "github", "github_enterprise",
		"google", "gmail", "google_analytics", "googlebigquery", "googlecalendar", "google_classroom", "googledocs",
		"googledrive", "googlemeet", "google_search_console", "googlesheets", "googleslides", "googletasks",
		"microsoft", "microsoft_teams", "one_drive", "outlook", "share_point",
		"oidc", "oauth2", "openai", "anthropic", "stripe", "sendgrid", "aws", "s3", "smtp", "ftp",
		"http_basic", "http_bearer", "http_header", "http_query",
		"splitwise", "supabase", "tiktok", "typeform", "wix", "wrike", "shopify", "coinbase", "coinbase_oauth",
		"pipedream", "clio", "quickbooks", "bexio", "atlassian", "jira", "pipedrive", "woocommerce",
	} {
		assert.Contains(t, ids, id)
	}
	for _, id := range ids {
		t.Run(id, func(t *testing.T) {
			d, ok := r.Get(id)
			require.True(t, ok)
			assert.NotEmpty(t, d.Summary)
			assert.NotEmpty(t, d.Category)
			assert.NotEmpty(t, d.Sources, "where do the facts come from?")
			if d.Endpoints[StepAuthorize] != "" {
				assert.NotEmpty(t, d.Account.ID, "without an account id a reconnect cannot tell that the account changed")
				assert.NotEmpty(t, d.Setup.AppURL, "where does an operator register the app?")
			}
			checks := d.Health != nil || d.Identity != nil || d.Login != nil
			assert.Equal(t, checks, d.Check == "", "where no call tells whether a credential works, say check: none")
			for _, in := range d.Inputs {
				assert.NotEmpty(t, in.Help, "input %s: people need to know what to write", in.Name)
			}
		})
	}
}

// The example that people begin with is right.
func TestExampleOfTheREADME(t *testing.T) {
	page, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(page), "    "+schemaLine)
	require.True(t, found)
	example, _, found := strings.Cut(rest, "\n\nThe first line")
	require.True(t, found)
	_, err = Decode("acme.yaml", []byte(strings.ReplaceAll("\n"+example, "\n    ", "\n")))
	assert.NoError(t, err)
}

// The example of a key that buys tokens is right, and does what the words below it say.
func TestExampleOfAKeyThatBuysTokens(t *testing.T) {
	page, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(page), "\n    id: robots\n")
	require.True(t, found)
	example, _, found := strings.Cut(rest, "\n\n- **`jwt_bearer`**")
	require.True(t, found)
	d, err := Decode("robots.yaml", []byte("id: robots\n"+strings.ReplaceAll("\n"+example, "\n    ", "\n")))
	require.NoError(t, err)
	assert.True(t, d.BuysWithKey(KindJWTBearer))
	key := someKeys()["an RSA key"]
	file, err := json.Marshal(map[string]string{"email": "robot@robots.example", "private_key": pkcs8(t, key)})
	require.NoError(t, err)
	fields := map[string]string{"key_file": string(file)}
	_, err = d.CheckKey(SetByConnection, fields)
	require.NoError(t, err)
	values := d.DeriveKey(fields)
	values["scopes"] = "tasks.read"
	token, _, err := d.Assertion.sign(values, signedAt)
	require.NoError(t, err)
	header, claims := opened(t, token.Reveal(), jose.RS256, key.Public())
	assert.Empty(t, header.KeyID)
	assert.Equal(t, map[string]any{
		"iss": "robot@robots.example", "aud": "https://robots.example/token", "scope": "tasks.read",
		"iat": float64(signedAt.Unix()), "exp": float64(signedAt.Unix() + 3600),
	}, claims)
	fields["key_file"] = strings.Replace(string(file), "private_key", "public_key", 1)
	_, err = d.CheckKey(SetByConnection, fields)
	assert.ErrorContains(t, err, `field "key_file": its private_key is empty`)
}

// toldByConsent is what stands in an address and comes with a consent, or is picked after it.
func toldByConsent(id string) map[string]string {
	return map[string]map[string]string{
		"jira":       {"cloud_id": "11223344-a1b2-3b33-c444-def123456789"},
		"pipedrive":  {"api_domain": "https://acme.pipedrive.com"},
		"quickbooks": {"realm_id": "1234567890"},
		"wrike":      {"host": "app-eu.wrike.com"},
	}[id]
}

// With nothing but an app's credentials, the example of each required input and what a consent tells, every address can
// be built.
func TestCatalogueURLsExpand(t *testing.T) {
	r, err := Builtin()
	require.NoError(t, err)
	for _, id := range r.IDs() {
		t.Run(id, func(t *testing.T) {
			d, _ := r.Get(id)
			byProvider, byConnection := map[string]string{}, map[string]string{}
			for _, in := range d.Inputs {
				switch {
				case in.Example == "":
				case in.SetBy == SetByConnection:
					byConnection[in.Name] = in.Example
				default:
					byProvider[in.Name] = in.Example
				}
			}
			byProvider, err := d.CheckInputs(SetByProvider, "", byProvider)
			require.NoError(t, err)
			byConnection, err = d.CheckInputs(SetByConnection, KindAuthorizationCode, byConnection)
			require.NoError(t, err)
			values, err := d.MergeInputs(KindAuthorizationCode, byProvider, byConnection)
			require.NoError(t, err)
			values["client_id"] = "id"
			maps.Copy(values, toldByConsent(id))
			for step, endpoint := range d.Endpoints {
				u, err := ExpandURL(endpoint, values)
				require.NoError(t, err, step)
				assert.Equal(t, "https", u.Scheme, step)
			}
		})
	}
}

func TestCatalogueDetails(t *testing.T) {
	slack, bot := builtin(t, "slack"), builtin(t, "slackbot")
	assert.Equal(t, "user_scope", *slack.Scopes.Param)
	assert.Equal(t, "scope", *bot.Scopes.Param)
	assert.Equal(t, slack.Endpoints, bot.Endpoints)
	assert.Equal(t, slack.Failures, bot.Failures)
	for _, d := range []*Definition{slack, bot, builtin(t, "github"), builtin(t, "oauth2"), builtin(t, "oidc")} {
		assert.False(t, d.RevokesOneToken(), "%s: nobody is sure that it does", d.ID)
	}
	for reach, one := range map[string]bool{"": false, "token": true, "grant": false, "account": false} {
		assert.Equal(t, one, (&Definition{Revoke: &Revoke{Reach: reach}}).RevokesOneToken(), reach)
	}
	assert.Equal(t, []string{"access_token"}, bot.Token.Answer.AccessToken)

	github := builtin(t, "github")
	values, err := github.MergeInputs(KindAuthorizationCode,
		map[string]string{"api_url": "https://git.example.com/api/v3"}, nil)
	require.NoError(t, err)
	u, err := ExpandURL(github.Endpoints[StepIdentity], values)
	require.NoError(t, err)
	assert.Equal(t, "https://git.example.com/api/v3/user", u.String())

	enterprise := builtin(t, "github_enterprise")
	for _, step := range []Step{StepAuthorize, StepToken, StepIdentity, StepRevoke} {
		u, err := ExpandURL(enterprise.Endpoints[step], map[string]string{"host": "git.example.com", "client_id": "id"})
		require.NoError(t, err)
		assert.Equal(t, "git.example.com", u.Host, step)
	}
	assert.Equal(t, github.Failures, enterprise.Failures)

	warnings, err := builtin(t, "sendgrid").CheckKey(SetByConnection, map[string]string{
		"api_key": "SG." + strings.Repeat("a", 22) + "." + strings.Repeat("b", 43),
	})
	require.NoError(t, err)
	assert.Empty(t, warnings)
	aws := map[string]string{"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": strings.Repeat("a", 40)}
	warnings, err = builtin(t, "aws").CheckKey(SetByConnection, aws)
	require.NoError(t, err)
	assert.Empty(t, warnings)
	aws["access_key_id"] = "AIDAIOSFODNN7EXAMPLE" // a user's id, which people take for the key's
	_, err = builtin(t, "aws").CheckKey(SetByConnection, aws)
	assert.ErrorContains(t, err, "access_key_id")

	// The token of the app itself has all that an administrator consented to.
	teams := builtin(t, "microsoft_teams")
	assert.Equal(t, []Template{"https://graph.microsoft.com/.default"}, teams.Token.ByKind[KindClientCredentials].Scopes)
	values, err = teams.MergeInputs(KindAuthorizationCode, nil, nil)
	require.NoError(t, err)
	u, err = ExpandURL(teams.Endpoints[StepToken], values)
	require.NoError(t, err)
	assert.Equal(t, "https://login.microsoftonline.com/organizations/oauth2/v2.0/token", u.String())
	_, err = teams.CheckInputs(SetByProvider, "", map[string]string{"tenant": "consumers"})
	require.Error(t, err, "personal accounts have no teams")

	warnings, err = builtin(t, "openai").CheckKey(SetByConnection, map[string]string{"api_key": "hunter2"})
	require.NoError(t, err)
	assert.Len(t, warnings, 1)
}
