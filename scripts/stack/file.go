package stack

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// FileVault is a Vault that keeps each storage key in a file of its own, so that some can be made to refuse writes.
type FileVault struct {
	*Vault
}

// StartVaultFile starts, initialises and unseals such a Vault.
func StartVaultFile(ctx context.Context, tools Tools, o VaultOptions) (*FileVault, error) {
	v, err := prepareVault(tools, o)
	if err != nil {
		return nil, err
	}
	f := &FileVault{Vault: v}
	if err = f.configure(); err == nil {
		err = f.firstStart(ctx, func(ctx context.Context) error {
			_, err := f.firstUnseal(ctx)
			return err
		})
	}
	if err != nil {
		f.Stop()
		return nil, err
	}
	return f, nil
}

func (f *FileVault) configure() error {
	if err := f.keepOnDisk("file", ""); err != nil || os.Geteuid() != 0 {
		return err
	}
	// A folder's mode holds nobody back who runs as root, as containers often do. This Vault goes without that
	// privilege, which takes the setpriv of Linux.
	wrapper := filepath.Join(f.dir, "vault")
	script := "#!/bin/sh\nexec setpriv --bounding-set=-dac_override '" +
		strings.ReplaceAll(f.tools.VaultBin, "'", `'\''`) + `' "$@"` + "\n"
	f.tools.VaultBin = wrapper
	return os.WriteFile(wrapper, []byte(script), 0o700)
}

// Refuse makes storage refuse what is written or deleted in a folder of a mount's keys, as a file system does that
// turned read-only, until lift is called. Reads and lists go on. Vault removes a folder whose last key it deletes, and
// the refusal with it.
func (f *FileVault) Refuse(ctx context.Context, mount, folder string) (lift func() error, err error) {
	m, err := f.Client.Sys().GetMountWithContext(ctx, mount)
	if err != nil {
		return nil, fmt.Errorf("find the storage of %s: %w", mount, err)
	}
	dir := filepath.Join(f.dataDir("file"), "logical", m.UUID, folder)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return func() error { return os.Chmod(dir, 0o700) }, os.Chmod(dir, 0o500)
}
