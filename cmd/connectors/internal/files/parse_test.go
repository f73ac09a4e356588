package files

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	file, err := Parse("f", []byte(`
# people write comments
config: {public_url: https://vault.example.com}
providers:
  slack: {client_id: 0123, client_secret: env:X, scopes: [chat:write, "a: b", https://x.example.com:80/y]}
  two:
    definition_yaml: |
      name: Two
    confirm: no
    list:
      - chat:write
connections:
  org/acme/slack: {tags: {tier: 1, on: true}}
  org/acme/empty:
  self/x: {}
`))
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"public_url": "https://vault.example.com"}, file.Config.Fields)
	require.Len(t, file.Providers, 2)
	assert.Equal(t, Entry{
		Path: "slack", Line: 5, Lines: map[string]int{"client_id": 5, "client_secret": 5, "scopes": 5},
		Fields: map[string]any{
			"client_id": json.Number("0123"), "client_secret": "env:X",
			"scopes": []any{"chat:write", "a: b", "https://x.example.com:80/y"},
		},
	}, file.Providers[0])
	assert.Equal(t, map[string]any{"definition_yaml": "name: Two\n", "confirm": "no", "list": []any{"chat:write"}},
		file.Providers[1].Fields)
	assert.Equal(t, 9, file.Providers[1].Lines["confirm"])
	require.Len(t, file.Connections, 3)
	assert.Equal(t, map[string]any{"tags": map[string]any{"tier": json.Number("1"), "on": true}},
		file.Connections[0].Fields)
	assert.Equal(t, []string{"org/acme", "self"}, file.Owners())
	for _, empty := range []string{"", "\n", "# nothing\n", "---\n"} {
		file, err := Parse("f", []byte(empty))
		require.NoError(t, err, empty)
		assert.False(t, file.NamesProviders || file.NamesConnections || file.Config != nil)
	}
	file, err = Parse("f", []byte("providers:\n"))
	require.NoError(t, err)
	assert.True(t, file.NamesProviders)
}

func TestParseRefuses(t *testing.T) {
	for text, says := range map[string]string{
		"other: {}":                                   `f:1: "other" is none of config, providers, connections`,
		"providers: {}\nproviders: {}":                `f:2: "providers" stands twice`,
		"providers: {a: {}, a: {}}":                   `f:1: "a" stands twice`,
		"config: {a: b, a: c}":                        `f:1: "a" stands twice`,
		"[a]":                                         "f:1: the file is a map",
		"providers: [a]":                              "f:1: providers is a map",
		"providers:\n  a: b":                          "f:2: a is a map",
		"config: {a: ~}":                              "f:1: config: a has no value",
		"config:\n  a: {b: null}":                     "f:2: config: a: b has no value",
		"config: &x {a: b}":                           "f:1: anchors",
		"a: &x {b: c}\nconfig: {<<: *x}":              "f:1: anchors",
		"config: {<<: {a: b}}":                        "f:1: anchors",
		"config: {\"a\": b, a: c}":                    `f:1: "a" stands twice`,
		"config: {a: !!str b}":                        "f:1: anchors",
		"config: {a: .nan}":                           "f:1: config: a is neither",
		"config: {}\n---\nconfig: {}":                 "f:2: a second document",
		"config: {a: [" + strings.Repeat("[", 64):     "f:1: nested deeper",
		strings.Repeat(" ", 65) + "a: b":              "f:1: nested deeper",
		"config: {a: \"" + strings.Repeat("a", 1<<18): "f: the file has more than",
		"config: {a: planted":                         "f:1: ",
		"\tconfig: {}":                                "f:1: ",
	} {
		_, err := Parse("f", []byte(text))
		if assert.ErrorContains(t, err, says, "%.60s", text) {
			assert.NotContains(t, err.Error(), "planted")
		}
	}
}

// Whatever text comes, reading it ends in a file or an error, and what is read is planned without a panic.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"config: {a: b}", "providers:\n  x: {scopes: [chat:write]}", "connections: {a: {b: [{c: d}]}}", "a: [c:d:e]",
		"{a: [b:",
		"? a", "- a", "a: |\n b", "config: {a: {b: [c:\"d\"]}}", "config:\n  client_secret: env:X\n  inputs: {a: 1}\n",
	} {
		f.Add([]byte(text))
	}
	s := spec()
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := Parse("f", text)
		if err != nil {
			return
		}
		for _, entry := range append(file.Providers, file.Connections...) {
			for _, have := range []map[string]any{nil, {}, {"client_id": "x", "inputs": map[string]any{"a": "b"}}} {
				change, problems := s.Plan(entry, have, Options{ReadFile: readsFile})
				if len(problems) == 0 && change.Action == "" && have == nil {
					t.Error("something that is not there is left so")
				}
			}
		}
	})
}
