package backend

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// Whose account it is and what a grant reaches decide whether a grant is revoked that nobody will use.
func TestDiscardedGrants(t *testing.T) {
	other := providertest.Respond(http.StatusOK, `{"sub":"account-2"}`)
	unknown := providertest.Respond(http.StatusServiceUnavailable, "")
	for reach, revoked := range map[string]struct{ unknown, shared, alone int }{
		"": {0, 0, 1}, "token": {1, 1, 1}, "grant": {0, 0, 1}, "account": {0, 0, 1},
	} {
		t.Run("reach "+reach, func(t *testing.T) {
			f := newFixture(t, unproven(t, reaching(reach)), testenv.InProcess)
			f.connect(t, "slack")
			refused := func(answer providertest.Behavior) int {
				t.Helper()
				before := f.provider.Count(providers.StepRevoke)
				f.provider.Next(providers.StepIdentity, answer)
				f.Write("exchange", f.own(t, "slack", nil)).Refused(t, http.StatusConflict, "allow_account_change")
				return f.provider.Count(providers.StepRevoke) - before
			}
			assert.Equal(t, revoked.unknown, refused(unknown), "its account is unknown")
			assert.Equal(t, revoked.alone, refused(other), "no connection has its account")
			f.provider.Next(providers.StepIdentity, other)
			f.connect(t, "another")
			assert.Equal(t, revoked.shared, refused(other), "a connection has its account")
			assert.True(t, f.provider.Alive(f.Read("creds/another", nil).OK(t)["access_token"].(string)))
		})
	}
}

// A grant that is too large to be stored is nobody's, and ends.
func TestGrantThatIsTooLargeIsRevoked(t *testing.T) {
	f := newFixture(t, unproven(t, reaching("token")), testenv.InProcess)
	f.provider.Next(providers.StepToken, providertest.Respond(http.StatusOK,
		`{"access_token":"tok","refresh_token":"ref","scope":"`+manyScopes(400)+`"}`))
	f.Write("exchange", f.own(t, "new", nil)).Refused(t, http.StatusConflict, "grant_too_large")
	require.Equal(t, 1, f.provider.Count(providers.StepRevoke))
	assert.Equal(t, "ref", f.provider.Requests(providers.StepRevoke)[0].Form.Get("token"))
}

// manyScopes are n scopes of half a kilobyte.
func manyScopes(n int) string {
	var scopes []string
	for i := range n {
		scopes = append(scopes, fmt.Sprint(i)+strings.Repeat("x", 500))
	}
	return strings.Join(scopes, " ")
}

// reaching is the part of a definition that says what revoking reaches.
func reaching(reach string) string {
	if reach == "" {
		return ""
	}
	return "\nrevoke: {reach: " + reach + "}\n"
}

// An issuer that contradicts itself about whose a token is connects nobody, and nobody's other grants end for it.
func TestIDTokenAndUserinfoDisagree(t *testing.T) {
	for reach, revoked := range map[string]int{"": 0, "account": 0, "token": 1} {
		for name, c := range map[string]struct {
			claims   func(map[string]any)
			userinfo string
			says     string
		}{
			"another nonce":       {func(c map[string]any) { c["nonce"] = "another" }, "", "nonce_mismatch"},
			"another at userinfo": {func(map[string]any) {}, `{"sub":"account-2"}`, "names another person at userinfo"},
			"nobody at userinfo":  {func(map[string]any) {}, `{"name":"Ada"}`, "names another person at userinfo"},
		} {
			t.Run(name+", reach "+reach, func(t *testing.T) {
				oidc, err := os.ReadFile("../providers/catalog/oidc.yaml")
				require.NoError(t, err)
				oauth2, err := os.ReadFile("../providers/catalog/oauth2.yaml")
				require.NoError(t, err)
				catalog, err := providers.NewRegistry(fstest.MapFS{
					"oidc.yaml": {Data: append(oidc, reaching(reach)...)}, "oauth2.yaml": {Data: oauth2},
				})
				require.NoError(t, err)
				f := newFixture(t, Options{Catalog: catalog}, testenv.InProcess, providertest.WithIDTokenClaims(c.claims))
				f.issuer(t)
				own := with(f.own(t, "me", map[string]any{"provider": "idp"}), map[string]any{"iss": f.provider.URL})
				if c.userinfo != "" {
					f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, c.userinfo))
				}
				first := f.Write("exchange", own)
				first.Refused(t, http.StatusConflict, c.says, "nothing was connected", "start again with auth-code-url/")
				assert.Equal(t, http.StatusNotFound, f.Read("connections/me", nil).Status)
				assert.Equal(t, revoked, f.provider.Count(providers.StepRevoke))
				assert.Equal(t, revoked == 0, strings.Contains(first.Text, "may live on"), first.Text)
				f.Write("exchange", own).Refused(t, http.StatusConflict, first.Text)
				assert.Equal(t, 1, f.provider.Count(providers.StepToken))
				assert.Equal(t, revoked, f.provider.Count(providers.StepRevoke))
			})
		}
	}
}
