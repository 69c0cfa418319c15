package director

import (
	"net/netip"
	"time"

	"github.com/understudy-ha/understudy/garp"
	"github.com/understudy-ha/understudy/health"
)

// Config is what the operator wants of the kernel, validated.
type Config struct {
	Routers   []VirtualRouter
	Services  []Service
	Exclusive bool // the whole IPVS table is ours
}

// VirtualRouter is the part of a virtual router that the kernel sees.
type VirtualRouter struct {
	Name      string
	Link      string         // the interface that the addresses are on
	Parent    string         // the interface below Link, which then is there for this virtual router alone; empty: none
	Addresses []netip.Prefix // address with its prefix length, host bits kept
	Announce  garp.Schedule
	Routes    []Route
	Rules     []Rule
}

// Service is a virtual service and its real servers. Several keys are a group:
// the same servers behind each of them, under one policy.
type Service struct {
	Name    string
	Keys    []ServiceKey
	Spec    ServiceSpec
	Servers []Server
	Policy  Policy
}

// Policy says how a service treats its servers.
type Policy struct {
	// Quorum is the weight of live servers that the service needs. It is lost
	// below Quorum - Hysteresis, and gained at Quorum + Hysteresis. Without it
	// Sorry, if there is one, takes the place of the servers.
	Quorum     int
	Hysteresis int
	Sorry      Server // without a valid Address there is none

	ZeroWhileDown bool          // a server that is down stays with weight 0
	Drain         time.Duration // a fit server that has to go gets weight 0 for so long at most; 0: it goes at once
	SlowStart     time.Duration // a server that comes grows to its weight in this time; 0: it has it at once
	Alpha         bool          // a server that another process has left in the table is down until its check has passed
	KeepAtStop    bool          // the service stays in the table when the director stops
}

// Server is a real server of a service.
type Server struct {
	Address netip.AddrPort
	Spec    ServerSpec
	Check   health.Check // TypeNone: always fit
}

// Protocol is an IP protocol number (TCP, UDP or SCTP), or 0 for a fwmark service.
type Protocol uint8

// The protocols of services (linux/in.h).
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// ServiceKey names a virtual service in the kernel: protocol and address, or a
// fwmark within an address family.
type ServiceKey struct {
	Protocol Protocol
	Address  netip.AddrPort
	FWMark   uint32
	IPv6     bool // of a fwmark service; never of another, of which Address says it: one service has one key
}

// Key names an entry of the IPVS table: a service (Server is the zero
// AddrPort), or a real server of it.
type Key struct {
	Service ServiceKey
	Server  netip.AddrPort
}

// Spec is the content of an entry: ServiceSpec for a service, ServerSpec for a
// real server; the other one is zero.
type Spec struct {
	Service ServiceSpec
	Server  ServerSpec
}

// Flags are the scheduler flags of a service and one-packet scheduling, with
// the kernel's values (linux/ip_vs.h, IP_VS_SVC_F_*).
type Flags uint32

// The flags. What SCHED1 to SCHED3 mean depends on the scheduler.
const (
	FlagOnePacket Flags = 0x04
	FlagSched1    Flags = 0x08 // sh-fallback, mh-fallback
	FlagSched2    Flags = 0x10 // sh-port, mh-port
	FlagSched3    Flags = 0x20
)

// ServiceSpec is what a service is set to.
type ServiceSpec struct {
	Scheduler   string
	Flags       Flags
	Persistence time.Duration // whole seconds; 0 = none
	Mask        uint8         // prefix length for persistence: 32 (IPv4) or 128 (IPv6) when not set
	Engine      string        // persistence engine: empty or "sip"
}

// Forward is a forwarding method.
type Forward uint8

// The forwarding methods with the kernel's values (IP_VS_CONN_F_*).
const (
	NAT   Forward = 0 // masquerading
	Local Forward = 1 // delivered on the director itself
	TUN   Forward = 2 // in a Tunnel
	DR    Forward = 3 // direct routing
)

// Encapsulation is what a tunnel wraps packets in, with the kernel's values
// (IP_VS_CONN_F_TUNNEL_TYPE_*).
type Encapsulation uint8

// The encapsulations.
const (
	IPIP Encapsulation = 0
	GUE  Encapsulation = 1 // UDP to Tunnel.Port
	GRE  Encapsulation = 2
)

// TunnelChecksum says how a GUE or GRE tunnel protects its packets, with the
// kernel's values (IP_VS_TUNNEL_ENCAP_FLAG_*).
type TunnelChecksum uint8

// The checksums.
const (
	NoChecksum     TunnelChecksum = 0
	Checksum       TunnelChecksum = 1
	RemoteChecksum TunnelChecksum = 2 // GUE only: remote checksum offload
)

// Tunnel is how packets get to a server with Forward TUN; zero otherwise.
type Tunnel struct {
	Type     Encapsulation
	Checksum TunnelChecksum
	Port     uint16 // GUE only
}

// ServerSpec is what a real server is set to.
type ServerSpec struct {
	Weight  int // 0..65535
	Forward Forward
	Upper   uint32 // connections; 0 = no threshold
	Lower   uint32
	Tunnel  Tunnel
}
