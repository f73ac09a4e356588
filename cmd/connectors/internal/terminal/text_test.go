package terminal

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestClean(t *testing.T) {
	for text, want := range map[string]string{
		"Team Slack": "Team Slack", "Zoë 世界": "Zoë 世界", "": "",
		"\x1b[2J\x1b]0;owned\a": `\x1b[2J\x1b]0;owned\x07`,
		"a\nb\r\tc":             `a\x0ab\x0d\x09c`,
		"\u009b31m":             `\x9b31m`,
		"\x9b31m":               `\x9b31m`, // no UTF-8 at all
		"abc\u202egnp.exe":      `abc\u202egnp.exe`,
		"a\u2028b":              `a\u2028b`,
		"del\x7f":               `del\x7f`,
	} {
		assert.Equal(t, want, Clean(text), "%q", text)
	}
}

func TestLinesKeepsLines(t *testing.T) {
	const text = "{\n\t\"name\": \"Zoë\x1b[31m 世\r\"\n}\n"
	for size := 1; size < 8; size++ {
		var out strings.Builder
		w := Lines(&out)
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			_, err := io.WriteString(w, rest[:n])
			require.NoError(t, err)
			rest = rest[n:]
		}
		assert.Equal(t, "{\n\t\"name\": \"Zoë\\x1b[31m 世\\x0d\"\n}\n", out.String(), "in pieces of %d", size)
	}
}

func TestJSONIsHarmlessAndTheSame(t *testing.T) {
	document := map[string]any{"label": "a\u009b\x7f\u202e\u2028\n<b> 世"}
	var out strings.Builder
	require.NoError(t, JSON(&out, document))
	for _, r := range out.String() {
		assert.False(t, harmful(r) && r != '\n', "%q", r)
	}
	var read map[string]any
	require.NoError(t, json.Unmarshal([]byte(out.String()), &read))
	assert.Equal(t, document, read)
}

func TestTable(t *testing.T) {
	var out strings.Builder
	require.NoError(t, Table(&out, []string{"CONNECTION", "STATUS"}, [][]string{
		{"self/slack", "active"}, {"self/a-longer-name", "needs_reconnect\x1b[0m"},
	}))
	assert.Equal(t, "CONNECTION          STATUS\nself/slack          active\n"+
		"self/a-longer-name  needs_reconnect\\x1b[0m\n", out.String(), "what is no terminal gets no colours")
	out.Reset()
	require.NoError(t, Pairs(&out, [][2]string{{"provider", "slack"}, {"label", ""}, {"kind", "api_key"}}))
	assert.Equal(t, "provider  slack\nkind      api_key\n", out.String())
}

// With NO_COLOR nothing that a terminal obeys is written, not even the end of what is bold.
func TestNoColour(t *testing.T) {
	t.Setenv("CLICOLOR_FORCE", "1")
	t.Setenv("TERM", "xterm-256color")
	shown := func() string {
		var out strings.Builder
		require.NoError(t, Table(&out, []string{"NAME", "STATUS"}, [][]string{{"slack", "active"}, {"crm", "expired"}}))
		return out.String()
	}
	t.Setenv("NO_COLOR", "")
	assert.Contains(t, shown(), "\x1b[")
	t.Setenv("NO_COLOR", "1")
	assert.NotContains(t, shown(), "\x1b")
}
