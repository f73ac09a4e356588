package stack

import "os"

// environment is all that a child sees of ours: enough to run, and neither proxies nor credentials.
func environment(home string, more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + os.TempDir()}, more...)
}
