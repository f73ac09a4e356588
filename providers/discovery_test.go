package providers

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The issuers that are remembered are bounded. Reading one of them again is no reason to forget the others, whose
// documents may be needed for want of newer ones.
func TestIssuersAreBounded(t *testing.T) {
	c := NewClient(nil, time.Now, "")
	keep := func(issuer int) {
		t.Helper()
		_, err := c.keepMetadata(strconv.Itoa(issuer), &metadata{}, nil)
		require.NoError(t, err)
	}
	for issuer := range maxIssuers {
		keep(issuer)
	}
	keep(0)
	assert.Len(t, c.issuers, maxIssuers)
	keep(maxIssuers)
	assert.Len(t, c.issuers, 1)
}
