package providers

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPresent(t *testing.T) {
	token := &Grant{AccessToken: NewSecret("tok"), Config: map[string]string{"site": "eu7"}}
	key := &Grant{SecretConfig: map[string]Secret{"api_key": NewSecret("k1"), "dc": NewSecret("us6")}}
	for name, c := range map[string]struct {
		def  Definition
		keys map[string]Secret
		g    *Grant
		want *Presentation
		says string
	}{
		"a token, where the definition says nothing": {
			g: token, want: &Presentation{Headers: map[string]string{"Authorization": "Bearer tok"}},
		},
		"a token, with a header that may lack": {
			def: Definition{Send: &Send{
				Headers: map[string]Template{"Authorization": "token {access_token}"}, Optional: map[string]Template{
					"X-Site": "{site}", "X-Shop": "{shop}",
				},
			}},
			g: token, want: &Presentation{Headers: map[string]string{"Authorization": "token tok", "X-Site": "eu7"}},
		},
		"a key in a header of its own name": {
			def: Definition{Send: &Send{Headers: map[string]Template{"{header}": "{api_key}"}}}, g: key,
			want: &Presentation{Headers: map[string]string{"X-Key": "k1"}},
		},
		"a key as user, in the query and in the path": {
			def: Definition{Key: &Key{Send: &Send{
				User: "{api_key}", Password: "x", Query: map[string]Template{"k": "{api_key}"}, Path: "/bot{api_key}",
			}}},
			g: key, want: &Presentation{
				Headers: map[string]string{"Authorization": "Basic azE6eA=="}, Query: map[string]string{"k": "k1"}, Path: "/botk1",
			},
		},
		"a key in a parameter of its own name": {
			def: Definition{Send: &Send{Query: map[string]Template{"{header}": "{api_key}"}}}, g: key,
			want: &Presentation{Headers: map[string]string{}, Query: map[string]string{"X-Key": "k1"}},
		},
		"a parameter without a name": {
			def: Definition{Send: &Send{Query: map[string]Template{"{shop}": "{api_key}"}}}, g: key, says: "is missing",
		},
		"a part that is missing": {
			def: Definition{Send: &Send{Headers: map[string]Template{"X": "{shop}"}}}, g: token, says: "is missing",
		},
		"the operator's own key": {
			def: Definition{
				Send: &Send{Headers: map[string]Template{"D": "{developer_token}", "Authorization": "Bearer {access_token}"}},
				Key:  &Key{Fields: []KeyField{{Name: "developer_token", SetBy: SetByProvider, Secret: true}}},
			},
			keys: map[string]Secret{"developer_token": NewSecret("the operator's")}, g: token,
			says: "need developer_token, which the operator alone holds",
		},
		"the operator's own key, that applications send": {
			def: Definition{
				Send: &Send{
					Headers:  map[string]Template{"D": "{developer_token}", "Authorization": "Bearer {access_token}"},
					Optional: map[string]Template{"M": "{manager}", "R": "{region}"},
				},
				Key: &Key{Fields: []KeyField{
					{Name: "developer_token", SetBy: SetByProvider, Secret: true, HandedOut: true},
					{Name: "manager", SetBy: SetByProvider},
					{Name: "region", SetBy: SetByProvider, Default: "eu"},
				}},
			},
			keys: map[string]Secret{"developer_token": NewSecret("dev")}, g: token,
			want: &Presentation{Headers: map[string]string{"D": "dev", "Authorization": "Bearer tok", "R": "eu"}},
		},
		"over what a key is left out of": {
			def: Definition{Key: &Key{
				Send: &Send{Headers: map[string]Template{"K": "{api_key}", "R": "{region}"}},
				Fields: []KeyField{
					{Name: "api_key", Secret: true}, {Name: "region", SetBy: SetByProvider, Default: "eu"},
				},
			}},
			keys: map[string]Secret{"region": NewSecret("us")}, g: key,
			want: &Presentation{Headers: map[string]string{"K": "k1", "R": "us"}},
		},
		"the operator's own key, that nobody wrote": {
			def: Definition{
				Send: &Send{Headers: map[string]Template{"D": "{developer_token}", "Authorization": "Bearer {access_token}"}},
				Key:  &Key{Fields: []KeyField{{Name: "developer_token", SetBy: SetByProvider, Secret: true, HandedOut: true}}},
			},
			g: token, says: "need developer_token: an operator writes it to the provider",
		},
		"the client secret": {
			def: Definition{Send: &Send{Headers: map[string]Template{"X": "{client_secret}"}}}, g: token,
			says: "which the operator alone holds",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.def.Name = "Acme"
			app := &App{Definition: &c.def, Keys: c.keys, ClientSecret: NewSecret("client secret")}
			if c.g == key { // as creds gives it
				g := *key
				g.SecretConfig = maps.Clone(key.SecretConfig)
				for name, value := range c.def.DeriveKey(map[string]string{"api_key": "k1"}) {
					g.SecretConfig[name] = NewSecret(value)
				}
				c.g = &g
			}
			got, err := app.Present(map[string]string{"header": "X-Key"}, c.g)
			if c.says != "" {
				require.ErrorContains(t, err, c.says)
				assert.NotContains(t, err.Error(), "the operator's")
				return
			}
			require.NoError(t, err)
			if c.want.Query == nil {
				c.want.Query = map[string]string{}
			}
			assert.Equal(t, c.want, got)
		})
	}
}

func TestAPIBase(t *testing.T) {
	for template, want := range map[Template]string{
		"":                               "",
		"https://api.example.com/v1":     "https://api.example.com/v1",
		"https://{shop}.example.com":     "https://one.example.com",
		"{instance_url}/api":             "https://eu7.example.com/api",
		"https://{dc}.api.example.com":   "https://us6.api.example.com",
		"https://{nobody}.example.com":   "",
		"https://{shop}.example.com/{x}": "",
	} {
		app := &App{Definition: &Definition{APIBase: template}}
		got := app.APIBase(map[string]string{"shop": "one"}, &Grant{
			Config:       map[string]string{"instance_url": "https://eu7.example.com", "shop": "another"},
			SecretConfig: map[string]Secret{"dc": NewSecret("us6")},
		})
		assert.Equal(t, want, got, string(template))
	}
	assert.Equal(t, "https://us6.api.example.com",
		(&App{Definition: &Definition{APIBase: "https://{dc}.api.example.com"}}).
			APIBase(nil, &Grant{SecretConfig: map[string]Secret{"dc": NewSecret("us6")}}))
}
