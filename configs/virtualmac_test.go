package configs

import (
	"fmt"
	"strings"
	"testing"
)

func TestVirtualMAC(t *testing.T) {
	tests := []struct {
		name, keys string
		want       string // MAC, device, link and parent of the addresses, addresses, accept
		warning    string
	}{
		{"none", `addresses = ["10.0.0.100/24"]`, "00:00:00:00:00:00  eth0  [10.0.0.100/24] true", ""},
		{"IPv4", "addresses = [\"10.0.0.100/24\", \"fe80::1\"]\nvirtual_mac = true", "00:00:5e:00:01:05 vrrp4.5 vrrp4.5 eth0 [10.0.0.100/24 fe80::1/64] true", ""},
		{"IPv6", "addresses = [\"fe80::1\", \"fd00::1/64\", \"fd00::2\"]\nvirtual_mac = true", "00:00:5e:00:02:05 vrrp6.5 vrrp6.5 eth0 [fe80::1/64 fd00::1/64 fd00::2/128] true", ""},
		{"a name", "addresses = [\"10.0.0.100/24\"]\nvirtual_mac = true\nvirtual_mac_interface = \"web\"", "00:00:5e:00:01:05 web web eth0 [10.0.0.100/24] true", ""},
		{"a name for nothing", "addresses = [\"10.0.0.100/24\"]\nvirtual_mac_interface = \"web\"", "00:00:00:00:00:00  eth0  [10.0.0.100/24] true", "virtual_mac_interface has no effect"},
		{"takes nothing in", "addresses = [\"10.0.0.100/24\"]\naccept = false", "00:00:00:00:00:00  eth0  [10.0.0.100/24] false", ""},
		{"the owner does", "addresses = [\"10.0.0.100/24\"]\naccept = false\npriority = 255", "00:00:00:00:00:00  eth0  [10.0.0.100/24] true", "accept = false has no effect"},
		{"link-local alone", `addresses = ["fe80::1", "fd00::1/64"]`, "00:00:00:00:00:00  eth0  [fe80::1/128 fd00::1/64] true", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := parse(t, "[[vrrp]]\nname = \"a\"\ninterface = \"eth0\"\nvrid = 5\n"+test.keys+"\n")
			v, k := c.Routers[0], c.Director.Routers[0]
			var mac []string
			for _, b := range v.VirtualMAC {
				mac = append(mac, fmt.Sprintf("%02x", b))
			}
			got := fmt.Sprintf("%s %s %s %s %v %v", strings.Join(mac, ":"), v.Device, k.Link, k.Parent, k.Addresses, v.Accept)
			if got != test.want || v.Link != "eth0" {
				t.Errorf("got  %s on %s\nwant %s", got, v.Link, test.want)
			}
			if text := fmt.Sprint(c.Warnings); !strings.Contains(text, test.warning) || (test.warning == "") != (len(c.Warnings) == 0) {
				t.Errorf("warnings %v, want %q", c.Warnings, test.warning)
			}
		})
	}
}
