package providers

import (
	"encoding/json"
	"log/slog"
)

// String, GoString, MarshalJSON and LogValue name the app and nothing that it holds: TokenParams and AuthorizeParams
// may carry secrets, and are no [Secret].
func (a App) String() string {
	if a.Definition == nil {
		return "app"
	}
	return "app of " + a.Definition.ID
}
func (a App) GoString() string             { return a.String() }
func (a App) MarshalJSON() ([]byte, error) { return json.Marshal(a.String()) }
func (a App) LogValue() slog.Value         { return slog.StringValue(a.String()) }
