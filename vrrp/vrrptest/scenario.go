package vrrptest

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/understudy-ha/understudy/vrrp"
)

// Play plays a text and returns it with the outputs that follow: those that it
// holds are replaced, the rest stays as it is. A text is a scenario,
//
//	lan delay=1ms                 # also seed, jitter, loss, duplicate, loop
//	show adverts drops            # default: transitions alone
//	router a priority=150         # the rest as in vrrp.Config.AppendText
//	router b priority=100
//	director a b                  # one with a group, each on a segment of its own
//	0s start a
//	0s start b
//	10s stall a 5s                # also crash, stop, link a up|down, set a priority=90
//	10s leave a                   # also handover, kill, fault (of one router), mend
//	20s cut a b                   # b does not hear a; partition a,b c; heal; network loss=0.5
//	30s end
//
//	3.6s a -> backup>master reason=master-down
//
// or one or several traces as a vrrp.Recorder prints them. Times count from the
// start of the scenario, or from the origin of the trace.
func Play(text []byte) ([]byte, error) {
	lines := slices.Collect(bytes.Lines(text))
	first := slices.IndexFunc(lines, isTrace)
	if first < 0 {
		return playScenario(lines)
	}
	out := bytes.Join(lines[:first], nil)
	for lines = lines[first:]; len(lines) > 0; {
		end := 1 + slices.IndexFunc(lines[1:], isTrace)
		if end == 0 {
			end = len(lines)
		}
		t, err := vrrp.ParseTrace(bytes.Join(lines[:end], nil))
		if err != nil {
			return nil, err
		}
		if out, err = t.Replay().AppendText(out); err != nil {
			return nil, err
		}
		if lines = lines[end:]; len(lines) > 0 {
			out = append(out, '\n')
		}
	}
	return out, nil
}

func isTrace(line []byte) bool { return bytes.HasPrefix(line, []byte("trace ")) }

// player is a scenario being played.
type player struct {
	lan    *LAN
	ids    map[string]int
	shown  map[string]bool
	ended  bool
	events []byte
}

func playScenario(lines [][]byte) ([]byte, error) {
	p := &player{lan: NewLAN(1, nil), ids: make(map[string]int), shown: make(map[string]bool)}
	p.lan.Observe = p.observe
	var out []byte
	for i, line := range lines {
		words, err := vrrp.Fields(strings.TrimSuffix(string(line), "\n"))
		if err == nil && len(words) > 2 && words[2] == "->" {
			continue
		}
		if err == nil && len(words) > 0 {
			err = p.line(words)
		}
		if err != nil {
			return nil, fmt.Errorf("play scenario: line %d: %w", i+1, err)
		}
		out = append(out, line...)
	}
	if !p.ended {
		return nil, errors.New("play scenario: no line says when it ends")
	}
	out = append(bytes.TrimRight(out, "\n"), "\n\n"...)
	return append(out, p.events...), nil
}

func (p *player) observe(id int, out vrrp.Output) {
	if !p.shown["adverts"] {
		out.Advertise, out.Priority = false, 0
	}
	if !p.shown["drops"] {
		out.Drop = vrrp.DropNone
	}
	if out != (vrrp.Output{}) {
		p.events = fmt.Appendf(p.events, "%v %s -> %v\n", p.lan.now, p.lan.nodes[id].config.Name, out)
	}
}

func (p *player) line(words []string) error {
	if p.ended {
		return fmt.Errorf("%q after the end", words[0])
	}
	switch words[0] {
	case "lan":
		return p.network(words[1:])
	case "show":
		for _, w := range words[1:] {
			p.shown[w] = true
		}
		return nil
	case "router":
		return p.router(words[1:])
	case "director":
		return p.director(words[1:])
	}
	at, err := time.ParseDuration(words[0])
	switch {
	case err != nil:
		return fmt.Errorf("unknown word %q", words[0])
	case at < p.lan.now:
		return fmt.Errorf("%v is before %v", at, p.lan.now)
	case len(words) < 2:
		return errors.New("a time without an event")
	}
	if err := p.lan.RunUntil(at); err != nil {
		return err
	}
	return p.fault(words[1], words[2:])
}

func (p *player) router(words []string) error {
	if len(words) == 0 || p.ids[words[0]] != 0 {
		return errors.New("a router needs a name of its own")
	}
	number := byte(len(p.ids) + 1)
	c := vrrp.Config{
		Name:      words[0],
		VRID:      51,
		Version:   vrrp.V3,
		Priority:  100,
		Interval:  time.Second,
		Preempt:   true,
		Primary:   netip.AddrFrom4([4]byte{192, 0, 2, number}),
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, 100})},
	}
	if err := c.UnmarshalText([]byte(strings.Join(words[1:], " "))); err != nil {
		return err
	}
	// Numbers are one higher than those of the LAN, so that 0 is nobody.
	p.ids[words[0]] = 1 + p.lan.Add(c)
	return nil
}

// director joins routers.
func (p *player) director(names []string) error {
	var ids []int
	for _, name := range names {
		if p.ids[name] == 0 || p.lan.nodes[p.ids[name]-1].host.grouped() {
			return fmt.Errorf("director: no router %q that is free", name)
		}
		ids = append(ids, p.ids[name]-1)
	}
	if len(ids) < 2 {
		return errors.New("director: a group has several routers")
	}
	p.lan.Join(ids...)
	return nil
}

// network sets the fields of the network that words name.
func (p *player) network(words []string) error {
	n := p.lan.Network
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		var err error
		switch key {
		case "delay":
			n.Delay, err = time.ParseDuration(value)
		case "jitter":
			n.Jitter, err = time.ParseDuration(value)
		case "loss":
			n.Loss, err = strconv.ParseFloat(value, 64)
		case "duplicate":
			n.Duplicate, err = strconv.ParseFloat(value, 64)
		case "loop":
			n.Loop, err = strconv.ParseFloat(value, 64)
		default:
			err = errors.New("unknown key")
		}
		if err != nil {
			return fmt.Errorf("network: %s: %w", key, err)
		}
	}
	p.lan.SetNetwork(n)
	return nil
}

func (p *player) fault(verb string, args []string) error {
	l := p.lan
	switch verb {
	case "end":
		p.ended = true
		return nil
	case "heal":
		l.Heal()
		return nil
	case "network":
		return p.network(args)
	case "partition":
		return p.partition(args)
	}
	if len(args) == 0 || p.ids[args[0]] == 0 {
		return fmt.Errorf("%s: which router?", verb)
	}
	id := p.ids[args[0]] - 1
	args = args[1:]
	if f := p.plain(verb); f != nil && len(args) == 0 {
		f(id)
		return nil
	}
	switch {
	case verb == "stall" && len(args) == 1:
		d, err := time.ParseDuration(args[0])
		if err != nil {
			return fmt.Errorf("stall: %w", err)
		}
		l.Stall(id, d)
	case verb == "link" && len(args) == 1 && (args[0] == "up" || args[0] == "down"):
		l.SetLink(id, args[0] == "up")
	case verb == "cut" && len(args) == 1 && p.ids[args[0]] != 0:
		l.Cut(id, p.ids[args[0]]-1)
	case verb == "set":
		c := l.nodes[id].config
		if err := c.UnmarshalText([]byte(strings.Join(args, " "))); err != nil {
			return err
		}
		l.Reconfigure(id, c)
	default:
		return fmt.Errorf("cannot %s %q", verb, args)
	}
	return nil
}

// plain returns what a verb without arguments does.
func (p *player) plain(verb string) func(id int) {
	leave := func(reason vrrp.Reason) func(int) { return func(id int) { p.lan.Leave(id, reason) } }
	switch verb {
	case "start":
		return p.lan.Start
	case "stop":
		return p.lan.Stop
	case "crash":
		return p.lan.Crash
	case "kill":
		return p.lan.Kill
	case "mend":
		return p.lan.Mend
	case "leave":
		return leave(vrrp.ReasonShutdown)
	case "handover":
		return leave(vrrp.ReasonHandover)
	case "fault":
		return leave(vrrp.ReasonTrack)
	}
	return nil
}

func (p *player) partition(args []string) error {
	part := make([]int, len(p.ids))
	for i, arg := range args {
		for name := range strings.SplitSeq(arg, ",") {
			if p.ids[name] == 0 {
				return fmt.Errorf("partition: no router %q", name)
			}
			part[p.ids[name]-1] = i
		}
	}
	p.lan.Partition(part)
	return nil
}
