package pages

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// noChromium is the only reason for which the browser test is skipped.
const noChromium = "no Chromium on this machine: install the chromium package to run the browser test"

// phoneWidth is the narrowest viewport that WCAG 2.2 (1.4.10, reflow) asks for, in CSS pixels.
const phoneWidth = 320

// measured is what the harness page finds in one frame, in CSS pixels.
type measured struct {
	Heading     string
	ScrollWidth float64
	Sheet       string // computed background of main: set only if the policy admitted the style
	Code        string
	CodeSize    float64
	CodeRight   float64
}

// harness loads each page into a frame as wide as a phone. The pages themselves can run no script, so it is the
// frame's parent that measures. The image delays the load event until the return page has led on.
const harness = `<!doctype html>
%s
<iframe src="/return"></iframe>
<img src="/led-on" alt="">
<pre id="report"></pre>
<script>
onload = () => {
  const report = {};
  for (const frame of document.querySelectorAll("iframe[name]")) {
    const doc = frame.contentDocument, main = doc.querySelector("main"), code = doc.querySelector(".code code");
    report[frame.name] = {
      Heading: doc.querySelector("h1").innerText,
      ScrollWidth: doc.documentElement.scrollWidth,
      Sheet: frame.contentWindow.getComputedStyle(main).backgroundColor,
      Code: code ? code.innerText : "",
      CodeSize: code ? parseFloat(frame.contentWindow.getComputedStyle(code).fontSize) : 0,
      CodeRight: code ? code.getBoundingClientRect().right : 0,
    };
  }
  document.getElementById("report").textContent = JSON.stringify(report);
};
</script>`

func TestInChromium(t *testing.T) {
	chromium := findChromium()
	if chromium == "" {
		t.Skip(noChromium)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()

	ledOn := make(chan struct{})
	var once sync.Once
	var landed *http.Request
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()

	mux.HandleFunc("/landed", func(w http.ResponseWriter, r *http.Request) {
		once.Do(func() { landed = r; close(ledOn) })
	})
	mux.HandleFunc("/led-on", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-ledOn:
		case <-r.Context().Done():
		}
	})
	serve := func(path, page string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", ContentType)
			_, _ = w.Write([]byte(page))
		})
	}
	var frames strings.Builder
	refresh := regexp.MustCompile(`<meta http-equiv="refresh"[^>]*>`)
	for outcome, name := range outcomeNames {
		page := samplePage(outcome)
		page.Provider = strings.Repeat("Unbroken", 9) // the worst names a page may have to fit in
		page.Connection = "user/" + strings.Repeat("x", 128) + "/slack"
		page.ReturnURL = server.URL + "/landed"
		body := render(t, page)
		serve("/still/"+name, refresh.ReplaceAllString(body, "")) // measured, so it must stay
		if outcome == Return {
			serve("/return", body)
		}
		fmt.Fprintf(&frames, `<iframe name=%q src="/still/%s" width="%d" height="700" style="border:0"></iframe>`, name,
			name, phoneWidth)
	}
	serve("/harness", fmt.Sprintf(harness, frames.String()))

	dom := dumpDOM(ctx, t, chromium, server.URL+"/harness")
	match := regexp.MustCompile(`(?s)<pre id="report">(.*?)</pre>`).FindStringSubmatch(dom)
	require.Len(t, match, 2, "no report in what Chromium printed")
	report := map[string]measured{}
	require.NoError(t, json.Unmarshal([]byte(html.UnescapeString(match[1])), &report))

	require.Len(t, report, len(outcomeNames))
	for name, got := range report {
		t.Run(name, func(t *testing.T) {
			assert.NotEmpty(t, got.Heading)
			assert.LessOrEqual(t, got.ScrollWidth, float64(phoneWidth), "wider than a phone")
			assert.Contains(t, []string{"rgb(255, 255, 255)", "rgb(25, 31, 40)"}, got.Sheet, "the style was not applied")
		})
	}
	confirm := report["confirm"]
	assert.Equal(t, "K7QM-4XWT", confirm.Code)
	assert.GreaterOrEqual(t, confirm.CodeSize, 28.0)
	assert.Less(t, confirm.CodeRight, float64(phoneWidth))

	require.NotNil(t, landed)
	assert.Equal(t, testFlowID, landed.URL.Query().Get("flow_id"))
	assert.Equal(t, testCode, landed.URL.Query().Get("confirmation_code"))
	assert.Empty(t, landed.Referer())
}

func findChromium() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// dumpDOM returns the document as it stands after the load event. The sandbox is off because it does not start for
// root, as whom containers run tests; all that is loaded comes from this test.
func dumpDOM(ctx context.Context, t *testing.T, chromium, address string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--disable-dev-shm-usage", "--no-proxy-server", "--user-data-dir="+t.TempDir(), "--dump-dom", address)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = 5 * time.Second // a helper process of the browser may hold the pipes open
	require.NoError(t, cmd.Run(), stderr.String())
	return stdout.String()
}
