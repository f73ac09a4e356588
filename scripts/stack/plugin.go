package stack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hashicorp/vault/api"
)

func (v *Vault) pluginDir() string {
	return filepath.Join(v.dir, "plugins")
}

// installPlugin copies the binary: Vault refuses links that lead out of its plugin directory.
func installPlugin(bin, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	content, err := os.ReadFile(bin)
	if err != nil {
		return fmt.Errorf("read the plugin's binary: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, PluginName), content, 0o700)
}

// register enters the engine in Vault's plugin catalogue as an operator would: by checksum and version.
func (v *Vault) register(ctx context.Context) error {
	binary := filepath.Join(v.pluginDir(), PluginName)
	content, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	if v.version, err = pluginVersion(ctx, binary); err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	err = v.Client.Sys().RegisterPluginWithContext(ctx, &api.RegisterPluginInput{
		Name: PluginName, Type: api.PluginTypeSecrets, Command: PluginName, SHA256: hex.EncodeToString(sum[:]),
		Version: v.version,
	})
	if err != nil {
		return fmt.Errorf("register the plugin: %w", err)
	}
	return nil
}

// Mount enables the engine at a path.
func (v *Vault) Mount(ctx context.Context, path string) error {
	err := v.Client.Sys().MountWithContext(ctx, path, &api.MountInput{
		Type: PluginName, Config: api.MountConfigInput{PluginVersion: v.version},
	})
	if err != nil {
		return fmt.Errorf("mount the engine at %s: %w", path, err)
	}
	return nil
}

// Reload replaces the plugin's process, for all its mounts.
func (v *Vault) Reload(ctx context.Context) error {
	_, err := v.Client.Sys().ReloadPluginWithContext(ctx, &api.ReloadPluginInput{Plugin: PluginName})
	return err
}

// PluginPIDs gives the ids of Vault's plugin processes. There are none before the first mount.
func (v *Vault) PluginPIDs() ([]int, error) {
	return childrenOf(v.process.pid)
}

// KillPlugin ends the plugin's processes without warning and waits until they are gone. The next request to the engine
// starts a new one.
func (v *Vault) KillPlugin(ctx context.Context) error {
	pids, err := v.PluginPIDs()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return fmt.Errorf("kill plugin process %d: %w", pid, err)
		}
	}
	return v.process.ready(ctx, func(context.Context) error {
		left, err := v.PluginPIDs()
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("plugin processes %v still run", left)
		}
		return err
	})
}
