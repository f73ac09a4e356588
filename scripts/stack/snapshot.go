package stack

import (
	"bytes"
	"context"
	"fmt"
)

// Snapshot saves what the raft log holds, as "vault operator raft snapshot save" does.
func (r *RaftVault) Snapshot(ctx context.Context) ([]byte, error) {
	var saved bytes.Buffer
	if err := r.Client.Sys().RaftSnapshotWithContext(ctx, &saved); err != nil {
		return nil, fmt.Errorf("save a snapshot: %w", err)
	}
	return saved.Bytes(), nil
}

// Restore puts a snapshot of this Vault in the place of what it holds. Vault answers before that has happened: wait
// for something that only the snapshot holds.
func (r *RaftVault) Restore(ctx context.Context, snapshot []byte) error {
	if err := r.Client.Sys().RaftSnapshotRestoreWithContext(ctx, bytes.NewReader(snapshot), false); err != nil {
		return fmt.Errorf("restore a snapshot: %w", err)
	}
	return nil
}

// SetEnv changes the variables that Vault, and so its plugins, have from the next start on: "NAME=value".
func (v *Vault) SetEnv(env ...string) {
	v.options.Env = env
}
