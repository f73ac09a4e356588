package providers

import "strings"

// Origins names where a flow of the app goes: the origin of its authorization endpoint and that of its token endpoint,
// as far as they are known before any call. What a connection's input decides stays a placeholder of the definition,
// and what a discovery document tells counts as of the issuer's origin: the issuer alone writes that.
func (a *App) Origins() [2]string {
	token := StepToken
	if own := a.Definition.Token.ByKind[KindAuthorizationCode].Endpoint; own != "" {
		token = own
	}
	return [2]string{a.origin(StepAuthorize), a.origin(token)}
}

func (a *App) origin(step Step) string {
	template := a.endpointTemplate(step)
	if template == "" {
		template = Template(a.issuer())
	}
	parts, err := splitURL(template)
	if err != nil {
		return ""
	}
	origin := Template(parts.scheme + "://" + string(parts.host))
	if parts.base != "" {
		origin = Template("{" + parts.base + "}")
	}
	values, open := a.settled(), ""
	setValue(values, "issuer", a.Issuer)
	for _, name := range origin.Placeholders() {
		if _, known := values[name]; !known { // it means what this definition means by it
			values[name], open = "{"+name+"}", a.Definition.ID+" "
		}
	}
	text, err := origin.Expand(values)
	if err != nil {
		return ""
	}
	scheme, rest, _ := strings.Cut(text, "://")
	host, _, _ := strings.Cut(rest, "/") // a base URL may have a path
	return open + strings.ToLower(scheme+"://"+host)
}

// issuer is the operator's, or the template of the one that the definition names.
func (a *App) issuer() string {
	if a.Issuer == "" && a.Definition.Discovery != nil {
		return string(a.Definition.Discovery.Issuer)
	}
	return a.Issuer
}

// KnowsIssuer reports whether answers to a flow can be held against the issuer that was asked (RFC 9207).
func (a *App) KnowsIssuer() bool { return a.issuer() != "" && a.issuer() != "{issuer}" }
