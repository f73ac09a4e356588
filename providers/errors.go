package providers

import "time"

// Class says what a failed call means for the grant that was used in it.
type Class string

// The classes. Only Rejected may cost a person their connection.
const (
	// not sent, or turned away by who knows nothing of the grant, such as a clean 5xx
	Transient     Class = "transient"
	Unknown       Class = "unknown"       // sent, and no usable answer: the grant may have been spent
	RateLimited   Class = "rate_limited"  // too many requests; it concerns the whole provider
	Rejected      Class = "rejected"      // the provider refuses this very grant
	Misconfigured Class = "misconfigured" // the operator's app is refused: client id, secret, redirect URI, scope
	Expired       Class = "expired"       // an API says that the access token is dead
	Forbidden     Class = "forbidden"     // the token is good, and not allowed this
)

// Error is the only error that leaves a call to a provider. It holds nothing that the provider wrote, but a code from
// a list known beforehand, and in Seen the URL that an issuer calls itself.
type Error struct {
	Class      Class
	Step       Step
	Status     int           // of HTTP, or the reply code of SMTP; 0 when there was none
	Code       string        // an error code that RFC 6749 or the definition names, else empty
	Reason     string        // one of the engine's own words, such as "timeout" or "html_answer"
	Seen       string        // with CodeIssuer: what was seen
	RetryAfter time.Duration // with RateLimited, Transient or Unknown: not before; 0 when not told

	// SaysNo tells that the service itself refused a token call, in words that may concern the grant or the app: some
	// say invalid_request for a dead grant, or words of their own. What else happens to the app tells which.
	SaysNo bool

	// OfKey tells that nothing but a connection's own key proved the call, so that a refusal is not the app's.
	OfKey bool

	cause error
}

// CodeNotSent marks a call that the engine itself refused to make: to a host that is not allowed, say. Reason says
// why, and what to do.
const CodeNotSent = "not_sent"

// NotSent reports whether it was the engine that refused the call, so that the provider knows nothing of it.
func (e *Error) NotSent() bool { return e != nil && e.Code == CodeNotSent }

func notSent(step Step, reason string) *Error {
	return &Error{Class: Misconfigured, Step: step, Code: CodeNotSent, Reason: reason}
}

// Error describes the failure in the engine's own words.
func (e *Error) Error() string {
	if e.NotSent() {
		return "nothing was sent: " + e.Reason
	}
	s := string(e.Step) + " call failed: " + e.Why()
	if e.Code != "" && e.Seen == "" {
		s += " (" + e.Code + ")"
	}
	return s
}

// Why is the reason, with what was seen.
func (e *Error) Why() string {
	if e.Seen == "" {
		return e.Reason
	}
	return e.Reason + ": " + e.Seen
}

// Unwrap gives what lay behind, for errors.Is. Never print it: a *url.Error holds the whole URL.
func (e *Error) Unwrap() error { return e.cause }
