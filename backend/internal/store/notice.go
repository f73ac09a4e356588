package store

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// The kinds of notices: what may become of a connection, or of what many of them rest on.
const (
	NoticeConnect        = "connect"
	NoticeReconnect      = "reconnect"
	NoticeNeedsReconnect = "needs_reconnect"
	NoticeRecovered      = "recovered" // whatever kept it from serving is over: reason tells what that was
	NoticeRevoked        = "revoked"
	NoticeFrozen         = "frozen"
	NoticeDisabled       = "disabled"
	NoticeShared         = "shared"
	NoticeTransferred    = "transferred"
	NoticeScopeDrift     = "scope_drift"
	NoticeRotationDue    = "rotation_due"
	NoticeCheckFailed    = "check_failed"
	NoticeDeleted        = "deleted"
	NoticeOwnerMissing   = "owner_missing"
	NoticeOwnerDisabled  = "owner_disabled"
)

// NoticeKinds are all kinds.
var NoticeKinds = []string{
	NoticeConnect, NoticeReconnect, NoticeNeedsReconnect, NoticeRecovered, NoticeRevoked, NoticeFrozen, NoticeDisabled,
	NoticeShared, NoticeTransferred, NoticeScopeDrift, NoticeRotationDue, NoticeCheckFailed, NoticeDeleted,
	NoticeOwnerMissing, NoticeOwnerDisabled,
}

// Notice is one line of the log of notices. It holds no secret and nothing that a provider said, and of private
// connections neither label nor account.
type Notice struct {
	Seq          uint64    `json:"seq"` // its place in the log, rising
	ID           string    `json:"id"`  // one for each transition: receivers drop duplicates by it
	Time         time.Time `json:"time"`
	Kind         string    `json:"kind"`
	Provider     string    `json:"provider,omitempty"`
	Connection   string    `json:"connection,omitempty"` // its path, as org/acme/slack; empty: it concerns many
	ConnectionID string    `json:"connection_id,omitempty"`
	By           string    `json:"by,omitempty"`    // with ByID empty: the engine itself
	ByID         string    `json:"by_id,omitempty"` // the entity
	Verb         string    `json:"verb,omitempty"`
	Reason       string    `json:"reason,omitempty"`
	Private      bool      `json:"private,omitempty"`
	Changes      []Change  `json:"changes,omitempty"` // of public fields
	Count        int       `json:"count,omitempty"`   // above 1: so many at once, between Since and Time
	Since        time.Time `json:"since,omitzero"`
}

// noticeVersion is the version of the chunks of the log. An older release may ignore the whole kind, and leaves them.
const noticeVersion = 1

// NoticeChunk is a part of the log. It is written again with each notice that it gets, until it is full.
type NoticeChunk struct {
	Start   uint64    `json:"start"`   // how many bytes of notices came before it
	Written time.Time `json:"written"` // last
	// Covered tells until when the log has whatever happened: what is not in it then, a crash has cut off.
	Covered time.Time `json:"covered"`
	Notices []Notice  `json:"notices"`

	unknown unknownFields
}

type noticeRecord struct {
	header
	NoticeChunk
}

func encodeNotices(c *NoticeChunk) ([]byte, error) {
	return encode(noticeRecord{header{noticeVersion}, *c}, c.unknown)
}

func decodeNotices(b []byte) (*NoticeChunk, error) {
	var r noticeRecord
	unknown, err := decode(b, &r)
	if err != nil {
		return nil, err
	}
	r.NoticeChunk.unknown = unknown
	return &r.NoticeChunk, r.check("log of notices", noticeVersion)
}

// NoticeChunkName names a chunk: by its first notice, and by who writes it. A name is written by one process alone, and
// by that until a write of it failed. So a write that lands late changes no other chunk, whether it is of a node that
// leads no more or of this one.
type NoticeChunkName struct {
	First  uint64
	Term   uint64 // above those of all writers before
	Writer string // tells those apart who began at the same time
	Try    uint64 // above those of the writer's chunks of which a write failed

	End uint64 // the first notice that is not its own any more, since another chunk begins there; 0: none does
}

func (n NoticeChunkName) String() string {
	return fmt.Sprintf("%016x-%08x-%s-%08x", n.First, n.Term, n.Writer, n.Try)
}

var noticeName = regexp.MustCompile(`^([0-9a-f]{16})-([0-9a-f]{8})-([a-z0-9]{1,26})-([0-9a-f]{8})$`)

func parseNoticeName(s string) (n NoticeChunkName, ok bool) {
	m := noticeName.FindStringSubmatch(s)
	if m == nil {
		return n, false
	}
	n.First, _ = strconv.ParseUint(m[1], 16, 64)
	n.Term, _ = strconv.ParseUint(m[2], 16, 64)
	n.Try, _ = strconv.ParseUint(m[4], 16, 64)
	n.Writer = m[3]
	return n, true
}

// before reports whether the writer of n had its place taken by that of o.
func (n NoticeChunkName) before(o NoticeChunkName) bool {
	return cmp.Or(cmp.Compare(n.Term, o.Term), cmp.Compare(n.Writer, o.Writer), cmp.Compare(n.Try, o.Try)) < 0
}

// OrderNotices puts the chunks of the log in order, and tells which count for nothing: what a writer began after
// another had taken its place was written late, and is told again there.
func OrderNotices(names []string) (log, void []NoticeChunkName) {
	var all []NoticeChunkName
	for _, name := range names {
		if n, ok := parseNoticeName(name); ok {
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b NoticeChunkName) int {
		switch {
		case a.First != b.First:
			return cmp.Compare(a.First, b.First)
		case a.before(b):
			return -1
		}
		return 1
	})
	for _, n := range all {
		if len(log) > 0 {
			last := &log[len(log)-1]
			if n.before(*last) {
				void = append(void, n)
				continue
			}
			if n.First == last.First {
				void = append(void, *last)
				*last = n
				continue
			}
			last.End = n.First
		}
		log = append(log, n)
	}
	return log, void
}

// Own are the chunk's notices, without those that another chunk has in their place.
func (n NoticeChunkName) Own(c *NoticeChunk) []Notice {
	return slices.DeleteFunc(slices.Clone(c.Notices), func(l Notice) bool {
		return l.Seq < n.First || n.End != 0 && l.Seq >= n.End
	})
}

// NoticeChunks lists the log.
func (s Store) NoticeChunks(ctx context.Context) (log, void []NoticeChunkName, err error) {
	names, err := s.list(ctx, noticePrefix)
	if err != nil {
		return nil, nil, err
	}
	log, void = OrderNotices(names)
	return log, void, nil
}

// NoticeChunk reads one chunk; nil when it is gone.
func (s Store) NoticeChunk(ctx context.Context, n NoticeChunkName) (*NoticeChunk, error) {
	return get(ctx, s.storage, noticePrefix+n.String(), decodeNotices)
}

// PutNoticeChunk writes one.
func (s Store) PutNoticeChunk(ctx context.Context, n NoticeChunkName, c *NoticeChunk) error {
	return put(ctx, s.storage, noticePrefix+n.String(), c, encodeNotices)
}

// DeleteNoticeChunk removes one; absent is fine.
func (s Store) DeleteNoticeChunk(ctx context.Context, n NoticeChunkName) error {
	return s.remove(ctx, noticePrefix+n.String())
}
