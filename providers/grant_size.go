package providers

import "encoding/json"

// maxGrant bounds a grant as a whole, in bytes as it would be stored. Each part of an answer has a limit of its own,
// but there may be many parts.
const maxGrant = 160 << 10

// tooLarge is the error for a grant that nobody could store, or nil. It is the provider's fault, and what the call
// spent is spent.
func (g *Grant) tooLarge(step Step) *Error {
	secrets := map[string]string{"access": g.AccessToken.Reveal(), "refresh": g.RefreshToken.Reveal()}
	for name, value := range g.SecretConfig {
		secrets["config "+name] = value.Reveal()
	}
	for name, value := range g.Key { // which stands in the same entry
		secrets["key "+name] = value.Reveal()
	}
	stored, err := json.Marshal([]any{secrets, g.TokenType, g.Scopes, g.Config, g.Account})
	if err == nil && len(stored) <= maxGrant {
		return nil
	}
	return &Error{Class: Unknown, Step: step, Reason: ReasonGrantTooLarge}
}
