package page

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/pages/style"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

//go:embed templates
var files embed.FS

// css is the engine's style sheet, and what these pages have beside it.
var css = style.CSS + read("templates/ui.css")

func read(name string) string {
	text, err := files.ReadFile(name)
	if err != nil {
		panic(err) // embedded: cannot be missing in a binary that was built
	}
	return string(text)
}

var functions = template.FuncMap{
	"text": shown, "day": day, "when": when, "tile": tile, "join": strings.Join, "sentence": sentence,
	"sheet": func() template.CSS { return template.CSS(css) },
}

// documents are whole pages: the layout around the blocks of one file.
var documents = func() map[string]*template.Template {
	all := map[string]*template.Template{}
	names, err := files.ReadDir("templates")
	if err != nil {
		panic(err)
	}
	for _, entry := range names {
		name, page := strings.CutSuffix(entry.Name(), ".html")
		if !page || name == "layout" {
			continue
		}
		all[name] = template.Must(template.New("layout.html").Funcs(functions).Option("missingkey=error").
			ParseFS(files, "templates/layout.html", "templates/"+entry.Name()))
	}
	return all
}()

// view is what a page is made of. Which parts are set is the page's affair.
type view struct {
	Title string
	Home  string // the path of the list; empty outside of it
	Note  *note
	Wide  bool

	Message string
	Detail  string // what the mount answered
	Code    string // characters to type
	To      string // where the page leads on to
	ToHost  string
	At      any // what the page is about
}

// note is what came of an action, with the command that does the same.
type note struct {
	ID, Text, Command string
	Bad               bool
}

// show answers a page.
func (s *Server) show(w http.ResponseWriter, status int, name string, v view) {
	var out bytes.Buffer
	if err := documents[name].Execute(&out, v); err != nil {
		http.Error(w, "this page cannot be shown: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes())
}

// refuse answers who is not let in, and tells nothing of what is inside.
func (s *Server) refuse(w http.ResponseWriter, status int, why string) {
	s.show(w, status, "message", view{Title: "Not here", Message: why})
}

const maxShown = 300 // runes of a text of others

// shown is text of others as it may stand on a page: one line, with nothing that hides or turns what is read.
func shown(text string) string {
	text = terminal.Clean(strings.TrimSpace(text))
	if utf8.RuneCountInString(text) > maxShown {
		text = string([]rune(text)[:maxShown]) + "…"
	}
	return text
}

func day(rfc3339 string) string {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, rfc3339); err == nil {
			return at.Format("2 January 2006")
		}
	}
	return shown(rfc3339)
}

func when(rfc3339 string) string {
	at, err := time.Parse(time.RFC3339, rfc3339)
	if err != nil {
		return shown(rfc3339)
	}
	return at.UTC().Format("2 January 2006, 15:04") + " UTC"
}

// tile is the letter that stands for a service.
func tile(name string) string {
	for _, r := range name {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return string(unicode.ToUpper(r))
		}
	}
	return "?"
}

// capital begins a sentence as sentences begin, unless it begins with a name or a path.
func capital(text string) string {
	word, _, _ := strings.Cut(text, " ")
	if strings.Trim(word, "abcdefghijklmnopqrstuvwxyz,:;'") != "" {
		return text
	}
	return strings.ToUpper(text[:min(1, len(text))]) + text[min(1, len(text)):]
}

// sentence ends a text with a full stop.
func sentence(text string) string {
	if text == "" || strings.ContainsAny(text[len(text)-1:], ".!?") {
		return text
	}
	return text + "."
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./@%+=:,-]+$`)

// Quote gives a word as a shell takes it.
func Quote(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// line is a command of the command line.
func (s *Server) line(words ...string) string {
	all := []string{s.Command}
	for _, word := range words {
		all = append(all, Quote(word))
	}
	return strings.Join(all, " ")
}
