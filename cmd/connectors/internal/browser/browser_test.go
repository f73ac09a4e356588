package browser

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const flow = "a1b2c3"

func get(t *testing.T, address, host string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	require.NoError(t, err)
	if host != "" {
		request.Host = host
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

func TestListener(t *testing.T) {
	l, err := Listen(0)
	require.NoError(t, err)
	defer l.Close()
	assert.Regexp(t, `^http://127\.0\.0\.1:\d+/connected$`, l.URL())
	come := l.Await(flow)

	for name, address := range map[string]string{
		"another flow": l.URL() + "?flow_id=other&confirmation_code=ABCD2345", "nothing": l.URL(),
		"malformed code": l.URL() + "?flow_id=" + flow + "&confirmation_code=%3Cscript%3E",
	} {
		status, body := get(t, address, "")
		assert.Equal(t, http.StatusOK, status, name)
		assert.Equal(t, page, body, "%s: one page for all", name)
	}
	shown, err := http.Get(l.URL())
	require.NoError(t, err)
	shown.Body.Close()
	for name, value := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Cache-Control": "no-store",
		"Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
	} {
		assert.Equal(t, value, shown.Header.Get(name))
	}
	right := "?flow_id=" + flow + "&confirmation_code=ABCD2345"
	for name, c := range map[string][2]string{
		"another path": {strings.TrimSuffix(l.URL(), path) + "/" + right, ""},
		"another host": {l.URL() + right, "evil.example.com"},
		"a name":       {l.URL() + right, strings.Replace(l.host, "127.0.0.1", "localhost", 1)},
	} {
		status, body := get(t, c[0], c[1])
		assert.Equal(t, http.StatusNotFound, status, name)
		assert.Empty(t, body, name)
	}
	post, err := http.Post(l.URL()+right, "text/plain", nil)
	require.NoError(t, err)
	post.Body.Close()
	assert.Equal(t, http.StatusNotFound, post.StatusCode)
	select {
	case brought := <-come:
		t.Fatalf("%+v was taken for the flow", brought)
	default:
	}

	status, body := get(t, l.URL()+right, "")
	assert.Equal(t, http.StatusOK, status)
	assert.NotContains(t, body, "ABCD")
	assert.Equal(t, Return{FlowID: flow, Code: "ABCD2345"}, <-come)
	l.Close()
	_, err = net.DialTimeout("tcp", l.host, time.Second)
	assert.Error(t, err, "it is gone with its flow")
}

func TestListenerOnAPortThatIsTaken(t *testing.T) {
	first, err := Listen(0)
	require.NoError(t, err)
	defer first.Close()
	_, err = Listen(first.socket.Addr().(*net.TCPAddr).Port)
	assert.ErrorContains(t, err, "listen for the browser's return")
}

func TestReadPaste(t *testing.T) {
	right := Return{FlowID: flow, Code: "ABCD2345"}
	for text, want := range map[string]Return{
		"ABCD-2345\n": right, " abcd 2345 ": right, "ABCD2345": right,
		"http://127.0.0.1:999/connected?flow_id=a1b2c3&confirmation_code=ABCD2345": right,
		"http://127.0.0.1:999/connected?flow_id=a1b2c3":                            {FlowID: flow},
	} {
		got, err := ReadPaste(text, flow)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for text, says := range map[string]string{
		"": "eight letters", "ABCD-234": "eight letters", "ABCD-23456": "eight letters", "ABCD-234!": "eight letters",
		"https://vault.example.com/callback?state=x":                            "not the one",
		"http://127.0.0.1:9/connected?flow_id=other&confirmation_code=ABCD2345": "another attempt",
		"http://127.0.0.1:9/connected?flow_id=a1b2c3&confirmation_code=ABCD":    "cut short",
		"http://[::1": "no address",
	} {
		_, err := ReadPaste(text, flow)
		assert.ErrorContains(t, err, says, text)
	}
}

func TestAway(t *testing.T) {
	for name, c := range map[string]struct {
		system string
		env    map[string]string
		files  string
		says   string
	}{
		"a desk":         {"linux", map[string]string{"DISPLAY": ":0"}, "", ""},
		"wayland":        {"linux", map[string]string{"WAYLAND_DISPLAY": "wayland-0"}, "", ""},
		"a Mac":          {"darwin", nil, "", ""},
		"no display":     {"linux", nil, "", "no display"},
		"told":           {"darwin", map[string]string{"CONNECTORS_BROWSER": "none"}, "", "CONNECTORS_BROWSER=none"},
		"over SSH":       {"linux", map[string]string{"DISPLAY": "localhost:10", "SSH_CONNECTION": "x"}, "", "SSH"},
		"a Mac over SSH": {"darwin", map[string]string{"SSH_TTY": "/dev/pts/1"}, "", "SSH"},
		"a container":    {"linux", map[string]string{"DISPLAY": ":0"}, "/.dockerenv", "container"},
		"named, there":   {"linux", map[string]string{"BROWSER": "x"}, "/.dockerenv", ""},
		"named, not to": {
			"linux", map[string]string{"BROWSER": "x", "CONNECTORS_BROWSER": "none"}, "", "CONNECTORS_BROWSER",
		},
		"podman": {"linux", map[string]string{"DISPLAY": ":0"}, "/run/.containerenv", "container"},
		"a pod":  {"linux", map[string]string{"DISPLAY": ":0", "KUBERNETES_SERVICE_HOST": "10.0"}, "", "container"},
	} {
		got := Surroundings{
			System: c.system, Env: func(name string) string { return c.env[name] },
			Exists: func(path string) bool { return path == c.files },
		}.Away()
		if c.says == "" {
			assert.Empty(t, got, name)
		} else {
			assert.Contains(t, got, c.says, name)
		}
	}
}

// BROWSER is started, with the address where it wants it; that it could not be is heard of.
func TestOpen(t *testing.T) {
	folder := t.TempDir()
	script := filepath.Join(folder, "browser")
	out := filepath.Join(folder, "opened")
	text := strings.ReplaceAll("#!/bin/sh\necho \"$@\" >\"OUT.new\" && mv \"OUT.new\" \"OUT\"\n", "OUT", out)
	require.NoError(t, os.WriteFile(script, []byte(text), 0o700))
	for named, want := range map[string]string{
		script + " --new":          "--new https://example.com/x\n",
		script + " --url=%s --new": "--url=https://example.com/x --new\n",
	} {
		t.Setenv("BROWSER", named)
		Open("https://example.com/x", func(err error) { t.Error(err) })
		require.Eventually(t, func() bool {
			got, err := os.ReadFile(out)
			return err == nil && string(got) == want
		}, time.Minute, 5*time.Millisecond)
	}
	t.Setenv("BROWSER", filepath.Join(folder, "absent"))
	failed := make(chan error, 1)
	Open("https://example.com/x", func(err error) { failed <- err })
	assert.ErrorContains(t, <-failed, "BROWSER")
}
