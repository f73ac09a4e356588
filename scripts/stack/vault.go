package stack

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/hashicorp/vault/api"
)

// VaultOptions change how a Vault is started. The zero value is what most tests use.
type VaultOptions struct {
	Port int      // 0: a free one
	Env  []string // variables for Vault, and so for its plugins: "NAME=value"
	Args []string // further arguments, of a Vault in dev mode
}

// Vault is a running Vault with a file audit device and the engine registered, but not mounted.
type Vault struct {
	Addr      string // http://127.0.0.1:port
	Token     string // the root token
	Client    *api.Client
	AuditFile string
	LogFile   string // of Vault and its plugins

	tools   Tools
	options VaultOptions
	version string // of the plugin
	dir     string
	command []string // Vault's arguments
	process *process
	former  []*process // killed ones, whose orphaned plugins may still run
}

const devToken = "root"

// StartVaultDev starts a Vault in dev mode: in memory, unsealed, with the root token "root".
func StartVaultDev(ctx context.Context, tools Tools, o VaultOptions) (*Vault, error) {
	v, err := prepareVault(tools, o)
	if err != nil {
		return nil, err
	}
	v.command = []string{
		"server", "-dev", "-dev-no-store-token", "-dev-root-token-id=" + devToken,
		"-dev-listen-address=" + strings.TrimPrefix(v.Addr, "http://"), "-dev-plugin-dir=" + v.pluginDir(),
	}
	v.command = append(v.command, o.Args...)
	v.useToken(devToken)
	if err := v.firstStart(ctx, v.awaitActive); err != nil {
		v.Stop()
		return nil, err
	}
	return v, nil
}

// prepareVault lays out a folder for a Vault: plugins with the engine's binary, the audit log, the server's log.
func prepareVault(tools Tools, o VaultOptions) (*Vault, error) {
	if o.Port == 0 {
		// Vault's cluster listener takes the port after the one for its API.
		port, err := freePorts(2)
		if err != nil {
			return nil, err
		}
		o.Port = port
	}
	dir, err := os.MkdirTemp("", "vault-")
	if err != nil {
		return nil, err
	}
	v := &Vault{Addr: fmt.Sprintf("http://127.0.0.1:%d", o.Port), tools: tools, options: o, dir: dir}
	// Vault refuses a plugin directory that is reached by a symbolic link, as a Mac's temporary folder is.
	if v.dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	v.AuditFile = filepath.Join(v.dir, "audit.log")
	v.LogFile = filepath.Join(v.dir, "vault.log")
	config := api.DefaultConfig()
	config.Address = v.Addr
	if v.Client, err = api.NewClient(config); err == nil {
		v.Client.ClearNamespace() // the environment's; the address and the token are ours too
		err = installPlugin(tools.PluginBin, v.pluginDir())
	}
	if err != nil {
		v.Stop()
		return nil, err
	}
	return v, nil
}

// firstStart brings Vault up, by what must follow its start, then sets up auditing and the engine's registration.
func (v *Vault) firstStart(ctx context.Context, bringUp func(context.Context) error) error {
	if err := v.launch(); err != nil {
		return err
	}
	if err := bringUp(ctx); err != nil {
		return err
	}
	err := v.Client.Sys().EnableAuditWithOptionsWithContext(ctx, "file", &api.EnableAuditOptions{
		Type: "file", Options: map[string]string{"file_path": v.AuditFile},
	})
	if err != nil {
		return fmt.Errorf("enable the audit device: %w", err)
	}
	return v.register(ctx)
}

func (v *Vault) launch() error {
	cmd := exec.Command(v.tools.VaultBin, v.command...)
	cmd.Dir = v.dir
	cmd.Env = environment(v.dir, v.options.Env...)
	var err error
	v.process, err = start("Vault", cmd, v.LogFile)
	return err
}

func (v *Vault) useToken(token string) {
	v.Token = token
	v.Client.SetToken(token)
}

// awaitActive waits until Vault is unsealed and serves requests itself.
func (v *Vault) awaitActive(ctx context.Context) error {
	return v.awaitHealth(ctx, func(status int) bool { return status == http.StatusOK })
}

func (v *Vault) awaitHealth(ctx context.Context, good func(status int) bool) error {
	return v.process.ready(ctx, func(ctx context.Context) error {
		got, err := status(ctx, v.Addr+"/v1/sys/health")
		if err == nil && !good(got) {
			err = fmt.Errorf("its health is %d", got)
		}
		return err
	})
}

// CLI runs the plain vault command against this Vault as root and returns what it printed.
func (v *Vault) CLI(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, v.tools.VaultBin, args...)
	cmd.Dir = v.dir
	cmd.Env = environment(v.dir, "VAULT_ADDR="+v.Addr, "VAULT_TOKEN="+v.Token)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("vault %s: %w: %s", args[0], err, strings.TrimSpace(complaint.String()))
	}
	return string(out), nil
}

// Binary is the path of the vault command that this Vault runs.
func (v *Vault) Binary() string {
	return v.tools.VaultBin
}

// Ended is closed when the Vault that runs now has ended.
func (v *Vault) Ended() <-chan struct{} {
	return v.process.ended
}

// Stop ends Vault with all its plugins and removes its files.
func (v *Vault) Stop() {
	v.process.stop()
	for _, p := range v.former {
		p.kill()
	}
	_ = os.RemoveAll(v.dir)
}
