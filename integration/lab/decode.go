package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Advert is a VRRP advertisement as it was seen on the link.
type Advert struct {
	At          time.Time
	From        *Port // whose node sent it, if a Tap kept it
	HWSource    [6]byte
	Source      netip.Addr
	Destination netip.Addr
	TTL         uint8 // or hop limit
	Version     uint8
	VRID        uint8
	Priority    uint8
	AuthType    uint8         // version 2
	Password    string        // version 2, type 1
	Interval    time.Duration // version 3 in centiseconds, version 2 in seconds
	Addresses   []netip.Addr
}

// Adverts decodes the frames of a capture of VRRP. It is written from the RFCs
// alone (9568 section 5.2, 3768 section 5.3, 2338 section 5.3), beside the code
// of the product, and leaves out what it cannot read.
func Adverts(frames []Frame) []Advert {
	var list []Advert
	for _, f := range frames {
		if a, ok := advert(f); ok {
			list = append(list, a)
		}
	}
	return list
}

func advert(f Frame) (Advert, bool) {
	const ethernet, short = 14, 8
	if len(f.Data) < ethernet+20 {
		return Advert{}, false
	}
	a := Advert{At: f.At, From: f.From, HWSource: [6]byte(f.Data[6:])}
	ip, size := f.Data[ethernet:], 4
	var b []byte
	switch ip[0] >> 4 {
	case 4:
		header, total := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
		if header < 20 || total < header+short || total > len(ip) {
			return Advert{}, false
		}
		a.Source, a.Destination, a.TTL = netip.AddrFrom4([4]byte(ip[12:])), netip.AddrFrom4([4]byte(ip[16:])), ip[8]
		b = ip[header:total]
	case 6:
		if len(ip) < 40+short {
			return Advert{}, false
		}
		a.Source, a.Destination, a.TTL = netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:])), ip[7]
		b, size = ip[40:min(len(ip), 40+int(binary.BigEndian.Uint16(ip[4:])))], 16
	}
	if len(b) < short {
		return Advert{}, false
	}
	a.Version, a.VRID, a.Priority = b[0]>>4, b[1], b[2]
	if a.Version == 2 {
		a.AuthType, a.Interval = b[4], time.Duration(b[5])*time.Second
		if len(b) >= short+8 && a.AuthType == 1 {
			a.Password = strings.TrimRight(string(b[len(b)-8:]), "\x00")
		}
	} else {
		a.Interval = time.Duration(binary.BigEndian.Uint16(b[4:])&0xfff) * 10 * time.Millisecond
	}
	for rest := b[short:]; len(a.Addresses) < int(b[3]) && len(rest) >= size; rest = rest[size:] {
		addr, _ := netip.AddrFromSlice(rest[:size])
		a.Addresses = append(a.Addresses, addr)
	}
	return a, true
}

// Reign is a time during which one router alone was heard.
type Reign struct {
	Node     string     // of whoever a Tap heard
	Source   netip.Addr // of the last advertisement
	From, To time.Time
	Adverts  int
}

// Reigns cuts the advertisements of one VRID into the times of each master.
// A farewell ends a reign and does not begin one.
func Reigns(list []Advert, vrid uint8) []Reign {
	var out []Reign
	for _, a := range list {
		if a.VRID != vrid || a.Priority == 0 {
			continue
		}
		if k := len(out) - 1; k >= 0 && same(out[k], a) {
			out[k].To, out[k].Source = a.At, a.Source
			out[k].Adverts++
			continue
		}
		r := Reign{Source: a.Source, From: a.At, To: a.At, Adverts: 1}
		if a.From != nil {
			r.Node = a.From.Node.Name
		}
		out = append(out, r)
	}
	return out
}

// same reports whether an advertisement is of the router that reigns: by the
// cable that it came in by if that is known, or else by its source.
func same(r Reign, a Advert) bool {
	if a.From != nil {
		return r.Node == a.From.Node.Name
	}
	return r.Source == a.Source
}

func (r Reign) String() string {
	who := r.Source.String()
	if r.Node != "" {
		who = r.Node
	}
	return fmt.Sprintf("%v: %d advertisements in %v", who, r.Adverts, r.To.Sub(r.From).Round(time.Millisecond))
}

// ARPPacket is an ARP packet for IPv4 over Ethernet.
type ARPPacket struct {
	At         time.Time
	Op         uint16
	Sender     [6]byte
	SenderAddr netip.Addr
	TargetAddr netip.Addr
}

// ARPs decodes the frames of a capture of ARP.
func ARPs(frames []Frame) []ARPPacket {
	var list []ARPPacket
	for _, f := range frames {
		b := f.Data[14:]
		list = append(list, ARPPacket{f.At, binary.BigEndian.Uint16(b[6:]), [6]byte(b[8:14]), netip.AddrFrom4([4]byte(b[14:18])), netip.AddrFrom4([4]byte(b[24:28]))})
	}
	return list
}
