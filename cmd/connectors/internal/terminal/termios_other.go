//go:build !linux

package terminal

import "golang.org/x/sys/unix"

// The requests that read and set how a terminal behaves.
const (
	getTermios = unix.TIOCGETA
	setTermios = unix.TIOCSETA
	// the same, and what was typed and not read is forgotten
	forgetTermios = unix.TIOCSETAF
)
