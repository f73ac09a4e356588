package commands

import (
	"io"
	"os"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A service decides what its token is made of. A terminal shows what it would obey; a program gets it as it is.
func TestAttackTokenThatATerminalObeys(t *testing.T) {
	const planted = "t\x1b]0;owned\a\u202e\x9b2J"
	c := credential(t, `{"access_token": "x", "provider": "p"}`)
	c.AccessToken = planted
	person, tty, err := pty.Open()
	require.NoError(t, err)
	defer person.Close()
	defer tty.Close()

	a := newApp(t)
	require.NoError(t, a.writeCredential("self/x", c, false, ""))
	got, err := os.ReadFile(a.Out.Name())
	require.NoError(t, err)
	assert.Equal(t, planted+"\n", string(got))

	a.Out = tty
	require.NoError(t, a.writeCredential("self/x", c, false, ""))
	const want = `t\x1b]0;owned\x07\u202e\x9b2J` + "\r\n"
	shown := make([]byte, len(want))
	_, err = io.ReadFull(person, shown)
	require.NoError(t, err)
	assert.Equal(t, want, string(shown))
}
