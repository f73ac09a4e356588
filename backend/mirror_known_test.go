package backend

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

// Who does not wait for what is not known is told whether anything is not.
func TestMirrorThatIsAskedWhatItKnows(t *testing.T) {
	m := newMirror[string, int]()
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

// Each entry counts from when it is known until it is gone, whoever changed it and however often.
func TestMirrorCounts(t *testing.T) {
	m := newMirror[string, int]()
	counts := map[string]int{}
	m.counted = func(k string, by int) { counts[k] += by }
	d := &disk{values: map[string]int{"a": 1, "b": 2}}
	contents(t, m, d)
	m.set("a", becomes(2))
	m.set("c", becomes(3))
	assert.Equal(t, map[string]int{"a": 1, "b": 1, "c": 1}, counts)
	m.remove("a", nop)
	m.remove("a", nop)
	delete(d.values, "b")
	m.forget("b")
	contents(t, m, d)
	assert.Equal(t, map[string]int{"a": 0, "b": 0, "c": 1}, counts)
	d.values["b"] = 4
	m.forget("b", "b")
	contents(t, m, d)
	d.failing = testenv.ErrStorage
	m.forget("b", "lost")
	contents(t, m, d)
	assert.Equal(t, map[string]int{"a": 0, "b": 1, "c": 1, "lost": 1}, counts, "one that cannot be read is there")
}
