package providers

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// What an issuer lists is not yet fit to prove anything.
func TestAsymmetric(t *testing.T) {
	listed := []string{"none", "HS256", "ES256", "HS512", "RS256", "EdDSA", "A128KW", ""}
	assert.Equal(t, []string{"ES256", "RS256", "EdDSA"}, asymmetric(listed))
	assert.Equal(t, "none", listed[0], "the list is the metadata's")
	assert.Empty(t, asymmetric(nil))
}
