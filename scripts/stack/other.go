package stack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/vault/api"
)

// MountOther registers another plugin binary under the name of its path and mounts it there.
func (v *Vault) MountOther(ctx context.Context, binary, path string) error {
	content, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(v.pluginDir(), path), content, 0o700); err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	err = v.Client.Sys().RegisterPluginWithContext(ctx, &api.RegisterPluginInput{
		Name: path, Type: api.PluginTypeSecrets, Command: path, SHA256: hex.EncodeToString(sum[:]),
	})
	if err != nil {
		return fmt.Errorf("register the plugin %s: %w", path, err)
	}
	return v.MountBuiltin(ctx, path, path)
}

// MountBuiltin mounts an engine that Vault knows already.
func (v *Vault) MountBuiltin(ctx context.Context, kind, path string) error {
	if err := v.Client.Sys().MountWithContext(ctx, path, &api.MountInput{Type: kind}); err != nil {
		return fmt.Errorf("mount %s at %s: %w", kind, path, err)
	}
	return nil
}
