package providers

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write schema.json and the golden files anew")

const (
	schemaFile = "catalog/schema.json"
	schemaLine = "# yaml-language-server: $schema=./schema.json\n"
)

// remake says how the files that are made come about, without the other tests.
const remake = "run: go test ./providers -run 'Children|Schema|Table' -update"

// golden compares a file with what it should be, or writes it with -update.
func golden(t *testing.T, file string, want []byte) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, want, 0o644))
	}
	got, err := os.ReadFile(file)
	require.NoError(t, err, remake)
	assert.Equal(t, string(want), string(got), "%s is stale, %s", file, remake)
}

// schema.json is what editors complete from and underline by. It is made of the structs, their tags and comments.
func TestSchemaFile(t *testing.T) {
	var text bytes.Buffer
	encode := json.NewEncoder(&text)
	encode.SetEscapeHTML(false)
	encode.SetIndent("", " ")
	require.NoError(t, encode.Encode(newSchema(t)))
	golden(t, schemaFile, text.Bytes())
}

// The schema knows every file of the catalogue as right, and every file names the schema.
func TestSchemaOfCatalogue(t *testing.T) {
	schema := readSchema(t)
	files, err := fs.Glob(catalog, "catalog/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		data, err := fs.ReadFile(catalog, file)
		require.NoError(t, err)
		assert.True(t, strings.HasPrefix(string(data), schemaLine), "%s begins with %s", file, schemaLine)
		assert.Empty(t, schema.check(t, data), file)
	}
	_, err = fs.Stat(catalog, schemaFile)
	assert.ErrorIs(t, err, fs.ErrNotExist, "the plugin carries definitions only")
}

func TestSchemaUnderlines(t *testing.T) {
	schema := readSchema(t)
	require.Empty(t, schema.check(t, []byte(acme)))
	require.Empty(t, schema.check(t, []byte(acmeEU)))
	for name, test := range map[string]struct{ file, old, new, want string }{
		"unknown key":      {acme, "method: GET", "methd: GET", "identity.methd"},
		"unknown word":     {acme, "set_by: connection", "set_by: anybody", "inputs[0].set_by"},
		"unknown kind":     {acme, "api_key]", "psychic]", "kinds[1]"},
		"missing key":      {acme, "    set_by: connection\n", "", "inputs[0].set_by"},
		"list for text":    {acme, "name: Acme", "name: [Acme]", "name"},
		"number for text":  {acme, "name: Acme", "name: 1.10", "name"},
		"text for list":    {acme, "auth: [post]", "auth: post", "client.auth"},
		"duration":         {acme, "idle: 90d", "idle: 3 months", "refresh.idle"},
		"unquoted":         {acme, "'{api_key}'", "{api_key}", "key.send.headers.X-Key"},
		"limit":            {acme, "method: GET", "per_minute: few", "identity.per_minute"},
		"null":             {acme, "idle: 90d", "idle: ~", "refresh.idle"},
		"null in a child":  {acmeEU, "body: json", "body: ~", ""},
		"entry taken away": {acmeEU, "  - name: cell\n", "  - site: ~\n  - name: cell\n", ""},
		"child's mistake":  {acmeEU, "class: transient", "class: sad", "failures[0].class"},
		"child's rule":     {acmeEU, "    class: transient\n", "", "failures[0].class"},
	} {
		t.Run(name, func(t *testing.T) {
			found := schema.check(t, []byte(strings.Replace(test.file, test.old, test.new, 1)))
			if test.want == "" {
				assert.Empty(t, found)
				return
			}
			assert.Contains(t, found, test.want)
		})
	}
}

// object keeps the order in which a schema is written: Go's structs say what belongs together.
type object []member

type member struct {
	name  string
	value any
}

func (o object) MarshalJSON() ([]byte, error) {
	var text bytes.Buffer
	text.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			text.WriteByte(',')
		}
		name, err := json.Marshal(m.name)
		if err != nil {
			return nil, err
		}
		text.Write(name)
		text.WriteByte(':')
		encode := json.NewEncoder(&text)
		encode.SetEscapeHTML(false)
		if err := encode.Encode(m.value); err != nil {
			return nil, err
		}
	}
	text.WriteByte('}')
	return text.Bytes(), nil
}

// schemaWriter writes each section twice: as it stands in a definition, and as a child may write it over its parent's,
// where nothing is obligatory but names, and ~ takes away.
type schemaWriter struct {
	comments map[string]string // by Type and Type.Field
	sections []member
	known    map[string]bool
}

func newSchema(t *testing.T) object {
	t.Helper()
	w := &schemaWriter{comments: comments(t, "definition.go", "definition_calls.go"), known: map[string]bool{}}
	whole := w.section(reflect.TypeFor[Definition](), false)
	child := w.section(reflect.TypeFor[Definition](), true)
	slices.SortFunc(w.sections, func(a, b member) int { return strings.Compare(a.name, b.name) })
	return object{
		{"$schema", "http://json-schema.org/draft-07/schema#"},
		{"title", "Definition of a service"},
		{"$comment", "Made by: go test ./providers -update"},
		{"if", object{{"required", []string{"extends"}}}},
		{"then", child},
		{"else", whole},
		{"definitions", object(w.sections)},
	}
}

// section writes a struct, if it is not there yet, and gives the reference to it.
func (w *schemaWriter) section(t reflect.Type, child bool) object {
	name := t.Name()
	if child {
		name = "Child" + name
	}
	ref := object{{"$ref", "#/definitions/" + name}}
	if w.known[name] {
		return ref
	}
	w.known[name] = true
	var properties object
	required := []string{}
	keysOf(t, func(key string, field reflect.StructField) {
		owner := t.Name()
		if _, own := w.comments[owner+"."+field.Name]; !own {
			owner = "Call" // the one section that others embed
		}
		value := w.value(field, child)
		if comment := cmp.Or(w.comments[owner+"."+field.Name], w.comments[typeName(field.Type)]); comment != "" {
			value = append(object{{"description", comment}}, value...)
		}
		properties = append(properties, member{key, value})
		_, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if options == "" && (!child || key == "id" || key == "name") {
			required = append(required, key)
		}
	})
	w.sections = append(w.sections, member{name, object{
		{"type", "object"}, {"required", required}, {"additionalProperties", false}, {"properties", properties},
	}})
	return ref
}

func (w *schemaWriter) value(field reflect.StructField, child bool) object {
	value := w.typed(field.Type, field.Tag, child)
	if child {
		return orNull(value)
	}
	return value
}

func orNull(value object) object {
	if value[0].name == "type" {
		return append(object{{"type", []any{value[0].value, "null"}}}, value[1:]...)
	}
	return object{{"anyOf", []object{value, {{"type", "null"}}}}}
}

func (w *schemaWriter) typed(t reflect.Type, tag reflect.StructTag, child bool) object {
	switch t {
	case reflect.TypeFor[Duration]():
		return object{{"type", "string"}, {"pattern", durationPattern.String() + "|^never$"}}
	case reflect.TypeFor[Kind]():
		return object{{"enum", Kinds()}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return w.typed(t.Elem(), tag, child)
	case reflect.Bool:
		return object{{"type", "boolean"}}
	case reflect.Int:
		return object{{"type", "integer"}}
	case reflect.Struct:
		return w.section(t, child)
	case reflect.Slice:
		named := false // such lists merge by name
		if t.Elem().Kind() == reflect.Struct {
			_, named = t.Elem().FieldByName("Name")
		}
		items := w.typed(t.Elem(), tag, child && named)
		if child && named {
			items = object{{"anyOf", []object{items, {
				{"type", "object"},
				{"minProperties", 1},
				{"maxProperties", 1},
				{"additionalProperties", object{{"type", "null"}}},
			}}}}
		}
		return object{{"type", "array"}, {"items", items}}
	case reflect.Map:
		value := w.typed(t.Elem(), "", child)
		if child {
			value = orNull(value)
		}
		whole := object{{"type", "object"}, {"additionalProperties", value}}
		if t.Key() == reflect.TypeFor[Step]() { // any step may be there; these are completed
			var steps object
			for _, step := range knownSteps() {
				steps = append(steps, member{string(step), value})
			}
			whole = append(whole, member{"properties", steps})
		}
		if t.Key() == reflect.TypeFor[Kind]() {
			whole = append(whole, member{"propertyNames", object{{"enum", Kinds()}}})
		}
		return whole
	}
	if words := tag.Get("words"); words != "" {
		return object{{"enum", strings.Split(words, "|")}}
	}
	return object{{"type", "string"}}
}

func typeName(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Name()
}

// comments reads what stands above or behind the fields of structs, and above structs.
func comments(t *testing.T, files ...string) map[string]string {
	t.Helper()
	found := map[string]string{}
	text := func(groups ...*ast.CommentGroup) string {
		var parts []string
		for _, group := range groups {
			if s := strings.Join(strings.Fields(group.Text()), " "); s != "" {
				parts = append(parts, s)
			}
		}
		return regexp.MustCompile(`\[([A-Z]\w+)\]`).ReplaceAllString(strings.Join(parts, " "), "$1")
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, decl := range file.Decls {
			types, isTypes := decl.(*ast.GenDecl)
			if !isTypes {
				continue
			}
			for _, spec := range types.Specs {
				named, isType := spec.(*ast.TypeSpec)
				if !isType {
					continue
				}
				found[named.Name.Name] = text(types.Doc)
				section, isStruct := named.Type.(*ast.StructType)
				if !isStruct {
					continue
				}
				for _, field := range section.Fields.List {
					for _, ident := range field.Names {
						found[named.Name.Name+"."+ident.Name] = text(field.Doc, field.Comment)
					}
				}
			}
		}
	}
	return found
}

// schema is as much of JSON Schema as the file uses.
type schema map[string]any

func readSchema(t *testing.T) schema {
	t.Helper()
	data, err := os.ReadFile(schemaFile)
	require.NoError(t, err)
	var s schema
	require.NoError(t, json.Unmarshal(data, &s))
	return s
}

// check gives the places that an editor would underline.
func (s schema) check(t *testing.T, file []byte) []string {
	t.Helper()
	var doc any
	require.NoError(t, yaml.Unmarshal(file, &doc))
	return s.underlined("", s, doc)
}

func (s schema) underlined(at string, rule map[string]any, value any) (places []string) {
	if ref, is := rule["$ref"].(string); is {
		section := s["definitions"].(map[string]any)[strings.TrimPrefix(ref, "#/definitions/")]
		return s.underlined(at, section.(map[string]any), value)
	}
	members, isMap := value.(map[string]any)
	for keyword, told := range rule {
		switch told := told.(type) {
		case map[string]any:
			switch keyword {
			case "if":
				branch := "then"
				if len(s.underlined(at, told, value)) > 0 {
					branch = "else"
				}
				places = append(places, s.underlined(at, rule[branch].(map[string]any), value)...)
			case "items":
				items, _ := value.([]any)
				for i, item := range items {
					places = append(places, s.underlined(fmt.Sprintf("%s[%d]", at, i), told, item)...)
				}
			case "propertyNames":
				for name := range members {
					places = append(places, s.underlined(join(at, name), told, name)...)
				}
			}
		case []any:
			if keyword == "required" && isMap {
				for _, name := range told {
					if _, there := members[name.(string)]; !there {
						places = append(places, join(at, name.(string)))
					}
				}
			}
			if keyword == "type" && !slices.ContainsFunc(told, func(word any) bool { return isOfType(word.(string), value) }) {
				places = append(places, at)
			}
			if keyword == "enum" && !slices.Contains(told, value) {
				places = append(places, at)
			}
			if keyword == "anyOf" {
				var first []string
				for i, one := range told {
					found := s.underlined(at, one.(map[string]any), value)
					if i == 0 {
						first = found
					}
					if len(found) == 0 {
						first = nil
						break
					}
				}
				places = append(places, first...)
			}
		case string:
			if keyword == "type" && !isOfType(told, value) {
				places = append(places, at)
			}
			if text, isText := value.(string); keyword == "pattern" && isText && !regexp.MustCompile(told).MatchString(text) {
				places = append(places, at)
			}
		case float64:
			if n := float64(len(members)); isMap && (keyword == "minProperties" && n < told ||
				keyword == "maxProperties" && n > told) {
				places = append(places, at)
			}
		}
	}
	properties, _ := rule["properties"].(map[string]any)
	for name, v := range members {
		if property, known := properties[name]; known {
			places = append(places, s.underlined(join(at, name), property.(map[string]any), v)...)
		} else if free, is := rule["additionalProperties"].(map[string]any); is {
			places = append(places, s.underlined(join(at, name), free, v)...)
		} else if rule["additionalProperties"] == false {
			places = append(places, join(at, name))
		}
	}
	return places
}

func isOfType(word string, value any) bool {
	switch value.(type) {
	case map[string]any:
		return word == "object"
	case []any:
		return word == "array"
	case string:
		return word == "string"
	case bool:
		return word == "boolean"
	case uint64, int64:
		return word == "integer"
	case nil:
		return word == "null"
	}
	return false
}
