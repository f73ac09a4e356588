package backend

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// Where notices come from. Of connections they come from the records of changes: what is to be told is decided in
// package store (transitions), in the write that makes it so. What time brings is a change like any other: a task
// writes into the entry that it has come, and that is told. For another of that kind, add the fact to the entry with
// its due time and a method that marks it, a case to transitions, and both to connectionTasks, as limitDue and runLimit
// are. What operators do to a provider or to the mount is in that entry beside what they did.

// tellRecord hands a change to the log of notices. One that is no notice is a line of the server's log alone; of a
// private connection values stay out of it.
func (b *backend) tellRecord(k store.Key, r *store.Record) {
	if notices := store.NoticesOf(k, r); len(notices) > 0 {
		b.notices.offer(notices...)
		return
	}
	if len(r.Tells) > 0 {
		return // it is told under another key
	}
	b.notices.passed()
	changes := []string{}
	for _, c := range r.Changes {
		if r.Private {
			changes = append(changes, c.Field)
		} else {
			changes = append(changes, c.Field+": "+c.Before+" -> "+c.After)
		}
	}
	b.Logger().Info("a connection was changed", "connection", k.String(), "connection_id", r.ID, "number", r.N,
		"verb", r.Verb, "by", r.ToldBy(k), "by_id", r.By.EntityID, "changes", changes)
}

// tellGone tells of the deletion of an entry that nobody could decode: any other was told when it was marked.
func (b *backend) tellGone(c connections.Change) {
	if c.Before == nil && c.After == nil && c.Act.Verb == "delete" {
		r := store.Record{By: c.Act.By, Private: true} // nobody knows that it was not
		b.notices.offer(store.Notice{
			ID: randomNoticeID(), Time: b.now(), Kind: store.NoticeDeleted, Connection: c.Key.String(), Verb: c.Act.Verb,
			By: r.ToldBy(c.Key), ByID: r.By.EntityID, Reason: "damaged", Private: r.Private,
		})
	}
}

// limitDue is when it is to be told that a connection is past its limit.
func (b *backend) limitDue(_ store.Key, c *store.Connection, t refresh.Terms) time.Time {
	return c.LimitDue(t.CanRefresh)
}

// runLimit tells that.
func (b *backend) runLimit(ctx context.Context, k store.Key) (next time.Time) {
	return b.mark(ctx, k, "limit", func(c *store.Connection, t refresh.Terms) bool {
		return c.PassLimit(t.CanRefresh, b.now())
	})
}

// rotationNoticeDue is when it is to be told that a connection's key is to be replaced.
func (b *backend) rotationNoticeDue(_ store.Key, c *store.Connection, t refresh.Terms) time.Time {
	return c.RotationNoticeDue(t.KeyDue)
}

// runRotationNotice tells that.
func (b *backend) runRotationNotice(ctx context.Context, k store.Key) (next time.Time) {
	return b.mark(ctx, k, "rotation", func(c *store.Connection, t refresh.Terms) bool {
		return c.TellOld(t.KeyDue, b.now())
	})
}

// mark writes into an entry that something has come, if come says so.
func (b *backend) mark(ctx context.Context, k store.Key, verb string,
	come func(*store.Connection, refresh.Terms) bool,
) (next time.Time) {
	again := b.now().Add(tasks.LookAgain)
	known, err := b.connections.Look(ctx, k)
	if err != nil || known == nil {
		return again
	}
	terms, err := b.Terms(ctx, k, known)
	if err != nil {
		return again
	}
	_, err = b.connections.Update(ctx, k, connections.Act{Verb: verb},
		func(c *store.Connection) (*store.Connection, error) {
			if c == nil || c.Kind != known.Kind || c.Generation != known.Generation || !come(c, terms) {
				return nil, nil
			}
			return c, nil
		})
	if err != nil {
		return again
	}
	return next
}

// tellOldSecrets tells of each client secret, once, that it is to be replaced by now.
func (b *backend) tellOldSecrets(ctx context.Context) error {
	names, err := b.store.Providers(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if p, err := b.provider(ctx, name); err == nil && p != nil && isDue(p.secretDue(), b.now()) {
			if err := b.tellOldSecret(ctx, name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *backend) tellOldSecret(ctx context.Context, name string) error {
	b.configWrites.Lock()
	defer b.configWrites.Unlock()
	config, err := b.config(ctx)
	if err != nil {
		return err
	}
	entry, err := b.store.Provider(ctx, name)
	if err != nil || entry == nil {
		return err
	}
	definition, err := b.define(name, entry)
	if err != nil {
		return nil // this release cannot use it
	}
	next := *entry
	p := &configured{entry: &next, app: next.App(definition), mount: config}
	if !next.TellOld(p.secretDue(), b.now()) {
		return nil
	}
	told := b.ofOperator(caller{}, store.NoticeRotationDue, name, "")
	told.Verb = "rotation"
	next.Notices = []store.Notice{told}
	err = b.store.PutProvider(ctx, name, &next)
	b.providersChanged() // though it failed: it may have been made
	if err != nil {
		b.doubt(name, entry.Notices, next.Notices)
		return err
	}
	b.tellNew(name, entry.Notices, next.Notices)
	return nil
}

// ofOperator is a notice of what somebody did to the whole mount, or to a provider.
func (b *backend) ofOperator(who caller, kind, provider, reason string, changes ...store.Change) store.Notice {
	return store.Notice{
		ID: randomNoticeID(), Time: b.now(), Kind: kind, Provider: provider, By: who.display, ByID: who.entity,
		Verb: "write", Reason: reason, Changes: changes,
	}
}

// noticesOfFreeze are those of a freeze, or of its end.
func (b *backend) noticesOfFreeze(who caller, provider string, before, after store.Freeze) []store.Notice {
	if before.Frozen == after.Frozen {
		return nil
	}
	kind, reason := store.NoticeFrozen, ""
	if !after.Frozen {
		kind, reason = store.NoticeRecovered, string(store.ReasonFrozen)
	}
	return []store.Notice{b.ofOperator(who, kind, provider, reason,
		store.Change{Field: "frozen", Before: strconv.FormatBool(before.Frozen), After: strconv.FormatBool(after.Frozen)},
		store.Change{Field: "frozen_reason", Before: before.FrozenReason, After: after.FrozenReason})}
}

// mostOwnersTold of a write are told one by one.
const mostOwnersTold = 20

// noticesOfConfig are what a write of config is worth; before's, where it is worth nothing.
func (b *backend) noticesOfConfig(who caller, before, after *store.Config) []store.Notice {
	all := b.noticesOfFreeze(who, "", before.Freeze, after.Freeze)
	for _, side := range []struct {
		kind, reason string
		in, notIn    []string
		change       func(owner string) store.Change
	}{
		{store.NoticeFrozen, "", after.FrozenOwners, before.FrozenOwners, func(owner string) store.Change {
			return store.Change{Field: "frozen_owners", After: owner}
		}},
		{
			store.NoticeRecovered, string(store.ReasonFrozen), before.FrozenOwners, after.FrozenOwners,
			func(owner string) store.Change { return store.Change{Field: "frozen_owners", Before: owner} },
		},
	} {
		var owners []string
		for _, owner := range side.in {
			if !slices.Contains(side.notIn, owner) && !slices.Contains(owners, owner) {
				owners = append(owners, owner)
			}
		}
		if len(owners) > mostOwnersTold {
			l := b.ofOperator(who, side.kind, "", side.reason, store.Change{Field: "frozen_owners", After: "..."})
			l.Count = len(owners)
			all = append(all, l)
			continue
		}
		for _, owner := range owners {
			all = append(all, b.ofOperator(who, side.kind, "", side.reason, side.change(owner)))
		}
	}
	if len(all) == 0 {
		return before.Notices
	}
	return all
}

// noticesOfProvider are what a write of a provider is worth: that it was frozen or no longer is, and how many
// connections do not serve any more since they belong to what it was, or do again.
func (b *backend) noticesOfProvider(ctx context.Context, who caller, name string, before, after *store.Provider,
) []store.Notice {
	if before == nil {
		return b.noticesOfFreeze(who, name, store.Freeze{}, after.Freeze)
	}
	all := b.noticesOfFreeze(who, name, before.Freeze, after.Freeze)
	was, err1 := b.define(name, before)
	is, err2 := b.define(name, after)
	if err1 == nil && err2 == nil {
		from, to := before.App(was).Fingerprint(), after.App(is).Fingerprint()
		all = append(all, b.noticesOfScopes(ctx, who, name, before.App(was), after.App(is))...)
		if from != to {
			left, back := b.pinnedTo(ctx, name, from, to)
			all = append(all, b.counted(who, name, store.NoticeNeedsReconnect, store.ReasonProviderChanged, left)...)
			all = append(all, b.counted(who, name, store.NoticeRecovered, store.ReasonProviderChanged, back)...)
		}
	}
	if len(all) == 0 {
		return before.Notices
	}
	return all
}

// noticesOfScopes tell that a provider asks for more than before, and how many connections of people's consents it has:
// which of them lack it, inventory says.
func (b *backend) noticesOfScopes(ctx context.Context, who caller, name string, before, after *providers.App,
) []store.Notice {
	was, is := before.AskedOf(providers.KindAuthorizationCode), after.AskedOf(providers.KindAuthorizationCode)
	grown := after.MissingScopes(is, was)
	if len(grown) == 0 {
		return nil
	}
	count, pinned := 0, after.Fingerprint()
	if err := b.directory.each(ctx, func(_ store.Key, r *record) {
		shared := r.shared()
		if !r.unreadable && !r.deleting && shared.provider == name && shared.pinned == pinned &&
			!shared.kind.HasKey() && !shared.kind.Issued() {
			count++
		}
	}); err != nil {
		b.Logger().Debug("the connections of a provider could not be counted", "provider", name, "error", err)
	}
	all := b.counted(who, name, store.NoticeScopeDrift, "grown", count)
	for i := range all {
		all[i].Changes = []store.Change{{
			Field: "scopes", Before: clipText(strings.Join(was, " ")), After: clipText(strings.Join(is, " ")),
		}}
	}
	return all
}

// counted is one notice of so many connections; none of none.
func (b *backend) counted(who caller, provider, kind string, reason store.Reason, count int,
) []store.Notice {
	if count == 0 {
		return nil
	}
	l := b.ofOperator(who, kind, provider, string(reason))
	l.Count = count
	return []store.Notice{l}
}

// pinnedTo counts a provider's connections by two of its fingerprints, as far as the directory knows them.
func (b *backend) pinnedTo(ctx context.Context, provider, from, to string) (left, back int) {
	if err := b.directory.each(ctx, func(_ store.Key, r *record) {
		if shared := r.shared(); !r.unreadable && !r.deleting && shared.provider == provider {
			switch shared.pinned {
			case from:
				left++
			case to:
				back++
			}
		}
	}); err != nil {
		b.Logger().Debug("the connections of a provider could not be counted", "provider", provider, "error", err)
	}
	return left, back
}

// isNew reports whether a write makes the notices that it leaves in an entry.
func isNew(before, after []store.Notice) bool {
	return len(after) > 0 && (len(before) == 0 || before[0].ID != after[0].ID)
}

// tellNew hands on the notices of an entry that was written, if that write made them. provider is whose it is; empty:
// it is config.
func (b *backend) tellNew(provider string, before, after []store.Notice) {
	b.tellDoubted(provider, before)
	if isNew(before, after) {
		b.notices.offer(after...)
	}
}

// doubted is the first notice of a write that failed, and may have been made.
type doubted struct {
	id   string
	left int // so many heartbeats are to look for it
}

// doubt notes that nobody knows whether notices are in the entry by now: once they are, they are told.
func (b *backend) doubt(provider string, before, after []store.Notice) {
	b.tellDoubted(provider, before)
	if isNew(before, after) {
		b.doubts.Store(provider, doubted{after[0].ID, lateLooks})
	}
}

// tellDoubted hands on the notices that an entry has, if the write that made them had failed.
func (b *backend) tellDoubted(provider string, has []store.Notice) (told bool) {
	d, known := b.doubts.Load(provider)
	told = known && len(has) > 0 && has[0].ID == d.(doubted).id && b.doubts.CompareAndDelete(provider, d)
	if told {
		b.notices.offer(has...)
	}
	return told
}

// findDoubted looks for notices of writes that failed.
func (b *backend) findDoubted(ctx context.Context) {
	b.doubts.Range(func(provider, of any) bool {
		has, err := b.noticesIn(ctx, provider.(string))
		switch d := of.(doubted); {
		case err != nil, b.tellDoubted(provider.(string), has):
		case d.left == 1:
			b.doubts.CompareAndDelete(provider, of)
		default:
			b.doubts.CompareAndSwap(provider, of, doubted{d.id, d.left - 1})
		}
		return true
	})
}

// noticesIn are those that the entry of a provider carries, or config. One that cannot be used has none.
func (b *backend) noticesIn(ctx context.Context, provider string) ([]store.Notice, error) {
	if provider == "" {
		config, err := b.store.Config(ctx)
		if err != nil {
			return nil, err
		}
		return config.Notices, nil
	}
	p, err := b.store.Provider(ctx, provider)
	switch {
	case err != nil && !store.Unusable(err):
		return nil, err
	case err != nil || p == nil:
		return nil, nil
	}
	return p.Notices, nil
}

// findOperators hands on what config and the providers carry, for what a crash kept from the log.
func (b *backend) findOperators(ctx context.Context) error {
	names, err := b.store.Providers(ctx)
	if err != nil {
		return err
	}
	var all []store.Notice
	for _, name := range append([]string{""}, names...) { // config first
		has, err := b.noticesIn(ctx, name)
		if err != nil {
			return err
		}
		all = append(all, has...)
	}
	b.notices.mu.Lock()
	defer b.notices.mu.Unlock()
	if u := b.notices.catching; u != nil {
		b.notices.tell(u, all)
	}
	return nil
}
