package store

import (
	"context"
	"slices"
	"time"
)

// Lookup is the question whose a found secret is, and its answer once that is known. The secret itself is not kept.
type Lookup struct {
	ID        string   `json:"id"`
	Sought    string   `json:"sought"`             // the keyed hash of what was found
	Hasher    string   `json:"hasher"`             // under which key
	Org       string   `json:"org,omitempty"`      // it sees this organization's connections alone, and its members'
	Providers []string `json:"provider,omitempty"` // and those of these providers
	By        Actor    `json:"by"`                 // who asked, and when

	Ended      time.Time `json:"ended,omitzero"` // zero: the answer is not known yet
	Void       bool      `json:"void,omitempty"` // the key is another one now, so nobody can answer
	Found      []Found   `json:"found,omitempty"`
	More       bool      `json:"more,omitempty"`       // and others that are not named
	Examined   int       `json:"examined,omitempty"`   // connections
	Unreadable int       `json:"unreadable,omitempty"` // entries that may have it, and could not be read

	unknown unknownFields
}

// Found is one place where a secret is, or was.
type Found struct {
	Of       Bearer    `json:"of"`
	Path     string    `json:"path,omitempty"` // the connection's
	ID       string    `json:"connection_id,omitempty"`
	Provider string    `json:"provider"`
	Field    string    `json:"field"`
	Former   bool      `json:"former,omitempty"`
	Day      time.Time `json:"day,omitzero"`  // on which it was replaced, as far as is known
	Gone     time.Time `json:"gone,omitzero"` // when the connection went
}

// Bearer says what has a secret.
type Bearer string

// The bearers.
const (
	OfConnection Bearer = "connection"
	OfDeleted    Bearer = "deleted"  // a connection that is gone from there
	OfImport     Bearer = "import"   // one that is not finished
	OfProvider   Bearer = "provider" // the app itself
)

// maxFound is how many places an answer names: a key may have been written many times.
const maxFound = 100

// Takes reports whether the question is about what an owner has at a provider; an empty one: nobody knows which.
func (l *Lookup) Takes(o Owner, provider string) bool {
	return (l.Org == "" || o.Org == l.Org) && l.TakesProvider(provider)
}

// TakesProvider reports whether the question is about a provider, or about all.
func (l *Lookup) TakesProvider(name string) bool {
	return len(l.Providers) == 0 || name == "" || slices.Contains(l.Providers, name)
}

// Note adds a place. Where a living secret was found, the same place's former ones tell nothing more.
func (l *Lookup) Note(f Found) {
	same := func(o Found) bool {
		return o.Of == f.Of && o.Path == f.Path && o.ID == f.ID && (o.Field == f.Field || o.Former || f.Former)
	}
	i := slices.IndexFunc(l.Found, same)
	switch {
	case i >= 0 && l.Found[i].Former && !f.Former:
		l.Found = append(slices.DeleteFunc(l.Found, same), f)
	case i >= 0:
		if l.Found[i].Former && l.Found[i].Day.IsZero() {
			l.Found[i].Day = f.Day
		}
	case len(l.Found) == maxFound:
		l.More = true
	default:
		l.Found = append(l.Found, f)
	}
}

type lookupRecord struct {
	header
	Lookup
}

func encodeLookup(l *Lookup) ([]byte, error) {
	return encode(lookupRecord{header{lookupVersion}, *l}, l.unknown)
}

func decodeLookup(b []byte) (*Lookup, error) {
	var r lookupRecord
	unknown, err := decode(b, &r)
	if err != nil {
		return nil, err
	}
	r.Lookup.unknown = unknown
	return &r.Lookup, r.check("lookup", lookupVersion)
}

// Lookup reads one.
func (s Store) Lookup(ctx context.Context, id string) (*Lookup, error) {
	return get(ctx, s.storage, lookupPrefix+id, decodeLookup)
}

// PutLookup writes one.
func (s Store) PutLookup(ctx context.Context, l *Lookup) error {
	return put(ctx, s.storage, lookupPrefix+l.ID, l, encodeLookup)
}

// DeleteLookup removes one; absent is fine.
func (s Store) DeleteLookup(ctx context.Context, id string) error {
	return s.remove(ctx, lookupPrefix+id)
}

// Lookups lists the ids of all.
func (s Store) Lookups(ctx context.Context) ([]string, error) { return s.list(ctx, lookupPrefix) }
