package providers

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTemplateExpand(t *testing.T) {
	values := map[string]string{"a": "1", "b_2": "{a}", "empty": ""}
	for name, test := range map[string]struct {
		template     Template
		placeholders []string
		want         string
	}{
		"none":                     {"plain", nil, "plain"},
		"one":                      {"x{a}y", []string{"a"}, "x1y"},
		"twice, named once":        {"{a}{b_2}{a}", []string{"a", "b_2"}, "1{a}1"},
		"values are not templates": {"{b_2}", []string{"b_2"}, "{a}"},
		"empty is a value":         {"[{empty}]", []string{"empty"}, "[]"},
		"JSON stays text": {
			`{"query": "{ me { id } }", "a": "{a}"}`, []string{"a"}, `{"query": "{ me { id } }", "a": "1"}`,
		},
		"upper case is text": {"{A}", nil, "{A}"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.placeholders, test.template.Placeholders())
			got, err := test.template.Expand(values)
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
}

func TestTemplateExpandNamesWhatIsMissing(t *testing.T) {
	_, err := Template("{there}-{gone}").Expand(map[string]string{"there": "hunter2"})
	require.ErrorContains(t, err, "{gone}")
	assert.NotContains(t, err.Error(), "hunter2")
}
