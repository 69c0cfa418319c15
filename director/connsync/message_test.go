package connsync

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// parseMessage reads a message of the kernels' protocol as the kernel does: as
// independent of append as one person can make it.
func parseMessage(b []byte) (id uint8, list []Record, err error) {
	if len(b) < 8 || b[0] != 0 || b[5] != 1 || b[6] != 0 || b[7] != 0 || int(binary.BigEndian.Uint16(b[2:])) != len(b) {
		return 0, nil, errors.New("no message of version 1")
	}
	at := 8
	for range b[4] {
		if at+36 > len(b) {
			return 0, nil, errors.New("message too short")
		}
		r := b[at:]
		size := int(binary.BigEndian.Uint16(r[2:])) & 0xfff
		if size > len(r) || r[2]>>4 != 0 {
			return 0, nil, errors.New("record too long")
		}
		r = r[:size]
		width := 4
		if r[0] == 1 {
			width = 16
		}
		if len(r) < 24+3*width {
			return 0, nil, errors.New("record too short")
		}
		var ends [3]netip.AddrPort
		for i := range ends {
			a, _ := netip.AddrFromSlice(r[24+i*width : 24+(i+1)*width])
			ends[i] = netip.AddrPortFrom(a, binary.BigEndian.Uint16(r[10+2*i:]))
		}
		one := Record{
			Protocol: r[1], Flags: binary.BigEndian.Uint32(r[4:]), State: binary.BigEndian.Uint16(r[8:]),
			Client: ends[0], Virtual: ends[1], Server: ends[2],
			Mark: binary.BigEndian.Uint32(r[16:]), Timeout: binary.BigEndian.Uint32(r[20:]),
		}
		for o := r[24+3*width:]; len(o) > 0; {
			if len(o) < 2 || int(o[1]) == 0 || len(o) < 2+int(o[1]) {
				return 0, nil, errors.New("option too long")
			}
			switch value := string(o[2 : 2+o[1]]); o[0] {
			case 2:
				one.Data = value
			case 3:
				one.Engine = value
			default:
				return 0, nil, errors.New("unknown option")
			}
			o = o[2+o[1]:]
		}
		list = append(list, one)
		at += (size + 3) &^ 3
	}
	return b[1], list, nil
}
