package providers

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func files(pairs ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		fsys[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return fsys
}

const acmeEU = `id: acme_eu
name: Acme in Europe
extends: acme
inputs:
  - name: shop
    example: ~
    help: its name
  - name: cell
    set_by: provider
    pattern: '[0-9]+'
    default: '1'
endpoints:
  token: https://acme.example.eu/token
  identity: https://{cell}.acme.example.eu/me
client:
  body: json
account:
  id: [user.id]
connection_config:
  - {name: site, path: [place.id]}
key:
  fields:
    - name: api_key
      help: begins with k
failures:
  - step: [token]
    path: error
    is: [lost]
    class: transient
`

func TestRegistry(t *testing.T) {
	r, err := NewRegistry(files("acme.yaml", acme, "acme_eu.yaml", acmeEU, "README.md", "not a definition"))
	require.NoError(t, err)
	assert.Equal(t, []string{"acme", "acme_eu"}, r.IDs())
	_, ok := r.Get("README")
	assert.False(t, ok)

	parent, _ := r.Get("acme")
	extended, ok := r.Get("acme_eu")
	require.True(t, ok)
	assert.Equal(t, "Acme in Europe", extended.Name)
	assert.Equal(t, ClientSpec{Auth: []string{"post"}, Body: "json"}, extended.Client, "maps merge key by key,")
	assert.Equal(t, map[Step]Template{
		StepAuthorize: "https://{shop}.acme.example.com/authorize", // the parent's
		StepToken:     "https://acme.example.eu/token",
		StepIdentity:  "https://{cell}.acme.example.eu/me",
	}, extended.Endpoints, "those with free keys too;")
	assert.Equal(t, []Input{
		{Name: "shop", SetBy: SetByConnection, Required: true, Pattern: "[a-z0-9-]+", Help: "its name"},
		{Name: "cell", SetBy: SetByProvider, Pattern: "[0-9]+", Default: "1"},
	}, extended.Inputs, "what has a name merges by it;")
	assert.Equal(t, []Capture{{Name: "site", From: "token", Path: []string{"place.id"}}}, extended.Connection)
	assert.Equal(t, []KeyField{{Name: "api_key", Required: true, Secret: true, Help: "begins with k"}}, extended.Key.Fields)
	assert.Equal(t, []string{"user.id"}, extended.Account.ID, "other lists are replaced")
	require.Len(t, extended.Failures, 2)
	assert.Equal(t, []string{"lost"}, extended.Failures[0].Is, "the child's rules come first")
	assert.Equal(t, parent.Failures[0], extended.Failures[1])

	assert.Empty(t, parent.Client.Body, "the parent is not touched")
	assert.Equal(t, []string{"id"}, parent.Account.ID)
	assert.Len(t, parent.Inputs, 1)
	assert.NotSame(t, parent.Key, extended.Key)
}

// All mounts of a process share what was read once.
func TestBuiltinIsReadOnce(t *testing.T) {
	first, err := Builtin()
	require.NoError(t, err)
	second, err := Builtin()
	require.NoError(t, err)
	assert.Same(t, first, second)
	assert.Zero(t, testing.AllocsPerRun(10, func() { _, _ = Builtin() }))
}

// A child takes away by ~ what its parent says, and nothing else.
func TestExtendsTakesAway(t *testing.T) {
	const head = "id: x\nname: X\nextends: acme\n"
	for name, test := range map[string]struct{ child, want string }{
		"a section":  {"account: ~\n", ""},
		"null":       {"account: null\n", ""},
		"an entry":   {"connection_config:\n  - site: ~\n", ""},
		"rules":      {"failures: ~\n", ""},
		"a key":      {"refresh:\n  idle: ~\n", ""},
		"left empty": {"account:\n", "x.yaml:4: account: an empty key: write a value"},
		"not there":  {"refresh:\n  hard: ~\n", "x.yaml:5: refresh.hard: nothing to take away"},
		"no section": {"upgrade: ~\n", "x.yaml:4: upgrade: nothing to take away"},
		"in what the parent lacks": {
			"upgrade:\n  params: ~\n", "x.yaml:5: upgrade.params: ~ takes away what a parent says, and the parent says nothing",
		},
		"no such entry": {
			"inputs:\n  - shap: ~\n", "x.yaml:5: inputs[shap]: nothing to take away",
		},
		"entry named twice": {
			"inputs:\n  - {name: shop, help: a}\n  - {name: shop, help: b}\n", "x.yaml:6: inputs[1]",
		},
		"needed by the parent": {
			"inputs:\n  - shop: ~\n", "acme.yaml:11: endpoints.authorize: URL template",
		},
		"needed itself":    {"kinds: ~\n", "x.yaml:3: kinds: kinds is missing"},
		"of another shape": {"client: [post]\n", "x.yaml:4: client: a map belongs here, not a list"},
		"misspelled":       {"client:\n  boddy: json\n", `x.yaml:5: client.boddy: unknown key, did you mean "body"?`},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := NewRegistry(files("acme.yaml", acme))
			require.NoError(t, err)
			d, err := r.Decode("x.yaml", []byte(head+test.child))
			if test.want == "" {
				require.NoError(t, err)
				parent, _ := r.Get("acme")
				assert.NotEqual(t, parent.Refresh.Idle.Set && len(parent.Account.ID) == 1 && len(parent.Failures) == 1 &&
					len(parent.Connection) == 1, d.Refresh.Idle.Set && len(d.Account.ID) == 1 && len(d.Failures) == 1 &&
					len(d.Connection) == 1, "something is gone")
				return
			}
			require.ErrorContains(t, err, test.want)
		})
	}
	_, err := Decode("acme.yaml", []byte(acme+"send: ~\n"))
	require.ErrorContains(t, err, "send: ~ takes away what a parent says, and this definition extends none")
	_, err = NewRegistry(files("acme.yaml", acme+"send: x\n", "x.yaml", head))
	require.ErrorContains(t, err, "acme.yaml:36: send: a map belongs here, not text")
	require.ErrorContains(t, err, `x.yaml:3: cannot extend "acme": acme.yaml is wrong itself`)
}

func TestRegistryReportsEveryFile(t *testing.T) {
	_, err := NewRegistry(files("a.yaml", "id: a\nx: 1", "b.yaml", "id: b\ny: 1", "acme.yaml", acme))
	require.ErrorContains(t, err, "a.yaml:2: x: unknown key")
	require.ErrorContains(t, err, "b.yaml:2: y: unknown key")
}

func TestRegistryExtendsOneLevel(t *testing.T) {
	for name, test := range map[string]struct{ file, want string }{
		"grandparent": {
			"id: x\nname: X\nextends: acme_eu", `x.yaml:3: cannot extend "acme_eu", which extends "acme" itself`,
		},
		"nobody": {
			"id: x\nname: X\nextends: nobody", `x.yaml:3: cannot extend "nobody": there is no nobody.yaml`,
		},
		"outside":  {"id: x\nname: X\nextends: ../acme", `x.yaml:3: cannot extend "../acme": that is no id`},
		"nameless": {"id: x\nextends: acme", "x.yaml:2: name: name is missing"},
		"rule of the parent's": {
			"id: x\nname: X\nextends: acme\nkinds: [api_key]", "acme.yaml:11: endpoints.authorize: no kind opens it: add the kind authorization_code, or drop the endpoint (x.yaml extends it)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := NewRegistry(files("acme.yaml", acme, "acme_eu.yaml", acmeEU))
			require.NoError(t, err)
			_, err = r.Decode("x.yaml", []byte(test.file))
			require.ErrorContains(t, err, test.want)
			assert.Equal(t, []string{"acme", "acme_eu"}, r.IDs())
		})
	}
}
