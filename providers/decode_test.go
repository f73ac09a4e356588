package providers

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// acme is valid; the tests below break it one line at a time.
const acme = `id: acme
name: Acme
kinds: [authorization_code, api_key]
inputs:
  - name: shop
    set_by: connection
    pattern: '[a-z0-9-]+'
    example: my-shop
    required: true
endpoints:
  authorize: https://{shop}.acme.example.com/authorize
  token: https://acme.example.com/token
  identity: https://acme.example.com/me
client:
  auth: [post]
refresh:
  idle: 90d
identity:
  method: GET
account:
  id: [id]
connection_config:
  - {name: site, from: token, path: ['site[0].id']}
key:
  fields:
    - name: api_key
      required: true
      secret: true
  send:
    headers: {X-Key: '{api_key}'}
failures:
  - step: [refresh]
    path: error
    is: [gone]
    class: rejected
`

func TestDecodeReadsEverything(t *testing.T) {
	d, err := Decode("some/where/acme.yaml", []byte(acme))
	require.NoError(t, err)
	assert.Equal(t, []Kind{KindAuthorizationCode, KindAPIKey}, d.Kinds)
	assert.Equal(t, Template("https://acme.example.com/token"), d.Endpoints[StepToken])
	assert.Equal(t, "GET", d.Identity.Method)
	assert.Equal(t, []string{"site[0].id"}, d.Connection[0].Path)
	assert.Equal(t, Template("{api_key}"), d.Key.Send.Headers["X-Key"])
	assert.Equal(t, 90*24, int(d.Refresh.Idle.D.Hours()))
	assert.NoError(t, d.Validate())
}

func TestDecodeSaysWhereAFileIsWrong(t *testing.T) {
	for name, test := range map[string]struct{ old, new, want string }{
		"unknown key": {"name: Acme", "nmae: Acme", `acme.yaml:2: nmae: unknown key, did you mean "name"?`},
		"unknown key deep down": {
			"method: GET", "methd: GET", `acme.yaml:19: identity.methd: unknown key, did you mean "method"?`,
		},
		"key twice": {
			"name: Acme", "name: Acme\nname: Acme", `acme.yaml:3: mapping key "name" already defined at [2:1]`,
		},
		"a list for a text": {"name: Acme", "name: [Acme]", "acme.yaml:2: name: text belongs here, not a list"},
		"a text for a list": {
			"auth: [post]", "auth: post", "acme.yaml:15: client.auth: a list belongs here, not text: write [post]",
		},
		"a text for a map": {
			"client:\n  auth: [post]", "client: post", "acme.yaml:14: client: a map belongs here, not text",
		},
		"broken YAML":            {"kinds: [authorization_code, api_key]", "kinds: [authorization_code", "acme.yaml:4: "},
		"second document":        {"failures:", "---\nfailures:", "acme.yaml:31: a second document"},
		"second, empty document": {"class: rejected\n", "class: rejected\n---\n", "acme.yaml:36: a second document"},
		"anchor":                 {"name: Acme", "name: &a Acme", "acme.yaml:2: anchors, aliases, merges and tags"},
		"alias":                  {"kinds: [", "category: *a\nkinds: [", "acme.yaml:3: anchors, aliases, merges and tags"},
		"merge": {
			"client:\n", "client:\n  <<: {body: json}\n", "acme.yaml:15: anchors, aliases, merges and tags",
		},
		"tag":       {"name: Acme", "name: !!str Acme", "acme.yaml:2: anchors, aliases, merges and tags"},
		"not a map": {acme, "- id: acme", "acme.yaml:1: a definition is a map"},
		"empty":     {acme, "", "acme.yaml:1: a definition is a map"},
		"extends": {
			"name: Acme", "name: Acme\nextends: slack", `acme.yaml:3: cannot extend "slack": extends needs a registry`,
		},

		"id is not the file's": {"id: acme", "id: acne", `acme.yaml:1: id: id "acne" is not the file's name`},
		"id against the rule":  {"id: acme", "id: Acme", `acme.yaml:1: id: id "Acme": write 1 to 64`},
		"id with two dots":     {"id: acme", "id: a..b", `acme.yaml:1: id: id "a..b": write 1 to 64`},
		"no name":              {"name: Acme\n", "", "acme.yaml:1: name: name is missing"},
		"source is no link": {
			"name: Acme", "name: Acme\nsources: [http://acme.example.com]", "acme.yaml:3: sources[0]: ",
		},
		"unknown kind": {"api_key]", "psychic]", `acme.yaml:3: kinds[1]: "psychic" is not known here, write one of: authorization_code, client_credentials, api_key`},
		"kind twice":   {"api_key]", "api_key, api_key]", `acme.yaml:3: kinds[2]: kind "api_key" is named twice`},
		"kind without endpoint": {
			"  token: https://acme.example.com/token\n", "",
			"acme.yaml:3: kinds[0]: kind authorization_code needs endpoints.token",
		},
		"kind that the engine lacks": {
			"api_key]", "quantum, api_key]", `acme.yaml:3: kinds[1]: "quantum" is not known here`,
		},
		"kind without section": {
			"api_key]", "key_pair, api_key]",
			`acme.yaml:3: kinds[1]: kind "key_pair" needs the section key, with a field that is handed_out`,
		},
		"basic without user": {
			"api_key]", "basic]", `acme.yaml:3: kinds[1]: kind "basic" needs the section send, with basic_user`,
		},
		"section without kind": {
			"[authorization_code, api_key]", "[authorization_code]", "acme.yaml:24: key: no kind uses a key",
		},
		"endpoint without kind": {
			"[authorization_code, api_key]", "[api_key]", "acme.yaml:11: endpoints.authorize: no kind opens it",
		},
		"section has no endpoint": {
			"  identity: https://acme.example.com/me\n", "",
			"acme.yaml:17: identity: the section identity needs endpoints.identity",
		},

		"input without set_by": {
			"    set_by: connection\n", "", `acme.yaml:5: inputs[0]: input "shop": set_by is missing`,
		},
		"input set by nobody": {
			"set_by: connection", "set_by: anybody", `acme.yaml:6: inputs[0].set_by: "anybody" is not known here`,
		},
		"input that requires none": {
			"    set_by: connection\n", "    set_by: connection\n    requires: [site]\n",
			`acme.yaml:7: inputs[0].requires[0]: "site" is no other input`,
		},
		"input that requires itself": {
			"    set_by: connection\n", "    set_by: connection\n    requires: [shop]\n",
			`acme.yaml:7: inputs[0].requires[0]: "shop" is no other input`,
		},
		"input without pattern": {
			"    pattern: '[a-z0-9-]+'\n", "", `acme.yaml:5: inputs[0]: input "shop": pattern is missing`,
		},
		"pattern does not compile": {
			"'[a-z0-9-]+'", "'[a-z0-9-+'", "acme.yaml:7: inputs[0].pattern: pattern does not compile",
		},
		"example does not match": {
			"example: my-shop", "example: My Shop", `acme.yaml:8: inputs[0].example: example of input "shop" does not match`,
		},
		"default does not match": {
			"example: my-shop", "default: '*'", `acme.yaml:8: inputs[0].default: default of input "shop" does not match`,
		},
		"required with default": {
			"example: my-shop", "default: x", `acme.yaml:9: inputs[0].required: input "shop" has a default`,
		},
		"input named badly": {
			"name: shop", "name: Shop", `acme.yaml:5: inputs[0].name: name "Shop": write lower-case`,
		},
		"input with a taken name": {
			"name: shop", "name: client_id", `acme.yaml:5: inputs[0].name: name "client_id" is taken by a reserved word`,
		},

		"key without fields": {
			"  fields:\n    - name: api_key\n      required: true\n      secret: true\n", "",
			"acme.yaml:24: key: a key without fields",
		},
		"key named like a creds": {
			"- name: api_key", "- name: rotation_period",
			`acme.yaml:26: key.fields[0].name: name "rotation_period" has a meaning`,
		},
		"key that ends in _raw": {
			"- name: api_key", "- name: api_raw", `acme.yaml:26: key.fields[0].name: name "api_raw" has a meaning`,
		},
		"key named like a field": {
			"- name: api_key", "- name: label", `acme.yaml:26: key.fields[0].name: name "label" is a field of every connection`,
		},
		"key named like an input": {
			"- name: api_key", "- name: shop", `acme.yaml:26: key.fields[0].name: name "shop" is taken by an input`,
		},
		"secret default": {
			"secret: true", "secret: true\n      default: x",
			`acme.yaml:29: key.fields[0].default: key field "api_key" is secret`,
		},
		"shape without pattern": {
			"secret: true", "shape: sure", `acme.yaml:28: key.fields[0].shape: key field "api_key": shape says`,
		},
		"shape is a guess": {
			"secret: true", "pattern: x\n      shape: maybe", `acme.yaml:29: key.fields[0].shape: "maybe" is not known here`,
		},
		"derive without group": {
			"secret: true", "derive: {account: 'A.*'}",
			"acme.yaml:28: key.fields[0].derive.account: the pattern needs exactly one group",
		},
		"derived name is taken": {
			"secret: true", "derive: {ttl: '(A).*'}", `acme.yaml:28: key.fields[0].derive.ttl: name "ttl" has a meaning`,
		},
		"capture from nowhere": {
			"from: token", "from: thin_air", `acme.yaml:23: connection_config[0].from: "thin_air" is not known here`,
		},
		"capture from the wild": {
			"from: token", "from: callback",
			`acme.yaml:23: connection_config[0]: entry "site": a value from the callback needs a pattern`,
		},
		"path that is none": {
			"site[0].id", "site[*].id", `acme.yaml:23: connection_config[0].path[0]: path "site[*].id"`,
		},
		"account path":           {"id: [id]", "id: ['a..b']", `acme.yaml:21: account.id[0]: path "a..b"`},
		"account from elsewhere": {"id: [id]", "id: ['moon:id']", `acme.yaml:21: account.id[0]: "moon" is not known here`},

		"client auth": {
			"auth: [post]", "auth: [post, probe]",
			`acme.yaml:15: client.auth[1]: "probe" is not known here, write one of: basic`,
		},
		"discovery missing": {
			"auth: [post]", "auth: [from_discovery]",
			"acme.yaml:15: client.auth[0]: from_discovery needs the section discovery",
		},
		"duration":           {"idle: 90d", "idle: 3 months", `acme.yaml:17: refresh.idle: duration "3 months"`},
		"duration too long":  {"idle: 90d", "idle: 9999999999d", `acme.yaml:17: refresh.idle: duration "9999999999d"`},
		"duration is a list": {"idle: 90d", "idle: [90d]", "acme.yaml:17: refresh.idle: text belongs here, not a list"},
		"refresh mode": {
			"idle: 90d", "token: sometimes",
			`acme.yaml:17: refresh.token: "sometimes" is not known here`,
		},
		"method":           {"method: GET", "method: get", `acme.yaml:19: identity.method: "get" is not known here`},
		"raw without text": {"method: GET", "body: raw", "acme.yaml:18: identity: body: raw and raw_body go together"},

		"failure without step": {"step: [refresh]", "status: [400]", "acme.yaml:32: failures[0]: step is missing"},
		"failure of nothing": {
			"step: [refresh]", "step: [dance]", `acme.yaml:32: failures[0].step[0]: "dance" is not known here`,
		},
		"failure catches all": {
			"    path: error\n    is: [gone]\n", "", "acme.yaml:32: failures[0]: a rule without status and path",
		},
		"failure without path": {
			"path: error", "status: [400]", "acme.yaml:32: failures[0]: is, not and match look at path",
		},
		"failure of no class": {
			"class: rejected", "class: sad", `acme.yaml:35: failures[0].class: "sad" is not known here`,
		},
		"failure pattern": {"is: [gone]", "match: '('", "acme.yaml:34: failures[0].match: pattern does not compile"},
		"undeclared placeholder": {
			"{X-Key: '{api_key}'}", "{X-Key: '{apikey}'}",
			"acme.yaml:30: key.send.headers.X-Key: placeholder {apikey} is not declared",
		},
		"undeclared in a name": {
			"{X-Key: ", "{'{x}': ", "acme.yaml:30: key.send.headers.{x}: placeholder {x} is not declared",
		},
		"undeclared in a parameter's name": {
			"headers: {X-Key: '{api_key}'}", "query: {'{x}': '{api_key}'}",
			"acme.yaml:30: key.send.query.{x}: placeholder {x} is not declared",
		},
		"plus outside a URL": {
			"'{api_key}'}", "'{+api_key}'}", "acme.yaml:30: key.send.headers.X-Key: {+api_key} keeps slashes",
		},
		"secret in the browser": {
			"com/authorize", "com/authorize?t={client_secret}", "acme.yaml:11: endpoints.authorize: {client_secret} is secret",
		},
		"key in the browser": {
			"com/authorize", "com/authorize?t={api_key}", "acme.yaml:11: endpoints.authorize: {api_key} is secret",
		},
		"unknown step": {
			"  identity: https", "  identify: https://acme.example.com\n  identity: https",
			`acme.yaml:13: endpoints.identify: step "identify" is not known`,
		},
		"plain http": {"token: https", "token: http", "acme.yaml:12: endpoints.token: URL template"},
		"plain http to ourselves": {
			"token: https://acme.example.com", "token: http://localhost", "acme.yaml:12: endpoints.token: URL template",
		},
		"user information": {"token: https://", "token: https://a:b@", "acme.yaml:12: endpoints.token: URL template"},
		"fragment":         {"com/token", "com/token#x", "acme.yaml:12: endpoints.token: URL template"},
		"brace left over":  {"com/token", "com/{Token}", "acme.yaml:12: endpoints.token: URL template"},
		"no URL": {
			"token: https://acme.example.com/token", "token: acme.example.com", "acme.yaml:12: endpoints.token: URL template",
		},
		"host left open": {"'[a-z0-9-]+'", "'.+'", "acme.yaml:11: endpoints.authorize: URL template"},
		"host from a person": {
			"https://{shop}.acme.example.com", "https://{shop}", "acme.yaml:11: endpoints.authorize: URL template",
		},
		"host from an answer": {
			"https://acme.example.com/me", "https://{site}.example.com/me", "acme.yaml:13: endpoints.identity: URL template",
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, 1, strings.Count(acme, test.old), "the text to break must stand in the file once")
			_, err := Decode("acme.yaml", []byte(strings.Replace(acme, test.old, test.new, 1)))
			require.Error(t, err)
			assert.True(t, strings.HasPrefix(err.Error(), test.want) || strings.Contains(err.Error(), "\n"+test.want),
				"want a line that begins with\n%s\ngot\n%v", test.want, err)
		})
	}
}

func TestDecodeReportsAllProblemsInOrder(t *testing.T) {
	broken := strings.NewReplacer("name: Acme", "name: ''", "class: rejected", "class: sad").Replace(acme)
	_, err := Decode("acme.yaml", []byte(broken))
	require.Error(t, err)
	lines := strings.Split(err.Error(), "\n")
	require.Len(t, lines, 2)
	assert.Contains(t, lines[0], "acme.yaml:2: name: ")
	assert.Contains(t, lines[1], "acme.yaml:35: failures[0].class: ")
}

// The parser takes seconds over these, so they must be refused before it sees them.
func TestDecodeRefusesBombsUnparsed(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"size":        {"id: " + strings.Repeat("x", maxFile), "acme.yaml:1: the file has more than 65536 bytes"},
		"brackets":    {"id: acme\nx: " + strings.Repeat("[", 65000), "acme.yaml:2: nested deeper than 64 levels"},
		"braces":      {strings.Repeat("{a: ", 16000), "acme.yaml:1: nested deeper than 64 levels"},
		"dashes":      {strings.Repeat("- ", 32000), "acme.yaml:1: nested deeper than 64 levels"},
		"questions":   {strings.Repeat("? ", 32000), "acme.yaml:1: nested deeper than 64 levels"},
		"indentation": {"a:\n" + strings.Repeat(" ", 65) + "b: c", "acme.yaml:2: nested deeper than 64 levels"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Decode("acme.yaml", []byte(test.text))
			assert.EqualError(t, err, test.want)
		})
	}
}

// FuzzDecode: whatever a file holds, the decoder neither fails without a place nor lets a definition through that
// breaks a rule.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		acme, "", "id: acme", "id: &a [*a]", "a: b: c", "? - - a", "\"", "key: |\n  x\n", "\xff\xfe", "id: acme\n---\nid: b",
		"token: {lifetime: {access: 1h}, by_kind: {api_key: {endpoint: x}}}", "refresh: {call: {params: {a: '{b}'}}}",
		"id: !!binary x", "<<: {}", "endpoints: {token: 'https://{a}'}", "[]", "{}", "%YAML 1.2\n---\nid: a",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Decode("acme.yaml", data)
		if err != nil {
			require.Regexp(t, `^acme\.yaml:[0-9]+: `, err.Error())
			return
		}
		require.NoError(t, d.Validate())
		require.Equal(t, "acme", d.ID)
	})
}
