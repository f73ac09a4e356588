package egress

import "fmt"

const (
	listIt        = "add the host to egress_allow in config"
	listItIfMeant = "if that is meant, " + listIt
)

// RefusedError tells that the engine itself would not connect: nothing was sent.
type RefusedError struct {
	Host   string // as the URL spells it, in lower case and without port
	Reason string // cause and next step
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("connection to %q refused: %s", e.Host, e.Reason)
}

// Refused tells callers that know nothing of this package why nothing was sent.
func (e *RefusedError) Refused() string { return e.Error() }

func refuse(host, reason string) error { return &RefusedError{Host: host, Reason: reason} }
