package garp

// Where things are in a frame, in bytes from its beginning: Ethernet II, then
// ARP (RFC 826), or IPv6 (RFC 8200) without extension headers and Neighbor
// Discovery (RFC 4861 section 4).
const (
	ethernetSource = 6
	ethernetType   = 12
	ethernetHeader = 14

	arpSpaces  = ethernetHeader      // hardware and protocol address space
	arpLengths = ethernetHeader + 4  // of the addresses, then the operation
	arpHW      = ethernetHeader + 8  // of the sender
	arpSender  = ethernetHeader + 14 // protocol address
	arpEnd     = ethernetHeader + 28

	ipv6Header      = 40
	ipv6Length      = ethernetHeader + 4
	ipv6Next        = ethernetHeader + 6 // header, then the hop limit
	ipv6Source      = ethernetHeader + 8
	ipv6Destination = ethernetHeader + 24

	ndType    = ethernetHeader + ipv6Header
	ndCode    = ndType + 1
	ndFlags   = ndType + 4
	ndTarget  = ndType + 8
	ndOptions = ndType + 24

	// maxFrame is more than any frame that is of interest.
	maxFrame = 2048
)

const (
	typeARP  = 0x0806
	typeIPv6 = 0x86dd

	// Hardware and protocol address space. Linux takes either hardware for
	// Ethernet.
	arpEthernet = 0x00010800
	arpIEEE802  = 0x00060800
	// Lengths of the addresses and operation.
	arpRequest = 0x06040001
	arpReply   = 0x06040002

	protocolICMPv6 = 58
	// hopLimit is that of all Neighbor Discovery: a packet from beyond a router
	// has less (RFC 4861 section 3.1).
	hopLimit = 255

	typeSolicitation  = 135
	typeAdvertisement = 136

	flagSolicited = 0x40

	// Options (RFC 4861 section 4.6).
	optionSource = 1 // Source Link-Layer Address
	optionTarget = 2 // Target Link-Layer Address
)
