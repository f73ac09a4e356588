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
	"version":     required(str("Version of the engine.")),
	"connections": required(integer("Connections on this mount.")),
	"unreadable": required(integer("Connections and providers beside those that were counted, whose entries " +
		"cannot be read or decoded.")),
	"by_status":   required(object("Connections by status.")),
	"by_provider": required(object("Connections by provider.")),
	"providers":   required(integer("Configured providers.")),
	"open_flows":  required(integer("Flows that are open.")),
	"scheduled":   required(integer("What falls due by itself: refreshes of connections above all.")),
	"due":         required(integer("Of them, those due now.")),
	"overdue":     required(integer("Of them, those due for more than a minute.")),
	"in_flight": required(integer("Refreshes under way, whoever asked for them; those that " +
		"wait for their provider too.")),
	"calls":         required(integer("Calls to providers under way.")),
	"calls_waiting": required(integer("Calls that wait for a place at their provider.")),
	"longest_wait":  required(integer("Seconds for which the first of those has waited.")),
	"retrying":      required(integer("Connections whose last refresh failed.")),
	"reconnect_soon": required(integer("Connections that serve and whose consent runs out within two weeks, " +
		"whatever is refreshed: see reconnect_by on connections.")),
	"last_pass": required(str("When the worker last found something due (RFC 3339); empty before the first time.")),
	"moved_callbacks": required(strs("Providers whose callback URL is not the one that was last told, as after a " +
		"move of the mount.")),
	"circuits": required(object("Providers that are down or limit us: state, and until when they are left alone.")),
	"unsaved":  required(integer("Connections whose newest state lives in memory only, because storage refuses it.")),
	"doubtful_writes": required(integer("Connections of which a write failed within the last minute " +
		"and may still land in storage.")),
	"refresh_paused": required(boolean("Whether refreshing is paused.")),
	"writable":       required(boolean("Whether this node may write, and so refresh.")),
}

func (b *backend) statusRead(ctx context.Context, req *logical.Request,
	_ *framework.FieldData,
) (*logical.Response, error) {
	data := map[string]any{
		"version": Version, "refresh_paused": b.isPaused(ctx), "writable": b.WriteSafeReplicationState(),
		"unsaved": b.connections.Unsaved(), "doubtful_writes": b.connections.Doubtful(),
		"in_flight": b.refresher.InFlight(),
	}
	config, err := b.config(ctx)
	if err != nil {
		return nil, err // without settings no provider can be used
	}
	var moved []string
	providers, err := b.readProviders(ctx, func(p *configured) {
		if _, is := movedCallback(p, callbackURL(config, req, p.name)); is {
			moved = append(moved, p.name)
		}
	})
	if err != nil {
		return nil, err
	}
	data["moved_callbacks"] = list(moved)
	if err := b.countConnections(ctx, providers, data); err != nil {
		return nil, err
	}
	if data["open_flows"], err = b.openFlows(ctx); err != nil {
		return nil, err
	}
	b.describeBackground(data)
	return &logical.Response{Data: data}, nil
}

// providerStates is how the configured providers stand, by name.
type providerStates struct {
	fingerprints map[string]*string
	unreadable   map[string]bool
	about        map[string]aboutProvider
	count        int
}

// aboutProvider is what filters go by.
type aboutProvider struct{ definition, category string }

func (b *backend) readProviders(ctx context.Context, each func(*configured)) (providerStates, error) {
	names, err := b.store.Providers(ctx)
	states := providerStates{fingerprints: map[string]*string{}, unreadable: map[string]bool{}, about: map[string]aboutProvider{}, count: len(names)}
	for _, name := range names {
		p, err := b.provider(ctx, name)
		switch {
		case ctx.Err() != nil:
			return states, ctx.Err()
		case err != nil:
			states.unreadable[name] = true
		case p != nil:
			states.fingerprints[name] = &p.fingerprint
			states.about[name] = aboutProvider{p.app.Definition.ID, p.app.Definition.Category}
			each(p)
		}
	}
	return states, err
}

// countConnections counts the connections by what an operator asks for.
func (b *backend) countConnections(ctx context.Context, providers providerStates, data map[string]any) error {
	now, unreadable := b.now(), len(providers.unreadable)
	total, retrying, soon, byStatus, byProvider := 0, 0, 0, map[string]int{}, map[string]int{}
	err := b.directory.each(ctx, func(_ store.Key, r *record) {
		if r.unreadable {
			unreadable++
			return
		}
		total++
		status := providers.judge(r, now).status
		byStatus[string(status)]++
		byProvider[r.shared().provider]++
		if r.failing {
			retrying++
		}
		if status.Lives() && refresh.EndsSoon(timeOf(r.limit), now) {
			soon++
		}
	})
	data["connections"], data["unreadable"], data["providers"] = total, unreadable, providers.count
	data["by_status"], data["by_provider"] = byStatus, byProvider
	data["retrying"], data["reconnect_soon"] = retrying, soon
	return err
}

func (b *backend) openFlows(ctx context.Context) (open int, err error) {
	now := b.now()
	err = b.flows.each(ctx, func(_ string, f openFlow) {
		if !f.ended && !f.denied && now.Before(f.expires) {
			open++
		}
	})
	return open, err
}

// describeBackground tells what falls due, and how the providers let us in.
func (b *backend) describeBackground(data map[string]any) {
	background, doors := b.tasks.Report(), b.gate.Report()
	data["scheduled"], data["due"], data["overdue"] = background.Scheduled, background.Due, background.Overdue
	data["last_pass"] = rfc3339(background.LastDue)
	data["calls"], data["calls_waiting"] = doors.Inside, doors.Waiting
	data["longest_wait"] = int(doors.LongestWait.Seconds())
	circuits := map[string]any{}
	for provider, c := range doors.Unwell {
		circuits[provider] = map[string]any{"state": string(c.State), "until": rfc3339(c.Until)}
	}
	data["circuits"] = circuits
}

const statusHelp = `
Counts, and whatever an operator must know. overdue above 0 while nothing is paused means
that refreshing does not keep up, or that a provider is down: see circuits. unsaved above
0 means that storage refuses writes and tokens would be lost with the process.
reconnect_soon counts the consents that run out within two weeks. unreadable above 0
means that entries are damaged, of a newer release, or not given by storage: reading
them says which it is, and lists show them without key_info.
`
