package notify

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	at    = time.Date(2026, 3, 4, 5, 6, 7, 89000000, time.FixedZone("", 3600))
	event = Event{
		Subject: Subject{KindRouter, "web"}, From: StateBackup, To: StateMaster, Reason: "master-down",
		Priority: 100, Interface: "eth0", VRID: 51, At: at,
	}
	group = Event{Subject: Subject{KindGroup, "both"}, From: StateMaster, To: StateFault, Reason: "group-fault", At: at}
)

func TestArguments(t *testing.T) {
	odd := event
	odd.Name = "{vrid} $(x) "
	for _, tt := range []struct {
		name     string
		event    Event
		in, want []string
	}{
		{"as keepalived gives them", event,
			[]string{"/x", "{KIND}", "{name}", "{STATE}", "{priority}"}, []string{"/x", "INSTANCE", "web", "MASTER", "100"}},
		{"a group as keepalived gives it", group,
			[]string{"/x", "{KIND}", "{name}", "{STATE}", "{priority}"}, []string{"/x", "GROUP", "both", "FAULT", "0"}},
		{"all", event,
			[]string{"/x", "{kind}-{state}-{from}-{reason}-{interface}-{vrid}-{time}-{router_id}"},
			[]string{"/x", "vrrp-master-backup-master-down-eth0-51-2026-03-04T04:06:07.089Z-lb1"}},
		{"a group has less", group, []string{"/x", "{kind}", "{interface}", "{vrid}"}, []string{"/x", "group", "", ""}},
		{"what is put in is left alone", odd, []string{"/x", "--name={name}"}, []string{"/x", "--name={vrid} $(x) "}},
		{"the program is left alone", event, []string{"/{name}"}, []string{"/{name}"}},
		{"other braces", event, []string{"/x", "{print}", "{", "{}", "{{name}}", `{"a": 1}`}, []string{"/x", "{print}", "{", "{}", "{web}", `{"a": 1}`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := strings.Join(tt.in, " ")
			if diff := cmp.Diff(tt.want, tt.event.arguments(tt.in, "lb1")); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if strings.Join(tt.in, " ") != before {
				t.Error("the command was written")
			}
		})
	}
}

func TestUnknown(t *testing.T) {
	got := Unknown("{name} {stat} {print} {x y} {State}{KIND}")
	if diff := cmp.Diff([]string{"{stat}", "{print}", "{State}"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestEnvironment(t *testing.T) {
	want := []string{
		"UNDERSTUDY_NAME=web", "UNDERSTUDY_KIND=vrrp", "UNDERSTUDY_STATE=master", "UNDERSTUDY_FROM=backup",
		"UNDERSTUDY_REASON=master-down", "UNDERSTUDY_PRIORITY=100", "UNDERSTUDY_INTERFACE=eth0", "UNDERSTUDY_VRID=51",
		"UNDERSTUDY_TIME=2026-03-04T04:06:07.089Z", "UNDERSTUDY_ROUTER_ID=lb1",
	}
	if diff := cmp.Diff(want, event.environment("lb1")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestLine has the lines that keepalived 2.2.7 writes.
func TestLine(t *testing.T) {
	stop, hostile := event, event
	stop.To = StateStop
	hostile.Name = "a\nINSTANCE \"b\" MASTER 1"
	for _, tt := range []struct {
		name string
		in   Event
		want string
	}{
		{"instance", event, "INSTANCE \"web\" MASTER 100\n"},
		{"stop", stop, "INSTANCE \"web\" STOP 100\n"},
		{"group", group, "GROUP \"both\" FAULT 0\n"},
		{"one line in any case", hostile, "INSTANCE \"a?INSTANCE \"b\" MASTER 1\" MASTER 100\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(tt.in.line()); got != tt.want {
				t.Errorf("line() = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestBody(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		in         Event
	}{
		{"virtual router", `{"kind":"vrrp","name":"web","from":"backup","to":"master","reason":"master-down",` +
			`"priority":100,"interface":"eth0","vrid":51,"time":"2026-03-04T04:06:07.089Z","router_id":"lb1"}`, event},
		{"group", `{"kind":"group","name":"both","from":"master","to":"fault","reason":"group-fault",` +
			`"priority":0,"time":"2026-03-04T04:06:07.089Z","router_id":"lb1"}`, group},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.in.body("lb1")
			if err != nil || string(got) != tt.want {
				t.Errorf("body() = %s, %v\nwant %s", got, err, tt.want)
			}
		})
	}
}

func TestTargetString(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		in         Target
	}{
		{"command", "/x", Target{Command: []string{"/x", "secret"}}},
		{"pipe", "/run/p", Target{FIFO: "/run/p"}},
		{"url", "https://h:1", Target{URL: "https://u:p@h:1/secret?token=secret"}},
	} {
		if got := tt.in.String(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
