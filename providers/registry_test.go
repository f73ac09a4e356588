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
endpoints:
  token: https://acme.example.eu/token
  authorize: https://acme.example.eu/authorize
  identity: https://acme.example.eu/me
client:
  body: json
account:
  id: [user.id]
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
	assert.Equal(t, ClientSpec{Auth: []string{"post"}, Body: "json"}, extended.Client, "sections merge key by key")
	assert.Len(t, extended.Endpoints, 3, "maps are replaced whole")
	assert.Equal(t, Template("https://acme.example.eu/token"), extended.Endpoints[StepToken])
	assert.Equal(t, []string{"user.id"}, extended.Account.ID)
	assert.Equal(t, parent.Key, extended.Key)

	assert.Empty(t, parent.Client.Body, "the parent is not touched")
	assert.Equal(t, []string{"id"}, parent.Account.ID)
	assert.NotSame(t, parent.Key, extended.Key)
}

func TestRegistryReportsEveryFile(t *testing.T) {
	_, err := NewRegistry(files("a.yaml", "id: a\nx: 1", "b.yaml", "id: b\ny: 1", "acme.yaml", acme))
	require.ErrorContains(t, err, `a.yaml:2: unknown field "x"`)
	require.ErrorContains(t, err, `b.yaml:2: unknown field "y"`)
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
			"id: x\nname: X\nextends: acme\nkinds: [api_key]", "x.yaml:3: endpoints.authorize: no kind opens it",
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
