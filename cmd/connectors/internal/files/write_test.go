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

// What is exported can be written back: nothing that is computed or of the moment, and no secret, nor its mask.
func TestExport(t *testing.T) {
	s := spec()
	s.Picked = []string{"site"}
	got := s.Export(provider, answered(t, `{
		"client_id": "1", "client_secret_set": true, "refresh_token_set": false, "status": "active",
		"callback_url": "https://v",
		"debug_until": "2026-01-01T00:00:00Z", "confirm": true, "frozen": false, "label": "", "max_flows": 0, "kind": "k",
		"definition": "x", "authorize_params": {"a": "****", "b c": "****word"}, "companions": {"d": "****"},
		"proxy_url": "http://me:****word@h:1", "key": {"api_key": "****", "username": "me"},
		"inputs": {"shop": "one"}, "connection_config": {"site": "two", "other": "x"}
	}`))
	assert.Equal(t, Exported{
		Path: provider,
		Fields: map[string]any{
			"client_id": "1", "kind": "k", "username": "me", "inputs": map[string]any{"shop": "one", "site": "two"},
		},
		Secrets: []string{
			"api_key: env:X_API_KEY", `authorize_params: {a: env:X_A, b c: env:X_B_C}`, "client_secret: env:X_CLIENT_SECRET",
			"companions: {d: env:X_D}", "proxy_url: env:X_PROXY_URL",
		},
	}, got)
	got = s.Export(provider, answered(t, `{"confirm": false, "frozen": true, "proxy_url": "http://h:1",
		"definition": "other", "key": {"username": "****", "api_key": "planted"}, "key_fields_set": ["api_key"]}`))
	assert.Equal(t, map[string]any{
		"confirm": false, "frozen": true, "proxy_url": "http://h:1", "definition": "other",
	}, got.Fields)
	assert.Equal(t, []string{"api_key: env:X_API_KEY", "username: env:X_USERNAME"}, got.Secrets)
}
