package backend

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// HandleRequest refuses values of a wrong type before the framework does: its error quotes them, and they may be
// secret. So it does with those that are too large, or hold what no such field may; see fieldLimits.
func (b *backend) HandleRequest(ctx context.Context, req *logical.Request) (*logical.Response, error) {
	req = b.withoutRepeats(req)
	if !answersPage(req.Path) {
		if err := refuseNulls(req); err != nil {
			return b.toVault(req, err)
		}
		whole, err := b.canonical(req)
		if err != nil {
			return b.toVault(req, err)
		}
		req = cutLineEnds(whole)
	}
	if field, want := b.wrongType(req); field != "" {
		return b.toVault(req, badRequest("field %q has a value of the wrong type: give %s", field, want))
	}
	if err := b.checkFields(req); err != nil {
		return b.toVault(req, err)
	}
	resp, err := b.Backend.HandleRequest(ctx, req)
	return b.orAdvice(req, resp, err)
}

// HandleExistenceCheck leaves such values to HandleRequest.
func (b *backend) HandleExistenceCheck(ctx context.Context, req *logical.Request) (found, exists bool, err error) {
	if field, _ := b.wrongType(req); field != "" {
		return true, true, nil
	}
	return b.Backend.HandleExistenceCheck(ctx, req)
}

// wrongType names a field of the request that cannot be read as its path declares it, and the type that can.
func (b *backend) wrongType(req *logical.Request) (field, want string) {
	if len(req.Data) == 0 {
		return "", ""
	}
	path := b.Route(req.Path)
	if path == nil {
		return "", ""
	}
	for _, name := range slices.Sorted(maps.Keys(req.Data)) {
		schema, declared := path.Fields[name]
		if !declared {
			continue
		}
		one := framework.FieldData{Raw: map[string]any{name: req.Data[name]}, Schema: path.Fields}
		if one.Validate() != nil || isFraction(schema.Type, req.Data[name]) {
			return name, wanted(schema.Type)
		}
	}
	return "", ""
}

// keyValues reads the fields of a request that its path does not declare: those of a key, which the definition does.
// Values are texts; a number is taken as the text it was written as.
func keyValues(d *framework.FieldData) (map[string]string, error) {
	values := map[string]string{}
	for name, raw := range d.Raw {
		if _, ok := d.Schema[name]; ok {
			continue
		}
		v, err := scalar(name, raw)
		if err != nil {
			return nil, err
		}
		values[name] = v
	}
	return values, nil
}

// isFraction reports whether the framework would cut a part off a number or a duration.
func isFraction(want framework.FieldType, value any) bool {
	switch want {
	case framework.TypeInt, framework.TypeDurationSecond:
	default:
		return false
	}
	switch v := value.(type) {
	case float64:
		return v != math.Trunc(v)
	case string:
		d, err := time.ParseDuration(v)
		return err == nil && d%time.Second != 0
	}
	return false
}

// wanted names a type for whoever gave another.
func wanted(t framework.FieldType) string {
	switch t {
	case framework.TypeInt:
		return "a whole number"
	case framework.TypeDurationSecond:
		return "a duration in whole seconds"
	case framework.TypeBool:
		return "true or false"
	case framework.TypeKVPairs, framework.TypeMap:
		return "a map: name=value for each entry on a command line, else an object of JSON"
	}
	return "a " + t.String()
}

// scalar refuses lists and maps without quoting them: they may hold a secret.
func scalar(name string, raw any) (string, error) {
	text, ok := asText(raw)
	if _, number := raw.(float64); number && !ok {
		return "", largeNumber(name)
	}
	if !ok {
		return "", badRequest("field %q must be a text", clipText(name))
	}
	return text, nil
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// clipText keeps what a caller wrote from filling an error.
func clipText(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}

func plural(n int) string {
	if n == 1 {
		return "1 connection"
	}
	return fmt.Sprintf("%d connections", n)
}

// inQuery makes a field one that reads and lists take from the address, which shows in logs.
func inQuery(f *framework.FieldSchema) *framework.FieldSchema {
	f.Query = true
	return f
}
