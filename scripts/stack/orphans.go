package stack

import (
	"context"
	"fmt"
)

// Unseal unseals a Vault that was sealed and goes on running.
func (r *RaftVault) Unseal(ctx context.Context) error {
	return r.unseal(ctx)
}

// Orphans gives the ids of processes that killed Vaults left behind and that still run.
func (v *Vault) Orphans() ([]int, error) {
	var orphans []int
	for _, p := range v.former {
		members, err := groupMembers(p.pid)
		if err != nil {
			return nil, fmt.Errorf("list what %s left behind: %w", p.name, err)
		}
		orphans = append(orphans, members...)
	}
	return orphans, nil
}
