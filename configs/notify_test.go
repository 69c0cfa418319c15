package configs

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/vrrp/notify"
)

func TestNotify(t *testing.T) {
	c := parse(t, `
[director]
router_id = "lb1"
[[vrrp]]
name = "a"
interface = "eth0"
vrid = 1
addresses = ["10.0.0.1/24"]
[[vrrp.notify]]
on = ["master", "stop"]
command = ["/usr/local/bin/x", "{KIND}", "", "a {name}\n"]
user = "root"
timeout = "500ms"
[[vrrp.notify]]
url = "https://u:p@[2001:db8::1]:8443/x?y=z"
[[vrrp]]
name = "b"
interface = "eth0"
vrid = 2
addresses = ["10.0.0.2/24"]
[[group]]
name = "g"
vrrp = ["a", "b"]
notify = [ { fifo = "/run/x" } ]
`)
	want := [][]notify.Target{
		{
			{
				On:      notify.Of(notify.StateMaster, notify.StateStop),
				Command: []string{"/usr/local/bin/x", "{KIND}", "", "a {name}\n"},
				User:    "root", Timeout: 500 * time.Millisecond, RouterID: "lb1",
			},
			{On: notify.AllStates, URL: "https://u:p@[2001:db8::1]:8443/x?y=z", Timeout: notify.DefaultTimeout, RouterID: "lb1"},
		},
		nil,
		{{On: notify.AllStates, FIFO: "/run/x", Timeout: notify.DefaultTimeout, RouterID: "lb1"}},
	}
	got := [][]notify.Target{c.Routers[0].Notify, c.Routers[1].Notify, c.Groups[0].Notify}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("warnings: %v", c.Warnings)
	}
}
