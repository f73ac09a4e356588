//go:build unix && !linux

package stack

import (
	"bytes"
	"fmt"
	"os/exec"
	"syscall"
)

// childAttributes cannot ask here for a signal when we die: a killed parent leaves its children behind.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// childrenOf gives the ids of a process's children.
func childrenOf(parent int) ([]int, error) {
	list, err := exec.Command("ps", "-axo", "pid=,ppid=").Output()
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var children []int
	for line := range bytes.Lines(list) {
		var pid, ppid int
		if _, err := fmt.Sscan(string(line), &pid, &ppid); err == nil && ppid == parent {
			children = append(children, pid)
		}
	}
	return children, nil
}
