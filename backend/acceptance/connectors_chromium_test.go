package acceptance

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// blockedPort is a free one that browsers load nothing from, since mail or chat servers have it (the port blocking of
// the Fetch standard). So the page there does not load, as where the command runs on another machine.
func blockedPort(t *testing.T, ports ...string) string {
	t.Helper()
	for _, port := range ports {
		if l, err := net.Listen("tcp4", "127.0.0.1:"+port); err == nil {
			require.NoError(t, l.Close())
			return port
		}
	}
	t.Fatal("each of these ports is taken on this machine")
	return ""
}

// The command's way through a browser, by mouse and by keyboard alone: the browser comes back by itself, its address is
// pasted where it cannot, the code that the page shows is typed, and a person who cancels hears what became of it.
func TestConnectInChromium(t *testing.T) {
	t.Parallel()
	s, _ := commuter(t)
	for name, blocked := range map[string][]string{
		"mouse": {"6665", "6666", "6667"}, "keyboard": {"6668", "6669", "10080"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			who := "bob-" + name
			bob := s.logIn(t, who, recipe(t, "policies/own.hcl"))
			l := newLooker(t, name == "keyboard")
			active := func(at *seat, path string) {
				t.Helper()
				got := at.leaves(t)
				require.Zero(t, got.exit, got.complaint)
				assert.Equal(t, "active", bob.read(t, "connections/self/"+path)["status"])
			}

			at := sit(t, bob.prepared(t, "connect", "idp", "--as", "back", "--port", freePort(t)))
			l.opens(at.sees(t, authorizeAt))
			l.consents(who)
			l.sees(`/connected\?`)
			active(at, "back")

			at = sit(t, bob.prepared(t, "connect", "idp", "--as", "pasted", "--port", blockedPort(t, blocked...)))
			l.opens(at.sees(t, authorizeAt))
			l.allows()
			l.sees("ERR_UNSAFE_PORT")
			address, err := l.Unreached()
			require.NoError(t, err)
			at.types(t, address+"\n")
			active(at, "pasted")

			at = sit(t, bob.prepared(t, "connect", "idp", "--as", "typed", "--no-browser"))
			l.opens(at.sees(t, authorizeAt))
			l.allows()
			at.types(t, l.sees(`(?m)^([A-Z0-9]{4}-[A-Z0-9]{4})$`)+"\n")
			active(at, "typed")

			at = sit(t, bob.prepared(t, "connect", "idp", "--as", "denied", "--port", freePort(t)))
			l.opens(at.sees(t, authorizeAt))
			l.cancels()
			l.sees(`/connected\?`)
			got := at.leaves(t)
			assert.Equal(t, 5, got.exit, got.complaint)
			assert.Contains(t, got.complaint, "access_denied")
			assert.Equal(t, "denied", bob.read(t, "connections/self/denied")["status_reason"])
		})
	}
}

// The page of a link inside somebody else's: shown where Vault drops the engine's headers, which the README admits, and
// refused by the browser where the mount lets them through. The pages of one's own accounts are refused always.
func TestFramedInChromium(t *testing.T) {
	t.Parallel()
	s, alice := commuter(t)
	made := s.write(t, "connect-link/org/acme/idp", map[string]any{"provider": "idp", "purpose": "a calendar"})
	var inside string
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, `<title>a stranger's</title><iframe src=%q width=600 height=600></iframe>`, inside)
	}))
	t.Cleanup(stranger.Close)
	l := newLooker(t, false)
	framed := func(address string) string {
		t.Helper()
		inside = address
		l.opens(stranger.URL)
		shown, err := l.Framed()
		require.NoError(t, err)
		return shown
	}
	link := made["url"].(string)
	assert.Equal(t, link, framed(link))
	_, err := s.vault.Client.Logical().WriteWithContext(t.Context(), "sys/mounts/"+s.path+"/tune", map[string]any{
		"allowed_response_headers": []string{"Content-Security-Policy", "X-Frame-Options", "Referrer-Policy"},
	})
	require.NoError(t, err)
	assert.Empty(t, framed(link))

	at := sit(t, alice.prepared(t, "ui", "--no-browser"))
	ui := at.sees(t, `(http://127\.0\.0\.1:\d+/)`)
	assert.Empty(t, framed(ui))
	l.opens(ui)
	at.types(t, strings.ToLower(l.characters())+"\n")
	at.sees(t, "One browser is let in")
}
