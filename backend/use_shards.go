package backend

import (
	"context"
	"slices"
	"time"
	"unique"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
)

const (
	// useApart is the time between two writes of use: the shards take turns within the hour, each at its own moment.
	useApart = time.Hour / store.UseShards

	// lastUseTime is how long the end of a mount may take to write use, and useWriters how many shards at once.
	lastUseTime = 5 * time.Second
	useWriters  = 4

	// settledAtOnce is how many days are read before they are put where they belong.
	settledAtOnce = 100_000
)

// shard is what is to be written of one of the entries of use.
type shard struct {
	due   time.Time
	busy  bool // it is being written
	noted []noted
	gone  []store.Used // connections that are
}

// noted is a reading that is not written yet.
type noted struct {
	id  string
	by  unique.Handle[store.Reader]
	day store.Day
}

// add keeps one reading of each reader: the last, of the last few.
func (n *shard) add(one noted) {
	of, first := 0, -1
	for i, other := range n.noted {
		switch {
		case other.id != one.id:
		case other.by == one.by:
			n.noted[i].day = max(other.day, one.day)
			return
		default:
			if of++; first < 0 || other.day < n.noted[first].day {
				first = i
			}
		}
	}
	switch {
	case of < store.MaxReaders:
		n.noted = append(n.noted, one)
	case n.noted[first].day < one.day:
		n.noted[first] = one
	}
}

// drop forgets a connection that is gone.
func (n *shard) drop(id store.Used) {
	n.gone = append(n.gone, id)
	n.noted = slices.DeleteFunc(n.noted, func(one noted) bool { return store.UsedOf(one.id) == id })
}

// collect gives what was noted of each connection.
func (n *shard) collect() map[string]store.Use {
	all := map[string]store.Use{}
	for _, one := range n.noted {
		u := all[one.id]
		u.Note(store.Reading{Reader: one.by.Value(), Day: one.day})
		all[one.id] = u
	}
	return all
}

func (n *shard) empty() bool { return len(n.noted) == 0 && len(n.gone) == 0 }

// dueAfter is the next moment at which a shard is written. Each has its own in every hour.
func dueAfter(now time.Time, number int) time.Time {
	at := now.Truncate(time.Hour).Add(time.Duration(number) * useApart)
	if !at.After(now) {
		at = at.Add(time.Hour)
	}
	return at
}

// dirty gives a shard to which something is added that is to be written. It is called under mu.
func (u *uses) dirty(number int) *shard {
	n := u.shards[number]
	if n == nil {
		n = &shard{due: dueAfter(u.b.now(), number)}
		u.shards[number] = n
		u.b.tasks.Sooner(u, n.due)
	}
	return n
}

// Lane implements [tasks.Task].
func (u *uses) Lane() tasks.Lane { return tasks.Lane{Kind: laneUse} }

// Name implements [tasks.Task].
func (u *uses) Name() string { return "who read what" }

// Run implements [tasks.Task]. It writes one entry at a time, so that there is useApart between two.
func (u *uses) Run(ctx context.Context) (next time.Time) {
	now := u.b.now()
	if u.off.Load() {
		return next
	}
	if !u.b.mayWrite() {
		return now.Add(tasks.LookAgain)
	}
	wait := useApart
	if number, n := u.begin(now); n != nil {
		if err := u.write(ctx, number, n); err != nil {
			u.b.Logger().Debug("the use of connections could not be written yet", "error", err)
			if u.failed() {
				wait = tasks.LookAgain
			}
		}
	}
	if next = u.first(); !next.IsZero() && next.Before(now.Add(wait)) {
		next = now.Add(wait)
	}
	return next
}

// failed counts a write that storage refused, and reports whether it refuses one after the other.
func (u *uses) failed() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.refused++
	if u.refused == refusedInARow {
		u.b.Logger().Warn("storage refuses to take when connections were read; it is tried again each minute")
	}
	return u.refused >= refusedInARow
}

// begin picks the shard that is due first by then, and marks it as being written; nil: there is none.
func (u *uses) begin(by time.Time) (number int, first *shard) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for at, n := range u.shards {
		if !n.busy && !n.due.After(by) && (first == nil || n.due.Before(first.due)) {
			number, first = at, n
		}
	}
	if first != nil {
		first.busy = true
	}
	return number, first
}

// first is when something is to be written next; zero: nothing is.
func (u *uses) first() (next time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, n := range u.shards {
		next = earlier(next, n.due)
	}
	return next
}

// write writes a shard that begin gave. What storage refuses stays noted until the shard's next turn. On a node that
// turns out not to write it is lost.
func (u *uses) write(ctx context.Context, number int, n *shard) error {
	u.mu.Lock()
	out := shard{noted: n.noted, gone: n.gone}
	n.noted, n.gone = nil, nil
	u.mu.Unlock()
	err := u.merge(ctx, number, &out)
	u.mu.Lock()
	defer u.mu.Unlock()
	n.busy, n.due = false, dueAfter(u.b.now(), number)
	switch {
	case err == nil:
		u.refused = 0
	case store.IsReadOnly(err):
		u.unseen.Add(uint64(len(out.noted)))
		u.seen.forget()
	default:
		for _, one := range out.noted {
			n.add(one)
		}
		n.gone = append(n.gone, out.gone...)
	}
	if n.empty() && u.shards[number] == n {
		delete(u.shards, number)
	}
	return err
}

// merge lays what was noted over what storage has: another node may have written that meanwhile.
func (u *uses) merge(ctx context.Context, number int, n *shard) error {
	stored, err := u.b.store.Use(ctx, number)
	if err != nil && !store.Damaged(err) {
		return err
	}
	if stored == nil {
		stored = &store.UseShard{}
	}
	gone := func(id string) bool { return len(n.gone) > 0 && slices.Contains(n.gone, store.UsedOf(id)) }
	if !stored.Merge(n.collect(), gone, store.DayOf(u.b.now())) && err == nil {
		return nil
	}
	return u.b.store.PutUse(ctx, number, stored)
}

// writeAll writes what is noted, until nothing is left, storage refuses, or its time is over: at the end of a mount,
// where several do so at once.
func (u *uses) writeAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastUseTime)
	defer cancel()
	if u.off.Load() || !u.b.writable.Load() {
		return
	}
	u.takeRest()
	for ctx.Err() == nil {
		number, n := u.begin(u.b.now().Add(2 * time.Hour)) // whatever is due
		if n == nil {
			return
		}
		if err := u.write(ctx, number, n); err != nil {
			u.b.Logger().Debug("the use of connections could not be written", "error", err)
			return
		}
	}
}

// left is how many shards there are that are not written.
func (u *uses) left() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.shards)
}

// configure follows config: where use is not noted any more, what was noted and not written is forgotten.
func (u *uses) configure(c *store.Config) {
	if was := u.off.Swap(c.UseOff); was == c.UseOff {
		return
	}
	u.seen.forget()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.listed = false
	clear(u.unread)
	clear(u.strays)
	clear(u.shards)
}

// invalidate hears that another node wrote an entry.
func (u *uses) invalidate(name string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if number, ok := store.ParseUseShard(name); ok {
		u.unread[number] = true
	} else {
		u.listed = false
	}
}

// knows is since when use is noted, and of which shards nothing is known.
func (u *uses) knows(c *store.Config) (since time.Time, unknown map[int]bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if since = u.began; c.UseSince.After(since) {
		since = c.UseSince
	}
	unknown = map[int]bool{}
	for number := range u.unread {
		unknown[number] = true
	}
	return since, unknown
}

// fill reads what storage has of use and memory does not: everything at first, later what another node wrote, or what
// storage did not give. A shard that it does not give hides no other.
func (u *uses) fill(ctx context.Context) error {
	if u.off.Load() {
		return nil
	}
	select {
	case u.filling <- struct{}{}:
		defer func() { <-u.filling }()
	case <-ctx.Done():
		return ctx.Err()
	}
	todo, err := u.list(ctx)
	if err != nil {
		return err
	}
	u.keepBegan(ctx)
	days, read, row, today := map[store.Used]store.Day{}, []int{}, 0, store.DayOf(u.b.now())
	for _, number := range todo {
		s, failed := u.b.store.Use(ctx, number)
		if err = ctx.Err(); err != nil {
			break
		}
		if failed != nil && !store.Damaged(failed) {
			if row++; row == failuresInARow {
				err = failed
				break
			}
			continue
		}
		row = 0
		if read = append(read, number); s != nil {
			for id, use := range s.Connections {
				days[store.UsedOf(id)] = min(use.Day, today)
			}
		}
		if len(days) >= settledAtOnce {
			u.settle(days, read)
			days, read = map[store.Used]store.Day{}, nil
		}
	}
	u.settle(days, read)
	return err
}

// list says which shards are to be read.
func (u *uses) list(ctx context.Context) (todo []int, err error) {
	u.mu.Lock()
	listed := u.listed
	u.mu.Unlock()
	if !listed {
		shards, err := u.b.store.Uses(ctx)
		if err != nil {
			return nil, err
		}
		began, err := u.b.store.UseBegan(ctx)
		if err != nil && !store.Damaged(err) {
			return nil, err
		}
		u.mu.Lock()
		if u.began, u.kept = u.b.now(), began != nil; u.kept {
			u.began = began.Time
		}
		for _, number := range shards {
			u.unread[number] = true
		}
		u.listed = true
		u.mu.Unlock()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for number := range u.unread {
		todo = append(todo, number)
	}
	return todo, nil
}

// keepBegan writes since when use is noted, once in the life of a mount.
func (u *uses) keepBegan(ctx context.Context) {
	u.mu.Lock()
	began, kept := u.began, u.kept
	u.mu.Unlock()
	if kept || !u.b.writable.Load() {
		return
	}
	if err := u.b.store.PutUseBegan(ctx, &store.UseBegan{Time: began}); err != nil {
		u.b.Logger().Debug("since when use is noted could not be written yet", "error", err)
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.kept = true
}

// settle gives days to the connections that they are of. What is of none is gone, if all connections are known: then
// it goes from storage too.
func (u *uses) settle(days map[store.Used]store.Day, read []int) {
	u.mu.Lock()
	for id, day := range u.strays {
		days[id] = max(days[id], day)
	}
	clear(u.strays)
	u.mu.Unlock()
	found, unreadable, all := map[store.Used]bool{}, false, false
	if len(days) > 0 {
		all = u.b.directory.mirror.eachKnown(func(_ store.Key, r *record) {
			if day, ok := days[r.id]; ok {
				r.used, found[r.id] = max(r.used, day), true
			}
			unreadable = unreadable || r.unreadable
		})
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for id, day := range days {
		switch {
		case found[id]:
		case all && !unreadable && u.b.writable.Load():
			u.dirty(id.Shard()).drop(id)
		case !all || unreadable:
			u.strays[id] = max(u.strays[id], day)
		}
	}
	for _, number := range read {
		delete(u.unread, number)
	}
}
