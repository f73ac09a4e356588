package store

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

const (
	callTime = 5 * time.Second  // for one read or write of an entry; whoever waits may hold a lock
	listTime = 30 * time.Second // for one list, which may be long
)

// Store reads and writes entries. It is a thin, stateless view of one storage. A read of
// what is absent gives nil and no error. Errors of storage are returned as they are, since Vault recognises some of
// them only unwrapped. Every call has a time-out of its own: storage that hangs must not hold a lock for ever.
type Store struct{ storage logical.Storage }

// New makes a view of s.
func New(s logical.Storage) Store { return Store{s} }

// IsReadOnly recognises the error of storage that may only be read on this node. After gRPC only its text is left.
func IsReadOnly(err error) bool {
	return errors.Is(err, logical.ErrReadOnly) || err != nil &&
		strings.Contains(err.Error(), logical.ErrReadOnly.Error())
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

// NoteProof writes that a provider's client secret has worked. Nothing else changed, so its serial stays.
func (s Store) NoteProof(ctx context.Context, name string, p *Provider) error {
	p.Unproven = false
	return put(ctx, s.storage, providerPrefix+name, p, encodeProvider)
}

// PutFreeze writes whether a provider is frozen. What failed because of its settings failed for the same ones still, so
// its serial stays.
func (s Store) PutFreeze(ctx context.Context, name string, p *Provider) error {
	return put(ctx, s.storage, providerPrefix+name, p, encodeProvider)
}

// DeleteProvider removes one provider; absent is fine.
func (s Store) DeleteProvider(ctx context.Context, name string) error {
	return s.remove(ctx, providerPrefix+name)
}

// Providers lists the names of all providers, sorted by storage.
func (s Store) Providers(ctx context.Context) ([]string, error) {
	return s.list(ctx, providerPrefix)
}

// Connection reads one connection.
func (s Store) Connection(ctx context.Context, k Key) (*Connection, error) {
	return get(ctx, s.storage, k.storage(), decodeConnection)
}

// PutConnection writes one connection as it is. Which serial it must have, package connections knows.
func (s Store) PutConnection(ctx context.Context, k Key, c *Connection) error {
	return put(ctx, s.storage, k.storage(), c, encodeConnection)
}

// DeleteConnection removes one connection; absent is fine.
func (s Store) DeleteConnection(ctx context.Context, k Key) error {
	return s.remove(ctx, k.storage())
}

// Orgs lists the organizations that have connections, of their own or of their members.
func (s Store) Orgs(ctx context.Context) ([]string, error) {
	return s.folders(ctx, connectionPrefix+orgWord+"/")
}

// Users lists the users that have connections: those of an organization, which are its members, or with none those that
// stand for themselves.
func (s Store) Users(ctx context.Context, org string) ([]string, error) {
	if org == "" {
		return s.folders(ctx, connectionPrefix+userWord+"/")
	}
	return s.folders(ctx, connectionPrefix+Owner{Org: org}.String()+"/"+userWord+"/")
}

// Connections lists the names of an owner's connections, and tells whether members of the owner have some of their own.
func (s Store) Connections(ctx context.Context, o Owner) (names []string, members bool, err error) {
	names, err = s.list(ctx, connectionPrefix+o.String()+"/")
	own := slices.DeleteFunc(slices.Clone(names), isFolder)
	return own, len(own) < len(names), err
}

// EachKey calls fn with the key of every connection there is, owner by owner. A list that fails ends it, for nobody
// knows whom it would have named.
func (s Store) EachKey(ctx context.Context, fn func(Key)) error {
	orgs, err := s.Orgs(ctx)
	if err != nil {
		return err
	}
	for _, org := range orgs {
		if err := s.eachOf(ctx, Owner{Org: org}, fn); err != nil {
			return err
		}
	}
	return s.eachUser(ctx, "", fn)
}

// eachOf is EachKey for one owner, and for its members if it has some.
func (s Store) eachOf(ctx context.Context, o Owner, fn func(Key)) error {
	names, members, err := s.Connections(ctx, o)
	if err != nil {
		return err
	}
	for _, name := range names {
		fn(Key{o, name})
	}
	if members {
		return s.eachUser(ctx, o.Org, fn)
	}
	return nil
}

func (s Store) eachUser(ctx context.Context, org string, fn func(Key)) error {
	users, err := s.Users(ctx, org)
	if err != nil {
		return err
	}
	for _, user := range users {
		if err := s.eachOf(ctx, Owner{Org: org, User: user}, fn); err != nil {
			return err
		}
	}
	return nil
}

// folders lists the folders below a prefix, without their slashes.
func (s Store) folders(ctx context.Context, prefix string) ([]string, error) {
	names, err := s.list(ctx, prefix)
	for i := range names {
		names[i] = strings.TrimSuffix(names[i], "/")
	}
	return names, err
}

func isFolder(name string) bool { return strings.HasSuffix(name, "/") }

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
	return s.remove(ctx, flowPrefix+id)
}

// Flows lists the ids of all flows.
func (s Store) Flows(ctx context.Context) ([]string, error) { return s.list(ctx, flowPrefix) }

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
	return s.remove(ctx, intentPrefix+k.hash())
}

// Intents lists the ids of all open intents, for IntentByID.
func (s Store) Intents(ctx context.Context) ([]string, error) { return s.list(ctx, intentPrefix) }

// IntentByID reads the intent that Intents listed under id.
func (s Store) IntentByID(ctx context.Context, id string) (*Intent, error) {
	return get(ctx, s.storage, intentPrefix+id, decodeIntent)
}

func get[T any](ctx context.Context, s logical.Storage, key string, decode func([]byte) (*T, error)) (*T, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
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
	if len(b) > MaxEntry && !oversize(v) {
		noun, _ := Classify(key)
		return &tooLargeError{noun, len(b)}
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	return s.Put(ctx, &logical.StorageEntry{Key: key, Value: b})
}

func (s Store) remove(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	return s.storage.Delete(ctx, key)
}

func (s Store) list(ctx context.Context, prefix string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	return s.storage.List(ctx, prefix)
}
