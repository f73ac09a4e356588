package providers

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An operator switches PKCE off only where they say what the service is. The definition's own word may always be
// written, and is kept as unsaid.
func TestTakePKCE(t *testing.T) {
	for name, test := range map[string]struct {
		definition, word, kept, shown, err string
	}{
		"generic, nothing said":   {"oauth2", "", "", "s256", ""},
		"generic, on":             {"oauth2", "s256", "", "s256", ""},
		"generic, off":            {"oauth2", "off", "off", "off", ""},
		"any issuer, off":         {"oidc", "off", "off", "off", ""},
		"a service that takes it": {"google", "off", "", "", "pkce: Google"},
		"that does, on":           {"google", "s256", "", "s256", ""},
		"a service without":       {"slack", "s256", "", "", "does not take it"},
		"without, off":            {"slack", "off", "", "off", ""},
		"without, nothing said":   {"slack", "", "", "off", ""},
		"plain":                   {"oauth2", "plain", "", "", "s256 or off"},
		"capitals":                {"oauth2", "OFF", "", "", "s256 or off"},
		"a truth":                 {"oauth2", "false", "", "", "s256 or off"},
	} {
		t.Run(name, func(t *testing.T) {
			d := builtin(t, test.definition)
			kept, err := d.TakePKCE(test.word)
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.kept, kept)
			a := App{Definition: d, PKCE: kept}
			assert.Equal(t, test.shown, a.PKCEWord())
			assert.Equal(t, test.shown == "s256", a.UsesPKCE())
		})
	}
}
