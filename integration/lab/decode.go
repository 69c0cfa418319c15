package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// Advert is a VRRP advertisement as it was seen on the link.
type Advert struct {
	At       time.Time
	Source   netip.Addr
	Version  uint8
	VRID     uint8
	Priority uint8
}

// Adverts decodes the frames of a capture of VRRP.
func Adverts(frames []Frame) []Advert {
	var list []Advert
	for _, f := range frames {
		ip := f.Data[14:]
		b := ip[int(ip[0]&15)*4:]
		list = append(list, Advert{f.At, netip.AddrFrom4([4]byte(ip[12:16])), b[0] >> 4, b[1], b[2]})
	}
	return list
}

// Reign is a time during which one router alone was heard.
type Reign struct {
	Source   netip.Addr
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
		if k := len(out) - 1; k >= 0 && out[k].Source == a.Source {
			out[k].To = a.At
			out[k].Adverts++
			continue
		}
		out = append(out, Reign{a.Source, a.At, a.At, 1})
	}
	return out
}

func (r Reign) String() string {
	return fmt.Sprintf("%v: %d advertisements in %v", r.Source, r.Adverts, r.To.Sub(r.From).Round(time.Millisecond))
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
