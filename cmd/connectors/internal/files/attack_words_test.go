package files

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// What is wrong with a file is told without the secret that somebody wrote into it by mistake.
func TestAttackSecretsInWhatIsWrong(t *testing.T) {
	const planted = "s3cr3t-planted"
	shapes := []string{
		"%s", "api_key: %s", "api_key: \"%s", "api_key: '%s", "api_key: @%s", "api_key: `%s", "api_key: %%%s",
		"api_key: &%s", "api_key: *%s",
		"api_key: !%s x", "api_key: |%s", "api_key: >%s\n  x", "api_key: [%s", "api_key: {%s", "api_key: ]%s",
		"api_key: }%s",
		"api_key: a: %s", "api_key: %s: b", "api_key: \"\\%s\"", "api_key: \"\\x%s\"", "api_key: \"\\u%s\"",
		"api_key:\n\t%s", "api_key: x\n %s: y",
		"? %s", "? [%s]\n: b", "- %s", "a: b\n- %s", "%s\na: b", "a:\n  b\n c: %s", "a: \"x\" %s", "a: 'x'%s",
		"a: [x] %s", "a: {x: y} %s",
		"<<: %s", "<<: *%s", "a: %s\na: %s", "--- %s\n--- %s", "%%%s x\n---\na: b", "a: ,%s", "a: [,%s]",
		"a: - %s", "a: 0x%s", "a: !!int %s",
		"a: !!binary %s", "providers: {x: {client_secret: %s: y}}", "a: |\n  %s\n x", "a: # %s\n\t- b",
		"a: %s\n  - b", "%s:\n- a\nb", "\x00%s",
		"a: \x01%s", "a: &x &y %s", "a: *x %s", "a: !<%s", "a: ?%s", "a: -%s\n-b",
		"config: {client_secret: [%s}", "client_secret: x,%s", "client_secret: x, %s", "client_secret: x,%s,y",
		"client_secret: x,1%s", "client_secret: x,\"%s\"", "client_secret: x,'%s'",
	}
	for _, shape := range shapes {
		for _, at := range []string{"%s", "providers:\n  x:\n    %s", "providers: {x: {%s}}"} {
			text := fmt.Sprintf(at, strings.ReplaceAll(strings.ReplaceAll(shape, "%s", planted), "%%", "%"))
			if _, err := Parse("f", []byte(text)); err != nil {
				assert.NotContains(t, err.Error(), "s3cr3t", "%s", text)
			}
		}
	}
}
