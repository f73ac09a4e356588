package acceptance

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// looker is a person in front of a window, who uses the mouse or the keyboard alone.
type looker struct {
	*stack.Window
	t    *testing.T
	keys bool
}

func newLooker(t *testing.T, keys bool) *looker {
	t.Helper()
	browser, err := suite.browser()
	if errors.Is(err, stack.ErrNoChromium) {
		t.Skip(err)
	}
	require.NoError(t, err)
	window, err := browser.Profile()
	require.NoError(t, err)
	t.Cleanup(window.Close)
	return &looker{Window: window, t: t, keys: keys}
}

func (l *looker) opens(address string) {
	l.t.Helper()
	require.NoError(l.t, l.Open(address))
}

func (l *looker) sees(pattern string) string {
	l.t.Helper()
	found, err := l.Sees(pattern)
	require.NoError(l.t, err)
	return found
}

// goes moves to what is named so: by tab keys, or by a click, which presses a button too.
func (l *looker) goes(named string) {
	l.t.Helper()
	if l.keys {
		require.NoError(l.t, l.TabTo(named))
	} else {
		require.NoError(l.t, l.ClickOn(named))
	}
}

// presses a button, or follows a link.
func (l *looker) presses(named string) {
	l.t.Helper()
	l.goes(named)
	if l.keys {
		require.NoError(l.t, l.Press("\r"))
	}
}

// fills a field, in the place of what it held.
func (l *looker) fills(named, text string) {
	l.t.Helper()
	l.goes(named)
	require.NoError(l.t, l.SelectAll())
	require.NoError(l.t, l.Press(text))
}

// chooses in a list, by the first letters.
func (l *looker) chooses(named, option string) {
	l.t.Helper()
	l.goes(named)
	require.NoError(l.t, l.Press(option))
	if !l.keys { // the click opened it
		require.NoError(l.t, l.Press("\r"))
	}
}

// judges the page: nothing for axe-core to find, and nothing to scroll sideways for, on a phone and on a desk, dark and
// light. PICTURES names a folder for how that looks.
func (l *looker) judges(name string) {
	l.t.Helper()
	for _, width := range []int64{320, 1280} {
		for _, dark := range []bool{false, true} {
			pictures := os.Getenv("PICTURES")
			if pictures == "" && dark != (width == 320) { // twice is enough for what the schemes and widths differ in
				continue
			}
			require.NoError(l.t, l.Resize(width, dark))
			found, err := l.Axe(suite.tools)
			require.NoError(l.t, err)
			assert.Empty(l.t, found, "%s, %d px, dark %v", name, width, dark)
			over, err := l.Overflow()
			require.NoError(l.t, err)
			assert.Zero(l.t, over, "%s is wider than %d px", name, width)
			if pictures != "" {
				picture, err := l.Screenshot()
				require.NoError(l.t, err)
				file := fmt.Sprintf("%s-%d-%s.png", name, width, map[bool]string{true: "dark", false: "light"}[dark])
				require.NoError(l.t, os.WriteFile(filepath.Join(pictures, file), picture, 0o600))
			}
		}
	}
	require.NoError(l.t, l.Resize(1280, false))
}

// characters are those to type in the terminal.
func (l *looker) characters() string {
	l.t.Helper()
	found, err := l.SeesAndStays(`(?m)^([2-9A-Z]{4})$`)
	require.NoError(l.t, err)
	return found
}

// consents at the OpenID provider.
func (l *looker) consents(login string) {
	l.t.Helper()
	l.logsIn(login)
	l.allows()
}

// logsIn at the OpenID provider, which takes any password.
func (l *looker) logsIn(login string) {
	l.t.Helper()
	l.sees(`(?i)sign-in`)
	l.fills(`^Enter any login$`, login)
	l.fills(`password`, "any")
	require.NoError(l.t, l.Press("\r"))
}

// allows what is asked for at the provider, where one is logged in.
func (l *looker) allows() {
	l.t.Helper()
	l.sees(`(?i)authorize`)
	l.presses(`^Continue$`)
}

// cancels at the provider, where one is logged in.
func (l *looker) cancels() {
	l.t.Helper()
	l.sees(`(?i)authorize`)
	l.presses(`Cancel`)
}

// The whole life of an account on its pages, by mouse and by keyboard alone.
func TestPageInChromium(t *testing.T) {
	t.Parallel()
	s := newSignIn(t)
	s.newKeyService(t, deskKey)
	for name, keys := range map[string]bool{"mouse": false, "keyboard": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			who := "alice-" + name
			alice := s.logIn(t, who, recipe(t, "policies/own.hcl"))
			l := newLooker(t, keys)
			judges := func(page string) {
				if !keys { // the pages are the same
					l.judges(page)
				}
			}
			at := sit(t, alice.prepared(t, "ui", "--no-browser"))
			address := at.sees(t, `(http://127\.0\.0\.1:\d+/)`)
			l.opens(address)
			characters := l.characters()
			judges("pair")
			if keys {
				require.NoError(t, l.Reload()) // from where it goes on by itself
			}
			at.types(t, strings.ToLower(characters)+"\n")
			at.sees(t, "One browser is let in")
			if !keys {
				l.presses("^Continue, if")
			}
			l.sees("Nothing is connected yet")
			judges("empty")

			l.presses(`^Connect an account$`)
			l.sees("Which service")
			l.fills(`^Which service`, "openid")
			l.presses(`^Search$`)
			l.sees(`search=openid`)
			judges("search")
			l.presses(`^OpenID Connect`)
			l.sees("Your consent")
			l.fills(`^Name of the account`, "work")
			l.fills(`^Provider`, "idp")
			judges("connect")
			l.presses(`^Continue to`)
			l.consents(who)
			l.sees(`account/work\?note=(?s:.*)Connected\.`)
			assert.Equal(t, "active", alice.read(t, "connections/self/work")["status"])
			l.sees("Keep the access when the person is away")
			judges("account")

			l.presses(`^Test$`)
			l.sees("was asked, and it works")
			l.fills(`^Label`, "My work")
			l.presses(`^Save the label`)
			l.sees("The label is changed")
			l.fills(`^Name, in paths`, "job")
			l.presses(`^Change the name`)
			l.sees(`account/job\?(?s:.*)It is named job now`)
			l.chooses(`^Share it with`, "everyone")
			l.presses(`^Share$`)
			l.sees("It is shared")
			assert.Equal(t, "My work", alice.read(t, "connections/self/job")["label"])
			assert.NotEmpty(t, alice.read(t, "connections/self/job")["shared_with"])
			judges("shared")
			l.presses(`^Stop sharing`)
			l.sees("not shared with them any more")

			account := l.sees(`(http://127\.0\.0\.1:\d+/\S+/account/job)`)
			l.presses(`^Connect again$`)
			l.sees("Another account than before is refused")
			judges("reconnect")
			l.presses(`^Continue to`)
			l.cancels()
			l.sees(`Not connected(?s:.*)this consent is over(?s:.*)access_denied`)
			judges("denied")
			l.opens(account)
			l.presses(`^Connect again$`)
			l.sees("Another account than before is refused")
			l.presses(`^Continue to`)
			l.allows()
			l.sees(`account/job\?note=(?s:.*)Connected\.`)

			l.presses(`^Connect an account$`)
			l.sees("Which service")
			l.fills(`^Which service`, "keys")
			l.presses(`^Search$`)
			l.sees(`search=keys`)
			l.presses(`^Keys$`)
			l.sees("By a key")
			l.fills(`^api key`, deskKey)
			judges("key")
			l.presses(`^Check and store$`)
			l.sees("The key is stored")
			assert.Equal(t, "active", alice.read(t, "connections/self/desk")["status"])
			html, err := stack.Evaluate[string](l.Window, `document.documentElement.outerHTML`)
			require.NoError(t, err)
			assert.NotContains(t, html, deskKey)

			l.presses(`^My accounts$`)
			l.sees("My work")
			judges("list")
			l.presses(`^My work$`)
			l.sees("About it")
			l.presses(`^Disconnect$`)
			l.sees("asks the service to revoke its grant")
			judges("disconnect")
			l.presses(`^Disconnect it$`)
			l.sees("Disconnected: job.")
			alice.absent(t, "connections/self/job")

			stranger := newLooker(t, keys)
			stranger.opens(address)
			stranger.sees("A browser is paired already")
			if !keys {
				stranger.judges("refused")
			}
			at.types(t, "\x03")
			assert.Equal(t, 130, at.leaves(t).exit)
		})
	}
}

// Another user of the machine opens the address first, guesses, or reads arguments: they see other characters, and
// never an account.
func TestPageOfAnotherUser(t *testing.T) {
	t.Parallel()
	root := newEngine(t)
	root.newKeyService(t, deskKey)
	alice := root.logIn(t, "alice", recipe(t, "policies/own.hcl"))
	stranger, mine := newLooker(t, false), newLooker(t, false)
	at := sit(t, alice.prepared(t, "ui", "--no-browser"))
	address := at.sees(t, `(http://127\.0\.0\.1:\d+/)`)
	stranger.opens(address)
	theirs := stranger.characters()
	mine.opens(address)
	characters := mine.characters()
	require.NotEqual(t, theirs, characters)
	at.types(t, "\n")
	at.types(t, "0000\n")
	at.sees(t, "No page shows these characters")
	at.sees(t, "2 browsers opened the address")
	at.types(t, characters+"\n")
	mine.presses("^Continue, if")
	mine.sees("Nothing is connected yet")
	stranger.presses("^Continue, if")
	stranger.sees("nothing for this browser here")

	// the whole of what a neighbour can see of it is the address, and that leads nowhere now
	got := get(t, address, nil)
	assert.Equal(t, http.StatusForbidden, got.Status)
	// a page on another port, which even knows where the accounts are, gets no cookie, shows nothing and changes nothing
	inside := mine.sees(`^(http://\S+)`)
	alice.write(t, "connections/self/desk", map[string]any{"provider": "desk", "api_key": deskKey})
	collected := make(chan string, 16)
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		collected <- r.Header.Get("Cookie")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, `<iframe src=%q></iframe><form method="post" action="%saccount/desk/disconnect"></form>
<a href=%q>leads there</a>`, inside, inside, inside)
	}))
	t.Cleanup(evil.Close)
	mine.opens(evil.URL)
	_, err := stack.Evaluate[bool](mine.Window, `(document.forms[0].submit(), true)`)
	require.NoError(t, err)
	mine.sees("sent by a page of another origin")
	assert.Equal(t, "desk", alice.read(t, "connections/self/desk")["name"])
	mine.opens(evil.URL)
	mine.presses("^leads there$")
	mine.sees("nothing for this browser here")
	mine.opens(inside)
	mine.sees("desk")
	for range len(collected) {
		assert.NotContains(t, <-collected, "connectors")
	}

	_, err = root.vault.Client.Logical().WriteWithContext(t.Context(), "auth/token/revoke", map[string]any{
		"token": alice.vault.Token,
	})
	require.NoError(t, err)
	mine.opens(inside)
	mine.sees("vault login")
	left := at.leaves(t)
	assert.Equal(t, 4, left.exit, left.complaint)

	guessed := root.logIn(t, "bob", recipe(t, "policies/own.hcl"))
	at = sit(t, guessed.prepared(t, "ui", "--no-browser"))
	for range 3 {
		at.sees(t, `page shows: $`)
		at.types(t, "AAAA\n")
	}
	left = at.leaves(t)
	assert.Equal(t, 1, left.exit, left.complaint)
	assert.Contains(t, left.complaint, "three times other characters")

	at = sit(t, guessed.prepared(t, "ui", "--no-browser"))
	at.sees(t, `page shows: $`)
	at.types(t, "\x03")
	assert.Equal(t, 130, at.leaves(t).exit)
	assert.Equal(t, 2, guessed.connectors(t, "ui").exit, "no terminal to type at")
}
