package genl

import "net/netip"

// The families, protocols and flags are the kernel's own values (linux/ip_vs.h).

// Flags of a service (IP_VS_SVC_F_*).
const (
	FlagPersistent uint32 = 0x01
	FlagHashed     uint32 = 0x02 // set by the kernel; never reported by this package
	FlagOnePacket  uint32 = 0x04
	FlagSched1     uint32 = 0x08
	FlagSched2     uint32 = 0x10
	FlagSched3     uint32 = 0x20
)

// Forwarding methods of a destination (IP_VS_CONN_F_FWD_MASK).
const (
	Masquerade  uint32 = 0
	LocalNode   uint32 = 1
	Tunnelled   uint32 = 2
	DirectRoute uint32 = 3
)

// ServiceID names a virtual service: family, protocol, address and port; or
// family and fwmark, the rest being zero.
type ServiceID struct {
	Family   uint16 // unix.AF_INET or unix.AF_INET6
	Protocol uint16
	Port     uint16
	FWMark   uint32
	Address  netip.Addr
}

// Service is a virtual service as the kernel has it.
type Service struct {
	ServiceID
	Scheduler string
	Engine    string // persistence engine; empty: none
	Flags     uint32 // without FlagHashed
	Timeout   uint32 // of persistence, in seconds; it may be set although FlagPersistent is not
	Netmask   uint32 // IPv4: the mask as a number (0xffffff00 is /24); IPv6: the prefix length
	Stats     Stats  // read only
}

// Destination is a real server as the kernel has it.
type Destination struct {
	Address    netip.Addr // IPv4 or IPv6, whatever the service has
	Port       uint16
	Method     uint32 // forwarding method
	Weight     int32
	Upper      uint32 // thresholds of connections; 0: none
	Lower      uint32
	TunnelType uint8 // director.Encapsulation
	TunnelPort uint16
	TunnelFlag uint16 // director.TunnelChecksum

	Active     uint32 // connections; read only, as is what follows
	Inactive   uint32
	Persistent uint32 // persistence templates
	Stats      Stats
}

// Stats are the kernel's 64-bit counters (IPVS_SVC_ATTR_STATS64), and rates per
// second.
type Stats struct {
	Connections, InPackets, OutPackets, InBytes, OutBytes uint64
	CPS, InPPS, OutPPS, InBPS, OutBPS                     uint64
}

// DaemonState is a role of the kernel's synchronisation daemon
// (IP_VS_STATE_*).
type DaemonState uint32

// The roles. A director may have both.
const (
	DaemonMaster DaemonState = 1
	DaemonBackup DaemonState = 2
)

// Daemon is a synchronisation daemon. Zero values are the kernel's defaults on
// writing; on reading they are filled in.
type Daemon struct {
	State     DaemonState
	Interface string
	ID        uint8      // only connections with this ID are taken; on writing a master's or backup's own
	MaxLen    uint16     // bytes of a message; the kernel makes less than 1024 that
	Group     netip.Addr // multicast; IPv4 or IPv6
	Port      uint16
	TTL       uint8
}

// Timeouts are those of connections, in seconds. Zero leaves one as it is.
type Timeouts struct {
	TCP, TCPFin, UDP uint32
}

// Info is what the kernel says of IPVS itself.
type Info struct {
	Version  uint32 // 0x010201 is 1.2.1
	ConnSize uint32 // buckets of the connection table
}

// Op is what a Message does.
type Op uint8

// The operations, with the kernel's values (IPVS_CMD_*).
const (
	NewService Op = 1
	SetService Op = 2
	DelService Op = 3
	NewDest    Op = 5
	SetDest    Op = 6
	DelDest    Op = 7
	NewDaemon  Op = 9
	DelDaemon  Op = 10
	SetConfig  Op = 12
	Zero       Op = 16 // of Service.ServiceID, or of all with the zero ID
	Flush      Op = 17
)

// Message is one change. Which fields count depends on Op: Service for the
// first three and Zero (its ID is enough to delete or zero), Service.ServiceID
// and Dest for those of destinations, Daemon and Timeouts for theirs.
type Message struct {
	Op       Op
	Service  Service
	Dest     Destination
	Daemon   Daemon
	Timeouts Timeouts
}
