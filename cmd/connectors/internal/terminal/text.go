package terminal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Clean writes text of others so that it does nothing to a terminal: control characters, and those that turn the
// order of what is read, are spelled out. It stays one line.
func Clean(text string) string {
	return clean(text, func(rune) bool { return false })
}

func clean(text string, keep func(rune) bool) string {
	var out strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&out, `\x%02x`, text[0])
		case harmful(r) && !keep(r):
			if r < 0x100 {
				fmt.Fprintf(&out, `\x%02x`, r)
			} else {
				fmt.Fprintf(&out, `\u%04x`, r)
			}
		default:
			out.WriteRune(r)
		}
		text = text[size:]
	}
	return out.String()
}

// harmful are the characters that a terminal obeys or does not show, or that show others in another order.
func harmful(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' || unseen(r)
}

// unseen are the characters that show nothing, but for those by which scripts and signs are joined.
func unseen(r rune) bool {
	switch r {
	case '\u200c', '\u200d':
		return false
	case '\u115f', '\u1160', '\u3164', '\uffa0':
		return true
	}
	return r >= 0xe0000 && r <= 0xe0fff ||
		unicode.Is(unicode.Cf, r) && !unicode.Is(unicode.Prepended_Concatenation_Mark, r)
}

// Lines makes a writer of text of others that has lines, as the body of an answer has: these it keeps.
func Lines(w io.Writer) io.Writer { return &lines{w: w} }

type lines struct {
	w    io.Writer
	rest []byte // a character that was cut
}

func (l *lines) Write(p []byte) (int, error) {
	text := append(l.rest, p...)
	cut := len(text)
	for back := 1; back < utf8.UTFMax && back <= len(text); back++ {
		if at := len(text) - back; utf8.RuneStart(text[at]) {
			if !utf8.FullRune(text[at:]) {
				cut = at
			}
			break
		}
	}
	l.rest = append([]byte(nil), text[cut:]...)
	kept := clean(string(text[:cut]), func(r rune) bool { return r == '\n' || r == '\t' })
	if _, err := io.WriteString(l.w, kept); err != nil {
		return 0, err
	}
	return len(p), nil
}

// JSON writes one document for programs, which is harmless to a terminal too.
func JSON(w io.Writer, document any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(document); err != nil {
		return err
	}
	var out strings.Builder
	for _, r := range text.String() { // below a blank the encoder did it, and what is left there are its own line ends
		if r > ' ' && harmful(r) {
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&out, `\u%04x`, unit)
			}
		} else {
			out.WriteRune(r)
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}
