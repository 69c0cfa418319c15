package connsync

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func fullBeacon() Beacon {
	return Beacon{
		Name: "lb1", Incarnation: 0x1122334455667788, Sequence: 7, Uptime: 12345 * time.Millisecond,
		Flags: FlagMaster | FlagReceiving, ID: 51, Counts: Counts{Total: 100, Synced: 20, Lasting: 80},
		Probe: end("127.200.3.4:45000"), Ask: Ask{Of: 99, Number: 2},
		Serve: Serve{For: 98, Number: 3, Done: true, Sent: 1000, Omitted: 5},
		Heard: []Heard{
			{Incarnation: 99, Sequence: 1 << 40, Probe: end("127.201.3.4:45001"), Seen: true, Held: 250 * time.Millisecond},
			{Incarnation: 98, Sequence: 3},
		},
	}
}

func TestBeacon(t *testing.T) {
	for _, tt := range []struct {
		name, secret string
		in           Beacon
	}{
		{"full", "", fullBeacon()},
		{"full and sealed", "secret", fullBeacon()},
		{"least", "", Beacon{Name: "a", Incarnation: 1, Sequence: 1}},
		{"longest", "s", Beacon{Name: strings.Repeat("n", maxName), Incarnation: 1, Sequence: 1, Heard: make([]Heard, maxPeers)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := tt.in.Append(nil, tt.secret)
			if len(b) > maxBeacon {
				t.Errorf("%d bytes", len(b))
			}
			got, drop := ParseBeacon(b, tt.secret)
			if drop != DropNone {
				t.Fatal(drop)
			}
			if d := cmp.Diff(tt.in, got, compareAddrs); d != "" {
				t.Errorf("(-sent +received):\n%s", d)
			}
		})
	}
}

func TestBeaconGolden(t *testing.T) {
	v := fullBeacon()
	golden(t, "beacon.hex", hex.Dump(v.Append(nil, "")))
	golden(t, "beacon_sealed.hex", hex.Dump(v.Append(nil, "secret")))
}

func TestBeaconDrops(t *testing.T) {
	v := fullBeacon()
	plain, sealed := v.Append(nil, ""), v.Append(nil, "secret")
	change := func(b []byte, at int, value byte) []byte {
		b = bytes.Clone(b)
		b[at] = value
		return b
	}
	for _, tt := range []struct {
		name, secret string
		in           []byte
		want         Drop
	}{
		{"good", "", plain, DropNone},
		{"good and sealed", "secret", sealed, DropNone},
		{"nothing", "", nil, DropSize},
		{"short", "", plain[:84], DropSize},
		{"cut", "", plain[:len(plain)-1], DropSize},
		{"longer than it says", "", append(bytes.Clone(plain), 0), DropSize},
		{"much too long", "", make([]byte, 2000), DropSize},
		{"another protocol", "", change(plain, 0, 'X'), DropForeign},
		{"a later version", "", change(plain, 2, 2), DropVersion},
		{"not sealed", "secret", plain, DropSecret},
		{"sealed for others", "", sealed, DropSecret},
		{"another secret", "other", sealed, DropSecret},
		{"changed", "secret", change(sealed, 35, 9), DropSecret},
		{"seal changed", "secret", change(sealed, len(sealed)-1, sealed[len(sealed)-1]^1), DropSecret},
		{"unknown flag", "", change(plain, 6, 0x80), DropMalformed},
		{"done is neither", "", change(plain, 74, 2), DropMalformed},
		{"without a name", "", change(plain, 83, 0), DropMalformed},
		{"name too long", "", change(plain, 83, 65), DropMalformed},
		{"name for a terminal", "", change(plain, beaconFixed, 0x1b), DropMalformed},
		{"name that is no text", "", change(plain, beaconFixed, 0xff), DropMalformed},
		{"heard too many", "", change(plain, 84, 9), DropMalformed},
		{"heard fewer", "", change(plain, 84, 1), DropMalformed},
		{"seen is neither", "", change(plain, beaconFixed+3+22, 2), DropMalformed},
		{"uptime of ages", "", change(plain, 24, 0xff), DropMalformed},
		{"neither sealed nor not", "", change(plain, 3, 2), DropMalformed},
		{"without an incarnation", "", append(append(bytes.Clone(plain[:8]), make([]byte, 8)...), plain[16:]...), DropMalformed},
	} {
		if _, drop := ParseBeacon(tt.in, tt.secret); drop != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, drop, tt.want)
		}
	}
}

func FuzzBeacon(f *testing.F) {
	v := fullBeacon()
	f.Add(v.Append(nil, ""), "")
	f.Add(v.Append(nil, "secret"), "secret")
	f.Fuzz(func(t *testing.T, b []byte, secret string) {
		v, drop := ParseBeacon(b, secret)
		if drop != DropNone {
			return
		}
		again := v.Append(nil, secret)
		got, drop := ParseBeacon(again, secret)
		if d := cmp.Diff(v, got, compareAddrs); d != "" || drop != DropNone {
			t.Errorf("%v, once more (-first +second):\n%s", drop, d)
		}
	})
}
