package providers_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

func TestRevoke(t *testing.T) {
	both := providers.Grant{AccessToken: providers.NewSecret("acc"), RefreshToken: providers.NewSecret("ref")}
	byAccess := url.Values{"token": {"acc"}, "token_type_hint": {"access_token"}}
	byRefresh := url.Values{"token": {"ref"}, "token_type_hint": {"refresh_token"}}
	for _, test := range []struct {
		name   string
		spec   *providers.Revoke
		grant  providers.Grant
		answer providertest.Behavior
		want   []url.Values
		method string
		auth   string // prefix of the Authorization header
		class  providers.Class
	}{
		{name: "RFC 7009", grant: both, want: []url.Values{byRefresh}, method: "POST", auth: "Basic "},
		{
			name: "no refresh token", grant: providers.Grant{AccessToken: both.AccessToken}, want: []url.Values{byAccess},
			method: "POST", auth: "Basic ",
		},
		{
			name: "access token", spec: &providers.Revoke{Token: "access_token"}, grant: both, want: []url.Values{byAccess},
			method: "POST", auth: "Basic ",
		},
		{
			name: "both", spec: &providers.Revoke{Token: "both"}, grant: both, want: []url.Values{byRefresh, byAccess},
			method: "POST", auth: "Basic ",
		},
		{
			name: "both, the first fails", spec: &providers.Revoke{Token: "both"}, grant: both,
			answer: providertest.Respond(503, ""), want: []url.Values{byRefresh, byAccess}, method: "POST", auth: "Basic ",
			class: providers.Transient,
		},
		{
			name: "bearer without a body", spec: &providers.Revoke{Call: providers.Call{Auth: "bearer"}, Token: "access_token"},
			grant: both, answer: providertest.Respond(200, ""), want: []url.Values{{}}, method: "POST", auth: "Bearer acc",
		},
		{
			name: "the definition's way",
			spec: &providers.Revoke{
				Call:  providers.Call{Method: "DELETE", Auth: "send", Params: map[string]providers.Template{"t": "{access_token}"}},
				Token: "access_token",
			},
			grant: both, answer: providertest.Respond(204, ""), want: []url.Values{{"t": {"acc"}}}, method: "DELETE",
			auth: "Bearer acc",
		},
		{
			name: "predicate", spec: &providers.Revoke{OK: &providers.OK{Path: "ok"}}, grant: both,
			answer: providertest.Respond(200, `{"ok":false}`), want: []url.Values{byRefresh}, method: "POST", auth: "Basic ",
			class: providers.Transient,
		},
		{
			name: "gone already", grant: both, answer: providertest.Respond(400, `{"error":"invalid_token"}`),
			want: []url.Values{byRefresh}, method: "POST", auth: "Basic ",
		},
		{
			name: "gone with its grant", grant: both, answer: providertest.Respond(400, `{"error":"invalid_grant"}`),
			want: []url.Values{byRefresh}, method: "POST", auth: "Basic ",
		},
		{
			name: "gone, in the way of an API", grant: both, answer: providertest.Respond(401, `{"error":"invalid_token"}`),
			want: []url.Values{byRefresh}, method: "POST", auth: "Basic ",
		},
		{
			name: "the token that lets the call in is dead", spec: &providers.Revoke{
				Call: providers.Call{Auth: "bearer"}, Token: "access_token",
			},
			grant: both, answer: providertest.Respond(401, `{"error":"invalid_token"}`), want: []url.Values{{}},
			method: "POST", auth: "Bearer acc", class: providers.Rejected,
		},
		{
			name: "the app is refused", grant: both, answer: providertest.Respond(401, `{"error":"invalid_client"}`),
			want: []url.Values{byRefresh}, method: "POST", auth: "Basic ", class: providers.Misconfigured,
		},
		{
			name: "gone, says a server that is unwell", grant: both,
			answer: providertest.Respond(503, `{"error":"invalid_token"}`), want: []url.Values{byRefresh}, method: "POST",
			auth: "Basic ", class: providers.Transient,
		},
		{name: "nothing to revoke"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := providertest.New(t)
			app := server.App()
			app.Definition.Revoke = test.spec
			client := newClient(t, time.Now)
			res, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
			require.NoError(t, err)
			if test.answer != nil {
				server.Next(providers.StepRevoke, test.answer)
			}
			err = client.Revoke(t.Context(), app, res, providers.KindAuthorizationCode, &test.grant)
			if test.class != "" {
				assert.Equal(t, test.class, failure(t, err).Class)
			} else {
				require.NoError(t, err)
			}
			asked := server.Requests(providers.StepRevoke)
			require.Len(t, asked, len(test.want))
			for i, request := range asked {
				assert.Equal(t, test.want[i], request.Form)
				assert.Equal(t, test.method, request.Method)
				assert.Regexp(t, "^"+test.auth, request.Header.Get("Authorization"))
			}
		})
	}
	server := providertest.New(t)
	app := server.App()
	delete(app.Definition.Endpoints, providers.StepRevoke)
	err := newClient(t, time.Now).Revoke(t.Context(), app, providers.Resolved{}, providers.KindAuthorizationCode, &both)
	assert.Equal(t, providers.ReasonNoRevocationEndpoint, failure(t, err).Reason)
}

// A service that takes back the grants of some kinds is not asked to of others: nothing is sent.
func TestRevokesOnlyWhatCanBe(t *testing.T) {
	server := providertest.New(t)
	app := server.App()
	app.Definition.Revoke = &providers.Revoke{Kinds: []providers.Kind{providers.KindClientCredentials}}
	client := newClient(t, time.Now)
	res, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
	require.NoError(t, err)
	grant := &providers.Grant{AccessToken: providers.NewSecret("access-1")}
	err = client.Revoke(t.Context(), app, res, providers.KindAuthorizationCode, grant)
	assert.Equal(t, providers.ReasonNoRevocationEndpoint, failure(t, err).Reason)
	assert.Zero(t, server.Count(providers.StepRevoke))
	require.NoError(t, client.Revoke(t.Context(), app, res, providers.KindClientCredentials, grant))
	assert.Equal(t, 1, server.Count(providers.StepRevoke))
}
