//go:build !linux

package terminal

import "golang.org/x/sys/unix"

// HoldSecrets keeps what this process has in memory out of core dumps. Elsewhere than on Linux that is all there is.
func HoldSecrets() error {
	return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
}
