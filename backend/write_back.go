package backend

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// What a read answers may be written back, whole, and changes nothing. So a write takes the fields that only reads
// have, and changes nothing by them.

// takeAnswered takes out of a request the fields that its path answers and that nobody writes. A key may have a field
// of the name of one; then it is the key's. definition is nil where none could have a key.
func takeAnswered(d *framework.FieldData, answers map[string]*framework.FieldSchema,
	definition *providers.Definition,
) map[string]any {
	taken := map[string]any{}
	for name, v := range d.Raw {
		_, written := d.Schema[name]
		if definition != nil && !written {
			_, written = definition.KeyField(name)
		}
		if _, answered := answers[name]; answered && !written {
			taken[name] = v
		}
	}
	maps.DeleteFunc(d.Raw, func(name string, _ any) bool { _, gone := taken[name]; return gone })
	return taken
}

// warnOfAnswered tells which of them say something else than what holds: whoever sent them may have meant it.
func warnOfAnswered(taken map[string]any, resp *logical.Response) {
	if resp == nil {
		return
	}
	var differ []string
	for _, name := range slices.Sorted(maps.Keys(taken)) {
		if now, there := resp.Data[name]; !there || !reflect.DeepEqual(inJSON(taken[name]), inJSON(now)) {
			differ = append(differ, name)
		}
	}
	if len(differ) > 0 {
		resp.AddWarning("not written, since only reads have it, and what was sent is not what holds: " +
			strings.Join(differ, ", "))
	}
}

// inJSON is a value as clients see it.
func inJSON(value any) (seen any) {
	encoded, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(encoded, &seen)
	}
	if err != nil {
		return value
	}
	return seen
}
