//go:build unix && !linux

package stack

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
)

// groupMembers gives the ids of the processes of a group that have not ended.
func groupMembers(group int) ([]int, error) {
	list, err := exec.Command("ps", "-axo", "pid=,pgid=,stat=").Output()
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var members []int
	for line := range bytes.Lines(list) {
		var (
			pid, pgid int
			state     string
		)
		if _, err := fmt.Sscan(string(line), &pid, &pgid, &state); err == nil && pgid == group &&
			!strings.HasPrefix(state, "Z") {
			members = append(members, pid)
		}
	}
	return members, nil
}
