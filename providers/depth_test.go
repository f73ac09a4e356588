package providers

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// noneKnown are what a service's documentation tells nothing of: the call that tells whose account it is (account), the
// one that ends a grant (revoke), the page where a person ends it by hand (manage).
var noneKnown = map[string][]string{
	"account": {
		"anthropic", "ftp", "openai", "pipedream", "s3", "sendgrid", "sftp", "smtp", "woocommerce",
	},
	"revoke": {
		"airtable", "atlassian", "bamboohr", "clickup", "docusign", "hugging_face", "instagram", "jira",
		"linkedin", "microsoft", "microsoft_teams", "one_drive", "outlook", "share_point", "shopify", "splitwise", "typeform", "wrike",
	},
	"manage": {
		"airtable", "asana", "bamboohr", "bexio", "box", "calendly", "clio", "coinbase_oauth", "discord", "docusign",
		"ftp", "github_enterprise", "hubspot", "linear", "notion", "pipedrive", "quickbooks", "s3", "salesforce", "sftp",
		"shopify", "smtp", "snowflake", "supabase", "tiktok", "typeform", "wix", "woocommerce", "wrike",
	},
}

// A definition is more than a row of URLs: it comes from pages of the service's own, knows whose account it connects,
// whether the credential works and how it ends, and tells people what to do.
func TestDefinitionsAreWhole(t *testing.T) {
	catalog, err := Builtin()
	require.NoError(t, err)
	absent := map[string][]string{}
	for _, id := range catalog.IDs() {
		d, _ := catalog.Get(id)
		if d.Category == "generic" { // what the service is, its operator knows
			continue
		}
		pages := 1
		if takesConsent(d) {
			pages = 2
		}
		assert.GreaterOrEqual(t, mostOfOneSite(t, d.Sources), pages, "%s: pages of one site among sources", id)
		for what, there := range map[string]bool{
			"account": len(d.Account.ID) > 0,
			"revoke":  d.Revoke != nil || !takesConsent(d),
			"manage":  d.Setup.ManageURL != "",
		} {
			if !there {
				absent[what] = append(absent[what], id)
			}
		}
		assert.True(t, d.Identity != nil || d.Health != nil || d.Login != nil || d.Check == "none",
			"%s: no call tells whether a credential works, and check: none does not say so", id)
		assert.NotEmpty(t, d.Setup.Steps, "%s: setup.steps", id)
		assert.NotEmpty(t, d.Summary, "%s: summary", id)
		inputs := strings.Join(d.names(), "")
		assert.True(t, d.Setup.AppURL+d.Setup.KeyURL+d.Check+inputs != "" || d.Login != nil,
			"%s: setup.app_url or key_url, unless it is on a server of the customer's own", id)
		for _, scope := range append(d.Scopes.Added(), d.Scopes.Default...) {
			assert.NotEmpty(t, d.Scopes.About[scope], "%s: scopes.about of %s", id, scope)
		}
	}
	for what, ids := range absent {
		assert.Equal(t, noneKnown[what], ids, "%s: write it, or name the service in noneKnown of depth_test.go", what)
	}
}

// mostOfOneSite counts the pages of the service that most of them are of.
func mostOfOneSite(t *testing.T, sources []string) int {
	t.Helper()
	most, sites := 0, map[string]int{}
	for _, source := range sources {
		u, err := url.Parse(source)
		require.NoError(t, err)
		labels := strings.Split(u.Hostname(), ".")
		site := labels[max(0, len(labels)-2)] // dropbox of dropbox.com and dropbox.tech
		sites[site]++
		most = max(most, sites[site])
	}
	return most
}
