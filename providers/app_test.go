package providers

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func builtin(t *testing.T, id string) *Definition {
	t.Helper()
	r, err := Builtin()
	require.NoError(t, err)
	d, ok := r.Get(id)
	require.True(t, ok, "no definition %q", id)
	return d
}

func TestAppValidate(t *testing.T) {
	for name, test := range map[string]struct {
		definition string
		change     func(*App)
		err        string
	}{
		"slack": {"slack", func(*App) {}, ""},
		"a mock of slack": {"slack", func(a *App) {
			a.Endpoints = map[Step]string{StepToken: "http://127.0.0.1:4000/token"}
		}, ""},
		"enterprise github": {"github", func(a *App) {
			a.Inputs = map[string]string{"host": "acme.ghe.com", "api_url": "https://api.acme.ghe.com"}
		}, ""},
		"github by name": {"github", func(a *App) { a.Inputs = map[string]string{"host": "github.com"} }, ""},
		"github behind a gateway": {"github", func(a *App) {
			a.Inputs = map[string]string{"api_url": "https://api.example.com"}
		}, ""},
		"placeholder of its": {"github", func(a *App) {
			a.Endpoints = map[Step]string{StepToken: "https://{host}/t"}
		}, ""},
		"issuer":           {"oidc", func(a *App) { a.Issuer = "https://id.example.com/realms/main" }, ""},
		"issuer beside us": {"oidc", func(a *App) { a.Issuer = "http://[::1]:8080" }, ""},
		"generic": {"oauth2", func(a *App) {
			a.Endpoints = map[Step]string{StepToken: "https://id.example.com/t"}
		}, ""},
		"key":                   {"openai", func(a *App) { a.ClientID = "" }, ""},
		"other client_auth":     {"slack", func(a *App) { a.ClientAuth = "post" }, ""},
		"discovered auth, told": {"oidc", func(a *App) { a.Issuer, a.ClientAuth = "https://id.example.com", "post" }, ""},
		"harmless parameters":   {"slack", func(a *App) { a.AuthorizeParams = map[string]string{"team": "T1"} }, ""},

		"no client id": {"slack", func(a *App) {
			a.ClientID = ""
		}, "client_id is missing: register an app at https://api.slack.com/apps and give its client id"},
		"client_auth not taken": {"slack", func(a *App) {
			a.ClientAuth = "none"
		}, `client_auth "none" is not taken by Slack (user token): write one of basic, post`},
		"client_auth unknown": {"oidc", func(a *App) {
			a.Issuer, a.ClientAuth = "https://id.example.com", "probe"
		}, `client_auth "probe" is not taken by`},
		"step unknown": {"slack", func(a *App) {
			a.Endpoints = map[Step]string{"tokens": "https://a.example.com"}
		}, `endpoints: step "tokens" is not known, write one of authorize`},
		"endpoint in the clear": {"slack", func(a *App) {
			a.Endpoints = map[Step]string{StepToken: "http://a.example.com"}
		}, "endpoints.token: URL template"},
		"endpoint nearly local": {"slack", func(a *App) {
			a.Endpoints = map[Step]string{StepToken: "http://localhost.example.com"}
		}, "endpoints.token: URL template"},
		"endpoint local by choice": {"github", func(a *App) {
			a.Endpoints = map[Step]string{StepToken: "http://{host}"}
		}, "endpoints.token: URL template"},
		"endpoint with user": {"slack", func(a *App) {
			a.Endpoints = map[Step]string{StepToken: "https://a@b.example.com"}
		}, "endpoints.token: URL template"},
		"endpoint with fragment": {"slack", func(a *App) {
			a.Endpoints = map[Step]string{StepToken: "https://a.example.com#"}
		}, "endpoints.token: URL template"},
		"placeholder undeclared": {"slack", func(a *App) {
			a.Endpoints = map[Step]string{StepToken: "https://a.example.com/{shop}"}
		}, "endpoints.token: placeholder {shop} is not an input of slack"},
		"host from a client id": {"slack", func(a *App) {
			a.Endpoints = map[Step]string{StepToken: "https://{client_id}/"}
		}, "endpoints.token: URL template"},
		"generic without token": {"oauth2", func(a *App) {
			a.Endpoints = map[Step]string{StepAuthorize: "https://a.example.com"}
		}, "endpoints: token is missing"},
		"issuer missing":      {"oidc", func(*App) {}, "issuer is missing"},
		"issuer in the clear": {"oidc", func(a *App) { a.Issuer = "http://id.example.com" }, "issuer: plain http"},
		"issuer with query": {"oidc", func(a *App) {
			a.Issuer = "https://id.example.com?x"
		}, "issuer: the URL must have no query"},
		"issuer with fragment": {"oidc", func(a *App) {
			a.Issuer = "https://id.example.com#"
		}, "issuer: the URL must have no query"},
		"issuer with user": {"oidc", func(a *App) {
			a.Issuer = "https://a@id.example.com"
		}, "issuer: user information"},
		"issuer is no URL": {"oidc", func(a *App) { a.Issuer = "id.example.com" }, "issuer: write a whole URL"},
		"state is ours": {"slack", func(a *App) {
			a.AuthorizeParams = map[string]string{"state": "x"}
		}, `authorize_params: "state" is the engine's own`},
		"scope by its name there": {"slack", func(a *App) {
			a.AuthorizeParams = map[string]string{"user_scope": "x"}
		}, `authorize_params: "user_scope" is the engine's own`},
		"grant_type is ours": {"slack", func(a *App) {
			a.TokenParams = map[string]string{"grant_type": "x"}
		}, `token_params: "grant_type" is the engine's own`},
		"input unknown": {"github", func(a *App) {
			a.Inputs = map[string]string{"port": "1"}
		}, `input "port" is not declared by github`},
		"input without its other": {"github", func(a *App) {
			a.Inputs = map[string]string{"host": "git.example.com"}
		}, `input "host" needs "api_url" beside it: set that on the provider`},
		"input wrong": {"github", func(a *App) {
			a.Inputs = map[string]string{"host": "evil.com#"}
		}, `input "host" must match`},
	} {
		t.Run(name, func(t *testing.T) {
			a := &App{Definition: builtin(t, test.definition), ClientID: "id"}
			test.change(a)
			if err := a.Validate(); test.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.err)
			}
		})
	}
}

func TestAppValidateKnowsRenamedParameters(t *testing.T) {
	d := &Definition{
		ID: "acme", Kinds: []Kind{KindAPIKey}, Client: ClientSpec{Rename: map[string]string{"client_id": "client_key"}},
	}
	a := &App{Definition: d, TokenParams: map[string]string{"client_key": "x"}}
	require.ErrorContains(t, a.Validate(), `token_params: "client_key" is the engine's own`)
}

func TestFingerprint(t *testing.T) {
	app := func() *App {
		return &App{
			Definition: builtin(t, "github"), ClientID: "id", ClientSecret: NewSecret("old"), Scopes: []string{"repo"},
			Endpoints: map[Step]string{StepToken: "https://a.example.com", StepRevoke: ""},
			Inputs:    map[string]string{"host": "git.example.com"},
		}
	}
	pinned := app().Fingerprint()
	assert.Regexp(t, `^[0-9a-f]{64}$`, pinned)

	for name, change := range map[string]func(*App){
		"definition":       func(a *App) { a.Definition = builtin(t, "slack") },
		"client id":        func(a *App) { a.ClientID = "other" },
		"issuer":           func(a *App) { a.Issuer = "https://id.example.com" },
		"endpoint":         func(a *App) { a.Endpoints[StepToken] = "https://b.example.com" },
		"another endpoint": func(a *App) { a.Endpoints[StepRefresh] = "https://b.example.com" },
		"input":            func(a *App) { a.Inputs["host"] = "git.example.org" },
		"input dropped":    func(a *App) { a.Inputs = nil },
		"certificates":     func(a *App) { a.CAPin = "mark" },
	} {
		t.Run(name+" counts", func(t *testing.T) {
			a := app()
			change(a)
			assert.NotEqual(t, pinned, a.Fingerprint())
		})
	}
	for name, change := range map[string]func(*App){
		"secret":         func(a *App) { a.ClientSecret, a.FormerSecret = NewSecret("new"), a.ClientSecret },
		"scopes":         func(a *App) { a.Scopes = nil },
		"parameters":     func(a *App) { a.TokenParams = map[string]string{"audience": "x"} },
		"empty endpoint": func(a *App) { delete(a.Endpoints, StepRevoke) },
		"catalogue":      func(a *App) { a.Definition = &Definition{ID: a.Definition.ID} },
	} {
		t.Run(name+" does not", func(t *testing.T) {
			a := app()
			change(a)
			assert.Equal(t, pinned, a.Fingerprint())
		})
	}
}
