package backend

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Names come from lists of storage too, where anything may stand.
func TestHashLocks(t *testing.T) {
	l := newHashLocks()
	gone, leave := context.WithCancel(t.Context())
	leave()
	for _, name := range []string{"", "a", "zz", "ab", strings.Repeat("cd", 32), strings.Repeat("ff", 32)} {
		unlock, err := l.lock(t.Context(), name)
		require.NoError(t, err, "%q", name)
		_, err = l.lock(gone, name)
		assert.ErrorIs(t, err, context.Canceled, "%q is held", name)
		unlock()
	}
}
