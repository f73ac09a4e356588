package backend

import (
	"context"
	"unique"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// owned is how many connections an owner has, those being deleted and those that cannot be read among them.
func (d *directory) owned(ctx context.Context, o store.Owner) (n int, err error) {
	if _, err := d.fill(ctx); err != nil {
		return 0, err
	}
	d.mirror.mu.Lock()
	defer d.mirror.mu.Unlock()
	owner := unique.Make(o)
	d.table.from(store.Key{Owner: o}, func(r *record) bool {
		if r.owner == owner {
			n++
		}
		return r.owner == owner
	})
	return n, nil
}

// mayAdd refuses one more connection of an owner that has as many as config allows. It is asked before anything is
// spent or stored for the new one, and no lock is held until that is there: requests that meet may exceed the limit by
// a few.
func (b *backend) mayAdd(ctx context.Context, k store.Key) error {
	config, err := b.config(ctx)
	if err != nil || config.MaxConnectionsPerOwner == 0 {
		return err
	}
	n, err := b.directory.owned(ctx, k.Owner)
	if err != nil || n < config.MaxConnectionsPerOwner {
		return err
	}
	return conflict("%s has %s, as many as max_connections_per_owner on config allows: delete one, or have an "+
		"operator raise it", k.Owner, plural(n))
}
