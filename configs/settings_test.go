package configs

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestListen(t *testing.T) {
	const rest = "\n[[vrrp]]\nname = \"a\"\ninterface = \"eth0\"\nvrid = 1\naddresses = [\"10.0.0.1/24\"]\n"
	for _, c := range []struct{ in, want, warning, problem string }{
		{in: ""},
		{in: "127.0.0.1:9650", want: "127.0.0.1:9650"},
		{in: "127.5.0.1:1", want: "127.5.0.1:1"},
		{in: "[::1]:65535", want: "[::1]:65535"},
		{in: "192.0.2.1:9650", want: "192.0.2.1:9650", warning: "without a password"},
		{in: "0.0.0.0:9650", want: "0.0.0.0:9650", warning: "without a password"},
		{in: "[::]:9650", want: "[::]:9650", warning: "without a password"},
		{in: "[2001:db8::1]:9650", want: "[2001:db8::1]:9650", warning: "without a password"},
		{in: "127.0.0.1", problem: "is not ADDRESS:PORT"},
		{in: "127.0.0.1:0", problem: "is not ADDRESS:PORT"},
		{in: "127.0.0.1:65536", problem: "is not ADDRESS:PORT"},
		{in: "127.0.0.1:http", problem: "is not ADDRESS:PORT"},
		{in: ":9650", problem: "is not ADDRESS:PORT"},
		{in: "9650", problem: "is not ADDRESS:PORT"},
		{in: "::1:9650", problem: "is not ADDRESS:PORT"},
		{in: "[::ffff:127.0.0.1]:9650", problem: "is not ADDRESS:PORT"},
		{in: "[fe80::1%eth0]:9650", problem: "is not ADDRESS:PORT"},
		{in: "[fe80::1]:9650", problem: "not an address that others can connect to"},
		{in: "224.0.0.18:9650", problem: "not an address that others can connect to"},
		{in: "255.255.255.255:9650", problem: "not an address that others can connect to"},
		{in: "lb1.example:9650", problem: "is not ADDRESS:PORT"},
		{in: " 127.0.0.1:9650", problem: "is not ADDRESS:PORT"},
	} {
		config, err := Parse("f.toml", []byte("[director.api]\nlisten = \""+c.in+"\""+rest))
		if c.problem != "" {
			var problems Problems
			if !errors.As(err, &problems) || len(problems) != 1 || problems[0].Line != 2 || !strings.Contains(problems[0].What, c.problem) {
				t.Errorf("%q: %v, want %q in line 2", c.in, err, c.problem)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		var want netip.AddrPort
		if c.want != "" {
			want = netip.MustParseAddrPort(c.want)
		}
		if config.Listen != want {
			t.Errorf("%q: listens on %v", c.in, config.Listen)
		}
		switch {
		case c.warning == "" && len(config.Warnings) > 0:
			t.Errorf("%q: %v", c.in, config.Warnings)
		case c.warning != "" && (len(config.Warnings) != 1 || config.Warnings[0].Line != 2 || !strings.Contains(config.Warnings[0].What, c.warning)):
			t.Errorf("%q: warnings %v, want %q", c.in, config.Warnings, c.warning)
		}
	}
}
