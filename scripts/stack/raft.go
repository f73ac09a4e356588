package stack

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hashicorp/vault/api"
)

// RaftVault is a Vault with one node that keeps its data on disk, so that it can be stopped or killed and come back.
type RaftVault struct {
	*Vault
	unsealKey string
}

// StartVaultRaft starts, initialises and unseals such a Vault.
func StartVaultRaft(ctx context.Context, tools Tools, o VaultOptions) (*RaftVault, error) {
	v, err := prepareVault(tools, o)
	if err != nil {
		return nil, err
	}
	r := &RaftVault{Vault: v}
	if err = r.configure(); err == nil {
		err = r.firstStart(ctx, r.initialise)
	}
	if err != nil {
		r.Stop()
		return nil, err
	}
	return r, nil
}

func (r *RaftVault) configure() error {
	// The performance multiplier of 1 lets the node elect itself without the default's wait of several seconds.
	return r.keepOnDisk("raft", `
  node_id                = "one"
  performance_multiplier = 1`)
}

// keepOnDisk has Vault keep its data in a folder of its own, by a kind of storage and its further settings.
func (v *Vault) keepOnDisk(storage, settings string) error {
	data := v.dataDir(storage)
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	file := filepath.Join(v.dir, "vault.hcl")
	v.command = []string{"server", "-config=" + file}
	config := fmt.Sprintf(`
disable_mlock    = true
plugin_directory = %q
api_addr         = "http://127.0.0.1:%[2]d"
cluster_addr     = "https://127.0.0.1:%[3]d"

listener "tcp" {
  address     = "127.0.0.1:%[2]d"
  tls_disable = true
}

storage %[4]q {
  path = %[5]q
%[6]s
}
`, v.pluginDir(), v.options.Port, v.options.Port+1, storage, data, settings)
	return os.WriteFile(file, []byte(config), 0o600)
}

func (v *Vault) dataDir(storage string) string {
	return filepath.Join(v.dir, storage)
}

func (r *RaftVault) initialise(ctx context.Context) (err error) {
	r.unsealKey, err = r.firstUnseal(ctx)
	return err
}

// firstUnseal initialises a Vault without data, unseals it, and gives the key for the next time.
func (v *Vault) firstUnseal(ctx context.Context) (key string, err error) {
	if err := v.awaitHealth(ctx, func(status int) bool { return status == http.StatusNotImplemented }); err != nil {
		return "", err
	}
	answer, err := v.Client.Sys().InitWithContext(ctx, &api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		return "", fmt.Errorf("initialise Vault: %w", err)
	}
	v.useToken(answer.RootToken)
	return answer.KeysB64[0], v.unsealWith(ctx, answer.KeysB64[0])
}

func (r *RaftVault) unseal(ctx context.Context) error {
	return r.unsealWith(ctx, r.unsealKey)
}

func (v *Vault) unsealWith(ctx context.Context, key string) error {
	if err := v.awaitHealth(ctx, func(status int) bool {
		return status == http.StatusServiceUnavailable
	}); err != nil {
		return err
	}
	if _, err := v.Client.Sys().UnsealWithContext(ctx, key); err != nil {
		return fmt.Errorf("unseal Vault: %w", err)
	}
	return v.awaitActive(ctx)
}

// Restart stops Vault, if it runs, starts it on the same data and port, and unseals it.
func (r *RaftVault) Restart(ctx context.Context) error {
	if r.process.running() {
		r.process.stop()
	}
	if err := r.launch(); err != nil {
		return err
	}
	return r.unseal(ctx)
}

// Kill ends Vault without warning, and only it: its plugins live on as orphans, until they notice or until Stop.
func (r *RaftVault) Kill() {
	r.former = append(r.former, r.process)
	r.process.signal(syscall.SIGKILL)
	<-r.process.ended
}
