package connsync

import (
	"encoding/binary"
	"net/netip"
)

// Flags of a connection with the kernel's values (linux/ip_vs.h,
// IP_VS_CONN_F_*).
const (
	flagMethod   = 0x0007 // genl.Masquerade ... genl.DirectRoute
	flagNoOutput = 0x0080 // replies do not pass here
	flagInactive = 0x0100
	flagTemplate = 0x1000
)

// A message of the kernels' protocol, version 1: a header, then records, each at
// a multiple of four bytes.
//
//	0 zero | 1 sync ID | 2 size | 4 records | 5 version | 6 zero
const (
	messageHeader  = 8
	messageVersion = 1
	recordV4       = 36
	recordV6       = 72
	recordType6    = 1
	optionData     = 2 // of a persistence engine
	optionEngine   = 3
	maxRecords     = 255
	maxEngine      = 16  // IP_VS_PENAME_MAXLEN
	maxEngineData  = 255 // IP_VS_PEDATA_MAXLEN
)

// Record is a connection as the kernels tell each other.
type Record struct {
	Protocol uint8
	Flags    uint32
	State    uint16
	Client   netip.AddrPort
	Virtual  netip.AddrPort
	Server   netip.AddrPort // of the same family
	Mark     uint32
	Timeout  uint32 // seconds
	Engine   string
	Data     string
}

// append appends the record, without padding after it.
//
//	0 type | 1 protocol | 2 size | 4 flags | 8 state | 10 client, virtual and
//	server port | 16 mark | 20 timeout | 24 the addresses | options
func (r *Record) append(b []byte) []byte {
	start := len(b)
	kind := byte(0)
	if r.Client.Addr().Is6() {
		kind = recordType6
	}
	b = append(b, kind, r.Protocol, 0, 0)
	be := binary.BigEndian
	b = be.AppendUint32(b, r.Flags)
	b = be.AppendUint16(b, r.State)
	for _, end := range [...]netip.AddrPort{r.Client, r.Virtual, r.Server} {
		b = be.AppendUint16(b, end.Port())
	}
	b = be.AppendUint32(b, r.Mark)
	b = be.AppendUint32(b, r.Timeout)
	for _, end := range [...]netip.AddrPort{r.Client, r.Virtual, r.Server} {
		b = append(b, end.Addr().AsSlice()...)
	}
	if r.Engine != "" && r.Data != "" {
		b = append(append(b, optionData, byte(len(r.Data))), r.Data...)
		b = append(append(b, optionEngine, byte(len(r.Engine))), r.Engine...)
	}
	be.PutUint16(b[start+2:], uint16(len(b)-start))
	return b
}

// packer fills messages with records.
type packer struct {
	id  uint8
	max int // bytes of a message
	b   []byte
	n   int
}

// add puts a record into the message. If it was full, the message that has to go
// first is returned; it is good until the next call.
func (p *packer) add(r *Record, full []byte) []byte {
	full = full[:0]
	end := len(p.b)
	if p.n > 0 {
		pad := -end & 3
		p.b = r.append(append(p.b, make([]byte, pad)...))
		if len(p.b) <= p.max && p.n < maxRecords {
			p.n++
			return nil
		}
		p.b = p.b[:end]
		full = append(full, p.take()...)
	}
	p.b = r.append(append(p.b[:0], make([]byte, messageHeader)...))
	p.n = 1
	if len(full) == 0 {
		return nil
	}
	return full
}

// take ends the message and returns it; nil if it is empty.
func (p *packer) take() []byte {
	if p.n == 0 {
		return nil
	}
	clear(p.b[:messageHeader])
	p.b[1], p.b[4], p.b[5] = p.id, byte(p.n), messageVersion
	binary.BigEndian.PutUint16(p.b[2:], uint16(len(p.b)))
	p.n = 0
	return p.b
}
