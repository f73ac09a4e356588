package pages

import (
	"strings"
	"unicode"
)

// clean makes a name fit to stand among the engine's own words: no control, format or bidi characters, no line breaks,
// single blanks, at most limit runes. Joiners go too, so a few emoji and ligatures fall apart. Escaping is left to
// html/template.
func clean(name string, limit int) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsGraphic(r), r == unicode.ReplacementChar: // the latter: bytes that are no UTF-8
			return -1
		}
		return r
	}, name)
	name = strings.Join(strings.Fields(name), " ")
	if runes := []rune(name); len(runes) > limit {
		name = strings.TrimSpace(string(runes[:limit-1])) + "…"
	}
	return name
}
