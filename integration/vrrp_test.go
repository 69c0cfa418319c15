package integration

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/understudy-ha/understudy/integration/lab"
)

// advert is a VRRP advertisement as it was seen on the link.
type advert struct {
	at       time.Time
	src      netip.Addr
	version  uint8
	vrid     uint8
	priority uint8
}

// isVRRP reports whether an Ethernet frame carries VRRP over IPv4.
func isVRRP(f []byte) bool {
	return len(f) >= 38 && binary.BigEndian.Uint16(f[12:]) == 0x0800 && f[23] == 112
}

// adverts decodes the frames of a capture made with isVRRP.
func adverts(frames []lab.Frame) []advert {
	var list []advert
	for _, f := range frames {
		ip := f.Data[14:]
		b := ip[int(ip[0]&15)*4:]
		list = append(list, advert{f.At, netip.AddrFrom4([4]byte(ip[12:16])), b[0] >> 4, b[1], b[2]})
	}
	return list
}

// reign is a time during which one router alone was heard.
type reign struct {
	src      netip.Addr
	from, to time.Time
	adverts  int
}

// reigns cuts the advertisements of one VRID into the times of each master.
// A farewell ends a reign and does not begin one.
func reigns(list []advert, vrid uint8) []reign {
	var out []reign
	for _, a := range list {
		if a.vrid != vrid || a.priority == 0 {
			continue
		}
		if k := len(out) - 1; k >= 0 && out[k].src == a.src {
			out[k].to = a.at
			out[k].adverts++
			continue
		}
		out = append(out, reign{a.src, a.at, a.at, 1})
	}
	return out
}

func (r reign) String() string {
	return fmt.Sprintf("%v: %d advertisements in %v", r.src, r.adverts, r.to.Sub(r.from).Round(time.Millisecond))
}

// arp is an ARP packet for IPv4 over Ethernet.
type arp struct {
	at         time.Time
	op         uint16
	sender     [6]byte
	senderAddr netip.Addr
	targetAddr netip.Addr
}

// isARP reports whether an Ethernet frame carries ARP for IPv4.
func isARP(f []byte) bool {
	return len(f) >= 42 && binary.BigEndian.Uint16(f[12:]) == 0x0806 && binary.BigEndian.Uint16(f[16:]) == 0x0800
}

func arps(frames []lab.Frame) []arp {
	var list []arp
	for _, f := range frames {
		b := f.Data[14:]
		list = append(list, arp{f.At, binary.BigEndian.Uint16(b[6:]), [6]byte(b[8:14]), netip.AddrFrom4([4]byte(b[14:18])), netip.AddrFrom4([4]byte(b[24:28]))})
	}
	return list
}
