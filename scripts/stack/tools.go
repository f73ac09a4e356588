package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// PluginName is the name of the plugin's binary and the one it is registered under.
const PluginName = "vault-plugin-secrets-connectors"

// Tools are the paths of what a stack is made of.
type Tools struct {
	VaultBin   string // the Vault that scripts/vault pins, unless another was asked for
	Node       string // 22.15 or newer
	ServersDir string // its node_modules holds the authorization servers
	PluginBin  string // the engine under test
}

// Locate finds the tools, makes those that are missing, and tells progress what it makes. The environment variables
// VAULT_BIN, NODE and PLUGIN_BIN name files to take instead. The first run on a machine compiles Vault, for minutes.
func Locate(ctx context.Context, progress io.Writer) (Tools, error) {
	return locate(ctx, progress, "")
}

// locate is Locate with a Vault that was found already, if any.
func locate(ctx context.Context, progress io.Writer, vault string) (Tools, error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return Tools{}, err
	}
	t := Tools{VaultBin: vault}
	for name, path := range map[string]*string{"vault": &t.VaultBin, "node": &t.Node, "servers": &t.ServersDir} {
		if *path != "" {
			continue
		}
		cmd := exec.CommandContext(ctx, filepath.Join(root, "scripts", "tool.sh"), name)
		cmd.Stderr = progress
		out, err := cmd.Output()
		if err != nil {
			return Tools{}, fmt.Errorf("scripts/tool.sh %s failed (%w): see what it printed, or name "+
				"a binary by VAULT_BIN, NODE", name, err)
		}
		*path = strings.TrimSpace(string(out))
	}
	if t.PluginBin = os.Getenv("PLUGIN_BIN"); t.PluginBin == "" {
		t.PluginBin, err = buildPlugin(ctx, root, progress)
	}
	return t, err
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if filepath.Base(mod) != "go.mod" {
		return "", errors.New("not inside the module: run this from within the clone")
	}
	return filepath.Dir(mod), nil
}

// buildPlugin gives the binary its name only when it is whole: two test packages may build at once.
func buildPlugin(ctx context.Context, root string, progress io.Writer) (string, error) {
	bin := filepath.Join(root, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", err
	}
	fresh, err := os.MkdirTemp(bin, "build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(fresh)
	cmd := exec.CommandContext(ctx, "go", "build", "-o", fresh, "./cmd/"+PluginName)
	cmd.Dir, cmd.Stdout, cmd.Stderr = root, progress, progress
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build the plugin: %w", err)
	}
	path := filepath.Join(bin, PluginName)
	return path, os.Rename(filepath.Join(fresh, PluginName), path)
}

// pluginVersion asks the binary, since Vault refuses to mount a plugin under a version that it does not report itself.
func pluginVersion(ctx context.Context, bin string) (string, error) {
	out, err := exec.CommandContext(ctx, bin, "-version").Output()
	if err != nil {
		return "", fmt.Errorf("%s -version: %w", bin, err)
	}
	return string(bytes.TrimSpace(out)), nil
}
