package backend

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// What an operator froze is neither served nor spent: nothing is sent for it but revocations, and nothing of it is
// erased. It is a matter of terms: each read and each spending looks at config and at the provider anyway, and both are
// in memory. Underneath, connections stay as they are.

// freezesOwner reports whether config freezes this owner: by its name, or, if it is a member, with its organization.
func freezesOwner(c *store.Config, owner store.Owner) bool {
	return len(c.FrozenOwners) > 0 && slices.ContainsFunc(c.FrozenOwners, func(pattern string) bool {
		return namesOwner(pattern, owner.String()) ||
			owner.Org != "" && owner.User != "" && namesOwner(pattern, store.Owner{Org: owner.Org}.String())
	})
}

// mountFreeze says what config freezes of an owner, and what lifts that; empty: nothing.
func mountFreeze(c *store.Config, owner store.Owner) string {
	switch {
	case c.Frozen:
		return "this mount is frozen" + inBrackets(c.FrozenReason) + ": an operator writes frozen=false to config"
	case freezesOwner(c, owner):
		return owner.String() + " is frozen" + inBrackets(c.FrozenReason) + ": an operator takes it, or what stands for " +
			"it there, out of frozen_owners on config"
	}
	return ""
}

// providerFreeze is mountFreeze for a provider.
func providerFreeze(name string, p *store.Provider) string {
	if !p.Frozen {
		return ""
	}
	return fmt.Sprintf("provider %q is frozen%s: an operator writes frozen=false to providers/%s", name,
		inBrackets(p.FrozenReason), name)
}

func inBrackets(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + reason + ")"
}

// freezeOf says what is frozen of a provider's connections under an owner, and what lifts that; empty: nothing is. p is
// nil where the provider is gone, or where this release cannot use it: of that, too, what an operator froze stays so.
func (b *backend) freezeOf(ctx context.Context, config *store.Config, provider string, p *configured,
	owner store.Owner,
) (string, error) {
	if why := mountFreeze(config, owner); why != "" {
		return why, nil
	}
	if p != nil {
		return providerFreeze(provider, p.entry), nil
	}
	there, err := b.providerThere(ctx, provider)
	if err != nil || !there {
		return "", err
	}
	entry, err := b.store.Provider(ctx, provider)
	if err != nil || entry == nil {
		return "", err
	}
	return providerFreeze(provider, entry), nil
}

// thawed refuses what would be sent, or taken, for a connection that is frozen.
func (b *backend) thawed(ctx context.Context, provider string, k store.Key) error {
	config, err := b.config(ctx)
	if err != nil {
		return err
	}
	p, err := b.provider(ctx, provider)
	if err != nil {
		return err
	}
	why, err := b.freezeOf(ctx, config, provider, p, k.Owner)
	if err == nil && why != "" {
		err = frozen(provider, k, why)
	}
	return err
}

func frozen(provider string, k store.Key, why string) error {
	return &refresh.Error{
		Problem: refresh.Disabled, Key: k, Provider: provider, Reason: store.ReasonFrozen, Why: why,
	}
}

// pass is a place at a provider, for what is not frozen: who waited for long finds what holds by then.
func (b *backend) pass(ctx context.Context, k store.Key, v gate.Visit) (*gate.Pass, error) {
	provider, _, _ := strings.Cut(v.Key, " ") // no name has one
	if err := b.thawed(ctx, provider, k); err != nil {
		return nil, err
	}
	pass, err := b.gate.Enter(ctx, v)
	if err != nil {
		return nil, err
	}
	if err := b.thawed(ctx, provider, k); err != nil {
		pass.Leave(gate.NotSent, 0)
		return nil, err
	}
	return pass, nil
}

// takeFreeze takes what a request says of a freeze. others tells that something beside it is frozen, of which the
// reason may be. A reason without a freeze is a mistake, but one that came back with frozen=false is over.
func takeFreeze(d *framework.FieldData, f *store.Freeze, others bool) error {
	said, lifts := d.GetOk("frozen")
	if lifts {
		f.Frozen = said.(bool)
	}
	reason, named := d.GetOk("frozen_reason")
	if named {
		f.FrozenReason = strings.TrimSpace(reason.(string))
	}
	_, owners := d.GetOk("frozen_owners")
	switch {
	case f.Frozen || others:
	case named && f.FrozenReason != "" && !lifts && !owners:
		return badRequest("frozen_reason says why something is frozen, and nothing is: write it with frozen=true")
	default:
		f.FrozenReason = ""
	}
	return nil
}

// freezesOnly reports whether a request names nothing but whether and why a provider is frozen. Such a write must do in
// an incident, whatever else is wrong with the provider: only what it names is looked at.
func freezesOnly(d *framework.FieldData) bool {
	only := false
	for name := range d.Raw {
		switch name {
		case "provider":
		case "frozen", "frozen_reason":
			only = true
		default:
			return false
		}
	}
	return only
}

// tellFreeze logs who froze something or lifted that.
func (b *backend) tellFreeze(what string, frozen bool, reason string, by caller) {
	if frozen {
		b.Logger().Warn("an operator froze something", "what", what, "reason", reason, "entity", by.entity,
			"display_name", by.display)
		return
	}
	b.Logger().Warn("an operator lifted a freeze", "what", what, "entity", by.entity, "display_name", by.display)
}

// providerFrozen follows a write that changed whether a provider is frozen.
func (b *backend) providerFrozen(name string, before, after store.Freeze, by caller) {
	if before.Frozen == after.Frozen {
		return // another reason
	}
	b.tellFreeze("provider "+name, after.Frozen, after.FrozenReason, by)
	of := func(_ store.Key, r *record) bool { return r.shared().provider == name }
	if after.Frozen {
		b.directory.rest(of)
	} else {
		b.directory.resume(of)
	}
}

// configFrozen follows a write of config, as far as it freezes something or lifts that.
func (b *backend) configFrozen(before, after *store.Config, by caller) {
	if before.Frozen != after.Frozen {
		b.tellFreeze("the mount", after.Frozen, after.FrozenReason, by)
	}
	for _, owner := range after.FrozenOwners {
		if !slices.Contains(before.FrozenOwners, owner) {
			b.tellFreeze(owner, true, after.FrozenReason, by)
		}
	}
	for _, owner := range before.FrozenOwners {
		if !slices.Contains(after.FrozenOwners, owner) {
			b.tellFreeze(owner, false, "", by)
		}
	}
	if !before.Freezes() && !after.Freezes() {
		return
	}
	in := func(c *store.Config, k store.Key) bool { return c.Frozen || freezesOwner(c, k.Owner) }
	b.directory.rest(func(k store.Key, _ *record) bool { return in(after, k) && !in(before, k) })
	b.directory.resume(func(k store.Key, _ *record) bool { return in(before, k) && !in(after, k) })
}

// rest lets nothing fall due for these connections. A deletion goes on.
func (d *directory) rest(of func(store.Key, *record) bool) {
	d.mirror.each(func(k store.Key, r *record) {
		if r.b != nil && !r.deleting && of(k, r) {
			d.b.tasks.Set(r, time.Time{})
		}
	})
}

// How long the connections are spread over that are looked at again: so many a second, and no longer than readers, who
// ask for what they need, can do without.
const (
	resumeEach  = 5 * time.Millisecond
	leastResume = time.Minute
	mostResume  = 10 * time.Minute
)

// resume has these connections looked at again, one after the other.
func (d *directory) resume(of func(store.Key, *record) bool) {
	var found []*record
	d.mirror.each(func(k store.Key, r *record) {
		if r.b != nil && of(k, r) {
			found = append(found, r)
		}
	})
	within := min(max(time.Duration(len(found))*resumeEach, leastResume), mostResume)
	now := d.b.now()
	for _, r := range found {
		d.b.tasks.Sooner(r, now.Add(rand.N(within)))
	}
}
