package providers

import (
	"fmt"
	"slices"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// readParent parses the definition that another extends, without what names it: a child that forgets its own is told
// so.
func readParent(id string, open func(id string) ([]byte, error)) (ast.Node, error) {
	data, err := open(id)
	if err != nil {
		return nil, fmt.Errorf("cannot extend %q: %w", id, err)
	}
	root, err := parse(id+".yaml", data)
	if err == nil {
		if over := child(root, "extends"); over != nil {
			return nil, fmt.Errorf("cannot extend %q, which extends %q itself: one level is all there is", id,
				over.GetToken().Value)
		}
		_, err = Decode(id+".yaml", data)
	}
	if err != nil { // whoever reads that file reports what is wrong in it
		return nil, fmt.Errorf("cannot extend %q: %s.yaml is wrong itself", id, id)
	}
	own := []string{"id", "name", "summary"}
	entries := slices.DeleteFunc(entriesOf(root), func(e *ast.MappingValueNode) bool {
		return slices.Contains(own, e.Key.GetToken().Value)
	})
	return ast.Mapping(root.GetToken(), false, entries...), nil
}

// merge lays what a child says over what its parent says, before either is decoded. Maps merge key by key, and ~ in a
// child takes a key away; inputs, connection_config, companions and a key's fields are merged by their names; a
// child's failure rules come before its parent's; any other list, and any text, takes the place of the parent's.
func (s *source) merge(at string, parent, over ast.Node) ast.Node {
	_, parentIsMap := parent.(ast.MapNode)
	_, overIsMap := over.(ast.MapNode)
	base, parentIsList := parent.(*ast.SequenceNode)
	list, overIsList := over.(*ast.SequenceNode)
	switch {
	case parentIsMap && overIsMap:
		return s.mergeMaps(at, parent, over)
	case !parentIsList || !overIsList:
		return over
	}
	switch at {
	case "inputs", "connection_config", "key.fields", "companions":
		return s.mergeNamed(at, base, list)
	case "failures":
		return sequence(list, slices.Concat(list.Values, base.Values))
	}
	return over
}

func (s *source) mergeMaps(at string, parent, over ast.Node) ast.Node {
	merged := entriesOf(parent)
	for _, entry := range entriesOf(over) {
		key := entry.Key.GetToken().Value
		i := slices.IndexFunc(merged, func(e *ast.MappingValueNode) bool { return e.Key.GetToken().Value == key })
		switch {
		case deletes(entry.Value) && i < 0:
			s.found = append(s.found, s.problemAt(join(at, key), entry.Key.GetToken(), "nothing to take away: "+
				"the definition that this one extends does not say it"))
		case deletes(entry.Value):
			merged = slices.Delete(merged, i, i+1)
		case i < 0:
			merged = append(merged, entry)
		default:
			merged[i] = ast.MappingValue(entry.Start, entry.Key, s.merge(join(at, key), merged[i].Value, entry.Value))
		}
	}
	return ast.Mapping(over.GetToken(), false, merged...)
}

// mergeNamed merges lists whose entries have names. An entry that is a name and ~ takes one away: `- api_url: ~`.
func (s *source) mergeNamed(at string, parent, over *ast.SequenceNode) ast.Node {
	merged := slices.Clone(parent.Values)
	find := func(name string) int {
		return slices.IndexFunc(merged, func(n ast.Node) bool { return !s.own[n.GetToken()] && nameOf(n) == name })
	}
	for _, value := range over.Values {
		i := -1
		if name := nameOf(value); name != "" {
			i = find(name)
		}
		entries := entriesOf(value)
		gone := len(entries) == 1 && deletes(entries[0].Value)
		switch {
		case gone && find(entries[0].Key.GetToken().Value) < 0:
			name := entries[0].Key.GetToken()
			s.found = append(s.found, s.problemAt(fmt.Sprintf("%s[%s]", at, name.Value), name,
				"nothing to take away: the definition that this one extends has no such entry"))
		case gone:
			i = find(entries[0].Key.GetToken().Value)
			merged = slices.Delete(merged, i, i+1)
		case i < 0:
			merged = append(merged, value)
		default:
			merged[i] = s.mergeMaps(fmt.Sprintf("%s[%d]", at, i), merged[i], value)
		}
	}
	return sequence(over, merged)
}

// problemAt is a problem at a place that the merged definition does not have.
func (s *source) problemAt(at string, t *token.Token, text string) problem {
	s.places[at] = place{s.file, t.Position.Line}
	return problem{at: at, text: text}
}

// deletes reports whether a child writes ~ or null. A key that was left empty is neither.
func deletes(node ast.Node) bool {
	return node.Type() == ast.NullType && node.GetToken().Type != token.ImplicitNullType
}

func nameOf(node ast.Node) string {
	if name := child(node, "name"); name != nil {
		return name.GetToken().Value
	}
	return ""
}

func entriesOf(node ast.Node) []*ast.MappingValueNode {
	switch node := node.(type) {
	case *ast.MappingNode:
		return slices.Clone(node.Values)
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{node}
	}
	return nil
}

func sequence(like *ast.SequenceNode, values []ast.Node) *ast.SequenceNode {
	list := ast.Sequence(like.Start, false)
	list.Values = values
	return list
}
