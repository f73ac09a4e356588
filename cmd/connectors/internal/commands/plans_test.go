package commands

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/files"
)

// talksTo leads an app to a mount that gives these answers, by path.
func (a *app) talksTo(t *testing.T, answers map[string]map[string]any) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, known := answers[r.URL.Path]
		if !known {
			w.WriteHeader(http.StatusForbidden)
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(server.Close)
	t.Setenv("VAULT_ADDR", server.URL)
	t.Setenv("VAULT_TOKEN", "a token")
	a.mount, a.output = "connectors", "table"
}

func does(t *testing.T, cmd *cobra.Command, args ...string) error {
	t.Helper()
	cmd.SetArgs(args)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	return cmd.ExecuteContext(t.Context())
}

func TestApplyOfNothing(t *testing.T) {
	a := newApp(t)
	err := does(t, a.apply(), "my file.yaml")
	assert.Equal(t, codeWrongUse, codeOf(t.Context(), err))
	assert.ErrorContains(t, err, "connectors apply -f 'my file.yaml'")
	for _, text := range []string{"", "\n", "# nothing\n", "{}\n"} {
		a.brings(t, text)
		err := does(t, a.apply(), "-f", "-")
		assert.Equal(t, codeWrongUse, codeOf(t.Context(), err), "%q", text)
		assert.ErrorContains(t, err, "stdin says nothing", "%q", text)
	}
}

// A dry run looks for the secrets that would be written, and asks Vault for none.
func TestFindable(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "key"), []byte("k\n"), 0o600))
	t.Setenv("IS_SET", "x")
	t.Setenv("IS_EMPTY", "")
	for text, fault := range map[string]string{
		"env:IS_SET": "", "file:key": "", "vault:secret/x#field": "",
		"env:IS_EMPTY": "client_secret: env:IS_EMPTY: is not set", "env:IS_UNSET": "env:IS_UNSET: is not set",
		"file:absent": "file:absent: ",
	} {
		reference, err := files.ReadReference(text)
		require.NoError(t, err)
		for _, change := range []files.Change{
			{Writes: []map[string]any{{"client_secret": reference}}}, {Unsure: map[string]any{"client_secret": reference}},
		} {
			change.Path, change.Line = "providers/slack", 3
			do := &applying{app: newApp(t), name: filepath.Join(folder, "f.yaml")}
			err := do.findable(t.Context(), []*step{{Change: change}})
			if fault == "" {
				assert.NoError(t, err, text)
				continue
			}
			assert.Equal(t, codeWrongUse, codeOf(t.Context(), err), text)
			assert.ErrorContains(t, err, fault)
			assert.ErrorContains(t, err, "f.yaml:3: providers/slack: ")
		}
	}
}

// A plan says once how it is carried out, and of nothing that it cannot be.
func TestPlanOfNothing(t *testing.T) {
	for count, said := range map[int]string{
		0: "there is nothing to carry out", 2: "connectors revoke run j-1 --expect 2",
	} {
		a := newApp(t)
		a.talksTo(t, map[string]map[string]any{"/v1/connectors/revoke": {
			"data":     client.Revocation{Job: "j-1", Count: count},
			"warnings": []string{"nothing was changed: write run=true expect=0 to revoke/j-1 within an hour", "another"},
		}})
		require.NoError(t, does(t, a.revoke(), "--provider", "slack"))
		assert.Contains(t, a.said(t), said)
		assert.Contains(t, a.said(t), "warning: another")
		assert.NotContains(t, a.said(t), "run=true")
		assert.Equal(t, count > 0, strings.Contains(a.said(t), "revoke run"))
	}
}

// What the caller has goes first, then what a provider of the mount brought; who decides of the rest is said.
func TestCatalogOrder(t *testing.T) {
	list := map[string]any{"data": map[string]any{
		"keys": []string{"asana", "provider:crm", "slack"},
		"key_info": map[string]any{
			"asana":        map[string]any{"name": "Asana", "providers": []string{}},
			"provider:crm": map[string]any{"name": "CRM", "providers": []string{"crm"}},
			"slack":        map[string]any{"name": "Slack", "providers": []string{"slack", "slack-emea"}},
		},
	}}
	a := newApp(t)
	a.talksTo(t, map[string]map[string]any{
		"/v1/connectors/catalog": list,
		"/v1/connectors/inventory/self": {"data": map[string]any{
			"connections": []any{map[string]any{"definition": "slack"}},
		}},
	})
	require.NoError(t, does(t, a.catalog()))
	shown, err := os.ReadFile(a.Out.Name())
	require.NoError(t, err)
	assert.Regexp(t, `(?s)^SERVICE.*HERE\nslack .*slack slack-emea \(connected\)\n`+
		`provider:crm .* crm\nasana [^\n]*Asana\n$`, string(shown))
	assert.Contains(t, a.said(t), "an operator of Vault adds first")

	a = newApp(t)
	a.talksTo(t, map[string]map[string]any{"/v1/connectors/catalog": list})
	require.NoError(t, does(t, a.catalog()), "who may not read an inventory has a catalogue")
	assert.NotContains(t, a.said(t), "warning")
}
