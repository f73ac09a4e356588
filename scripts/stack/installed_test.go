package stack

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNewEnough(t *testing.T) {
	const built = " (f7d8b1c), built 2025-10-22T00:00:00Z"
	good := map[string]string{ // what is printed, and the version
		"Vault v1.21.0" + built + "\n":             "v1.21.0",
		"Vault v1.16.0" + built:                    "v1.16.0",
		"Vault v1.16.0-rc1" + built:                "v1.16.0-rc1",
		"Vault v1.19.3+ent.hsm" + built + " (cgo)": "v1.19.3+ent.hsm",
		"Vault v1.22.0-beta1, built":               "v1.22.0-beta1",
		"Vault v1.100.0":                           "v1.100.0",
		"Vault v2.0.0" + built:                     "v2.0.0",
	}
	for printed, want := range good {
		t.Run(printed, func(t *testing.T) {
			version, err := newEnough(printed)
			require.NoError(t, err)
			assert.Equal(t, want, version)
		})
	}
	const old, foreign = "the engine needs v1.16 or newer", "what it prints as its version is not Vault's"
	refused := map[string]string{ // what is printed, and why it is refused
		"Vault v1.15.16" + built:           "it is v1.15.16, and " + old,
		"Vault v1.9.10" + built:            old,
		"Vault v0.99.0" + built:            old,
		"OpenBao v2.4.0" + built:           foreign,
		"Vault 1.21.0" + built:             foreign,
		"Vault v1.21" + built:              foreign,
		"Vault v1.99999999999999999999.0":  foreign,
		"a warning\nVault v1.21.0" + built: foreign,
		"":                                 foreign,
	}
	for printed, why := range refused {
		t.Run("not "+printed, func(t *testing.T) {
			_, err := newEnough(printed)
			require.ErrorContains(t, err, why)
		})
	}
}

func TestInstalledVault(t *testing.T) {
	onPath := func(t *testing.T, mode os.FileMode, script string) (bin string) {
		t.Helper()
		dir := t.TempDir()
		t.Setenv("PATH", dir+":/usr/bin:/bin") // of these, sleep
		bin = filepath.Join(dir, "vault")
		require.NoError(t, os.WriteFile(bin, []byte("#!/bin/sh\n"+script+"\n"), mode))
		return bin
	}
	t.Run("new enough", func(t *testing.T) {
		want := onPath(t, 0o700, `[ "$*" = version ] && echo "Vault v1.21.0 (f7d8b1c), built 2025-10-22T00:00:00Z"`)
		bin, version, err := installedVault(t.Context())
		require.NoError(t, err)
		assert.Equal(t, want, bin)
		assert.Equal(t, "v1.21.0", version)
	})
	refused := map[string]struct{ script, why string }{
		"too old":    {`echo "Vault v1.15.2 (cf1b5ca), built"`, "it is v1.15.2, and the engine needs v1.16 or newer"},
		"OpenBao":    {`echo "OpenBao v2.4.0 (c20eae3)"`, "what it prints as its version is not Vault's"},
		"one broken": {`echo "Vault v1.21.0"; exit 3`, "it does not say its version (exit status 3)"},
	}
	for name, tc := range refused {
		t.Run(name, func(t *testing.T) {
			there := onPath(t, 0o700, tc.script)
			bin, _, err := installedVault(t.Context())
			require.EqualError(t, err, there+" of the PATH will not do: "+tc.why)
			assert.Empty(t, bin)
		})
	}
	t.Run("one that hangs", func(t *testing.T) {
		onPath(t, 0o700, "exec sleep 60")
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		bin, _, err := installedVault(ctx)
		require.ErrorContains(t, err, "it does not say its version in time")
		assert.Empty(t, bin)
		assert.Less(t, time.Since(start), 30*time.Second)
	})
	t.Run("none", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		bin, _, err := installedVault(t.Context())
		require.EqualError(t, err, "no vault is on the PATH")
		assert.Empty(t, bin)
	})
}
