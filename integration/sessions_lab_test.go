package integration

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
)

// TestSessionsNotice shows that a session's break is seen, in every way in
// which sessions break: a count of none would say nothing otherwise.
func TestSessionsNotice(t *testing.T) {
	target := netip.MustParseAddrPort("10.51.0.20:80")
	for _, c := range []struct {
		name string
		page func(w http.ResponseWriter, r *http.Request, n int64) // the n-th request, from 1
		want []string                                              // reasons
	}{
		{"nothing", truth, nil},
		{"another server answers", func(w http.ResponseWriter, r *http.Request, n int64) {
			if n > 20 {
				_ = json.NewEncoder(w).Encode(lab.Answer{Server: "b"})
				return
			}
			truth(w, r, n)
		}, []string{"answered by another server: b"}},
		{"an answer does not come", func(w http.ResponseWriter, r *http.Request, n int64) {
			if n > 20 {
				<-r.Context().Done()
				return
			}
			truth(w, r, n)
		}, []string{"no answer in time"}},
		{"connections are closed", func(w http.ResponseWriter, r *http.Request, n int64) {
			if n > 20 {
				panic(http.ErrAbortHandler)
			}
			truth(w, r, n)
		}, []string{"closed by the other side"}},
		{"a part of the download is missing", func(w http.ResponseWriter, r *http.Request, n int64) {
			if r.URL.Path == "/download" {
				numbers(w, r, 200)
				return
			}
			truth(w, r, n)
		}, []string{"corrupted: number 201 where 200 belongs"}},
		{"the download stops", func(w http.ResponseWriter, r *http.Request, n int64) {
			if r.URL.Path == "/download" {
				w.Header().Set("Content-Length", "1000000")
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
				return
			}
			truth(w, r, n)
		}, []string{"no answer in time"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t)
			sw := l.Switch("lan")
			client, server := l.Node("client"), l.Node("a")
			sw.Connect(client, "eth0", "10.51.0.10/24")
			sw.Connect(server, "eth0", target.Addr().String()+"/24")
			var count atomic.Int64
			serve(t, server, target, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Server", "a")
				c.page(w, r, count.Add(1))
			})
			q := client.Open(target, lab.SessionOptions{Count: 10, Every: 50 * time.Millisecond, Patience: time.Second})
			begun := time.Now()
			if c.want == nil {
				site.Eventually(t, 5*time.Second, "an answer in every session", func() bool { return q.Proven(begun.Add(500 * time.Millisecond)) })
			} else {
				site.Eventually(t, 5*time.Second, "a break", func() bool { return len(q.Broken()) > 0 })
			}
			q.Close()
			var got []string
			for _, b := range q.Broken() {
				if !slices.Contains(got, b.Reason) {
					got = append(got, b.Reason)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("reasons (-want +got):\n%s%v", diff, q.Broken())
			}
		})
	}
}

// truth answers as a server of the lab does.
func truth(w http.ResponseWriter, r *http.Request, _ int64) {
	if r.URL.Path == "/download" {
		numbers(w, r, -1)
		return
	}
	_ = json.NewEncoder(w).Encode(lab.Answer{Server: "a"})
}

// numbers sends numbers without end, but for one.
func numbers(w http.ResponseWriter, r *http.Request, without int64) {
	w.Header().Set("Content-Length", "1000000")
	for n := int64(0); r.Context().Err() == nil; n++ {
		if n == without {
			continue
		}
		if _, err := w.Write(binary.BigEndian.AppendUint64(nil, uint64(n))); err != nil {
			return
		}
		if n%128 == 0 {
			_ = http.NewResponseController(w).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// serve runs an HTTP server of the test's own on a node.
func serve(t *testing.T, n *lab.Node, addr netip.AddrPort, page http.HandlerFunc) {
	t.Helper()
	n.Must("listen", func() error {
		ln, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(addr))
		if err != nil {
			return err
		}
		s := &http.Server{Handler: page, ReadHeaderTimeout: 5 * time.Second}
		t.Cleanup(func() { _ = s.Close() })
		go func() { _ = s.Serve(ln) }()
		return nil
	})
}

// TestSessionsBreak breaks sessions through a director on purpose.
func TestSessionsBreak(t *testing.T) {
	s := site.New(t, site.Options{Interval: 100 * time.Millisecond, Check: calmCheck})
	d := s.LB[0]
	d.Start()
	site.Eventually(t, 10*time.Second, "a full table", func() bool { return d.State() == "master" && d.Serving() == 3 })
	q := open(s)
	before := q.By()
	for _, n := range s.Servers {
		if k := before[n.Name]; k < 33 || k > 34 {
			t.Errorf("sessions by server: %v, want a third on each", before)
		}
	}
	goesOn(t, q, "nothing", func() { time.Sleep(time.Second) })

	s.Services[1].Stop()
	site.Eventually(t, 15*time.Second, "the sessions of a server that died to break", func() bool { return q.By()["rs2"] == 0 })
	after := map[string]int{"rs1": before["rs1"], "rs3": before["rs3"]}
	if diff := cmp.Diff(after, q.By()); diff != "" {
		t.Errorf("sessions after a server died (-want +got):\n%s", diff)
	}
	d.Kill()
	d.Node.MustRun("ipvsadm", "-C")
	site.Eventually(t, 15*time.Second, "every session to break without a table", func() bool { return len(q.Broken()) == sessions+1 })
	for _, b := range q.Broken() {
		if b.At.IsZero() || !strings.HasPrefix(b.Server, "rs") || b.Reason != "reset" && b.Reason != "closed by the other side" && b.Reason != "no answer in time" {
			t.Errorf("a break without an account: %v", b)
		}
	}
	t.Log(q, q.Broken()[0], q.Broken()[sessions])
}

// calmCheck judges servers that share their processor with a hundred busy
// connections.
const calmCheck = `type = "tcp"
interval = "1s"
timeout = "1s"
rise = 1
fall = 3
`

// sessions are held through the VIP, beside a download.
const sessions = 100

// open opens the usual sessions from the client of a site.
func open(s *site.Site) *lab.Sessions { return openSome(s, sessions, 250*time.Millisecond) }

// openSome opens so many sessions with so much time between two requests of each.
func openSome(s *site.Site, count int, every time.Duration) *lab.Sessions {
	return s.Client.Open(netip.MustParseAddrPort(site.VIP+":80"), lab.SessionOptions{
		Count: count, Every: every, Patience: 10 * time.Second,
	})
}

// goesOn does something and fails the test if a session broke, or did not go on
// afterwards.
func goesOn(t *testing.T, q *lab.Sessions, what string, do func()) {
	t.Helper()
	begun := time.Now()
	do()
	done := time.Now()
	err := site.Wait(20*time.Second, "an answer in every session", func() bool { return q.Proven(done) || len(q.Broken()) > 0 })
	broken := q.Broken()
	t.Logf("%s, %v: %v", what, time.Since(begun).Round(time.Millisecond), q)
	if err != nil || len(broken) > 0 {
		t.Fatalf("%s broke %d sessions: %v", what, len(broken), account(err, broken))
	}
}

// account shows the first few of what went wrong.
func account(err error, broken []lab.Break) string {
	var b strings.Builder
	if err != nil {
		fmt.Fprintln(&b, err)
	}
	for _, one := range broken[:min(len(broken), 5)] {
		fmt.Fprintln(&b, one)
	}
	return b.String()
}
