package files

import (
	"fmt"
	"regexp"
	"strings"
)

// Reference says where a secret is that the file does not hold.
type Reference struct {
	Scheme string // env, file or vault
	Name   string // of the variable, the file or the secret
	Field  string // of vault alone
}

func (r Reference) String() string {
	text := r.Scheme + ":" + r.Name
	if r.Field != "" {
		text += "#" + r.Field
	}
	return text
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// ReadReference takes env:NAME, file:PATH and vault:PATH#FIELD. The error has no part of the text, which may be a
// secret that was written by mistake.
func ReadReference(text string) (Reference, error) {
	scheme, name, _ := strings.Cut(text, ":")
	switch scheme {
	case "env":
		if variable.MatchString(name) {
			return Reference{Scheme: scheme, Name: name}, nil
		}
	case "file":
		if name != "" && !strings.ContainsAny(name, "\n\r\x00") {
			return Reference{Scheme: scheme, Name: name}, nil
		}
	case "vault":
		if path, field, both := strings.Cut(name, "#"); both && path != "" && field != "" {
			return Reference{Scheme: scheme, Name: path, Field: field}, nil
		}
	}
	return Reference{}, fmt.Errorf("a secret does not stand in the file: write env:NAME, file:PATH or vault:PATH#FIELD")
}

// Resolve puts in the place of each reference in fields what find gives for it, in maps too.
func Resolve(fields map[string]any, find func(Reference) (string, error)) (map[string]any, error) {
	resolved := make(map[string]any, len(fields))
	for name, value := range fields {
		switch value := value.(type) {
		case Reference:
			text, err := find(value)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", name, value, err)
			}
			resolved[name] = text
		case map[string]any:
			members, err := Resolve(value, find)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			resolved[name] = members
		default:
			resolved[name] = value
		}
	}
	return resolved, nil
}

// Mask shows of a text what the mount shows of one that may be secret: at most its last four characters.
func Mask(text string) string {
	switch {
	case text == "":
		return ""
	case len(text) < 20:
		return "****"
	}
	tail := text[len(text)-4:]
	for i := range len(tail) {
		if tail[i] < 0x20 || tail[i] > 0x7e {
			return "****"
		}
	}
	return "****" + tail
}

func isMask(text string) bool {
	tail, is := strings.CutPrefix(text, "****")
	return is && len(tail) <= 4
}
