package providers

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxKeyFileDepth   = 16 // objects and lists in one another; a service account's file has one
	maxKeyFileMembers = 1000
)

// members reads the members of a key field that is a JSON file. What the definition does not name may be there, but
// nothing twice, since the application's parser need not take the same one. Errors hold nothing of the file.
func (f KeyField) members(file string) (map[string]string, error) {
	r := keyFile{decoder: json.NewDecoder(strings.NewReader(file)), field: f, found: map[string]string{}}
	r.decoder.UseNumber() // none is read, and a large one is no mistake
	if !strings.HasPrefix(strings.TrimLeft(file, " \t\r\n"), "{") {
		return nil, fmt.Errorf("field %q is no JSON file: write what the service gave, whole%s", f.Name, f.hint())
	}
	err := r.value("", 1)
	if err == nil && strings.TrimLeft(file[r.decoder.InputOffset():], " \t\r\n") != "" {
		err = fmt.Errorf("field %q goes on behind the end of the JSON file: write that alone", f.Name)
	}
	if err != nil {
		return nil, err
	}
	for _, name := range sortedKeys(f.JSON) {
		member := f.JSON[name]
		value, there := r.found[name]
		switch {
		case !there && member.Required:
			return nil, fmt.Errorf("field %q lacks the member %q, is it another file?%s", f.Name, name, f.hint())
		case !there:
			continue
		case strings.ContainsFunc(value, member.unfit) || strings.ContainsRune(value, utf8.RuneError):
			return nil, fmt.Errorf("field %q: the member %q holds a control character or what is no text", f.Name, name)
		}
		if member.Pattern == "" {
			continue
		}
		if err := matches(member.Pattern, value); err != nil {
			return nil, fmt.Errorf("field %q is no key of this sort: its member %q %w%s", f.Name, name, err, f.hint())
		}
	}
	return r.found, nil
}

// unfit are characters that no header could carry; a secret may be PEM.
func (m KeyMember) unfit(r rune) bool {
	return unicode.IsControl(r) && !(m.Secret && strings.ContainsRune("\n\r\t", r))
}

// keyFile walks through one file.
type keyFile struct {
	decoder *json.Decoder
	field   KeyField
	found   map[string]string
	seen    int // members, at any depth
}

// value takes the next value. top is the name of the member of the file that it is; empty for anything else.
func (r *keyFile) value(top string, depth int) error {
	token, err := r.decoder.Token()
	if err != nil {
		return r.broken()
	}
	if _, asked := r.field.JSON[top]; asked && top != "" {
		text, isText := token.(string)
		if !isText || text == "" {
			return fmt.Errorf("field %q: the member %q must be a text that is not empty", r.field.Name, top)
		}
		r.found[top] = text
		return nil
	}
	open, nested := token.(json.Delim)
	switch {
	case !nested:
		return nil
	case depth > maxKeyFileDepth:
		return fmt.Errorf("field %q is a JSON file of more than %d levels", r.field.Name, maxKeyFileDepth)
	}
	names := map[string]bool{}
	for r.decoder.More() {
		name := ""
		if open == '{' {
			token, err := r.decoder.Token()
			if err != nil {
				return r.broken()
			}
			name = token.(string) // the decoder takes nothing else there
			if r.seen++; r.seen > maxKeyFileMembers {
				return fmt.Errorf("field %q is a JSON file of more than %d members", r.field.Name, maxKeyFileMembers)
			}
			if names[name] {
				return fmt.Errorf("field %q is a JSON file that has a member twice: write it as the service gave it",
					r.field.Name)
			}
			names[name] = true
			if depth > 1 {
				name = ""
			} else if other := r.respelled(name); other != "" {
				return fmt.Errorf("field %q has the member %q with other capital letters: write it as the service gave it",
					r.field.Name, other)
			}
		}
		if err := r.value(name, depth+1); err != nil {
			return err
		}
	}
	if _, err := r.decoder.Token(); err != nil { // the end of it
		return r.broken()
	}
	return nil
}

// respelled is the member for which a parser takes a name that does not mind capital letters, as many applications'.
func (r *keyFile) respelled(name string) string {
	for _, member := range sortedKeys(r.field.JSON) {
		if name != member && strings.EqualFold(name, member) {
			return member
		}
	}
	return ""
}

// broken tells of a syntax error without what the decoder says, which quotes the file.
func (r *keyFile) broken() error {
	return fmt.Errorf("field %q is no whole JSON file: what comes after %d bytes is not right", r.field.Name,
		r.decoder.InputOffset())
}
