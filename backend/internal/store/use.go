package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// useVersion is the version of the entries of use. An older release may ignore the whole kind, and leaves its entries.
const useVersion = 1

const (
	// UseShards is how many entries hold the use of all connections: each is written once an hour at the most, so all
	// together 1.1 times a second, however many connections there are.
	UseShards = 4096

	// MaxReaders is how many of those who read a connection are kept: the latest.
	MaxReaders = 8
)

// Day is a day of UTC, counted from 1970. The zero value is none.
type Day uint16

// DayOf is the day of a time.
func DayOf(t time.Time) Day {
	return Day(min(max(t.Unix()/secondsADay, 1), 1<<16-1))
}

const secondsADay = 24 * 60 * 60

// End is when the day is over.
func (d Day) End() time.Time { return time.Unix((int64(d)+1)*secondsADay, 0).UTC() }

// String is the day as people write it; empty for none.
func (d Day) String() string {
	if d == 0 {
		return ""
	}
	return time.Unix(int64(d)*secondsADay, 0).UTC().Format(time.DateOnly)
}

// MarshalText implements [encoding.TextMarshaler].
func (d Day) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *Day) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*d = 0
		return nil
	}
	t, err := time.Parse(time.DateOnly, string(text))
	if err == nil {
		*d = DayOf(t)
	}
	return err
}

// UseID is what the use of a connection is kept under, so that it stays through renames and transfers. One that a
// former release made has no id until it is written next: its key stands for it.
func (c *Connection) UseID(k Key) string {
	if c.ID == "" {
		return k.hash()
	}
	return c.ID
}

// Used is a [Connection.UseID] as memory keeps it for very many.
type Used uint64

// UsedOf shortens an id.
func UsedOf(id string) Used {
	sum := sha256.Sum256([]byte(id))
	return Used(binary.BigEndian.Uint64(sum[:]))
}

// Shard is the entry in which the use is kept.
func (u Used) Shard() int { return int(u >> 52) }

// Reader is who read a credential: an entity, under the display name it had last, or a token without one.
type Reader struct {
	EntityID    string `json:"entity_id,omitempty"`
	DisplayName string `json:"display_name,omitempty"`
}

// same reports whether both are one: an entity is, whatever token it comes with.
func (r Reader) same(other Reader) bool {
	if r.EntityID != "" || other.EntityID != "" {
		return r.EntityID == other.EntityID
	}
	return r.DisplayName == other.DisplayName
}

// Reading is a reader, and on which day they read last.
type Reading struct {
	Reader
	Day Day `json:"day"`
}

// Use is when a connection was read last, and by whom, the latest first.
type Use struct {
	Day     Day       `json:"day"`
	Readers []Reading `json:"readers,omitempty"`
}

// Note adds one reading, and reports whether that changed anything. Of readers of one day those stay that are there
// already: a thousand of them must not make an entry be written again and again.
func (u *Use) Note(r Reading) (changed bool) {
	if r.Day > u.Day {
		u.Day, changed = r.Day, true
	}
	at := slices.IndexFunc(u.Readers, func(known Reading) bool { return known.same(r.Reader) })
	switch {
	case r.Reader == Reader{}:
		return changed
	case at < 0:
		at = slices.IndexFunc(u.Readers, func(known Reading) bool { return known.Day < r.Day })
		if at < 0 {
			at = len(u.Readers)
		}
		if at == MaxReaders {
			return changed
		}
		u.Readers = slices.Insert(slices.Clip(u.Readers), at, r)
		u.Readers = u.Readers[:min(len(u.Readers), MaxReaders)]
		return true
	case u.Readers[at].Day >= r.Day:
		return changed
	}
	u.Readers = slices.Clone(u.Readers)
	u.Readers[at] = r
	slices.SortStableFunc(u.Readers, func(a, b Reading) int { return cmp.Compare(b.Day, a.Day) })
	return true
}

// Merge adds what another node, or this one before, knew of the same connection.
func (u *Use) Merge(other Use) (changed bool) {
	changed = u.Note(Reading{Day: other.Day})
	for _, r := range other.Readers {
		changed = u.Note(r) || changed
	}
	return changed
}

// UseShard is one of the entries of use.
type UseShard struct {
	Connections map[string]Use `json:"connections"` // by their UseID

	unknown unknownFields
}

// Merge adds what was noted since the entry was read, and forgets the connections that are gone. Days later than today
// came of a clock that was wrong, and would stay for ever. It reports whether anything changed.
func (s *UseShard) Merge(noted map[string]Use, gone func(id string) bool, today Day) (changed bool) {
	if s.Connections == nil {
		s.Connections = map[string]Use{}
	}
	for id, u := range s.Connections {
		switch {
		case gone(id):
			delete(s.Connections, id)
			changed = true
		case u.until(today):
			s.Connections[id] = u
			changed = true
		}
	}
	for id, more := range noted {
		if u := s.Connections[id]; !gone(id) && u.Merge(more) {
			s.Connections[id] = u
			changed = true
		}
	}
	return changed
}

// until makes today the last day, and reports whether there was a later one.
func (u *Use) until(today Day) (changed bool) {
	readers := slices.Clone(u.Readers)
	for i := range readers {
		changed = changed || readers[i].Day > today
		readers[i].Day = min(readers[i].Day, today)
	}
	changed = changed || u.Day > today
	u.Day, u.Readers = min(u.Day, today), readers
	return changed
}

type useRecord struct {
	header
	UseShard
}

// encodeUse leaves readers out where the entry would be too large: the days decide what is unused.
func encodeUse(s *UseShard) (b []byte, err error) {
	for most := MaxReaders; ; most /= 2 {
		r := useRecord{header{useVersion}, *s}
		if most < MaxReaders {
			r.Connections = make(map[string]Use, len(s.Connections))
			for id, u := range s.Connections {
				u.Readers = u.Readers[:min(len(u.Readers), most)]
				r.Connections[id] = u
			}
		}
		if b, err = encode(r, s.unknown); err != nil || len(b) <= MaxEntry || most == 0 {
			return b, err
		}
	}
}

func decodeUse(b []byte) (*UseShard, error) {
	var r useRecord
	unknown, err := decode(b, &r)
	if err != nil {
		return nil, err
	}
	r.UseShard.unknown = unknown
	return &r.UseShard, r.check("use", useVersion)
}

// Use reads one of the entries of use.
func (s Store) Use(ctx context.Context, shard int) (*UseShard, error) {
	return get(ctx, s.storage, useKey(shard), decodeUse)
}

// PutUse writes one; nothing in it leaves no entry.
func (s Store) PutUse(ctx context.Context, shard int, u *UseShard) error {
	if len(u.Connections) == 0 && len(u.unknown) == 0 {
		return s.remove(ctx, useKey(shard))
	}
	return put(ctx, s.storage, useKey(shard), u, encodeUse)
}

// Uses lists which of the entries of use there are.
func (s Store) Uses(ctx context.Context) (shards []int, err error) {
	names, err := s.list(ctx, usePrefix)
	for _, name := range names {
		if shard, ok := ParseUseShard(name); ok {
			shards = append(shards, shard)
		}
	}
	return shards, err
}

// ParseUseShard reads the name of an entry of use, as Classify gives it.
func ParseUseShard(name string) (shard int, ok bool) {
	n, err := strconv.ParseUint(name, 16, 12)
	return int(n), err == nil && len(name) == 3
}

func useKey(shard int) string { return fmt.Sprintf("%s%03x", usePrefix, shard) }

// UseBegan is since when this mount notes use at all.
type UseBegan struct {
	Time time.Time `json:"time"`

	unknown unknownFields
}

type useBeganRecord struct {
	header
	UseBegan
}

func encodeUseBegan(u *UseBegan) ([]byte, error) {
	return encode(useBeganRecord{header{useVersion}, *u}, u.unknown)
}

func decodeUseBegan(b []byte) (*UseBegan, error) {
	var r useBeganRecord
	unknown, err := decode(b, &r)
	if err != nil {
		return nil, err
	}
	r.UseBegan.unknown = unknown
	return &r.UseBegan, r.check("use", useVersion)
}

// UseBegan reads it; nil when nobody has written it yet.
func (s Store) UseBegan(ctx context.Context) (*UseBegan, error) {
	return get(ctx, s.storage, useBeganKey, decodeUseBegan)
}

// PutUseBegan writes it.
func (s Store) PutUseBegan(ctx context.Context, u *UseBegan) error {
	return put(ctx, s.storage, useBeganKey, u, encodeUseBegan)
}
