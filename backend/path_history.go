package backend

import (
	"context"
	"slices"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

func (b *backend) pathHistory() []*framework.Path {
	return []*framework.Path{{
		Pattern:      byName("history"),
		DisplayAttrs: display(spellings("history"), "History"),
		Fields:       ownedFields(nil),
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: verb("read", b.operation(b.historyRead, "What changed of a connection, and by whom.",
				historySchema)),
		},
		HelpSynopsis:    "What changed of a connection, and by whom.",
		HelpDescription: historyHelp,
	}}
}

var historySchema = map[string]*framework.FieldSchema{
	"records": required(objects("Newest first: number, connection_id, time, verb, by, by_id (both empty: the engine), " +
		"changes (field, before, after).")),
}

func (b *backend) historyRead(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	k, err := b.keyOf(ctx, req, d)
	if err != nil {
		return nil, err
	}
	records, err := b.recordsOf(ctx, k)
	if err != nil || len(records) == 0 {
		return nil, err
	}
	all := []map[string]any{}
	for _, r := range slices.Backward(records) {
		all = append(all, recordData(r))
	}
	return &logical.Response{Data: map[string]any{"records": all}}, nil
}

// recordsOf are the records of a name, oldest first: those that were kept, and the one that the connection carries.
func (b *backend) recordsOf(ctx context.Context, k store.Key) ([]store.Record, error) {
	conn, _, err := b.connections.Get(ctx, k)
	if err != nil && !store.Damaged(err) {
		return nil, err
	}
	h, err := b.store.History(ctx, k)
	if err != nil && !store.Damaged(err) {
		return nil, err
	}
	if h == nil {
		h = &store.History{}
	}
	if conn != nil && conn.Record != nil {
		h.Append(*conn.Record)
	}
	return h.Records, nil
}

func recordData(r store.Record) map[string]any {
	changes := []map[string]any{}
	for _, c := range r.Changes {
		changes = append(changes, map[string]any{"field": c.Field, "before": c.Before, "after": c.After})
	}
	return map[string]any{
		"number": int(r.N), "connection_id": r.ID, "time": rfc3339(r.By.Time), "verb": r.Verb, "by": r.By.DisplayName,
		"by_id": r.By.EntityID, "changes": changes,
	}
}

// disconnected tells of a connection that is not there by whom it was deleted or moved, as far as the caller may know:
// of a private one its owner alone may. It is empty when nothing is known.
func (b *backend) disconnected(ctx context.Context, who caller, k store.Key) string {
	h, err := b.store.History(ctx, k)
	if err != nil || h == nil || len(h.Records) == 0 {
		return ""
	}
	last := h.Records[len(h.Records)-1]
	became := map[string]string{"deleting": "disconnected", "moving": "moved to another owner or name"}
	what := ""
	for _, c := range last.Changes {
		if c.After != "" {
			what = orDefault(what, became[c.Field])
		}
	}
	if what == "" || last.Private && !who.owns(k) {
		return ""
	}
	by := orDefault(last.By.DisplayName, "entity "+last.By.EntityID)
	return "; it was " + what + " by " + clipText(by) + " at " + rfc3339(last.By.Time)
}

// tidyHistories forgets what was kept of connections that have been gone for longer than config says. It lists all and
// reads those whose connection is gone.
func (b *backend) tidyHistories(ctx context.Context) error {
	config, err := b.config(ctx)
	if err != nil {
		return err
	}
	missed, err := b.directory.fill(ctx)
	if err != nil {
		return err
	}
	b.catchUpNotices(ctx)
	living := map[string]bool{}
	if err := b.directory.walk(ctx, store.Key{}, func(r *record) bool {
		living[r.key().HistoryID()] = true
		return true
	}); err != nil {
		return err
	}
	ids, err := b.store.Histories(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if living[id] || ctx.Err() != nil {
			continue
		}
		h, err := b.store.HistoryByID(ctx, id)
		switch {
		case err != nil && !store.Damaged(err):
			return err
		case h != nil:
			if b.notices.gone(h); b.now().Before(h.Last().Add(config.Retention())) {
				continue
			}
		}
		if err := b.store.DeleteHistory(ctx, id); err != nil {
			return err
		}
	}
	if len(missed.keys) > 0 {
		return ctx.Err()
	}
	return b.notices.caughtUp(ctx)
}

const historyHelp = `
The last changes of what has this name, and had it: who, when, by what, and what became
of its public fields. The engine's own are among them: that it began to fail, that the
provider refuses it, that it recovered. A renewal as usual is none.

At most twenty are kept, in 12 kB. They outlive the connection by history_retention on
config; creds of one that was deleted tells then by whom.
`
