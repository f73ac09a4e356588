package acceptance

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the programs of this test do is told on stdin: an address is opened, with the status as a line of stdout, and
// "later" has time go on beyond any ttl.
const (
	pythonDriver = `import sys, time, urllib.error, urllib.request
import snippet
late = [0]
clock = time.monotonic
snippet.time.monotonic = lambda: clock() + late[0]
connection = snippet.Connection("self/desk", sys.argv[1])
for line in sys.stdin:
    if line.strip() == "later":
        late[0] += 3600
        continue
    try:
        status = connection.open(urllib.request.Request(line.strip())).status
    except urllib.error.HTTPError as refused:
        status = refused.code
    print(status, flush=True)
`
	nodeDriver = `import { createInterface } from "node:readline";
import { Connection } from "./snippet.js";
let late = 0;
const clock = performance.now.bind(performance);
performance.now = () => clock() + late;
const connection = new Connection("self/desk", process.argv[2]);
for await (const line of createInterface({ input: process.stdin })) {
  if (line === "later") late += 3600e3;
  else console.log((await connection.fetch(line, { headers: { "X-More": "yes" } })).status);
}
`
)

// counted is Vault, and counts what it is asked.
type counted struct {
	*httptest.Server
	mu    sync.Mutex
	asked map[string]int // by verb
}

func newCounted(t *testing.T, e *engine) *counted {
	t.Helper()
	target, err := url.Parse(e.vault.Addr)
	require.NoError(t, err)
	c := &counted{asked: map[string]int{}}
	forward := httputil.NewSingleHostReverseProxy(target)
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		verb, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/"+e.path+"/"), "/")
		c.mu.Lock()
		c.asked[verb]++
		c.mu.Unlock()
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *counted) count(verb string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked[verb]
}

// snippet is the code of a language in the page of the command line.
func snippet(t *testing.T, language string) string {
	t.Helper()
	page, err := os.ReadFile("../../cmd/connectors/README.md")
	require.NoError(t, err)
	found := regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	require.Len(t, found, 1, language)
	assert.LessOrEqual(t, strings.Count(found[0][1], "\n"), 25, "it is to be taken in at a glance")
	return found[0][1]
}

// The page's code for Python and TypeScript, as it stands there: a credential is kept for its ttl, after a 401 there is
// one check, and a redirect does not take it along.
func TestConnectorsInOtherLanguages(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(t *testing.T, folder string) *exec.Cmd{
		"python": func(t *testing.T, folder string) *exec.Cmd {
			if _, err := exec.LookPath("python3"); err != nil {
				t.Skip("no Python on this machine: install the python3 package to run its snippet")
			}
			file(t, folder, "snippet.py", snippet(t, "python"))
			file(t, folder, "driver.py", pythonDriver)
			return exec.CommandContext(t.Context(), "python3", "driver.py")
		},
		"ts": func(t *testing.T, folder string) *exec.Cmd {
			file(t, folder, "package.json", `{"type": "module"}`)
			file(t, folder, "snippet.ts", snippet(t, "ts"))
			file(t, folder, "driver.js", nodeDriver)
			compiler := filepath.Join(suite.tools.ServersDir, "node_modules", "typescript", "bin", "tsc")
			compile := exec.CommandContext(t.Context(), suite.tools.Node, compiler, "--strict", "--target", "es2022",
				"--module", "nodenext", "snippet.ts")
			compile.Dir = folder
			out, err := compile.CombinedOutput()
			require.NoError(t, err, string(out))
			return exec.CommandContext(t.Context(), suite.tools.Node, "driver.js")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := newEngine(t)
			service := root.newKeyService(t, deskKey)
			alice := root.logIn(t, "alice", recipe(t, "policies/own.hcl"))
			alice.write(t, "connections/self/desk", map[string]any{"provider": "desk", "api_key": deskKey})
			vault := newCounted(t, root)
			other := make(chan http.Header, 1)
			elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				other <- r.Header
			}))
			t.Cleanup(elsewhere.Close)

			folder := t.TempDir()
			cmd := prepare(t, folder)
			cmd.Dir, cmd.Stderr = folder, os.Stderr
			cmd.Args = append(cmd.Args, root.path)
			cmd.Env = []string{
				"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "VAULT_ADDR=" + vault.URL,
				"VAULT_TOKEN=" + alice.vault.Token,
			}
			in, err := cmd.StdinPipe()
			require.NoError(t, err)
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			lines := bufio.NewScanner(out)
			opens := func(address string) string {
				t.Helper()
				_, err := io.WriteString(in, address+"\n")
				require.NoError(t, err)
				require.True(t, lines.Scan(), "it ended")
				return lines.Text()
			}
			me := service.URL + "/api/me"
			assert.Equal(t, "200", opens(me))
			assert.Equal(t, "200", opens(me))
			assert.Equal(t, 1, vault.count("creds"), "it is kept")
			assert.Equal(t, "200", opens("later\n"+me))
			assert.Equal(t, 2, vault.count("creds"), "until its ttl ends")

			led := opens(service.URL + "/api/led?to=" + elsewhere.URL)
			assert.Contains(t, []string{"200", "302"}, led)
			if led == "200" { // it went there
				assert.NotContains(t, <-other, "X-Key")
			}
			assert.Empty(t, other)

			service.mu.Lock()
			service.key = "another key"
			service.mu.Unlock()
			assert.Equal(t, "401", opens(me))
			assert.Equal(t, 1, vault.count("check"))
			assert.Equal(t, "failed_validation", alice.read(t, "connections/self/desk")["status"])
			alice.write(t, "connections/self/desk", map[string]any{"provider": "desk", "api_key": "another key"})
			assert.Equal(t, "200", opens(me), "it was read again")
			assert.Equal(t, 3, vault.count("creds"))
			assert.Equal(t, 1, vault.count("check"))
			require.NoError(t, in.Close())
			require.NoError(t, cmd.Wait())
		})
	}
}

func file(t *testing.T, folder, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600))
}
