package backend

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// limit bounds what one field of a request may hold. What callers write ends up in storage, and no entry there may
// be larger than [store.MaxEntry]: together the fields of one leave room for what a provider adds.
type limit struct {
	items int // of a list or a map
	each  int // bytes of a text, or of each one in a list or a map
	total int // bytes of a list or a map as it is stored
	chars characters
}

// characters says what a text may be made of.
type characters int

const (
	anyText      characters = iota
	oneLine                 // no control characters
	forPeople               // nor what moves or hides the text around it
	visible                 // VSCHAR of RFC 6749, appendix A
	visibleOrPEM            // or the lines of a private key
)

const kB = 1 << 10

// fieldLimits are the limits of fields by their name, which means the same on every path; otherFields holds for those
// that are not named. Fields of a key have theirs in [providers.Definition.CheckKey].
var fieldLimits = map[string]limit{
	"label":           {each: 256, chars: forPeople},
	"archived_reason": {each: 256, chars: forPeople},
	"frozen_reason":   {each: 256, chars: forPeople},
	"display_name":    {each: 80, chars: forPeople},
	"purpose":         {each: 256, chars: forPeople},
	"account":         {each: 256, chars: forPeople},
	"frozen_owners":   {items: 100, each: 256, total: 16 * kB, chars: oneLine},
	"tags":            {items: 64, each: 256, total: 24 * kB, chars: forPeople},
	"inputs":          {items: 32, each: 4 * kB, total: 16 * kB, chars: oneLine},
	"scopes":          {items: 500, each: kB, total: 16 * kB, chars: oneLine},
	"required_scopes": {items: 500, each: kB, total: 16 * kB, chars: oneLine},
	"allowed_scopes":  {items: 500, each: kB, total: 16 * kB, chars: oneLine},
	"optional_scopes": {items: 500, each: kB, total: 16 * kB, chars: oneLine},

	"access_token":  {each: 64 * kB, chars: visible}, // as much as a provider's answer may bring
	"refresh_token": {each: 64 * kB, chars: visible},
	"client_secret": {each: 8 * kB, chars: visibleOrPEM},
	"code":          {each: maxCallbackValue, chars: oneLine},
	"token":         {each: 64 * kB}, // as it was found

	"secret": {each: 256, chars: visible},

	"callback":         {items: maxCallbackValues, each: maxCallbackValue, total: maxCallback},
	"companions":       {items: 16, each: 4 * kB, total: 16 * kB, chars: oneLine},
	"endpoints":        {items: 32, each: 2 * kB, total: 16 * kB},
	"authorize_params": {items: 32, each: 2 * kB, total: 8 * kB},
	"token_params":     {items: 32, each: 2 * kB, total: 8 * kB},
	"redirect_uris":    {items: 100, each: 2 * kB, total: 16 * kB},
	"return_urls":      {items: 100, each: 2 * kB, total: 16 * kB},
	"ca_pem":           {each: 16 * kB},

	"client_certificate": {each: 16 * kB},
	"client_key_id":      {each: kB, chars: visible},

	"definition_yaml": {each: 64 * kB}, // as a file of the catalogue

	"egress_allow":   {items: 256, each: 256, total: 16 * kB},
	"endpoint_hosts": {items: 256, each: 256, total: 16 * kB},
}

var otherFields = limit{items: 100, each: 2 * kB, total: 16 * kB}

// cutLineEnds takes the line's end off secrets that were read from a file, as client_secret=@file does: such a secret
// can hold none (RFC 6749, appendix A), and the service's refusal would be put down to the app or to the person.
func cutLineEnds(req *logical.Request) *logical.Request {
	for name, bounds := range fieldLimits {
		v, ok := req.Data[name].(string)
		cut, ended := strings.CutSuffix(v, "\n")
		if cut = strings.TrimSuffix(cut, "\r"); ok && ended && (bounds.chars == visible || bounds.chars == visibleOrPEM) {
			changed := *req
			changed.Data = maps.Clone(req.Data)
			changed.Data[name] = cut
			req = &changed
		}
	}
	return req
}

// checkFields refuses what a field of the request's path may not hold, before any handler sees it. What a browser
// brings is bounded there: whoever sends too much gets a page.
func (b *backend) checkFields(req *logical.Request) error {
	if len(req.Data) == 0 || answersPage(req.Path) {
		return nil
	}
	path := b.Route(req.Path)
	if path == nil {
		return nil
	}
	d := framework.FieldData{Raw: req.Data, Schema: path.Fields}
	for _, name := range slices.Sorted(maps.Keys(req.Data)) {
		if _, declared := path.Fields[name]; !declared {
			continue
		}
		bounds, named := fieldLimits[name]
		if !named {
			bounds = otherFields
		}
		if v, ok := d.GetOk(name); ok {
			if err := bounds.check(name, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// check holds the value of a field against its limits. Errors name the field and the limit, never a value.
func (l limit) check(name string, value any) error {
	size := 0
	switch v := value.(type) {
	case string:
		return l.text(name, v)
	case []string:
		if size = len(v); size == 0 {
			return nil
		}
		for _, text := range v {
			if err := l.text("a value in "+name, text); err != nil {
				return err
			}
		}
	case map[string]string:
		if size = len(v); size == 0 {
			return nil
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if err := l.text("a name in "+name, key); err != nil {
				return err
			}
			if err := l.text(fmt.Sprintf("%q in %s", clipText(key), name), v[key]); err != nil {
				return err
			}
		}
	default: // numbers and the like
		return nil
	}
	if size > l.items {
		return badRequest("%s has %d entries, and may have %d", name, size, l.items)
	}
	if stored, err := json.Marshal(value); err != nil || len(stored) > l.total {
		return badRequest("%s takes more than %d bytes in all", name, l.total)
	}
	return nil
}

func (l limit) text(what, text string) error {
	switch {
	case len(text) > l.each:
		return badRequest("%s is longer than %d bytes", what, l.each)
	case l.chars == anyText:
		return nil
	case l.chars == visibleOrPEM:
		l.chars = visible
		if strings.HasPrefix(text, "-----BEGIN ") {
			text = strings.NewReplacer("\n", "", "\r", "").Replace(text)
		}
		return l.text(what, text)
	case !utf8.ValidString(text):
		return badRequest("%s is not UTF-8 text", what)
	case strings.ContainsFunc(text, unicode.IsControl):
		return badRequest("%s holds a line break or another control character: was it copied with the line's end?",
			what)
	case l.chars == visible && strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r > 0x7e }):
		return badRequest("%s holds a character that none may have (RFC 6749, appendix A): copy it anew", what)
	case l.chars == forPeople && strings.ContainsFunc(text, misleads):
		return badRequest("%s holds a character that breaks lines or changes the direction of text", what)
	}
	return nil
}

// misleads reports whether a character makes people read something else than what is written.
func misleads(r rune) bool {
	return r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r)
}

// clipDisplay bounds a display name, which Vault does not: it is kept with whatever its bearer makes.
func clipDisplay(name string) string {
	const most = 256
	if len(name) <= most {
		return name
	}
	return strings.ToValidUTF8(name[:most], "") + "…"
}
