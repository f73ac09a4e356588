package files

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is written is read as the same, whatever texts stand in it.
func FuzzWrittenIsRead(f *testing.F) {
	for _, text := range []string{
		"", "a", "a: b", "- a", "#", "a #b", "'", `"`, `\`, "\n", "a\n", "a\nb\n", " a\n", "a \n", "a\n\nb\n", "\t", "\x00",
		"true",
		"null", "~", "1", "1e5", "0x1", "[a]", "{a}", "&a", "*a", "!a", "|", ">", "%a", "@a", "`a", "a:", ":a", "chat:write",
		"https://x:80/", "----", "---\n", "...\n", "a: |\n  b\n", "\u2028", "\u202e", "\U0001f600", "\ufeff",
		"-----BEGIN\nx==\n-----END\n",
		"<<", "=", "a\r\nb\r\n", "inf", ".inf", "-", "?", "? a", "a,b", "\u0085", "{a}\n[b]\n", "key: 'x'\n# c\n",
	} {
		f.Add(text, text)
	}
	f.Fuzz(func(t *testing.T, name, text string) {
		name, text = strings.ToValidUTF8(name, "?"), strings.ToValidUTF8(text, "?")
		one := Exported{Path: "providers/" + name, Fields: map[string]any{
			"text": text, "list": []any{text, "a", text}, "map": map[string]any{name: text, "x": text}, "true": true,
		}}
		if name == "x" {
			return
		}
		written := Write(nil, []Exported{one}, nil)
		if len(written) > MaxFile || tooDeep(written) > 0 {
			return
		}
		file, err := Parse("f", written)
		require.NoError(t, err, string(written))
		require.Len(t, file.Providers, 1, string(written))
		assert.Equal(t, name, file.Providers[0].Path, string(written))
		assert.Equal(t, one.Fields, file.Providers[0].Fields, string(written))
	})
}
