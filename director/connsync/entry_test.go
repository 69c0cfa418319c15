package connsync

import (
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const connTable = `Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP 0A09000A AA5E 0A090064 0051 0A080015 0051 ESTABLISHED     891
TCP 0A09000A 0000 0A090064 0051 0A080015 0051 ASSURED         292
IP  0A080001 0000 00000007 0000 0A080015 0000 NONE             92
UDP fd09:0000:0000:0000:0000:0000:0000:0010 9F87 fd09:0000:0000:0000:0000:0000:0000:0100 0035 fd08:0000:0000:0000:0000:0000:0000:0021 0035 UDP             292
UDP 0A09000A 0000 0A090064 13C4 0A080015 13C4 NONE            250 sip 1234 with blanks@10.9.0.10
SCTP 0A09000A 0101 0A090064 0102 0A080015 0103 S-ACK-SENT        3
`

const syncTable = `Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires
TCP 0A09000A AA5E 0A090064 0051 0A080015 0051 FIN_WAIT    SYNC       110
UDP 7F010203 11D7 7F750001 2291 7F000001 2291 UDP         LOCAL      299
`

func entries(t *testing.T, table string, synced bool) (list []Entry, odd int) {
	t.Helper()
	odd, err := scan(strings.NewReader(table), synced, func(e *Entry) error {
		list = append(list, *e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list, odd
}

func end(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestScan(t *testing.T) {
	client, virtual, server := end("10.9.0.10:43614"), end("10.9.0.100:81"), end("10.8.0.21:81")
	none := netip.AddrPortFrom(client.Addr(), 0)
	for _, tt := range []struct {
		name   string
		table  string
		synced bool
		want   []Entry
		odd    int
	}{
		{"connections", connTable, false, []Entry{
			{Protocol: 6, Client: client, Virtual: virtual, Server: server, State: 1, Expires: 891},
			{Protocol: 6, Client: none, Virtual: virtual, Server: server, State: 1, Expires: 292},
			{Protocol: 0, Client: end("10.8.0.1:0"), Virtual: end("0.0.0.7:0"), Server: end("10.8.0.21:0"), Expires: 92},
			{Protocol: 17, Client: end("[fd09::10]:40839"), Virtual: end("[fd09::100]:53"), Server: end("[fd08::21]:53"), Expires: 292},
			{Protocol: 17, Client: none, Virtual: end("10.9.0.100:5060"), Server: end("10.8.0.21:5060"), Expires: 250, Engine: "sip", Data: "1234 with blanks@10.9.0.10"},
			{Protocol: 132, Client: end("10.9.0.10:257"), Virtual: end("10.9.0.100:258"), Server: end("10.8.0.21:259"), State: 11, Expires: 3},
		}, 0},
		{"origins", syncTable, true, []Entry{
			{Protocol: 6, Client: client, Virtual: virtual, Server: server, State: 4, Expires: 110, Synced: true},
			{Protocol: 17, Client: end("127.1.2.3:4567"), Virtual: ProbeService, Server: end("127.0.0.1:8849"), Expires: 299},
		}, 0},
		{"nothing", "", false, nil, 0},
		{"odd lines", "TCP 0A09000A\nTCP 0A09000A AA5E 0A090064 0051 0A080015 0051 WHATEVER 891\n" +
			"AH  0A09000A AA5E 0A090064 0051 0A080015 0051 NONE 1\nTCP 0A09000G AA5E 0A090064 0051 0A080015 0051 NONE 1\n" +
			"TCP 0A09000A 1AA5E 0A090064 0051 0A080015 0051 NONE 1\nTCP 0A09000A AA5E 0A090064 0051 0A080015 0051 NONE -1\n" +
			"IP  0A09000A AA5E 0A090064 0051 0A080015 0051 NONE 1\nTCP fe80::1%eth0 AA5E 0A090064 0051 0A080015 0051 NONE 1\n", false, nil, 8},
		{"a line without end", "TCP 0A09000A AA5E 0A090064 0051 0A080015 0051 NONE 1 sip " + strings.Repeat("x", 200_000) +
			"\nTCP 0A09000A AA5E 0A090064 0051 0A080015 0051 NONE 1", false,
			[]Entry{{Protocol: 6, Client: client, Virtual: virtual, Server: server, Expires: 1}}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, odd := entries(t, tt.table, tt.synced)
			if d := cmp.Diff(tt.want, got, compareAddrs); d != "" || odd != tt.odd {
				t.Errorf("%d odd lines, want %d (-want +got):\n%s", odd, tt.odd, d)
			}
		})
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestScanEnds(t *testing.T) {
	stop := errors.New("stop")
	n := 0
	_, err := scan(strings.NewReader(connTable), false, func(*Entry) error { n++; return stop })
	if !errors.Is(err, stop) || n != 1 {
		t.Errorf("after %d entries: %v", n, err)
	}
	if _, err := scan(broken{}, false, func(*Entry) error { return nil }); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a table that cannot be read: %v", err)
	}
}

func FuzzScan(f *testing.F) {
	f.Add(connTable, false)
	f.Add(syncTable, true)
	f.Fuzz(func(t *testing.T, text string, synced bool) {
		lines := strings.Count(text, "\n") + 1
		n := 0
		odd, err := scan(strings.NewReader(text), synced, func(e *Entry) error {
			if !e.Client.IsValid() || !e.Virtual.IsValid() || !e.Server.IsValid() {
				t.Errorf("an end is missing: %+v", *e)
			}
			n++
			// Whatever was read can be sent, and is then read as it was.
			if r, omission := newTable(testTimeouts).record(e); omission == omitNone {
				t.Errorf("without services, %+v is sent as %+v", *e, r)
			}
			return nil
		})
		if err != nil || n+odd > lines {
			t.Errorf("%d entries and %d odd lines of %d, %v", n, odd, lines, err)
		}
	})
}
