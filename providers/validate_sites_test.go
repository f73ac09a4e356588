package providers

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const reaching = `id: x
name: X
kinds: [authorization_code]
inputs:
  - {name: site, set_by: connection, pattern: '[a-z]+'}
  - {name: area, set_by: connection, pattern: '[a-z]+'}
endpoints:
  authorize: https://x.example.com/authorize
  token: https://x.example.com/token
  resources: https://x.example.com/sites
  identity: https://x.example.com/me
  health: https://x.example.com/{site}/{plan}/me
api_base: https://x.example.com/{site}
resources: {auth: bearer, id: id, name: name, where: {area: '{area}'}, pick: site}
identity: {auth: bearer}
health: {}
send: {headers: {Authorization: 'Bearer {access_token}', X-Site: '{site}'}}
account: {id: [sub]}
connection_config:
  - {name: plan, from: resources, path: [plan]}
`

func TestMistakesInResources(t *testing.T) {
	_, err := Decode("x.yaml", []byte(reaching))
	require.NoError(t, err)
	for name, test := range map[string]struct{ old, new, want string }{
		"no id":              {"id: id, ", "", "resources: id is missing: what tells one from the others"},
		"nothing to pick by": {", pick: site", "", "resources: pick is missing: the connection's input"},
		"misspelled":         {"pick: site", "pick: sites", `resources.pick: "sites" is no input, did you mean "site"?`},
		"the operator's":     {"{name: site, set_by: connection", "{name: site, set_by: provider", "say set_by: connection"},
		"required before":    {"{name: site, ", "{name: site, required: true, ", "without required and default"},
		"with a default":     {"{name: site, ", "{name: site, default: a, ", "without required and default"},
		"picked by nothing": {
			"'[a-z]+'}\n  - {name: area", "'[a-z]*'}\n  - {name: area", "the pattern of input \"site\" takes an empty text",
		},
		"identity needs it": {
			"identity: https://x.example.com/me", "identity: https://x.example.com/{site}/me",
			"endpoints.identity: {site} has no value before one of resources is picked",
		},
		"so does the token": {
			"token: https://x.example.com/token", "token: https://x.example.com/{site}/token",
			"endpoints.token: {site} has no value before one of resources is picked",
		},
		"or what is captured of it": {
			"where: {area: '{area}'}", "where: {area: '{plan}'}", "resources.where.area: {plan} has no value before",
		},
		"sent by identity": {
			"identity: {auth: bearer}", "identity: {}",
			"identity.auth: send names what is picked, and this is called before: say auth: bearer",
		},
		"sent by resources": {"resources: {auth: bearer, ", "resources: {", "resources.auth: send names what is picked"},
		"account of a site": {"account: {id: [sub]}", "account: {id: ['health:id']}", "account.id[0]: whose account it is"},
		"a secret of each": {
			"{name: plan, from", "{name: plan, secret: true, from", "connection_config[0].secret: what is told of each",
		},
		"captured from health": {"from: resources", "from: health", "connection_config[0]: health is asked of the one"},
		"captured by hand": {
			"{name: plan, from: resources, path: [plan]}", "{name: plan, from: input, path: [site]}",
			"connection_config[0]: what is picked stands in connection_config by itself",
		},
		"told elsewhere, too": {
			"from: resources, path: [plan]",
			"any_of: [{from: identity, path: [plan]}, {from: resources, path: [plan]}]",
			"connection_config[0].any_of: what is told of each",
		},
		"with variants": {
			"connection, pattern: '[a-z]+'}\n  - {name: area", "connection, variants: {a: {h: b}}}\n  - {name: area",
			`resources.pick: input "site" has variants`,
		},
		"taking the first": {", pick: site}", ", pick: site, else: first}", "resources.else: unknown key"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, 1, strings.Count(reaching, test.old), "the text to break must stand in the file once")
			_, err := Decode("x.yaml", []byte(strings.Replace(reaching, test.old, test.new, 1)))
			require.Error(t, err)
			assert.Contains(t, err.Error(), test.want)
		})
	}
}
