package health

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// BenchmarkMemory reports what a Monitor of 10,000 checks that are not being
// probed holds.
func BenchmarkMemory(b *testing.B) {
	for _, test := range []struct {
		name  string
		check Check
	}{
		{"tcp", Check{Type: TypeTCP}},
		{"http", Check{Type: TypeHTTP, Method: "GET", Path: "/healthz", Host: "www.example.com", Status: "200-299"}},
		{"https with body", Check{Type: TypeHTTPS, Method: "GET", Path: "/healthz", Host: "www.example.com", Status: "200-299", Body: "all is (well|good)"}},
	} {
		b.Run(test.name, func(b *testing.B) {
			const n = 10000
			for b.Loop() {
				before := inUse()
				checks := make([]Check, n)
				for i := range checks {
					c := test.check
					c.Target = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80)
					c.Interval, c.Timeout, c.Rise, c.Fall = time.Hour, time.Second, 2, 3
					checks[i] = c
				}
				m := New(Options{})
				m.Set(checks)
				s := schedule{monitor: m, watches: map[Check]*watch{}}
				start := time.Now()
				s.reconcile(start)
				b.ReportMetric(time.Since(start).Seconds()*1e3, "ms/reconcile")
				b.ReportMetric(float64(inUse()-before)/n, "bytes/check")
				runtime.KeepAlive(checks)
				runtime.KeepAlive(s)
			}
		})
	}
}

// inUse returns the bytes that are in use after a collection.
func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkProbe measures one probe of a server on the loopback link.
func BenchmarkProbe(b *testing.B) {
	for _, c := range []Check{{Type: TypeTCP}, {Type: TypeHTTP}, {Type: TypeHTTP, Body: "well"}} {
		name := string(c.Type)
		if c.Body != "" {
			name += " with body"
		}
		b.Run(name, func(b *testing.B) {
			c.Target = serve(b)
			probe, err := probers()[c.Type](c)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, failure := run(b.Context(), probe, time.Second); failure != "" {
					b.Fatal(failure)
				}
			}
		})
	}
}

// serve answers HTTP on a loopback port until the benchmark ends.
func serve(b *testing.B) netip.AddrPort {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "all is well")
	}))
	b.Cleanup(server.Close)
	return server.Listener.Addr().(*net.TCPAddr).AddrPort()
}
