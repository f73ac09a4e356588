package backend

import (
	"context"
	"net"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// An application that receives the browser for several providers at one redirect URI cannot tell by the URI which of
// them answered. A dishonest one could have the code of an honest one brought to itself (RFC 9700 section 4.4). Three
// things speak against that: both are the same service, both name themselves in their answers (RFC 9207), or the
// operator vouches for the application.

// mixUp is another provider of this mount with which one shares a redirect URI, and nothing speaks against that.
type mixUp struct {
	with string // its name
	uri  string // as the provider in question lists it
}

func (m mixUp) String() string {
	return "redirect_uris: " + clipText(m.uri) + " is on the list of provider " + m.with +
		" too, which answers from elsewhere: a code of one could be brought to the other. Give each its own " +
		"redirect URI, or set on both require_iss=true, if both name their issuer in the answer (RFC 9207), or " +
		"shared_redirect=true, if the application itself keeps apart by state which of them it asked"
}

// mixUps finds them among all other providers. One that cannot be read or whose definition is missing cannot start or
// finish a flow, so it is passed over, or one damaged entry would stop all others; once it is whole again, reading it
// tells.
func (b *backend) mixUps(ctx context.Context, name string, p *store.Provider) ([]mixUp, error) {
	app := b.flowApp(name, p)
	if len(p.RedirectURIs) == 0 || app == nil {
		return nil, nil
	}
	names, err := b.store.Providers(ctx)
	if err != nil {
		return nil, err
	}
	var found []mixUp
	for _, other := range names {
		if other == name {
			continue
		}
		q, err := b.store.Provider(ctx, other)
		switch {
		case store.Unusable(err):
			continue
		case err != nil:
			return nil, err
		case q == nil:
			continue
		}
		theirs := b.flowApp(other, q)
		if theirs == nil || keptApart(p, q) || app.Origins() == theirs.Origins() {
			continue
		}
		for _, uri := range p.RedirectURIs {
			if slices.ContainsFunc(q.RedirectURIs, func(listed string) bool {
				return redirectKey(listed) == redirectKey(uri)
			}) {
				found = append(found, mixUp{other, uri})
				break
			}
		}
	}
	return found, nil
}

// flowApp is the app of a provider whose accounts are connected in a browser; nil for any other.
func (b *backend) flowApp(name string, p *store.Provider) *providers.App {
	definition, err := b.define(name, p)
	if err != nil || !slices.Contains(definition.Kinds, providers.KindAuthorizationCode) && definition.Install == nil {
		return nil
	}
	return p.App(definition)
}

// keptApart reports whether an answer meant for one of two services does no harm at the other.
func keptApart(p, q *store.Provider) bool {
	return p.SharedRedirect && q.SharedRedirect || p.RequireIss && q.RequireIss
}

// redirectKey is equal for redirect URIs at which one application would receive both answers: a loopback redirect
// stands for all ports (RFC 8252 section 7.3), and case and the default port make no other host.
func redirectKey(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return uri
	}
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	host, port := u.Hostname(), u.Port()
	if u.Scheme == "http" && isLoopback(host) || port == map[string]string{"https": "443", "http": "80"}[u.Scheme] {
		u.Host = strings.TrimSuffix(net.JoinHostPort(host, ""), ":")
	}
	if u.Host != "" && u.Path == "" {
		u.Path = "/"
	}
	return u.String()
}

// checkRedirects refuses a provider whose redirect URIs let codes be mixed up. What was stored so before goes on, with
// a warning whenever it is read: who changes another field, or writes back what a read answered, need not mend that
// first.
func (b *backend) checkRedirects(ctx context.Context, name string, stored, p *store.Provider) error {
	changed := stored == nil || !slices.Equal(stored.RedirectURIs, p.RedirectURIs)
	if changed {
		for _, uri := range p.RedirectURIs {
			if !plainRedirect(uri) {
				return badRequest("redirect_uris: write %q in its plain form: no user, no dot at the host's end, no "+
					"needless escapes, dots or empty query", clipText(uri))
			}
		}
	}
	found, err := b.mixUps(ctx, name, p)
	if err != nil || len(found) == 0 {
		return err
	}
	if !changed {
		before, err := b.mixUps(ctx, name, stored)
		if err != nil {
			return err
		}
		found = slices.DeleteFunc(found, func(m mixUp) bool { return slices.Contains(before, m) })
	}
	if len(found) > 0 {
		return conflict("%s", found[0])
	}
	return nil
}

// plainRedirect reports whether a URI is spelled in the one way by which two can be compared.
func plainRedirect(uri string) bool {
	u, err := url.Parse(uri)
	if err != nil || u.User != nil || u.ForceQuery || strings.HasSuffix(u.Hostname(), ".") || u.String() != uri {
		return false
	}
	if u.Host == "" || u.Path == "" {
		return true
	}
	clean := path.Clean(u.Path)
	unescaped := &url.URL{Path: u.Path}
	return (u.Path == clean || u.Path == clean+"/") && u.EscapedPath() == unescaped.EscapedPath() &&
		!strings.HasPrefix(u.Port(), "0")
}

// redirectWarnings says what is stored of that, and what the operator vouches for.
func (b *backend) redirectWarnings(ctx context.Context, name string, p *store.Provider) (warnings []string) {
	if p.SharedRedirect {
		warnings = append(warnings, "shared_redirect=true: other providers may have the same redirect URIs, so the "+
			"application must keep apart by state which provider it asked, and never go by what comes back")
	}
	found, err := b.mixUps(ctx, name, p)
	for _, m := range found {
		warnings = append(warnings, m.String())
	}
	if err != nil {
		warnings = append(warnings, "redirect_uris: storage did not give all other providers to compare with")
	}
	return warnings
}
