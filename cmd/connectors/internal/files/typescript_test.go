package files

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// What operators wrote is in string literals, in which nothing ends them, and nowhere else.
func TestTypeScript(t *testing.T) {
	odd := "\"; } */ // `${x}` \\ \n\r\u2028\u202e\U0001f600"
	escaped := `"\"; } */ // ` + "`${x}`" + ` \\ \n\r\u2028\u202e\ud83d\ude00"`
	assert.Equal(t, escaped, literal(odd))
	services := []Service{
		{
			Name: "b", Definition: "b", Kinds: []string{"authorization_code", "api_key"},
			Config: map[string]bool{"team": false},
		},
		{
			Name: odd, Definition: odd, Kinds: []string{"api_key", odd}, Key: map[string]bool{odd: true, "a": false},
			KeyConfig: map[string]bool{"shop": true},
		},
		{Name: "a"},
	}
	text := string(TypeScript(services))
	for _, r := range text {
		if r >= 0x7f {
			t.Fatalf("%q is no ASCII", r)
		}
	}
	assert.NotContains(t, strings.ReplaceAll(text, escaped, ""), "${x}")
	assert.Contains(t, text, `  "a": {
    definition: "";
    kind: never;
    connection: never;
  };
  "b": {
    definition: "b";
    kind: "authorization_code" | "api_key";
    connection: ConnectorToken<"b", { "team"?: string }> | ConnectorKey<"b", unknown, Record<string, never>>;
  };
`)
	assert.Contains(t, text, `{ `+escaped+`: string; "a"?: string }, { "shop": string }>`)
	services[0], services[2] = services[2], services[0]
	assert.Equal(t, text, string(TypeScript(services)), "whatever the order")
}
