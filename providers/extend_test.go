package providers

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml/ast"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What a child makes of its parent is not seen in either file, so it is written down: what goes and what comes.
func TestWhatChildrenChange(t *testing.T) {
	r, err := Builtin()
	require.NoError(t, err)
	open := func(id string) ([]byte, error) { return fs.ReadFile(r.files, id+".yaml") }
	var text strings.Builder
	for _, id := range r.IDs() {
		d, _ := r.Get(id)
		if d.Extends == "" {
			continue
		}
		data, err := open(id)
		require.NoError(t, err)
		whole, err := read(id+".yaml", "", data, open)
		require.NoError(t, err)
		data, err = open(d.Extends)
		require.NoError(t, err)
		parent, err := parse(d.Extends+".yaml", data)
		require.NoError(t, err)

		before, after := flat("", parent), flat("", whole.root)
		fmt.Fprintf(&text, "%s extends %s\n", id, d.Extends)
		for _, line := range before {
			if !slices.Contains(after, line) {
				fmt.Fprintf(&text, "- %s\n", line)
			}
		}
		for _, line := range after {
			if !slices.Contains(before, line) {
				fmt.Fprintf(&text, "+ %s\n", line)
			}
		}
		assert.NotEqual(t, before, after)
		text.WriteByte('\n')
	}
	golden(t, "testdata/extends.txt", []byte(text.String()))
}

// flat gives a line for each value. What has a name goes by it, not by its number.
func flat(at string, node ast.Node) (lines []string) {
	list, isList := node.(*ast.SequenceNode)
	entries := entriesOf(node)
	switch {
	case isList && len(list.Values) > 0 && nameOf(list.Values[0]) != "":
		for _, value := range list.Values {
			lines = append(lines, flat(fmt.Sprintf("%s[%s]", at, nameOf(value)), value)...)
		}
	case isList && len(list.Values) > 0 && len(entriesOf(list.Values[0])) > 0:
		for _, value := range list.Values {
			lines = append(lines, at+"[]: "+strings.Join(flat("", value), ", "))
		}
	case isList:
		var texts []string
		for _, value := range list.Values {
			texts = append(texts, flat("", value)...)
		}
		lines = append(lines, fmt.Sprintf("%s: %s", at, texts))
	case len(entries) > 0:
		for _, entry := range entries {
			lines = append(lines, flat(join(at, entry.Key.GetToken().Value), entry.Value)...)
		}
	default:
		lines = append(lines, strings.TrimPrefix(at+": "+node.GetToken().Value, ": "))
	}
	return lines
}

// FuzzExtends: whatever a child says, what comes out keeps every rule, or each mistake has a file and a line.
func FuzzExtends(f *testing.F) {
	for _, seed := range []string{
		acmeEU, "", "id: x\nextends: acme", "id: x\nname: X\nextends: acme\ninputs: [shop: ~]\n", "extends: ~", "extends: [acme]",
		"id: x\nname: X\nextends: acme\nfailures: ~\nkey: {fields: [{name: api_key, secret: ~}]}\n",
		"id: x\nname: X\nextends: acme\nclient: ~\nendpoints: {token: {a: b}}\nkinds: [[]]\n",
	} {
		f.Add([]byte(seed))
	}
	r, err := NewRegistry(files("acme.yaml", acme))
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := r.Decode("x.yaml", data)
		if err != nil {
			require.Regexp(t, `^(x|acme)\.yaml:[0-9]+: `, err.Error())
			return
		}
		require.NoError(t, d.Validate())
		parent, _ := r.Get("acme")
		require.Equal(t, "Acme", parent.Name)
	})
}
