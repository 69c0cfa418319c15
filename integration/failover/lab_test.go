package failover

import (
	"net/netip"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
)

// TestLab shows that the lab itself loses nothing and notices a cut.
func TestLab(t *testing.T) {
	l := lab.New(t)
	sw := l.Switch("lan")
	client, server := l.Node("client"), l.Node("server")
	sw.Connect(client, "eth0", "10.51.0.10/24")
	port := sw.Connect(server, "eth0", "10.51.0.20/24")
	server.Serve([]string{"10.51.0.20:80"}, []string{"10.51.0.20:7"})

	a, err := client.Get("http://10.51.0.20/", 2*time.Second)
	if want := (lab.Answer{Server: "server", Client: "10.51.0.10"}); err != nil || a != want {
		t.Fatalf("got %+v, %v; want %+v", a, err, want)
	}
	begin := time.Now()
	p := client.Probe(netip.MustParseAddrPort("10.51.0.20:7"), time.Millisecond)
	time.Sleep(time.Second)
	if r := p.Between(begin, time.Now()); r.Lost != 0 || r.Gap > 50*time.Millisecond || r.Sent < 900 {
		t.Errorf("undisturbed: %v", r)
	} else {
		t.Log(r)
	}
	for _, c := range []struct {
		name         string
		cut, restore func()
	}{
		{"cut", port.Cut, port.Mend},
		{"isolated", port.Isolate, port.Rejoin},
	} {
		begin = time.Now()
		c.cut()
		time.Sleep(200 * time.Millisecond)
		mended := time.Now()
		c.restore()
		site.Eventually(t, 3*time.Second, "an answer after "+c.name, func() bool { return p.Answered(mended) })
		if r := p.Between(begin, time.Now()); r.Lost < 150 || r.Gap < 200*time.Millisecond-site.Slack() {
			t.Errorf("%s for 200 ms: %v", c.name, r)
		} else {
			t.Log(c.name, r)
		}
	}
}
