package backend

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// Clients write one value in several forms. What is taken is taken, kept and answered in one, so that a tool which
// compares what it wrote with what it reads finds them equal once it writes that form.

// refuseNulls names a field that is null. It may mean to keep what is stored or to empty it; nobody can tell which.
func refuseNulls(req *logical.Request) error {
	for _, name := range slices.Sorted(maps.Keys(req.Data)) {
		if hasNull(req.Data[name]) {
			return badRequest("field %q is null, or holds a null: leave it out to keep what is stored, or give an "+
				"empty value to clear it", clipText(name))
		}
	}
	return nil
}

func hasNull(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case []any:
		return slices.ContainsFunc(v, hasNull)
	case map[string]any:
		return slices.ContainsFunc(slices.Collect(maps.Values(v)), hasNull)
	}
	return false
}

// canonical puts the declared fields of a request into one form: numbers and booleans where a text belongs, and scopes
// that one text lists with blanks between them. The request that came is not changed.
func (b *backend) canonical(req *logical.Request) (*logical.Request, error) {
	if len(req.Data) == 0 {
		return req, nil
	}
	path := b.Route(req.Path)
	if path == nil {
		return req, nil
	}
	out := *req
	out.Data = maps.Clone(req.Data)
	for _, name := range slices.Sorted(maps.Keys(req.Data)) {
		schema, declared := path.Fields[name]
		if !declared {
			continue
		}
		switch schema.Type {
		case framework.TypeMap:
			out.Data[name] = mapInText(req.Data[name])
		case framework.TypeString, framework.TypeCommaStringSlice, framework.TypeKVPairs:
			var whole bool
			if out.Data[name], whole = inTexts(req.Data[name]); !whole {
				return nil, largeNumber(name)
			}
		}
		if scopeFields[name] {
			out.Data[name] = eachScope(out.Data[name])
		}
	}
	return &out, nil
}

// mapInText is the map that a text holds as JSON, as a command line has it: bound_inputs=@file.json.
func mapInText(value any) any {
	text, is := value.(string)
	if !is {
		return value
	}
	members := map[string]any{}
	if strings.TrimSpace(text) == "" {
		return members
	}
	if json.Unmarshal([]byte(text), &members) != nil || members == nil || hasNull(members) {
		return value
	}
	return members
}

// inTexts makes texts of the numbers and booleans in a value. What no text can be made of is left as it is, for others
// to refuse; whole is false where that is a number.
func inTexts(value any) (out any, whole bool) {
	whole = true
	convert := func(v any) any {
		text, is := asText(v)
		if _, number := v.(float64); !is {
			whole = whole && !number
			return v
		}
		return text
	}
	switch v := value.(type) {
	case []any:
		list := slices.Clone(v)
		for i := range list {
			list[i] = convert(list[i])
		}
		return list, whole
	case map[string]any:
		members := maps.Clone(v)
		for name := range members {
			members[name] = convert(members[name])
		}
		return members, whole
	}
	return convert(value), whole
}

// asText gives a text, a number or a boolean as the text that JSON has for it.
func asText(value any) (text string, ok bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case int:
		return strconv.Itoa(v), true
	case json.Number:
		return v.String(), true
	case float64: // what is left of any number that came from Vault
		if math.Abs(v) < 1<<53 {
			return strconv.FormatFloat(v, 'f', -1, 64), true
		}
	}
	return "", false
}

func largeNumber(name string) error {
	return badRequest("field %q has a number too large to arrive as it was written: write it as a text, in quotes",
		clipText(name))
}

// scopeFields hold scopes, of which none has a blank in it (RFC 6749 section 3.3).
var scopeFields = map[string]bool{
	"scopes": true, "allowed_scopes": true, "required_scopes": true, "optional_scopes": true,
}

// eachScope takes apart what lists scopes as the services themselves do: "read write".
func eachScope(value any) any {
	d := framework.FieldData{
		Raw:    map[string]any{"scopes": value},
		Schema: map[string]*framework.FieldSchema{"scopes": {Type: framework.TypeCommaStringSlice}},
	}
	listed, ok, err := d.GetOkErr("scopes")
	if !ok || err != nil {
		return value
	}
	scopes := []string{}
	for _, text := range listed.([]string) {
		scopes = append(scopes, slices.DeleteFunc(strings.Split(text, " "), func(s string) bool { return s == "" })...)
	}
	return scopes
}
