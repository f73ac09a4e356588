package providers

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPath(t *testing.T) {
	doc,
		err := decodeJSON([]byte(`{"a":{"b":"x","n":12345678901234567890,"t":true,"z":null,"e":""},"l":[{"b":"first"},["deep"]],"odd name":"y"}`))
	require.NoError(t, err)
	for _, test := range []struct {
		path string
		want string
	}{
		{"a.b", "x"},
		{"$.a.b", "x"},
		{"l[0].b", "first"},
		{"$.l[0].b", "first"},
		{"l[1][0]", "deep"},
		{"a.n", "12345678901234567890"},
		{"a.t", "true"},
		{"odd name", "y"},
		{"a.z", ""},
		{"a.e", ""},
		{"a", ""},
		{"l[2]", ""},
		{"l[0][0]", ""},
		{"l.b", ""},
		{"a[0]", ""},
		{"a.b.c", ""},
		{"missing", ""},
		{"$", ""},
	} {
		t.Run(test.path, func(t *testing.T) {
			_, err := parsePath(test.path)
			require.NoError(t, err)
			assert.Equal(t, test.want, lookupText(doc, test.path))
		})
	}

	list, err := decodeJSON([]byte(`[{"id":"one"}]`))
	require.NoError(t, err)
	assert.Equal(t, "one", lookupText(list, "[0].id"))
	assert.Equal(t, "one", lookupText(list, "$[0].id"))
	whole, ok := lookup(list, "$")
	assert.True(t, ok)
	assert.Equal(t, list, whole)
	assert.Equal(t, "one", lookupText(list, "[4].id", "[0].id"), "the first path that leads somewhere counts")
}

func TestPathRefuses(t *testing.T) {
	for _, bad := range []string{
		"", ".", "a.", ".a", "a..b", "a[", "a[]", "a[x]", "a[-1]", "a[99999]", "a]b", "a[0]b",
		"$a", "$.", "$$", "$.[0]", "a.[0]",
	} {
		t.Run(bad, func(t *testing.T) {
			_, err := parsePath(bad)
			assert.Error(t, err)
			_, ok := lookup(map[string]any{"a": "x", "": "y"}, bad)
			assert.False(t, ok)
		})
	}
}

func FuzzPath(f *testing.F) {
	for _, seed := range []string{"a.b", "a[0].b", "$", "$.a", "[0][1].c", "a..b", "a[99999]"} {
		f.Add(seed, `{"a":[{"b":1}]}`)
	}
	f.Fuzz(func(t *testing.T, expression, body string) {
		doc, err := decodeJSON([]byte(body))
		if err != nil {
			return
		}
		_, parseErr := parsePath(expression)
		if _, found := lookup(doc, expression); found && parseErr != nil {
			t.Fatalf("%q does not parse and yet leads somewhere", expression)
		}
	})
}
