package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/vault/sdk/logical"
)

// Store reads and writes entries. It is a thin, stateless view of one storage. A read of
// what is absent gives nil and no error. Errors of storage are returned as they are, since Vault recognises some of
// them only unwrapped.
type Store struct{ storage logical.Storage }

// New makes a view of s.
func New(s logical.Storage) Store { return Store{s} }

// IsReadOnly recognises the error of storage that may only be read on this node. After gRPC only its text is left.
func IsReadOnly(err error) bool {
	return errors.Is(err, logical.ErrReadOnly) || err != nil && strings.Contains(err.Error(), logical.ErrReadOnly.Error())
}

// Config reads the mount's settings; the defaults before anybody wrote them.
func (s Store) Config(ctx context.Context) (*Config, error) {
	c, err := get(ctx, s.storage, configKey, decodeConfig)
	if c == nil && err == nil {
		c = DefaultConfig()
	}
	return c, err
}

// PutConfig writes the mount's settings.
func (s Store) PutConfig(ctx context.Context, c *Config) error {
	return put(ctx, s.storage, configKey, c, encodeConfig)
}

// Provider reads one provider.
func (s Store) Provider(ctx context.Context, name string) (*Provider, error) {
	return get(ctx, s.storage, providerPrefix+name, decodeProvider)
}

// PutProvider writes one provider and raises its serial.
func (s Store) PutProvider(ctx context.Context, name string, p *Provider) error {
	p.Serial++
	return put(ctx, s.storage, providerPrefix+name, p, encodeProvider)
}

// DeleteProvider removes one provider; absent is fine.
func (s Store) DeleteProvider(ctx context.Context, name string) error {
	return s.storage.Delete(ctx, providerPrefix+name)
}

// Providers lists the names of all providers, sorted by storage.
func (s Store) Providers(ctx context.Context) ([]string, error) {
	return s.storage.List(ctx, providerPrefix)
}

// Connection reads one connection.
func (s Store) Connection(ctx context.Context, k Key) (*Connection, error) {
	return get(ctx, s.storage, k.storage(), decodeConnection)
}

// PutConnection writes one connection with a serial one above the one it came with. c is changed only when the write
// succeeded, so that a failed write can be made again.
func (s Store) PutConnection(ctx context.Context, k Key, c *Connection) error {
	next := *c
	next.Serial++
	if err := put(ctx, s.storage, k.storage(), &next, encodeConnection); err != nil {
		return err
	}
	c.Serial = next.Serial
	return nil
}

// DeleteConnection removes one connection; absent is fine.
func (s Store) DeleteConnection(ctx context.Context, k Key) error {
	return s.storage.Delete(ctx, k.storage())
}

// Owners lists the ids of the owners of one kind that have connections.
func (s Store) Owners(ctx context.Context, kind OwnerKind) ([]string, error) {
	ids, err := s.storage.List(ctx, connectionPrefix+string(kind)+"/")
	for i := range ids {
		ids[i] = strings.TrimSuffix(ids[i], "/")
	}
	return ids, err
}

// Connections lists the names of an owner's connections.
func (s Store) Connections(ctx context.Context, o Owner) ([]string, error) {
	return s.storage.List(ctx, connectionPrefix+o.String()+"/")
}

// FailuresInARow is how many reads may fail one after the other before storage itself is taken to be down.
const FailuresInARow = 100

// UnreadError names the connections that storage did not give when all others were read.
type UnreadError struct {
	Keys  []Key
	first error
}

// Add notes one more.
func (e *UnreadError) Add(k Key, err error) {
	if e.Keys = append(e.Keys, k); e.first == nil {
		e.first = err
	}
}

// Err is nil as long as nothing was noted.
func (e *UnreadError) Err() error {
	if len(e.Keys) == 0 {
		return nil
	}
	return e
}

// Error names a few of them only: there may be very many.
func (e *UnreadError) Error() string {
	var names []string
	for _, k := range e.Keys[:min(len(e.Keys), 5)] {
		names = append(names, k.String())
	}
	return fmt.Sprintf("storage did not give %d connections, among them %s: %s", len(e.Keys), strings.Join(names, ", "), e.first)
}

// Unwrap gives what storage said of the first.
func (e *UnreadError) Unwrap() error { return e.first }

// EachConnection calls fn with every connection there is, owner by owner, until fn or ctx gives an error. One entry must not
// hide the others: one that cannot be decoded is given as nil, and those that storage does not give are passed over and
// named by an [UnreadError] at the end. A list that fails ends it, for nobody knows whom it would have named; so do
// [FailuresInARow].
func (s Store) EachConnection(ctx context.Context, fn func(Key, *Connection) error) error {
	var unread UnreadError
	row := 0
	for _, kind := range []OwnerKind{Org, User} {
		owners, err := s.Owners(ctx, kind)
		if err != nil {
			return err
		}
		for _, id := range owners {
			owner := Owner{kind, id}
			names, err := s.Connections(ctx, owner)
			if err != nil {
				return err
			}
			for _, name := range names {
				key := Key{owner, name}
				c, err := s.Connection(ctx, key)
				if ctx.Err() != nil {
					return ctx.Err() // and no word on the entry
				}
				if err != nil && !Unusable(err) {
					if row++; row == FailuresInARow {
						return err
					}
					unread.Add(key, err)
					continue
				}
				row = 0
				if c == nil && err == nil {
					continue // deleted since it was listed
				}
				if err := fn(key, c); err != nil {
					return err
				}
			}
		}
	}
	return unread.Err()
}

// Flow reads one flow.
func (s Store) Flow(ctx context.Context, id string) (*Flow, error) {
	return get(ctx, s.storage, flowPrefix+id, decodeFlow)
}

// PutFlow writes one flow under its id.
func (s Store) PutFlow(ctx context.Context, f *Flow) error {
	return put(ctx, s.storage, flowPrefix+f.ID, f, encodeFlow)
}

// DeleteFlow removes one flow; absent is fine.
func (s Store) DeleteFlow(ctx context.Context, id string) error {
	return s.storage.Delete(ctx, flowPrefix+id)
}

// Flows lists the ids of all flows.
func (s Store) Flows(ctx context.Context) ([]string, error) { return s.storage.List(ctx, flowPrefix) }

// PutIntent records that a connection's grant is about to be spent. There is at most one for a connection.
func (s Store) PutIntent(ctx context.Context, k Key, i *Intent) error {
	return put(ctx, s.storage, intentPrefix+k.hash(), i, encodeIntent)
}

// Intent reads a connection's open intent, nil when there is none.
func (s Store) Intent(ctx context.Context, k Key) (*Intent, error) {
	return get(ctx, s.storage, intentPrefix+k.hash(), decodeIntent)
}

// DeleteIntent removes a connection's intent; absent is fine.
func (s Store) DeleteIntent(ctx context.Context, k Key) error {
	return s.storage.Delete(ctx, intentPrefix+k.hash())
}

// Intents reads all open intents. One that cannot be read does not hide the others: the error goes along with them.
func (s Store) Intents(ctx context.Context) ([]*Intent, error) {
	ids, err := s.storage.List(ctx, intentPrefix)
	if err != nil {
		return nil, err
	}
	var (
		all    []*Intent
		failed error
	)
	for _, id := range ids {
		i, err := get(ctx, s.storage, intentPrefix+id, decodeIntent)
		if err != nil {
			failed = errors.Join(failed, err)
		} else if i != nil {
			all = append(all, i)
		}
	}
	return all, failed
}

func get[T any](ctx context.Context, s logical.Storage, key string, decode func([]byte) (*T, error)) (*T, error) {
	entry, err := s.Get(ctx, key)
	if err != nil || entry == nil {
		return nil, err
	}
	v, err := decode(entry.Value)
	if err != nil {
		return nil, err
	}
	return v, nil
}

func put[T any](ctx context.Context, s logical.Storage, key string, v *T, encode func(*T) ([]byte, error)) error {
	b, err := encode(v)
	if err != nil {
		return err
	}
	return s.Put(ctx, &logical.StorageEntry{Key: key, Value: b})
}
