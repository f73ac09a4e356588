package providers

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestDecodeXML(t *testing.T) {
	for text, want := range map[string]any{
		`<?xml version="1.0"?><Error xmlns="x"><Code> A </Code><More a="b"/></Error>`: map[string]any{
			"Error": map[string]any{"Code": "A", "More": ""},
		},
		`<r><a>1</a><b>2</b><a><c>3</c></a><a>4</a></r>`: map[string]any{"r": map[string]any{
			"a": []any{"1", map[string]any{"c": "3"}, "4"}, "b": "2",
		}},
		"<r>text &amp; <!-- no --> more</r>": map[string]any{"r": "text &  more"},
		"":                                   nil,
		"text":                               nil,
		"<r>":                                nil,
		"<r></s>":                            nil,
		"<r/><s/>":                           nil,
		"{}":                                 nil,
		`<!DOCTYPE r [<!ENTITY x "y">]><r>&x;</r>`: nil,
		`<r>&x;</r>`: nil,
		strings.Repeat("<r>", 20_000) + strings.Repeat("</r>", 20_000): nil,
	} {
		assert.Equal(t, want, decodeXML([]byte(text)), text[:min(len(text), 60)])
	}
}

// FuzzDecodeXML: whatever a service sends, it is one element or nothing.
func FuzzDecodeXML(f *testing.F) {
	f.Add([]byte(`<?xml version="1.0"?><Error xmlns="x"><Code>A</Code><a>1</a><a>2</a></Error>`))
	f.Add([]byte(`<!DOCTYPE r [<!ENTITY x "y">]><r>&x;</r>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		doc, isMap := decodeXML(body).(map[string]any)
		if isMap && len(doc) != 1 {
			t.Fatalf("%d elements at the top", len(doc))
		}
	})
}
