package backend

import (
	"context"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/pages"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// What anybody on the network may send to the callback. All of it must fit into the entry of a flow.
const (
	maxCallbackValues = 64
	maxCallbackName   = 128
	maxCallbackValue  = 8 << 10
	maxCallback       = 32 << 10 // names and values together
)

func (b *backend) pathCallback() []*framework.Path {
	page := map[string]*framework.FieldSchema{} // the answer is a page of HTML, not data
	return []*framework.Path{{
		Pattern:      "callback/" + segment("provider"),
		DisplayAttrs: display("callback|callback", "Callback"),
		Fields: map[string]*framework.FieldSchema{
			"provider": required(str("Provider whose flow comes back.")),
			"state":    inQuery(str("The flow's state.")),
			"code":     inQuery(str("The authorization code.")),
			"iss":      inQuery(str("The issuer (RFC 9207).")),
			"error":    inQuery(str("Why there is no code (RFC 6749 section 4.1.2.1).")),
		},
		TakesArbitraryInput: true, // providers send what they like; the definition names what is kept
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: verb("receive", forwarded(b.operation(b.callback,
				"Where the provider sends the browser.", page))),
			logical.UpdateOperation: verb("receive-post", forwarded(b.operation(b.callback,
				"The same for response_mode=form_post.", page))),
		},
		HelpSynopsis:    "Where the provider sends the browser. Unauthenticated.",
		HelpDescription: callbackHelp,
	}}
}

// callback parks what the browser brings. It needs no token, and what a GET brings stands in logs, so nothing follows
// from knowing it: a page with anything on it is the answer to the request that parked, and to no other. Whoever sends
// the same again, be it the same browser, learns the neutral page and changes nothing.
func (b *backend) callback(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	page, err := b.park(ctx, req, d)
	if err != nil {
		return nil, err
	}
	return b.answerPage(page, pages.Page{})
}

// answersPage reports whether a path is for browsers: whatever comes there, they get a page.
func answersPage(path string) bool { return path == "connect" || strings.HasPrefix(path, "callback/") }

// rendered is a page.
type rendered interface{ Render() ([]byte, error) }

// answerPage answers a page, and in the place of one that cannot be made another. Vault drops the headers unless the
// mount's allowed_response_headers name them; what a page can say of itself, it says too.
func (b *backend) answerPage(page, instead rendered) (*logical.Response, error) {
	body, err := page.Render()
	if err != nil {
		b.Logger().Error("a page could not be made", "error", err)
		if body, err = instead.Render(); err != nil {
			return nil, err
		}
	}
	// The body goes as bytes: a text that happens to be base64 would be decoded on the way.
	return &logical.Response{
		Data: map[string]any{
			logical.HTTPRawBody: body, logical.HTTPContentType: pages.ContentType, logical.HTTPStatusCode: http.StatusOK,
		},
		Headers: map[string][]string{
			"Content-Security-Policy": {"frame-ancestors 'none'"}, "X-Frame-Options": {"DENY"},
			"Referrer-Policy": {"no-referrer"}, "Cache-Control": {"no-store"},
		},
	}, nil
}

func (b *backend) park(ctx context.Context, req *logical.Request, d *framework.FieldData) (pages.Page, error) {
	neutral := pages.Page{}
	values, ok := callbackValues(d)
	if !ok {
		return neutral, nil
	}
	name := d.Get("provider").(string)
	if store.CheckName("provider", name) != nil {
		return neutral, nil
	}
	p, err := b.provider(ctx, name)
	if err != nil || p == nil {
		return neutral, err
	}
	cb := p.app.Definition.Callback
	state, code := values[orDefault(cb.State, "state")], values[orDefault(cb.Code, "code")]
	if state == "" {
		return neutral, nil
	}
	id := store.FlowOfState(state)
	unlock, err := b.flows.lock(ctx, id)
	if err != nil {
		return neutral, err
	}
	defer unlock()
	f, err := b.store.Flow(ctx, id)
	if err != nil {
		return neutral, err
	}
	// error_code alone is how some services say it.
	denied := values["error"] != "" || code == "" && values["error_code"] != ""
	installs := f != nil && f.Kind.Issued() // so there is no code, and nothing that comes along is believed
	if f == nil || !f.StateIs(state, b.now()) || f.Provider != name || f.OwnRedirect || f.ExpiredAt(b.now()) ||
		f.Pinned != p.fingerprint || f.Parked != nil || f.Claimed != "" || f.Outcome != nil ||
		code == "" && !denied && !installs {
		return neutral, nil
	}
	if f.Link != nil {
		if denied { // by mistake, it may be: the link may be used again
			f.DenyTry(knownDenial(values["error"]))
			page := flowPage(req, f, p)
			page.Outcome = pages.Denied
			return page, b.putFlow(ctx, f)
		}
		f.EndLink(f.Link.Ends)
	}
	switch {
	case denied:
		f.Park(&store.Parked{Time: b.now(), Denied: knownDenial(values["error"]), Issuer: values["iss"]})
	case installs:
		f.Park(&store.Parked{Time: b.now(), ConfirmationCode: providers.NewSecret(newConfirmationCode())})
	default:
		mine, err := b.codes.bring(ctx, p, f, providers.NewSecret(code))
		if err != nil || !mine {
			return neutral, err
		}
		f.Park(&store.Parked{
			Time: b.now(), Code: providers.NewSecret(code), Issuer: values["iss"],
			Callback:         kept(p.app.Definition, values),
			ConfirmationCode: providers.NewSecret(newConfirmationCode()),
		})
	}
	// A crash after this leaves a flow whose page nobody saw: the person starts again.
	if err := b.putFlow(ctx, f); err != nil {
		return neutral, err
	}
	return b.parkedPage(req, f, p), nil
}

// withoutRepeats gives what a browser brought without the declared parameters, when one of them came more than once: it
// must not be said which of two is meant. The answer is a page, and not the framework's words.
func (b *backend) withoutRepeats(req *logical.Request) *logical.Request {
	if !answersPage(req.Path) {
		return req
	}
	if field, _ := b.wrongType(req); field == "" {
		return req
	}
	cut := *req
	cut.Data = nil
	return &cut
}

// callbackValues reads every parameter as a text; false when one is nothing a provider would send.
func callbackValues(d *framework.FieldData) (map[string]string, bool) {
	if len(d.Raw) > maxCallbackValues {
		return nil, false
	}
	values, size := map[string]string{}, 0
	for name, raw := range d.Raw {
		switch raw.(type) {
		case []any, []string: // sent twice, so it counts as missing (RFC 6749 section 4.1.2)
			continue
		}
		v, err := scalar(name, raw)
		if err != nil || len(v) > maxCallbackValue || len(name) > maxCallbackName {
			return nil, false
		}
		values[name] = v
		size += len(name) + len(v)
	}
	return values, size <= maxCallback
}

// kept picks the parameters that the definition's exchange will look at: all of them when they are signed together.
func kept(def *providers.Definition, values map[string]string) map[string]string {
	out := map[string]string{}
	for name, v := range values {
		switch name {
		case orDefault(def.Callback.State, "state"), orDefault(def.Callback.Code, "code"), "provider", "iss":
			if def.Callback.Signed == "" || name == "provider" {
				continue
			}
		}
		out[name] = v
	}
	if def.Callback.Signed != "" {
		return out
	}
	wanted := map[string]bool{}
	for name := range def.Callback.Match {
		wanted[name] = true
	}
	for _, path := range def.CallbackPaths() {
		wanted[path] = true
	}
	for name := range out {
		if !wanted[name] {
			delete(out, name)
		}
	}
	return out
}

// knownDenial keeps an error code of the standard and drops any other word.
func knownDenial(code string) string {
	switch code {
	case "access_denied", "invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_scope",
		"server_error", "temporarily_unavailable", "login_required", "consent_required", "interaction_required",
		"account_selection_required":
		return code
	}
	return "refused"
}

// flowPage is a page about a flow, whatever became of it.
func flowPage(req *logical.Request, f *store.Flow, p *configured) pages.Page {
	return pages.Page{
		Provider: p.app.Definition.Name, Connection: f.Key, StartedBy: f.Created.DisplayName,
		StartedAt: f.Created.Time,
		Mount:     strings.TrimRight(req.MountPoint, "/"), FlowID: f.ID, ReturnURL: f.ReturnURL,
	}
}

func (b *backend) parkedPage(req *logical.Request, f *store.Flow, p *configured) pages.Page {
	page := flowPage(req, f, p)
	switch {
	case f.Parked.Denied != "" && f.ReturnURL != "":
		page.Outcome, page.Denial = pages.Back, f.Parked.Denied
	case f.Parked.Denied != "":
		page.Outcome = pages.Denied
	case f.ReturnURL != "":
		page.Outcome = pages.Return
	case f.Link != nil:
		page.Outcome = pages.Tell
	case f.Confirm:
		page.Outcome = pages.Confirm
	default:
		page.Outcome = pages.Done
	}
	if f.Confirm && f.Parked.Denied == "" {
		page.ConfirmationCode = f.Parked.ConfirmationCode
	}
	return page
}

const callbackHelp = `
Register <public_url>/callback/<provider> as the redirect URI at the service; reading
providers/<provider> shows it. The page never exchanges the code: it parks it and shows
a confirmation code, or leads on to the flow's return_url, where the person said no too:
with error in the place of the code then. exchange finishes the flow.

It shows that once. Loaded again, it looks as for an unknown, used or expired flow, and
the person starts again. So does one whose authorization code another flow brought too.
`
