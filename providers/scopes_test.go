package providers

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRequestScopes(t *testing.T) {
	spec := Scopes{Default: []string{"read"}, Identity: []string{"openid"}, Offline: []string{"offline"}}
	for name, test := range map[string]struct{ app, asked, want []string }{
		"definition's default": {nil, nil, []string{"read", "openid", "offline"}},
		"operator's":           {[]string{"write"}, nil, []string{"write", "openid", "offline"}},
		"person's":             {[]string{"write"}, []string{"admin"}, []string{"admin", "openid", "offline"}},
		"each once":            {nil, []string{"openid", "a", "a"}, []string{"openid", "a", "offline"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := &App{Definition: &Definition{Scopes: spec}, Scopes: test.app}
			assert.Equal(t, test.want, a.RequestScopes(test.asked, nil))
		})
	}
	assert.Empty(t, (&App{Definition: &Definition{}}).RequestScopes(nil, nil))
}

// An app asks for itself without what is added for people.
func TestScopesOfTheApp(t *testing.T) {
	spec := Scopes{Default: []string{"read"}, Identity: []string{"openid"}, Offline: []string{"offline"}}
	a := &App{Definition: &Definition{Scopes: spec}}
	assert.Equal(t, []string{"read"}, a.ScopesOfTheApp())
	a.Scopes = []string{"write"}
	assert.Equal(t, []string{"write"}, a.ScopesOfTheApp())
	assert.Empty(t, (&App{Definition: &Definition{Scopes: spec}, ScopesIgnored: true}).ScopesOfTheApp())
}

// What the engine adds by itself is asked for only where the operator lets it, and where the issuer is not known to
// refuse it. What somebody names is asked for in any case.
func TestAddedScopesCanBeTakenAway(t *testing.T) {
	spec := Scopes{
		Default: []string{"read"}, Identity: []string{"openid", "email"}, Offline: []string{"offline"},
		Same: map[string][]string{"email": {"https://id.example.com/email"}},
	}
	for name, test := range map[string]struct {
		added *[]string
		asked []string
		known []string
		want  []string
	}{
		"nobody says anything":      {want: []string{"read", "openid", "email", "offline"}},
		"all off":                   {added: &[]string{}, want: []string{"read"}},
		"some":                      {added: &[]string{"offline", "openid"}, want: []string{"read", "openid", "offline"}},
		"off, and named":            {added: &[]string{}, asked: []string{"offline"}, want: []string{"offline"}},
		"one that is not there":     {added: &[]string{"gone"}, want: []string{"read"}},
		"unknown to the issuer":     {known: []string{"openid", "email"}, want: []string{"read", "openid", "email"}},
		"known by another spelling": {known: []string{"https://id.example.com/email"}, want: []string{"read", "email"}},
		"none known":                {known: []string{"x"}, want: []string{"read"}},
		"unknown, and named": {
			asked: []string{"offline"}, known: []string{"openid"}, want: []string{"offline", "openid"},
		},
		"off, though known": {
			added: &[]string{"openid"}, known: []string{"openid", "offline"}, want: []string{"read", "openid"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := &App{Definition: &Definition{Scopes: spec}, AddedScopes: test.added}
			assert.Equal(t, test.want, a.RequestScopes(test.asked, test.known))
		})
	}
	off := &App{Definition: &Definition{Name: "Acme", Scopes: spec}, AddedScopes: &[]string{"openid"}}
	require.NoError(t, off.CheckScopes([]string{"openid"}, []string{"write"}))
	require.ErrorContains(t, off.CheckScopes([]string{"offline"}, []string{"write"}), "allowed_scopes",
		"what was taken away is like any other scope")
	assert.Equal(t, []string{"offline"}, off.SurplusScopes([]string{"openid", "offline"}, []string{"write"}))
	assert.Equal(t, []string{"openid", "email"}, spec.Identity, "the definition is not changed")
}

func TestCheckAddedScopes(t *testing.T) {
	app := &App{Definition: &Definition{
		ID: "acme", Scopes: Scopes{Identity: []string{"openid"}, Offline: []string{"offline"}},
	}}
	require.NoError(t, app.CheckAddedScopes(nil))
	require.NoError(t, app.CheckAddedScopes([]string{"offline", "openid"}))
	for _, name := range []string{"read", "OpenID", "", "openid offline"} {
		require.ErrorContains(t, app.CheckAddedScopes([]string{"openid", name}), "it adds offline, openid")
	}
	require.ErrorContains(t, (&App{Definition: &Definition{ID: "plain"}}).CheckAddedScopes([]string{"openid"}),
		"it adds none")
}

func TestCheckScopes(t *testing.T) {
	a := &App{
		Definition: &Definition{Name: "Acme", Scopes: Scopes{Identity: []string{"openid"}}}, Scopes: []string{"read"},
	}
	require.NoError(t, a.CheckScopes(nil, nil))
	require.NoError(t, a.CheckScopes([]string{"read", "openid"}, nil))
	require.NoError(t, a.CheckScopes([]string{"write", "openid"}, []string{"write"}))
	require.EqualError(t, a.CheckScopes([]string{"read", "write"}, nil),
		`scope "write" is not among the provider's allowed_scopes: openid, read`)
	require.EqualError(t, a.CheckScopes([]string{"read"}, []string{"write"}),
		`scope "read" is not among the provider's allowed_scopes: write`)

	a.Definition.Scopes.Allowed = []string{"read", "write"}
	require.EqualError(t, a.CheckScopes([]string{"fly"}, []string{"fly"}),
		`scope "fly" is not one of Acme: there are read, write`)
}
