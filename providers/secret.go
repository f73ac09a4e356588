package providers

import (
	"crypto/subtle"
	"errors"
	"log/slog"
)

// redacted is what every accidental rendering of a [Secret] shows.
const redacted = "[redacted]"

// Secret is a value that must never be printed: a token, a key, a client secret. The value sits behind a pointer, so
// that even a rendering which goes round the methods below (%v of a struct with an unexported field) shows an address
// at most. The zero value is the empty secret. [Secret.Reveal] is the only way to the text; search for it to review
// every place where one leaves.
type Secret struct{ text *string }

// NewSecret wraps s. An empty s gives the zero value.
func NewSecret(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{text: &s}
}

// Reveal returns the text itself.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether there is no text.
func (s Secret) IsZero() bool { return s.text == nil }

// Equal compares in time that does not depend on where the texts differ.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

// Masked shows at most the last four characters, and those only of a text of twenty bytes or more.
func (s Secret) Masked() string {
	text := s.Reveal()
	switch {
	case text == "":
		return ""
	case len(text) < 20:
		return "****"
	}
	tail := text[len(text)-4:]
	for i := range len(tail) {
		if tail[i] < 0x20 || tail[i] > 0x7e { // a cut through a rune, or a PEM block's last line break
			return "****"
		}
	}
	return "****" + tail
}

// String, GoString, MarshalJSON, MarshalText and LogValue redact, so that no logger, formatter or encoder prints a
// secret by accident. Storage has its own encoding and calls Reveal.
func (Secret) String() string               { return redacted }
func (Secret) GoString() string             { return redacted }
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
func (Secret) LogValue() slog.Value         { return slog.StringValue(redacted) }

// UnmarshalJSON refuses: reading a secret back from what MarshalJSON wrote would store the word "[redacted]".
func (*Secret) UnmarshalJSON([]byte) error {
	return errors.New("a secret is not read from JSON by itself: decode a string and call NewSecret")
}
