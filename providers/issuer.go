package providers

import (
	"context"
	"fmt"
	"net/url"
	"strings"
)

// CodeIssuer marks a failure that lies in the provider's `issuer`, or in what that publishes: Seen says what was seen.
const CodeIssuer = "wrong_issuer"

func wrongIssuer(class Class, reason, seen string, args ...any) *Error {
	return &Error{Class: class, Step: StepDiscovery, Code: CodeIssuer, Reason: reason, Seen: fmt.Sprintf(seen, args...)}
}

// otherIssuer is the failure of a document that calls its issuer otherwise than asked.
func otherIssuer(asked, answered string) *Error {
	shown, hint := shownURL(answered), ""
	switch {
	case shown == "":
		return wrongIssuer(Misconfigured, ReasonIssuerMismatch, "asked was %q, and what the document has for it is no URL",
			shownURL(asked))
	case strings.TrimRight(asked, "/") == strings.TrimRight(answered, "/"):
		hint = ", which differs in the slash at its end"
	case strings.ContainsAny(shown, "{}"):
		hint = ", which stands for the issuers of many tenants: that of your own has its id there"
	}
	return wrongIssuer(Misconfigured, ReasonIssuerMismatch, "asked was %q, and its document says %q%s", shownURL(asked),
		shown, hint)
}

// maxShown is how much of an issuer is repeated to people.
const maxShown = 200

// shownURL is what may be repeated of a URL that somebody else wrote; empty when it is none.
func shownURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || unfitForURL(s) ||
		strings.ContainsAny(s, "\"'`<>") {
		return ""
	}
	s, _, _ = strings.Cut(s, "#")
	s, _, _ = strings.Cut(s, "?")
	if len(s) > maxShown {
		s = s[:maxShown-3] + "..."
	}
	return s
}

// CheckIssuer reads what the operator's issuer publishes, its keys too, and says what would fail in a flow. The error
// is an [*Error], or a plain one that names the endpoint to correct.
func (c *Client) CheckIssuer(ctx context.Context, app *App) error {
	values := app.values(Resolved{Issuer: app.Issuer, Inputs: app.settled()}, nil)
	if app.Definition.Discovery == nil || app.Issuer == "" || !app.endpointTemplate(StepDiscovery).known(values) {
		return nil // only a connection's inputs say where it stands
	}
	found, err := c.metadataOf(ctx, app, app.Issuer, values)
	if err != nil {
		return err
	}
	if _, failure := app.clientAuth(found); failure != nil {
		return failure
	}
	if found.JWKS == "" {
		return nil
	}
	if _, failure := c.issuerKeys(ctx, Resolved{Issuer: app.Issuer, JWKS: found.JWKS}); failure != nil {
		return failure
	}
	return nil
}

// metadataOf is what an issuer publishes at the app's address for that.
func (c *Client) metadataOf(ctx context.Context, app *App, issuer string, values map[string]string) (*metadata, error) {
	address := ""
	if template := app.endpointTemplate(StepDiscovery); template != "" {
		u, err := ExpandURL(template, values)
		if err != nil {
			return nil, err
		}
		address = u.String()
	}
	return c.discover(ctx, issuer, address)
}
