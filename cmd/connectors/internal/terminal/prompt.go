package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Terminal is where a command reads and writes. Data goes to Out and all else to Err.
type Terminal struct {
	In       *os.File
	Out, Err *os.File
}

// ErrNobody says that a question cannot be asked, since nobody would see or answer it.
var ErrNobody = errors.New("there is no terminal to ask at")

// ErrEnded says that the input ended where an answer was expected. It is an [io.EOF].
var ErrEnded error = ended{}

type ended struct{}

func (ended) Error() string { return "the input ended before there was an answer" }

func (ended) Is(target error) bool { return target == io.EOF }

// Asks reports whether somebody can be asked.
func (t *Terminal) Asks() bool {
	return term.IsTerminal(int(t.In.Fd())) && term.IsTerminal(int(t.Err.Fd()))
}

// Shows reports whether data goes to a terminal.
func (t *Terminal) Shows() bool { return term.IsTerminal(int(t.Out.Fd())) }

// Say tells a person something, beside the data.
func (t *Terminal) Say(format string, values ...any) {
	fmt.Fprintf(t.Err, format+"\n", values...)
}

// Ask reads what a person types, and gives up when ctx ends.
func (t *Terminal) Ask(ctx context.Context, question string) (string, error) {
	if !t.Asks() {
		return "", ErrNobody
	}
	fmt.Fprint(t.Err, question)
	line, err := t.line(ctx)
	if err != nil {
		fmt.Fprintln(t.Err)
	}
	return strings.TrimSpace(line), err
}

// Sure asks whether to do something; anything but a yes is a no.
func (t *Terminal) Sure(ctx context.Context, question string) (bool, error) {
	answer, err := t.Ask(ctx, question+" [y/N] ")
	answer = strings.ToLower(answer)
	return answer == "y" || answer == "yes", err
}

// line waits for a line without taking more, so that nothing is lost to who asks next. A terminal hands out whole
// lines.
func (t *Terminal) line(ctx context.Context) (string, error) {
	woken, wake, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer woken.Close()
	stop := context.AfterFunc(ctx, func() { _ = wake.Close() })
	defer func() {
		if stop() {
			_ = wake.Close()
		}
	}()
	in := int(t.In.Fd())
	waits := []unix.PollFd{{Fd: int32(in), Events: unix.POLLIN}, {Fd: int32(woken.Fd()), Events: unix.POLLIN}}
	var typed []byte
	for {
		if _, err := unix.Poll(waits, -1); err == unix.EINTR {
			continue
		} else if err != nil {
			return "", fmt.Errorf("wait for the terminal: %w", err)
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		part := make([]byte, 4096)
		n, err := unix.Read(in, part)
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
			continue
		case err != nil:
			return "", fmt.Errorf("read from the terminal: %w", err)
		case n == 0 && len(typed) == 0:
			return "", ErrEnded
		}
		typed = append(typed, part[:n]...)
		if n == 0 || typed[len(typed)-1] == '\n' {
			return string(typed), nil
		}
	}
}

// ReadAll reads what a program brings, to its end, and gives up when ctx ends: no end may come.
func ReadAll(ctx context.Context, from io.Reader) ([]byte, error) {
	return Await(ctx, func() ([]byte, error) { return io.ReadAll(from) })
}

// Await gives what a read brings that may last for ever, and gives up when ctx ends.
func Await[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type brought struct {
		value T
		err   error
	}
	done := make(chan brought, 1)
	go func() {
		value, err := read()
		done <- brought{value, err}
	}()
	select {
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	case b := <-done:
		return b.value, b.err
	}
}

// AskSecret reads what a person types without showing it. Nothing shows from before the question on, and all is as it
// was when this returns, however it ends.
func (t *Terminal) AskSecret(ctx context.Context, question string) (string, error) {
	if !t.Asks() {
		return "", ErrNobody
	}
	show, err := hide(int(t.In.Fd()))
	if err != nil {
		return "", fmt.Errorf("read from the terminal: %w", err)
	}
	defer show()
	fmt.Fprint(t.Err, question)
	line, err := t.line(ctx)
	fmt.Fprintln(t.Err)
	return strings.TrimRight(line, "\r\n"), err
}

// hide has a terminal show nothing of what is typed, and hand out whole lines; show puts back what was before. What was
// typed and not read is forgotten then: it is more of a secret that was pasted, and a shell would take it for commands.
func hide(fd int) (show func(), err error) {
	before, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return nil, err
	}
	quiet := *before
	quiet.Lflag &^= unix.ECHO
	quiet.Lflag |= unix.ICANON | unix.ISIG
	quiet.Iflag |= unix.ICRNL
	if err := unix.IoctlSetTermios(fd, setTermios, &quiet); err != nil {
		return nil, err
	}
	return func() { _ = unix.IoctlSetTermios(fd, forgetTermios, before) }, nil
}
