package ipvs

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/configs"
	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/directortest"
)

// everyKind has a service of every kind and a server with every setting, in an
// operator's words.
const everyKind = `
[[service]]
name = "both families"
addresses = ["192.0.2.1-192.0.2.2:80", "[2001:db8::1]:80"]
forward = "tun"
persistence = "1m"
[[service.server]]
address = "192.0.2.101:80"
[[service.server]]
address = "192.0.2.102:80"
tunnel = { type = "gue", checksum = "remote" }
[[service.server]]
address = "[2001:db8::101]:80"
tunnel = { type = "gre", checksum = "checksum" }

[[service]]
name = "sctp"
address = "[2001:db8::1]:80"
protocol = "sctp"
forward = "dr"
scheduler = "mh"
scheduler_flags = ["mh-port", "mh-fallback"]
[[service.server]]
address = "[2001:db8::101]:80"
max_connections = 10
min_connections = 5
[[service.server]]
address = "[2001:db8::102]:80"
forward = "local"
min_connections = 5

[[service]]
name = "sip"
address = "[2001:db8::1]:5060"
protocol = "udp"
forward = "nat"
persistence = "30s"
persistence_mask = 64
persistence_engine = "sip"
one_packet = true
[[service.server]]
address = "[2001:db8::101]:5061"
weight = 0

[[service]]
name = "marks of four"
fwmarks = [7, 8]
forward = "nat"
persistence = "30s"
persistence_mask = 24
[[service.server]]
address = "192.0.2.101:80"

[[service]]
name = "marks of six"
fwmarks = [7, 4294967295]
family = "ipv6"
forward = "nat"
[[service.server]]
address = "[2001:db8::101]:80"
`

// TestConfiguredIsListed shows that the table comes to hold what a configuration
// says, and that nothing is found to differ from it afterwards: what List returns
// is spelled as the configuration is. In an exclusive table another spelling would
// be somebody else's service.
func TestConfiguredIsListed(t *testing.T) {
	for _, mode := range []string{"owned", "exclusive"} {
		t.Run(mode, func(t *testing.T) {
			c, err := configs.Parse("all.toml", []byte("[director]\nipvs = \""+mode+"\"\n"+everyKind))
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				m := &model{family: 28}
				table := newTable(m.system())
				defer table.Close()
				var log bytes.Buffer
				d := director.New(director.Options{
					IPVS:      table,
					Addresses: directortest.NewKernel(true).Process().Addresses(),
					Log:       slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})),
				})
				d.Set(c.Director)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- d.Run(ctx) }()
				time.Sleep(10 * time.Second)
				synctest.Wait()
				list, err := table.List(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if want := directortest.Full(c.Director); !maps.Equal(want, list) {
					t.Errorf("the table differs (-want +got):\n%s", cmp.Diff(directortest.FormatEntries(want), directortest.FormatEntries(list)))
				}
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
				if log.Len() > 0 {
					t.Errorf("there was something to repair:\n%s", log.String())
				}
			})
		})
	}
}
