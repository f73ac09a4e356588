package stack

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// groupMembers gives the ids of the processes of a group. Those that have ended do not count, though nobody waited for
// them yet: not every first process of a container does.
func groupMembers(group int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var members []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue // not a process
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // it has ended meanwhile
		}
		// "pid (name) state ppid pgrp ...", where the name may hold anything.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) > 2 && string(fields[0]) != "Z" && string(fields[2]) == strconv.Itoa(group) {
			members = append(members, pid)
		}
	}
	return members, nil
}
