package page

import (
	"context"
	"slices"
	"strings"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
)

// health is how a connection is, in words.
type health struct {
	Tone  string // good, idle or bad
	Words string
	Next  string // what to do, where something is to be done
}

// reasons say why a connection does not serve.
var reasons = map[string]string{
	"flow_open":               "the consent was begun and not finished",
	"denied":                  "the consent was refused",
	"choice":                  "one of several sites is to be chosen",
	"grant_refused":           "the service does not take the grant any more",
	"refresh_outcome_unknown": "a renewal broke off, and the service does not take the grant any more",
	"idle_limit":              "it was not used for longer than the service allows",
	"hard_limit":              "the consent has run out",
	"provider_changed":        "the operator changed the app that it was connected with",
	"provider_missing":        "the operator removed the app that it was connected with",
	"key_refused":             "the service does not take the key",
	"transferred":             "it came from another owner, without its grant",
	"disabled_by_person":      "somebody switched it off",
	"deleting":                "it is being deleted",
	"revoking":                "it is being revoked",
	"revoked":                 "it was revoked",
	"registration_lost":       "the service has forgotten the app",
	"owner_missing":           "its owner is gone",
	"owner_disabled":          "its owner is switched off",
	"kind_not_allowed":        "the operator does not allow this way any more",
	"owner_not_allowed":       "the operator does not allow this owner any more",
	"moving":                  "it is on its way to another name",
}

func healthOf(c *client.Connection) health {
	var h health
	switch c.Status {
	case "active":
		h = health{Tone: "good", Words: "Works"}
		switch {
		case len(c.MissingScopes) > 0:
			h = health{
				Tone: "bad", Words: "Works, but may do less than was asked for",
				Next: "Connect it again and grant what is missing.",
			}
		case failing(c):
			h = health{Tone: "idle", Words: "Works; the last renewal failed and is tried again"}
		case c.ScopeDrift:
			h = health{Tone: "idle", Words: "Works; what it may do has changed"}
		}
		return h
	case "needs_reconnect":
		h = health{Tone: "bad", Words: "Does not work", Next: "Connect it again."}
	case "failed_validation":
		h = health{Tone: "bad", Words: "Does not work", Next: "Connect it again with a key that the service takes."}
	case "expired":
		h = health{Tone: "bad", Words: "Expired", Next: "Connect it again."}
	case "disabled":
		h = health{Tone: "idle", Words: "Switched off"}
	case "archived":
		h = health{Tone: "idle", Words: "Put away"}
	case "pending":
		h = health{Tone: "idle", Words: "Not connected yet", Next: "Connect it again."}
	default:
		h = health{Tone: "idle", Words: shown(c.Status)}
	}
	if why := reasons[c.StatusReason]; why != "" {
		h.Words += ": " + why
	}
	return h
}

// keyKinds are those of keys that nothing is bought with, so that nothing but a check tries them.
var keyKinds = []string{"api_key", "basic", "key_pair", "login"}

// untried reports whether nothing shows that a key was ever taken by its service. Where it was asked it mostly told
// whose the key is.
func untried(c *client.Connection) bool {
	return c.Status == "active" && slices.Contains(keyKinds, c.Kind) && c.Account == client.Account{} &&
		len(c.ConnectionConfig) == 0
}

// healthOf is how a connection is, with what was tried here.
func (s *Server) healthOf(c *client.Connection) health {
	h := healthOf(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if untried(c) && h == (health{Tone: "good", Words: "Works"}) && !s.tried[keyOf(c)] {
		return health{
			Tone: "idle", Words: "Stored, and not known to have been tried",
			Next: "Press Test: it asks the service whether the key works.",
		}
	}
	return h
}

// keyOf tells a key from the one that takes its place.
func keyOf(c *client.Connection) string { return c.ConnectionID + " " + c.LastRotation + " " + c.Name }

// remember keeps that the service took what a connection has now.
func (s *Server) remember(ctx context.Context, name string) {
	c, err := s.Client.Connection(ctx, own(name))
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried[keyOf(c)] = true
}

// ByConsent and ByKey say what of a connection is left at its service when it is deleted here.
func (e entry) ByConsent() bool { return e.Kind == kindConsent || e.Kind == kindDevice }

// ByKey is of what a person typed.
func (e entry) ByKey() bool { return !e.ByConsent() && e.Kind != "client_credentials" && e.Kind != "" }

// accountOf is whose account it is at the service.
func accountOf(account client.Account) string {
	var parts []string
	for _, part := range []string{account.Label, account.Email} {
		if part != "" && !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 && account.ID != "" {
		parts = append(parts, account.ID)
	}
	return strings.Join(parts, ", ")
}

// scope is one permission, in the words of the catalogue where it has some.
type scope struct {
	Name, About string
	Missing     bool
}

func scopesOf(c *client.Connection, definition *client.Definition) []scope {
	about := map[string]any{}
	if definition != nil {
		scopes, _ := definition.Data["scopes"].(map[string]any)
		about, _ = scopes["about"].(map[string]any)
	}
	var all []scope
	add := func(names []string, missing bool) {
		for _, name := range names {
			words, _ := about[name].(string)
			all = append(all, scope{Name: name, About: words, Missing: missing})
		}
	}
	add(c.Scopes, false)
	add(c.MissingScopes, true)
	return all
}

// failing reports whether the last renewals failed.
func failing(c *client.Connection) bool {
	attempts, _ := c.LastError["attempts"].(float64)
	return attempts > 0
}
