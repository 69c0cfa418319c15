package connsync

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Bounds of a beacon. It fits into one frame.
const (
	maxBeacon = 1200 // bytes
	maxName   = 64   // bytes of a router id
	maxPeers  = 8    // directors that are listened to
)

// Beacon is what a director tells the others about once a second.
type Beacon struct {
	Name        string
	Incarnation uint64        // drawn at start; another one is another process
	Sequence    uint64        // within the incarnation, from 1
	Uptime      time.Duration // in milliseconds
	Flags       Flags
	ID          uint8 // of its kernel's messages
	Counts      Counts
	Probe       netip.AddrPort // client of the synthetic connection that the others are to look for; zero: none
	Ask         Ask
	Serve       Serve
	Heard       []Heard
}

// Flags are yes or no.
type Flags uint8

// The flags.
const (
	FlagMaster    Flags = 1 << iota // of at least one virtual router
	FlagSending                     // its kernel's master daemon runs
	FlagReceiving                   // its kernel's backup daemon runs
	FlagReady                       // see Ready
	FlagCounted                     // Counts are known
	allFlags      = FlagMaster | FlagSending | FlagReceiving | FlagReady | FlagCounted
)

// Counts are connections in the kernel's table, our own synthetic ones left out.
type Counts struct {
	Total   uint32
	Synced  uint32 // of them, learnt from a peer
	Lasting uint32 // of them, those by which tables are compared
}

// Ask is the request for a resync; the zero value asks for none.
type Ask struct {
	Of     uint64 // incarnation of the one who is to send
	Number uint32 // another one is another request
}

// Serve is the answer to the last request that was heard; zero: there was none.
type Serve struct {
	For     uint64 // incarnation of the one who asked
	Number  uint32 // of the request
	Done    bool
	Sent    uint32 // connections so far
	Omitted uint32
}

// Heard is what a director knows of another one. To find one's own incarnation
// there proves that the beacon is not a recording from before.
type Heard struct {
	Incarnation uint64
	Sequence    uint64         // the last one heard
	Probe       netip.AddrPort // the last one heard of
	Seen        bool           // the kernel has it
	Held        time.Duration  // since then; in milliseconds
}

// The form of a beacon, numbers in network order:
//
//	0 "US" | 2 version | 3 sealed | 4 size | 6 flags | 7 sync ID | 8 incarnation
//	16 sequence | 24 uptime | 32 total, synced, lasting | 44 probe (address, port)
//	50 asks of | 58 number | 62 serves | 70 number | 74 done | 75 sent | 79 omitted
//	83 length of the name | 84 number of heard | the name | the heard | the seal
//
// Each of the heard is incarnation, sequence, probe, seen (1 byte), held (4).
const (
	beaconVersion = 1
	beaconFixed   = 85
	heardSize     = 8 + 8 + 6 + 1 + 4
	sealSize      = sha256.Size
)

// Append appends the beacon, sealed with the secret unless that is empty. What
// does not fit is cut off.
func (v *Beacon) Append(b []byte, secret string) []byte {
	start := len(b)
	be := binary.BigEndian
	sealed := bit(secret != "")
	name, heard := v.Name[:min(len(v.Name), maxName)], v.Heard[:min(len(v.Heard), maxPeers)]
	b = append(b, 'U', 'S', beaconVersion, sealed, 0, 0, byte(v.Flags), v.ID)
	b = be.AppendUint64(b, v.Incarnation)
	b = be.AppendUint64(b, v.Sequence)
	b = be.AppendUint64(b, uint64(max(v.Uptime.Milliseconds(), 0)))
	for _, n := range [...]uint32{v.Counts.Total, v.Counts.Synced, v.Counts.Lasting} {
		b = be.AppendUint32(b, n)
	}
	b = appendProbe(b, v.Probe)
	b = be.AppendUint32(be.AppendUint64(b, v.Ask.Of), v.Ask.Number)
	b = be.AppendUint32(be.AppendUint64(b, v.Serve.For), v.Serve.Number)
	b = append(b, bit(v.Serve.Done))
	b = be.AppendUint32(be.AppendUint32(b, v.Serve.Sent), v.Serve.Omitted)
	b = append(b, byte(len(name)), byte(len(heard)))
	b = append(b, name...)
	for _, h := range heard {
		b = be.AppendUint64(be.AppendUint64(b, h.Incarnation), h.Sequence)
		b = append(appendProbe(b, h.Probe), bit(h.Seen))
		b = be.AppendUint32(b, uint32(min(max(h.Held.Milliseconds(), 0), math.MaxUint32)))
	}
	size := len(b) - start + int(sealed)*sealSize
	be.PutUint16(b[start+4:], uint16(size))
	if sealed != 0 {
		b = append(b, seal(b[start:], secret)...)
	}
	return b
}

func seal(b []byte, secret string) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write(b)
	return h.Sum(nil)
}

func bit(set bool) byte {
	if set {
		return 1
	}
	return 0
}

func appendProbe(b []byte, p netip.AddrPort) []byte {
	var a [4]byte
	if p.Addr().Is4() {
		a = p.Addr().As4()
	}
	return binary.BigEndian.AppendUint16(append(b, a[:]...), p.Port())
}

func parseProbe(b []byte) netip.AddrPort {
	p := netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), binary.BigEndian.Uint16(b[4:]))
	if p.Addr().IsUnspecified() && p.Port() == 0 {
		return netip.AddrPort{}
	}
	return p
}

// ParseBeacon parses what came from the network. The error is a Drop.
func ParseBeacon(b []byte, secret string) (Beacon, Drop) {
	var v Beacon
	be := binary.BigEndian
	switch {
	case len(b) < beaconFixed || len(b) > maxBeacon:
		return v, DropSize
	case b[0] != 'U' || b[1] != 'S':
		return v, DropForeign
	case b[2] != beaconVersion:
		return v, DropVersion
	case int(be.Uint16(b[4:])) != len(b):
		return v, DropSize
	case b[3] > 1:
		return v, DropMalformed
	case (b[3] == 1) != (secret != ""):
		return v, DropSecret
	}
	if secret != "" {
		body := b[:len(b)-sealSize]
		if len(body) < beaconFixed {
			return v, DropSize
		}
		if !hmac.Equal(b[len(body):], seal(body, secret)) {
			return v, DropSecret
		}
		b = body
	}
	nameLen, heard := int(b[83]), int(b[84])
	rest := b[beaconFixed:]
	uptime := be.Uint64(b[24:])
	if nameLen == 0 || nameLen > maxName || heard > maxPeers || len(rest) != nameLen+heard*heardSize ||
		Flags(b[6])&^allFlags != 0 || b[74] > 1 || uptime > math.MaxInt64/uint64(time.Millisecond) ||
		be.Uint64(b[8:]) == 0 || be.Uint64(b[16:]) == 0 {
		return v, DropMalformed
	}
	name := string(rest[:nameLen])
	if !utf8.ValidString(name) || strings.ContainsFunc(name, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return v, DropMalformed // it goes to terminals
	}
	v = Beacon{
		Name:        name,
		Incarnation: be.Uint64(b[8:]),
		Sequence:    be.Uint64(b[16:]),
		Uptime:      time.Duration(uptime) * time.Millisecond,
		Flags:       Flags(b[6]),
		ID:          b[7],
		Counts:      Counts{Total: be.Uint32(b[32:]), Synced: be.Uint32(b[36:]), Lasting: be.Uint32(b[40:])},
		Probe:       parseProbe(b[44:]),
		Ask:         Ask{Of: be.Uint64(b[50:]), Number: be.Uint32(b[58:])},
		Serve: Serve{For: be.Uint64(b[62:]), Number: be.Uint32(b[70:]), Done: b[74] == 1,
			Sent: be.Uint32(b[75:]), Omitted: be.Uint32(b[79:])},
	}
	for h := rest[nameLen:]; len(h) > 0; h = h[heardSize:] {
		if h[22] > 1 {
			return Beacon{}, DropMalformed
		}
		v.Heard = append(v.Heard, Heard{
			Incarnation: be.Uint64(h), Sequence: be.Uint64(h[8:]), Probe: parseProbe(h[16:]),
			Seen: h[22] == 1, Held: time.Duration(be.Uint32(h[23:])) * time.Millisecond,
		})
	}
	return v, DropNone
}
