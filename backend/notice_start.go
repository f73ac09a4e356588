package backend

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"strings"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

const (
	// coverSlack is how long after the time that a change has it may have reached the log, and how much the clocks of
	// two nodes may differ.
	coverSlack = 10 * time.Minute

	// coverEvery is how often it is noted that the log has all, where much happens that is no notice.
	coverEvery = 24 * time.Hour

	maxFound = 10_000 // records that a start looks at one by one; the others are counted
	maxTold  = 50_000
)

// catchUp is what a new process must tell in the place of the one before, which may have ended between a change and
// the write that told of it. Each connection's last record is in its entry, which the directory reads anyway, and those
// before it, as those of connections that are gone, are in histories. What is younger than the log surely has, and is
// not in it, is told now. The zero value knows nothing of the log.
type catchUp struct {
	opened bool
	since  time.Time // what is older is in the log
	seen   map[string]bool
	folds  []store.Notice // which stand for what happened in their time
	found  []foundRecord
	over   int // found beyond maxFound before the log could be read
}

type foundRecord struct {
	key    store.Key
	record *store.Record
}

// told notes what this process tells itself. It may be nil.
func (u *catchUp) told(id string) {
	if u == nil {
		return
	}
	if u.seen == nil {
		u.seen = map[string]bool{}
	}
	if len(u.seen) < maxTold {
		u.seen[id] = true
	}
}

// lacks reports whether the log is to be given a notice.
func (u *catchUp) lacks(l *store.Notice) bool {
	if l.Time.Before(u.since) || u.seen[l.ID] {
		return false
	}
	for _, f := range u.folds {
		if topicOf(&f) == topicOf(l) && !l.Time.Before(f.Since) && !l.Time.After(f.Time) {
			return false
		}
	}
	return true
}

// found is handed each connection that the directory reads.
func (n *noticeLog) found(k store.Key, c *store.Connection) {
	if c.Record == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	u := n.catching
	switch {
	case u == nil, u.opened && c.Record.By.Time.Before(u.since):
	case len(u.found) < maxFound:
		u.found = append(u.found, foundRecord{k, c.Record})
	case u.opened:
		n.tell(u, store.NoticesOf(k, c.Record))
	default:
		u.over++
	}
}

// tell enters those notices that the log lacks. It is called under mu.
func (n *noticeLog) tell(u *catchUp, notices []store.Notice) {
	now := n.b.now()
	for _, l := range notices {
		if u.lacks(&l) {
			n.queue.add(l, now)
			u.told(l.ID)
		}
	}
}

// abstain is told that this node may not write: what is to be told, another tells.
func (n *noticeLog) abstain() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.catching = nil
}

// start finds out what the log has, before the directory is filled.
func (n *noticeLog) start(ctx context.Context) error {
	select {
	case n.writing <- struct{}{}:
		defer func() { <-n.writing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return n.open(ctx)
}

// catchUp tells what the log lacks of the connections that the directory has read.
func (n *noticeLog) catchUp(ctx context.Context) error {
	if err := n.start(ctx); err != nil {
		return err
	}
	n.mu.Lock()
	u := n.catching
	var found []foundRecord
	if u != nil {
		found, u.found = u.found, nil
	}
	n.mu.Unlock()
	for i, f := range found {
		var earlier []store.Record
		if f.record.N > 1 && !f.record.By.Time.Before(u.since) {
			h, err := n.b.store.History(ctx, f.key)
			if err != nil && !store.Unusable(err) {
				n.mu.Lock()
				u.found = append(u.found, found[i:]...)
				n.mu.Unlock()
				return err
			}
			if h != nil {
				earlier = h.Records
			}
		}
		n.mu.Lock()
		for _, r := range earlier {
			n.tell(u, store.NoticesOf(f.key, &r))
		}
		n.tell(u, store.NoticesOf(f.key, f.record))
		n.mu.Unlock()
	}
	n.soon()
	return nil
}

// gone is handed the history of a name that has no connection any more.
func (n *noticeLog) gone(h *store.History) {
	k, err := store.ParseKey(h.Key)
	if err != nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if u := n.catching; u != nil && u.opened {
		for _, r := range h.Records {
			n.tell(u, store.NoticesOf(k, &r))
		}
	}
}

// caughtUp is told that all connections and the histories of those that are gone were read. What operators did is all
// that is left.
func (n *noticeLog) caughtUp(ctx context.Context) error {
	if !n.isCatching() {
		return nil
	}
	if err := n.b.findOperators(ctx); err != nil {
		return err
	}
	n.mu.Lock()
	if u := n.catching; u != nil && u.opened && len(u.found) == 0 {
		n.catching = nil
	}
	n.mu.Unlock()
	n.soon()
	return nil
}

// soon has the log looked after, if there is something to store.
func (n *noticeLog) soon() {
	n.mu.Lock()
	some := n.queue.pending() > 0 || n.uncovered
	n.mu.Unlock()
	if some {
		n.b.tasks.Sooner(n, n.b.now())
	}
}

// startNotices finds out what the log of notices has.
func (b *backend) startNotices(ctx context.Context) {
	if err := b.notices.start(ctx); err != nil && ctx.Err() == nil {
		b.Logger().Warn("the log of notices could not be read yet; a minute later it is tried again", "error", err)
	}
}

// catchUpNotices tells of what a former process could not, where this one may write.
func (b *backend) catchUpNotices(ctx context.Context) {
	if !b.writable.Load() || !b.notices.isCatching() {
		return
	}
	if err := b.notices.catchUp(ctx); err != nil && ctx.Err() == nil {
		b.Logger().Debug("what the log of notices lacks could not be told yet", "error", err)
	}
}

func (n *noticeLog) isCatching() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.catching != nil
}

// open finds out where the log ends, and what it has of late. It is called by the holder of the token.
func (n *noticeLog) open(ctx context.Context) error {
	if n.opened {
		return nil
	}
	log, _, err := n.b.store.NoticeChunks(ctx)
	if err != nil {
		return err
	}
	now := n.b.now()
	u := catchUp{opened: true, since: now.Add(-coverSlack), seen: map[string]bool{}}
	name := store.NoticeChunkName{Term: 1, Writer: strings.ToLower(rand.Text())[:8]}
	next, total, covered := uint64(1), uint64(0), now.Add(-coverSlack)
	recent := map[topic]int{}
	known := false // where the log ends
	for i := len(log) - 1; i >= 0; i-- {
		at := log[i]
		name.Term = max(name.Term, at.Term+1)
		c, err := n.b.store.NoticeChunk(ctx, at)
		if err != nil && !store.Damaged(err) {
			return err
		}
		if c == nil { // nobody knows how many were in it, nor how large it was
			next = max(next, at.First+maxChunk)
			continue
		}
		own := at.Own(c)
		if !known {
			known, total, covered = true, c.Start+bytesOf(own)+uint64(len(log)-1-i)*maxChunk, c.Covered
			u.since = covered.Add(-coverSlack)
			next = max(next, at.First+uint64(len(own)))
		}
		if c.Written.Before(u.since) {
			break
		}
		for _, l := range own {
			u.seen[l.ID] = true
			if !l.Since.IsZero() {
				u.folds = append(u.folds, l)
			} else if now.Sub(l.Time) < foldTime {
				recent[topicOf(&l)]++
			}
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if was := n.catching; was != nil {
		for id := range was.seen {
			u.seen[id] = true
		}
		if u.found = was.found; was.over > 0 {
			n.b.Logger().Warn("more connections were changed lately than could be kept before the log of notices could be "+
				"read: what the last process did not tell of these is not told", "connections", was.over)
		}
		n.catching = &u
	}
	for t, singles := range recent {
		n.queue.window(t, now).singles += singles
	}
	n.opened, n.name, n.next, n.logged, n.total, n.covered = true, name, next, next-1, total, covered
	return nil
}

// bytesOf is how much room notices take.
func bytesOf(notices []store.Notice) (size uint64) {
	for i := range notices {
		line, _ := json.Marshal(&notices[i]) // it has no type that cannot be encoded
		size += uint64(len(line)) + 1
	}
	return size
}
