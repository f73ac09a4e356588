package backend

import (
	"fmt"

	"github.com/hashicorp/vault/sdk/framework"
)

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

// scalar refuses lists and maps without quoting them: they may hold a secret.
func scalar(name string, raw any) (string, error) {
	switch v := raw.(type) {
	case string:
		return v, nil
	case nil, []any, map[string]any:
		return "", badRequest("field %q must be a text", name)
	default:
		return fmt.Sprint(v), nil
	}
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
