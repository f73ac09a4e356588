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
	data := filepath.Join(r.dir, "raft")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	file := filepath.Join(r.dir, "vault.hcl")
	r.command = []string{"server", "-config=" + file}
	// The performance multiplier of 1 lets the node elect itself without the default's wait of several seconds.
	config := fmt.Sprintf(`
disable_mlock    = true
plugin_directory = %q
api_addr         = "http://127.0.0.1:%[2]d"
cluster_addr     = "https://127.0.0.1:%[3]d"

listener "tcp" {
  address     = "127.0.0.1:%[2]d"
  tls_disable = true
}

storage "raft" {
  path                   = %[4]q
  node_id                = "one"
  performance_multiplier = 1
}
`, r.pluginDir(), r.options.Port, r.options.Port+1, data)
	return os.WriteFile(file, []byte(config), 0o600)
}

func (r *RaftVault) initialise(ctx context.Context) error {
	if err := r.awaitHealth(ctx, func(status int) bool { return status == http.StatusNotImplemented }); err != nil {
		return err
	}
	answer, err := r.Client.Sys().InitWithContext(ctx, &api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		return fmt.Errorf("initialise Vault: %w", err)
	}
	r.unsealKey = answer.KeysB64[0]
	r.useToken(answer.RootToken)
	return r.unseal(ctx)
}

func (r *RaftVault) unseal(ctx context.Context) error {
	if err := r.awaitHealth(ctx, func(status int) bool { return status == http.StatusServiceUnavailable }); err != nil {
		return err
	}
	if _, err := r.Client.Sys().UnsealWithContext(ctx, r.unsealKey); err != nil {
		return fmt.Errorf("unseal Vault: %w", err)
	}
	return r.awaitActive(ctx)
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
