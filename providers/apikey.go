package providers

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxKeyField = 64 << 10 // bytes; a service account's JSON file has some 2,400
	maxKey      = 96 << 10 // bytes of all fields, as they are stored
)

// CheckKey checks the key fields that one side sets: by is SetByProvider or SetByConnection, and values is all it has
// set so far, not only what changes. A value that does not look like the service's keys is an error where the shape is
// sure and a warning where it is likely. Neither ever holds a value.
func (d *Definition) CheckKey(by string, values map[string]string) (warnings []string, err error) {
	if stored, err := json.Marshal(values); err != nil || len(stored) > maxKey {
		return nil, fmt.Errorf("the fields of this key take more than %d bytes in all", maxKey)
	}
	for _, name := range sortedKeys(values) {
		f, ok := d.KeyField(name)
		switch {
		case !ok:
			return nil, fmt.Errorf("field %q is not one of %s: allowed here are %s", name, d.ID, d.keyNames(by))
		case f.setBy() != by:
			return nil, fmt.Errorf("field %q is set on the %s: allowed here are %s", name, f.setBy(), d.keyNames(by))
		}
		if err := f.checkText(values[name]); err != nil {
			return nil, err
		}
		if len(f.JSON) > 0 && values[name] != "" {
			if _, err := f.members(values[name]); err != nil {
				return nil, err
			}
		}
		if err := d.checkSigning(name, values[name]); err != nil {
			return nil, fmt.Errorf("field %q %w%s", name, err, f.hint())
		}
		if f.Pattern == "" || values[name] == "" {
			continue
		}
		switch err := matches(f.Pattern, values[name]); {
		case err != nil && f.Shape == "sure":
			return nil, fmt.Errorf("field %q is no key of %s: it %w%s", name, d.Name, err, f.hint())
		case err != nil:
			warnings = append(warnings, fmt.Sprintf("field %q does not look like a key of %s, check "+
				"that it was copied whole%s", name, d.Name, f.hint()))
		}
	}
	if d.Key == nil {
		return warnings, nil
	}
	if err := d.checkSigns(by, values); err != nil {
		return nil, err
	}
	for _, f := range d.Key.Fields {
		if f.Required && f.setBy() == by && values[f.Name] == "" && f.Default == "" {
			return nil, fmt.Errorf("field %q is missing%s", f.Name, f.hint())
		}
	}
	if by == SetByConnection {
		err = d.Key.checkGroups(values)
	}
	return warnings, err
}

// checkSigns refuses a private key with which the assertion cannot be signed.
func (d *Definition) checkSigns(by string, values map[string]string) error {
	a := d.Assertion
	if a == nil {
		return nil
	}
	f := d.fieldOf(a.Key)
	if f.setBy() != by || values[f.Name] == "" {
		return nil
	}
	pem := values[a.Key]
	if f.Name != a.Key {
		pem = d.DeriveKey(values)[a.Key]
	}
	switch err := a.checkKey(pem); {
	case err == nil:
		return nil
	case f.Name == a.Key:
		return fmt.Errorf("field %q %w", f.Name, err)
	default:
		return fmt.Errorf("field %q: its %s %w", f.Name, a.Key, err)
	}
}

// checkGroups refuses a key that has not exactly one of the groups that OneOf lists, whole.
func (k *Key) checkGroups(values map[string]string) error {
	var had, groups []string
	for _, group := range k.OneOf {
		name := strings.Join(group, " and ")
		groups = append(groups, name)
		i := slices.IndexFunc(group, func(field string) bool { return values[field] != "" })
		if i < 0 {
			continue
		}
		had = append(had, name)
		if missing := slices.IndexFunc(group, func(field string) bool { return values[field] == "" }); missing >= 0 {
			return fmt.Errorf("field %q is missing: it goes with %q", group[missing], group[i])
		}
	}
	switch {
	case len(had) == 1 || len(groups) == 0:
		return nil
	case len(had) == 0:
		return fmt.Errorf("the key is missing: write %s", strings.Join(groups, ", or "))
	}
	return fmt.Errorf("a key has only one of these: %s", strings.Join(had, ", or "))
}

// OtherGroups are the fields that a key no longer has once these are written: of the groups of which it has one only,
// those that the write does not touch.
func (d *Definition) OtherGroups(written map[string]string) (gone []string) {
	if d.Key == nil {
		return nil
	}
	touched := false
	for _, group := range d.Key.OneOf {
		if slices.ContainsFunc(group, func(field string) bool { return written[field] != "" }) {
			touched = true
		} else {
			gone = append(gone, group...)
		}
	}
	if !touched {
		return nil
	}
	return gone
}

// DeriveKey returns what follows from a connection's fields of a key: the defaults of those left out, what Derive
// cuts out of all of them, and the members of those that are files. A pattern that does not match yields nothing.
func (d *Definition) DeriveKey(values map[string]string) map[string]string {
	derived := map[string]string{}
	if d.Key == nil {
		return derived
	}
	for _, f := range d.Key.Fields {
		if f.SetBy == SetByProvider {
			continue
		}
		value := values[f.Name]
		if other := d.defaultOf(f, values); value == "" && other != "" {
			value, derived[f.Name] = other, other
		}
		if len(f.JSON) > 0 && value != "" {
			members, _ := f.members(value) // of what is no such file nothing follows
			maps.Copy(derived, members)
		}
		for name, pattern := range f.Derive {
			if re, err := compileWhole(pattern); err == nil {
				if m := re.FindStringSubmatch(value); m != nil {
					derived[name] = m[1]
				}
			}
		}
	}
	return derived
}

// MovesKey reports whether a key tells of another host than the former one that it is called at.
func (d *Definition) MovesKey(former, key map[string]string) bool {
	before, now := d.DeriveKey(former), d.DeriveKey(key)
	templates := append(slices.Collect(maps.Values(d.Endpoints)), d.APIBase)
	return slices.ContainsFunc(d.HostFields(), func(name string) bool {
		return cmp.Or(former[name], before[name]) != cmp.Or(key[name], now[name])
	}) || slices.ContainsFunc(templates, func(t Template) bool {
		return slices.ContainsFunc(hostNames(t), func(name string) bool { return before[name] != now[name] })
	})
}

// defaultOf is what a field holds that is left out.
func (d *Definition) defaultOf(f KeyField, values map[string]string) string {
	if f.DefaultFrom == "" {
		return f.Default
	}
	if value := values[f.DefaultFrom]; value != "" {
		return value
	}
	other, _ := d.KeyField(f.DefaultFrom)
	return other.Default
}

// KeyField returns a field of the definition's key by its name.
func (d *Definition) KeyField(name string) (KeyField, bool) {
	if d.Key == nil {
		return KeyField{}, false
	}
	i := slices.IndexFunc(d.Key.Fields, func(f KeyField) bool { return f.Name == name })
	if i < 0 {
		return KeyField{}, false
	}
	return d.Key.Fields[i], true
}

// IsSecretField reports whether a key field, or a value derived from one, must be masked.
func (d *Definition) IsSecretField(name string) bool {
	if d.Key == nil {
		return false
	}
	return slices.ContainsFunc(d.Key.Fields, func(f KeyField) bool {
		_, derived := f.Derive[name]
		return f.Secret && (f.Name == name || derived) || f.JSON[name].Secret
	})
}

// HandsOut reports whether creds may answer a field of a key, or a value derived from one. A secret leaves only for
// what the application is to do with it: send it as send says, or, where the field is handed_out, sign or log in by
// itself.
func (d *Definition) HandsOut(name string) bool {
	if d.Key == nil {
		return false
	}
	i := slices.IndexFunc(d.Key.Fields, func(f KeyField) bool {
		_, derived := f.Derive[name]
		_, member := f.JSON[name]
		return f.Name == name || derived || member
	})
	if i < 0 {
		return false
	}
	f := d.Key.Fields[i]
	if member, is := f.JSON[name]; is {
		return !member.Secret || f.HandedOut || d.keySend().names(name)
	}
	switch {
	case !f.Secret:
		return true
	case f.SetBy == SetByProvider: // only with all else that is sent, by Present
		return false
	case f.HandedOut:
		return true
	}
	names := []string{f.Name}
	if f.Name == name { // what is cut out of it may be all that is sent
		names = append(names, sortedKeys(f.Derive)...)
	}
	return slices.ContainsFunc(names, func(n string) bool { return d.keySend().names(n) })
}

// heldFields are those that the operator writes to the provider.
func (d *Definition) heldFields() (held []KeyField) {
	if d.Key == nil {
		return nil
	}
	for _, f := range d.Key.Fields {
		if f.SetBy == SetByProvider {
			held = append(held, f)
		}
	}
	return held
}

// always reports whether nothing can be sent without a value of that name.
func (s *Send) always(placeholder string) bool {
	must := &Send{Headers: s.Headers, Query: s.Query, Path: s.Path, User: s.User, Password: s.Password}
	return must.names(placeholder)
}

// names reports whether a placeholder is part of what is sent.
func (s *Send) names(placeholder string) bool {
	if s == nil {
		return false
	}
	templates := []Template{s.Path, s.User, s.Password}
	for _, part := range []map[string]Template{s.Headers, s.Optional, s.Query} {
		for name, value := range part {
			templates = append(templates, Template(name), value)
		}
	}
	return slices.ContainsFunc(templates, func(t Template) bool {
		return slices.Contains(t.Placeholders(), placeholder)
	})
}

// keySend says how the service wants its key; nil when the definition does not say, or has none.
func (d *Definition) keySend() *Send {
	if d.Key != nil && d.Key.Send != nil {
		return d.Key.Send
	}
	return d.Send
}

func (d *Definition) keyNames(by string) string {
	var names []string
	if d.Key != nil {
		for _, f := range d.Key.Fields {
			if f.setBy() == by {
				names = append(names, f.Name)
			}
		}
	}
	return orNone(names)
}

func (f KeyField) setBy() string {
	if f.SetBy == "" {
		return SetByConnection
	}
	return f.SetBy
}

// checkPasted refuses what comes along when a secret is copied from a page, a chat or a shell, and is no part of it.
func (f KeyField) checkPasted(value string) error {
	bare := strings.Trim(value, `"'`+"`“”‘’")
	quoted := value != "" && len(value)-len(bare) >= 2 && !strings.HasPrefix(value, bare)
	password := strings.Contains(f.Name, "password") // which may hold anything
	switch {
	case strings.ContainsFunc(value, unseen):
		return fmt.Errorf("field %q holds a character that cannot be seen: copy it anew, or type it", f.Name)
	case strings.TrimSpace(value) != value:
		return fmt.Errorf("field %q begins or ends with a blank, was it copied with it?", f.Name)
	case quoted && !password:
		return fmt.Errorf("field %q stands in quotation marks: write it without", f.Name)
	case len(value) > 7 && strings.EqualFold(value[:7], "bearer ") && !password:
		return fmt.Errorf("field %q begins with the word Bearer: write what stands behind it", f.Name)
	}
	return nil
}

// unseen are characters of no width, byte order marks, and blanks that are no blank to a service.
func unseen(r rune) bool { return unicode.Is(unicode.Cf, r) || r != ' ' && unicode.Is(unicode.Zs, r) }

// checkText refuses what no header, form or PEM file could carry.
func (f KeyField) checkText(value string) error {
	control := func(r rune) bool {
		return unicode.IsControl(r) && !((f.Multiline || len(f.JSON) > 0) && strings.ContainsRune("\n\r\t", r))
	}
	switch {
	case len(value) > maxKeyField:
		return fmt.Errorf("field %q has more than %d bytes", f.Name, maxKeyField)
	case !utf8.ValidString(value):
		return fmt.Errorf("field %q is not UTF-8 text", f.Name)
	case strings.ContainsFunc(value, control):
		return fmt.Errorf("field %q holds a line break or another control character, was it copied "+
			"with the line's end?", f.Name)
	case f.Secret && !f.Multiline && len(f.JSON) == 0:
		return f.checkPasted(value)
	}
	return nil
}

func (f KeyField) hint() string {
	if f.Help == "" {
		return ""
	}
	return " (" + f.Help + ")"
}
