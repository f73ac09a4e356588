package providers

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strings"
)

// checkCallback looks at what the browser brought before the code is spent: who answered (RFC 9207 section 2.4), the
// parameters that must equal what was asked for, and the signature where the service signs.
func (a *App) checkCallback(r ExchangeRequest, values map[string]string) *Error {
	refuse := func(reason string) *Error {
		return &Error{Class: Rejected, Step: StepAuthorize, Reason: reason}
	}
	iss, told := r.Callback["iss"]
	if r.Resolved.Issuer != "" && (told || r.Resolved.IssAlways) && iss != r.Resolved.Issuer {
		return refuse(ReasonIssuerMismatch)
	}
	for name, template := range a.Definition.Callback.Match {
		want, err := template.Expand(values)
		if err != nil || want == "" || r.Callback[name] != want {
			return refuse(ReasonCallbackMismatch)
		}
	}
	switch a.Definition.Callback.Signed {
	case "":
		return nil
	case "hmac_query":
		if hmacQuery(r.Callback, a.ClientSecret) || hmacQuery(r.Callback, a.FormerSecret) {
			return nil
		}
	}
	return refuse(ReasonCallbackSignature) // a signature that the engine does not know is not one it can check
}

// hmacQuery checks the parameter "hmac": HMAC-SHA256, in hexadecimal, over all other parameters, sorted and form-
// encoded, with the client secret as key.
func hmacQuery(callback map[string]string, secret Secret) bool {
	if secret.IsZero() {
		return false
	}
	signed := url.Values{}
	for name, value := range callback {
		if name != "hmac" && name != "signature" {
			signed.Set(name, value)
		}
	}
	given, err := hex.DecodeString(callback["hmac"])
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, []byte(secret.Reveal()))
	mac.Write([]byte(signed.Encode()))
	return hmac.Equal(given, mac.Sum(nil))
}

// CleanCode takes off what a service adds to its codes on the way through the browser.
func (c Callback) CleanCode(code Secret) Secret {
	text := strings.TrimSuffix(code.Reveal(), c.Trim)
	if c.Decode == "url" {
		if plain, err := url.PathUnescape(text); err == nil {
			text = plain
		}
	}
	return NewSecret(text)
}
