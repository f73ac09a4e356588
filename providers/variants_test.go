package providers

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const books = `id: books
name: Books
kinds: [authorization_code, client_credentials]
inputs:
  - name: environment
    set_by: either
    default: production
    variants:
      production: {api_host: books.api.example.com, auth_host: id.books.example.com}
      sandbox: {api_host: sandbox-books.api.example.com, auth_host: id.sandbox.example.org}
api_base: https://{api_host}/v3
endpoints:
  authorize: https://connect.example.net/{environment}/authorize
  token: https://{auth_host}/token
  identity: https://{api_host}/me
identity: {}
connection_config:
  - {name: api_host, from: input, path: [api_host]}
`

const clouds = `id: clouds
name: Clouds
kinds: [authorization_code]
inputs:
  - name: cloud
    set_by: provider
    required: true
    variants:
      global: {login: https://login.example.com, graph: graph.example.com}
      china: {login: https://login.example.cn, graph: graph.example.cn}
endpoints:
  authorize: '{login}/authorize'
  token: '{login}/token'
scopes:
  default: ['https://{graph}/User.Read']
  allowed: ['https://{graph}/User.Read', 'https://{graph}/Mail.Read']
  offline: [offline_access]
  same: {'https://{graph}/User.Read': [User.Read]}
  implies: {'https://{graph}/Mail.Read': ['https://{graph}/Mail.ReadBasic']}
`

func decoded(t *testing.T, text string) *Definition {
	t.Helper()
	d, err := Decode("x.yaml", []byte(strings.Replace(strings.Replace(text, "id: books", "id: x", 1), "id: clouds",
		"id: x", 1)))
	require.NoError(t, err)
	return d
}

func TestVariants(t *testing.T) {
	d := decoded(t, books)
	for _, c := range []struct {
		provider, connection map[string]string
		auth, api            string
	}{
		{nil, nil, "id.books.example.com", "books.api.example.com"},
		{nil, map[string]string{"environment": "sandbox"}, "id.sandbox.example.org", "sandbox-books.api.example.com"},
		{
			map[string]string{"environment": "sandbox"},
			map[string]string{"environment": "production"},
			"id.sandbox.example.org", "sandbox-books.api.example.com",
		},
	} {
		app := &App{Definition: d, ClientID: "id", Inputs: c.provider}
		res, err := NewClient(counted{}, time.Now, "").Resolve(t.Context(), app, KindAuthorizationCode, c.connection)
		require.NoError(t, err)
		assert.Equal(t, "https://"+c.auth+"/token", res.Endpoints[StepToken])
		assert.Equal(t, "https://"+c.api+"/me", res.Endpoints[StepIdentity])
		address, err := AuthCodeURL(app, AuthCodeURLRequest{Resolved: res, State: "s"})
		require.NoError(t, err)
		assert.Contains(t, address, "https://connect.example.net/"+res.Inputs["environment"]+"/authorize?")
		g := &Grant{}
		assert.True(t, g.capture(d.Connection, "input", asDoc(res.Inputs)))
		assert.Equal(t, map[string]string{"api_host": c.api}, g.Config)
	}

	_, err := d.CheckInputs(SetByConnection, KindAuthorizationCode, map[string]string{"environment": "sandbx"})
	require.EqualError(t, err, `input "environment" must be one of: production, sandbox`)
	_, err = d.CheckInputs(SetByConnection, KindAuthorizationCode, map[string]string{"api_host": "evil.example"})
	require.EqualError(t, err, `input "api_host" is not declared by x: allowed here are environment`)
	stale := map[string]string{"environment": "beta"}
	_, err = NewClient(counted{}, time.Now, "").Resolve(t.Context(), &App{Definition: d}, KindAuthorizationCode, stale)
	require.ErrorContains(t, err, `input "environment" as it is stored must be one of: production, sandbox`)
}

// The hosts of variants are the definition's own: settings need not allow them.
func TestHostsOfVariantsAreFixed(t *testing.T) {
	want := []string{
		"books.api.example.com", "connect.example.net", "id.books.example.com", "id.sandbox.example.org",
		"sandbox-books.api.example.com",
	}
	assert.Equal(t, want, decoded(t, books).fixedHosts())
	assert.Equal(t, []string{"login.example.cn", "login.example.com"}, decoded(t, clouds).fixedHosts())

	network := counted{}
	client := NewClient(network, time.Now, "")
	client.Confine(decoded(t, books), func([]string) error { return assert.AnError })
	for _, host := range want {
		target := &url.URL{Scheme: "https", Host: host}
		_, _ = client.do(t.Context(), StepToken, http.MethodPost, target, http.Header{}, nil)
	}
	assert.Len(t, network, len(want))
	target := &url.URL{Scheme: "https", Host: "other.example.com"}
	_, _ = client.do(t.Context(), StepToken, http.MethodPost, target, http.Header{}, nil)
	assert.Len(t, network, len(want))
}

// What an operator chose decides where flows go, and what is asked for; what a connection may choose is open.
func TestVariantsOfTheOperator(t *testing.T) {
	app := &App{Definition: decoded(t, clouds), ClientID: "id", Inputs: map[string]string{"cloud": "china"}}
	assert.Equal(t, [2]string{"https://login.example.cn", "https://login.example.cn"}, app.Origins())
	assert.Equal(t, []string{"https://graph.example.cn/User.Read", "offline_access"}, app.RequestScopes(nil, nil))
	require.NoError(t, app.CheckScopes([]string{"https://graph.example.cn/Mail.Read"},
		[]string{"https://graph.example.cn/Mail.Read"}))
	require.ErrorContains(t, app.CheckScopes([]string{"https://graph.example.com/Mail.Read"}, []string{"*"}),
		"there are https://graph.example.cn/Mail.Read")
	assert.Empty(t, app.MissingScopes([]string{"https://graph.example.cn/User.Read"}, []string{"User.Read"}))
	assert.Empty(t, app.SurplusScopes([]string{"https://graph.example.cn/Mail.ReadBasic"},
		[]string{"https://graph.example.cn/Mail.Read"}))

	open := &App{Definition: decoded(t, books), ClientID: "id"}
	assert.Equal(t, "x https://{auth_host}", open.Origins()[1])
}

// With each variant every address can be built, and none goes where only another variant does.
func TestVariantsOfTheCatalogue(t *testing.T) {
	r, err := Builtin()
	require.NoError(t, err)
	all := map[string]*Definition{"books": decoded(t, books), "clouds": decoded(t, clouds)}
	for _, id := range r.IDs() {
		all[id], _ = r.Get(id)
	}
	for id, d := range all {
		for _, in := range d.Inputs {
			for variant, sets := range in.Variants {
				values := map[string]string{"client_id": "id"}
				for _, other := range d.Inputs {
					other.put(values, other.Default)
					if other.Default == "" {
						other.put(values, other.Example)
					}
				}
				in.put(values, variant)
				maps.Copy(values, toldByConsent(id))
				texts := []string{}
				for step, endpoint := range d.Endpoints {
					u, err := ExpandURL(endpoint, values)
					require.NoError(t, err, "%s, %s, %s", id, variant, step)
					texts = append(texts, u.String())
				}
				app := &App{Definition: d, Inputs: map[string]string{in.Name: variant}}
				app.scopes().each(func(_, scope string) { texts = append(texts, scope) })
				for other, others := range in.Variants {
					for name, value := range others {
						host := hostOf(value)
						if other == variant || host == "" || slices.Contains(slices.Collect(maps.Values(sets)), value) {
							continue
						}
						for _, text := range texts {
							assert.False(t, mentions(text, host), "%s %s: %s of %s in %q", id, variant, name, other, text)
						}
					}
				}
			}
		}
	}
}

func TestMistakesInVariants(t *testing.T) {
	for _, c := range []struct{ text, old, new, want string }{
		{
			books, "default: production", "default: producton",
			`inputs[0].default: "producton" is not known here, did you mean "production"?`,
		},
		{
			books, "    set_by: either\n", "    set_by: either\n    pattern: '.*'\n",
			"inputs[0].pattern: input \"environment\" has variants",
		},
		{
			books, "    set_by: either\n", "    set_by: either\n    strip: .x\n",
			"inputs[0].strip: input \"environment\" has variants",
		},
		{
			books, "sandbox: {api_host", "sandbox: {api_hots",
			`inputs[0].variants.sandbox: it does not set "api_host", and another variant does: each sets all, is ` +
				`"api_hots" a slip of the pen?`,
		},
		{
			books, "https://{auth_host}/token", "https://id.books.example.com/token",
			`endpoints.token: id.books.example.com is the host of the variant "production" alone: write ` +
				`{auth_host} in its place`,
		},
		{books, "https://{auth_host}/token", "https://{api_host}/token", `the value "auth_host" is used nowhere`},
		{
			books, "auth_host: id.sandbox.example.org", "auth_host: id.example.org/x",
			"only letters, digits, dots and hyphens can stand in a host",
		},
		{
			books, "auth_host: id.sandbox.example.org", "auth_host: '{shop}.example.org'",
			"a value of a variant holds no placeholder",
		},
		{
			books, "auth_host: id.sandbox.example.org", "auth_host: ''",
			"inputs[0].variants.sandbox.auth_host: a value is missing",
		},
		{books, "    default: production\n", "", `stands in the host of endpoints.identity and may be missing`},
		{books, "path: [api_host]", "path: [api_hots]", `connection_config[0].path[0]: "api_hots" is no input`},
		{
			clouds, "set_by: provider", "set_by: connection",
			"{graph} stands in a scope, where only an input with set_by: provider can",
		},
		{clouds, "    required: true\n", "", `{graph} stands in a scope, and input "cloud" may be missing`},
		{
			clouds, "default: ['https://{graph}", "default: ['https://{grapf}",
			"placeholder {grapf} is not declared: add an input",
		},
		{
			clouds, "implies: {'https://{graph}/Mail.Read'", "implies: {'https://graph.example.com/Mail.Read'",
			`scopes.implies: graph.example.com is the host of the variant "global" alone`,
		},
		{
			clouds, "login: https://login.example.cn", "login: http://login.example.cn",
			"plain http shows secrets to the network",
		},
		{
			clouds, "login: https://login.example.cn", "login: login.example.cn",
			"write a whole URL that begins with https://",
		},
	} {
		text := strings.Replace(c.text, c.old, c.new, 1)
		require.NotEqual(t, c.text, text, c.old)
		_, err := Decode(c.text[len("id: "):strings.Index(c.text, "\n")]+".yaml", []byte(text))
		require.ErrorContains(t, err, c.want)
	}
}
