package providers

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

const (
	maxFile    = 64 << 10 // bytes of one definition
	maxNesting = 64       // brackets, or columns of indentation; the catalogue needs a dozen
)

// Decode reads one definition and checks it. file is the name it goes by: its last part must be <id>.yaml, and every
// error begins with it and a line. Unknown keys, a second document, anchors, aliases and tags are refused, and so is
// `extends`, which only a [Registry] can resolve.
func Decode(file string, data []byte) (*Definition, error) {
	return decode(file, data, func(string) ([]byte, error) {
		return nil, errors.New("extends needs a registry to look the parent up in")
	})
}

// decode reads a definition whose parent, if it extends one, comes from source.
func decode(file string, data []byte, source func(id string) ([]byte, error)) (*Definition, error) {
	root, err := parse(file, data)
	if err != nil {
		return nil, err
	}
	at := lines{}
	at.collect(root, "")
	d := &Definition{}
	if parent := child(root, "extends"); parent != nil {
		if err := decodeParent(d, parent.GetToken().Value, source); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, at.of("extends"), err)
		}
	}
	if err := decodeNode(file, root, d); err != nil {
		return nil, err
	}
	found := d.problems()
	if d.ID != strings.TrimSuffix(file[strings.LastIndexByte(file, '/')+1:], ".yaml") {
		found = append(found, problem{at: "id", text: fmt.Sprintf("id %q is not the file's name without .yaml", d.ID)})
	}
	slices.SortStableFunc(found, func(a, b problem) int { return cmp.Compare(at.of(a.at), at.of(b.at)) })
	var errs []error
	for _, p := range found {
		errs = append(errs, fmt.Errorf("%s:%d: %s: %s", file, at.of(p.at), p.at, p.text))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return d, nil
}

// decodeParent decodes the parent into d, for the child to be decoded over it.
func decodeParent(d *Definition, id string, source func(id string) ([]byte, error)) error {
	data, err := source(id)
	if err != nil {
		return fmt.Errorf("cannot extend %q: %w", id, err)
	}
	file := id + ".yaml"
	root, err := parse(file, data)
	if err != nil {
		return err
	}
	if err := decodeNode(file, root, d); err != nil {
		return err
	}
	if d.Extends != "" {
		return fmt.Errorf("cannot extend %q, which extends %q itself: one level is all there is", id, d.Extends)
	}
	// What names the parent is not inherited: a child that forgets its own is told so.
	d.ID, d.Name, d.Summary = "", "", ""
	return nil
}

// parse returns the one document of a file. It refuses what the parser itself is too patient with: sizes and depths it
// would take seconds over, and references, by which one line can stand for a million.
func parse(file string, data []byte) (root ast.Node, err error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s:1: the file has more than %d bytes", file, maxFile)
	}
	if line := tooDeep(data); line > 0 {
		return nil, fmt.Errorf("%s:%d: nested deeper than %d levels", file, line, maxNesting)
	}
	defer func() { // the parser is not ours, and a file may come from an operator
		if recover() != nil {
			root, err = nil, fmt.Errorf("%s:1: this is no YAML the parser can read", file)
		}
	}()
	doc, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, withLine(file, err)
	}
	for i, part := range doc.Docs {
		switch {
		case i > 0:
			return nil, fmt.Errorf("%s:%d: a second document: one file holds one definition", file,
				part.Start.Position.Line)
		case part.Body != nil:
			root = part.Body
		}
	}
	if _, isMap := root.(ast.MapNode); !isMap {
		return nil, fmt.Errorf("%s:1: a definition is a map that begins with id", file)
	}
	var v referenceFinder
	ast.Walk(&v, root)
	if v.line > 0 {
		return nil, fmt.Errorf("%s:%d: anchors, aliases, merges and tags are not used here, write the value out", file,
			v.line)
	}
	return root, nil
}

// tooDeep returns the line on which the text nests too deeply, or 0. Brackets in quotes count as well: telling them
// apart would be parsing.
func tooDeep(data []byte) int {
	line, depth := 1, 0
	for text := range bytes.SplitAfterSeq(data, []byte("\n")) {
		if indent := len(text) - len(bytes.TrimLeft(text, " \t-?:")); indent > maxNesting {
			return line
		}
		for _, b := range text {
			switch b {
			case '[', '{':
				depth++
			case ']', '}':
				depth = max(depth-1, 0)
			}
			if depth > maxNesting {
				return line
			}
		}
		line++
	}
	return 0
}

// referenceFinder remembers the line of the first node that refers to another, or changes what a value is.
type referenceFinder struct{ line int }

func (v *referenceFinder) Visit(node ast.Node) ast.Visitor {
	switch node.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode, *ast.TagNode, *ast.DirectiveNode:
		if v.line == 0 {
			v.line = node.GetToken().Position.Line
		}
	}
	return v
}

func decodeNode(file string, root ast.Node, d *Definition) (err error) {
	defer func() { // see parse
		if recover() != nil {
			err = fmt.Errorf("%s:1: this is no YAML the decoder can read", file)
		}
	}()
	if err := yaml.NewDecoder(&bytes.Buffer{}, yaml.Strict()).DecodeFromNode(root, d); err != nil {
		return withLine(file, err)
	}
	return nil
}

// withLine keeps the message and the line of an error of the YAML library, and drops its drawing of the source.
func withLine(file string, err error) error {
	var placed yaml.Error
	if !errors.As(err, &placed) || placed.GetToken() == nil || placed.GetToken().Position == nil {
		return fmt.Errorf("%s:1: %w", file, err)
	}
	text := placed.GetMessage()
	var mistyped *yaml.TypeError
	if errors.As(err, &mistyped) {
		text = fmt.Sprintf("%s belongs here, not %s", typeWord(mistyped.DstType), typeWord(mistyped.SrcType))
	}
	return fmt.Errorf("%s:%d: %s", file, placed.GetToken().Position.Line, text)
}

func typeWord(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct, reflect.Pointer:
		return "a map"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	}
	return "a number"
}

// lines knows on which line of a file each value stands, by its place: client.auth[0].
type lines map[string]int

func (l lines) collect(node ast.Node, at string) {
	switch node := node.(type) {
	case ast.MapNode:
		for entries := node.MapRange(); entries.Next(); {
			key := strings.TrimPrefix(at+"."+entries.Key().GetToken().Value, ".")
			l[key] = entries.Key().GetToken().Position.Line
			l.collect(entries.Value(), key)
		}
	case *ast.SequenceNode:
		for i, value := range node.Values {
			place := fmt.Sprintf("%s[%d]", at, i)
			l[place] = value.GetToken().Position.Line
			l.collect(value, place)
		}
	}
}

// of returns the line of a place, or else of what it stands in: a missing key is reported where it is missing, and one
// that a parent wrote on the line of extends.
func (l lines) of(at string) int {
	for ; at != ""; at = at[:max(strings.LastIndexAny(at, ".["), 0)] {
		if line, ok := l[at]; ok {
			return line
		}
	}
	return max(l["extends"], 1)
}

func child(root ast.Node, key string) ast.Node {
	for entries := root.(ast.MapNode).MapRange(); entries.Next(); {
		if entries.Key().GetToken().Value == key {
			return entries.Value()
		}
	}
	return nil
}
