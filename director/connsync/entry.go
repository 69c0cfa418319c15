package connsync

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
)

// IP protocols of connections (linux/in.h). protoNone is that of the template of
// a fwmark service.
const (
	protoNone = 0
	protoTCP  = 6
	protoUDP  = 17
	protoSCTP = 132
)

// Entry is one connection, or one persistence template, of the kernel's table.
type Entry struct {
	Protocol uint8
	Client   netip.AddrPort // without port: a template
	Virtual  netip.AddrPort
	Server   netip.AddrPort
	State    uint16 // the kernel's number of it
	Expires  uint32 // seconds until it goes, if nothing more is heard
	Synced   bool   // learnt from a peer; known from ip_vs_conn_sync alone
	Engine   string // persistence engine of a template, with its data; known from ip_vs_conn alone
	Data     string
}

// Template reports whether e is no connection but what binds a client to a
// server. (So does an FTP data connection whose client port is not yet known;
// that has no persistent service.)
func (e *Entry) Template() bool { return e.Client.Port() == 0 }

// Lasting reports whether e is worth waiting for when tables are compared. What
// comes and goes by the second, and UDP, of which the kernel tells its peers only
// now and then, is not.
func (e *Entry) Lasting() bool {
	switch {
	case e.Template():
		return true
	case e.Protocol == protoTCP:
		return e.State == tcpEstablished
	case e.Protocol == protoSCTP:
		return e.State == sctpEstablished
	}
	return false
}

// The states of connections with the kernel's numbers (net/ip_vs.h), in the
// words of /proc/net/ip_vs_conn.
var (
	tcpStates = []string{"NONE", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT", "TIME_WAIT",
		"CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "SYNACK"}
	sctpStates = []string{"NONE", "INIT1", "INIT", "C-SENT", "C-REPLIED", "C-WAIT", "COOKIE", "C-ECHOED",
		"ESTABLISHED", "S-SENT", "S-RECEIVED", "S-ACK-SENT", "REJECTED", "CLOSED"}
	udpStates      = []string{"UDP"}
	templateStates = []string{"NONE", "ASSURED"}
)

const (
	tcpEstablished    = 1
	tcpSynSent        = 2
	tcpSynRecv        = 3
	tcpFinWait        = 4
	tcpTimeWait       = 5
	tcpClose          = 6
	tcpCloseWait      = 7
	tcpSynAck         = 10
	sctpEstablished   = 8
	sctpShutdownSent  = 9
	sctpShutdownRecvd = 10
	sctpShutdownAck   = 11
	sctpClosed        = 13
)

// Bounds on what is read of the table.
const (
	maxLine = 1024    // bytes; PE data is at most 255
	maxScan = 8 << 20 // entries; the kernel's own hash is at most 1<<20 buckets
)

var (
	errFields   = errors.New("not enough fields")
	errProtocol = errors.New("protocol is not one that is synchronised")
	errState    = errors.New("state is not known")
	errTooMany  = errors.New("the table of connections has more entries than are read")
)

// scan calls f with every entry of /proc/net/ip_vs_conn, or with synced of
// /proc/net/ip_vs_conn_sync, and returns how many lines could not be understood.
// It ends with the first error of f.
func scan(r io.Reader, synced bool, f func(*Entry) error) (odd int, err error) {
	in := bufio.NewReaderSize(r, 64<<10)
	var e Entry
	for n := 0; ; {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			odd++
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = in.ReadSlice('\n')
			}
			line = nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return odd, fmt.Errorf("read the table of connections: %w", err)
		}
		switch {
		case len(line) == 0 || bytes.HasPrefix(line, []byte("Pro ")):
		case len(line) > maxLine || parseEntry(&e, line, synced) != nil:
			odd++
		default:
			if n++; n > maxScan {
				return odd, errTooMany
			}
			if err := f(&e); err != nil {
				return odd, err
			}
		}
		if err != nil {
			return odd, nil
		}
	}
}

// parseEntry parses one line.
func parseEntry(e *Entry, line []byte, synced bool) error {
	*e = Entry{}
	var fields [11][]byte
	n := split(line, &fields)
	if n < 9 || synced && n < 10 {
		return errFields
	}
	var ok bool
	if e.Protocol, ok = protocols[string(fields[0])]; !ok {
		return errProtocol
	}
	for i, to := range []*netip.AddrPort{&e.Client, &e.Virtual, &e.Server} {
		var err error
		if *to, err = parseEnd(fields[1+2*i], fields[2+2*i]); err != nil {
			return err
		}
	}
	if e.State, ok = stateNumber(e, string(fields[7])); !ok {
		return errState
	}
	last := fields[8]
	if synced {
		e.Synced, last = string(fields[8]) == "SYNC", fields[9]
	}
	expires, err := strconv.ParseUint(string(last), 10, 32)
	if err != nil {
		return fmt.Errorf("parse expiry: %w", err)
	}
	e.Expires = uint32(expires)
	if !synced && n >= 11 {
		e.Engine, e.Data = string(fields[9]), string(fields[10])
	}
	return nil
}

var protocols = map[string]uint8{"IP": protoNone, "TCP": protoTCP, "UDP": protoUDP, "SCTP": protoSCTP}

// split cuts a line at blanks and returns how many fields there are; the last
// one takes the rest, which is text of a client.
func split(line []byte, fields *[11][]byte) int {
	n := 0
	line = bytes.TrimRight(line, "\n")
	for n < len(fields) {
		line = bytes.TrimLeft(line, " ")
		if len(line) == 0 {
			break
		}
		end := bytes.IndexByte(line, ' ')
		if end < 0 || n == len(fields)-1 {
			end = len(line)
		}
		fields[n] = line[:end]
		line = line[end:]
		n++
	}
	return n
}

func stateNumber(e *Entry, name string) (uint16, bool) {
	names := udpStates
	switch {
	case e.Template():
		// Older kernels have no word for it.
		if name == templateStates[1] {
			return 1, true
		}
		return 0, true
	case e.Protocol == protoTCP:
		names = tcpStates
	case e.Protocol == protoSCTP:
		names = sctpStates
	case e.Protocol == protoNone:
		return 0, false
	}
	for i, s := range names {
		if s == name {
			return uint16(i), true
		}
	}
	return 0, false
}

// parseEnd parses "7F000001" or an IPv6 address, and a port of four digits.
func parseEnd(address, port []byte) (netip.AddrPort, error) {
	p, err := strconv.ParseUint(string(port), 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("parse port: %w", err)
	}
	var a netip.Addr
	if len(address) == 8 {
		var b [4]byte
		if _, err := hex.Decode(b[:], address); err != nil {
			return netip.AddrPort{}, fmt.Errorf("parse address: %w", err)
		}
		a = netip.AddrFrom4(b)
	} else if a, err = netip.ParseAddr(string(address)); err != nil {
		return netip.AddrPort{}, fmt.Errorf("parse address: %w", err)
	} else if !a.Is6() || a.Zone() != "" {
		return netip.AddrPort{}, errFields
	}
	return netip.AddrPortFrom(a, uint16(p)), nil
}

// markOf returns the fwmark that stands in the place of the virtual address of a
// template of a fwmark service.
func markOf(e *Entry) uint32 { return binary.BigEndian.Uint32(e.Virtual.Addr().AsSlice()) }
