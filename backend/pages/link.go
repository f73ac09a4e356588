package pages

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Link is the page on which somebody who was sent a link sees what is asked of them, and does it. What the engine and
// the operator say stands apart from what whoever made the link says.
type Link struct {
	Site     string // whose Vault this is, by the operator; empty: not shown
	Provider string // display name
	Scopes   []Scope
	// where the page leads on to; empty: it shows a code that the person tells who asked
	ReturnURL string
	Until     time.Time // of the link
	Key       bool      // a key is typed; else the page leads to a consent

	StartedBy  string // display name of who made the link
	Purpose    string // in their own words
	Connection string // whose it will be
	Account    string // the only one that will do; empty: any
	Fixed      []Fixed

	Action string // absolute URL that the form goes to, and no other
	Value  string // of the link
	Fields []Field
	Notice Notice
	Wrong  []string // labels of the fields that are not right, with [Mistyped]
	Left   int      // tries that are left, with [Refused] and [Other]
}

// Scope is what an application may do: by its name at the service, and in plain words where there are some.
type Scope struct{ Name, About string }

// Fixed is an input that whoever made the link chose.
type Fixed struct{ Name, Value string }

// Field is what the person types. What they typed before is shown again where it is no part of a key.
type Field struct {
	Name     string // of the form's field
	Label    string
	Help     string
	Secret   bool
	Lines    bool // line breaks belong in it
	Required bool
	Value    string
	Options  []string // the values there are; empty: any
}

// Notice says why the form is shown again.
type Notice int

// The notices.
const (
	None     Notice = iota
	Mistyped        // something is missing, or has not the form that it must have; nobody was asked
	Refused         // the service does not take the key
	Other           // it is another account's than the link is for
	Later           // the service could not be asked
	Stuck           // the link cannot lead anywhere as it is
)

const (
	maxPurpose = 300
	maxHelp    = 300
	maxScopes  = 50 // more than that nobody reads
)

var linkDocument = parse("link")

// linkView is what the template sees.
type linkView struct {
	Link
	Style      style
	ReturnHost string
	More       int // scopes that are not listed
	Until      time.Time
}

// CheckAction reports why a page's form cannot go there, or nil.
func CheckAction(raw string) error {
	_, err := action(raw)
	return err
}

var (
	plainHost = regexp.MustCompile(`^[A-Za-z0-9.:_\[\]-]+$`)
	plainPath = regexp.MustCompile(`^[A-Za-z0-9/._~@:+=%-]*$`)
)

// action is a form's target as a policy can name it: in one, a comma or a semicolon would end the name.
func action(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" &&
		!(u.Scheme == "http" && isLoopback(u.Hostname())) || !plainHost.MatchString(u.Host) {
		return "", errors.New("page: the form's target is neither https nor http to loopback, or has more than a host and " +
			"a path")
	}
	path := strings.NewReplacer(";", "%3B", ",", "%2C", "'", "%27").Replace(u.EscapedPath())
	if !plainPath.MatchString(path) {
		return "", errors.New("page: the path of the form's target has characters that no policy can name")
	}
	return u.Scheme + "://" + u.Host + path, nil
}

// Render returns the page as a complete HTML document.
func (l Link) Render() ([]byte, error) {
	target, err := action(l.Action)
	if err != nil {
		return nil, err
	}
	v := linkView{Link: l, Style: styleFor(target), Until: l.Until.UTC()}
	v.Action = target
	v.Site, v.Provider = clean(l.Site, maxName), clean(l.Provider, maxName)
	v.Connection, v.StartedBy = clean(l.Connection, maxPath), clean(l.StartedBy, maxName)
	v.Purpose, v.Account = clean(l.Purpose, maxPurpose), clean(l.Account, maxPath)
	if v.Provider == "" || v.Connection == "" || l.Value == "" {
		return nil, errors.New("page: provider, connection or link is empty: pass all")
	}
	if l.ReturnURL != "" {
		u, err := returnURL(l.ReturnURL)
		if err != nil {
			return nil, err
		}
		v.ReturnHost = u.Host
	}
	v.Scopes, v.Fixed, v.Fields, v.Wrong = nil, nil, nil, nil
	for i, s := range l.Scopes {
		if i == maxScopes {
			v.More = len(l.Scopes) - i
			break
		}
		v.Scopes = append(v.Scopes, Scope{clean(s.Name, maxPath), clean(s.About, maxHelp)})
	}
	for _, f := range l.Fixed {
		v.Fixed = append(v.Fixed, Fixed{clean(f.Name, maxName), clean(f.Value, maxPath)})
	}
	for _, f := range l.Fields {
		f.Label, f.Help = clean(f.Label, maxName), clean(f.Help, maxHelp)
		if f.Secret {
			f.Value = ""
		}
		v.Fields = append(v.Fields, f)
	}
	for _, label := range l.Wrong {
		v.Wrong = append(v.Wrong, clean(label, maxName))
	}
	var out bytes.Buffer
	if err := linkDocument.Execute(&out, v); err != nil {
		return nil, fmt.Errorf("page: template of a link: %w", err)
	}
	return out.Bytes(), nil
}

// Says is what the notice tells, in words that the template has.
func (l Link) Says(word string) bool {
	return map[Notice]string{
		Mistyped: "mistyped", Refused: "refused", Other: "other", Later: "later", Stuck: "stuck",
	}[l.Notice] == word
}

// styleFor is the style of a page whose form goes to one URL. That must be one that action gave.
func styleFor(target string) style {
	s := pageStyle
	s.Policy = template.HTMLAttr(strings.Replace(string(s.Policy), "form-action 'none'", "form-action "+target, 1))
	return s
}
