package providertest_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// A double that takes a spent refresh token would let a lost rotation pass every test built on it.
func TestSpentRefreshTokenEndsTheFamily(t *testing.T) {
	server := providertest.New(t)
	client := providers.NewClient(&http.Client{}, time.Now, "")
	app := server.App()
	res, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
	require.NoError(t, err)
	verifier := providers.NewSecret(strings.Repeat("v", 43))
	address, err := providers.AuthCodeURL(app, providers.AuthCodeURLRequest{
		Resolved: res, State: "s", RedirectURI: "https://app.test/cb", Verifier: verifier, Scopes: []string{"a"},
	})
	require.NoError(t, err)
	callback := server.Consent(t, address)
	exchange := providers.ExchangeRequest{
		Resolved: res, Code: providers.NewSecret(callback["code"]), Verifier: verifier, RedirectURI: "https://app.test/cb",
		Callback: callback,
	}
	first, err := client.Exchange(t.Context(), app, exchange)
	require.NoError(t, err)
	_, err = client.Exchange(t.Context(), app, exchange)
	assert.Error(t, err, "a code is good once")

	second, err := client.Refresh(t.Context(), app, res, providers.KindAuthorizationCode, first)
	require.NoError(t, err)
	assert.True(t, server.Alive(second.AccessToken.Reveal()))
	_, err = client.Refresh(t.Context(), app, res, providers.KindAuthorizationCode, first)
	assert.ErrorContains(t, err, "invalid_grant")
	assert.False(t, server.Alive(second.AccessToken.Reveal()))
	_, err = client.Refresh(t.Context(), app, res, providers.KindAuthorizationCode, second)
	assert.ErrorContains(t, err, "invalid_grant")
	assert.Equal(t, 3, server.Count(providers.StepRefresh))
}

func TestWrongVerifierAndSecret(t *testing.T) {
	server := providertest.New(t)
	form := func(values url.Values) int {
		response, err := http.PostForm(server.URL+"/token", values)
		require.NoError(t, err)
		defer func() { _ = response.Body.Close() }()
		return response.StatusCode
	}
	assert.Equal(t, http.StatusUnauthorized, form(url.Values{
		"client_id": {providertest.ClientID}, "client_secret": {"wrong"},
	}))
	callback := server.Consent(t,
		server.URL+"/authorize?response_type=code&state=s&client_id="+providertest.ClientID+"&code_challenge=c")
	assert.Equal(t, http.StatusBadRequest, form(url.Values{
		"client_id": {providertest.ClientID}, "client_secret": {providertest.ClientSecret},
		"grant_type": {"authorization_code"}, "code": {callback["code"]}, "code_verifier": {"wrong"},
	}))
}
