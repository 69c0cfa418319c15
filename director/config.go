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
	Link      string
	Addresses []netip.Prefix // address with its prefix length, host bits kept
	Announce  garp.Schedule
}

// Service is a virtual service and its real servers.
type Service struct {
	Name    string
	Key     ServiceKey
	Spec    ServiceSpec
	Servers []Server
}

// Server is a real server of a service.
type Server struct {
	Address netip.AddrPort
	Spec    ServerSpec
	Check   health.Check // TypeNone: always fit
}

// Protocol is an IP protocol number (TCP or UDP), or 0 for a fwmark service.
type Protocol uint8

// The protocols of services (linux/in.h).
const (
	TCP Protocol = 6
	UDP Protocol = 17
)

// ServiceKey names a virtual service in the kernel: protocol and address, or a
// fwmark within an address family.
type ServiceKey struct {
	Protocol Protocol
	Address  netip.AddrPort
	FWMark   uint32
	IPv6     bool // of a fwmark service; otherwise as Address is
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

// The flags. What SCHED1 and SCHED2 mean depends on the scheduler.
const (
	FlagOnePacket Flags = 0x04
	FlagSched1    Flags = 0x08 // sh-fallback, mh-fallback
	FlagSched2    Flags = 0x10 // sh-port, mh-port
)

// ServiceSpec is what a service is set to.
type ServiceSpec struct {
	Scheduler   string
	Flags       Flags
	Persistence time.Duration // whole seconds; 0 = none
	Mask        uint8         // prefix length for persistence: 32 (IPv4) or 128 (IPv6) when not set
}

// Forward is a forwarding method.
type Forward uint8

// The forwarding methods with the kernel's values (IP_VS_CONN_F_*).
const (
	NAT Forward = 0 // masquerading
	TUN Forward = 2 // IP in IP
	DR  Forward = 3 // direct routing
)

// ServerSpec is what a real server is set to.
type ServerSpec struct {
	Weight  int // 0..65535
	Forward Forward
	Upper   uint32 // connections; 0 = no threshold
	Lower   uint32
}
