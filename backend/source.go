package backend

import (
	"context"
	"errors"
	"fmt"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/egress"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// configured is a provider ready for use: the entry, the app made of it, and a client that may reach it.
type configured struct {
	name        string
	entry       *store.Provider
	app         *providers.App
	client      *providers.Client
	fingerprint string
	mount       *store.Config // as it was made with; nobody may change it
}

// config is the mount's settings. Nobody may change the value: write a copy.
func (b *backend) config(ctx context.Context) (*store.Config, error) {
	return b.configs.get(ctx, "config", func(ctx context.Context) (*store.Config, error) {
		before := b.followed.Load()
		c, err := b.store.Config(ctx)
		if err != nil {
			b.paused.Store(true) // it may say so
			return nil, err
		}
		b.guard.overlay(c)
		b.followConfig(c, &before)
		return c, nil
	})
}

// followConfig notes what is asked where storage cannot be. before is what followed told when it began to be read,
// nil when it was written: what was read before a write says nothing after it.
func (b *backend) followConfig(c *store.Config, before *uint64) {
	b.following.Lock()
	defer b.following.Unlock()
	switch {
	case before == nil:
		b.followed.Add(1)
	case *before != b.followed.Load():
		return
	}
	b.paused.Store(b.fenced || c.Pauses(false))
	b.guard.follow(c)
	b.uses.configure(c)
}

// provider is the configured provider of that name, nil when there is none that could be used.
func (b *backend) provider(ctx context.Context, name string) (*configured, error) {
	return b.providers.get(ctx, name, func(ctx context.Context) (*configured, error) {
		if there, err := b.providerThere(ctx, name); err != nil || !there {
			return nil, err
		}
		entry, err := b.store.Provider(ctx, name)
		if err != nil || entry == nil {
			return nil, err
		}
		definition, err := b.define(name, entry)
		switch { // as after a downgrade: to its connections the provider is missing, and comes back with the release
		case errors.Is(err, errNoDefinition):
			b.Logger().Warn("a provider uses a definition that this release does not have",
				"provider", name, "definition", entry.Definition)
			return nil, nil
		case err != nil:
			b.Logger().Warn("the definition_yaml of a provider is not what this release takes", "provider", name,
				"error", err)
			return nil, nil
		}
		config, err := b.config(ctx)
		if err != nil {
			return nil, err
		}
		return b.configure(name, entry, definition, config)
	})
}

// providerThere reports whether a provider of that name is configured. It remembers all names there are, so that
// asking for others, which callback/ lets anybody do, costs no storage.
func (b *backend) providerThere(ctx context.Context, name string) (bool, error) {
	names, err := b.providerNames.get(ctx, "names", func(ctx context.Context) (*map[string]bool, error) {
		list, err := b.store.Providers(ctx)
		names := make(map[string]bool, len(list))
		for _, name := range list {
			names[name] = true
		}
		return &names, err
	})
	return err == nil && (*names)[name], err
}

// providersChanged forgets what is remembered of providers, and of how config has them reached.
func (b *backend) providersChanged() {
	b.providerNames.drop()
	b.providers.drop()
	b.checks.forget()
}

// knownProvider is provider for callers who named it: an unknown one is their mistake.
func (b *backend) knownProvider(ctx context.Context, name string) (*configured, error) {
	if err := store.CheckName("provider", name); err != nil {
		return nil, badRequest("%s", err)
	}
	p, err := b.provider(ctx, name)
	if err == nil && p == nil {
		err = badRequest("no provider %q is configured, or this release lacks its definition: name one with provider=, "+
			"or have an operator write providers/%s; 'vault list' on providers shows those there are", name, name)
	}
	return p, err
}

func (b *backend) configure(name string, entry *store.Provider, definition *providers.Definition,
	config *store.Config,
) (*configured, error) {
	policy := egress.Policy{
		Allow: config.EgressAllow, ProxyURL: config.ProxyURL, CAPEM: entry.CAPEM, Timeout: config.RequestTimeout,
		Resolver: b.resolver,
	}
	httpClient, err := egress.New(policy)
	var wire *egress.Wire
	if err == nil {
		wire, err = egress.NewWire(policy)
	}
	if err != nil {
		return nil, fmt.Errorf("provider %q: %w", name, err)
	}
	b.metrics.timed(name, httpClient)
	app := entry.App(definition)
	client := providers.NewClient(httpClient, b.now, b.agent())
	client.Dials(b.metrics.wired(name, wire))
	client.Confine(definition, func(hosts []string) error { return checkHosts(config, hosts) })
	return &configured{
		name: name, entry: entry, app: app, fingerprint: app.Fingerprint(), client: client, mount: config,
	}, nil
}

// agent is how the engine calls itself to whom it calls.
func (b *backend) agent() string { return "vault-plugin-secrets-connectors/" + Version }

var _ refresh.Source = (*backend)(nil)

// Terms implements [refresh.Source].
func (b *backend) Terms(ctx context.Context, k store.Key, c *store.Connection) (refresh.Terms, error) {
	config, err := b.config(ctx)
	if err != nil {
		return refresh.Terms{}, err
	}
	terms := refresh.Terms{
		Margin: config.RefreshMargin, Poll: config.PollInterval, Paused: b.pauses(config, true),
		PausedReason: b.whyPaused(config),
	}
	p, err := b.provider(ctx, c.Provider)
	if err == nil {
		terms.Frozen, err = b.freezeOf(ctx, config, c.Provider, p, k.Owner)
	}
	if terms.Frozen != "" {
		terms.Barred = store.ReasonFrozen
	}
	if err != nil || p == nil {
		return terms, err
	}
	terms.Fingerprint, terms.Serial = &p.fingerprint, p.entry.Serial
	if why := p.bars(k.Owner, c.Kind, c.Inputs); why != "" { // which stays when it is not frozen any more
		terms.Barred = why
	}
	terms.CanRefresh = c.Grant != nil && p.app.CanRefresh(c.Kind, c.Grant)
	terms.MayRotate = p.app.MayRotate(c.Kind)
	terms.Paused = b.pauses(config, terms.MayRotate)
	if p.app.Checks(c.Kind, c.Inputs) {
		terms.CheckEvery = p.entry.CheckEvery(p.app.Definition, config)
	}
	terms.KeyDue = keyDue(c, p, config)
	rules := p.app.Definition.Refresh
	terms.Idle, terms.MinAge, terms.OnDemand = p.app.IdleLimit(), rules.MinAge.D, rules.OnDemand
	if rules.Margin.D > 0 {
		terms.Margin = rules.Margin.D
	}
	return terms, nil
}

// isPaused reports whether refreshing is paused for grants that may rotate, or for those that do not. When that cannot
// be read, nothing is refreshed.
func (b *backend) isPaused(ctx context.Context, rotates bool) bool {
	config, err := b.config(ctx)
	return err != nil || b.pauses(config, rotates)
}

// reconsider looks again at the connections of a provider that was changed:
// what rested because of it need not any more.
func (b *backend) reconsider(ctx context.Context, provider string) {
	if err := b.directory.reconsider(ctx, provider); err != nil && ctx.Err() == nil {
		b.Logger().Warn("the connections of a changed provider could not all be looked at; they are "+
			"refreshed when they are read",
			"provider", provider, "error", err)
	}
	b.tasks.Wake()
}

// Refresh implements [refresh.Source].
func (b *backend) Refresh(ctx context.Context, k store.Key, c *store.Connection) (*providers.Grant, error) {
	p, err := b.provider(ctx, c.Provider)
	if err != nil {
		return nil, err
	}
	if p == nil || p.fingerprint != c.Pinned {
		return nil, conflict("provider %q changed while its grant was about to be refreshed: nothing was sent",
			c.Provider)
	}
	ctx = b.debugs(ctx, p, k, c)
	resolved, err := p.client.Resolve(ctx, p.app, c.Kind, c.Inputs)
	if err != nil {
		return nil, err
	}
	g, err := p.client.Refresh(ctx, p.app, resolved, c.Kind, c.Grant)
	b.metrics.refreshed(p.name, err)
	if err == nil {
		b.proven(p)
	}
	return g, err
}
