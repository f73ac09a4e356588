package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// The oldest Vault that is taken from the PATH. Vault has plugins that are multiplexed and have versions, as the
// engine needs them, since 1.12. Tests run with the one that scripts/vault pins alone, so the bound leaves a distance.
const (
	oldestMajor = 1
	oldestMinor = 16
)

// versionTime bounds how long an installed Vault may take to say its version.
const versionTime = 10 * time.Second

// LocateInstalled is Locate for whoever only wants to see the engine run: a vault of the PATH that is new enough does,
// and none is compiled then. It tells progress which one it takes, and why not the one of the PATH.
func LocateInstalled(ctx context.Context, progress io.Writer) (Tools, error) {
	bin := os.Getenv("VAULT_BIN")
	if bin != "" {
		fmt.Fprintf(progress, "Vault: %s, which VAULT_BIN names\n", bin)
		return locate(ctx, progress, bin)
	}
	bin, version, err := installedVault(ctx)
	if err != nil {
		fmt.Fprintf(progress, "Vault: the one that scripts/vault pins, since %v\n", err)
	} else {
		fmt.Fprintf(progress, "Vault: %s of the PATH, which is %s; VAULT_BIN names another\n", bin, version)
	}
	return locate(ctx, progress, bin)
}

// installedVault finds a Vault that is new enough, or says why there is none.
func installedVault(ctx context.Context) (bin, version string, err error) {
	found, err := exec.LookPath("vault")
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "", "", errors.New("no vault is on the PATH")
	case err != nil:
		return "", "", err
	}
	if version, err = vaultVersion(ctx, found); err != nil {
		return "", "", fmt.Errorf("%s of the PATH will not do: %w", found, err)
	}
	return found, version, nil
}

// vaultVersion asks a binary for its version, and fails unless that is one of Vault's and new enough.
func vaultVersion(ctx context.Context, bin string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, "version")
	cmd.WaitDelay = time.Second // a script's children may hold its output open
	out, err := cmd.Output()
	switch {
	case ctx.Err() != nil:
		return "", errors.New("it does not say its version in time")
	case err != nil:
		return "", fmt.Errorf("it does not say its version (%w)", err)
	}
	return newEnough(string(out))
}

// versionLine is how `vault version` begins: "Vault v1.21.0 (hash), built 2025-10-22T00:00:00Z".
var versionLine = regexp.MustCompile(`^Vault (v(\d{1,4})\.(\d{1,4})\.\d{1,4}[0-9A-Za-z.+-]*)`)

// newEnough gives the version out of what `vault version` prints. A release candidate counts as the release.
func newEnough(printed string) (string, error) {
	m := versionLine.FindStringSubmatch(printed)
	if m == nil {
		return "", errors.New("what it prints as its version is not Vault's")
	}
	major, _ := strconv.Atoi(m[2]) // digits, and few
	minor, _ := strconv.Atoi(m[3])
	if major < oldestMajor || major == oldestMajor && minor < oldestMinor {
		return "", fmt.Errorf("it is %s, and the engine needs v%d.%d or newer", m[1], oldestMajor, oldestMinor)
	}
	return m[1], nil
}
