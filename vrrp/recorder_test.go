package vrrp

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRecorder(t *testing.T) {
	c := v2(func(c *Config) { c.Password = "hunter2" })
	rx := heard(c, higher, 150, time.Second)
	rx.Advert.AuthType, rx.Advert.Password = AuthSimple, "hunter2"
	wrong := rx
	wrong.Advert.Password = "hunter3"

	r := Record(New(c), 6)
	at := func(d time.Duration, ev Event) { r.Step(t0.Add(d), ev) }
	at(0, Start{})
	at(down100, Tick{})
	at(4*time.Second, rx)
	// These six are kept.
	at(4500*ms, wrong)
	at(5*time.Second, rx)
	at(5*time.Second+down100, Tick{})
	at(9*time.Second, set(v2(priority(20))))
	at(10*time.Second, Tick{})
	at(11*time.Second, Stop{Reason: ReasonLinkDown})

	text, err := r.AppendText(nil)
	if err != nil {
		t.Fatal(err)
	}
	const config = "version=2 vrid=51 priority=100 interval=1s preempt=true preempt_delay=0s primary=192.0.2.9"
	want := `trace test ` + config + ` password=secret addresses=192.0.2.100
origin 2026-01-01T00:00:04.5Z
state backup reason=higher-priority now=-500ms since=-500ms timer=-500ms linger=-250ms settled lingering epoch=1 master=192.0.2.10 master_priority=150
0s receive src=192.0.2.10 priority=150 auth=1 password=other
0s -> drop=password
500ms receive src=192.0.2.10 priority=150 auth=1 password=secret
4.109375s tick
4.109375s -> backup>master reason=master-down advertise=100
4.5s set version=2 vrid=51 priority=20 interval=1s preempt=true preempt_delay=0s primary=192.0.2.9 addresses=192.0.2.100
5.5s tick
5.5s -> advertise=20
6.5s stop reason=link-down
6.5s -> master>fault reason=link-down advertise=0
`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if strings.Contains(string(text), "hunter") {
		t.Error("the trace tells a password")
	}

	// Parsed and replayed it is the same.
	parsed, err := ParseTrace(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.Trace().Entries[0].Output, parsed.Entries[0].Output); diff != "" {
		t.Errorf("first output (-recorded +parsed)\n%s", diff)
	}
	for i := range parsed.Entries {
		parsed.Entries[i].Output = Output{}
	}
	again, err := parsed.Replay().AppendText(nil)
	if err != nil || !bytes.Equal(again, text) {
		t.Errorf("replayed: %v (-want +got)\n%s", err, cmp.Diff(string(text), string(again)))
	}
}

// TestRecorderKeepsNoAddresses shows that a busy recorder does not hold on to
// what the socket's reader allocated.
func TestRecorderKeepsNoAddresses(t *testing.T) {
	r := Record(New(v3()), 2)
	rx := heard(v3(), higher, 150, time.Second)
	r.Step(t0, Start{})
	r.Step(t0, rx)
	for _, e := range r.Trace().Entries {
		if kept, ok := e.Event.(Received); ok && kept.Advert.Addresses != nil {
			t.Errorf("kept %v", kept.Advert.Addresses)
		}
	}
	if len(rx.Advert.Addresses) == 0 {
		t.Error("and the event of the caller has lost them")
	}
}

func TestEmptyTrace(t *testing.T) {
	text, err := Record(New(v3()), 0).AppendText(nil)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := ParseTrace(append([]byte("# a comment\n\n"), text...))
	if err != nil || len(parsed.Entries) != 0 {
		t.Fatalf("got %v, %v", parsed.Entries, err)
	}
	if again, _ := parsed.AppendText(nil); !bytes.Equal(again, text) {
		t.Errorf("(-want +got)\n%s", cmp.Diff(string(text), string(again)))
	}
}

func TestParseTraceErrors(t *testing.T) {
	const trace = "trace a version=3 priority=1 primary=192.0.2.1\n"
	tests := []struct{ name, in, want string }{
		{"empty", "", `no line begins with "trace"`},
		{"event first", "0s start\n", `line 1: unexpected "0s" before the trace`},
		{"two", trace + trace, "line 2: second trace"},
		{"configuration", "trace a vrid=0x33\n", "line 1: parse configuration: vrid"},
		{"address", "trace a addresses=192.0.2.1,x\n", "line 1: parse configuration: addresses"},
		{"origin", trace + "origin yesterday\n", "line 2: parsing time"},
		{"state", trace + "state up\n", `line 2: state: unknown word "up"`},
		{"state time", trace + "state init now=noon\n", "line 2: state: now"},
		{"state key", trace + "state init mood=good\n", "line 2: state: mood: unknown key"},
		{"time", trace + "noon start\n", `line 2: unexpected "noon"`},
		{"time alone", trace + "0s\n", `line 2: unexpected "0s"`},
		{"event", trace + "0s go\n", `line 2: unknown event "go"`},
		{"reason", trace + "0s stop reason=why\n", `line 2: stop: unknown word "why"`},
		{"stop key", trace + "0s stop now=1s\n", `line 2: stop: unknown key "now"`},
		{"receive key", trace + "0s receive colour=red\n", "line 2: receive: colour: unknown key"},
		{"receive priority", trace + "0s receive priority=300\n", "line 2: receive: priority"},
		{"output first", trace + "0s -> advertise=1\n", "line 2: output before any event"},
		{"output", trace + "0s start\n0s -> explode\n", `line 3: unknown output "explode"`},
		{"output state", trace + "0s start\n0s -> init>up\n", `line 3: output: unknown word "up"`},
		{"quote", trace + "0s start \"\n", "line 2: unterminated quote"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := ParseTrace([]byte(tt.in)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// FuzzParseTrace parses what it likes; what parses is printed and parsed again.
func FuzzParseTrace(f *testing.F) {
	r := Record(New(v3()), 10)
	r.Step(t0, Start{})
	r.Step(t0.Add(time.Second), heard(v3(), higher, 150, time.Second))
	r.Step(t0.Add(time.Minute), Tick{})
	text, _ := r.AppendText(nil)
	f.Add(text)
	f.Add([]byte("trace \"a b\" password=x\nstate fault settled answers=9\n-1s set priority=7\n0s stop\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		parsed, err := ParseTrace(text)
		if err != nil {
			return
		}
		once, err := parsed.Replay().AppendText(nil)
		if err != nil {
			t.Fatal(err)
		}
		if parsed, err = ParseTrace(once); err != nil {
			t.Fatalf("what was printed does not parse: %v\n%s", err, once)
		}
		if twice, err := parsed.Replay().AppendText(nil); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("printed again: %v (-once +twice)\n%s", err, cmp.Diff(string(once), string(twice)))
		}
	})
}
