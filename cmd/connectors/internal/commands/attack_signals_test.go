package commands

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// asCommand names the variable that makes a command of the test's binary.
const asCommand = "ATTACK_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		os.Exit(Main(os.Args[1:]))
	}
	os.Exit(m.Run())
}

func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asCommand+"=1", "VAULT_ADDR=http://127.0.0.1:1", "VAULT_TOKEN=t",
		"CONNECTORS_MOUNT=connectors", "VAULT_MAX_RETRIES=0")
	t.Cleanup(func() {
		if cmd.Process != nil {
			_ = cmd.Process.Kill()
		}
	})
	return cmd
}

func ends(t *testing.T, cmd *exec.Cmd, what string) {
	t.Helper()
	end := make(chan error, 1)
	go func() { end <- cmd.Wait() }()
	select {
	case <-end:
	case <-time.After(time.Minute):
		t.Errorf("%s: it does not end", what)
		_ = cmd.Process.Kill()
		<-end
	}
}

// However a question for a secret ends, the terminal shows again what is typed, and nothing of the program.
func TestAttackSignalsAtASecret(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP} {
		t.Run(signal.String(), func(t *testing.T) {
			person, tty, err := pty.Open()
			require.NoError(t, err)
			defer person.Close()
			defer tty.Close()
			cmd := command(t, "lookup")
			var out bytes.Buffer
			cmd.Stdin, cmd.Stderr, cmd.Stdout = tty, tty, &out
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			require.NoError(t, cmd.Start())
			part, screen := make([]byte, 1<<16), ""
			for !strings.Contains(screen, "not shown: ") {
				n, err := person.Read(part)
				require.NoError(t, err, screen)
				screen += string(part[:n])
			}
			require.NoError(t, cmd.Process.Signal(signal))
			ends(t, cmd, signal.String())
			stty := exec.CommandContext(t.Context(), "stty", "-a")
			stty.Stdin = tty
			is, err := stty.Output()
			require.NoError(t, err)
			assert.NotContains(t, string(is), "-echo ")
			assert.Equal(t, codeInterrupted, cmd.ProcessState.ExitCode())
		})
	}
}

// What waits for stdin, of which no end comes, ends when it is told to.
func TestAttackSignalsWhileStdinIsRead(t *testing.T) {
	for _, args := range [][]string{{"lookup"}, {"apply", "-f", "-"}, {"api", "x", "/y", "--input", "-"}} {
		for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			cmd := command(t, args...)
			held, err := cmd.StdinPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			_, err = held.Write(bytes.Repeat([]byte("#\n"), 50<<10)) // more than a pipe holds, so it has begun to read
			require.NoError(t, err)
			require.NoError(t, cmd.Process.Signal(signal))
			ends(t, cmd, strings.Join(args, " "))
			assert.Equal(t, codeInterrupted, cmd.ProcessState.ExitCode(), "%v", args)
			_ = held.Close()
		}
	}
}
