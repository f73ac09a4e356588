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

		"issuer of many tenants": {
			"oidc", func(a *App) { a.Issuer = "https://id.example.com/{tenantid}/v2.0" }, "placeholder",
		},
		"the same, escaped": {
			"oidc", func(a *App) { a.Issuer = "https://id.example.com/%7Btenantid%7D/" }, "placeholder",
		},
		"the same, in brackets": {"oidc", func(a *App) { a.Issuer = "https://id.example.com/<tenant>" }, "placeholder"},
		"address of its document": {
			"oidc", func(a *App) { a.Issuer = "https://id.example.com/.well-known/openid-configuration" }, "address",
		},

		"no client id": {"slack", func(a *App) {
			a.ClientID = ""
		}, "client_id is missing: register an app at https://api.slack.com/apps (the manifest of catalog/slack does " +
			"it in one step) and give its client id"},
		"client_auth not taken": {"slack", func(a *App) {
			a.ClientAuth = "none"
		}, `client_auth "none" is not taken by Slack (user token): write one of basic, post`},
		"client_auth unknown": {"oidc", func(a *App) {
			a.Issuer, a.ClientAuth = "https://id.example.com", "probe"
		}, `client_auth "probe" is not taken by`},
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
		"added scopes":   func(a *App) { a.AddedScopes = &[]string{} },
		"PKCE":           func(a *App) { a.PKCE = "off" },
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

// Grants of today carry these pins. Who changes what goes into one makes everybody reconnect.
func TestFingerprintsOfToday(t *testing.T) {
	for want, a := range map[string]*App{
		"2ba06eb9a0ccf7d2ec4e9f8e95302b4376a514681e60cfccce6fac5e2344ac7f": {
			Definition: &Definition{ID: "github"}, ClientID: "id",
			Endpoints: map[Step]string{StepToken: "https://a.example.com"}, Inputs: map[string]string{"host": "git.example.com"},
		},
		"eb31dcb4996d25e73e67ddb5f9d60bbd7842ed81bbf97149477dd0f866781af6": {
			Definition: &Definition{ID: "oidc"}, ClientID: "id", Issuer: "https://id.example.com",
		},
		"e0878cf80e90145c6ba2d340724dda9b0987c0633e507946172e499fa025143a": {
			Definition: &Definition{ID: "oidc"}, ClientID: "id", Issuer: "https://id.example.com", CAPin: "mark",
		},
	} {
		assert.Equal(t, want, a.Fingerprint())
	}
}

func TestOrigins(t *testing.T) {
	shop := &Definition{
		ID: "shop", Inputs: []Input{
			{Name: "shop", SetBy: SetByConnection},
			{Name: "base", SetBy: SetByProvider, Default: "https://a.example.com/x"},
			{Name: "zone", SetBy: SetByEither},
		},
		Endpoints: map[Step]Template{StepAuthorize: "https://{shop}.Shop.example/a", StepToken: "{base}/token"},
	}
	zoned := &Definition{ID: "zoned", Inputs: shop.Inputs, Endpoints: map[Step]Template{
		StepAuthorize: "https://{zone}.example.com/a", StepToken: "https://{zone}.example.com:8443/t",
	}}
	for name, c := range map[string]struct {
		app  App
		want [2]string
	}{
		"of the definition": {
			App{Definition: builtin(t, "google")}, [2]string{"https://accounts.google.com", "https://oauth2.googleapis.com"},
		},
		"of the operator": {
			App{Definition: builtin(t, "google"), Endpoints: map[Step]string{StepToken: "https://Evil.example:8443/t"}},
			[2]string{"https://accounts.google.com", "https://evil.example:8443"},
		},
		"of an issuer": {
			App{Definition: builtin(t, "oidc"), Issuer: "https://id.example.com/realms/a"},
			[2]string{"https://id.example.com", "https://id.example.com"},
		},
		"of an input of the operator": {
			App{Definition: builtin(t, "github_enterprise"), Inputs: map[string]string{"host": "git.example.com"}},
			[2]string{"https://git.example.com", "https://git.example.com"},
		},
		"of an input of a connection, and a default": {
			App{Definition: shop}, [2]string{"shop https://{shop}.shop.example", "https://a.example.com"},
		},
		"of an input that either sets, unset": {
			App{Definition: zoned}, [2]string{"zoned https://{zone}.example.com", "zoned https://{zone}.example.com:8443"},
		},
		"of an input that either sets, set": {
			App{Definition: zoned, Inputs: map[string]string{"zone": "eu"}},
			[2]string{"https://eu.example.com", "https://eu.example.com:8443"},
		},
		"nowhere": {App{Definition: builtin(t, "oauth2")}, [2]string{}},
	} {
		assert.Equal(t, c.want, c.app.Origins(), name)
	}
}

func TestKnowsIssuer(t *testing.T) {
	assert.False(t, (&App{Definition: builtin(t, "oauth2")}).KnowsIssuer())
	assert.False(t, (&App{Definition: builtin(t, "oidc")}).KnowsIssuer())
	assert.True(t, (&App{Definition: builtin(t, "oauth2"), Issuer: "https://id.example.com"}).KnowsIssuer())
	fixed := &Definition{Discovery: &Discovery{Issuer: "https://id.example.com"}}
	assert.True(t, (&App{Definition: fixed}).KnowsIssuer())
}

func TestCheckSteps(t *testing.T) {
	for _, step := range knownSteps() {
		endpoints := map[string]string{string(step): "https://a.example.com"}
		assert.NoError(t, builtin(t, "oauth2").CheckSteps(endpoints))
		if step != StepIntrospect && step != StepDevice {
			assert.NoError(t, builtin(t, "slack").CheckSteps(endpoints))
		}
	}
	for step, want := range map[string]string{
		"tokens":     `endpoints: step "tokens" is not known, did you mean "token"?`,
		"introspect": `endpoints: step "introspect" is not known, write one of: authorize, install, token, refresh`,
		"device":     `endpoints: step "device" is not known, write one of: authorize, install, token, refresh`,
	} {
		assert.ErrorContains(t, builtin(t, "slack").CheckSteps(map[string]string{step: "https://a.example.com"}), want)
	}
}
