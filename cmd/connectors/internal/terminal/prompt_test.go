package terminal

import (
	"os"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A secret that is typed shows nowhere, and what is typed next does again.
func TestAskSecret(t *testing.T) {
	screen, tty, err := pty.Open()
	require.NoError(t, err)
	defer screen.Close()
	defer tty.Close()
	terminal := &Terminal{In: tty, Out: tty, Err: tty}
	require.True(t, terminal.Asks())
	echoes := func() bool {
		state, err := unix.IoctlGetTermios(int(tty.Fd()), getTermios)
		require.NoError(t, err)
		return state.Lflag&unix.ECHO != 0
	}
	require.True(t, echoes())
	got := make(chan string, 1)
	go func() {
		typed, err := terminal.AskSecret(t.Context(), "Key: ")
		assert.NoError(t, err)
		got <- typed
	}()
	var shown strings.Builder
	until := func(words string) {
		part := make([]byte, 256)
		for !strings.Contains(shown.String(), words) {
			n, err := screen.Read(part)
			require.NoError(t, err)
			shown.Write(part[:n])
		}
	}
	until("Key: ")
	_, err = screen.WriteString(" planted \n")
	require.NoError(t, err)
	assert.Equal(t, " planted ", <-got)
	until("\n")
	assert.NotContains(t, shown.String(), "planted")
	assert.True(t, echoes())
}

// Who is asked reads and types at a terminal; else nobody is.
func TestAsks(t *testing.T) {
	screen, tty, err := pty.Open()
	require.NoError(t, err)
	defer screen.Close()
	defer tty.Close()
	file, err := os.Create(t.TempDir() + "/x")
	require.NoError(t, err)
	defer file.Close()
	for _, one := range []*Terminal{{In: file, Out: tty, Err: tty}, {In: tty, Out: tty, Err: file}} {
		assert.False(t, one.Asks())
		_, err := one.Ask(t.Context(), "?")
		assert.ErrorIs(t, err, ErrNobody)
		_, err = one.AskSecret(t.Context(), "?")
		assert.ErrorIs(t, err, ErrNobody)
	}
}
