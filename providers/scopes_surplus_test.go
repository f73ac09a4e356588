package providers

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSurplusScopes(t *testing.T) {
	definition := &Definition{Scopes: Scopes{
		Default: []string{"read"}, Identity: []string{"openid", "email"}, Offline: []string{"offline_access"},
		Same: map[string][]string{"email": {"https://id.example.com/auth/email"}},
	}}
	for name, c := range map[string]struct {
		scopes, allowed, granted, surplus []string
	}{
		"what was asked for":       {nil, nil, []string{"read"}, nil},
		"less":                     {nil, nil, nil, nil},
		"what the engine asks for": {nil, nil, []string{"openid", "email", "offline_access"}, nil},
		"another spelling":         {nil, nil, []string{"https://id.example.com/auth/email", "read"}, nil},
		"the spelling of no scope": {
			nil, nil, []string{"https://id.example.com/auth/profile"}, []string{"https://id.example.com/auth/profile"},
		},
		"more":                           {nil, nil, []string{"read", "admin", "write"}, []string{"admin", "write"}},
		"the app's scopes":               {[]string{"write"}, nil, []string{"read", "write"}, []string{"read"}},
		"allowed_scopes":                 {[]string{"write"}, []string{"write", "read"}, []string{"read", "write"}, nil},
		"allowed_scopes in its spelling": {nil, []string{"https://id.example.com/auth/email"}, []string{"email"}, nil},
		"any":                            {nil, []string{"*"}, []string{"admin"}, nil},
		"a prefix is no spelling":        {nil, nil, []string{"read:all", "rea"}, []string{"read:all", "rea"}},
	} {
		t.Run(name, func(t *testing.T) {
			app := &App{Definition: definition, Scopes: c.scopes}
			assert.Equal(t, c.surplus, app.SurplusScopes(c.granted, c.allowed))
		})
	}
}

func TestSurplusWordsOfADefinition(t *testing.T) {
	for scopes, want := range map[string]string{
		"surplus: drop":                      `scopes.surplus: "drop" is not known here`,
		"surplus: refuse, accumulates: true": "refuse does not go with accumulates",
		"same: {email: []}":                  `scopes.same: "email"`,
		"same: {email: [email]}":             `scopes.same: "email"`,
		"same: {email: ['']}":                `scopes.same: "email"`,
		"surplus: refuse, same: {a: [b]}":    "",
		"surplus: warn, accumulates: true":   "",
	} {
		t.Run(scopes, func(t *testing.T) {
			text := strings.Replace(acme, "client:\n", "scopes: {"+scopes+"}\nclient:\n", 1)
			if _, err := Decode("acme.yaml", []byte(text)); want == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, want)
			}
		})
	}
}

func TestTokenScheme(t *testing.T) {
	plain, own := &Definition{}, &Definition{Send: &Send{Headers: map[string]Template{
		"Authorization": "Zoho-oauthtoken {access_token}",
	}}}
	for word, want := range map[string]string{
		"": "Bearer", "bearer": "Bearer", "Bearer": "Bearer", "user": "Bearer", "bot": "Bearer",
		"User Access Token": "Bearer", "jwt-bearer": "Bearer", "DPoP": "DPoP", "dpop": "DPoP",
	} {
		assert.Equal(t, want, plain.TokenScheme(word), word)
		assert.Equal(t, "Zoho-oauthtoken", own.TokenScheme(word), word)
	}
}
