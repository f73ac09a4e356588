package browser

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/cli/browser"
)

// Variable names the variable of the environment that says "none" where no browser is to be started.
const Variable = "CONNECTORS_BROWSER"

// Surroundings are what is looked at to find out whether a browser can be opened here.
type Surroundings struct {
	System string                   // runtime.GOOS
	Env    func(name string) string // os.Getenv
	Exists func(path string) bool
}

// Exists reports whether there is a file.
func Exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Away says why no browser of this machine can come back to it, and nothing where one can. BROWSER says that one can.
func (s Surroundings) Away() string {
	switch {
	case s.Env(Variable) == "none":
		return Variable + "=none"
	case s.Env("BROWSER") != "": // whoever set it knows better
		return ""
	case s.Env("SSH_CONNECTION") != "" || s.Env("SSH_CLIENT") != "" || s.Env("SSH_TTY") != "":
		return "this is an SSH session"
	case s.Exists("/.dockerenv") || s.Exists("/run/.containerenv") || s.Env("container") != "" ||
		s.Env("KUBERNETES_SERVICE_HOST") != "":
		return "this is a container"
	case s.System == "linux" && s.Env("DISPLAY") == "" && s.Env("WAYLAND_DISPLAY") == "":
		return "there is no display"
	}
	return ""
}

// Open starts the browser of BROWSER, or the system's, and does not wait for it. failed hears that it did not start.
// What is started has the environment of this process, so no secret may be left in that.
func Open(address string, failed func(error)) {
	if to, err := url.Parse(address); err != nil || to.Scheme != "https" && to.Scheme != "http" || to.Host == "" {
		failed(errNoPage) // which the system might start another program for
		return
	}
	if named := strings.Fields(os.Getenv("BROWSER")); len(named) > 0 {
		go func() {
			if err := run(named, address); err != nil {
				failed(err)
			}
		}()
		return
	}
	browser.Stdout, browser.Stderr = io.Discard, io.Discard
	go func() {
		if err := browser.OpenURL(address); err != nil {
			failed(err)
		}
	}()
}

var errNoPage = errors.New("this is no address of a page")

// run starts a program in a group of its own, so that Ctrl-C at the terminal does not end the browser.
func run(command []string, address string) error {
	for i := range command {
		if strings.Contains(command[i], "%s") {
			command[i] = strings.ReplaceAll(command[i], "%s", address)
			address = ""
		}
	}
	if address != "" {
		command = append(command, address)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("BROWSER: %w", err)
	}
	return nil
}
