package files

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Field is what the mount says of a field of a path.
type Field struct {
	Type    string // string, boolean, integer, array or object
	Format  string // duration, map, kvpairs, or empty
	Secret  bool   // it is written and never answered as it is
	Written bool   // a write takes it
	Read    bool   // a read answers it
	Default any    // where that is not the empty value
}

// What the mount's document does not say of fields. A test holds these names to it.
var (
	// masked are maps whose values reads mask, though they need not be secret.
	masked = []string{"authorize_params", "token_params"}
	// long are texts that may stand in a file of their own, as file:PATH.
	long = []string{"definition_yaml", "ca_pem", "client_certificate"}
	// spans are durations that are texts, since an empty one says that somebody else decides.
	spans = []string{"check_interval", "rotate_after"}
	// scopes are lists that may also be written as services do, with blanks.
	scopes = []string{"scopes", "allowed_scopes", "required_scopes", "optional_scopes"}
	// moments are of the hour in which they are said, or are done and not kept.
	moments = []string{"debug_until", "restore_former", "force"}
	// pins are what the secrets of a provider are bound to, and the credentials of its connections.
	pins = []string{"definition_yaml", "client_id", "issuer", "endpoints", "inputs", "ca_pem"}
	// companions are secrets by name.
	companions = "companions"
	// fixed is what cannot be changed once it is there.
	fixed = []string{"definition", "provider"}
)

// canonical puts a value into the form in which the mount takes and answers it, so that equal ones compare equal: a
// text, a bool, an int64 of whole seconds or another number, a list of texts, a map of texts; any map of these for
// others. Errors have no part of the value, which may be secret.
func canonical(name string, f Field, value any) (any, error) {
	switch {
	case f.Type == "boolean":
		switch text, _ := textOf(value); text {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return nil, errors.New("takes true or false")
	case f.Format == "duration", f.Type == "string" && slices.Contains(spans, name):
		text, is := textOf(value)
		if text == "" && is && f.Format == "" {
			return "", nil
		}
		seconds, err := secondsOf(text)
		if err != nil || !is {
			return nil, errors.New("takes a duration in whole seconds, as 90, 15m or 30d")
		}
		return seconds, nil
	case f.Type == "integer":
		text, _ := textOf(value)
		number, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, errors.New("takes a whole number")
		}
		return number, nil
	case f.Type == "array":
		return textsOf(value, slices.Contains(scopes, name))
	case f.Type == "object" && f.Format == "kvpairs":
		members, is := value.(map[string]any)
		if !is {
			return nil, errors.New("takes a map of texts")
		}
		texts := make(map[string]any, len(members))
		for key, member := range members {
			text, is := textOf(member)
			if !is {
				return nil, errors.New("takes a map of texts")
			}
			texts[key] = text
		}
		return texts, nil
	case f.Type == "object":
		members, is := value.(map[string]any)
		if !is {
			return nil, errors.New("takes a map")
		}
		return deep(members), nil
	}
	text, is := textOf(value)
	if !is {
		return nil, errors.New("takes a text")
	}
	return text, nil
}

// textOf is a text, number or bool as text.
func textOf(value any) (text string, is bool) {
	switch value := value.(type) {
	case string:
		return value, true
	case json.Number:
		return value.String(), true
	case bool:
		return strconv.FormatBool(value), true
	}
	return "", false
}

func textsOf(value any, blanks bool) (any, error) {
	var list []any
	switch value := value.(type) {
	case []any:
		list = value
	case string:
		for part := range strings.SplitSeq(value, ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
	default:
		return nil, errors.New("takes a list of texts")
	}
	texts := []any{}
	for _, one := range list {
		text, is := textOf(one)
		if !is {
			return nil, errors.New("takes a list of texts; one with a colon and a blank stands in quotes")
		}
		if !blanks {
			texts = append(texts, strings.TrimSpace(text))
			continue
		}
		for _, part := range strings.Fields(text) {
			texts = append(texts, part)
		}
	}
	return texts, nil
}

// deep makes texts of the numbers and bools in a map.
func deep(value any) any {
	switch value := value.(type) {
	case map[string]any:
		members := make(map[string]any, len(value))
		for name, member := range value {
			members[name] = deep(member)
		}
		return members
	case []any:
		list := make([]any, 0, len(value))
		for _, one := range value {
			list = append(list, deep(one))
		}
		return list
	}
	if text, is := textOf(value); is {
		return text
	}
	return value
}

// secondsOf reads what the mount takes for a duration: seconds, or a number with its unit, days among these.
func secondsOf(text string) (int64, error) {
	text = strings.TrimSpace(text)
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		return seconds, nil
	}
	if days, is := strings.CutSuffix(text, "d"); is {
		count, err := strconv.ParseInt(days, 10, 32)
		return count * 24 * 60 * 60, err
	}
	span, err := time.ParseDuration(text)
	if err == nil && span%time.Second != 0 {
		err = fmt.Errorf("%s has a part of a second", text)
	}
	return int64(span / time.Second), err
}
