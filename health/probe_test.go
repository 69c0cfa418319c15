package health

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// discard drops what servers in tests say of bad clients.
var discard = log.New(io.Discard, "", 0)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// probeOnce probes as a Monitor does.
func probeOnce(t *testing.T, c Check) string {
	t.Helper()
	probe, err := probers()[c.Type](c)
	if err != nil {
		t.Fatalf("make probe: %v", err)
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	_, failure := run(t.Context(), probe, c.Timeout)
	return failure
}

// listen serves every connection on a loopback port until the test ends.
func listen(t *testing.T, serve func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// refusing returns a loopback port that nobody listens on.
func refusing(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func TestTCP(t *testing.T) {
	got := make(chan error, 1)
	target := listen(t, func(c net.Conn) {
		_, err := c.Read(make([]byte, 1))
		got <- err
	})
	if failure := probeOnce(t, Check{Type: TypeTCP, Target: target}); failure != "" {
		t.Errorf("listening: %q, want a pass", failure)
	}
	if err := <-got; errors.Is(err, io.EOF) {
		t.Error("the probe ended with a FIN, which leaves a port in TIME-WAIT")
	}
	if failure := probeOnce(t, Check{Type: TypeTCP, Target: refusing(t)}); failure != "connect: connection refused" {
		t.Errorf("refusing: %q", failure)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	probe, err := newTCPProbe(Check{Type: TypeTCP, Target: target})
	if err != nil {
		t.Fatal(err)
	}
	if _, failure := run(ctx, probe, time.Second); failure == "" {
		t.Error("a probe that was cut short passes")
	}
}

func TestHTTPJudges(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			fmt.Fprintf(w, "all is well on %s for %s%s", r.Host, r.Method, r.URL.RawQuery)
		case "/moved":
			http.Redirect(w, r, "/ok", http.StatusFound)
		case "/busy":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/late": // beyond what is looked at
			io.WriteString(w, strings.Repeat("x", maxBody)+"needle")
		case "/early":
			io.WriteString(w, "needle"+strings.Repeat("x", 10*maxBody))
		case "/gzip":
			if r.Header.Get("Accept-Encoding") != "" {
				w.WriteHeader(http.StatusTeapot)
			}
		case "/headers":
			for i := range 200 {
				w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("y", 1000))
			}
		case "/panic":
			panic(http.ErrAbortHandler)
		case "/hints":
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusNoContent)
		}
	})
	server := httptest.NewServer(handler)
	defer server.Close()
	target := server.Listener.Addr().(*net.TCPAddr).AddrPort()
	tests := []struct {
		name string
		in   Check
		want string // how the failure begins; empty: a pass
	}{
		{"defaults", Check{}, ""},
		{"status in range", Check{Path: "/ok", Status: "200-299"}, ""},
		{"status out of range", Check{Path: "/busy", Status: "200-299"}, "status 503, want 200-299"},
		{"status wanted", Check{Path: "/busy", Status: "200-299,503"}, ""},
		{"redirect is judged", Check{Path: "/moved", Status: "200"}, "status 302, want 200"},
		{"redirect is wanted", Check{Path: "/moved", Status: "302"}, ""},
		{"host is the target", Check{Path: "/ok", Body: "on " + target.String() + " for GET$"}, ""},
		{"host", Check{Path: "/ok", Host: "www.example.com", Body: "on www.example.com for"}, ""},
		{"IPv6 host", Check{Path: "/ok", Host: "2001:db8::1", Body: `on \[2001:db8::1\] for`}, ""},
		{"query", Check{Path: "/ok?a=b", Body: "a=b$"}, ""},
		{"head", Check{Path: "/ok", Method: "HEAD"}, ""},
		{"body", Check{Path: "/ok", Body: "^all is (well|good)"}, ""},
		{"other body", Check{Path: "/ok", Body: "^good"}, `body does not match "^good"`},
		{"status before body", Check{Path: "/busy", Body: "x"}, "status 503, want 200-299"},
		{"early in a huge body", Check{Path: "/early", Body: "needle"}, ""},
		{"too late in a huge body", Check{Path: "/late", Body: "needle"}, `body does not match "needle"`},
		{"no compression", Check{Path: "/gzip"}, ""},
		{"huge header", Check{Path: "/headers"}, "server response headers exceeded"},
		{"broken off", Check{Path: "/panic"}, "the server closed the connection without a full answer"},
		{"early hints", Check{Path: "/hints", Status: "204"}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.in.Type, test.in.Target = TypeHTTP, target
			if got := probeOnce(t, test.in); got != test.want && (test.want == "" || !strings.HasPrefix(got, test.want)) {
				t.Errorf("failure %q, want %q", got, test.want)
			}
		})
	}
}

// request reads away the request on a connection.
func request(c net.Conn) {
	if req, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
		req.Body.Close()
	}
}

func TestHTTPHostile(t *testing.T) {
	quiet := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) } // until the probe hangs up
	say := func(text string, then func(net.Conn)) func(net.Conn) {
		return func(c net.Conn) {
			request(c)
			_, _ = io.WriteString(c, text)
			then(c)
		}
	}
	end := func(net.Conn) {}
	const timeout = 50 * time.Millisecond
	tests := []struct {
		name    string
		serve   func(net.Conn)
		timeout time.Duration
		want    string
	}{
		{"hangs", quiet, timeout, "timeout after 50ms"},
		{"hangs in the header", say("HTTP/1.1 200 OK\r\nA: b\r\n", quiet), timeout, "timeout after 50ms"},
		{"hangs in the body", say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfine", quiet), timeout, "timeout after 50ms"},
		{"floods", func(c net.Conn) {
			request(c)
			_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			for err == nil {
				_, err = c.Write(make([]byte, 1<<20))
			}
		}, 0, `body does not match "fine"`},
		{"endless header", func(c net.Conn) {
			request(c)
			_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for err == nil {
				_, err = io.WriteString(c, "A: b\r\n")
			}
		}, 0, "server response headers exceeded 65536 bytes"},
		{"says nothing", func(c net.Conn) { request(c) }, 0, "the server closed the connection without a full answer"},
		{"header cut short", say("HTTP/1.1 200 OK\r\nA: b", end), 0, "the server closed the connection without a full answer"},
		{"body cut short", say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfine", end), 0, "the server closed the connection without a full answer"},
		{"body to the end of the connection", say("HTTP/1.1 200 OK\r\n\r\nfine", end), 0, ""},
		{"not HTTP", say("SSH-2.0-OpenSSH_9.2\r\n", end), 0, `malformed HTTP response "SSH-2.0-OpenSSH_9.2"`},
		{"resets", func(c net.Conn) {
			request(c)
			_ = c.(*net.TCPConn).SetLinger(0)
		}, 0, "read: connection reset by peer"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := Check{Type: TypeHTTP, Target: listen(t, test.serve), Path: "/", Body: "fine", Timeout: test.timeout}
			got := probeOnce(t, c)
			if got != test.want && (test.want == "" || !strings.HasPrefix(got, test.want)) {
				t.Errorf("failure %q, want %q", got, test.want)
			}
			if len(got) > maxFailure {
				t.Errorf("the failure is %d bytes long", len(got))
			}
		})
	}
	t.Run("refuses", func(t *testing.T) {
		if got := probeOnce(t, Check{Type: TypeHTTP, Target: refusing(t)}); got != "connect: connection refused" {
			t.Errorf("failure %q", got)
		}
	})
}

func TestHTTPS(t *testing.T) {
	names := make(chan string, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case names <- r.TLS.ServerName:
		default:
		}
		fmt.Fprint(w, r.Proto)
	}))
	server.Config.ErrorLog = discard
	server.StartTLS()
	defer server.Close()
	target := server.Listener.Addr().(*net.TCPAddr).AddrPort()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	garbage := listen(t, func(c net.Conn) { _, _ = io.WriteString(c, "220 mail.example.com ESMTP\r\n") })

	tests := []struct {
		name string
		in   Check
		want string
	}{
		{"not verified", Check{Target: target, Insecure: true, Host: "www.example.com:8443"}, ""},
		{"unknown authority", Check{Target: target}, "certificate: x509: "},
		{"no TLS but HTTP", Check{Target: plain.Listener.Addr().(*net.TCPAddr).AddrPort()}, "the server does not speak TLS"},
		{"no TLS at all", Check{Target: garbage}, "the server does not speak TLS"},
		{"hangs", Check{Target: listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), Timeout: 50 * time.Millisecond}, "timeout after 50ms"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.in.Type = TypeHTTPS
			if got := probeOnce(t, test.in); got != test.want && (test.want == "" || !strings.HasPrefix(got, test.want)) {
				t.Errorf("failure %q, want %q", got, test.want)
			}
		})
	}
	if name := <-names; name != "www.example.com" {
		t.Errorf("server name %q, want that of the host without the port", name)
	}
}

func TestProbersRefuse(t *testing.T) {
	for _, c := range []Check{
		{Type: TypeHTTP, Status: "2xx"},
		{Type: TypeHTTP, Path: "no slash"},
		{Type: TypeHTTP, Body: "("},
	} {
		if probe, err := probers()[c.Type](c); err == nil || probe != nil {
			t.Errorf("a probe was made for %+v", c)
		}
	}
}

func TestPanicIsAFailure(t *testing.T) {
	_, got := run(t.Context(), func(context.Context) (Answer, error) { panic("oh") }, time.Second)
	if got != "probe panicked: oh" {
		t.Errorf("failure %q", got)
	}
	_, got = run(t.Context(), func(context.Context) (Answer, error) { return Answer{}, errors.New(strings.Repeat("\xff", 1000)) }, time.Second)
	if len(got) > maxFailure {
		t.Errorf("the failure is %d bytes long", len(got))
	}
}

// TestFailureIsOneHarmlessLine: part of a failure is the server's, a name in its
// certificate for example, and ends up on a terminal.
func TestFailureIsOneHarmlessLine(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"certificate is valid for \x1b[2J\tx\r\nup", "certificate is valid for ?[2J?x??up"},
		{"caf\u00e9 \xff", "caf\u00e9 ?"},
		{strings.Repeat("x", 300), strings.Repeat("x", 197) + "..."},
	} {
		if _, got := run(t.Context(), func(context.Context) (Answer, error) { return Answer{}, errors.New(c.in) }, time.Minute); got != c.want {
			t.Errorf("%q became %q, want %q", c.in, got, c.want)
		}
	}
}
