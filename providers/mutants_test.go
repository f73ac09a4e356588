package providers_test

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// mutant is a definition with one mistake in it.
type mutant struct {
	path   string // where: token.answer.access_token[0]
	change string // what: delete, text, host, length, number, swap, or the former word > the new one
	text   []byte
}

// allowedMutant are mutants that may live, since no answer and no request of a service could tell.
type allowedMutant struct {
	Definition string `yaml:"definition"` // absent: any
	Path       string `yaml:"path"`       // RE2 over the whole path
	Change     string `yaml:"change"`     // RE2 over the whole change; absent: any
	Reason     string `yaml:"reason"`

	path, change *regexp.Regexp
	used         bool
}

func readAllowed(t *testing.T) []*allowedMutant {
	t.Helper()
	data, err := os.ReadFile("testdata/mutants_allowed.yaml")
	require.NoError(t, err)
	var all []*allowedMutant
	require.NoError(t, yaml.UnmarshalWithOptions(data, &all, yaml.Strict()))
	for _, a := range all {
		require.NotEmpty(t, a.Reason, "%s: say why no fixture can tell", a.Path)
		a.path = regexp.MustCompile("^(?:" + a.Path + ")$")
		a.change = regexp.MustCompile("^(?:" + a.Change + ")$")
	}
	return all
}

func (a *allowedMutant) covers(id string, m mutant) bool {
	return (a.Definition == "" || a.Definition == id) && a.path.MatchString(m.path) &&
		(a.Change == "" || a.change.MatchString(m.change))
}

// A mistake in a definition is found by its fixtures: every change of one value is refused when the definition is read,
// or makes a fixture fail. What neither finds stands in testdata/mutants_allowed.yaml with the reason, or wants a line
// in a fixture.
func TestMutants(t *testing.T) {
	catalog, err := providers.Builtin()
	require.NoError(t, err)
	fixtures, err := providertest.ReadFixtures(fixtureFiles())
	require.NoError(t, err)
	allowed := readAllowed(t)
	var mu sync.Mutex // guards used and left
	left := 0         // definitions that did not run to the end, such as those that -run leaves out
	t.Cleanup(func() {
		for _, a := range allowed {
			if len(missing) == 0 && left == 0 && !t.Failed() {
				assert.True(t, a.used, "%s %s: no mutant needs it, take it away", a.Definition, a.Path)
			}
		}
	})
	for _, id := range catalog.IDs() {
		def, _ := catalog.Get(id)
		var own []played
		for _, f := range fixtures {
			if f.ID == id {
				own = append(own, played{f, f.Play(def)})
			}
		}
		if len(own) == 0 {
			continue // TestEveryKindHasAFixture says so
		}
		left++ // before any of them: they are parallel
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile("catalog/" + id + ".yaml")
			require.NoError(t, err)
			all := mutantsOf(t, data)
			same, err := catalog.Decode(id+".yaml", all[0].text)
			require.NoError(t, err)
			require.Equal(t, def, same, "the file written anew is another one")
			var survive []string
			for _, m := range all[1:] {
				if !lives(catalog, id, m, own) {
					continue
				}
				i := slices.IndexFunc(allowed, func(a *allowedMutant) bool { return a.covers(id, m) })
				if i < 0 {
					survive = append(survive, m.path+": "+m.change)
					continue
				}
				mu.Lock()
				allowed[i].used = true
				mu.Unlock()
			}
			if len(survive) != surviving[id] {
				t.Errorf("nothing finds %d changes, and %d are known: a line in a fixture would\n%s", len(survive),
					surviving[id], strings.Join(survive, "\n"))
			}
			mu.Lock()
			left--
			mu.Unlock()
		})
	}
}

// surviving is how many changes of a definition wait for a line in a fixture. It only gets less.
var surviving = map[string]int{
	"oauth2": 42,
	"oidc":   33,
}

// played is a fixture, and what it finds in the definition as it is.
type played struct {
	*providertest.Fixture
	found []string
}

// lives reports whether a mutant can be read and no fixture finds it.
func lives(catalog *providers.Registry, id string, m mutant, fixtures []played) bool {
	def, err := catalog.Decode(id+".yaml", m.text)
	return err == nil && !slices.ContainsFunc(fixtures, func(f played) bool {
		if len(f.found) == 0 {
			return f.Differs(def)
		}
		return !slices.Equal(f.found, f.Play(def))
	})
}

// mutantsOf makes all mutants of a file. The first is the file itself.
func mutantsOf(t *testing.T, data []byte) []mutant {
	t.Helper()
	var root yaml.MapSlice
	require.NoError(t, yaml.UnmarshalWithOptions(data, &root, yaml.UseOrderedMap()))
	var tree any = root
	m := &mutator{t: t}
	m.write = func(path, change string) {
		text, err := yaml.MarshalWithOptions(tree, yaml.UseSingleQuote(true), yaml.UseLiteralStyleIfMultiline(true))
		require.NoError(t, err)
		m.all = append(m.all, mutant{path, change, text})
	}
	m.write("", "")
	m.maps("", &tree, tree.(yaml.MapSlice), reflect.TypeFor[providers.Definition]())
	return m.all
}

type mutator struct {
	t     *testing.T
	all   []mutant
	write func(path, change string) // notes the tree as it is now
}

// try notes the tree with another value at one place, and puts the former back.
func (m *mutator) try(path, change string, at *any, value any) {
	before := *at
	*at = value
	m.write(path, change)
	*at = before
}

func (m *mutator) maps(path string, tree *any, whole yaml.MapSlice, typ reflect.Type) {
	for i := range whole {
		name := fmt.Sprint(whole[i].Key)
		at := strings.TrimPrefix(path+"."+name, ".")
		if at == "id" || at == "extends" { // another definition altogether
			continue
		}
		m.try(at, deletion(whole[i].Value), tree, slices.Delete(slices.Clone(whole), i, i+1))
		if i+1 < len(whole) && scalar(whole[i].Value) && scalar(whole[i+1].Value) &&
			whole[i].Value != whole[i+1].Value && kindOf(typ) == reflect.Map {
			whole[i].Value, whole[i+1].Value = whole[i+1].Value, whole[i].Value
			m.write(at, "swap")
			whole[i].Value, whole[i+1].Value = whole[i+1].Value, whole[i].Value
		}
		field, words := fieldOf(typ, name)
		m.value(at, &whole[i].Value, field, words)
	}
}

// value changes what stands at one place, whatever it is.
func (m *mutator) value(path string, at *any, typ reflect.Type, words []string) {
	switch value := (*at).(type) {
	case yaml.MapSlice:
		m.maps(path, at, value, typ)
	case []any:
		m.list(path, at, value, typ, words)
	case bool:
		m.try(path, strconv.FormatBool(!value), at, !value)
	case string:
		m.text(path, at, value, words)
	case uint64:
		m.try(path, "number", at, value+1)
	case int64:
		m.try(path, "number", at, value+1)
	case nil: // a key that is taken away from what the parent says
	default:
		m.t.Fatalf("%s: nobody changes a %T", path, value)
	}
}

func (m *mutator) list(path string, at *any, list []any, typ reflect.Type, words []string) {
	var item reflect.Type
	if typ != nil && kindOf(typ) == reflect.Slice {
		item = deref(typ).Elem()
	}
	for i := range list {
		here := fmt.Sprintf("%s[%d]", path, i)
		m.try(here, "delete", at, slices.Delete(slices.Clone(list), i, i+1))
		if i+1 < len(list) {
			list[i], list[i+1] = list[i+1], list[i]
			m.write(here, "swap")
			list[i], list[i+1] = list[i+1], list[i]
		}
		m.value(here, &list[i], item, words)
	}
}

var (
	lengthOf  = regexp.MustCompile(`^([0-9]+)([smhd])$`)
	hostOfURL = regexp.MustCompile(`^https://[^/]+`)
)

func (m *mutator) text(path string, at *any, text string, words []string) {
	length := lengthOf.FindStringSubmatch(text)
	switch {
	case len(words) > 0:
		for _, word := range words {
			if word == text {
				continue
			}
			m.try(path, text+" > "+word, at, word)
			if strings.HasSuffix(path, "]") { // of a list: one tells whether it matters
				return
			}
		}
		return
	case length != nil:
		n, _ := strconv.Atoi(length[1])
		m.try(path, "length", at, strconv.Itoa(n+1)+length[2])
		return
	case hostOfURL.MatchString(text):
		m.try(path, "host", at, hostOfURL.ReplaceAllString(text, "https://other.example"))
	}
	m.try(path, "text", at, text+"x")
}

// deletion names what is gone, where that is one word.
func deletion(v any) string {
	if text, is := v.(string); is && len(text) < 12 && !strings.Contains(text, "\n") {
		return "delete " + text
	}
	return "delete"
}

func scalar(v any) bool {
	switch v.(type) {
	case string, bool, uint64, int64:
		return true
	}
	return false
}

func deref(t reflect.Type) reflect.Type {
	if t != nil && t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

func kindOf(t reflect.Type) reflect.Kind {
	if t = deref(t); t == nil {
		return reflect.Invalid
	}
	return t.Kind()
}

// fieldOf is the type of what stands under a key, and the words that it may be.
func fieldOf(t reflect.Type, name string) (field reflect.Type, words []string) {
	switch t = deref(t); kindOf(t) {
	case reflect.Map:
		return t.Elem(), nil
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			key, option, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if option == "inline" {
				if field, words := fieldOf(f.Type, name); field != nil {
					return field, words
				}
			}
			if key == name {
				if said := f.Tag.Get("words"); said != "" {
					words = strings.Split(said, "|")
				}
				return f.Type, words
			}
		}
	}
	return nil, nil
}
