package backend

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	module   = "github.com/vault-connectors/vault-plugin-secrets-connectors/"
	vaultSDK = "github.com/hashicorp/vault/sdk/"
)

// layers are what the code of each folder, with what lies below it, may import beside the standard library. The
// longest folder that fits decides. A name that ends in a slash stands for all below it.
var layers = map[string][]string{
	"cmd": {
		module + "backend", vaultSDK, "github.com/hashicorp/vault/api", "github.com/hashicorp/go-hclog",
		"github.com/hashicorp/go-plugin",
	},
	// the command line and its client: what a service is, the mount tells them
	"cmd/connectors": {module + "cmd/connectors/internal/commands"},
	"cmd/connectors/client": {
		"github.com/hashicorp/vault/api", "github.com/hashicorp/vault/api/cliconfig", "golang.org/x/oauth2",
	},
	"cmd/connectors/internal/commands": {
		module + "cmd/connectors/client", module + "cmd/connectors/internal/browser",
		module + "cmd/connectors/internal/files", module + "cmd/connectors/internal/page",
		module + "cmd/connectors/internal/terminal", "github.com/spf13/cobra", "github.com/spf13/pflag",
		"github.com/hashicorp/go-version",
	},
	"cmd/connectors/internal/browser": {"github.com/cli/browser"},
	"cmd/connectors/internal/files":   {"github.com/goccy/go-yaml/"},
	"cmd/connectors/internal/page": { // and of the engine the looks of its pages, no more
		module + "backend/pages/style", module + "cmd/connectors/client", module + "cmd/connectors/internal/terminal",
	},
	"cmd/connectors/internal/terminal": {"charm.land/lipgloss/v2/", "golang.org/x/sys/unix", "golang.org/x/term"},
	"backend": {
		module + "backend/internal/", module + "backend/pages", module + "providers", vaultSDK, "golang.org/x/oauth2",
		"github.com/hashicorp/go-hclog", "github.com/hashicorp/go-secure-stdlib/parseutil", "github.com/tidwall/btree",
		// what metrics are counted with and written by
		"github.com/prometheus/client_golang/prometheus", "github.com/prometheus/common/expfmt",
	},
	"backend/pages":          {module + "backend/pages/style", module + "providers"},
	"backend/pages/style":    {}, // which the command line imports too
	"backend/internal/store": {module + "providers", vaultSDK + "logical"},
	"backend/internal/connections": {
		module + "backend/internal/store", module + "providers", "github.com/hashicorp/go-hclog",
		"github.com/hashicorp/golang-lru/v2/",
	},
	"backend/internal/gate":  {},
	"backend/internal/tasks": {"github.com/hashicorp/go-hclog"},
	"backend/internal/refresh": {
		module + "backend/internal/connections", module + "backend/internal/gate", module + "backend/internal/store",
		module + "backend/internal/tasks",
		module + "providers", vaultSDK + "logical", "github.com/hashicorp/go-hclog",
	},
	"backend/internal/egress":  {},
	"backend/internal/webhook": {module + "providers"},
	"backend/internal/testenv": {
		vaultSDK, "github.com/hashicorp/go-hclog", "github.com/hashicorp/go-plugin", "github.com/stretchr/testify/",
	},
	"providers": {
		"golang.org/x/", "github.com/coreos/go-oidc/v3/", "github.com/go-jose/go-jose/v4", "github.com/goccy/go-yaml/",
		// what signs for AWS, and what logs in at mail servers
		"github.com/aws/aws-sdk-go-v2/aws/", "github.com/emersion/go-smtp", "github.com/emersion/go-sasl",
	},
	"providers/providertest": {
		module + "providers", "golang.org/x/oauth2", "golang.org/x/tools/txtar", "github.com/go-jose/go-jose/v4", "github.com/goccy/go-yaml",
	},
}

// Imports point one way: cmd, backend, backend/internal, providers. Tests may reach further.
func TestImports(t *testing.T) {
	seen := map[string]bool{}
	root := ".."
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		layer := layerOf(filepath.ToSlash(filepath.Dir(name)))
		if entry.IsDir() || layer == "" || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		seen[layer] = true
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			imported := strings.Trim(spec.Path.Value, `"`)
			assert.True(t, allowed(layers[layer], imported), "%s imports %s", name, imported)
		}
		return nil
	}))
	assert.Len(t, seen, len(layers), "each layer has code")
}

func layerOf(folder string) string {
	for ; folder != "."; folder = filepath.ToSlash(filepath.Dir(folder)) {
		if _, ok := layers[folder]; ok {
			return folder
		}
	}
	return ""
}

func allowed(list []string, imported string) bool {
	if host, _, _ := strings.Cut(imported, "/"); !strings.Contains(host, ".") {
		return true // the standard library
	}
	for _, name := range list {
		if imported == strings.TrimSuffix(name, "/") || strings.HasSuffix(name, "/") && strings.HasPrefix(imported, name) {
			return true
		}
	}
	return false
}
