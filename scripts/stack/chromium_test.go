package stack_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

const formPage = `<!doctype html><html lang="en"><title>A form</title><main><h1>A form</h1>
<form action="/said"><p><label for="a">Say</label> <input id="a" name="a"></p><p><button>Send</button></p></form>
</main>`

// The harness sees and does what the browser tests rest on: two windows share no cookie, keys reach a field, a page
// whose policy admits no script is judged, and a bad one is told from a good one.
func TestChromium(t *testing.T) {
	tools := locate(t)
	browser, err := stack.StartChromium(t.Context(), t.TempDir())
	if errors.Is(err, stack.ErrNoChromium) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(browser.Stop)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'")
		switch r.URL.Path {
		case "/form":
			http.SetCookie(w, &http.Cookie{Name: "seen", Value: "yes", Path: "/"})
			_, _ = w.Write([]byte(formPage))
		case "/said":
			said := "<p>you said " + r.FormValue("a")
			if _, err := r.Cookie("seen"); err == nil {
				said += " again"
			}
			_, _ = w.Write([]byte(said))
		case "/bad":
			_, _ = w.Write([]byte(`<!doctype html><meta name="viewport" content="width=device-width"><img src="x"><pre>` +
				strings.Repeat("wide", 99)))
		}
	}))
	t.Cleanup(server.Close)

	one, err := browser.Profile()
	require.NoError(t, err)
	require.NoError(t, one.Open(server.URL+"/form"))
	found, err := one.Axe(tools)
	require.NoError(t, err)
	assert.Empty(t, found)
	require.NoError(t, one.TabTo("^Say$"))
	require.NoError(t, one.Press("hello"))
	require.NoError(t, one.TabTo("^Send$"))
	require.NoError(t, one.Press("\r"))
	said, err := one.Sees(`you said (.*)`)
	require.NoError(t, err)
	assert.Equal(t, "hello again", said)

	other, err := browser.Profile()
	require.NoError(t, err)
	require.NoError(t, other.Open(server.URL+"/said?a=x"))
	said, err = other.Sees(`you said (.*)`)
	require.NoError(t, err)
	assert.Equal(t, "x", said, "cookies of the one are not the other's")

	require.NoError(t, other.Resize(320, true))
	require.NoError(t, other.Open(server.URL+"/bad"))
	found, err = other.Axe(tools)
	require.NoError(t, err)
	assert.NotEmpty(t, found)
	over, err := other.Overflow()
	require.NoError(t, err)
	assert.Positive(t, over)
	dark, err := stack.Evaluate[bool](other, `matchMedia("(prefers-color-scheme: dark)").matches`)
	require.NoError(t, err)
	assert.True(t, dark)
	picture, err := other.Screenshot()
	require.NoError(t, err)
	assert.Equal(t, "\x89PNG", string(picture[:4]))
}
