package store

import (
	"encoding/json"
	"log/slog"
)

// The settings of a provider and of the mount hold secrets that are no [providers.Secret]: parameters of the token
// call, the password of a proxy. So whatever prints one by accident gets a name alone. Storage encodes the fields
// below, which print as they are.
type (
	providerFields Provider
	configFields   Config
)

// String, GoString, MarshalJSON and LogValue redact.
func (p Provider) String() string               { return "provider of " + p.Definition }
func (p Provider) GoString() string             { return p.String() }
func (p Provider) MarshalJSON() ([]byte, error) { return json.Marshal(p.String()) }
func (p Provider) LogValue() slog.Value         { return slog.StringValue(p.String()) }

// String, GoString, MarshalJSON and LogValue redact.
func (Config) String() string               { return "config" }
func (Config) GoString() string             { return "config" }
func (Config) MarshalJSON() ([]byte, error) { return []byte(`"config"`), nil }
func (Config) LogValue() slog.Value         { return slog.StringValue("config") }
