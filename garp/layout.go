package garp

const (
	ipv6Header     = 40 // bytes (RFC 8200 section 3)
	protocolICMPv6 = 58
)
