package lab

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Asker sends ARP requests of its own, past the kernel's neighbour cache. Who
// answers is seen by a Capture.
type Asker struct {
	fd    int
	index int
	frame [42]byte
}

// Asker returns an Asker on the port's interface, with its first address.
func (p *Port) Asker() *Asker {
	tb := p.Node.lab.tb
	tb.Helper()
	a := &Asker{}
	hw := p.HWAddr()
	src := netip.MustParsePrefix(p.Node.Addresses(p.Ifname)[0]).Addr().As4()
	p.Node.Must("open packet socket", func() error {
		link, err := p.Node.nl.LinkByName(p.Ifname)
		if err != nil {
			return err
		}
		a.index = link.Attrs().Index
		a.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	f := a.frame[:]
	for i := range 6 {
		f[i] = 0xff
	}
	copy(f[6:], hw)
	binary.BigEndian.PutUint16(f[12:], 0x0806)
	copy(f[14:], []byte{0, 1, 8, 0, 6, 4, 0, 1})
	copy(f[22:], hw)
	copy(f[28:], src[:])
	tb.Cleanup(func() { _ = unix.Close(a.fd) })
	return a
}

// Ask sends one request for an address.
func (a *Asker) Ask(addr netip.Addr) {
	to := addr.As4()
	f := a.frame
	copy(f[38:], to[:])
	_ = unix.Sendto(a.fd, f[:], 0, &unix.SockaddrLinklayer{Ifindex: a.index, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}})
}
