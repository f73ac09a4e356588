package stack

import (
	"context"
	"net/http"
)

// PID is the id of the Vault process that runs now, without its plugins.
func (v *Vault) PID() int {
	return v.process.pid
}

// RestartSealed is [RaftVault.Restart] without the unsealing, for callers who time what follows it.
func (r *RaftVault) RestartSealed(ctx context.Context) error {
	if r.process.running() {
		r.process.stop()
	}
	if err := r.launch(); err != nil {
		return err
	}
	return r.awaitHealth(ctx, func(status int) bool { return status == http.StatusServiceUnavailable })
}
