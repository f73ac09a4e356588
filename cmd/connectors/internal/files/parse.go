package files

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	// MaxFile is more than any file of this sort has, in bytes.
	MaxFile    = 256 << 10
	maxNesting = 64 // brackets, or columns of indentation
)

// File is what a person wrote down of a mount.
type File struct {
	Config      *Entry // nil where the file has none
	Providers   []Entry
	Connections []Entry

	NamesProviders, NamesConnections bool // though it may name none of them
}

// Entry is one path of the mount with the fields that the file has for it. A value is a text, a bool, a [json.Number]
// as it was written, a list or a map of these.
type Entry struct {
	Path   string // providers/slack; of a connection as the file names it
	Line   int
	Fields map[string]any
	Lines  map[string]int // of the fields
}

// Parse reads a file. What it does not know is refused with its line, and so are anchors, aliases, tags, a second
// document, null, and a key that stands twice. name is what the file is called in errors.
func Parse(name string, text []byte) (*File, error) {
	root, err := parse(name, text)
	if err != nil {
		return nil, err
	}
	r := &reader{name: name}
	file := &File{}
	for _, section := range r.entries(root, "the file") {
		switch section.key {
		case "config":
			entry := r.entry("config", section)
			file.Config = &entry
		case "providers":
			file.NamesProviders = true
			file.Providers = r.list(section)
		case "connections":
			file.NamesConnections = true
			file.Connections = r.list(section)
		default:
			r.refuse(section.line, "%q is none of config, providers, connections", section.key)
		}
	}
	return file, errors.Join(r.found...)
}

// reader makes values of the parser's tree, and gathers what is wrong with it.
type reader struct {
	name  string
	found []error
}

func (r *reader) refuse(line int, format string, values ...any) {
	if len(r.found) < 20 { // enough to go on with
		r.found = append(r.found, fmt.Errorf("%s:%d: %s", r.name, line, fmt.Sprintf(format, values...)))
	}
}

type pair struct {
	key   string
	line  int
	value ast.Node
}

// entries are those of a map, in the order of the file. Nothing at all is an empty map.
func (r *reader) entries(node ast.Node, what string) []pair {
	if node == nil || node.Type() == ast.NullType {
		return nil
	}
	entries, isMap := node.(ast.MapNode)
	if !isMap {
		r.refuse(lineOf(node), "%s is a map of names", what)
		return nil
	}
	var all []pair // of which none stands twice: the parser refuses that
	for each := entries.MapRange(); each.Next(); {
		one := pair{key: each.Key().GetToken().Value, line: lineOf(each.Key()), value: each.Value()}
		if _, complicated := each.Key().(*ast.MappingKeyNode); complicated {
			r.refuse(one.line, "a name is a text")
			continue
		}
		all = append(all, one)
	}
	return all
}

func (r *reader) list(section pair) []Entry {
	var all []Entry
	for _, one := range r.entries(section.value, section.key) {
		all = append(all, r.entry(one.key, one))
	}
	return all
}

func (r *reader) entry(path string, of pair) Entry {
	entry := Entry{Path: path, Line: of.line, Fields: map[string]any{}, Lines: map[string]int{}}
	for _, field := range r.entries(of.value, of.key) {
		entry.Fields[field.key], entry.Lines[field.key] = r.value(field.value, of.key+": "+field.key), field.line
	}
	return entry
}

func (r *reader) value(node ast.Node, of string) any {
	switch node := node.(type) {
	case *ast.StringNode:
		return node.Value
	case *ast.LiteralNode:
		return node.Value.Value
	case *ast.BoolNode:
		return node.Value
	case *ast.IntegerNode, *ast.FloatNode:
		return json.Number(node.GetToken().Value)
	case *ast.SequenceNode:
		values := make([]any, 0, len(node.Values))
		for _, one := range node.Values {
			if text, is := unsplit(one); is {
				values = append(values, text)
				continue
			}
			values = append(values, r.value(one, of))
		}
		return values
	case *ast.MappingNode, *ast.MappingValueNode:
		values := map[string]any{}
		for _, one := range r.entries(node, of) {
			values[one.key] = r.value(one.value, of+": "+one.key)
		}
		return values
	case nil:
		r.refuse(1, "%s has no value", of)
	case *ast.NullNode:
		r.refuse(lineOf(node), "%s has no value: leave it out to keep what is stored, or write an empty one (\"\", [], {}) "+
			"to clear it", of)
	default:
		r.refuse(lineOf(node), "%s is neither a text, a number, a list nor a map", of)
	}
	return nil
}

// unsplit mends what the parser does to lists between braces, {scopes: [chat:write]}: it makes a map of a text with a
// colon and no blank behind that.
func unsplit(node ast.Node) (text string, is bool) {
	if of, is := node.(*ast.MappingNode); is && len(of.Values) == 1 && of.Start.Type == token.MappingValueType {
		node = of.Values[0] // a map without braces
	}
	one, is := node.(*ast.MappingValueNode)
	if !is || one.Start == nil || one.Start.Value != ":" || one.Value == nil {
		return "", false
	}
	key, colon, value := one.Key.GetToken(), one.Start.Position, one.Value.GetToken()
	first := value
	if rest, deeper := one.Value.(*ast.MappingValueNode); deeper {
		first = rest.Key.GetToken()
	}
	if key == nil || colon == nil || first == nil || first.Position == nil || key.Type == token.SingleQuoteType ||
		key.Type == token.DoubleQuoteType || first.Position.Line != colon.Line || first.Position.Column != colon.Column+1 ||
		key.Position.Column+utf8.RuneCountInString(key.Value) != colon.Column {
		return "", false
	}
	switch one.Value.(type) {
	case *ast.MappingValueNode:
		rest, is := unsplit(one.Value)
		return key.Value + ":" + rest, is
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		return key.Value + ":" + value.Value, value.Type != token.SingleQuoteType && value.Type != token.DoubleQuoteType
	}
	return "", false
}

func lineOf(node ast.Node) int {
	if t := node.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 1
}

// parse gives the one document of a text; nil for an empty one. It refuses what the parser itself is too patient
// with: sizes and depths it would take seconds over, and references, by which one line can stand for a million.
func parse(name string, text []byte) (root ast.Node, err error) {
	if len(text) > MaxFile {
		return nil, fmt.Errorf("%s: the file has more than %d bytes", name, MaxFile)
	}
	if line := tooDeep(text); line > 0 {
		return nil, fmt.Errorf("%s:%d: nested deeper than %d levels", name, line, maxNesting)
	}
	defer func() { // the parser is not ours
		if recover() != nil {
			root, err = nil, fmt.Errorf("%s: this is no YAML that can be read", name)
		}
	}()
	document, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, placed(name, err)
	}
	for i, part := range document.Docs {
		switch {
		case i > 0:
			return nil, fmt.Errorf("%s:%d: a second document: one file says all", name, part.Start.Position.Line)
		case part.Body != nil:
			root = part.Body
		}
	}
	if root == nil {
		return nil, nil
	}
	var v references
	ast.Walk(&v, root)
	if v.line > 0 {
		return nil, fmt.Errorf("%s:%d: anchors, aliases, merges and tags are not used here: write the value out, or a text "+
			"that begins so in quotes", name, v.line)
	}
	return root, nil
}

// tooDeep is the line on which the text nests too deeply, or 0. Brackets in quotes count as well: telling them apart
// would be parsing.
func tooDeep(text []byte) int {
	line, depth := 1, 0
	for row := range bytes.SplitAfterSeq(text, []byte("\n")) {
		if indent := len(row) - len(bytes.TrimLeft(row, " \t-?:")); indent > maxNesting {
			return line
		}
		for _, b := range row {
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

// references remembers the line of the first node that refers to another, or changes what a value is.
type references struct{ line int }

func (v *references) Visit(node ast.Node) ast.Visitor {
	switch node.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode, *ast.TagNode, *ast.DirectiveNode:
		if v.line == 0 {
			v.line = lineOf(node)
		}
	}
	return v
}

// placed keeps the message and the line of an error of the YAML library, and drops its drawing of the source: a
// secret may stand there by mistake.
func placed(name string, err error) error {
	var at yaml.Error
	if !errors.As(err, &at) || at.GetToken() == nil || at.GetToken().Position == nil {
		return fmt.Errorf("%s: this is no YAML that can be read", name)
	}
	message := at.GetMessage()
	if strings.Contains(message, "already defined") { // the message has the whole path, and ours is shorter
		message = fmt.Sprintf("%q stands twice", at.GetToken().Value)
	}
	return fmt.Errorf("%s:%d: %s", name, at.GetToken().Position.Line, message)
}

// Owners are those of the connections that the file names, as it spells them, sorted.
func (f *File) Owners() []string {
	var all []string
	for _, entry := range f.Connections {
		if at := strings.LastIndexByte(entry.Path, '/'); at > 0 && !slices.Contains(all, entry.Path[:at]) {
			all = append(all, entry.Path[:at])
		}
	}
	slices.Sort(all)
	return all
}
