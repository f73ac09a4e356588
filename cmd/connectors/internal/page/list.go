package page

import (
	"context"
	"net/http"
	"strings"
	"sync"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
)

// routes are what the paired browser may ask for. What changes something is a POST.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.list)
	mux.HandleFunc("GET /in", func(w http.ResponseWriter, r *http.Request) { // paired just before it began to wait
		http.Redirect(w, r, s.Home(), http.StatusSeeOther)
	})
	mux.HandleFunc("GET /account/{name}", s.account)
	mux.HandleFunc("GET /account/{name}/disconnect", s.askDisconnect)
	mux.HandleFunc("GET /account/{name}/reconnect", s.askReconnect)
	mux.HandleFunc("GET /connect", s.search)
	mux.HandleFunc("GET /connect/{service}", s.askConnect)
	mux.HandleFunc("POST /account/{name}/check", s.check)
	mux.HandleFunc("POST /account/{name}/label", s.label)
	mux.HandleFunc("POST /account/{name}/rename", s.rename)
	mux.HandleFunc("POST /account/{name}/share", s.share)
	mux.HandleFunc("POST /account/{name}/unshare", s.unshare)
	mux.HandleFunc("POST /account/{name}/disconnect", s.disconnect)
	mux.HandleFunc("POST /account/{name}/reconnect", s.reconnect)
	mux.HandleFunc("POST /connect/{service}", s.connect)
	mux.HandleFunc("POST /code/{flow}", s.typedCode)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" {
			s.fail(w, r, http.StatusNotFound, "There is no such page.")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// own is the path of a connection of the caller.
func own(name string) string { return "self/" + name }

// Home is the path of the list, in the paired browser.
func (s *Server) Home() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.paired == nil {
		return ""
	}
	return "/" + s.paired.path + "/"
}

// render answers a page inside, with what came of the action that led to it.
func (s *Server) render(w http.ResponseWriter, r *http.Request, name string, v view) {
	v.Home = s.Home()
	if v.Note == nil {
		v.Note = s.noteOf(r.URL.Query().Get("note"))
	}
	s.show(w, http.StatusOK, name, v)
}

// fail answers that something inside was not done.
func (s *Server) fail(w http.ResponseWriter, _ *http.Request, status int, why string) {
	s.show(w, status, "message", view{Title: "That did not work", Message: why, Home: s.Home()})
}

// failed answers an error of the mount. A refused token ends the pages, if it is refused everywhere.
func (s *Server) failed(w http.ResponseWriter, r *http.Request, err error) {
	status := client.StatusOf(err)
	if status == http.StatusForbidden && s.dead(r.Context()) {
		s.stop(ErrToken)
		s.fail(w, r, http.StatusGone, ErrToken.Error())
		return
	}
	if status == 0 {
		status = http.StatusBadGateway
	}
	s.show(w, status, "message", view{
		Title: "That did not work", Message: why(status, err), Detail: shown(err.Error()), Home: s.Home(),
	})
}

// why says in words of these pages why something was not done; what the mount answered goes with it.
func why(status int, err error) string {
	switch {
	case strings.Contains(err.Error(), "no provider") && strings.Contains(err.Error(), "configured"):
		return "This cannot be connected here yet. An operator of Vault has to set it up, or knows it by another name."
	case client.StatusOf(err) == 0:
		return "Vault cannot be reached, or gave no answer. Try again in a while."
	case status == http.StatusForbidden:
		return "Vault does not allow you this. Ask its operator, who decides what you may do."
	case status == http.StatusNotFound:
		return "What this is about is not there, or not any more."
	case status == http.StatusConflict:
		return "This cannot be done as things stand now."
	case status == http.StatusTooManyRequests:
		return "That was too often. Wait a little, then try again."
	case status >= http.StatusInternalServerError:
		return "Vault, or the service behind it, cannot do this now. Try again in a while."
	}
	return "Vault did not take this. Go back, change what it complains of, and try again."
}

// dead reports whether Vault does not know the token any more. Every token may look itself up.
func (s *Server) dead(ctx context.Context) bool {
	return client.StatusOf(s.Client.LookupSelf(ctx)) == http.StatusForbidden
}

const maxNotes = 32

// leadOn goes to a page, which then says what came of an action.
func (s *Server) leadOn(w http.ResponseWriter, r *http.Request, path string, n note) {
	http.Redirect(w, r, s.noted(path, n), http.StatusSeeOther)
}

// noted is the address of a page that says a note.
func (s *Server) noted(path string, n note) string {
	home := s.Home()
	n.ID = random(6)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.notes = append(s.notes, n); len(s.notes) > maxNotes {
		s.notes = s.notes[1:]
	}
	return home + path + "?note=" + n.ID
}

func (s *Server) noteOf(id string) *note {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.notes {
		if n.ID == id {
			return &n
		}
	}
	return nil
}

// entry is a connection as the list has it.
type entry struct {
	*client.Connection
	Health  health
	Account string
	Shared  []string
	Problem string // why it could not be read
}

// entries reads each connection of the caller, several at a time.
func (s *Server) entries(ctx context.Context) ([]entry, error) {
	list, err := s.Client.Connections(ctx, "self")
	if err != nil {
		return nil, err
	}
	all := make([]entry, len(list.Keys))
	places := make(chan struct{}, 8)
	var reading sync.WaitGroup
	for i, name := range list.Keys {
		reading.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			all[i] = s.entry(ctx, strings.TrimSuffix(name, "/"), list.KeyInfo[name])
		})
	}
	reading.Wait()
	return all, nil
}

func (s *Server) entry(ctx context.Context, name string, known client.Entry) entry {
	c, err := s.Client.Connection(ctx, own(name))
	if err != nil {
		c = &client.Connection{Name: name, Provider: known.Provider, Status: known.Status, Label: known.Label}
		return entry{Connection: c, Health: s.healthOf(c), Problem: "It cannot be read: " + err.Error()}
	}
	e := entry{Connection: c, Health: s.healthOf(c), Account: accountOf(c.Account)}
	if c.SharedWith != "" {
		e.Shared = []string{c.SharedWith}
		if shares, err := s.Client.Shares(ctx, own(name)); err == nil && len(shares.Shares) > 0 {
			e.Shared = nil
			for _, share := range shares.Shares {
				e.Shared = append(e.Shared, sharedWith(share))
			}
		}
	}
	return e
}

// sharedWith names those of a share.
func sharedWith(share client.Share) string {
	switch {
	case share.Everyone:
		return "everyone"
	case share.Name != "":
		return share.Name
	}
	return share.Entity + share.Group
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	all, err := s.entries(r.Context())
	if err != nil {
		s.failed(w, r, err)
		return
	}
	s.render(w, r, "list", view{Title: "My accounts", Wide: true, At: map[string]any{
		"Entries": all, "List": s.line("list"), "CheckAll": s.line("check", "--all"),
	}})
}
