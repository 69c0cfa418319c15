package track

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"sync"
)

// scanProcesses lists the processes that live and are wanted, by their number.
func scanProcesses(wanted func(process) bool) (map[int]process, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer dir.Close()
	live := map[int]process{}
	for {
		names, err := dir.Readdirnames(1024)
		for _, name := range names {
			pid, err := strconv.Atoi(name)
			if err != nil {
				continue
			}
			if p, ok := readProcess(pid); ok && wanted(p) {
				live[pid] = p
			}
		}
		if err == io.EOF {
			return live, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list processes: %w", err)
		}
	}
}

// argumentLimit bounds what is read of the first argument of a process, in bytes.
const argumentLimit = 4096

// procBuffers spares a buffer for each of the many processes of a host.
var procBuffers = sync.Pool{New: func() any { return new([argumentLimit]byte) }}

// readProcess returns the names of a process that lives: one that has ended and
// waits for its parent does not.
func readProcess(pid int) (process, bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	room := procBuffers.Get().(*[argumentLimit]byte)
	defer procBuffers.Put(room)
	buf := room[:]
	n, err := readStart(dir+"/stat", buf)
	if err != nil {
		return process{}, false
	}
	comm, ok := parseStat(buf[:n])
	if !ok {
		return process{}, false
	}
	p := process{comm: comm}
	if n, err = readStart(dir+"/cmdline", buf); err == nil {
		p.arg0 = firstArgument(buf[:n])
	}
	return p, true
}

func readStart(path string, buf []byte) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := io.ReadFull(f, buf)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return n, err
}

// parseStat reads the name and the state from /proc/PID/stat (proc_pid_stat(5)); the
// name may hold parentheses and spaces. It returns false for a process that has
// ended.
func parseStat(b []byte) (comm string, alive bool) {
	begin, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if begin < 0 || end < begin || len(b) < end+3 || b[end+1] != ' ' {
		return "", false
	}
	switch b[end+2] {
	case 'Z', 'X', 'x':
		return "", false
	}
	return string(b[begin+1 : end]), true
}

// firstArgument returns the base name of the first argument in the content of
// /proc/PID/cmdline, of which every one ends with a zero byte.
func firstArgument(b []byte) string {
	arg, _, found := bytes.Cut(b, []byte{0})
	if !found && len(b) == argumentLimit || len(arg) == 0 {
		return ""
	}
	return path.Base(string(arg))
}
