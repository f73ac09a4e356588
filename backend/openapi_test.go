package backend

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// openAPI is the document that Vault serves of the mount, as its help path makes it.
func openAPI(t *testing.T) []byte {
	t.Helper()
	env := testenv.InProcess(t, New(Options{}), &testenv.Storage{})
	resp, err := env.Backend.HandleRequest(t.Context(), &logical.Request{
		Operation: logical.HelpOperation, Storage: env.Storage,
	})
	require.NoError(t, err)
	plain, err := json.Marshal(resp.Data["openapi"])
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, json.Indent(&out, plain, "", "  "))
	return append(out.Bytes(), '\n')
}

func TestOpenAPI(t *testing.T) {
	golden := filepath.Join("testdata", "openapi.json")
	got := openAPI(t)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(golden, got, 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got), "run 'go test ./backend -run OpenAPI -update' and read what changed")
}

func TestEveryOperationIsDescribed(t *testing.T) {
	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	require.NoError(t, json.Unmarshal(openAPI(t), &doc))
	ids := map[string]string{}
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		for method, raw := range doc.Paths[path] {
			if !slices.Contains([]string{"get", "post", "delete"}, method) {
				continue
			}
			var op struct {
				Summary     string                     `json:"summary"`
				OperationID string                     `json:"operationId"`
				Responses   map[string]json.RawMessage `json:"responses"`
			}
			require.NoError(t, json.Unmarshal(raw, &op))
			at := method + " " + path
			assert.NotEmpty(t, op.Summary, at)
			assert.NotEmpty(t, op.Responses, at)
			assert.True(t, strings.HasPrefix(op.OperationID, operationPrefix+"-"), "%s: %s", at, op.OperationID)
			assert.Empty(t, ids[op.OperationID], "%s has the id of another: %s", at, op.OperationID)
			ids[op.OperationID] = at
		}
	}
	assert.NotEmpty(t, ids)
}

func TestEveryPathHasHelp(t *testing.T) {
	b := newBackend(t)
	require.NotEmpty(t, b.Paths)
	for _, path := range b.Paths {
		assert.NotEmpty(t, path.HelpSynopsis, path.Pattern)
		assert.NotEmpty(t, path.HelpDescription, path.Pattern)
		for name, field := range path.Fields {
			assert.NotEmpty(t, field.Description, "%s: %s", path.Pattern, name)
		}
		for op, handler := range path.Operations {
			p := handler.Properties()
			if p.Unpublished {
				continue
			}
			assert.NotEmpty(t, p.Summary, "%s %s", op, path.Pattern)
			assert.NotEmpty(t, p.Responses, "%s %s", op, path.Pattern)
			if op != logical.ReadOperation && op != logical.ListOperation {
				assert.True(t, p.ForwardPerformanceStandby && p.ForwardPerformanceSecondary,
					"%s %s writes where storage is writable", op, path.Pattern)
			}
		}
	}
}

// Whatever is written and never read is marked, so that user interfaces hide it.
func TestSecretFieldsAreMarked(t *testing.T) {
	marked := map[string]bool{}
	for _, path := range newBackend(t).Paths {
		for name, field := range path.Fields {
			if field.DisplayAttrs != nil && field.DisplayAttrs.Sensitive {
				marked[name] = true
			}
		}
	}
	assert.Equal(t, []string{
		"access_token", "callback", "client_secret", "code", "companions", "confirmation_code", "link", "refresh_token",
		"secret", "session_binding_value", "state", "token",
	}, slices.Sorted(maps.Keys(marked)))
}

// newBackend is a mount as the package sees it.
func newBackend(t *testing.T) *backend {
	t.Helper()
	made, err := New(Options{})(context.Background(), &logical.BackendConfig{
		System: &testenv.System{}, StorageView: &testenv.Storage{},
	})
	require.NoError(t, err)
	t.Cleanup(func() { made.Cleanup(context.Background()) })
	return made.(*backend)
}
