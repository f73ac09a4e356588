package backend

import (
	"context"
	"time"

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
	"scope_drift": required(integer("Connections whose granted scopes drifted from what their provider asks for; " +
		"archived ones do not count.")),
	"rotation_due": required(integer("Connections whose key is to be replaced by now; archived ones do not " +
		"count.")),
	"rotation_due_providers": required(strs("Providers whose client secret is.")),
	"frozen": required(object("What operators froze: mount, its owners, and providers with the reason of each; and " +
		"reason, of the first two.")),
	"frozen_connections": required(integer("Connections that are not served because of that.")),
	"frozen_limits": required(object("Of them, those that a person must connect again once a limit has passed: of " +
		"their refresh token, of its lying idle, or of the consent. passed, within_a_day and within_a_week, each with " +
		"those before.")),
	"last_pass": required(str("When the worker last found something due (RFC 3339); empty before the first time.")),
	"moved_callbacks": required(strs("Providers whose callback URL is not the one that was last told, as after a " +
		"move of the mount.")),
	"circuits": required(object("Providers that are down or limit us: state, and until when they are left alone.")),
	"unsaved":  required(integer("Connections whose newest state lives in memory only, because storage refuses it.")),
	"doubtful_writes": required(integer("Connections of which a write failed within the last minute " +
		"and may still land in storage.")),
	"owners_missing_held": required(integer("Owners that the last daily look missed, where these were so many at once " +
		"that none was stopped for it.")),
	"webhooks": required(object("The webhooks that this node sends for: disabled, failures in a row, pending_age " +
		"(seconds for which the first notice that waits has waited), delivered, refused, dropped.")),
	"notices_pending": required(integer("Notices that are not in storage yet: above 0 for longer than ten minutes, " +
		"storage refuses them.")),
	"notices_counted": required(integer("Notices that this process did not tell one by one, as they were so many at " +
		"once.")),
	"refresh_paused": required(boolean("Whether refreshing is paused.")),
	"refresh_paused_reason": required(str("Why: fence (CONNECTORS_REFRESH_PAUSED), restore_suspected, restore_unknown " +
		"(the heartbeat could not be read yet); empty: an operator wrote refresh_paused. With the last two of these " +
		"grants that cannot rotate are refreshed nevertheless.")),
	"restored_gap": required(integer("For how many seconds nobody was at work on this storage before the last start " +
		"that found such a gap: Vault was down for more than an hour, or a snapshot was restored. Below zero: the last " +
		"heartbeat lay ahead of the clock. Told for a week; 0: there was none.")),
	"restored_gap_since": required(str("The last heartbeat before that gap (RFC 3339); empty without one.")),
	"writable":           required(boolean("Whether this node may write, and so refresh.")),
}

func (b *backend) statusRead(ctx context.Context, req *logical.Request,
	_ *framework.FieldData,
) (*logical.Response, error) {
	data := map[string]any{
		"version": Version, "refresh_paused": b.isPaused(ctx, true), "writable": b.WriteSafeReplicationState(),
		"unsaved": b.connections.Unsaved(), "doubtful_writes": b.connections.Doubtful(),
		"in_flight": b.refresher.InFlight(), "webhooks": b.webhooks.describe(),
	}
	config, err := b.config(ctx)
	if err != nil {
		return nil, err // without settings no provider can be used
	}
	data["refresh_paused_reason"] = b.whyPaused(config)
	gap := b.restoredGap(ctx)
	data["restored_gap"], data["restored_gap_since"] = int(gap.Length().Seconds()), rfc3339(gap.Since)
	var moved []string
	providers, err := b.readProviders(ctx, func(p *configured) {
		if _, is := movedCallback(p, callbackURL(config, req, p.name)); is {
			moved = append(moved, p.name)
		}
	})
	if err != nil {
		return nil, err
	}
	data["moved_callbacks"], data["rotation_due_providers"] = list(moved), list(providers.secretsDue)
	data["frozen"] = map[string]any{
		"mount": config.Frozen, "owners": list(config.FrozenOwners), "reason": config.FrozenReason,
		"providers": providers.frozen,
	}
	counted, err := b.countConnections(ctx, providers)
	if err != nil {
		return nil, err
	}
	counted.describe(data)
	leavers, err := b.store.Leavers(ctx)
	if err != nil {
		return nil, err
	}
	data["owners_missing_held"] = leavers.Held
	if data["open_flows"], err = b.openFlows(ctx); err != nil {
		return nil, err
	}
	data["notices_pending"], data["notices_counted"] = b.notices.report()
	b.describeBackground(data)
	return &logical.Response{Data: data}, nil
}

// providerStates is how the configured providers stand, by name.
type providerStates struct {
	fingerprints map[string]*string
	unreadable   map[string]bool
	about        map[string]aboutProvider
	frozen       map[string]string // with the reason
	secretsDue   []string          // whose client secret is to be replaced by now
	config       *store.Config
	count        int
}

// aboutProvider is what filters go by.
type aboutProvider struct {
	definition, category string
	keysAfter            time.Duration // see configured.keysAfter
}

func (b *backend) readProviders(ctx context.Context, each func(*configured)) (providerStates, error) {
	config, err := b.config(ctx)
	if err != nil {
		return providerStates{}, err // without settings no provider can be used
	}
	names, err := b.store.Providers(ctx)
	states := providerStates{
		fingerprints: map[string]*string{}, unreadable: map[string]bool{}, about: map[string]aboutProvider{},
		frozen: map[string]string{}, config: config, count: len(names),
	}
	for _, name := range names {
		p, err := b.provider(ctx, name)
		switch {
		case ctx.Err() != nil:
			return states, ctx.Err()
		case err != nil:
			states.unreadable[name] = true
		case p != nil:
			states.fingerprints[name] = &p.fingerprint
			states.about[name] = aboutProvider{p.app.Definition.ID, p.app.Definition.Category, p.keysAfter()}
			if isDue(p.secretDue(), b.now()) {
				states.secretsDue = append(states.secretsDue, name)
			}
			states.freeze(name, p.entry)
			each(p)
		default: // this release cannot use it, and what is frozen stays so
			entry, err := b.store.Provider(ctx, name)
			if err == nil && entry != nil {
				states.freeze(name, entry)
			}
		}
	}
	return states, err
}

func (s *providerStates) freeze(name string, p *store.Provider) {
	if p.Frozen {
		s.frozen[name] = p.FrozenReason
	}
}

// counted is how many connections there are, by what an operator asks for.
type counted struct {
	connections, unreadable, providers, retrying, soon, frozen int
	drifting                                                   int
	keysDue, secretsDue                                        int // that are to be replaced by now

	byStatus, byProvider map[string]int
	limits               [3]int // of those that are frozen; see frozenLimits
}

// frozenLimits name when the limits pass that are counted of what is frozen.
var frozenLimits = [...]struct {
	name   string
	within time.Duration
}{{"passed", 0}, {"within_a_day", 24 * time.Hour}, {"within_a_week", 7 * 24 * time.Hour}}

// countConnections counts the connections.
func (b *backend) countConnections(ctx context.Context, providers providerStates) (counted, error) {
	now := b.now()
	n := counted{
		unreadable: len(providers.unreadable), providers: providers.count,
		secretsDue: len(providers.secretsDue),
		byStatus:   map[string]int{}, byProvider: map[string]int{},
	}
	err := b.directory.each(ctx, func(_ store.Key, r *record) {
		if r.unreadable {
			n.unreadable++
			return
		}
		n.connections++
		if providers.freezes(r) {
			n.frozen++
			n.countLimits(r, providers, now)
		}
		status := providers.judge(r, now).status
		n.byStatus[string(status)]++
		n.byProvider[r.shared().provider]++
		if r.troubles.has(renewalFailed) {
			n.retrying++
		}
		if !r.shelved() && r.troubles.has(scopesDrift) {
			n.drifting++
		}
		if !r.shelved() && isDue(providers.keyDue(r), now) {
			n.keysDue++
		}
		if status.Lives() && refresh.EndsSoon(timeOf(r.limit), now) {
			n.soon++
		}
	})
	return n, err
}

// countLimits counts a frozen connection that would live, if a limit of it is near or has passed.
func (n *counted) countLimits(r *record, providers providerStates, now time.Time) {
	facts := r.facts()
	first := earlier(facts.Limit, timeOf(r.lapse))
	facts.Limit = time.Time{} // it may have passed meanwhile
	if status, _ := facts.Status(providers.fingerprint(r), now); first.IsZero() || !status.Lives() {
		return
	}
	for i, limit := range frozenLimits {
		if !first.After(now.Add(limit.within)) {
			n.limits[i]++
		}
	}
}

// describe tells the counts.
func (n *counted) describe(data map[string]any) {
	data["connections"], data["unreadable"], data["providers"] = n.connections, n.unreadable, n.providers
	data["by_status"], data["by_provider"] = n.byStatus, n.byProvider
	data["retrying"], data["reconnect_soon"], data["frozen_connections"] = n.retrying, n.soon, n.frozen
	data["rotation_due"], data["scope_drift"] = n.keysDue, n.drifting
	limits := map[string]int{}
	for i, limit := range frozenLimits {
		limits[limit.name] = n.limits[i]
	}
	data["frozen_limits"] = limits
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
rotation_due and rotation_due_providers tell which keys and client secrets are old by
what rotate_after says: inventory names the keys with rotation_due=true.
owners_missing_held above 0 means that many owners of connections were missing from
Vault on one day, as after a restore of its identities: none was stopped for it.
reconnect_soon counts the consents that run out within two weeks. unreadable above 0
means that entries are damaged, of a newer release, or not given by storage: reading
them says which it is, and lists show them without key_info. frozen shows what operators
froze; frozen_limits how many connections would have to be connected again by now, in a
day or in a week, if it stays so.
`
