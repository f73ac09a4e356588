package browser

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A mount that answers something else than an address of a page starts no program of this machine with it: not by
// another scheme, a file, nor what looks like a flag.
func TestAttackAddressesThatAreNoPages(t *testing.T) {
	folder := t.TempDir()
	script, opened := filepath.Join(folder, "browser"), filepath.Join(folder, "opened")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\necho x >'"+opened+"'\n"), 0o700))
	t.Setenv("BROWSER", script)
	for _, address := range []string{
		"file:///etc/passwd", "/etc/passwd", "vscode://x", "--new-window", "-e id", "javascript:alert(1)", "",
		"https:", "https:///x",
		"https:x", "HTTPS\n://x", "data:text/html,x", "smb://x/y", "https://u:p\x00@x",
	} {
		failed := make(chan error, 1)
		Open(address, func(err error) { failed <- err })
		select {
		case err := <-failed:
			assert.Error(t, err)
		case <-time.After(time.Minute):
			t.Errorf("%q was opened", address)
		}
	}
	assert.NoFileExists(t, opened)
}
