package link

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/rtattr"
)

// Alias marks an interface as made by us (IFLA_IFALIAS of linux/if_link.h; ip
// link shows it).
const Alias = "understudy"

// Device is an interface as the kernel tells it, with what it was made of.
type Device struct {
	Index       int
	Name        string
	Kind        string // "macvlan", "vlan", ...; empty: hardware
	Alias       string
	HWAddr      [6]byte // zero: none of this length
	Up          bool    // administratively
	Parent      int     // index of the interface below it (IFLA_LINK); 0: none
	ParentSpace int     // namespace of Parent as the kernel numbers it (IFLA_LINK_NETNSID); -1: this one
	Mode        uint32  // of a macvlan (MACVLAN_MODE_*)
}

// ParseDevice decodes the body of an RTM_NEWLINK message (struct ifinfomsg and
// its attributes).
func ParseDevice(b []byte) (Device, error) {
	i, err := parseIface(b)
	if err != nil {
		return Device{}, err
	}
	d := Device{
		Index: i.index, Name: i.name, ParentSpace: -1,
		Up: binary.NativeEndian.Uint32(b[8:])&unix.IFF_UP != 0,
	}
	if len(i.hwaddr) == len(d.HWAddr) {
		copy(d.HWAddr[:], i.hwaddr)
	}
	for typ, value := range rtattr.All(b[unix.SizeofIfInfomsg:]) {
		switch typ {
		case unix.IFLA_IFALIAS:
			d.Alias = unix.ByteSliceToString(value)
		case unix.IFLA_LINK:
			d.Parent = number(value)
		case unix.IFLA_LINK_NETNSID:
			d.ParentSpace = number(value)
		case unix.IFLA_LINKINFO:
			d.made(value)
		}
	}
	return d, nil
}

// made decodes IFLA_LINKINFO.
func (d *Device) made(info []byte) {
	for typ, value := range rtattr.All(info) {
		switch typ {
		case unix.IFLA_INFO_KIND:
			d.Kind = unix.ByteSliceToString(value)
		case unix.IFLA_INFO_DATA:
			if d.Kind != "macvlan" {
				continue
			}
			for typ, value := range rtattr.All(value) {
				if typ == unix.IFLA_MACVLAN_MODE {
					d.Mode = uint32(number(value))
				}
			}
		}
	}
}

// number decodes an attribute of 32 bits; a shorter one is 0.
func number(b []byte) int {
	if len(b) < 4 {
		return 0
	}
	return int(int32(binary.NativeEndian.Uint32(b)))
}
