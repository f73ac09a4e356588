package backend

import (
	"cmp"
	"strings"
	"unique"

	"github.com/tidwall/btree"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
)

// ordered is the table of the directory, in the order of keys: an organization, its members, then who stands for
// themselves, each by name. A tree of pointers costs a tenth of a map by keys.
type ordered struct {
	tree *btree.BTreeG[*record]
}

func newOrdered() ordered {
	return ordered{btree.NewBTreeGOptions((*record).before, btree.Options{NoLocks: true})}
}

// before is the order of keys.
func (r *record) before(other *record) bool {
	if r.owner != other.owner {
		return compareOwners(r.owner.Value(), other.owner.Value()) < 0
	}
	return r.name < other.name
}

func compareOwners(a, b store.Owner) int {
	if (a.Org == "") != (b.Org == "") { // those who stand for themselves come last
		return cmp.Compare(b.Org, a.Org)
	}
	return cmp.Or(cmp.Compare(a.Org, b.Org), cmp.Compare(a.User, b.User))
}

// lookup is a record to look another one up by.
func lookup(k store.Key) *record { return &record{owner: unique.Make(k.Owner), name: k.Name} }

func (o ordered) get(k store.Key) *record {
	r, _ := o.tree.Get(lookup(k))
	return r
}

func (o ordered) add(k store.Key) *record {
	r := lookup(k)
	r.name = strings.Clone(k.Name) // it may be the end of a longer text
	o.tree.Set(r)
	return r
}

func (o ordered) drop(k store.Key) { o.tree.Delete(lookup(k)) }

func (o ordered) each(fn func(store.Key, *record)) {
	o.tree.Scan(func(r *record) bool {
		fn(r.key(), r)
		return true
	})
}

// from calls fn with each record from k on, in order, until it says no.
func (o ordered) from(k store.Key, fn func(*record) bool) { o.tree.Ascend(lookup(k), fn) }
