package backend

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/pages"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// What anybody on the network may send to the page of a link. A key with all its fields fits, and the entry of its flow
// holds it.
const (
	maxFormValues = 64
	maxFormName   = 128
	maxForm       = 112 * kB // names and values together
)

// The form's fields are called so: by what they are, and their name.
const (
	formInput = "input."
	formKey   = "key."
)

func (b *backend) pathConnect() []*framework.Path {
	page := map[string]*framework.FieldSchema{} // the answer is a page of HTML, not data
	return []*framework.Path{{
		Pattern:      "connect",
		DisplayAttrs: display("link", "Connect link"),
		Fields: map[string]*framework.FieldSchema{
			"link": inQuery(secret(str("The link's value."))),
		},
		TakesArbitraryInput: true, // what the form asks for, the definition says
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: verb("show", forwarded(b.operation(b.connectRead,
				"The page of a link. It changes nothing.", page))),
			logical.UpdateOperation: verb("use", forwarded(b.operation(b.connectWrite,
				"Use a link: lead to the consent, or take a key.", page))),
		},
		HelpSynopsis:    "Where a person uses a link. Unauthenticated.",
		HelpDescription: connectHelp,
	}}
}

// goneLink is one page for links that are unknown, used up, ended or expired.
var goneLink = pages.Page{Outcome: pages.Gone}

// connectForm is what a browser sent. Nothing is believed of it.
type connectForm struct {
	link   string
	inputs map[string]string
	keys   map[string]string
}

// connectRead shows the page. Programs open links that stand in mails, so nothing follows from it.
func (b *backend) connectRead(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	form, ok := readConnectForm(d)
	if !ok {
		return b.answerPage(goneLink, goneLink)
	}
	f, p, err := b.offered(ctx, store.LinkID(form.link))
	if err != nil {
		return nil, err
	}
	if f == nil {
		return b.answerPage(goneLink, goneLink)
	}
	page, err := b.linkPage(ctx, req, f, p, connectForm{link: form.link})
	if err != nil {
		return nil, err
	}
	return b.answerPage(page, goneLink)
}

func (b *backend) connectWrite(ctx context.Context, req *logical.Request,
	d *framework.FieldData,
) (*logical.Response, error) {
	if !b.mayWrite() {
		return nil, logical.ErrReadOnly
	}
	form, ok := readConnectForm(d)
	if !ok {
		return b.answerPage(goneLink, goneLink)
	}
	page, err := b.useLink(ctx, req, form)
	if err != nil {
		return nil, err
	}
	return b.answerPage(page, goneLink)
}

// readConnectForm reads what a browser sent; false when it is nothing that the form would send. Browsers end the lines
// of what they send with CR and LF.
func readConnectForm(d *framework.FieldData) (connectForm, bool) {
	form := connectForm{inputs: map[string]string{}, keys: map[string]string{}}
	if len(d.Raw) > maxFormValues {
		return form, false
	}
	size := 0
	for name, raw := range d.Raw {
		v, err := scalar(name, raw)
		size += len(name) + len(v)
		if err != nil || len(name) > maxFormName || size > maxForm {
			return form, false
		}
		v = strings.ReplaceAll(v, "\r\n", "\n")
		if field, is := strings.CutPrefix(name, formInput); is {
			form.inputs[field] = strings.TrimSpace(v)
		} else if field, is := strings.CutPrefix(name, formKey); is {
			form.keys[field] = v
		} else if name == "link" {
			form.link = v
		}
	}
	return form, store.ValidLink(form.link)
}

// offered reads the flow of a link that may be used now; nil when there is none.
func (b *backend) offered(ctx context.Context, id string) (*store.Flow, *configured, error) {
	f, err := b.store.Flow(ctx, id)
	if store.Unusable(err) { // it is nothing that this release could use
		return nil, nil, nil
	}
	if err != nil || f == nil || !f.Offered(b.now()) {
		return nil, nil, err
	}
	p, err := b.provider(ctx, f.Provider)
	if err != nil || p == nil || p.fingerprint != f.Pinned {
		return nil, nil, err
	}
	return f, p, nil
}

// linkPage is the page of a flow's link, with what the person typed before that is no part of a key and does not say
// where one goes.
func (b *backend) linkPage(ctx context.Context, req *logical.Request, f *store.Flow, p *configured, form connectForm,
) (pages.Link, error) {
	config, err := b.config(ctx)
	if err != nil {
		return pages.Link{}, err
	}
	action, err := connectURL(config, req)
	if err != nil {
		return pages.Link{}, nil // public_url was taken away: no page can be made
	}
	definition := p.app.Definition
	page := pages.Link{
		Site: config.DisplayName, Provider: definition.Name, ReturnURL: f.ReturnURL, Until: f.Link.Until,
		Key: byKey(p, f.Kind), StartedBy: f.Created.DisplayName, Purpose: f.Link.Purpose, Connection: f.Key,
		Account: f.Link.Account, Action: action, Value: form.link, Left: store.MaxLinkTries - f.Link.Tries,
	}
	if !page.Key && !f.Kind.Issued() {
		for _, scope := range f.Scopes {
			page.Scopes = append(page.Scopes, pages.Scope{Name: scope, About: definition.Scopes.About[scope]})
		}
	}
	for _, name := range sortedNames(f.Link.Inputs) {
		page.Fixed = append(page.Fixed, pages.Fixed{Name: name, Value: f.Link.Inputs[name]})
	}
	for _, in := range definition.AskedInputs(f.Kind, p.entry.Inputs, f.Link.Inputs) {
		typed := form.inputs[in.Name]
		if page.Key && definition.NamesHost(f.Kind, map[string]string{in.Name: typed}) {
			typed = "" // a page of somebody else's may have sent it, to have the key that is typed then go there
		}
		page.Fields = append(page.Fields, pages.Field{
			Name: formInput + in.Name, Label: spoken(in.Name), Help: helpOf(in.Help, in.Example), Required: in.Required,
			Value: typed, Options: in.Choices(),
		})
	}
	if !page.Key {
		return page, nil
	}
	for _, field := range definition.AskedKey() {
		page.Fields = append(page.Fields, pages.Field{
			Name: formKey + field.Name, Label: spoken(field.Name), Help: helpOf(field.Help, field.Example),
			Secret: field.Secret, Lines: field.Multiline || len(field.JSON) > 0,
			Required: field.Required && field.Default == "",
		})
	}
	return page, nil
}

// spoken is a field's name for people.
func spoken(name string) string { return strings.ReplaceAll(name, "_", " ") }

func helpOf(help, example string) string {
	switch {
	case example == "":
		return help
	case help == "":
		return "For example " + example
	}
	return help + ", for example " + example
}

func sortedNames(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// mistakes are what the person has to mend before anybody is asked, by the labels of the fields. inputs are those of
// the flow with theirs, as they would be kept.
func mistakes(p *configured, f *store.Flow, form connectForm) (inputs map[string]string, wrong []string) {
	definition := p.app.Definition
	check := func(given map[string]string) (map[string]string, error) {
		return definition.CheckInputs(providers.SetByConnection, f.Kind, joined(f.Link.Inputs, given))
	}
	given := map[string]string{}
	var odd []string // by itself, which some are whose fellows make them whole
	for _, in := range definition.AskedInputs(f.Kind, p.entry.Inputs, f.Link.Inputs) {
		value := form.inputs[in.Name]
		_, err := check(map[string]string{in.Name: value})
		switch {
		case value == "" && in.Required, len(value) > maxInput:
			wrong = append(wrong, spoken(in.Name))
		case value == "":
			continue
		case err != nil:
			odd = append(odd, spoken(in.Name))
		}
		given[in.Name] = value
	}
	inputs, err := check(given)
	if err != nil {
		wrong = append(wrong, odd...)
	}
	if byKey(p, f.Kind) {
		for _, name := range definition.MissesKey(form.keys) {
			wrong = append(wrong, spoken(name))
		}
		for _, field := range definition.AskedKey() {
			if isMask(form.keys[field.Name]) { // which stands for the key that is there
				wrong = append(wrong, spoken(field.Name))
			}
		}
		if err == nil {
			_, err = definition.CheckKey(providers.SetByConnection, onlyAsked(p, form.keys))
		}
	}
	if err == nil {
		_, err = definition.MergeInputs(f.Kind, p.entry.Inputs, inputs)
	}
	if err != nil && len(wrong) == 0 {
		wrong = []string{"which fields go together"}
	}
	return inputs, wrong
}

// maxInput is as much as an input may have that somebody writes with a token.
const maxInput = 4 * kB

// onlyAsked are the fields of a key that the form has, without what else was sent.
func onlyAsked(p *configured, keys map[string]string) map[string]string {
	asked := map[string]string{}
	for _, field := range p.app.Definition.AskedKey() {
		if v := keys[field.Name]; v != "" {
			asked[field.Name] = v
		}
	}
	return asked
}

// faultOf is the notice for what went wrong beside the person's own doing.
func faultOf(err error) pages.Notice {
	var status *statusError
	if errors.As(err, &status) && status.status < 500 {
		return pages.Stuck
	}
	return pages.Later
}

const connectHelp = `
A GET with the link shows a page and changes nothing. A POST of the page's form leads to
the service's consent, or checks a key with the service and parks it. There are five
tries, and the first that brings something ends the link. Nothing is connected here: who
made the link finishes it with exchange.

Unknown, used and expired links look the same. Nothing of a key is ever shown again.
`
