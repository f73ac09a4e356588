package backend

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// pass compares what is sought with the secrets of every entry: those that it holds, and the traces of those that it
// held. All are read, whatever was found by then, so that the time tells little; only keyed hashes are compared.
type pass struct {
	b      *backend
	hasher *store.Hasher
	batch  []*aLookup
	row    int // entries that storage did not give, one after the other
}

// lookUp answers all look-ups of a batch, or none.
func (b *backend) lookUp(ctx context.Context, batch []*aLookup) error {
	hasher, err := b.hashing.need(ctx)
	if err != nil {
		return err
	}
	p := &pass{b: b, hasher: hasher}
	for _, l := range batch {
		e := &l.entry
		e.Found, e.More, e.Unreadable, e.Examined = nil, false, 0, 0
		l.examined.Store(0)
		l.total.Store(0)
		if e.Void = e.Hasher != hasher.ID(); !e.Void {
			p.batch = append(p.batch, l)
		}
	}
	for _, part := range []func(context.Context) error{p.providers, p.connections, p.imports, p.histories} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	for _, l := range batch {
		l.entry.Ended, l.entry.Examined = b.now(), int(l.examined.Load())
	}
	return nil
}

// those are the look-ups of the batch that such an entry concerns.
func (p *pass) those(concerned func(*store.Lookup) bool) (all []*aLookup) {
	for _, l := range p.batch {
		if concerned(&l.entry) {
			all = append(all, l)
		}
	}
	return all
}

// compare notes a secret of an entry where it is the one that is sought.
func compare(ask []*aLookup, place store.Found, secretField func(string) bool) func(string, store.Holding) {
	return func(hash string, as store.Holding) {
		for _, l := range ask {
			if store.SameHash(hash, l.entry.Sought) && (!store.IsKeyField(as.Field) || secretField(as.Field)) {
				place.Field, place.Former, place.Day = as.Field, as.Former, as.Day
				l.entry.Note(place)
			}
		}
	}
}

func everyField(string) bool { return true }

// unread notes an entry that storage did not give, or that cannot be decoded, and gives up where none is given.
func (p *pass) unread(ctx context.Context, ask []*aLookup, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, l := range ask {
		l.entry.Unreadable++
	}
	if store.Unusable(err) {
		return nil
	}
	if p.row++; p.row >= failuresInARow {
		return err
	}
	return nil
}

// leaves reports why a pass is to be broken off; it begins anew.
func (p *pass) leaves(ctx context.Context) error {
	if p.b.tasks.Closing() {
		return context.Canceled
	}
	return ctx.Err()
}

// providers looks at what apps are known by, for those who see the whole mount.
func (p *pass) providers(ctx context.Context) error {
	mount := p.those(func(l *store.Lookup) bool { return l.Org == "" })
	if len(mount) == 0 {
		return nil
	}
	names, err := p.b.store.Providers(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		ask := slices.DeleteFunc(slices.Clone(mount), func(l *aLookup) bool { return !l.entry.TakesProvider(name) })
		if len(ask) == 0 {
			continue
		}
		entry, err := p.b.store.Provider(ctx, name)
		switch {
		case err != nil:
			if err := p.unread(ctx, ask, err); err != nil {
				return err
			}
		case entry != nil:
			p.row = 0
			entry.Holdings(p.hasher, compare(ask, store.Found{Of: store.OfProvider, Provider: name}, everyField))
		}
	}
	return nil
}

// connections looks at those that there are, and then at those that have come meanwhile to a name where it had been.
func (p *pass) connections(ctx context.Context) error {
	if _, err := p.b.directory.fill(ctx); err != nil {
		return err
	}
	var seen []store.Key
	for range passesAgain {
		todo, err := p.yetToSee(ctx, seen)
		if err != nil || len(todo) == 0 {
			return err
		}
		for _, k := range todo {
			if err := p.connection(ctx, k); err != nil {
				return err
			}
		}
		seen = append(seen, todo...)
		slices.SortFunc(seen, compareKeys)
	}
	return nil
}

func compareKeys(a, b store.Key) int {
	return cmp.Or(compareOwners(a.Owner, b.Owner), cmp.Compare(a.Name, b.Name))
}

// yetToSee lists the connections that somebody asks about, but for those that were seen.
func (p *pass) yetToSee(ctx context.Context, seen []store.Key) (todo []store.Key, err error) {
	err = p.b.directory.walk(ctx, store.Key{}, func(r *record) bool {
		k := r.key()
		if _, was := slices.BinarySearchFunc(seen, k, compareKeys); was {
			return true
		}
		concerns := false
		for _, l := range p.batch {
			if l.entry.Takes(k.Owner, r.shared().provider) {
				l.total.Add(1)
				concerns = true
			}
		}
		if concerns {
			todo = append(todo, k)
		}
		return true
	})
	return todo, err
}

// connection compares the secrets of one, as storage has it or as it is held.
func (p *pass) connection(ctx context.Context, k store.Key) error {
	if err := p.leaves(ctx); err != nil {
		return err
	}
	c, err := p.b.connections.Look(ctx, k)
	provider := ""
	if c != nil {
		provider = c.Provider
	}
	ask := p.those(func(l *store.Lookup) bool { return l.Takes(k.Owner, provider) })
	for _, l := range ask {
		l.examined.Add(1)
	}
	switch {
	case err != nil:
		return p.unread(ctx, ask, err)
	case c == nil: // it went meanwhile, and left its traces
		return nil
	}
	p.row = 0
	place := store.Found{Of: store.OfConnection, Path: k.String(), ID: c.ID, Provider: c.Provider}
	c.Holdings(p.hasher, compare(ask, place, func(field string) bool { return p.b.hidesField(ctx, c.Provider, field) }))
	return nil
}

// hidesField reports whether a field of a key is secret: what is public, others may have alike. Where nobody knows, it
// is.
func (b *backend) hidesField(ctx context.Context, provider, field string) bool {
	p, err := b.provider(ctx, provider)
	if err != nil || p == nil {
		return true
	}
	_, declared := p.app.Definition.KeyField(field)
	return !declared || p.app.Definition.IsSecretField(field)
}

// imports looks at those that are not finished.
func (p *pass) imports(ctx context.Context) error {
	var failed error
	err := p.b.store.EachTrial(ctx, func(t *store.Trial, err error) {
		if err != nil {
			failed = cmp.Or(failed, p.unread(ctx, p.batch, err))
			return
		}
		k, err := store.ParseKey(t.Key)
		if err != nil {
			return
		}
		ask := p.those(func(l *store.Lookup) bool { return l.Takes(k.Owner, t.Provider) })
		place := store.Found{Of: store.OfImport, Path: t.Key, Provider: t.Provider}
		t.Holdings(p.hasher, compare(ask, place, everyField))
	})
	return cmp.Or(err, failed)
}

// histories looks at what is left of connections that are gone, for as long as their history is kept.
func (p *pass) histories(ctx context.Context) error {
	config, err := p.b.config(ctx)
	if err != nil {
		return err
	}
	ids, err := p.b.store.Histories(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := p.leaves(ctx); err != nil {
			return err
		}
		h, err := p.b.store.HistoryByID(ctx, id)
		if err != nil {
			if err := p.unread(ctx, p.batch, err); err != nil { // whose it is only the entry tells
				return err
			}
			continue
		}
		if p.row = 0; h != nil {
			p.history(ctx, h, config.Retention())
		}
	}
	return nil
}

func (p *pass) history(ctx context.Context, h *store.History, retention time.Duration) {
	k, err := store.ParseKey(h.Key)
	if err != nil {
		return
	}
	for _, left := range h.Buried {
		if !p.b.now().Before(left.Time.Add(retention)) {
			continue
		}
		ask := p.those(func(l *store.Lookup) bool { return l.Takes(k.Owner, left.Provider) })
		place := store.Found{
			Of: store.OfDeleted, Path: h.Key, ID: left.ID, Provider: left.Provider, Gone: left.Time,
		}
		check := compare(ask, place, func(field string) bool { return p.b.hidesField(ctx, left.Provider, field) })
		left.Traces.Each(func(t store.Trace) {
			check(t.Hash, store.Holding{Field: t.Field, Former: true, Day: t.Day})
		})
	}
}
