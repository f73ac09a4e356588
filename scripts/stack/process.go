package stack

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

const (
	startTime = time.Minute           // how long a child may take until it is ready
	pollEvery = 20 * time.Millisecond // how often we look whether it is
	stopTime  = 15 * time.Second      // how long it may take to end by itself; Vault drains its plugins for 10 s
)

// process is a child of ours that leads a process group of its own.
type process struct {
	name  string
	pid   int
	log   string
	ended chan struct{} // closed when the child has been waited for
}

// start runs a command with its output appended to the file log. On Linux the child is told to end when we do.
func start(name string, cmd *exec.Cmd, log string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the child has its own
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = childAttributes()
	started := make(chan error)
	p := &process{name: name, log: log, ended: make(chan struct{})}
	go func() {
		// The signal at the parent's death follows the thread that started the child, so that thread stays with it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid = cmd.Process.Pid
		started <- nil
		_ = cmd.Wait() // how it ended is in its log
		close(p.ended)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// ready returns when check succeeds. It gives up when the child ends, the context does, or after a minute.
func (p *process) ready(ctx context.Context, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return fmt.Errorf("%s ended before it was ready; its last words:\n%s", p.name, tail(p.log))
		case <-ctx.Done():
			return fmt.Errorf("%s did not become ready: %w; its last words:\n%s", p.name, err, tail(p.log))
		}
	}
}

// stop asks the child to end, insists if it does not, and returns when it has. What is left of its group goes with it.
func (p *process) stop() {
	if p == nil {
		return
	}
	p.signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(stopTime):
	}
	p.kill()
}

// kill ends the child and its group without a chance to tidy up.
func (p *process) kill() {
	_ = syscall.Kill(-p.pid, syscall.SIGKILL) // nobody left is as good
	<-p.ended
}

// signal reaches the child only, which passes on what its own children need.
func (p *process) signal(s syscall.Signal) {
	if p.running() { // else its id may be another's by now
		_ = syscall.Kill(p.pid, s)
	}
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// tail gives the end of a log, for an error message.
func tail(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}
