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
	noticeSoon    = time.Second // after the first notice: others come along
	noticeRetry   = time.Minute // at the most, while storage refuses
	maxChunk      = 240 << 10   // in bytes; with what encodes it, below the largest entry
	rewrittenSize = 16 << 10    // a chunk of that size is not written again for a few notices more
	maxLog        = 16 << 20    // in bytes
)

// noticeLog is the log of notices. Changes offer to a queue in memory and do not wait; a task appends what is there.
type noticeLog struct {
	tasks.Place
	b *backend

	mu        sync.Mutex
	queue     []store.Notice // guarded by mu
	followers []func()       // guarded by mu

	writing chan struct{} // holds a token during an append; over what follows
	opened  bool
	name    store.NoticeChunkName // of the last chunk
	tail    *store.NoticeChunk    // nil: the next append begins one
	size    int                   // of its notices, in bytes
	next    uint64                // the place of the next notice
	total   uint64                // bytes of notices in all, those that are gone too
	wait    time.Duration         // after the next failure
}

func newNoticeLog(b *backend) *noticeLog { return &noticeLog{b: b, writing: make(chan struct{}, 1)} }

// follow has wake called after each append. wake must not wait.
func (n *noticeLog) follow(wake func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.followers = append(n.followers, wake)
}

// offer enters notices. It is called under locks, and does not wait.
func (n *noticeLog) offer(notices ...store.Notice) {
	n.mu.Lock()
	n.queue = append(n.queue, notices...)
	n.mu.Unlock()
	n.b.tasks.Sooner(n, n.b.now().Add(noticeSoon))
}

// Lane implements [tasks.Task].
func (n *noticeLog) Lane() tasks.Lane { return tasks.Lane{Kind: laneNotice} }

// Name implements [tasks.Task].
func (n *noticeLog) Name() string { return "notices" }

// Run implements [tasks.Task].
func (n *noticeLog) Run(ctx context.Context) (next time.Time) {
	left, err := n.append(ctx)
	if err != nil {
		n.b.Logger().Debug("notices could not be stored yet", "error", err)
		n.wait = min(max(2*n.wait, noticeSoon), noticeRetry)
		return n.b.now().Add(n.wait)
	}
	n.wait = 0
	if left {
		return n.b.now().Add(noticeSoon)
	}
	return next
}

// append stores what is offered, as much as one chunk takes.
func (n *noticeLog) append(ctx context.Context) (left bool, err error) {
	select {
	case n.writing <- struct{}{}:
		defer func() { <-n.writing }()
	case <-ctx.Done():
		return true, ctx.Err()
	}
	if err := n.open(ctx); err != nil {
		return true, err
	}
	n.mu.Lock()
	batch := n.queue
	n.mu.Unlock()
	if len(batch) == 0 {
		return false, nil
	}
	if n.tail == nil || n.size >= rewrittenSize {
		n.begin()
	}
	next := *n.tail
	size, taken := n.size, 0
	for _, l := range batch {
		l.Seq = n.next + uint64(taken)
		encoded, err := json.Marshal(l)
		if err != nil {
			return true, err // it has no type that cannot be encoded
		}
		if size += len(encoded) + 1; size > maxChunk && taken > 0 {
			size -= len(encoded) + 1
			break
		}
		next.Notices = append(next.Notices, l)
		taken++
	}
	next.Written = n.b.now()
	if err := n.b.store.PutNoticeChunk(ctx, n.name, &next); err != nil {
		n.tail, n.name.Term = nil, n.name.Term+1 // it may land later
		return true, err
	}
	n.tail, n.total = &next, n.total+uint64(size-n.size)
	n.size, n.next = size, n.next+uint64(taken)
	n.mu.Lock()
	n.queue = n.queue[taken:]
	left = len(n.queue) > 0
	followers := n.followers
	n.mu.Unlock()
	for _, wake := range followers {
		wake()
	}
	return left, nil
}

// begin begins a chunk.
func (n *noticeLog) begin() {
	n.name.First, n.name.End = n.next, 0
	n.tail, n.size = &store.NoticeChunk{Start: n.total}, 0
}

// open finds out where the log ends.
func (n *noticeLog) open(ctx context.Context) error {
	if n.opened {
		return nil
	}
	log, _, err := n.b.store.NoticeChunks(ctx)
	if err != nil {
		return err
	}
	n.name = store.NoticeChunkName{Term: 1, Writer: strings.ToLower(rand.Text())[:8]}
	n.next = 1
	if len(log) > 0 {
		last := log[len(log)-1]
		c, err := n.b.store.NoticeChunk(ctx, last)
		if err != nil {
			return err
		}
		n.name.Term, n.next = last.Term+1, last.First
		if c != nil {
			n.total = c.Start
			for _, l := range last.Own(c) {
				n.next = max(n.next, l.Seq+1)
			}
		}
	}
	n.opened = true
	return nil
}

// read gives the notices after a place that takes passes, so many at most; nil passes all. last is the place to go on
// from, and dropped how many behind after are not in the log any more. It reads storage, on any node.
func (n *noticeLog) read(ctx context.Context, after uint64, most int, takes func(*store.Notice) bool) (
	found []store.Notice, last, dropped uint64, err error,
) {
	log, _, err := n.b.store.NoticeChunks(ctx)
	if err != nil || len(log) == 0 {
		return nil, after, 0, err
	}
	if first := log[0].First; after+1 < first {
		dropped, after = first-1-after, first-1
	}
	last = after
	for _, name := range log {
		if name.End != 0 && name.End <= after+1 {
			continue
		}
		c, err := n.b.store.NoticeChunk(ctx, name)
		if err != nil && !store.Damaged(err) {
			return nil, 0, 0, err
		}
		if c == nil {
			continue // it has just become too old
		}
		for _, l := range name.Own(c) {
			if l.Seq <= last {
				continue
			}
			if len(found) == most {
				return found, last, dropped, nil
			}
			if last = l.Seq; takes == nil || takes(&l) {
				found = append(found, l)
			}
		}
	}
	return found, last, dropped, nil
}

// newest is the place of the last notice; 0: there is none.
func (n *noticeLog) newest(ctx context.Context) (uint64, error) {
	log, _, err := n.b.store.NoticeChunks(ctx)
	if err != nil || len(log) == 0 {
		return 0, err
	}
	_, last, _, err := n.read(ctx, log[len(log)-1].First-1, 1<<30, func(*store.Notice) bool { return false })
	return last, err
}
