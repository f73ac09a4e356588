package providers

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
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

// decode reads a file whose parent, if it extends one, comes from open.
func decode(file string, data []byte, open func(id string) ([]byte, error)) (*Definition, error) {
	text, err := read(file, "", data, open)
	if err != nil {
		return nil, err
	}
	return text.decode(func(d *Definition) string {
		if d.Runtime() || d.ID != strings.TrimSuffix(file[strings.LastIndexByte(file, '/')+1:], ".yaml") {
			return fmt.Sprintf("id %q is not the file's name without .yaml", d.ID)
		}
		return ""
	})
}

// decode makes a definition of what was read. name says what is wrong with its id, and may change that.
func (s *source) decode(name func(*Definition) string) (*Definition, error) {
	if found := s.shape(reflect.TypeFor[Definition]()); len(found) > 0 {
		return nil, s.report(found)
	}
	d := &Definition{}
	if err := decodeNode(s.file, s.root, d); err != nil {
		return nil, err
	}
	wrong := name(d)
	found := d.problems()
	if wrong != "" {
		found = append(found, problem{at: "id", text: wrong})
	}
	if len(found) > 0 {
		return nil, s.report(found)
	}
	return d, nil
}

// source is a definition as it is written, its parent merged in, with the file and line of each value.
type source struct {
	file   string
	parent string // the parent's file, if there is one
	root   ast.Node
	own    map[*token.Token]bool // what stands in the file itself
	places map[string]place      // by a value's place in the definition: client.auth[0]
	found  []problem             // what merging met
}

type place struct {
	file string
	line int
}

// read parses a definition and merges it over the parent that it extends, if it does. Where it has no id, it gets this
// one.
func read(file, id string, data []byte, open func(id string) ([]byte, error)) (*source, error) {
	root, err := parse(file, data)
	if err != nil {
		return nil, err
	}
	if id != "" && child(root, "id") == nil {
		named, err := parse(file, fmt.Appendf(nil, "id: %q", id))
		if err != nil {
			return nil, err
		}
		root = ast.Mapping(root.GetToken(), false, append(entriesOf(root), entriesOf(named)...)...)
	}
	s := &source{file: file, root: root, own: map[*token.Token]bool{}, places: map[string]place{}}
	ast.Walk(tokens(s.own), root)
	if extends := child(root, "extends"); extends != nil && extends.Type() != ast.NullType {
		parent, err := readParent(extends.GetToken().Value, open)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, extends.GetToken().Position.Line, err)
		}
		s.parent = extends.GetToken().Value + ".yaml"
		s.root = s.merge("", parent, root)
	}
	s.place("", s.root)
	return s, nil
}

// tokens gathers those of a tree.
type tokens map[*token.Token]bool

func (t tokens) Visit(node ast.Node) ast.Visitor {
	t[node.GetToken()] = true
	return t
}

// place notes where each value stands.
func (s *source) place(at string, node ast.Node) {
	note := func(at string, t *token.Token) {
		file := s.file
		if !s.own[t] {
			file = s.parent
		}
		s.places[at] = place{file, t.Position.Line}
	}
	switch node := node.(type) {
	case ast.MapNode:
		for entries := node.MapRange(); entries.Next(); {
			key := join(at, entries.Key().GetToken().Value)
			note(key, entries.Key().GetToken())
			s.place(key, entries.Value())
		}
	case *ast.SequenceNode:
		for i, value := range node.Values {
			item := fmt.Sprintf("%s[%d]", at, i)
			note(item, value.GetToken())
			s.place(item, value)
		}
	}
}

// of returns where a value stands, or else what it would stand in: a missing key is reported where it is missing.
func (s *source) of(at string) place {
	for ; at != ""; at = at[:max(strings.LastIndexAny(at, ".["), 0)] {
		if p, ok := s.places[at]; ok {
			return p
		}
	}
	if p, ok := s.places["extends"]; ok {
		return p
	}
	return place{s.file, 1}
}

// report makes one error of all problems, a line for each in the order of the file.
func (s *source) report(found []problem) error {
	slices.SortStableFunc(found, func(a, b problem) int {
		one, other := s.of(a.at), s.of(b.at)
		switch {
		case one.file == other.file:
			return cmp.Compare(one.line, other.line)
		case one.file == s.file: // the file itself before its parent
			return -1
		}
		return 1
	})
	var errs []error
	for _, p := range found {
		where, by := s.of(p.at), ""
		if where.file != s.file {
			by = fmt.Sprintf(" (%s extends it)", s.file)
		}
		errs = append(errs, fmt.Errorf("%s:%d: %s: %s%s", where.file, where.line, p.at, p.text, by))
	}
	return errors.Join(errs...)
}

func join(at, name string) string { return strings.TrimPrefix(at+"."+name, ".") }

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
		return nil, withLine(file, data, err)
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
		return withLine(file, nil, err)
	}
	return nil
}

// withLine keeps the message and the line of an error of the YAML library, and drops its drawing of the source.
func withLine(file string, data []byte, err error) error {
	var placed yaml.Error
	if !errors.As(err, &placed) || placed.GetToken() == nil || placed.GetToken().Position == nil {
		return fmt.Errorf("%s:1: %w", file, err)
	}
	line := placed.GetToken().Position.Line
	return fmt.Errorf("%s:%d: %s", file, line, placed.GetMessage()+syntaxHint(data, line, placed.GetMessage()))
}

// openBrace finds a placeholder that begins a text without quotes.
var openBrace = regexp.MustCompile(`(?:^|[\s\[,:])(\{\+?[a-z][a-z0-9_]*\}[^\s,\]}]*)`)

// syntaxHint says what people mostly meant by what the parser cannot read.
func syntaxHint(data []byte, line int, message string) string {
	var text string
	if rows := bytes.Split(data, []byte("\n")); line >= 1 && line <= len(rows) {
		text = string(rows[line-1])
	}
	placeholder := openBrace.FindStringSubmatch(text)
	switch {
	case strings.Contains(message, "'\t'"), strings.Contains(message, "'\\t'"):
		return ": that is a tab, and YAML is indented with blanks"
	case placeholder != nil:
		return fmt.Sprintf(": a text that begins with a brace stands in quotes, '%s'", placeholder[1])
	case strings.Contains(message, "mapping value is not allowed"):
		return ": is the line indented as its neighbours, and stands a text with a colon in quotes?"
	case strings.Contains(message, "reserved character"), strings.Contains(message, "directive"),
		strings.Contains(message, "alias"), strings.Contains(message, "anchor"):
		return ": a text that begins so stands in quotes"
	}
	return ""
}

// child returns what stands under a key of a map; nil when there is nothing.
func child(node ast.Node, key string) ast.Node {
	entries, isMap := node.(ast.MapNode)
	if !isMap {
		return nil
	}
	for each := entries.MapRange(); each.Next(); {
		if each.Key().GetToken().Value == key {
			return each.Value()
		}
	}
	return nil
}
