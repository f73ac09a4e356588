package commands

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// What Vault warned of when it took a key is told.
func TestConnectTellsWarnings(t *testing.T) {
	v := newVault(t, desk())
	v.warns["PUT connections/self/new"] = "field api_key does not look like a key of Desk"
	got := v.runs(t, "planted-key", "connect", "desk", "--as", "new")
	assert.Contains(t, got.err, "warning: field api_key does not look like a key of Desk\n")
	assert.Equal(t, []string{`connections/self/new {"api_key":"planted-key","provider":"desk"}`}, v.changed())
}

// A JSON object that is no key of the service is not stored as one.
func TestConnectRefusesOtherFields(t *testing.T) {
	v := newVault(t, desk())
	for _, text := range []string{`{"nope":1}`, `{"nope":1,"api_key":"x"}`, "{}\n"} {
		got := v.runs(t, text, "connect", "desk", "--as", "new")
		assert.Equal(t, codeWrongUse, got.code, text)
		assert.Contains(t, got.err, "has these fields and no others: api_key")
		assert.Empty(t, v.changed(), text)
	}
}
