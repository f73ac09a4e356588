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
			assert.Equal(t, test.want, a.RequestScopes(test.asked))
		})
	}
	assert.Empty(t, (&App{Definition: &Definition{}}).RequestScopes(nil))
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
