package pages

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"

	sheet "github.com/vault-connectors/vault-plugin-secrets-connectors/backend/pages/style"
)

//go:embed templates
var files embed.FS

// documents holds one complete document per outcome: layout.html around the outcome's own blocks.
var documents = map[Outcome]*template.Template{
	Neutral: parse("neutral"),
	Confirm: parse("confirm"),
	Return:  parse("return"),
	Done:    parse("done"),
	Denied:  parse("denied"),
	Back:    parse("denied_back"),
	Gone:    parse("gone"),
	Leave:   parse("leave"),
	Tell:    parse("tell"),
}

func parse(name string) *template.Template {
	return template.Must(template.New("layout.html").Option("missingkey=error").
		ParseFS(files, "templates/layout.html", "templates/"+name+".html"))
}

// style is the one style sheet, and the policy that admits it and nothing else.
type style struct {
	CSS    template.CSS
	Policy template.HTMLAttr
}

var pageStyle = newStyle()

// newStyle puts the policy into the page, since Vault drops those headers of a plugin that the mount does not let pass.
// A policy given this way cannot forbid framing; that takes a header, by the mount or by the listener.
func newStyle() style {
	sum := sha256.Sum256([]byte(sheet.CSS))
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'"
	return style{CSS: template.CSS(sheet.CSS), Policy: template.HTMLAttr(`content="` + policy + `"`)}
}
