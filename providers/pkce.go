package providers

import "fmt"

// The words for PKCE (RFC 7636).
const (
	pkceS256 = "s256"
	pkceOff  = "off"
)

func (d *Definition) pkce() string {
	if d.Authorize.PKCE == "" {
		return pkceS256
	}
	return d.Authorize.PKCE
}

// PKCEWord is how flows of the app are begun: s256 or off.
func (a *App) PKCEWord() string {
	if a.PKCE != "" {
		return a.PKCE
	}
	return a.Definition.pkce()
}

// UsesPKCE reports whether flows of the app are begun with a verifier. One that is open ends as it began.
func (a *App) UsesPKCE() bool { return a.PKCEWord() != pkceOff }

// TakePKCE gives what is to be kept of an operator's word for PKCE: nothing where it is the definition's. Only where
// the operator says what the service is can they know better.
func (d *Definition) TakePKCE(word string) (string, error) {
	switch {
	case word == "" || word == d.pkce():
		return "", nil
	case word == pkceOff && d.anyService():
		return word, nil
	case word == pkceOff:
		return "", fmt.Errorf("pkce: %s takes it, so it stays on; it can be switched off with the definitions oauth2 "+
			"and oidc only", d.Name)
	case word == pkceS256:
		return "", fmt.Errorf("pkce: %s does not take it, as its definition says", d.Name)
	}
	return "", fmt.Errorf("pkce must be %s or %s, or empty for the definition's word", pkceS256, pkceOff)
}
