package hook

import (
	"bytes"
	"os"
	"strconv"
)

// childrenOf lists the processes whose parent is a process, zombies included. Those that end
// meanwhile may be missing.
func childrenOf(parent int) []int {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var children []int
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if stat, err := os.ReadFile("/proc/" + name + "/stat"); err == nil && parentIn(stat) == parent {
			children = append(children, pid)
		}
	}
	return children
}

// parentIn reads a process's parent out of its stat; 0 if it is not there. What comes before
// is the program's name in parentheses, which may have any characters itself; see proc(5).
func parentIn(stat []byte) int {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	parent, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return 0
	}
	return parent
}
