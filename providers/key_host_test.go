package providers

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const gitText = `id: git
name: Git
kinds: [authorization_code, api_key]
inputs:
  - name: host
    set_by: provider
    by_kind: {api_key: {set_by: connection}}
    default: git.example.com
    pattern: '[a-z.]+'
  - {name: region, set_by: either, default: eu, pattern: 'eu|us'}
api_base: https://{host}/api/{region}
endpoints:
  authorize: https://{host}/authorize
  token: https://{host}/token
  identity: https://{host}/me
  health: https://{host}/health
identity: {}
health: {}
key:
  fields:
    - {name: api_key, required: true, secret: true}
  send: {headers: {X-Key: '{api_key}'}}
`

func TestHostOfAKey(t *testing.T) {
	d, err := Decode("git.yaml", []byte(gitText))
	require.NoError(t, err)
	own := map[string]string{"host": "my.git", "region": "us"}

	checked, err := d.CheckInputs(SetByConnection, KindAPIKey, own)
	require.NoError(t, err)
	assert.Equal(t, own, checked)
	_, err = d.CheckInputs(SetByConnection, KindAuthorizationCode, own)
	require.EqualError(t, err, `input "host" is set on the provider: allowed here are region`)
	_, err = d.CheckInputs(SetByConnection, "", own)
	require.EqualError(t, err, `input "host" is set on the provider: allowed here are region`, "no kind is guessed")
	_, err = d.CheckInputs(SetByProvider, "", own)
	require.NoError(t, err)

	assert.Equal(t, own, d.InputsOf(KindAPIKey, own))
	assert.Equal(t, map[string]string{"region": "us"}, d.InputsOf(KindAuthorizationCode, own))
	assert.Len(t, own, 2, "what is stored is not touched")
	assert.True(t, d.NamesHost(KindAPIKey, own))
	assert.False(t, d.NamesHost(KindAPIKey, map[string]string{"region": "us"}))
	assert.False(t, d.NamesHost(KindAuthorizationCode, own))

	client := NewClient(counted{}, time.Now, "")
	for name, c := range map[string]struct {
		kind                 Kind
		provider, connection map[string]string
		host, err            string
	}{
		"the key's":        {KindAPIKey, nil, own, "my.git", ""},
		"the default":      {KindAPIKey, nil, nil, "git.example.com", ""},
		"the provider's":   {KindAPIKey, map[string]string{"host": "our.git"}, nil, "our.git", ""},
		"the same of both": {KindAPIKey, map[string]string{"host": "my.git"}, own, "my.git", ""},
		"another than all go to": {
			KindAPIKey,
			map[string]string{"host": "our.git"},
			own,
			"",
			`"host" is set on the provider`,
		},
		"a key's for a grant":     {KindAuthorizationCode, nil, own, "", `"host" of the connection is set on the provider`},
		"beside the provider's":   {KindAuthorizationCode, map[string]string{"host": "our.git"}, own, "our.git", ""},
		"what nobody knows of is": {"", nil, own, "", `"host" of the connection is set on the provider`},
	} {
		t.Run(name, func(t *testing.T) {
			app := &App{Definition: d, ClientID: "id", Inputs: c.provider}
			res, err := client.Resolve(t.Context(), app, c.kind, c.connection)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				merged, err := d.MergeInputs(c.kind, c.provider, c.connection)
				assert.True(t, err != nil || merged["host"] == "", "nothing stands in its place")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, "https://"+c.host+"/me", res.Endpoints[StepIdentity])
		})
	}
	d.Inputs[0].Default, d.Inputs[0].Required = "", true
	_, err = d.MergeInputs(KindAPIKey, nil, nil)
	require.EqualError(t, err, `input "host" is missing: set it on the provider or the connection`)
	_, err = d.MergeInputs(KindAuthorizationCode, nil, nil)
	require.EqualError(t, err, `input "host" is missing: set it on the provider`)
}

// All that a key may go to by what its connection names is held against the hosts that may be called; what the
// definition or the operator names, is when it is called.
func TestCheckKeyHost(t *testing.T) {
	for name, c := range map[string]struct {
		old, new string
		app      App
		refused  bool
	}{
		"all":           {"", "", App{}, true},
		"the API alone": {"https://{host}/me", "https://git.example.com/me", App{}, true},
		"the check": {
			"api_base: https://{host}/api/{region}",
			"api_base: https://git.example.com/{region}",
			App{},
			true,
		},
		"the operator's": {"", "", App{Endpoints: map[Step]string{StepIdentity: "https://o.example/me"}}, true},
		"none": {"", "", App{Endpoints: map[Step]string{
			StepIdentity: "https://o.example/me", StepHealth: "https://o.example/h",
		}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(gitText, c.old, c.new, 1)
			if name == "the API alone" {
				text = strings.Replace(text, "https://{host}/health", "https://git.example.com/health", 1)
			}
			if name == "none" {
				text = strings.Replace(text, "api_base: https://{host}", "api_base: https://api.example.com", 1)
			}
			d, err := Decode("git.yaml", []byte(text))
			require.NoError(t, err)
			client := NewClient(counted{}, time.Now, "")
			var asked []string
			client.Confine(d, func(hosts []string) error {
				asked = append(asked, hosts...)
				return errors.New("endpoint_hosts has none of that")
			})
			c.app.Definition = d
			merged, err := d.MergeInputs(KindAPIKey, nil, map[string]string{"host": "my.git"})
			require.NoError(t, err)
			err = client.CheckKeyHost(&c.app, KindAPIKey, merged)
			if !c.refused {
				require.NoError(t, err)
				assert.Empty(t, asked)
				return
			}
			var failure *Error
			require.ErrorAs(t, err, &failure)
			assert.True(t, failure.NotSent())
			assert.Equal(t, []string{"my.git"}, asked)
			require.NoError(t, client.CheckKeyHost(&c.app, KindAuthorizationCode, merged), "it is looked at when it is called")
		})
	}
}

func TestMistakesInHostsOfKeys(t *testing.T) {
	const at = "inputs[0].by_kind"
	for _, c := range []struct{ old, new, want string }{
		{"{api_key: {set_by: connection}}", "{basic: {set_by: connection}}", at + `.basic: kind "basic" is not among kinds`},
		{
			"{api_key: {set_by: connection}}", "{authorization_code: {set_by: connection}}",
			at + `.authorization_code: what kind "authorization_code" obtains is given to the operator's app`,
		},
		{"{api_key: {set_by: connection}}", "{api_key: {}}", at + ".api_key: set_by is missing, write connection"},
		{"{api_key: {set_by: connection}}", "{api_key: {set_by: ''}}", at + ".api_key: set_by is missing, write connection"},
		{"{api_key: {set_by: connection}}", "{api_key: {set_by: either}}", at + `.api_key.set_by: "either" is not known`},
		{"{api_key: {set_by: connection}}", "{api_key: connection}", at + ".api_key"},
		{
			"{name: region, set_by: either,", "{name: region, set_by: either, by_kind: {api_key: {set_by: connection}},",
			`inputs[1].by_kind.api_key: whoever connects may set input "region" anyway`,
		},
		{
			"  send: {headers: {", "    - {name: app_key, set_by: provider, secret: true}\n  send: {headers: {X-App: '{app_key}', ",
			`key.fields[1].set_by: key field "app_key" is the operator's, and would go where a connection says`,
		},
		{"identity: {}", "identity: {auth: client}", "identity: the call brings the client secret"},
		{"health: {}", "health: {auth: client_basic}", "health: the call brings the client secret"},
		{"health: {}", "health: {auth: bearer_client_secret}", "health: the call brings the client secret"},
		{"health: {}", "health: {headers: {X-App: '{client_secret}'}}", "health: the call brings the client secret"},
		{"identity: {}", "identity: {params: {app: '{client_secret}'}}", "identity: the call brings the client secret"},
		{
			"identity: {}", "identity: {method: POST, body: raw, raw_body: 'a={client_secret}'}",
			"identity: the call brings the client secret",
		},
		{
			"identity: {}", "identity: {}\ndiscovery: {issuer: 'https://{host}'}",
			`discovery.issuer: a connection may set input "host" for its key`,
		},
	} {
		changed := strings.Replace(gitText, c.old, c.new, 1)
		require.NotEqual(t, gitText, changed, c.old)
		_, err := Decode("git.yaml", []byte(changed))
		require.ErrorContains(t, err, c.want)
	}
	_, err := Decode("git.yaml", []byte(strings.NewReplacer("    default: git.example.com\n    pattern: '[a-z.]+'\n",
		"    default: one\n    variants: {one: {site: git.example.com}}\n", "{host}", "{site}",
		"identity: {}", "identity: {}\ndiscovery: {issuer: 'https://{site}'}").Replace(gitText)))
	require.ErrorContains(t, err, `discovery.issuer: a connection may set input "host" for its key`)
	_, err = Decode("git.yaml", []byte(strings.Replace(gitText, "health: {}",
		"health: {kinds: [authorization_code], auth: client}", 1)))
	require.NoError(t, err, "no key goes with that")
	_, err = Decode("git.yaml", []byte(strings.Replace(gitText, "    by_kind: {api_key: {set_by: connection}}\n", "", 1)))
	require.NoError(t, err)
}
