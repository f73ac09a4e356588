package providers

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
)

//go:embed catalog/*.yaml
var catalog embed.FS

// Registry holds definitions by id. It is read-only and safe for concurrent use.
type Registry struct {
	files fs.FS
	byID  map[string]*Definition
	// what credentials of services look like
	secrets []secretShape
}

// Builtin returns the catalogue that is compiled in, read once for all mounts of a process. Its error says which file
// is wrong; the tests of this package see to it that none is.
func Builtin() (*Registry, error) { return builtinOnce() }

var builtinOnce = sync.OnceValues(func() (*Registry, error) {
	files, err := fs.Sub(catalog, "catalog")
	if err != nil {
		return nil, err
	}
	return NewRegistry(files)
})

// NewRegistry reads every *.yaml file at the top of files. It checks them all before it returns an error, which has
// one line for each broken rule: file, line, place, cause.
func NewRegistry(files fs.FS) (*Registry, error) {
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		return nil, err
	}
	r := &Registry{files: files, byID: make(map[string]*Definition, len(names))}
	var errs []error
	for _, name := range names {
		data, err := fs.ReadFile(files, name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		d, err := r.Decode(name, data)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		r.byID[d.ID] = d
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return r, r.gatherSecrets()
}

// Decode is [Decode] with `extends`: the file is merged over its parent, a definition of this registry that extends
// none itself, and then decoded as one. Maps merge key by key, and ~ takes a key away; inputs, connection_config and
// a key's fields merge by their names, and an entry `- name: ~` takes one away; failure rules come before those of
// the parent; any other list is replaced. id, name and summary are not inherited. The registry itself does not
// change.
func (r *Registry) Decode(file string, data []byte) (*Definition, error) {
	return decode(file, data, r.open)
}

// open reads the file of a definition of this registry.
func (r *Registry) open(id string) ([]byte, error) {
	if !namePattern.MatchString(id) || strings.Contains(id, "..") {
		return nil, errors.New("that is no id of a definition")
	}
	data, err := fs.ReadFile(r.files, id+".yaml")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no %s.yaml", id)
	}
	return data, err
}

// Get returns a definition. It is shared: do not change it.
func (r *Registry) Get(id string) (*Definition, bool) {
	d, ok := r.byID[id]
	return d, ok
}

// IDs returns the ids in alphabetical order.
func (r *Registry) IDs() []string {
	return sortedKeys(r.byID)
}
