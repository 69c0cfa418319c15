package vrrp

import "testing"

// TestChecksumOfBothRFCs: what is sent and heard over IPv4 in version 3, with the
// pseudo header of RFC 5798 section 5.2.8 and without it (RFC 9568 section 5.2.8).
func TestChecksumOfBothRFCs(t *testing.T) {
	tests := []struct {
		checksum             Checksum
		plain                bool // is sent
		hears5798, hears9568 Drop
	}{
		{ChecksumRFC5798, false, DropNone, DropChecksum},
		{ChecksumRFC9568, true, DropChecksum, DropNone},
		{ChecksumAny, false, DropNone, DropNone},
	}
	for _, tt := range tests {
		c := v3()
		c.Checksum = tt.checksum
		if a := New(c).Advertisement(100); a.Plain != tt.plain {
			t.Errorf("checksum %d: sent plain=%t", tt.checksum, a.Plain)
		}
		for plain, want := range map[bool]Drop{false: tt.hears5798, true: tt.hears9568} {
			a := Advertisement{Version: V3, VRID: c.VRID, Priority: 200, Interval: c.Interval, Addresses: c.Addresses, Plain: plain}
			b, err := a.Append(nil, higher, dst4)
			if err != nil {
				t.Fatal(err)
			}
			parsed, drop := Parse(b, higher, dst4)
			if drop != DropNone || parsed.Plain != plain {
				t.Fatalf("parsed: %v, plain=%t", drop, parsed.Plain)
			}
			r := New(c)
			r.Step(t0, Start{})
			if out := r.Step(t0, Received{Src: higher, Advert: parsed}); out.Drop != want {
				t.Errorf("checksum %d hears plain=%t: %v, want %v", tt.checksum, plain, out.Drop, want)
			}
		}
	}
}
