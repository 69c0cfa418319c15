package vrrp

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The text form of a Trace, one item to a line; times are offsets from origin,
// which is for people:
//
//	trace NAME version=3 vrid=51 priority=100 ...
//	origin 2026-01-02T15:04:05.123456789Z
//	state backup reason=startup timer=-1.5s ...
//	0s receive src=192.0.2.2 priority=150
//	3.6s tick
//	3.6s -> backup>master reason=master-down advertise=100

const arrow = "->"

// AppendText appends the text form of t. It holds no password and no address
// list of an advertisement; neither changes what a replay does.
func (t Trace) AppendText(b []byte) ([]byte, error) {
	r := t.Base
	b = append(b, "trace "+quote(r.config.Name)+" "...)
	b, _ = r.config.AppendText(b)
	b = append(b, "\norigin "...)
	b = t.Origin.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, '\n')
	b = append(r.appendState(b, t.Origin), '\n')
	for _, e := range t.Entries {
		b = fmt.Appendf(b, "%v ", e.At.Sub(t.Origin))
		b = append(appendEvent(b, e.Event, r.config), '\n')
		if e.Output != (Output{}) {
			b = fmt.Appendf(b, "%v %s %v\n", e.At.Sub(t.Origin), arrow, e.Output)
		}
		r.Step(e.At, e.Event)
	}
	return b, nil
}

// ParseTrace parses the text form of one Trace. Empty lines and comments are
// skipped. Replaying the result gives the outputs of the original.
func ParseTrace(text []byte) (Trace, error) {
	p := traceParser{}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		words, err := Fields(strings.TrimSuffix(string(line), "\n"))
		if err == nil && len(words) > 0 {
			err = p.line(words)
		}
		if err != nil {
			return Trace{}, fmt.Errorf("parse trace: line %d: %w", n, err)
		}
	}
	if !p.begun {
		return Trace{}, errors.New("parse trace: no line begins with \"trace\"")
	}
	return p.trace, nil
}

type traceParser struct {
	trace  Trace
	router Router // trace.Base after the entries so far
	begun  bool
}

func (p *traceParser) line(words []string) (err error) {
	switch {
	case words[0] == "trace" && len(words) > 1:
		if p.begun {
			return errors.New("second trace")
		}
		p.begun = true
		c := Config{Name: words[1]}
		err = c.set(words[2:])
		p.trace.Base = *New(c)
		p.router = p.trace.Base
		return err
	case words[0] == "origin" && len(words) == 2:
		p.trace.Origin, err = time.Parse(time.RFC3339Nano, words[1])
		return err
	case words[0] == "state" && len(words) > 1:
		err = p.trace.Base.setState(words[1:], p.trace.Origin)
		p.router = p.trace.Base
		return err
	case !p.begun:
		return fmt.Errorf("unexpected %q before the trace", words[0])
	}

	offset, err := time.ParseDuration(words[0])
	if err != nil || len(words) < 2 {
		return fmt.Errorf("unexpected %q", words[0])
	}
	at := p.trace.Origin.Add(offset)
	if words[1] == arrow {
		if len(p.trace.Entries) == 0 {
			return errors.New("output before any event")
		}
		last := &p.trace.Entries[len(p.trace.Entries)-1]
		last.Output, err = parseOutput(words[2:])
		return err
	}
	ev, err := parseEvent(words[1:], p.router.config)
	if err != nil {
		return err
	}
	p.trace.Entries = append(p.trace.Entries, Entry{At: at, Event: ev})
	p.router.Step(at, ev)
	return nil
}

// appendEvent appends the words of ev. A field of an advertisement that is as c
// has it is left out.
func appendEvent(b []byte, ev Event, c Config) []byte {
	switch ev := ev.(type) {
	case Start:
		return append(b, "start"...)
	case Tick:
		return append(b, "tick"...)
	case Stop:
		return fmt.Appendf(b, "stop reason=%v", ev.Reason)
	case Leave:
		b = fmt.Appendf(b, "leave reason=%v", ev.Reason)
		if ev.Wait > 0 {
			b = fmt.Appendf(b, " wait=%v", ev.Wait)
		}
		return b
	case Resume:
		return append(b, "resume"...)
	case Lead:
		return append(b, "lead"...)
	case Concede:
		return append(b, "concede"...)
	case Expect:
		return append(b, "expect"...)
	case Reconfigure:
		b, _ = ev.Config.AppendText(append(b, "set "...))
		return b
	case Received:
		a := ev.Advert
		b = fmt.Appendf(b, "receive src=%s priority=%d", quote(ev.Src.String()), a.Priority)
		if a.Version != c.Version {
			b = fmt.Appendf(b, " version=%d", a.Version)
		}
		if a.VRID != c.VRID {
			b = fmt.Appendf(b, " vrid=%d", a.VRID)
		}
		if a.Interval != c.Interval {
			b = fmt.Appendf(b, " interval=%v", a.Interval)
		}
		if a.Plain {
			b = append(b, " plain"...)
		}
		if a.AuthType != 0 {
			b = fmt.Appendf(b, " auth=%d", a.AuthType)
		}
		switch a.Password {
		case "":
		case c.Password:
			b = append(b, " password="+secret...)
		default:
			b = append(b, " password="+otherSecret...)
		}
	}
	return b
}

func parseEvent(words []string, c Config) (Event, error) {
	switch words[0] {
	case "start":
		return Start{}, nil
	case "tick":
		return Tick{}, nil
	case "resume":
		return Resume{}, nil
	case "lead":
		return Lead{}, nil
	case "concede":
		return Concede{}, nil
	case "expect":
		return Expect{}, nil
	case "stop":
		reason, err := parseReason(words)
		return Stop{Reason: reason}, err
	case "leave":
		var wait time.Duration
		if last := len(words) - 1; strings.HasPrefix(words[last], "wait=") {
			var err error
			if wait, err = time.ParseDuration(strings.TrimPrefix(words[last], "wait=")); err != nil {
				return nil, fmt.Errorf("leave: %w", err)
			}
			words = words[:last]
		}
		reason, err := parseReason(words)
		return Leave{Reason: reason, Wait: wait}, err
	case "set":
		// What is not named did not change, except for what an empty value cannot
		// be named for.
		c.Password, c.Addresses, c.Hold, c.Grouped, c.Checksum = "", nil, false, false, ChecksumRFC5798
		err := c.set(words[1:])
		return Reconfigure{Config: c}, err
	case "receive":
		return parseReceived(words[1:], c)
	default:
		return nil, fmt.Errorf("unknown event %q", words[0])
	}
}

// parseReason parses the words of a Stop or a Leave.
func parseReason(words []string) (reason Reason, err error) {
	for key, value := range pairs(words[1:]) {
		if key != "reason" {
			return reason, fmt.Errorf("%s: unknown key %q", words[0], key)
		}
		if err := index(value, reasonNames[:], &reason); err != nil {
			return reason, fmt.Errorf("%s: %w", words[0], err)
		}
	}
	return reason, nil
}

func parseReceived(words []string, c Config) (Event, error) {
	rx := Received{Advert: Advertisement{Version: c.Version, VRID: c.VRID, Interval: c.Interval}}
	a := &rx.Advert
	for key, value := range pairs(words) {
		var err error
		switch key {
		case "src":
			err = parseAddr(value, &rx.Src)
		case "priority":
			err = parseUint8(value, &a.Priority)
		case "version":
			err = parseUint8(value, (*uint8)(&a.Version))
		case "vrid":
			err = parseUint8(value, &a.VRID)
		case "interval":
			a.Interval, err = time.ParseDuration(value)
		case "plain":
			a.Plain, err = strconv.ParseBool(value)
		case "auth":
			err = parseUint8(value, &a.AuthType)
		case "password":
			a.Password = value
		default:
			err = errors.New("unknown key")
		}
		if err != nil {
			return nil, fmt.Errorf("receive: %s: %w", key, err)
		}
	}
	return rx, nil
}

// String returns the words of a scenario for o: the transition with its reason,
// the priority advertised, the drop. It is empty for the zero value.
func (o Output) String() string {
	var b []byte
	if o.Transition {
		b = fmt.Appendf(b, " %v>%v reason=%v", o.From, o.To, o.Reason)
	}
	if o.Advertise {
		b = fmt.Appendf(b, " advertise=%d", o.Priority)
	}
	if o.Drop != DropNone {
		b = fmt.Appendf(b, " drop=%v", o.Drop)
	}
	return strings.TrimPrefix(string(b), " ")
}

func parseOutput(words []string) (Output, error) {
	var o Output
	for key, value := range pairs(words) {
		var err error
		switch key {
		case "reason":
			err = index(value, reasonNames[:], &o.Reason)
		case "advertise":
			o.Advertise = true
			err = parseUint8(value, &o.Priority)
		case "drop":
			err = index(value, dropNames[:], &o.Drop)
		default:
			from, to, ok := strings.Cut(key, ">")
			if !ok {
				return o, fmt.Errorf("unknown output %q", key)
			}
			o.Transition = true
			err = errors.Join(index(from, stateNames[:], &o.From), index(to, stateNames[:], &o.To))
		}
		if err != nil {
			return o, fmt.Errorf("output: %w", err)
		}
	}
	return o, nil
}
