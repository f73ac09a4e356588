package terminal

import "golang.org/x/sys/unix"

// HoldSecrets keeps what this process has in memory and environment from others of the same user, and out of core
// dumps. A program that takes its place is dumpable again.
func HoldSecrets() error {
	return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}
