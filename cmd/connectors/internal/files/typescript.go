package files

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf16"
)

// Service is one provider as an application sees it.
type Service struct {
	Name       string          `json:"-"`
	Definition string          `json:"definition"`
	Kinds      []string        `json:"kinds"`
	Config     map[string]bool `json:"connection_config,omitempty"`     // of a grant, and whether it is always there
	KeyConfig  map[string]bool `json:"key_connection_config,omitempty"` // the same of a key
	Key        map[string]bool `json:"key_fields,omitempty"`            // and of the fields that are the credential
}

var keyKinds = []string{"api_key", "basic", "key_pair", "login"}

// HandsOutKey reports whether an application gets the key of a connection of that kind, and no token.
func HandsOutKey(kind string) bool { return slices.Contains(keyKinds, kind) }

const typesHead = `// Made by "connectors types" from what is configured on a mount: make it anew when providers change.

export interface ConnectorSend {
  headers: Record<string, string>;
  query: Record<string, string>;
  path: string;
}

interface ConnectorCredential<Service, Config> {
  provider: Service;
  connection_config: Config;
  api_base?: string;
  instance_url?: string;
  /** Seconds until there is something newer to read. */
  ttl: number;
  rotation_period: number;
  last_vault_rotation: string;
  /** With include=send. */
  send?: ConnectorSend;
  /** With include=companions. */
  companions?: Record<string, string>;
}

/** What creds answers for a grant. */
export type ConnectorToken<Service, Config> = ConnectorCredential<Service, Config> & {
  access_token: string;
  token_type: string;
  /** RFC 3339; empty when it does not expire. */
  expire_time: string;
  scopes: string[];
};

/** What creds answers for a key. */
export type ConnectorKey<Service, Key, Config> = ConnectorCredential<Service, Config> &
  Key & { access_token?: undefined };

/** What is configured, by the name of its provider. */
export interface ConnectorRegistry {
`

const typesTail = `}

/** The names of what is configured; any text while nothing is. */
export type ConnectorService = keyof ConnectorRegistry extends never ? string : keyof ConnectorRegistry;

/** What creds answers for a connection of a service. */
export type ConnectorConnection<Service extends ConnectorService = ConnectorService> =
  Service extends keyof ConnectorRegistry
    ? ConnectorRegistry[Service] extends { connection: infer Connection }
      ? Connection
      : never
    : ConnectorToken<string, Record<string, string>> | ConnectorKey<string, unknown, Record<string, string>>;

export type GetConnection = <Service extends ConnectorService>(
  service: Service,
) => Promise<ConnectorConnection<Service>>;
`

// TypeScript makes the types of services. What others wrote stands in string literals alone, in ASCII.
func TypeScript(services []Service) []byte {
	var out bytes.Buffer
	out.WriteString(typesHead)
	for _, s := range slices.SortedFunc(slices.Values(services), func(a, b Service) int {
		return strings.Compare(a.Name, b.Name)
	}) {
		var kinds, ways []string
		token, key := false, false
		for _, kind := range s.Kinds {
			kinds = append(kinds, literal(kind))
			key = key || HandsOutKey(kind)
			token = token || !HandsOutKey(kind)
		}
		if token {
			ways = append(ways, fmt.Sprintf("ConnectorToken<%s, %s>", literal(s.Name), object(s.Config)))
		}
		if key {
			fields := object(s.Key)
			if len(s.Key) == 0 {
				fields = "unknown" // and not: none at all
			}
			ways = append(ways, fmt.Sprintf("ConnectorKey<%s, %s, %s>", literal(s.Name), fields, object(s.KeyConfig)))
		}
		fmt.Fprintf(&out, "  %s: {\n    definition: %s;\n    kind: %s;\n    connection: %s;\n  };\n", literal(s.Name),
			literal(s.Definition), union(kinds), union(ways))
	}
	out.WriteString(typesTail)
	return out.Bytes()
}

func union(types []string) string {
	if len(types) == 0 {
		return "never"
	}
	return strings.Join(types, " | ")
}

// object is the type of a map of texts; false: one may be missing.
func object(members map[string]bool) string {
	if len(members) == 0 {
		return "Record<string, never>"
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(members)) {
		mark := "?"
		if members[name] {
			mark = ""
		}
		all = append(all, literal(name)+mark+": string")
	}
	return "{ " + strings.Join(all, "; ") + " }"
}

// literal is a string literal in ASCII, so that no character of it is another line's end or turns the order of what is
// read.
func literal(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil { // of a text there is none
		return `""`
	}
	var out strings.Builder
	for _, r := range string(quoted) {
		switch {
		case r >= 0x20 && r < 0x7f:
			out.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.String()
}
