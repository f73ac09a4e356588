package providers

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// shape holds what is written against the types it is to be decoded into: every key must be known, hold something,
// and hold the right kind of value. The decoder would find the first mistake only, and not say of which key.
func (s *source) shape(t reflect.Type) []problem {
	s.shapeOf("", s.root, t)
	return s.found
}

func (s *source) wrong(at, format string, args ...any) {
	s.found = append(s.found, problem{at: at, text: fmt.Sprintf(format, args...)})
}

func (s *source) shapeOf(at string, node ast.Node, t reflect.Type) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch entries, isMap := node.(ast.MapNode); {
	case node.Type() == ast.NullType:
		s.wrong(at, "%s", s.emptyText(node))
	case t == reflect.TypeFor[Duration]() && node.Type() == ast.IntegerType: // the validation says what is missing
	case t == reflect.TypeFor[Duration](), t.Kind() == reflect.String:
		s.textShape(at, node)
	case t.Kind() == reflect.Bool && node.Type() != ast.BoolType:
		s.wrong(at, "true or false belongs here, not %s", nodeWord(node))
	case t.Kind() == reflect.Int && node.Type() != ast.IntegerType:
		s.wrong(at, "a whole number belongs here, not %s", nodeWord(node))
	case t.Kind() == reflect.Slice:
		list, isList := node.(*ast.SequenceNode)
		if !isList {
			s.wrong(at, "a list belongs here, not %s%s", nodeWord(node), listHint(node))
			return
		}
		for i, value := range list.Values {
			s.shapeOf(fmt.Sprintf("%s[%d]", at, i), value, t.Elem())
		}
	case (t.Kind() == reflect.Map || t.Kind() == reflect.Struct) && !isMap:
		hint := ""
		if strings.Contains(node.GetToken().Value, ":") && node.Type() == ast.StringType {
			hint = ": is a blank missing behind the colon?"
		}
		s.wrong(at, "a map belongs here, not %s%s", nodeWord(node), hint)
	case t.Kind() == reflect.Map:
		for each := entries.MapRange(); each.Next(); {
			key := s.keyName(at, each.Key())
			s.shapeOf(join(at, key), each.Value(), t.Elem())
		}
	case t.Kind() == reflect.Struct:
		fields := map[string]reflect.Type{}
		keysOf(t, func(name string, field reflect.StructField) { fields[name] = field.Type })
		for each := entries.MapRange(); each.Next(); {
			key := s.keyName(at, each.Key())
			if field, known := fields[key]; known {
				s.shapeOf(join(at, key), each.Value(), field)
			} else {
				s.wrong(join(at, key), "unknown key%s%s", suggest(key, sortedKeys(fields)), paramsHint(key, fields))
			}
		}
	}
}

// paramsHint says where a parameter of the request belongs that somebody wrote beside the others.
func paramsHint(key string, fields map[string]reflect.Type) string {
	_, takes := fields["params"]
	if takes && nearest(key, sortedKeys(fields)) == "" {
		return "; a parameter of the request goes into params"
	}
	return ""
}

// keysOf gives the keys that a section may have, those of embedded sections among them.
func keysOf(t reflect.Type, visit func(name string, field reflect.StructField)) {
	for i := range t.NumField() {
		field := t.Field(i)
		name, option, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if option == "inline" {
			keysOf(field.Type, visit)
		} else if name != "" {
			visit(name, field)
		}
	}
}

func (s *source) keyName(at string, key ast.MapKeyNode) string {
	name := key.GetToken().Value
	if strings.TrimSpace(name) == "" {
		s.wrong(at, "a key is empty: give it a name, or leave it out")
	}
	return name
}

func (s *source) emptyText(node ast.Node) string {
	switch {
	case !deletes(node):
		return "an empty key: write a value, {} for a section of defaults, or leave the key out"
	case s.parent == "":
		return "~ takes away what a parent says, and this definition extends none: leave the key out"
	}
	return "~ takes away what a parent says, and the parent says nothing here"
}

func (s *source) textShape(at string, node ast.Node) {
	switch node.Type() {
	case ast.StringType, ast.LiteralType:
	case ast.MappingType, ast.MappingValueType:
		s.wrong(at, "text belongs here, not a map%s", unquoted(node))
	case ast.SequenceType:
		s.wrong(at, "text belongs here, not a list")
	default: // 1.10 would become 1.1, and 0123 would become 83
		s.wrong(at, "text belongs here, not %s: write it in quotes, '%s'", nodeWord(node), node.GetToken().Value)
	}
}

var placeholderName = regexp.MustCompile(`^\+?[a-z][a-z0-9_]*$`)

// unquoted recognizes {shop}, which without quotes is a map of one key.
func unquoted(node ast.Node) string {
	entries := entriesOf(node)
	if len(entries) != 1 {
		return ""
	}
	key, value := entries[0].Key.GetToken(), entries[0].Value.GetToken()
	if value.Position.Line == key.Position.Line && value.Position.Column == key.Position.Column+len(key.Value)+1 {
		return ": a text with a colon in it stands in quotes" // in braces read:user is a map
	}
	if value.Type != token.ImplicitNullType {
		return ""
	}
	name := key.Value
	if !placeholderName.MatchString(name) {
		return ""
	}
	return fmt.Sprintf(": a text that begins with a brace stands in quotes, '{%s}'", name)
}

func listHint(node ast.Node) string {
	if node.Type() != ast.StringType {
		return ""
	}
	return fmt.Sprintf(": write [%s]", node.GetToken().Value)
}

func nodeWord(node ast.Node) string {
	switch node.Type() {
	case ast.MappingType, ast.MappingValueType:
		return "a map"
	case ast.SequenceType:
		return "a list"
	case ast.BoolType:
		return "true or false"
	case ast.IntegerType, ast.FloatType, ast.InfinityType, ast.NanType:
		return "a number"
	}
	return "text"
}

// suggest says which word was probably meant, or else which there are.
func suggest(word string, known []string) string {
	if best := nearest(word, known); best != "" {
		return fmt.Sprintf(", did you mean %q?", best)
	}
	if len(known) > 16 {
		return ": schema.json lists those there are"
	}
	return ", write one of: " + strings.Join(known, ", ")
}

// nearest finds the word that differs least; empty when none is near.
func nearest(word string, known []string) string {
	best, least := "", 3 // letters that may differ; of a short word, fewer
	for _, k := range known {
		if len(word) > 64 {
			break
		}
		if d := distance(word, k); d < least && d*2 < max(len(word), 2) {
			best, least = k, d
		}
	}
	return best
}

// distance counts the letters to change, add, drop or swap with their neighbour to make b of a.
func distance(a, b string) int {
	var before, last []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last = last, slices.Clone(row)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
