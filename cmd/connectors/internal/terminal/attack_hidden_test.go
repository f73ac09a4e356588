package terminal

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A label with what nobody sees in it looks like another, and tells a program that reads along what its owner
// does not
// see. What scripts and signs are joined with stays.
func TestAttackHiddenText(t *testing.T) {
	var hidden strings.Builder
	for _, r := range "delete all" {
		hidden.WriteRune(0xe0000 + r)
	}
	for text, want := range map[string]string{
		"a\u200bb": `a\u200bb`, "\ufeffa": `\ufeffa`, "a\u00adb": `a\xadb`, "a\u2060\u2064b": `a\u2060\u2064b`,
		"a\u180eb\ufffa": `a\u180eb\ufffa`, "a\U000e0041": `a\ue0041`,
		"a\U000e0101": `a\ue0101`, "a\u3164b\uffa0": `a\u3164b\uffa0`,
		"क्\u200dष می\u200cخواهم": "क्\u200dष می\u200cخواهم", "👩\u200d💻❤\ufe0f": "👩\u200d💻❤\ufe0f",
	} {
		assert.Equal(t, want, Clean(text), "%q", text)
	}
	document := map[string]any{"label": hidden.String() + "\u200b"}
	var out strings.Builder
	require.NoError(t, JSON(&out, document))
	assert.NotContains(t, out.String(), hidden.String())
	var read map[string]any
	require.NoError(t, json.Unmarshal([]byte(out.String()), &read))
	assert.Equal(t, document, read)
}
