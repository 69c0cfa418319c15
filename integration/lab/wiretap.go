package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Wiretap sees what the programs of a node tell the kernel about IPVS, whoever
// they are: a witness that asks none of them.
type Wiretap struct {
	fd     int
	family uint16
	done   chan struct{}

	mu       sync.Mutex
	commands []Command
	lost     int // frames that came cut short
}

// Command is one message to the kernel's IPVS.
type Command struct {
	At   time.Time // by the kernel's clock, when it was sent
	Name string    // as in the kernel's enumeration, in lower case
	// Service is the virtual service that it is about, such as "10.51.0.100:80";
	// "" if it names none by an IPv4 address.
	Service string
	PID     uint32 // the port of the sender's socket
	// Sendmsg numbers the system calls that messages came with: those of a
	// batch share one.
	Sendmsg int
}

// Writes reports whether the command changes services or servers.
func (c Command) Writes() bool {
	return c.Name != "" && !reads[c.Name]
}

// commandNames are the names of the kernel's commands by number (linux/ip_vs.h,
// IPVS_CMD_*).
var commandNames = []string{
	"", "new_service", "set_service", "del_service", "get_service", "new_dest", "set_dest", "del_dest", "get_dest",
	"new_daemon", "del_daemon", "get_daemon", "set_config", "get_config", "set_info", "get_info", "zero", "flush",
}

// reads leave services and servers as they are.
var reads = map[string]bool{
	"get_service": true, "get_dest": true, "get_daemon": true, "get_config": true, "get_info": true,
	"new_daemon": true, "del_daemon": true, "set_config": true,
}

// genlHeader is the length of a generic netlink header.
const genlHeader = 4

// requestsTo chooses messages to a family, by the type and the request flag of
// the first message of a system call. What the kernel answers, above all long
// dumps, is left out. The kernel of the host is little-endian.
func requestsTo(family uint16) Filter {
	return Filter{
		bpf.LoadAbsolute{Off: 4, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(htons(family)), SkipTrue: 3},
		bpf.LoadAbsolute{Off: 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: unix.NLM_F_REQUEST, SkipTrue: 1},
		bpf.RetConstant{Val: 1 << 20},
		bpf.RetConstant{Val: 0},
	}
}

// Wiretap starts listening on the node. The family of IPVS must be there, and
// the number that it has stays with the Wiretap.
func (n *Node) Wiretap() *Wiretap {
	tb := n.lab.tb
	tb.Helper()
	w := &Wiretap{fd: -1, done: make(chan struct{})}
	n.Must("listen to netlink", func() error {
		family, err := netlink.GenlFamilyGet("IPVS")
		if err != nil {
			return fmt.Errorf("find IPVS: %w", err)
		}
		w.family = family.ID
		link := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Name: "nlmon0"}, LinkType: "nlmon"}
		if err := n.nl.LinkAdd(link); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add nlmon: %w", err)
		}
		up, err := n.nl.LinkByName("nlmon0")
		if err == nil {
			err = n.nl.LinkSetUp(up)
		}
		if err != nil {
			return err
		}
		all := htons(unix.ETH_P_ALL)
		if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all)); err != nil {
			return fmt.Errorf("open packet socket: %w", err)
		}
		err = errors.Join(
			unix.SetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20),
			unix.SetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		)
		if err != nil {
			return err
		}
		if err := attach(w.fd, requestsTo(w.family)); err != nil {
			return err
		}
		tv := unix.NsecToTimeval(int64(20 * time.Millisecond)) // wakes up so often to see whether it is to stop
		if err := unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			return err
		}
		return unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: up.Attrs().Index})
	})
	ended := make(chan struct{})
	go w.listen(ended)
	tb.Cleanup(func() {
		close(w.done)
		<-ended
		_ = unix.Close(w.fd)
	})
	return w
}

func (w *Wiretap) listen(ended chan<- struct{}) {
	defer close(ended)
	b, control := make([]byte, 1<<20), make([]byte, 256)
	for number := 0; ; number++ {
		k, oob, _, _, err := unix.Recvmsg(w.fd, b, control, unix.MSG_TRUNC)
		select {
		case <-w.done:
			return
		default:
		}
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN):
			continue
		case err != nil:
			return
		}
		w.mu.Lock()
		if k > len(b) {
			w.lost++
			k = len(b)
		}
		w.commands = append(w.commands, ipvsCommands(b[:k], w.family, number, sentAt(control[:oob]))...)
		w.mu.Unlock()
	}
}

// ipvsCommands takes what one system call sent apart.
func ipvsCommands(b []byte, family uint16, number int, at time.Time) []Command {
	var list []Command
	for len(b) >= unix.SizeofNlMsghdr+genlHeader {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			break
		}
		if binary.NativeEndian.Uint16(b[4:]) == family && size >= unix.SizeofNlMsghdr+genlHeader {
			c := Command{At: at, PID: binary.NativeEndian.Uint32(b[12:]), Sendmsg: number, Name: "unknown"}
			if i := int(b[unix.SizeofNlMsghdr]); i < len(commandNames) {
				c.Name = commandNames[i]
			}
			c.Service = serviceOf(b[unix.SizeofNlMsghdr+genlHeader : size])
			list = append(list, c)
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return list
}

// The attributes that name a service (linux/ip_vs.h, IPVS_CMD_ATTR_SERVICE and
// IPVS_SVC_ATTR_*).
const (
	attrService = 1
	attrAddress = 3
	attrPort    = 4
)

// serviceOf reads the service that the attributes of a command name.
func serviceOf(attrs []byte) string {
	outer, err := nl.ParseRouteAttr(attrs)
	if err != nil {
		return ""
	}
	var addr netip.Addr
	var port uint16
	for _, a := range outer {
		if a.Attr.Type&^unix.NLA_F_NESTED != attrService {
			continue
		}
		inner, err := nl.ParseRouteAttr(a.Value)
		if err != nil {
			return ""
		}
		for _, a := range inner {
			switch {
			case a.Attr.Type == attrAddress && len(a.Value) >= 4:
				addr = netip.AddrFrom4([4]byte(a.Value[:4]))
			case a.Attr.Type == attrPort && len(a.Value) >= 2:
				port = binary.BigEndian.Uint16(a.Value)
			}
		}
	}
	if !addr.IsValid() {
		return ""
	}
	return netip.AddrPortFrom(addr, port).String()
}

// sentAt takes the kernel's time of a message from the control data: we may
// come to see it much later, where all hosts share one processor.
func sentAt(control []byte) time.Time {
	list, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return time.Now()
	}
	for _, m := range list {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		}
	}
	return time.Now()
}

// Mark returns how many commands have been seen, as the place to look from.
func (w *Wiretap) Mark() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.commands)
}

// Since returns the commands after the first n.
func (w *Wiretap) Since(n int) []Command {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.commands[min(n, len(w.commands)):])
}

// Writes returns the commands after the first n that change services or
// servers, and an error if some may have been missed.
func (w *Wiretap) Writes(n int) ([]Command, error) {
	list := slices.DeleteFunc(w.Since(n), func(c Command) bool { return !c.Writes() })
	w.mu.Lock()
	defer w.mu.Unlock()
	stats, err := unix.GetsockoptTpacketStats(w.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return list, fmt.Errorf("ask for lost frames: %w", err)
	}
	if w.lost += int(stats.Drops); w.lost > 0 {
		return list, fmt.Errorf("%d messages to the kernel were not seen", w.lost)
	}
	return list, nil
}
