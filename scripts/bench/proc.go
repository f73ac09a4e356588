package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// tick is the unit of times in /proc: USER_HZ is 100 on every Linux that Go knows.
const tick = 10 * time.Millisecond

// usage is the processor time that processes have used since they started.
type usage struct {
	vault, plugin time.Duration
}

func (u usage) since(before usage) usage {
	return usage{vault: u.vault - before.vault, plugin: u.plugin - before.plugin}
}

// usageOf reads /proc, which only Linux has.
func usageOf(v *stack.Vault) (u usage, err error) {
	if u.vault, err = processorTime(v.PID()); err != nil {
		return u, err
	}
	pids, err := v.PluginPIDs()
	if err != nil {
		return u, err
	}
	for _, pid := range pids {
		used, err := processorTime(pid)
		if err != nil {
			return u, err
		}
		u.plugin += used
	}
	return u, nil
}

func processorTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read the processor time of a process: %w", err)
	}
	// After the name, which may hold anything: the state is field 3, user and system time are fields 14 and 15.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields after the name", pid, len(fields))
	}
	user, err1 := strconv.ParseInt(string(fields[11]), 10, 64)
	system, err2 := strconv.ParseInt(string(fields[12]), 10, 64)
	return time.Duration(user+system) * tick, errors.Join(err1, err2)
}

// residentMemory is what Vault's plugins occupy together, in bytes.
func residentMemory(v *stack.Vault) (total int64, err error) {
	pids, err := v.PluginPIDs()
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		status, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, err
		}
		for lines := bufio.NewScanner(status); lines.Scan(); {
			if text, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
				kilobytes, err := strconv.ParseInt(strings.Fields(text)[0], 10, 64)
				if err != nil {
					_ = status.Close()
					return 0, err
				}
				total += kilobytes << 10
			}
		}
		_ = status.Close()
	}
	return total, nil
}
