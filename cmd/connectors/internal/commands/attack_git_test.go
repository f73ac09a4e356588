package commands

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Whatever spelling of a host a helper is configured under that stores what it is told: where Git would tell it, this
// command knows so before, and answers nothing. Git itself is the judge.
func TestAttackSpellingsOfAStoringHelper(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	t.Chdir(home)
	told := filepath.Join(home, "told")
	program := filepath.Join(home, "connectors")
	const script = "#!/bin/sh\nfor last; do :; done\ntest \"$last\" != store || echo \"$1\" >>\"$HOME/told\"\n"
	require.NoError(t, os.WriteFile(program, []byte(script), 0o700))
	ours, err := gitHelper(program, "", "self/x")
	require.NoError(t, err)
	// tells says whether Git hands what ours answers for a host to the other helper, with these sections in its file
	tells := func(host string, sections [][2]string) (ours, other bool) {
		t.Helper()
		var file strings.Builder
		for _, s := range sections {
			if s[0] != "" {
				s[0] = ` "` + s[0] + `"`
			}
			fmt.Fprintf(&file, "[credential%s]\n\thelper = \"%s\"\n", s[0], s[1])
		}
		require.NoError(t, os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(file.String()), 0o600))
		require.NoError(t, os.RemoveAll(told))
		approve := exec.CommandContext(t.Context(), "git", "credential", "approve")
		approve.Stdin = strings.NewReader("protocol=https\nhost=" + host + "\npath=acme/app\nusername=me\npassword=p\n\n")
		out, err := approve.CombinedOutput()
		require.NoError(t, err, "%s", out)
		text, _ := os.ReadFile(told)
		return strings.Contains(string(text), "git-credential"), strings.Contains(string(text), "keeps")
	}
	keeps := "!'" + program + "' keeps"
	for _, host := range []string{"h.example.com", "h.example.com:8443"} {
		name, port, _ := strings.Cut(host, ":")
		mine := "https://" + host
		for _, of := range []string{
			"", mine, "https://" + strings.ToUpper(host), "HTTPS://" + host, mine + "/", "https://me@" + host,
			"https://me:x@" + host, "https://*.example.com:" + port, "https://H.*.com:" + port, "https://*", "https://*.*.*",
			mine + "/acme", mine + "/a%63me", mine + "/x@y/../../acme", mine + "?x", mine + "/acme@" + host,
			"https://" + name + ":443", "https://" + name + ":0443", "https://" + name + ":", "https://" + name + ":08443",
			"https://h%2eexample.com" + strings.TrimPrefix(host, name), host, strings.ToUpper(host),
			"//" + host, "https://", "http://" + host,
			"https://other.example.com", mine + ".evil.com", "https://*.other.com",
		} {
			if port != "" && strings.ContainsAny(strings.TrimPrefix(of, mine), "/*@?") {
				continue // as without a port
			}
			for what, sections := range map[string][][2]string{
				"the other": {{mine, ""}, {mine, ours}, {of, keeps}},
				"an empty":  {{mine, ""}, {mine, ours}, {"", keeps}, {of, ""}},
			} {
				asked, leaks := tells(host, sections)
				helpers, err := (gitConfig{}).helpers(t.Context())
				require.NoError(t, err)
				known := gitOthers(helpers, host)
				assert.False(t, asked && leaks && len(known) == 0, "%s: %s as %q: Git hands it on", host, what, of)
				if of == "" || of == mine || of == "https://other.example.com" && what == "the other" {
					assert.Equal(t, asked && leaks, len(known) > 0, "%s: %s as %q", host, what, of)
				}
			}
		}
	}
}
