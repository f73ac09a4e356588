package backend

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

// Who does not wait for what is not known is told whether anything is not.
func TestMirrorThatIsAskedWhatItKnows(t *testing.T) {
	m := newMirror(unordered[string, int]{})
	all := func() bool { return m.eachKnown(func(string, *int) {}) }
	d := &disk{values: map[string]int{"a": 1, "b": 2}}
	during := func() { assert.False(t, all(), "while storage is read") }
	assert.False(t, all(), "nothing was read yet")
	m.set("a", becomes(1))
	assert.False(t, all(), "there may be more")
	d.during = during
	contents(t, m, d)
	assert.True(t, all())
	m.set("c", becomes(3))
	m.remove("a", nop)
	assert.True(t, all())
	m.forget("b")
	assert.False(t, all(), "somebody else changed it")
	d.during = during
	contents(t, m, d)
	assert.True(t, all())

	m.forget("b")
	d.failing = testenv.ErrStorage
	_, err := m.fill(t.Context(), d.source(), nop)
	require.NoError(t, err)
	assert.False(t, all(), "storage did not give it")
	sum := 0
	m.eachKnown(func(_ string, v *int) { sum += *v })
	assert.Equal(t, 2, sum, "what is known is told nevertheless: c, and that b is unread")
}
