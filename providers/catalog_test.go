package providers

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBuiltinLoads(t *testing.T) {
	r, err := Builtin()
	require.NoError(t, err)
	t.Log(r.IDs())
}
