package providers

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

const maxXMLDepth = 32 // elements in one another; the answers that are read have four

// decodeXML reads an answer as the members that JSON would have: an element is a member under its own name, without
// its namespace, its text or its members are the value, and several of one name are a list. Attributes, and the text
// beside elements, are left out. It gives nil for what is no XML, and for what defines anything of its own.
func decodeXML(body []byte) any {
	d := xml.NewDecoder(bytes.NewReader(body))
	root := map[string]any{}
	if _, err := xmlElement(d, root, 0); !errors.Is(err, io.EOF) || len(root) != 1 {
		return nil
	}
	return root
}

// xmlElement reads what an element holds: its members into into, and the text between them. At the end of all, outside
// of any, the error is io.EOF.
func xmlElement(d *xml.Decoder, into map[string]any, depth int) (text string, err error) {
	if depth > maxXMLDepth {
		return "", errors.New("too many elements in one another")
	}
	var said strings.Builder
	for {
		token, err := d.Token()
		if err != nil {
			return "", err
		}
		switch token := token.(type) {
		case xml.Directive: // a document type may define entities
			return "", errors.New("a directive")
		case xml.CharData:
			said.Write(token)
		case xml.EndElement:
			return said.String(), nil
		case xml.StartElement:
			members := map[string]any{}
			text, err := xmlElement(d, members, depth+1)
			if err != nil {
				if errors.Is(err, io.EOF) { // inside an element
					err = io.ErrUnexpectedEOF
				}
				return "", err
			}
			var value any = members
			if len(members) == 0 {
				value = strings.TrimSpace(text)
			}
			name := token.Name.Local
			switch before := into[name].(type) {
			case nil:
				into[name] = value
			case []any:
				into[name] = append(before, value)
			default:
				into[name] = []any{before, value}
			}
		}
	}
}
