package track

import (
	"fmt"
	"slices"
	"time"
)

// procEvent is what the kernel tells of a process (struct proc_event of
// linux/cn_proc.h). Events of threads are left out.
type procEvent struct {
	what   procWhat
	pid    int
	parent int // of a fork
}

type procWhat uint8

const (
	procFork procWhat = iota + 1
	procName          // it executes another program, or has changed its name
	procExit
)

// process is the names that a process goes by.
type process struct {
	comm string // /proc/PID/comm, at most 15 bytes
	arg0 string // base name of its first argument
}

func (p process) called(name string) bool { return name == p.comm || name == p.arg0 }

// roll is the processes whose name anybody wants to know.
type roll struct {
	names []string
	live  map[int]process
}

func (r *roll) wanted(p process) bool {
	return slices.ContainsFunc(r.names, p.called)
}

func (r *roll) count(name string) int {
	n := 0
	for _, p := range r.live {
		if p.called(name) {
			n++
		}
	}
	return n
}

// apply takes in an event; read returns the names of a process that lives. It
// reports whether the roll may have changed.
func (r *roll) apply(e procEvent, read func(pid int) (process, bool)) bool {
	old, was := r.live[e.pid]
	switch e.what {
	case procFork:
		parent, ok := r.live[e.parent]
		if ok {
			r.live[e.pid] = parent
		}
		return ok
	case procName:
		if p, ok := read(e.pid); ok && r.wanted(p) {
			r.live[e.pid] = p
			return !was || p != old
		}
	}
	delete(r.live, e.pid)
	return was
}

const (
	// processResync is how often all processes are looked at while the kernel
	// tells of them, and processRecheck how long after what it told that mattered.
	processResync  = 30 * time.Second
	processRecheck = time.Second
	// processPoll is how often they are looked at while it does not.
	processPoll = time.Second
)

// processes counts processes by name.
type processes struct {
	report  func(Target, finding)
	dial    func() (feed[procEvent], error)
	scan    func(wanted func(process) bool) (map[int]process, error)
	read    func(pid int) (process, bool)
	roll    roll
	targets []Target
	blind   bool // the roll is not known
}

func newProcesses(report func(Target, finding)) *processes {
	return &processes{report: report, dial: dialProcesses, scan: scanProcesses, read: readProcess}
}

func (p *processes) subscribe() (feed[procEvent], error) { return p.dial() }

func (p *processes) look(targets []Target, trouble string) time.Duration {
	p.targets = targets
	p.roll = roll{live: map[int]process{}}
	for _, t := range targets {
		p.roll.names = append(p.roll.names, t.Name)
	}
	wait, note := processResync, ""
	if trouble != "" {
		wait, note = processPoll, fmt.Sprintf("looked for every %v only: %s", processPoll, trouble)
	}
	live, err := p.scan(p.roll.wanted)
	if p.blind = err != nil; p.blind {
		for _, t := range targets {
			p.report(t, finding{note: err.Error()})
		}
		return processPoll
	}
	p.roll.live = live
	p.tell(note)
	return wait
}

// tell reports what the roll says.
func (p *processes) tell(note string) {
	for _, t := range p.targets {
		n := p.roll.count(t.Name)
		reason := fmt.Sprintf("there are %d", n)
		if n == 1 {
			reason = "there is 1"
		}
		p.report(t, finding{state: passing(n >= t.Count), number: n, reason: reason, note: note})
	}
}

// hear takes in events. What comes of them is looked at once more after a while:
// the event of an exit may be older than the last look, and its number taken by
// another process since.
func (p *processes) hear(news []procEvent) time.Duration {
	changed := false
	for _, e := range news {
		changed = p.roll.apply(e, p.read) || changed
	}
	if !changed || p.blind {
		return never
	}
	p.tell("")
	return processRecheck
}
