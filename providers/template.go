package providers

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Template is text with placeholders. {name} stands for a value; in a URL the value is escaped for its place.
// {+name} is for a URL's path only and keeps the slashes of the value (RFC 6570 section 3.2.3). Braces around anything
// but a lower-case name are text, so that JSON and GraphQL can be written down as they are.
//
// A name is an input, a key field or a value derived from one, an entry of connection_config, or one of the reserved
// words: client_id client_secret access_token refresh_token redirect_uri state scopes issuer app_name user_agent
// assertion key_fingerprint token_endpoint client_audience client_key_id certificate_thumbprint.
type Template string

var placeholderPattern = regexp.MustCompile(`\{(\+?)([a-z][a-z0-9_]*)\}`)

func reservedPlaceholders() []string {
	return []string{
		"client_id", "client_secret", "access_token", "refresh_token", "redirect_uri", "state", "scopes", "issuer",
		"app_name", "user_agent", placeholderAssertion, placeholderFingerprint,
		placeholderTokenEndpoint, placeholderAudience, placeholderKeyID, placeholderThumbprint,
	}
}

// Placeholders returns the names in the template, each once, in order.
func (t Template) Placeholders() []string {
	var names []string
	for _, m := range placeholderPattern.FindAllStringSubmatch(string(t), -1) {
		if !slices.Contains(names, m[2]) {
			names = append(names, m[2])
		}
	}
	return names
}

// Expand puts values in as they are. A value may be empty, but not missing: the error then names the placeholder.
func (t Template) Expand(values map[string]string) (string, error) {
	return t.expand(values, func(value string, _ bool) (string, error) { return value, nil })
}

// expand puts in what place makes of each value; plus tells {+name} from {name}.
func (t Template) expand(values map[string]string,
	place func(value string, plus bool) (string, error),
) (string, error) {
	var text strings.Builder
	end := 0
	for _, m := range placeholderPattern.FindAllStringSubmatchIndex(string(t), -1) {
		name := string(t[m[4]:m[5]])
		value, ok := values[name]
		if !ok {
			return "", fmt.Errorf("placeholder {%s} has no value: set the input or key field of that name", name)
		}
		value, err := place(value, m[2] < m[3])
		if err != nil {
			return "", fmt.Errorf("placeholder {%s}: %w", name, err)
		}
		text.WriteString(string(t[end:m[0]]))
		text.WriteString(value)
		end = m[1]
	}
	text.WriteString(string(t[end:]))
	return text.String(), nil
}
