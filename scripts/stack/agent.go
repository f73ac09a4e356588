package stack

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Agent is a running Vault Agent.
type Agent struct {
	process *process
	dir     string
}

// StartAgent starts a Vault Agent of this Vault's own binary with a configuration in HCL, which need not say where
// Vault is. It returns at once: what the agent renders tells when it is ready.
func (v *Vault) StartAgent(config string) (*Agent, error) {
	dir, err := os.MkdirTemp("", "agent-")
	if err != nil {
		return nil, err
	}
	a := &Agent{dir: dir}
	file := filepath.Join(dir, "agent.hcl")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		a.Stop()
		return nil, fmt.Errorf("write the agent's configuration: %w", err)
	}
	cmd := exec.Command(v.tools.VaultBin, "agent", "-config="+file)
	cmd.Dir = dir
	cmd.Env = environment(dir, "VAULT_ADDR="+v.Addr)
	if a.process, err = start("Vault Agent", cmd, filepath.Join(dir, "log")); err != nil {
		a.Stop()
		return nil, err
	}
	return a, nil
}

// Running reports whether the agent has not ended.
func (a *Agent) Running() bool {
	return a.process.running()
}

// Log gives the end of what the agent has printed.
func (a *Agent) Log() string {
	return tail(a.process.log)
}

// Stop ends the agent, with what it runs, and removes its files.
func (a *Agent) Stop() {
	a.process.stop()
	_ = os.RemoveAll(a.dir)
}
