package link

import (
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func TestParseDevice(t *testing.T) {
	macvlan := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	macvlan.AddRtAttr(unix.IFLA_INFO_KIND, []byte("macvlan"))
	macvlan.AddRtAttr(unix.IFLA_INFO_DATA, nil).AddRtAttr(unix.IFLA_MACVLAN_MODE, nl.Uint32Attr(4))
	plain := ifinfo(2, unix.IFF_UP)
	name := attr(unix.IFLA_IFNAME, []byte("va\x00")...)
	tests := []struct {
		name string
		in   []byte
		want Device
	}{
		{"hardware", join(plain, name, attr(unix.IFLA_ADDRESS, 2, 0, 0, 0, 0, 9)),
			Device{Index: 2, Name: "va", HWAddr: [6]byte{2, 0, 0, 0, 0, 9}, Up: true, ParentSpace: -1}},
		{"macvlan of ours", join(plain, name, attr(unix.IFLA_IFALIAS, []byte("understudy\x00")...), nl.NewRtAttr(unix.IFLA_LINK, nl.Uint32Attr(7)).Serialize(), macvlan.Serialize()),
			Device{Index: 2, Name: "va", Kind: "macvlan", Alias: Alias, Up: true, Parent: 7, ParentSpace: -1, Mode: 4}},
		{"macvlan from elsewhere", join(plain, name, nl.NewRtAttr(unix.IFLA_LINK_NETNSID, nl.Uint32Attr(0)).Serialize(), macvlan.Serialize()),
			Device{Index: 2, Name: "va", Kind: "macvlan", Up: true, Mode: 4}},
		{"odd lengths", join(plain, name, attr(unix.IFLA_LINK, 1), attr(unix.IFLA_ADDRESS, 1, 2), attr(unix.IFLA_LINKINFO, 1, 2, 3)),
			Device{Index: 2, Name: "va", Up: true, ParentSpace: -1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseDevice(test.in)
			if err != nil || got != test.want {
				t.Errorf("ParseDevice = %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
	if d, err := ParseDevice(plain); err == nil {
		t.Errorf("without a name: %+v", d)
	}
}
