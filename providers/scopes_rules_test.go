package providers

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// What services answer, and what of it is missing or too much.
func TestMissingAndSurplusScopes(t *testing.T) {
	google := Scopes{
		Identity: []string{"openid", "email", "profile"},
		Same: map[string][]string{
			"email":   {"https://www.googleapis.com/auth/userinfo.email"},
			"profile": {"https://www.googleapis.com/auth/userinfo.profile"},
		},
	}
	microsoft := Scopes{Identity: []string{"openid", "profile"}, Offline: []string{"offline_access"}, Silent: []string{
		"offline_access",
	}}
	shopify := Scopes{Implies: map[string][]string{"write_*": {"read_*"}}}
	github := Scopes{Implies: map[string][]string{
		"repo": {"repo:status", "public_repo"}, "user": {"read:user", "user:email"}, "admin:org": {"write:org"},
		"write:org": {"read:org"},
	}}
	for name, c := range map[string]struct {
		scopes             Scopes
		required, granted  []string
		allowed            []string
		missing, surplus   []string
		refusedWhenAskedOf string
	}{
		"Google answers email as a URL": {
			scopes: google, required: []string{"email", "drive.readonly"},
			granted: []string{"https://www.googleapis.com/auth/userinfo.email", "drive.readonly"},
			allowed: []string{"drive.readonly"},
		},
		"Google's person unticked one": {
			scopes: google, required: []string{"drive.readonly", "calendar"}, granted: []string{"calendar", "openid"},
			allowed: []string{"*"}, missing: []string{"drive.readonly"},
		},
		"Microsoft never names offline_access": {
			scopes: microsoft, required: []string{"offline_access", "Mail.Read"}, granted: []string{"Mail.Read", "openid"},
			allowed: []string{"Mail.Read"},
		},
		"Shopify leaves out what writing includes": {
			scopes: shopify, required: []string{"read_products", "write_products"}, granted: []string{"write_products"},
			allowed: []string{"write_products"},
		},
		"Shopify grants reading only": {
			scopes: shopify, required: []string{"write_products"}, granted: []string{"read_products"},
			allowed: []string{"write_products"}, missing: []string{"write_products"},
		},
		"Shopify's writing of something else": {
			scopes: shopify, required: []string{"read_orders"}, granted: []string{"write_products"},
			allowed: []string{"read_orders"}, missing: []string{"read_orders"}, surplus: []string{"write_products"},
			refusedWhenAskedOf: "write_products",
		},
		"GitHub's groups": {
			scopes: github, required: []string{"public_repo", "read:org", "user:email"},
			granted: []string{"repo", "admin:org", "user"}, allowed: []string{"repo", "user", "write:org"},
			surplus: []string{"admin:org"}, refusedWhenAskedOf: "admin:org",
		},
		"what is granted in part is no group": {
			scopes: github, required: []string{"repo"}, granted: []string{"public_repo"}, allowed: []string{"repo"},
			missing: []string{"repo"},
		},
		"Slack has no groups": {
			scopes: Scopes{Join: ","}, required: []string{"chat:write", "users:read"},
			granted: []string{"chat:write", "users:read.email"}, allowed: []string{"chat:write", "users:read"},
			missing: []string{"users:read"}, surplus: []string{"users:read.email"}, refusedWhenAskedOf: "users:read.email",
		},
	} {
		t.Run(name, func(t *testing.T) {
			app := &App{Definition: &Definition{ID: "x", Name: "X", Scopes: c.scopes}}
			assert.Equal(t, c.missing, app.MissingScopes(c.required, c.granted))
			assert.Equal(t, c.surplus, app.SurplusScopes(c.granted, c.allowed))
			if c.allowed[0] != "*" {
				assert.NoError(t, app.CheckScopes(c.allowed, c.allowed))
			}
			if c.refusedWhenAskedOf != "" {
				assert.ErrorContains(t, app.CheckScopes([]string{c.refusedWhenAskedOf}, c.allowed), c.refusedWhenAskedOf)
			}
			for _, included := range app.Definition.Scopes.beyond(c.required, c.missing) {
				if c.surplus == nil && c.allowed[0] != "*" {
					assert.NoError(t, app.CheckScopes([]string{included}, append(c.allowed, c.scopes.Silent...)))
				}
			}

			app.ScopesIgnored, app.OptionalScopes = true, []string{"optional"}
			app.Definition.Scopes.OptionalParam = "optional_scope"
			assert.Empty(t, app.RequestOptional(nil, nil))
			assert.Empty(t, app.MissingScopes(c.required, c.granted))
			assert.Empty(t, app.SurplusScopes(c.granted, c.allowed))
			assert.Empty(t, app.RequestScopes(c.required, nil))
			assert.ErrorContains(t, app.CheckScopes(c.required, c.allowed), "scopes_ignored")
		})
	}
}

// A rule that leads back to itself, or grows, ends.
func TestImpliedScopesEnd(t *testing.T) {
	s := Scopes{Implies: map[string][]string{"a": {"b"}, "b": {"a"}, "x*": {"xx*"}}}
	assert.Equal(t, map[string]bool{"a": true, "b": true}, s.all([]string{"a"}))
	assert.NotEmpty(t, s.all([]string{"x"}))
}

func TestImpliesOfADefinition(t *testing.T) {
	for scopes, ok := range map[string]bool{
		"implies: {'write_*': ['read_*']}": true,
		"implies: {repo: [public_repo]}":   true,
		"implies: {'a*': [b]}":             true,
		"implies: {repo: []}":              false,
		"implies: {repo: [repo]}":          false,
		"implies: {repo: ['']}":            false,
		"implies: {repo: ['read_*']}":      false,
		"implies: {'w*e_*': ['read_*']}":   false,
	} {
		t.Run(scopes, func(t *testing.T) {
			_, err := Decode("acme.yaml", []byte(strings.Replace(acme, "client:\n", "scopes: {"+scopes+"}\nclient:\n", 1)))
			assert.Equal(t, ok, err == nil, "%v", err)
		})
	}
}
