package terminal

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A key of several lines that is pasted at a question for one: what is behind its first line is not left for
// who reads
// the terminal next, which is the shell, that would show it, run it and keep it in its history.
func TestAttackPastedLinesAreNotLeftToTheShell(t *testing.T) {
	person, tty, err := pty.Open()
	require.NoError(t, err)
	defer person.Close()
	defer tty.Close()
	shown := make(chan []byte, 16)
	go func() {
		for {
			part := make([]byte, 4096)
			n, err := person.Read(part)
			if err != nil {
				return
			}
			shown <- part[:n]
		}
	}()
	question := &Terminal{In: tty, Out: os.Stdout, Err: tty}
	answer := make(chan string, 1)
	go func() {
		line, _ := question.AskSecret(t.Context(), "Key: ")
		answer <- line
	}()
	require.Equal(t, "Key: ", string(<-shown))
	_, err = person.WriteString("-----BEGIN\nsecret-line\nrm -r x\n")
	require.NoError(t, err)
	select {
	case line := <-answer:
		assert.Equal(t, "-----BEGIN", line)
	case <-time.After(time.Minute):
		t.Fatal("no answer")
	}
	left := []unix.PollFd{{Fd: int32(tty.Fd()), Events: unix.POLLIN}}
	_, err = unix.Poll(left, 100)
	require.NoError(t, err)
	assert.Zero(t, left[0].Revents, "there is more to read")
	assert.False(t, bytes.Contains(<-shown, []byte("secret")))
}
