package page

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
)

// flow is a consent that was begun here.
type flow struct {
	name, provider, kind string
	command              string
	secret               string // which binds it to these pages
	until                time.Time
}

const maxFlows = 16

// consent leads the browser to the service. By a page, since Chrome holds a policy on forms against redirects too.
func (s *Server) consent(w http.ResponseWriter, r *http.Request, f *flow, inputs map[string]string) {
	f.secret = random(32)
	sum := sha256.Sum256([]byte(f.secret))
	request := client.FlowRequest{
		Provider: f.provider, Kind: f.kind, Inputs: inputs, ReturnURL: "http://" + s.host + "/connected",
		SessionBinding: base64.RawURLEncoding.EncodeToString(sum[:]),
	}
	begun, err := s.Client.AuthCodeURL(r.Context(), own(f.name), request)
	comes := true
	if client.StatusOf(err) == http.StatusBadRequest && strings.Contains(err.Error(), "return_url") {
		comes, request.ReturnURL = false, "" // the operator does not want it: the code is typed
		begun, err = s.Client.AuthCodeURL(r.Context(), own(f.name), request)
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	to, err := url.Parse(begun.URL)
	if err != nil || to.Scheme != "https" && to.Scheme != "http" || to.Host == "" {
		s.fail(w, r, http.StatusBadGateway, "The service asks for consent at an address that is none.")
		return
	}
	if f.until, err = time.Parse(time.RFC3339, begun.ExpireTime); err != nil {
		f.until = time.Now().Add(time.Hour)
	}
	if !s.keep(begun.FlowID, f) {
		s.fail(w, r, http.StatusTooManyRequests, "Too many consents are open: finish one of them, or wait some minutes.")
		return
	}
	v := view{
		Title: "To " + to.Host, To: begun.URL, ToHost: to.Host, At: map[string]any{"FlowID": begun.FlowID}, Home: s.Home(),
	}
	if comes {
		s.show(w, http.StatusOK, "leave", v)
	} else {
		s.show(w, http.StatusOK, "code", v)
	}
}

func (s *Server) keep(id string, f *flow) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for old, f := range s.flows {
		if time.Now().After(f.until) {
			delete(s.flows, old)
		}
	}
	if len(s.flows) >= maxFlows {
		return false
	}
	s.flows[id] = f
	return true
}

// claim takes a flow out, so that it is finished once.
func (s *Server) claim(id string) *flow {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flows[id]
	delete(s.flows, id)
	return f
}

var code = regexp.MustCompile(`^[A-Z0-9]{8}$`)

// connected is where a consent comes back to, without the cookie, since it comes from another site. What is known here
// is the flow; its code says that this is the browser which consented. Everybody else gets a page that tells nothing.
func (s *Server) connected(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	id, typed := query.Get("flow_id"), query.Get("confirmation_code")
	if typed != "" && !code.MatchString(typed) {
		id = ""
	}
	f := s.claim(id)
	if f == nil {
		s.refuse(w, http.StatusNotFound, "No consent that was begun here comes back by this address, or it was finished "+
			"before. Go back to the window with your accounts.")
		return
	}
	to, err := s.finish(r, id, typed, f)
	if err != nil {
		s.show(w, http.StatusConflict, "message", view{
			Title: "Not connected", Message: s.unfinished(id) + " Go back to the window with your accounts.",
			Detail: shown(err.Error()),
		})
		return
	}
	s.idle.Reset(idleTime)
	s.show(w, http.StatusOK, "lead", view{Title: "Connected", To: to})
}

// typedCode finishes a flow by the characters that the page of Vault shows.
func (s *Server) typedCode(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("flow")
	typed := strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(r.PostFormValue("code")))
	f := s.claim(id)
	if f == nil {
		s.fail(w, r, http.StatusConflict, "This consent is finished, or too old: start again.")
		return
	}
	to, err := s.finish(r, id, typed, f)
	if status := client.StatusOf(err); status == http.StatusBadRequest || status == http.StatusConflict {
		s.show(w, status, "message", view{
			Title: "Not connected", Message: s.unfinished(id), Detail: shown(err.Error()), Home: s.Home(),
		})
		return
	}
	if err != nil {
		s.failed(w, r, err)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// unfinished says what to do about a consent that was refused.
func (s *Server) unfinished(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flows[id] != nil {
		return "The account is not connected yet: the characters were not right, or came too early. Try that step again."
	}
	return "The account was not connected, and this consent is over. Start again with Connect an account."
}

// finish exchanges what a flow brought, and gives the address of the page that says so. Where the flow is still open
// after a refusal, since the code was wrong or came too early, it is kept.
func (s *Server) finish(r *http.Request, id, typed string, f *flow) (string, error) {
	c, err := s.Client.Exchange(r.Context(), client.ExchangeRequest{
		FlowID: id, ConfirmationCode: typed, SessionBindingValue: f.secret,
	})
	if err != nil {
		status := client.StatusOf(err)
		if status == http.StatusBadRequest && strings.Contains(err.Error(), "confirmation") ||
			status == http.StatusConflict && strings.Contains(err.Error(), "authorization_pending") || status == 0 {
			s.keep(id, f)
		}
		return "", err
	}
	n := note{Text: "Connected.", Command: f.command}
	if c.Status != "active" || len(c.MissingScopes) > 0 {
		n.Bad, n.Text = true, "Connected, and not all is well."
	}
	n.warn(c.Warnings)
	return s.noted("account/"+f.name, n), nil
}
