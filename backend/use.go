package backend

import (
	"context"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
)

const (
	// maxOffered is how many readings may wait to be noted.
	maxOffered = 1024

	// seenReadings is how many readings of today are remembered, so that they are offered once. One that another took
	// the place of is offered again, and changes nothing.
	seenReadings = 1 << 17
)

// uses notes who reads which connection, day by day. A read of a credential offers that and never waits: one goroutine
// notes it here, and what was noted is written shard by shard within the hour (use_shards.go). When a connection was
// read last the directory knows of all; who read it is in storage.
type uses struct {
	tasks.Following // of the task that writes
	b               *backend

	off     atomic.Bool // config says so
	offered chan reading
	seen    seen
	dropped atomic.Uint64 // readings that nobody noted, as too many waited
	unseen  atomic.Uint64 // those that nobody noted, as this node may not write

	filling chan struct{} // holds a token during a fill, so that there is one at a time

	mu      sync.Mutex
	began   time.Time                // guarded by mu; since when use is noted; known once listed
	kept    bool                     // guarded by mu; storage has it
	listed  bool                     // guarded by mu; which shards there are was read
	unread  map[int]bool             // guarded by mu; those that are to be read
	strays  map[store.Used]store.Day // guarded by mu; of connections that the directory does not know yet
	shards  map[int]*shard           // guarded by mu; those with something to write
	refused int                      // guarded by mu; writes that failed, in a row
}

func newUses(b *backend) *uses {
	return &uses{
		b: b, offered: make(chan reading, maxOffered), seen: seen{seed: maphash.MakeSeed()},
		filling: make(chan struct{}, 1), unread: map[int]bool{}, strays: map[store.Used]store.Day{},
		shards: map[int]*shard{},
	}
}

// reading is that somebody got a credential.
type reading struct {
	key store.Key
	id  string // see [store.Connection.UseID]
	by  store.Reader
	day store.Day
}

// seen remembers readings by their hashes, each in the place that its hash gives it. It locks nothing.
type seen struct {
	seed  maphash.Seed
	marks atomic.Pointer[[seenReadings]atomic.Uint64] // nil before the first one
}

// find gives where a reading is remembered, and the mark that says so.
func (s *seen) find(r *reading) (at *atomic.Uint64, mark uint64) {
	marks := s.marks.Load()
	if marks == nil {
		s.marks.CompareAndSwap(nil, new([seenReadings]atomic.Uint64))
		if marks = s.marks.Load(); marks == nil {
			marks = new([seenReadings]atomic.Uint64) // it was forgotten again meanwhile
		}
	}
	var h maphash.Hash
	h.SetSeed(s.seed)
	for _, part := range []string{r.id, r.by.EntityID, r.by.DisplayName} {
		_, _ = h.WriteString(part)
		_ = h.WriteByte(0)
	}
	_, _ = h.Write([]byte{byte(r.day), byte(r.day >> 8)})
	mark = h.Sum64() | 1 // never that of an empty place
	return &marks[mark/2%seenReadings], mark
}

// forget lets every reading be offered again.
func (s *seen) forget() { s.marks.Store(nil) }

// offer tells that a caller got a connection's credential. It waits for nobody.
func (u *uses) offer(who caller, k store.Key, c *store.Connection) {
	if u.off.Load() {
		return
	}
	r := reading{
		k, c.UseID(k), store.Reader{EntityID: who.entity, DisplayName: who.display}, store.DayOf(u.b.now()),
	}
	at, mark := u.seen.find(&r)
	if at.Load() == mark {
		return
	}
	select {
	case u.offered <- r:
		at.Store(mark)
	default:
		u.dropped.Add(1)
	}
}

// take notes what is offered, until the mount ends.
func (u *uses) take(ctx context.Context) {
	for {
		select {
		case r := <-u.offered:
			u.note(r)
		case <-ctx.Done():
			return
		}
	}
}

// takeRest notes what is offered already.
func (u *uses) takeRest() {
	for {
		select {
		case r := <-u.offered:
			u.note(r)
		default:
			return
		}
	}
}

// note remembers a reading, to be written where this node may write.
func (u *uses) note(r reading) {
	if u.off.Load() {
		return
	}
	id := store.UsedOf(r.id)
	if !u.b.directory.used(r.key, id, r.day) {
		u.mu.Lock()
		u.strays[id] = max(u.strays[id], r.day)
		u.mu.Unlock()
	}
	if !u.b.writable.Load() && !u.b.mayWrite() {
		u.unseen.Add(1)
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.dirty(id.Shard()).add(noted{r.id, unique.Make(r.by), r.day})
}

// stray is when a connection was read last that the directory did not know then. The mirror's mutex may be held.
func (u *uses) stray(id store.Used) store.Day {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.strays[id]
}

// used notes in the directory that a connection was read, and reports whether it is there.
func (d *directory) used(k store.Key, id store.Used, day store.Day) (known bool) {
	d.mirror.with(k, func(r *record) {
		if known = r.id == id; known {
			r.used = max(r.used, day)
		}
	})
	return known
}

// lastUsed is when a connection was read last, as far as the directory knows; zero: never.
func (d *directory) lastUsed(k store.Key) (day store.Day) {
	d.mirror.with(k, func(r *record) { day = r.used })
	return day
}

// knows reports whether the directory has this connection under its key.
func (d *directory) knows(k store.Key, id store.Used) (is bool) {
	d.mirror.with(k, func(r *record) { is = r.id == id })
	return is
}

// identify notes which connection a record is of, and when it was made. Its use goes with it. It is called under the
// mirror's mutex, or of a record that nobody else has.
func (r *record) identify(b *backend, c *store.Connection) {
	k := r.key()
	id, former := store.UsedOf(c.UseID(k)), r.id
	r.created = store.DayOf(c.Created.Time)
	if id == former {
		return
	}
	unnamed := store.UsedOf((&store.Connection{}).UseID(k)) // what it was until it had an id
	if r.id = id; former != unnamed {
		r.used = 0
	}
	r.used = max(r.used, b.uses.stray(id))
	if former == unnamed && r.used > 0 {
		b.uses.named(former, c.UseID(k), r.used)
	}
}

// named is told that a connection of a former release has an id now. Who read it before is not known any more.
func (u *uses) named(former store.Used, id string, day store.Day) {
	if u.off.Load() || !u.b.writable.Load() {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	n := u.dirty(former.Shard())
	n.gone = append(n.gone, former)
	u.dirty(store.UsedOf(id).Shard()).add(noted{id: id, by: unique.Make(store.Reader{}), day: day})
}

// moved takes the use of a connection along to another key.
func (d *directory) moved(from, to store.Key) {
	d.mirror.mu.Lock()
	defer d.mirror.mu.Unlock()
	before, after := d.table.get(from), d.table.get(to)
	if before != nil && after != nil && before.id == after.id {
		after.used = max(after.used, before.used)
	}
}

// gone is told that a connection is, so that what is stored of its use goes too. The mirror's mutex is held.
func (u *uses) gone(r *record) {
	if r.id == 0 || r.moving || u.off.Load() || !u.b.writable.Load() { // one that moves goes on elsewhere
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.strays, r.id)
	if number := r.id.Shard(); r.used > 0 || !u.listed || u.unread[number] {
		u.dirty(number).drop(r.id)
	}
}

// useOf is when a connection was read last, and by whom: as storage has it, with what was noted since.
func (b *backend) useOf(ctx context.Context, k store.Key, c *store.Connection) (store.Use, error) {
	u, id := b.uses, c.UseID(k)
	if u.off.Load() {
		return store.Use{}, nil
	}
	number, use := store.UsedOf(id).Shard(), store.Use{Day: b.directory.lastUsed(k)}
	u.mu.Lock()
	known := u.listed && !u.unread[number]
	if n := u.shards[number]; n != nil {
		use.Merge(n.collect()[id])
	}
	u.mu.Unlock()
	if known && use.Day == 0 {
		return use, nil
	}
	stored, err := b.store.Use(ctx, number)
	if stored != nil {
		use.Merge(stored.Connections[id])
	}
	if store.Damaged(err) {
		err = nil
	}
	return use, err
}

// addUse shows when a connection was read last, and by whom.
func (b *backend) addUse(ctx context.Context, who caller, k store.Key, c *store.Connection,
	data map[string]any,
) (warnings []string) {
	use, err := b.useOf(ctx, k, c)
	if err != nil {
		b.Logger().Debug("the use of a connection could not be read", "connection", k.String(), "error", err)
		warnings = []string{"storage does not give by whom it was read: last_used and readers may lack something"}
	}
	data["last_used"], data["readers"] = use.Day.String(), readersFor(who, k, c, use)
	return warnings
}

// readersFor is who read a connection, as far as the caller may know: of a private one its owner alone is told.
func readersFor(who caller, k store.Key, c *store.Connection, use store.Use) []map[string]any {
	readers := []map[string]any{}
	if c.Private && !who.owns(k) {
		return readers
	}
	for _, r := range use.Readers {
		readers = append(readers, map[string]any{
			"entity_id": r.EntityID, "display_name": r.DisplayName, "last_used": r.Day.String(),
		})
	}
	return readers
}

// askUse readies a selection by use for a request, and says what it cannot know.
func (b *backend) askUse(ctx context.Context, s *selection) (warnings []string, err error) {
	if s.unused == 0 {
		return nil, nil
	}
	if b.uses.off.Load() {
		return nil, badRequest("unused_for cannot be answered: track_use on config is false, so nobody notes what is used")
	}
	if err := b.knowUse(ctx, s); err != nil {
		return nil, err
	}
	now := b.now()
	warn := func(is bool, parts ...string) {
		if is {
			warnings = append(warnings, strings.Join(parts, ""))
		}
	}
	const may = ": a connection that is used may be among these; Vault's audit log has every read"
	warn(s.useSince.After(now.Add(-s.unused)), "use is noted since ", rfc3339(s.useSince), " and not longer: nothing is "+
		"known to be unused for so long")
	warn(len(s.useUnknown) > 0, "storage does not give when some connections were used: they are left out")
	warn(b.uses.dropped.Load() > 0, "since this process began some reads were not noted, as too many came at once", may)
	here := !b.mayWrite() || b.uses.unseen.Load() > 0
	warn(here, "this node may not write, so it notes no reads", may)
	warn(!here && b.readsElsewhere(ctx), "standbys and secondaries of this Vault serve reads too, and note none", may)
	return warnings, nil
}

// readsElsewhere reports whether other nodes may serve reads: in Vault Enterprise performance standbys do, of which
// none tells the active node.
func (b *backend) readsElsewhere(ctx context.Context) bool {
	env, err := b.System().PluginEnv(ctx)
	return err == nil && env != nil && strings.HasPrefix(env.VaultVersionMetadata, "ent")
}

// knowUse reads what a selection by use goes by. Where use is not noted nothing passes.
func (b *backend) knowUse(ctx context.Context, s *selection) error {
	if s.unused == 0 {
		return nil
	}
	config, err := b.config(ctx)
	if err != nil {
		return err
	}
	if s.useSince = b.now(); config.UseOff {
		return nil
	}
	if err := b.uses.fill(ctx); err != nil {
		return err
	}
	s.useSince, s.useUnknown = b.uses.knows(config)
	return nil
}

// idle reports whether a connection was not read for as long as the selection asks: not since the end of the day on
// which it was read last, or made, and not since use is noted. It is called under the mirror's mutex.
func (s *selection) idle(r *record, now time.Time) bool {
	last := s.useSince
	for _, day := range []store.Day{r.created, r.used} {
		if end := day.End(); end.After(last) {
			last = end
		}
	}
	return !s.useUnknown[r.id.Shard()] && !last.After(now.Add(-s.unused))
}
