package providers_test

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

func TestAuthCodeURL(t *testing.T) {
	const challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" // RFC 7636 appendix B
	none, userScope := "", "user_scope"
	usual := url.Values{
		"response_type": {"code"}, "client_id": {"id"}, "redirect_uri": {redirectURI}, "state": {"st"},
		"scope": {"a b"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}
	with := func(changes url.Values, without ...string) url.Values {
		want := url.Values{}
		for name, value := range usual {
			want[name] = value
		}
		for name, value := range changes {
			want[name] = value
		}
		for _, name := range without {
			want.Del(name)
		}
		return want
	}
	formPost := func(r *providers.AuthCodeURLRequest) { r.FormPost = true }
	for _, test := range []struct {
		name   string
		def    providers.Definition
		params map[string]string
		change func(r *providers.AuthCodeURLRequest)
		want   url.Values
	}{
		{name: "plain", want: usual},
		{
			name: "no PKCE", def: providers.Definition{Authorize: providers.Authorize{PKCE: "off"}},
			want: with(nil, "code_challenge", "code_challenge_method"),
		},
		{
			name: "comma scopes under another name",
			def:  providers.Definition{Scopes: providers.Scopes{Param: &userScope, Join: ","}},
			want: with(url.Values{"user_scope": {"a,b"}}, "scope"),
		},
		{
			name: "no scope parameter", def: providers.Definition{Scopes: providers.Scopes{Param: &none}},
			want: with(nil, "scope"),
		},
		{
			name: "renamed client_id",
			def:  providers.Definition{Client: providers.ClientSpec{Rename: map[string]string{"client_id": "client_key"}}},
			want: with(url.Values{"client_key": {"id"}}, "client_id"),
		},
		{
			name: "state under another name", def: providers.Definition{Callback: providers.Callback{State: "st8"}},
			want: with(url.Values{"st8": {"st"}}, "state"),
		},
		{
			name: "omitted", def: providers.Definition{Authorize: providers.Authorize{Omit: []string{"response_type"}}},
			want: with(nil, "response_type"),
		},
		{
			name: "only", def: providers.Definition{
				Authorize: providers.Authorize{
					Only: true, Params: map[string]providers.Template{"app": "{client_id}", "s": "{state}"},
				},
			},
			params: map[string]string{"lang": "en"},
			want:   url.Values{"app": {"id"}, "s": {"st"}, "lang": {"en"}},
		},
		{
			name: "definition, operator",
			def: providers.Definition{
				Authorize: providers.Authorize{
					Params: map[string]providers.Template{"access_type": "offline", "prompt": "consent"},
				},
			},
			params: map[string]string{"prompt": "select_account"},
			want:   with(url.Values{"access_type": {"offline"}, "prompt": {"select_account"}}),
		},
		{
			name: "the definition does not move the state either",
			def:  providers.Definition{Authorize: providers.Authorize{Params: map[string]providers.Template{"state": "fixed"}}},
			want: usual,
		},
		{
			name: "optional parameters",
			def: providers.Definition{
				Authorize: providers.Authorize{Optional: map[string]providers.Template{"guild": "{guild}", "team": "{team}"}},
			},
			change: func(r *providers.AuthCodeURLRequest) { r.Resolved.Inputs = map[string]string{"team": "T1"} },
			want:   with(url.Values{"team": {"T1"}}),
		},
		{
			name:   "login hint as the definition names it",
			def:    providers.Definition{Authorize: providers.Authorize{LoginHint: "email"}},
			change: func(r *providers.AuthCodeURLRequest) { r.LoginHint = "ada@example.test" },
			want:   with(url.Values{"email": {"ada@example.test"}}),
		},
		{name: "no login hint where none is known", change: func(r *providers.AuthCodeURLRequest) {
			r.LoginHint = "ada@example.test"
		}, want: usual},
		{
			name:   "OpenID Connect",
			change: func(r *providers.AuthCodeURLRequest) { r.Resolved.OpenID, r.LoginHint = true, "ada" },
			want:   with(url.Values{"nonce": {"nonce"}, "login_hint": {"ada"}}),
		},
		{
			name: "OpenID Connect, for as long as the person is away",
			change: func(r *providers.AuthCodeURLRequest) {
				r.Resolved.OpenID, r.Scopes = true, []string{"openid", "offline_access"}
			},
			want: with(url.Values{"nonce": {"nonce"}, "scope": {"openid offline_access"}, "prompt": {"consent"}}),
		},
		{
			name: "another prompt of the operator's", params: map[string]string{"prompt": "login consent"},
			change: func(r *providers.AuthCodeURLRequest) {
				r.Resolved.OpenID, r.Scopes = true, []string{"openid", "offline_access"}
			},
			want: with(url.Values{"nonce": {"nonce"}, "scope": {"openid offline_access"}, "prompt": {"login consent"}}),
		},
		{
			name: "no OpenID Connect",
			change: func(r *providers.AuthCodeURLRequest) {
				r.Scopes = []string{"offline_access"}
			},
			want: with(url.Values{"scope": {"offline_access"}}),
		},
		{
			name: "a definition that takes form_post",
			def:  providers.Definition{Authorize: providers.Authorize{FormPost: true}}, change: formPost,
			want: with(url.Values{"response_mode": {"form_post"}}),
		},
		{
			name:   "an issuer that takes form_post",
			change: func(r *providers.AuthCodeURLRequest) { r.FormPost, r.Resolved.FormPost = true, true },
			want:   with(url.Values{"response_mode": {"form_post"}}),
		},
		{name: "form_post where nobody says that it is taken", change: formPost, want: usual},
		{
			name:   "form_post taken, and not asked for",
			def:    providers.Definition{Authorize: providers.Authorize{FormPost: true}},
			change: func(r *providers.AuthCodeURLRequest) { r.Resolved.FormPost = true }, want: usual,
		},
		{
			name: "the operator's response_mode goes before it",
			def:  providers.Definition{Authorize: providers.Authorize{FormPost: true}}, change: formPost,
			params: map[string]string{"response_mode": "query"}, want: with(url.Values{"response_mode": {"query"}}),
		},
		{
			name: "and the definition's",
			def: providers.Definition{Authorize: providers.Authorize{
				FormPost: true, Params: map[string]providers.Template{"response_mode": "query"},
			}}, change: formPost, want: with(url.Values{"response_mode": {"query"}}),
		},
		{
			name: "only, at an issuer that takes form_post", def: providers.Definition{
				Authorize: providers.Authorize{Only: true, Params: map[string]providers.Template{"s": "{state}"}},
			},
			change: func(r *providers.AuthCodeURLRequest) { r.FormPost, r.Resolved.FormPost = true, true },
			want:   url.Values{"s": {"st"}},
		},
		{
			name: "query of the endpoint",
			change: func(r *providers.AuthCodeURLRequest) {
				r.Resolved.Endpoints[providers.StepAuthorize] += "?tenant=7&state=old"
			},
			want: with(url.Values{"tenant": {"7"}}),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := providers.AuthCodeURLRequest{
				Resolved: providers.Resolved{
					Endpoints: map[providers.Step]string{providers.StepAuthorize: "https://provider.test/authorize"},
				},
				State: "st", Nonce: "nonce", RedirectURI: redirectURI, Scopes: []string{"a", "b"},
				Verifier: providers.NewSecret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
			}
			if test.change != nil {
				test.change(&r)
			}
			app := &providers.App{
				Definition: &test.def, ClientID: "id", ClientSecret: providers.NewSecret("planted"), AuthorizeParams: test.params,
			}
			address, err := providers.AuthCodeURL(app, r)
			require.NoError(t, err)
			u, err := url.Parse(address)
			require.NoError(t, err)
			assert.Equal(t, test.want, u.Query())
			assert.Equal(t, "https://provider.test/authorize", u.Scheme+"://"+u.Host+u.Path)
			assert.NotContains(t, address, "planted")
		})
	}
}

func TestAuthCodeURLRefuses(t *testing.T) {
	good := providers.Resolved{
		Endpoints: map[providers.Step]string{providers.StepAuthorize: "https://provider.test/authorize"},
	}
	for _, name := range []string{
		"state", "redirect_uri", "client_id", "client_secret", "response_type", "scope", "nonce", "code_challenge",
		"code_challenge_method", "request", "request_uri", "client_key", "st8",
	} {
		t.Run(name, func(t *testing.T) {
			app := &providers.App{Definition: &providers.Definition{
				Callback:  providers.Callback{State: "st8"},
				Client:    providers.ClientSpec{Rename: map[string]string{"client_id": "client_key"}},
				Authorize: providers.Authorize{PKCE: "off"},
			}, AuthorizeParams: map[string]string{name: "x"}}
			_, err := providers.AuthCodeURL(app, providers.AuthCodeURLRequest{Resolved: good, State: "s"})
			assert.ErrorContains(t, err, name)
		})
	}
	app := &providers.App{Definition: &providers.Definition{}}
	_, err := providers.AuthCodeURL(app, providers.AuthCodeURLRequest{})
	assert.Equal(t, providers.ReasonNoEndpoint, failure(t, err).Reason)
	insecure := providers.Resolved{
		Endpoints: map[providers.Step]string{providers.StepAuthorize: "http://provider.test/authorize"},
	}
	_, err = providers.AuthCodeURL(app, providers.AuthCodeURLRequest{Resolved: insecure})
	assert.Equal(t, providers.ReasonInsecureEndpoint, failure(t, err).Reason)
}
