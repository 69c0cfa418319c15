package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// locked is a log that many write to.
type locked struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(b)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.String()
}

// freePort returns an address on which nobody listens.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.2:0") // not where the sockets of clients are
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return netip.MustParseAddrPort(ln.Addr().String())
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("waited in vain: ", what)
		}
	}
}

func reachable(a netip.AddrPort) bool {
	conn, err := net.Dial("tcp", a.String())
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// monitor runs a server at an address and returns it, its log, and how often it has
// gathered.
func monitor(t *testing.T, address netip.AddrPort, s statusReply) (*monitoring, *locked, *atomic.Int64) {
	t.Helper()
	log, gathered := &locked{}, &atomic.Int64{}
	m := newMonitoring(func(context.Context) statusReply { gathered.Add(1); return s },
		slog.New(slog.NewTextHandler(log, nil)))
	m.set(address)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return m, log, gathered
}

func TestMonitoring(t *testing.T) {
	t.Parallel()
	address := freePort(t)
	began := time.Now()
	_, _, gathered := monitor(t, address, sampleStatus().status)
	eventually(t, "a server", func() bool { return reachable(address) })
	for _, c := range []struct {
		method, path string
		code         int
		want         string
	}{
		{"GET", "/metrics", 200, "understudy_vrrp_state{interface=\"eth0\",router=\"web\",state=\"master\",vrid=\"51\"} 1\n"},
		{"GET", "/metrics", 200, "\nprocess_start_time_seconds "},
		{"GET", "/metrics", 200, "\ngo_goroutines "},
		{"HEAD", "/metrics", 200, ""},
		{"GET", "/v1/status", 200, `"router_id": "lb1"`},
		{"HEAD", "/v1/status", 200, ""},
		{"POST", "/metrics", 405, ""},
		{"PUT", "/v1/status", 405, ""},
		{"DELETE", "/metrics", 405, ""},
		{"POST", "/v1/reload", 404, ""},
		{"POST", "/v1/order", 404, ""},
		{"POST", "/v1/upgrade", 404, ""},
		{"GET", "/v1/trace?router=web", 404, ""},
		{"GET", "/debug/pprof/", 404, ""},
		{"GET", "/", 404, ""},
		{"GET", "/../metrics", 404, ""},
	} {
		req, err := http.NewRequest(c.method, "http://"+address.String()+c.path, strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Opaque = c.path
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.code && (c.code != 404 || resp.StatusCode/100 == 2) || !strings.Contains(string(body), c.want) {
			t.Errorf("%s %s: %v, %v, want %d and %q in\n%s", c.method, c.path, resp.Status, err, c.code, c.want, body)
		}
		if c.code == 200 && strings.HasSuffix(c.path, "status") && c.method == "GET" {
			var s statusReply
			if err := json.Unmarshal(body, &s); err != nil || len(s.Services) != 2 || resp.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: %v, %v", c.path, err, resp.Header)
			}
		}
	}
	var pages []string
	for range 2 {
		req, err := http.NewRequest(http.MethodGet, "http://"+address.String()+metricsPath, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept-Encoding", "identity")
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.Header.Get("Content-Encoding") != "" || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain; version=0.0.4") {
			t.Errorf("%v, %v", err, resp.Header)
		}
		pages = append(pages, string(body))
	}
	if gathered.Load() == 1 && pages[0] != pages[1] || !strings.Contains(pages[0], "\nunderstudy_build_info{") {
		t.Errorf("put into words twice (-first +second):\n%s", cmp.Diff(pages[0], pages[1]))
	}
	n, limit := gathered.Load(), int64(1+time.Since(began)/freshTime)
	if n > limit {
		t.Errorf("gathered %d times, want %d at most", n, limit)
	}
}

// TestMonitoringLimits: nobody gets more than he should, nor keeps others waiting.
func TestMonitoringLimits(t *testing.T) {
	t.Parallel()
	large := statusReply{}
	for i := range 40_000 { // more than the buffers of a connection hold
		large.Services = append(large.Services, serviceStatus{Name: fmt.Sprint("service ", i), Service: "tcp 192.0.2.1:80"})
	}
	address := freePort(t)
	monitor(t, address, large)
	eventually(t, "a server", func() bool { return reachable(address) })
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", address.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	ask := func(conn net.Conn, header string) (int, error) {
		t.Helper()
		fmt.Fprintf(conn, "GET /v1/status HTTP/1.1\r\nHost: a\r\n%s\r\n", header)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode, err
	}

	// One that asks and does not read.
	slow := dial()
	if err := slow.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(slow, "GET /v1/status HTTP/1.1\r\nHost: a\r\n\r\n")
	if code, err := ask(dial(), ""); code != 200 || err != nil {
		t.Errorf("beside a slow reader: %d, %v", code, err)
	}
	if code, err := ask(dial(), "X: "+strings.Repeat("x", 64<<10)+"\r\n"); code != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a large header: %d, %v", code, err)
	}

	// Connections that ask nothing fill all places; another one is served when they end.
	slow.Close()
	for range maxScrapers {
		dial()
	}
	began := time.Now()
	if code, err := ask(dial(), "Connection: close\r\n"); code != 200 || err != nil || time.Since(began) < time.Second {
		t.Errorf("behind idle connections: %d, %v after %v; want to wait until they are closed", code, err, time.Since(began))
	}
}

// TestMonitoringMoves: another address, and none.
func TestMonitoringMoves(t *testing.T) {
	t.Parallel()
	first, second := freePort(t), freePort(t)
	m, log, _ := monitor(t, netip.AddrPort{}, statusReply{})
	m.set(first)
	eventually(t, "the first address", func() bool { return reachable(first) })
	m.set(second)
	eventually(t, "the second address", func() bool { return reachable(second) && !reachable(first) })
	m.set(second)
	m.set(netip.AddrPort{})
	eventually(t, "no address", func() bool { return !reachable(second) })
	m.set(first)
	eventually(t, "the first address again", func() bool { return reachable(first) })
	if text := log.String(); strings.Count(text, "serving metrics") != 3 || strings.Contains(text, "ERROR") || m.trouble() != "" {
		t.Errorf("trouble %q, log:\n%s", m.trouble(), text)
	}
}

// TestMonitoringWaitsForItsAddress: somebody else has it, perhaps the process before.
func TestMonitoringWaitsForItsAddress(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := netip.MustParseAddrPort(ln.Addr().String())
	// A connection that the process before has closed itself lingers in the kernel.
	client, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	served, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	m, log, _ := monitor(t, address, statusReply{})
	eventually(t, "trouble", func() bool { return strings.Contains(m.trouble(), "address already in use") })
	if text := log.String(); text != "" {
		t.Errorf("said at once:\n%s", text)
	}
	served.Close()
	ln.Close()
	eventually(t, "the address", func() bool { return reachable(address) && m.trouble() == "" })

	// An address that is not there is said once.
	m.set(netip.MustParseAddrPort("192.0.2.77:9650"))
	eventually(t, "a line in the log", func() bool { return strings.Contains(log.String(), "level=ERROR") })
	time.Sleep(3 * rebindEvery)
	if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
		t.Errorf("%d errors in the log, want 1:\n%s", n, log)
	}
}
