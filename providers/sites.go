package providers

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"unicode"
)

const (
	maxChoices    = 100      // kept of what a grant reaches
	maxSites      = 16 << 10 // bytes of them, as they would be stored
	maxChoiceID   = 256
	maxChoiceName = 128
)

// Choice is a site, tenant or company that a grant reaches.
type Choice struct {
	ID     string            `json:"id"`
	Name   string            `json:"name,omitempty"`
	Config map[string]string `json:"config,omitempty"` // what connection_config has while it is picked
}

// Sites are what a grant reaches, of which a person picks one. Nobody changes a value: it is shared.
type Sites struct {
	Input   string   `json:"input"` // of the connection; it takes the id of the one that is picked
	Choices []Choice `json:"choices,omitempty"`
	More    bool     `json:"more,omitempty"`    // there are more than can be kept
	Unknown bool     `json:"unknown,omitempty"` // they could not be listed
}

// Find gives the choice with that id.
func (s *Sites) Find(id string) (Choice, bool) {
	if s == nil || id == "" {
		return Choice{}, false
	}
	i := slices.IndexFunc(s.Choices, func(c Choice) bool { return c.ID == id })
	if i < 0 {
		return Choice{}, false
	}
	return s.Choices[i], true
}

// Bounded keeps as much as may be stored, the choice with the id that matters first of all.
func (s *Sites) Bounded(id string) *Sites {
	kept := &Sites{Input: s.Input, Unknown: s.Unknown}
	first, has := s.Find(id)
	size := 0
	add := func(c Choice) {
		text, err := json.Marshal(c)
		if size += len(text); err != nil || size > maxSites || len(kept.Choices) == maxChoices {
			kept.More = true
			return
		}
		kept.Choices = append(kept.Choices, c)
	}
	if has {
		add(first)
	}
	for _, c := range s.Choices {
		if !has || c.ID != id {
			add(c)
		}
	}
	kept.More = kept.More || s.More
	return kept
}

// Unlisted is what is known of the sites before they are listed; nil where there is nothing to pick.
func (d *Definition) Unlisted() *Sites {
	if d.Resources == nil {
		return nil
	}
	return &Sites{Input: d.Resources.Pick, Unknown: true}
}

// Picks is the connection's input that takes the id of a site; empty where there is nothing to pick.
func (d *Definition) Picks() string {
	if d.Resources == nil {
		return ""
	}
	return d.Resources.Pick
}

// ListSites asks what g reaches. The error is an [*Error].
func (c *Client) ListSites(ctx context.Context, app *App, res Resolved, g *Grant) (*Sites, error) {
	if app.Definition.Resources == nil {
		return nil, &Error{Class: Misconfigured, Step: StepResources, Reason: ReasonNoEndpoint}
	}
	found, failure := c.sites(ctx, app, res, g)
	if failure != nil {
		return nil, failure
	}
	return found, nil
}

// sites is all that the service lists and that could be picked: with an id that the input takes, and with what the
// definition requires of each.
func (c *Client) sites(ctx context.Context, app *App, res Resolved, g *Grant) (*Sites, *Error) {
	def, spec := app.Definition, app.Definition.Resources
	r, failure := c.apiCall(ctx, app, res, StepResources, spec.Call, nil, g, nil)
	if failure != nil {
		return nil, failure
	}
	list := spec.List
	if list == "" {
		list = "$"
	}
	found, there := lookup(r.doc, list)
	if !there {
		return nil, &Error{Class: Misconfigured, Step: StepResources, Reason: ReasonResourcesUnread}
	}
	listed, many := found.([]any)
	if !many && found != nil {
		listed = []any{found}
	}
	wanted := map[string]string{}
	values := app.values(res, g)
	for at, template := range spec.Where {
		if !template.known(values) {
			continue
		}
		want, err := template.Expand(values)
		if err != nil {
			return nil, &Error{Class: Misconfigured, Step: StepResources, Reason: ReasonIncompleteCall}
		}
		wanted[at] = want
	}
	in, _ := def.input(spec.Pick)
	sites, seen := &Sites{Input: spec.Pick}, map[string]bool{}
	for _, doc := range listed {
		choice, usable := def.choice(in, doc)
		for at, want := range wanted {
			usable = usable && lookupText(doc, at) == want
		}
		if usable && !seen[choice.ID] {
			seen[choice.ID] = true
			sites.Choices = append(sites.Choices, choice)
		}
	}
	return sites, nil
}

// choice reads one entry of the list.
func (d *Definition) choice(in Input, doc any) (choice Choice, usable bool) {
	id := strings.TrimSuffix(lookupText(doc, d.Resources.ID), in.Strip)
	if id == "" || len(id) > maxChoiceID || hasControl(id) || matches(in.Pattern, id) != nil {
		return Choice{}, false
	}
	kept := &Grant{}
	complete := kept.capture(d.Connection, "resources", doc)
	return Choice{ID: id, Name: plainName(lookupText(doc, d.Resources.Name)), Config: kept.Config}, complete
}

// plainName is what a service calls something, as people may be shown it: one short line.
func plainName(name string) string {
	runes := []rune(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, name))
	return string(runes[:min(len(runes), maxChoiceName)])
}
