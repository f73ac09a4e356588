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

// Release is the version under which the engine under test is registered.
func (v *Vault) Release() string { return v.version }

// AddRelease registers another build of the engine beside the one under test, and gives its version.
func (v *Vault) AddRelease(ctx context.Context, binary string) (version string, err error) {
	content, err := os.ReadFile(binary)
	if err != nil {
		return "", fmt.Errorf("read the release's binary: %w", err)
	}
	if version, err = pluginVersion(ctx, binary); err != nil {
		return "", err
	}
	command := PluginName + "-" + version
	if err := os.WriteFile(filepath.Join(v.pluginDir(), command), content, 0o700); err != nil {
		return "", err
	}
	sum := sha256.Sum256(content)
	err = v.Client.Sys().RegisterPluginWithContext(ctx, &api.RegisterPluginInput{
		Name: PluginName, Type: api.PluginTypeSecrets, Command: command, SHA256: hex.EncodeToString(sum[:]),
		Version: version,
	})
	if err != nil {
		return "", fmt.Errorf("register the release %s: %w", version, err)
	}
	return version, nil
}

// MountRelease is Mount for a release other than the one under test.
func (v *Vault) MountRelease(ctx context.Context, path, version string) error {
	err := v.Client.Sys().MountWithContext(ctx, path, &api.MountInput{
		Type: PluginName, Config: api.MountConfigInput{PluginVersion: version},
	})
	if err != nil {
		return fmt.Errorf("mount the engine's release %s at %s: %w", version, path, err)
	}
	return nil
}

// SwitchRelease has a mount run another release on the same storage, as an operator does who upgrades or goes back.
func (v *Vault) SwitchRelease(ctx context.Context, path, version string) error {
	sys := v.Client.Sys()
	if err := sys.TuneMountAllowNilWithContext(ctx, path,
		api.TuneMountConfigInput{PluginVersion: &version}); err != nil {
		return fmt.Errorf("tune %s to the release %s: %w", path, version, err)
	}
	if _, err := sys.ReloadPluginWithContext(ctx, &api.ReloadPluginInput{Mounts: []string{path + "/"}}); err != nil {
		return fmt.Errorf("reload %s: %w", path, err)
	}
	m, err := sys.GetMountWithContext(ctx, path)
	if err != nil {
		return fmt.Errorf("look which release runs at %s: %w", path, err)
	}
	if m.RunningVersion != version {
		return fmt.Errorf("%s runs the release %s and not %s", path, m.RunningVersion, version)
	}
	return nil
}
