package store

import (
	"context"
	"slices"
)

// historyVersion is the version of history entries. An older release may ignore the whole kind, and leaves its entries.
const historyVersion = 1

type historyRecord struct {
	header
	History
}

func encodeHistory(h *History) ([]byte, error) {
	return encode(historyRecord{header{historyVersion}, *h}, h.unknown)
}

func decodeHistory(b []byte) (*History, error) {
	var r historyRecord
	unknown, err := decode(b, &r)
	if err != nil {
		return nil, err
	}
	r.History.unknown = unknown
	return &r.History, r.check("history", historyVersion)
}

// History reads what happened to the connections of one name; nil when nothing is kept.
func (s Store) History(ctx context.Context, k Key) (*History, error) {
	return get(ctx, s.storage, historyPrefix+k.hash(), decodeHistory)
}

// AppendHistory keeps a record of a connection, unless it is kept already. One that cannot be decoded is begun anew: it
// must not keep people from changing the connection.
func (s Store) AppendHistory(ctx context.Context, k Key, r Record) error {
	h, err := s.History(ctx, k)
	if err = unlessDamaged(err); err != nil {
		return err
	}
	if h == nil {
		h = &History{Key: k.String()}
	}
	if !h.Append(r) {
		return nil
	}
	return s.putHistory(ctx, k, h)
}

// Bury keeps what is left of a connection that goes: its last record, if it has one, and traces of its secrets.
func (s Store) Bury(ctx context.Context, k Key, last *Record, left Buried) error {
	h, err := s.History(ctx, k)
	if err = unlessDamaged(err); err != nil {
		return err
	}
	if h == nil {
		h = &History{Key: k.String()}
	}
	added := last != nil && h.Append(*last)
	if !h.bury(left) && !added {
		return nil
	}
	return s.putHistory(ctx, k, h)
}

func (s Store) putHistory(ctx context.Context, k Key, h *History) error {
	return put(ctx, s.storage, historyPrefix+k.hash(), h, encodeHistory)
}

// TakeHistory adds what is kept of a connection under one key to what is kept of another, to which it has moved. What
// is of others that had the name before stays.
func (s Store) TakeHistory(ctx context.Context, from, to Key, id string) error {
	source, err := s.History(ctx, from)
	if source == nil || Damaged(err) {
		return unlessDamaged(err)
	}
	h, err := s.History(ctx, to)
	if err = unlessDamaged(err); err != nil {
		return err
	}
	if h == nil {
		h = &History{Key: to.String()}
	}
	added := false
	for _, r := range source.Records {
		added = r.ID == id && h.Append(r) || added
	}
	if !added {
		return nil
	}
	return s.putHistory(ctx, to, h)
}

// LeaveHistory keeps of the connection that left a key nothing but the record of the move by which it did.
func (s Store) LeaveHistory(ctx context.Context, k Key, r Record) error {
	h, err := s.History(ctx, k)
	if err = unlessDamaged(err); err != nil {
		return err
	}
	left := &History{Key: k.String()}
	if h != nil {
		left.Records = slices.DeleteFunc(slices.Clone(h.Records), func(o Record) bool { return o.ID == r.ID })
		left.Buried, left.unknown = h.Buried, h.unknown
	}
	left.Append(r)
	return s.putHistory(ctx, k, left)
}

func unlessDamaged(err error) error {
	if Damaged(err) {
		return nil
	}
	return err
}

// HistoryByID reads the history that Histories listed under id.
func (s Store) HistoryByID(ctx context.Context, id string) (*History, error) {
	return get(ctx, s.storage, historyPrefix+id, decodeHistory)
}

// Histories lists the ids of all histories; a key has the one of its HistoryID.
func (s Store) Histories(ctx context.Context) ([]string, error) { return s.list(ctx, historyPrefix) }

// HistoryID is where a key's history is.
func (k Key) HistoryID() string { return k.hash() }

// DeleteHistory removes one history; absent is fine.
func (s Store) DeleteHistory(ctx context.Context, id string) error {
	return s.remove(ctx, historyPrefix+id)
}
