package client

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// golden is the mount's own document, as a help answers it of a path and its spellings.
func golden(t *testing.T, paths ...string) map[string]any {
	t.Helper()
	text, err := os.ReadFile("../../../backend/testdata/openapi.json")
	require.NoError(t, err)
	var document map[string]any
	require.NoError(t, json.Unmarshal(text, &document))
	all, some := document["paths"].(map[string]any), map[string]any{}
	for _, path := range paths {
		require.Contains(t, all, path)
		some[path] = all[path]
	}
	document["paths"] = some
	return map[string]any{"help": "", "openapi": document}
}

func TestFields(t *testing.T) {
	m := newMount(t)
	help := func(path string, paths ...string) map[string]Field {
		m.mu.Lock()
		m.answers["GET connectors/"+path] = golden(t, paths...)
		m.mu.Unlock()
		fields, err := m.Fields(t.Context(), path)
		require.NoError(t, err)
		return fields
	}
	fields := help("providers/x", "/providers/{provider}")
	assert.Equal(t, Field{Type: "string", Secret: true, Written: true}, fields["client_secret"])
	assert.Equal(t, Field{Type: "boolean", Written: true, Read: true, Default: true}, fields["confirm"])
	assert.Equal(t, Field{Type: "string", Format: "duration", Written: true, Read: true}, fields["assumed_ttl"])
	assert.Equal(t, Field{Type: "string", Read: true}, fields["callback_url"])
	assert.Equal(t, Field{Type: "object", Format: "map", Written: true, Read: true}, fields["bound_inputs"])
	assert.NotContains(t, fields, "provider", "it is part of the path")
	fields = help("connections/self/x", "/connections/self/{name}", "/connections/org/{org}/{name}")
	var secrets []string
	for name, field := range fields {
		if field.Secret {
			secrets = append(secrets, name)
		}
	}
	assert.ElementsMatch(t, []string{"access_token", "companions", "refresh_token"}, secrets)
	_, err := m.Fields(t.Context(), "nothing")
	assert.Equal(t, 404, StatusOf(err))
	m.says("GET connectors/older", map[string]any{})
	_, err = m.Fields(t.Context(), "older")
	assert.ErrorContains(t, err, "no such path")
}

func TestDocuments(t *testing.T) {
	m := newMount(t)
	m.says("GET connectors/providers/x", map[string]any{"assumed_ttl": 60, "new": []string{"a"}})
	document, err := m.Document(t.Context(), "providers/x")
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"assumed_ttl": json.Number("60"), "new": []any{"a"}}, document.Data)
	_, err = m.Document(t.Context(), "providers/y")
	assert.Equal(t, 404, StatusOf(err))
	m.says("PUT connectors/providers/x", map[string]any{"client_id": "a"})
	document, err = m.WriteDocument(t.Context(), "providers/x", map[string]any{"client_id": "a"})
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"client_id": "a"}, document.Data)
	names, err := m.Documents(t.Context(), "providers")
	require.NoError(t, err)
	assert.Empty(t, names)
	m.says("GET connectors/providers", map[string]any{"keys": []string{"x", "y/"}})
	names, err = m.Documents(t.Context(), "providers")
	require.NoError(t, err)
	assert.Equal(t, []string{"x", "y/"}, names)
	m.refuses("DELETE connectors/providers/x", 409, "has connections")
	_, err = m.DeleteDocument(t.Context(), "providers/x")
	assert.Equal(t, 409, StatusOf(err))
	for _, path := range []string{"", "providers/../x", "providers/"} {
		_, err := m.Document(t.Context(), path)
		assert.Error(t, err, path)
		_, err = m.WriteDocument(t.Context(), path, nil)
		assert.Error(t, err, path)
		_, err = m.DeleteDocument(t.Context(), path)
		assert.Error(t, err, path)
		_, err = m.Documents(t.Context(), path)
		assert.Error(t, err, path)
		_, err = m.Fields(t.Context(), path)
		assert.Error(t, err, path)
	}
}

func TestSecretField(t *testing.T) {
	m := newMount(t)
	m.says("GET secret/data/x", map[string]any{"data": map[string]any{"key": "a", "n": 7}, "metadata": map[string]any{}})
	m.says("GET kv/x", map[string]any{"key": "b"})
	for _, c := range []struct{ path, field, want string }{
		{"secret/data/x", "key", "a"}, {"secret/data/x", "n", "7"}, {"kv/x", "key", "b"},
	} {
		got, err := m.SecretField(t.Context(), c.path, c.field)
		require.NoError(t, err)
		assert.Equal(t, c.want, got)
	}
	_, err := m.SecretField(t.Context(), "kv/x", "absent")
	assert.ErrorContains(t, err, `no field "absent"`)
	_, err = m.SecretField(t.Context(), "kv/y", "key")
	assert.Equal(t, 404, StatusOf(err))
	_, err = m.SecretField(t.Context(), "kv/../sys/raw", "key")
	assert.ErrorContains(t, err, "no path of a secret")
}
