package files

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Exported is one path with what may be written back.
type Exported struct {
	Path    string
	Fields  map[string]any
	Secrets []string // which the file would hold a reference to, as "client_secret: env:SLACK_CLIENT_SECRET"
}

// Export takes of what the mount answers what may be written back: nothing that is computed, and no secret. path is
// spelled as a path of the mount.
func (s Spec) Export(path string, have map[string]any) Exported {
	e := Exported{Path: path, Fields: map[string]any{}}
	_, name, _ := strings.Cut(path, "/")
	for field, about := range s.Fields {
		value := have[field]
		switch {
		case !about.Written, slices.Contains(moments, field):
		case about.Secret && about.Type == "object", slices.Contains(masked, field):
			var all []string
			for _, key := range slices.Sorted(maps.Keys(mapOf(have, field))) {
				all = append(all, scalar(key)+": "+placeholder(name, key))
			}
			if len(all) > 0 {
				e.Secrets = append(e.Secrets, field+": {"+strings.Join(all, ", ")+"}")
			}
		case about.Secret:
			if have[field+"_set"] == true {
				e.Secrets = append(e.Secrets, field+": "+placeholder(name, field))
			}
		case !about.Read, leftOut(field, about, value):
		case field == "proxy_url" && strings.Contains(fmt.Sprint(value), ":****"):
			e.Secrets = append(e.Secrets, field+": "+placeholder(name, field))
		default:
			if wanted, err := canonical(field, about, value); err == nil {
				e.Fields[field] = wanted
			}
		}
	}
	if e.Fields["definition_yaml"] != nil || e.Fields["definition"] == name {
		delete(e.Fields, "definition")
	}
	e.key(s, name, have)
	slices.Sort(e.Secrets)
	return e
}

// key adds the fields of the definition's, and what a grant was told to reach.
func (e *Exported) key(s Spec, name string, have map[string]any) {
	set, _ := have["key_fields_set"].([]any)
	for field, secret := range s.Own {
		value, told := mapOf(have, "key")[field].(string)
		switch {
		case told && value != "" && !secret && !isMask(value):
			e.Fields[field] = value
		case told && value != "", slices.Contains(set, any(field)):
			e.Secrets = append(e.Secrets, field+": "+placeholder(name, field))
		}
	}
	for _, input := range s.Picked {
		if reached, known := mapOf(have, "connection_config")[input].(string); known && reached != "" {
			inputs := maps.Clone(mapOf(e.Fields, "inputs"))
			inputs[input] = reached
			e.Fields["inputs"] = inputs
		}
	}
}

// leftOut reports whether a value is what is there when nobody writes one.
func leftOut(field string, about Field, value any) bool {
	if about.Default != nil {
		return value == about.Default
	}
	switch value := value.(type) {
	case nil:
		return true
	case string:
		return value == ""
	case bool:
		return !value && field != "loopback_return" && field != "track_use"
	case json.Number:
		return value == "0"
	case []any:
		return len(value) == 0 && field != "added_scopes" // of which none are meant then
	case map[string]any:
		return len(value) == 0
	}
	return false
}

var noVariable = regexp.MustCompile(`[^A-Za-z0-9]+`)

// placeholder is a reference that somebody may fill.
func placeholder(path, field string) string {
	name := strings.ToUpper(strings.Trim(noVariable.ReplaceAllString(path+"_"+field, "_"), "_"))
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		name = "_" + name
	}
	return "env:" + name
}

// Write makes the text of a file: the sections in the order in which they are applied, names sorted, and references to
// secrets as comments.
func Write(config *Exported, providers, connections []Exported) []byte {
	var out bytes.Buffer
	if config != nil {
		out.WriteString("config:")
		config.write(&out, "  ")
	}
	for _, section := range []struct {
		name string
		all  []Exported
	}{{"providers", providers}, {"connections", connections}} {
		if len(section.all) == 0 {
			continue
		}
		out.WriteString(section.name + ":\n")
		for _, one := range section.all {
			_, name, _ := strings.Cut(one.Path, "/")
			out.WriteString("  " + scalar(name) + ":")
			one.write(&out, "    ")
		}
	}
	return out.Bytes()
}

func (e *Exported) write(out *bytes.Buffer, indent string) {
	if len(e.Fields) == 0 {
		out.WriteString(" {}")
	}
	out.WriteString("\n")
	for _, name := range slices.Sorted(maps.Keys(e.Fields)) {
		out.WriteString(indent + scalar(name) + ":")
		if text, is := e.Fields[name].(string); is && isBlock(text) {
			block(out, text, indent+"  ")
			continue
		}
		out.WriteString(" " + flow(e.Fields[name]) + "\n")
	}
	for _, secret := range e.Secrets {
		out.WriteString(indent + "# " + secret + "\n")
	}
}

// flow writes a value on one line.
func flow(value any) string {
	switch value := value.(type) {
	case string:
		return scalar(value)
	case []any:
		var all []string
		for _, one := range value {
			all = append(all, flow(one))
		}
		return "[" + strings.Join(all, ", ") + "]"
	case map[string]any:
		var all []string
		for _, name := range slices.Sorted(maps.Keys(value)) {
			all = append(all, scalar(name)+": "+flow(value[name]))
		}
		return "{" + strings.Join(all, ", ") + "}"
	}
	return fmt.Sprint(value)
}

var (
	simple = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_./-]*( [A-Za-z0-9_./-]+)*$`)
	words  = regexp.MustCompile(`^(?i:true|false|yes|no|on|off|y|n|null|nan|inf)$`)
)

// scalar writes a text so that it is read as that: in quotes where it might be something else.
func scalar(text string) string {
	if simple.MatchString(text) && !words.MatchString(text) {
		return text
	}
	var out strings.Builder
	out.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\t':
			out.WriteString(`\t`)
		case r == '\r':
			out.WriteString(`\r`)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&out, `\x%02x`, r)
		case r < 0x10000 && !unicode.IsPrint(r):
			fmt.Fprintf(&out, `\u%04x`, r)
		case !unicode.IsPrint(r):
			fmt.Fprintf(&out, `\U%08x`, r)
		default:
			out.WriteRune(r)
		}
	}
	out.WriteByte('"')
	return out.String()
}

// isBlock reports whether a text has lines that can stand as they are.
func isBlock(text string) bool {
	if !strings.HasSuffix(text, "\n") || strings.HasSuffix(text, "\n\n") || len(text) < 2 || !utf8.ValidString(text) {
		return false
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		hidden := func(r rune) bool { return !unicode.IsPrint(r) }
		if strings.TrimRight(line, " \t") != line || strings.ContainsFunc(line, hidden) {
			return false
		}
	}
	return !strings.HasPrefix(text, " ") && !strings.HasPrefix(text, "\n")
}

func block(out *bytes.Buffer, text, indent string) {
	out.WriteString(" |\n")
	for line := range strings.Lines(text) {
		if line != "\n" {
			out.WriteString(indent)
		}
		out.WriteString(line)
	}
}
