package stack_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// accounts is a page on which to choose who one is, one form each.
const accounts = `<form action="/search"><input name="q"></form>
<form method="post" action="/chosen"><input type="hidden" name="account" value="u1"><button><b>admin</b></button></form>
<form method="post" action="/chosen"><input type="hidden" name="account" value="u2"><button><b>alice</b></button></form>
<a href="/help">Help</a> <a href="/denied">[ Cancel ]</a>`

const login = `<form method="POST">
<input type="hidden" name="csrf" value="1"><input name="login"><input name="realm" value="acme"><input type="password" name="pw">
<input type="checkbox" name="remember"><button name="do" value="allow">Allow</button><button name="do" value="deny">Deny</button></form>`

func TestRobot(t *testing.T) {
	mux := http.NewServeMux()
	page := func(pattern, body string) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
	}
	echo := func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		http.Redirect(w, r, landing+"?"+r.PostForm.Encode(), http.StatusSeeOther)
	}
	page("GET /accounts", accounts)
	mux.HandleFunc("POST /chosen", echo)
	page("GET /login", login)
	mux.HandleFunc("POST /login", echo)
	mux.Handle("GET /denied", http.RedirectHandler(landing+"?error=access_denied", http.StatusFound))
	page("GET /form-post", `<form method="post" action="`+landing+`"><input type="hidden" name="code" value="c"></form>`)
	page("GET /dead-end", "<p>Nothing here</p>")
	mux.Handle("GET /loop", http.RedirectHandler("/loop", http.StatusFound))
	mux.HandleFunc("GET /set", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "seen", Value: "yes", Path: "/"})
		http.Redirect(w, r, "/cookie", http.StatusFound)
	})
	mux.HandleFunc("GET /cookie", func(w http.ResponseWriter, r *http.Request) {
		if _, err := r.Cookie("seen"); err == nil {
			http.Redirect(w, r, landing+"?kept", http.StatusFound)
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)

	tests := map[string]struct {
		start string
		user  string
		deny  bool
		want  string // the landing's query
		form  string // the form posted there
		err   string
	}{
		"chooses its account": {start: "/accounts", user: "alice", want: "account=u2"},
		"else the first":      {start: "/accounts", user: "carol", want: "account=u1"},
		"fills a form": {
			start: "/login", user: "alice", want: "csrf=1&do=allow&login=alice&pw=any&realm=acme&remember=on",
		},
		"refuses":                    {start: "/accounts", user: "alice", deny: true, want: "error=access_denied"},
		"is posted to the landing":   {start: "/form-post", form: "code=c"},
		"keeps cookies":              {start: "/set", want: "kept"},
		"says where it got stuck":    {start: "/dead-end", err: "/dead-end answers 200 with nothing to click: Nothing here"},
		"does not go round for ever": {start: "/loop", err: "after 20 clicks"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			robot := stack.NewRobot(tc.user)
			robot.Deny = tc.deny
			req, err := robot.Walk(t.Context(), server.URL+tc.start, landing)
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.want, req.URL.RawQuery)
			assert.Equal(t, tc.form, req.PostForm.Encode())
		})
	}
}
