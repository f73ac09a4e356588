package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// ErrNoChromium is the only reason for which browser tests are skipped.
var ErrNoChromium = errors.New("no Chromium on this machine: install the chromium package to run the browser test")

// Chromium is a browser in a process of its own, which dies with the context that it was started in.
type Chromium struct {
	ctx context.Context
	end func()
}

// StartChromium starts the machine's Chromium, with its files below folder and without any proxy. The sandbox is off
// because it does not start for root, as whom containers run tests; all that is loaded comes from the tests.
func StartChromium(ctx context.Context, folder string) (*Chromium, error) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		return nil, ErrNoChromium
	}
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.UserDataDir(folder), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.NoFirstRun,
	}
	for _, flag := range []string{
		"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync",
		"disable-dev-shm-usage", "no-proxy-server",
	} {
		options = append(options, chromedp.Flag(flag, true))
	}
	allocated, stop := chromedp.NewExecAllocator(ctx, options...)
	browser, end := chromedp.NewContext(allocated)
	c := &Chromium{ctx: browser, end: func() { end(); stop() }}
	if err := chromedp.Do(browser); err != nil {
		c.end()
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return c, nil
}

// Stop ends the browser, and returns when it has.
func (c *Chromium) Stop() { c.end() }

// Profile opens a window that shares no cookie with any other, as another person's browser would.
func (c *Chromium) Profile() (*Window, error) {
	ctx, end := chromedp.NewContext(c.ctx, chromedp.WithNewBrowserContext())
	if err := chromedp.Do(ctx); err != nil { // the window lives as long as the context of its first step
		end()
		return nil, fmt.Errorf("open a window: %w", err)
	}
	w := &Window{ctx: ctx, end: end}
	return w, w.Resize(1280, false)
}

// Window is a page that somebody looks at. Each call gives up after a minute.
type Window struct {
	ctx context.Context
	end func()
}

const windowPatience = time.Minute

// Close closes it, and forgets its cookies.
func (w *Window) Close() { w.end() }

func (w *Window) do(steps ...chromedp.Action[chromedp.Void]) error {
	ctx, cancel := context.WithTimeout(w.ctx, windowPatience)
	defer cancel()
	return chromedp.Do(ctx, steps...)
}

// Resize makes it so many CSS pixels wide, on a machine that prefers dark or light.
func (w *Window) Resize(width int64, dark bool) error {
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	prefer := emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	}
	return w.do(chromedp.EmulateViewport(width, 900), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, prefer)
		return err
	}))
}

// Open goes to an address, as if it was typed.
func (w *Window) Open(address string) error { return w.do(chromedp.Navigate(address)) }

// Reload loads the page again. One that leads on by itself may be left for the next before it is whole.
func (w *Window) Reload() error {
	err := w.do(chromedp.Reload())
	failed := new(chromedp.LoadError)
	if errors.As(err, &failed) && failed.ErrorText == "net::ERR_ABORTED" {
		return nil
	}
	return err
}

// Press presses keys, which go to what has the focus.
func (w *Window) Press(keys string) error { return w.do(chromedp.KeyEvent(keys)) }

// naming is how people call what they click or type into: by its label, else by its own words.
const naming = `const named = e => (e.labels && e.labels.length ? e.labels[0].innerText :
	e.getAttribute("aria-label") || e.innerText || e.placeholder || e.value || "").trim();`

const focus = `(() => { ` + naming + `
	const at = document.activeElement;
	return !at || at === document.body ? "" : named(at);
})()`

// ClickOn clicks, by the mouse, the first link, button or field that is named so.
func (w *Window) ClickOn(name string) error {
	text, err := json.Marshal(name)
	if err != nil {
		return err
	}
	at, err := Evaluate[[]float64](w, `(() => { `+naming+`
		const looks = new RegExp(`+string(text)+`);
		for (const e of document.querySelectorAll("a, button, input, select, textarea, summary")) {
			if (!looks.test(named(e))) continue;
			e.scrollIntoView({block: "center", behavior: "instant"});
			const r = e.getBoundingClientRect();
			return [r.x + r.width / 2, r.y + r.height / 2];
		}
		return [];
	})()`)
	if err != nil {
		return err
	}
	if len(at) != 2 {
		return fmt.Errorf("nothing to click on is named %q", name)
	}
	return w.do(chromedp.MouseClickXY(at[0], at[1]))
}

// SelectAll marks what the field with the focus holds, so that the next key replaces it.
func (w *Window) SelectAll() error {
	return w.do(chromedp.KeyEvent("a", chromedp.KeyModifiers(chromedp.ModifierCtrl)))
}

// TabTo presses the tab key until what has the focus is named so, and fails if nothing on the page is.
func (w *Window) TabTo(named string) error {
	looks, err := regexp.Compile(named)
	if err != nil {
		return err
	}
	var passed []string
	for range 80 {
		if err := w.Press("\t"); err != nil {
			return err
		}
		at, err := Evaluate[string](w, focus)
		if err != nil {
			return err
		}
		if looks.MatchString(at) {
			return nil
		}
		passed = append(passed, at)
	}
	return fmt.Errorf("the tab key does not reach %q, only %q", named, passed)
}

// Evaluate runs a script in the page, whatever the page's own policy says of scripts.
func Evaluate[T any](w *Window, script string) (T, error) {
	return evaluate[T](w, script, windowPatience)
}

func evaluate[T any](w *Window, script string, patience time.Duration) (T, error) {
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
}

// Sees waits until address, title or text of the page match, and gives the first group. A page that leads on is
// followed meanwhile.
func (w *Window) Sees(pattern string) (string, error) { return w.sees(pattern, false) }

// SeesAndStays is Sees of a page that leads on, of which this one is kept. While a page is being left the browser
// answers no question, so its way on is stopped until there is an answer.
func (w *Window) SeesAndStays(pattern string) (string, error) {
	found, err := w.sees(pattern, true)
	if err == nil {
		err = w.stay()
	}
	return found, err
}

func (w *Window) sees(pattern string, stays bool) (string, error) {
	looks, err := regexp.Compile(pattern)
	if err != nil {
		return "", err
	}
	const all = `document.readyState !== "complete" ? "" :
		[location.href, document.title, document.body.innerText].join("\n")`
	deadline := time.NewTimer(windowPatience)
	defer deadline.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	last := ""
	for {
		text, err := evaluate[string](w, all, time.Second)
		if err == nil { // else one page is just being left for the next
			last = text
		}
		if found := looks.FindStringSubmatch(text); found != nil {
			return found[len(found)-1], nil
		}
		if stays && errors.Is(err, context.DeadlineExceeded) {
			if err := w.stay(); err != nil {
				return "", err
			}
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return "", fmt.Errorf("the page does not show %q but:\n%s", pattern, last)
		case <-w.ctx.Done():
			return "", w.ctx.Err()
		}
	}
}

// stay stops what the page loads or leads on to, as the browser's own button does.
func (w *Window) stay() error {
	return w.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, page.StopLoading, cdp.Empty{})
		return err
	}))
}

// Framed is the address that the page's first frame shows; empty: none, since the browser refuses to show it there. The
// frame has to be of the same site as the page: another's is in a process of its own.
func (w *Window) Framed() (string, error) {
	tree, err := w.frames()
	if err != nil || len(tree.ChildFrames) == 0 || tree.ChildFrames[0].Frame.UnreachableURL != "" {
		return "", err
	}
	return tree.ChildFrames[0].Frame.URL, nil
}

// Unreached is the address of a page that did not load, as the window's bar shows it.
func (w *Window) Unreached() (string, error) {
	tree, err := w.frames()
	if err != nil {
		return "", err
	}
	return tree.Frame.UnreachableURL, nil
}

func (w *Window) frames() (page.FrameTree, error) {
	var tree page.GetFrameTreeResult
	err := w.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) (err error) {
		tree, err = cdp.Call(ctx, t, page.GetFrameTree, cdp.Empty{})
		return err
	}))
	if err != nil {
		return page.FrameTree{}, fmt.Errorf("ask for the page's frames: %w", err)
	}
	return *tree.FrameTree, nil
}

// Screenshot is the whole page, as PNG.
func (w *Window) Screenshot() ([]byte, error) {
	ctx, cancel := context.WithTimeout(w.ctx, windowPatience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.FullScreenshot(100))
}

// Overflow is by how many CSS pixels the page is wider than the window, so that one has to scroll sideways.
func (w *Window) Overflow() (int, error) {
	return Evaluate[int](w, `document.documentElement.scrollWidth - document.documentElement.clientWidth`)
}

// Axe is what axe-core, the one of scripts/servers, finds wrong with the page for people who see or move otherwise.
func (w *Window) Axe(tools Tools) ([]string, error) {
	source, err := os.ReadFile(filepath.Join(tools.ServersDir, "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		return nil, err
	}
	if err := w.do(chromedp.Evaluate[chromedp.Void](string(source))); err != nil {
		return nil, fmt.Errorf("load axe-core: %w", err)
	}
	text, err := Evaluate[string](w, `axe.run(document, {resultTypes: ["violations"]}).then(r => JSON.stringify(
		r.violations.map(v => v.id + ": " + v.help + ": " + v.nodes.map(n => n.html).join(" "))))`)
	if err != nil {
		return nil, fmt.Errorf("run axe-core: %w", err)
	}
	var found []string
	return found, json.Unmarshal([]byte(text), &found)
}
