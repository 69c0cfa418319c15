package oracle

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"time"
)

// Entry is a line of the kernel's connection table, /proc/net/ip_vs_conn.
type Entry struct {
	Protocol string         `json:"protocol"` // "TCP", "UDP", "SCTP"; "IP" for a template of a fwmark service
	Client   netip.AddrPort `json:"client"`
	Virtual  netip.AddrPort `json:"virtual"`
	Server   netip.AddrPort `json:"server"`
	State    string         `json:"state"`
	Expires  time.Duration  `json:"expires_ns"`       // unless there is traffic
	Engine   string         `json:"engine,omitempty"` // persistence engine
}

// Template reports whether the entry is a template of persistence, and no
// connection.
func (e Entry) Template() bool {
	return e.Client.Port() == 0 && (e.State == "NONE" || e.State == "ASSURED")
}

// maxLine is far beyond what the kernel writes: eleven columns, of which the
// longest is a call's ID.
const maxLine = 4096

var errColumn = errors.New("not the form of /proc/net/ip_vs_conn")

// ParseEntry reads a line.
func ParseEntry(line []byte) (Entry, error) {
	if len(line) > maxLine {
		return Entry{}, errColumn
	}
	f := bytes.Fields(line)
	if len(f) < 9 {
		return Entry{}, errColumn
	}
	var e Entry
	var errs [4]error
	e.Protocol = string(f[0])
	e.Client, errs[0] = parseEndpoint(f[1], f[2])
	e.Virtual, errs[1] = parseEndpoint(f[3], f[4])
	e.Server, errs[2] = parseEndpoint(f[5], f[6])
	e.State = string(f[7])
	seconds, err := strconv.ParseUint(string(f[8]), 10, 64)
	if errs[3] = err; err == nil && seconds < 1<<32 {
		e.Expires = time.Duration(seconds) * time.Second
	} // a larger one is of an entry that is about to expire, below zero
	for _, err := range errs {
		if err != nil {
			return Entry{}, errColumn
		}
	}
	if len(f) > 9 {
		e.Engine = string(f[9])
	}
	return e, nil
}

func parseEndpoint(address, port []byte) (netip.AddrPort, error) {
	a, err := parseAddress(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	p, ok := hexadecimal(port, 4)
	if !ok {
		return netip.AddrPort{}, errColumn
	}
	return netip.AddrPortFrom(a, uint16(p)), nil
}

// parseAddress reads eight hexadecimal digits, or IPv6 in eight groups.
func parseAddress(b []byte) (netip.Addr, error) {
	if bytes.IndexByte(b, ':') >= 0 {
		a, err := netip.ParseAddr(string(b))
		if err != nil || !a.Is6() || a.Zone() != "" {
			return netip.Addr{}, errColumn
		}
		return a, nil
	}
	v, ok := hexadecimal(b, 8)
	if !ok {
		return netip.Addr{}, errColumn
	}
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), nil
}

// hexadecimal reads a number of so many digits, without an allocation for each
// of millions of lines.
func hexadecimal(b []byte, digits int) (v uint32, ok bool) {
	if len(b) != digits {
		return 0, false
	}
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		v = v<<4 | uint32(c)
	}
	return v, true
}

// Found is what the connection table has for a Question.
type Found struct {
	Exact       *Entry  // the connection with the client's own port
	Template    *Entry  // of the client's network
	Connections []Entry // of the client to the service, the first maxFound
	Total       int     // of Connections, without limit
	Partial     bool    // the table was not read to its end
}

const maxFound = 20

// ErrEnough ends a Scan early when the reader returns it: what was found until
// then is Partial.
var ErrEnough = errors.New("enough")

// Scan reads the connection table line by line, as long as it may be, and keeps
// what concerns the question.
func Scan(r io.Reader, q Question) (Found, error) {
	if err := q.complete(); err != nil {
		return Found{}, err
	}
	var found Found
	network := q.network()
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, maxLine), maxLine)
	for n := 1; lines.Scan() && !errors.Is(lines.Err(), ErrEnough); n++ { // the last line before it may be cut
		line := lines.Bytes()
		if bytes.HasPrefix(line, []byte("Pro ")) || len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		// Of millions, most are of other clients: their second column is enough.
		client, err := parseAddress(column(line))
		if err != nil {
			return Found{}, fmt.Errorf("line %d: %w", n, err)
		}
		if client != q.Client.Addr() && client != network {
			continue
		}
		e, err := ParseEntry(line)
		if err != nil {
			return Found{}, fmt.Errorf("line %d: %w", n, err)
		}
		found.add(&q, e)
	}
	switch err := lines.Err(); {
	case errors.Is(err, ErrEnough):
		found.Partial = true
	case err != nil:
		return Found{}, fmt.Errorf("read connections: %w", err)
	}
	return found, nil
}

// column returns the second one of a line.
func column(line []byte) []byte {
	line = bytes.TrimLeft(line, " ")
	i := bytes.IndexByte(line, ' ')
	if i < 0 {
		return nil
	}
	line = bytes.TrimLeft(line[i:], " ")
	if i = bytes.IndexByte(line, ' '); i < 0 {
		return nil
	}
	return line[:i]
}

func (f *Found) add(q *Question, e Entry) {
	switch {
	case e.Template():
		if q.ownsTemplate(e) && f.Template == nil {
			f.Template = &e
		}
	case q.ownsConnection(e):
		if e.Client == q.Client {
			f.Exact = &e
		}
		if f.Total++; len(f.Connections) < maxFound {
			f.Connections = append(f.Connections, e)
		}
	}
}
