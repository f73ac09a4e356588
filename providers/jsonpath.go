package providers

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// A path names a place in a decoded answer: a.b, a[0].b, [0].a, or $ for the whole. It is the whole language: no
// wildcards and no filters, so that a definition cannot hide logic in it.
type path []pathPart

type pathPart struct {
	name  string // member of an object; empty for an index
	index int
}

const maxPathIndex = 9999 // four digits: more is a mistake in the definition

// parsePath reads a path expression. The error quotes the expression, which comes from a definition.
func parsePath(expression string) (path, error) {
	bad := func() (path, error) {
		return nil, fmt.Errorf("path %q: write member names joined by dots, [n] for an element, or $ for the whole",
			expression)
	}
	rest := expression
	if rest == "$" {
		return path{}, nil
	}
	if after, rooted := strings.CutPrefix(rest, "$"); rooted {
		rest = strings.TrimPrefix(after, ".")
		if strings.HasPrefix(after, ".") == strings.HasPrefix(rest, "[") {
			return bad()
		}
	}
	var p path
	for first := true; rest != ""; first = false {
		if rest[0] == '[' {
			digits, after, closed := strings.Cut(rest[1:], "]")
			n, err := strconv.ParseUint(digits, 10, 16)
			if !closed || err != nil || n > maxPathIndex {
				return bad()
			}
			p, rest = append(p, pathPart{index: int(n)}), after
			continue
		}
		if !first {
			if rest[0] != '.' {
				return bad()
			}
			rest = rest[1:]
		}
		end := strings.IndexAny(rest, ".[]$")
		if end < 0 {
			end = len(rest)
		}
		if end == 0 {
			return bad()
		}
		p, rest = append(p, pathPart{name: rest[:end]}), rest[end:]
	}
	if len(p) == 0 {
		return bad()
	}
	return p, nil
}

// in returns what stands at p in a decoded answer.
func (p path) in(doc any) (any, bool) {
	for _, part := range p {
		switch node := doc.(type) {
		case map[string]any:
			value, ok := node[part.name]
			if part.name == "" || !ok {
				return nil, false
			}
			doc = value
		case []any:
			if part.name != "" || part.index >= len(node) {
				return nil, false
			}
			doc = node[part.index]
		default:
			return nil, false
		}
	}
	return doc, true
}

// lookup returns what stands at the expression, and false when nothing does or it is null.
func lookup(doc any, expression string) (any, bool) {
	p, err := parsePath(expression)
	if err != nil {
		return nil, false
	}
	value, ok := p.in(doc)
	return value, ok && value != nil
}

// lookupText returns the first of the expressions that leads to a text which is not empty.
func lookupText(doc any, expressions ...string) string {
	for _, expression := range expressions {
		if value, ok := lookup(doc, expression); ok {
			if s, ok := scalarText(value); ok && s != "" {
				return s
			}
		}
	}
	return ""
}

// scalarText renders a string, number or boolean. A number keeps the digits the provider wrote: account ids outgrow
// a float64.
func scalarText(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}
