package backend

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
)

const (
	noticeSoon    = time.Second // after the first notice, as others come along; and between two writes
	noticeRetry   = time.Minute // at the most, while storage refuses
	maxChunk      = 240 << 10   // in bytes; with what encodes it, below the largest entry
	rewrittenSize = 16 << 10    // a chunk of that size is not written again for a few notices more
	maxLog        = 16 << 20    // in bytes
	maxChunks     = 4096
)

// noticeLog is the log of notices. What changes is offered to a queue in memory, without waiting; a task appends it a
// second later, in one write. There is none where nothing happens.
//
// The last chunk is written again with each batch until it has a few kilobytes, so that a notice now and then costs
// little; a large batch fills a chunk at once. After a write that failed, which may land later, the log goes on in
// another chunk that takes its place (see [store.OrderNotices]).
type noticeLog struct {
	tasks.Following
	b *backend

	mu        sync.Mutex
	queue     noticeQueue // guarded by mu
	followers []func()    // guarded by mu
	catching  *catchUp    // guarded by mu; nil once this process has told what the one before could not
	uncovered bool        // guarded by mu; something happened since the last append that is no notice

	writing chan struct{} // holds a token during an append, over what follows
	opened  bool
	name    store.NoticeChunkName // of the last chunk
	tail    *store.NoticeChunk    // nil: the next append begins one
	size    int                   // of its notices, in bytes
	next    uint64                // the place of the next notice
	logged  uint64                // the last place that the server's log has
	total   uint64                // bytes of notices in all, those that are gone too
	covered time.Time             // see [store.NoticeChunk]
	wait    time.Duration         // after the next failure
}

func newNoticeLog(b *backend) *noticeLog {
	return &noticeLog{b: b, writing: make(chan struct{}, 1), catching: &catchUp{}}
}

func randomNoticeID() string { return strings.ToLower(rand.Text()) }

// follow has wake called after each append. wake must not wait.
func (n *noticeLog) follow(wake func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.followers = append(n.followers, wake)
}

// offer enters notices. It is called under locks, and does not wait.
func (n *noticeLog) offer(notices ...store.Notice) {
	now := n.b.now()
	n.mu.Lock()
	for _, l := range notices {
		n.queue.add(l, now)
		n.catching.told(l.ID)
	}
	n.mu.Unlock()
	n.b.tasks.Sooner(n, now.Add(noticeSoon))
}

// passed is told of a change that is no notice.
func (n *noticeLog) passed() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.uncovered = true
}

// Lane implements [tasks.Task].
func (n *noticeLog) Lane() tasks.Lane { return tasks.Lane{Kind: laneNotice} }

// Name implements [tasks.Task].
func (n *noticeLog) Name() string { return "notices" }

// Run implements [tasks.Task].
func (n *noticeLog) Run(ctx context.Context) time.Time {
	if !n.b.mayWrite() { // another node leads by now
		return n.b.now().Add(tasks.LookAgain)
	}
	next, err := n.append(ctx, false)
	if err != nil {
		if n.wait == 0 {
			n.b.Logger().Warn("notices could not be stored, and are kept in memory until they can", "error", err)
		}
		n.wait = min(max(2*n.wait, noticeSoon), noticeRetry)
		return n.b.now().Add(n.wait)
	}
	n.wait = 0
	return next
}

// drain stores whatever there is, counts too, while the mount ends.
func (n *noticeLog) drain(ctx context.Context) {
	for n.b.writable.Load() {
		pending, _ := n.report()
		if pending == 0 {
			return
		}
		if _, err := n.append(ctx, true); err != nil {
			n.b.Logger().Warn("notices could not be stored while the mount ended; the next start tells what it finds of them",
				"count", pending, "error", err)
			return
		}
	}
}

// report is how many notices wait for storage, and how many were only counted.
func (n *noticeLog) report() (pending, counted int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.queue.pending(), n.queue.counted
}

// append stores what was offered, as much as one chunk takes, and says when to go on.
func (n *noticeLog) append(ctx context.Context, all bool) (again time.Time, err error) {
	select {
	case n.writing <- struct{}{}:
		defer func() { <-n.writing }()
	case <-ctx.Done():
		return again, ctx.Err()
	}
	if err := n.open(ctx); err != nil {
		return again, err
	}
	now := n.b.now()
	n.mu.Lock()
	again = n.queue.settle(now, all)
	batch, counts, caught, uncovered := n.queue.waiting, n.queue.since(), n.catching == nil, n.uncovered
	n.mu.Unlock()
	if len(batch) == 0 && !(uncovered && caught && now.Sub(n.covered) > coverEvery) {
		return again, nil
	}
	if n.tail == nil || n.size >= rewrittenSize {
		n.begin(ctx)
	}
	chunk, size := *n.tail, n.size
	taken := 0
	for _, l := range batch {
		l.Seq = n.next + uint64(taken)
		line, err := json.Marshal(l)
		if err != nil {
			return again, err // it has no type that cannot be encoded
		}
		if size+len(line)+1 > maxChunk && len(chunk.Notices) > 0 {
			break
		}
		if size += len(line) + 1; l.Seq > n.logged {
			n.b.Logger().Info("notice: " + string(line))
			n.logged = l.Seq
		}
		chunk.Notices = append(chunk.Notices, l)
		taken++
	}
	chunk.Written, chunk.Covered = now, n.covered
	switch {
	case !caught || taken < len(batch):
	case counts.IsZero():
		chunk.Covered = now
	case counts.After(chunk.Covered):
		chunk.Covered = counts
	}
	if err := n.b.store.PutNoticeChunk(ctx, n.name, &chunk); err != nil {
		n.tail, n.name.Try = nil, n.name.Try+1
		return again, err
	}
	n.tail, n.total, n.covered = &chunk, n.total+uint64(size-n.size), chunk.Covered
	n.size, n.next = size, n.next+uint64(taken)
	n.mu.Lock()
	if n.queue.waiting = n.queue.waiting[taken:]; len(n.queue.waiting) > 0 {
		again = earlier(again, now.Add(noticeSoon))
	}
	n.uncovered = n.uncovered && !uncovered
	followers := n.followers
	n.mu.Unlock()
	for _, wake := range followers {
		wake()
	}
	return again, nil
}

// begin begins a chunk. What became too old goes, and so does what counts for nothing; what storage does not do of that
// is done the next time.
func (n *noticeLog) begin(ctx context.Context) {
	n.name.First, n.name.End = n.next, 0
	n.tail, n.size = &store.NoticeChunk{Start: n.total}, 0
	if err := n.tidy(ctx); err != nil {
		n.b.Logger().Debug("old notices could not be removed yet", "error", err)
	}
}

func (n *noticeLog) tidy(ctx context.Context) error {
	log, void, err := n.b.store.NoticeChunks(ctx)
	if err != nil {
		return err
	}
	for _, name := range void {
		if name.Term >= n.name.Term {
			continue // somebody else leads
		}
		if err := n.b.store.DeleteNoticeChunk(ctx, name); err != nil {
			return err
		}
	}
	for ; len(log) > 0; log = log[1:] {
		c, err := n.b.store.NoticeChunk(ctx, log[0])
		if err != nil && !store.Damaged(err) {
			return err
		}
		if c != nil && n.total <= c.Start+maxLog && len(log) < maxChunks {
			return nil
		}
		if err := n.b.store.DeleteNoticeChunk(ctx, log[0]); err != nil {
			return err
		}
	}
	return nil
}

// read gives the notices behind a place that takes passes, so many at most; nil passes all. last is the place to go on
// from, and dropped how many between after and the first of them are not in the log any more. It asks storage, on any
// node. Of a place that the log has not reached, as after storage was restored, it goes on from the end.
func (n *noticeLog) read(ctx context.Context, after uint64, most int, takes func(*store.Notice) bool) (
	found []store.Notice, last, dropped uint64, err error,
) {
	log, _, err := n.b.store.NoticeChunks(ctx)
	if err != nil || len(log) == 0 {
		return nil, 0, 0, err
	}
	if first := log[0].First; after+1 < first {
		dropped, after = first-1-after, first-1
	}
	last = log[0].First - 1 // as far as the log is known to reach
	for _, name := range log {
		last = max(last, name.First-1)
		if name.End != 0 && name.End <= after+1 {
			continue
		}
		c, err := n.b.store.NoticeChunk(ctx, name)
		if err != nil && !store.Damaged(err) {
			return nil, 0, 0, err
		}
		if c == nil { // it is damaged, or has just become too old
			if from := max(last, after); name.End > from+1 {
				dropped, after = dropped+name.End-1-from, name.End-1
			}
			continue
		}
		for _, l := range name.Own(c) {
			if l.Seq > after && len(found) == most {
				return found, max(last, after), dropped, nil
			}
			if last = l.Seq; l.Seq > after && (takes == nil || takes(&l)) {
				found = append(found, l)
			}
		}
	}
	return found, last, dropped, nil
}

// newest is the place of the last notice; 0: there is none.
func (n *noticeLog) newest(ctx context.Context) (uint64, error) {
	_, last, _, err := n.read(ctx, 1<<63, 0, nil)
	return last, err
}
