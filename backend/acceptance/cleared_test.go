package acceptance

import "testing"

// A provider that was pointed elsewhere has lost its secret, and must not pass for a public client's: the next
// person's code would go to the new place.
func TestClearedSecretStartsNoFlow(t *testing.T) {
	s, th := newSignIn(t), newThief(t)
	s.write(t, "providers/idp", map[string]any{"endpoints": map[string]string{"token": th.url}})
	s.refusesWrite(t, 409, "has no client secret", "auth-code-url/account", map[string]any{"provider": "idp"})
}
