package page

import (
	"context"
	"net/http"
	"strings"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
)

// detail is all that is told of one connection.
type detail struct {
	entry
	Service  string // the name that the catalogue has
	Scopes   []scope
	Shares   *client.Shares
	History  []client.Record
	Problems []string // what could not be read
	Commands map[string]string
}

func (s *Server) account(w http.ResponseWriter, r *http.Request) {
	ctx, name := r.Context(), r.PathValue("name")
	c, err := s.Client.Connection(ctx, own(name))
	if err != nil {
		s.failed(w, r, err)
		return
	}
	d := detail{
		entry:   entry{Connection: c, Health: s.healthOf(c), Account: accountOf(c.Account)},
		Service: c.Provider,
	}
	definition := s.definition(ctx, c.Provider)
	if definition != nil {
		d.Service = definition.Name
	}
	d.Scopes = scopesOf(c, definition)
	if d.Shares, err = s.Client.Shares(ctx, own(name)); err != nil {
		d.Problems = append(d.Problems, "Whom it is shared with cannot be read: "+err.Error())
	}
	if history, err := s.Client.History(ctx, own(name)); err == nil {
		d.History = history.Records
	} else {
		d.Problems = append(d.Problems, "Its history cannot be read: "+err.Error())
	}
	d.Commands = map[string]string{
		"show": s.line("show", name), "check": s.line("check", name), "reconnect": s.line("reconnect", name),
		"label": s.line("edit", name, "--label") + " LABEL", "rename": s.line("transfer", name) + " NEW-NAME",
		"share": s.line("share", name) + " --group GROUP --expires 7d", "unshare": s.line("unshare", name) + " --group GROUP",
		"disconnect": s.line("disconnect", name), "history": s.line("history", name),
		"choose": s.line("edit", name) + " --choose ID",
	}
	s.render(w, r, "account", view{Title: titleOf(c), At: d})
}

// titleOf is what a person calls a connection.
func titleOf(c *client.Connection) string {
	if c.Label != "" {
		return c.Label
	}
	return c.Name
}

// definition is what a provider is, where somebody knows: the inventory of the caller's own, else the provider's name.
func (s *Server) definition(ctx context.Context, provider string) *client.Definition {
	filters := client.Filters{Provider: []string{provider}}
	inventory, err := s.Client.Inventory(ctx, "self", client.InventoryRequest{Filters: filters, Limit: 1})
	if err == nil && len(inventory.Connections) > 0 && inventory.Connections[0].Definition != "" {
		definition, err := s.Client.Definition(ctx, inventory.Connections[0].Definition)
		if err == nil {
			return definition
		}
	}
	if s.Definition == nil {
		return nil
	}
	definition, err := s.Definition(ctx, provider)
	if err != nil {
		return nil
	}
	return definition
}

func (s *Server) check(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	check, err := s.Client.Check(r.Context(), own(name))
	if err != nil {
		s.failed(w, r, err)
		return
	}
	n := note{Command: s.line("check", name)}
	switch {
	case check.Status != "active" || check.TokenValid == "false":
		n.Bad, n.Text = true, "It does not work."
	case check.Service == "down" || check.Service == "limited":
		n.Bad, n.Text = true, "The service does not answer now, so nobody knows."
	case check.TokenValid == "true":
		n.Text = "The service was asked, and it works."
	default:
		n.Text = "The service has no way to ask it, so nobody knows whether it works."
	}
	if check.Advice != "" {
		n.Text += " " + sentence(capital(check.Advice))
	}
	if check.TokenValid == "true" {
		s.remember(r.Context(), name)
	}
	s.leadOn(w, r, "account/"+name, n)
}

func (s *Server) label(w http.ResponseWriter, r *http.Request) {
	name, label := r.PathValue("name"), strings.TrimSpace(r.PostFormValue("label"))
	if _, err := s.Client.Update(r.Context(), own(name), client.ConnectionUpdate{Label: &label}); err != nil {
		s.failed(w, r, err)
		return
	}
	s.leadOn(w, r, "account/"+name, note{Text: "The label is changed.", Command: s.line("edit", name, "--label", label)})
}

func (s *Server) rename(w http.ResponseWriter, r *http.Request) {
	name, to := r.PathValue("name"), strings.TrimSpace(r.PostFormValue("to"))
	if strings.Contains(to, "/") {
		s.fail(w, r, http.StatusBadRequest, "A new name has no slash. To give it to another owner use: "+
			s.line("transfer", name)+" OWNER/NAME")
		return
	}
	moved, err := s.Client.Offer(r.Context(), own(name), own(to))
	if err != nil {
		s.failed(w, r, err)
		return
	}
	n := note{Text: "It is named " + to + " now.", Command: s.line("transfer", name, to)}
	n.warn(moved.Warnings)
	s.leadOn(w, r, "account/"+to, n)
}

func (n *note) warn(warnings []string) {
	for _, warning := range warnings {
		n.Text += " " + sentence(capital(warning))
	}
}

func (s *Server) share(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	words := []string{"share", name}
	request := client.ShareRequest{Expires: r.PostFormValue("expires")}
	switch who, id := with(r); {
	case who == "everyone":
		request.Everyone, words = true, append(words, "--everyone")
	case id == "":
		s.fail(w, r, http.StatusBadRequest, "Say with whom: choose a group, or give the id of an entity or a group.")
		return
	case who == "entity":
		request.Entities, words = []string{id}, append(words, "--entity", id)
	default:
		request.Groups, words = []string{id}, append(words, "--group", id)
	}
	if request.Expires != "" {
		words = append(words, "--expires", request.Expires)
	}
	shares, err := s.Client.Share(r.Context(), own(name), request)
	if err != nil {
		s.failed(w, r, err)
		return
	}
	n := note{Text: "It is shared.", Command: s.line(words...)}
	n.warn(shares.Warnings)
	s.leadOn(w, r, "account/"+name, n)
}

// with is whom a form names: "with" is everyone, entity, group, or group:<id> of one that was chosen.
func with(r *http.Request) (kind, id string) {
	kind, id, chosen := strings.Cut(r.PostFormValue("with"), ":")
	if !chosen {
		id = strings.TrimSpace(r.PostFormValue("id"))
	}
	return kind, id
}

func (s *Server) unshare(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	words := []string{"unshare", name}
	var request client.UnshareRequest
	switch who, id := with(r); {
	case who == "everyone":
		request.Everyone, words = true, append(words, "--everyone")
	case who == "entity" && id != "":
		request.Entities, words = []string{id}, append(words, "--entity", id)
	case who == "group" && id != "":
		request.Groups, words = []string{id}, append(words, "--group", id)
	default: // to name nobody would end all
		s.fail(w, r, http.StatusBadRequest, "This names no share.")
		return
	}
	if err := s.Client.Unshare(r.Context(), own(name), request); err != nil {
		s.failed(w, r, err)
		return
	}
	s.leadOn(w, r, "account/"+name, note{Text: "It is not shared with them any more.", Command: s.line(words...)})
}

func (s *Server) askDisconnect(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	c, err := s.Client.Connection(r.Context(), own(name))
	if err != nil {
		s.failed(w, r, err)
		return
	}
	d := detail{
		entry:    entry{Connection: c, Health: s.healthOf(c), Account: accountOf(c.Account)},
		Commands: map[string]string{"disconnect": s.line("disconnect", name)},
	}
	s.render(w, r, "disconnect", view{Title: "Disconnect " + titleOf(c) + "?", At: d})
}

func (s *Server) disconnect(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	warnings, err := s.Client.Disconnect(r.Context(), own(name))
	if err != nil {
		s.failed(w, r, err)
		return
	}
	n := note{Text: "Disconnected: " + name + ".", Command: s.line("disconnect", name, "--yes")}
	n.warn(warnings)
	s.leadOn(w, r, "", n)
}
