package backend

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

func (b *backend) pathStatus() []*framework.Path {
	return []*framework.Path{{
		Pattern:      "status",
		DisplayAttrs: display("status", "Status"),
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: verb("read", b.operation(b.statusRead, "Read how the engine fares.", statusSchema)),
		},
		HelpSynopsis:    "How the engine fares.",
		HelpDescription: statusHelp,
	}}
}

var statusSchema = map[string]*framework.FieldSchema{
	"version":        required(str("Version of the engine.")),
	"connections":    required(integer("Connections on this mount.")),
	"unreadable":     required(integer("Connections and providers beside those that were counted, whose entries cannot be read or decoded.")),
	"by_status":      required(object("Connections by status.")),
	"by_provider":    required(object("Connections by provider.")),
	"providers":      required(integer("Configured providers.")),
	"open_flows":     required(integer("Flows that are open.")),
	"scheduled":      required(integer("Connections that are refreshed by themselves.")),
	"due":            required(integer("Of them, those due now.")),
	"overdue":        required(integer("Of them, those due for more than a minute.")),
	"in_flight":      required(integer("Refreshes under way, whoever asked for them.")),
	"retrying":       required(integer("Connections whose last refresh failed.")),
	"reconnect_soon": required(integer("Connections that serve and whose consent runs out within two weeks, whatever is refreshed: see reconnect_by on connections.")),
	"last_pass":      required(str("When the worker last found something due (RFC 3339); empty before the first time.")),
	"circuits":       required(object("Providers that are down or limit us: state, and until when they are left alone.")),
	"unsaved":        required(integer("Connections whose newest state lives in memory only, because storage refuses it.")),
	"refresh_paused": required(boolean("Whether refreshing is paused.")),
	"writable":       required(boolean("Whether this node may write, and so refresh.")),
}

func (b *backend) statusRead(ctx context.Context, _ *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	if _, err := b.config(ctx); err != nil {
		return nil, err // without settings no provider can be used
	}
	names, err := b.store.Providers(ctx)
	if err != nil {
		return nil, err
	}
	unreadable, fingerprints, unknown := 0, map[string]*string{}, map[string]bool{}
	for _, name := range names {
		p, err := b.provider(ctx, name)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			unreadable++
			unknown[name] = true
		case p != nil:
			fingerprints[name] = &p.fingerprint
		}
	}
	now := b.now()
	total, retrying, soon, byStatus, byProvider := 0, 0, 0, map[string]int{}, map[string]int{}
	if err := b.directory.each(ctx, b.store, func(_ store.Key, s summary) {
		if s.unreadable {
			unreadable++
			return
		}
		total++
		fingerprint := fingerprints[s.provider]
		if unknown[s.provider] {
			fingerprint = &s.pinned // nobody can tell whether the provider changed: it did not, as far as we know
		}
		status := s.statusUnder(fingerprint)
		byStatus[string(status)]++
		byProvider[s.provider]++
		if s.failing {
			retrying++
		}
		if status == store.StatusActive && refresh.EndsSoon(s.reconnectBy(), now) {
			soon++
		}
	}); err != nil {
		return nil, err
	}
	open := 0
	if err := b.flows.each(ctx, b.store, func(_ string, f openFlow) {
		if !f.ended && !f.denied && now.Before(f.expires) {
			open++
		}
	}); err != nil {
		return nil, err
	}
	health := b.coordinator.Health()
	circuits := map[string]any{}
	for provider, c := range health.Circuits {
		circuits[provider] = map[string]any{"state": c.State, "until": rfc3339(c.Until)}
	}
	return &logical.Response{Data: map[string]any{
		"version": Version, "connections": total, "unreadable": unreadable, "by_status": byStatus, "by_provider": byProvider, "providers": len(names),
		"open_flows": open, "unsaved": b.coordinator.Unsaved(), "refresh_paused": b.paused(ctx), "writable": b.WriteSafeReplicationState(),
		"scheduled": health.Scheduled, "due": health.Due, "overdue": health.Overdue, "in_flight": health.InFlight,
		"retrying": retrying, "reconnect_soon": soon, "last_pass": rfc3339(health.LastPass), "circuits": circuits,
	}}, nil
}

const statusHelp = `
Counts, and whatever an operator must know. overdue above 0 while nothing is paused means
that refreshing does not keep up, or that a provider is down: see circuits. unsaved above
0 means that storage refuses writes and tokens would be lost with the process.
reconnect_soon counts the consents that run out within two weeks. unreadable above 0
means that entries are damaged, of a newer release, or not given by storage: reading
them says which it is, and lists show them without key_info.
`
