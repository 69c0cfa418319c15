package lab

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Answer is what a Server says to a request.
type Answer struct {
	Server string // the node's name
	Client string // the client's address as the server sees it
}

// Server is an HTTP server and a UDP echo in a node.
type Server struct {
	node *Node

	sick     atomic.Bool
	requests atomic.Int64
	http     *http.Server
	stopped  atomic.Bool
	echoes   sync.WaitGroup
}

// Serve starts an HTTP server on each of the TCP addresses and a UDP echo on
// each of the UDP addresses. "/healthz" answers 200, or 503 when sick; "/download"
// sends numbers that count up from 0, slowly and without an end.
func (n *Node) Serve(tcp, udp []string) *Server {
	n.lab.tb.Helper()
	s := &Server{node: n}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if s.sick.Load() {
			http.Error(w, "sick", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc(downloadPath, s.download)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		_ = json.NewEncoder(w).Encode(Answer{Server: n.Name, Client: host})
	})
	s.http = &http.Server{Handler: mux, ReadHeaderTimeout: 30 * time.Second}
	for _, addr := range tcp {
		n.Must("listen on "+addr, func() error {
			ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
			if err != nil {
				return err
			}
			go func() { _ = s.http.Serve(ln) }()
			return nil
		})
	}
	for _, addr := range udp {
		n.Must("listen on "+addr, func() error { return s.listenEcho(netip.MustParseAddrPort(addr)) })
	}
	n.lab.tb.Cleanup(s.Stop)
	return s
}

// A download is blocks of numbers of eight bytes each, at 20 KiB a second.
const (
	downloadPath  = "/download"
	downloadBlock = 1024
	downloadEvery = 50 * time.Millisecond
	serverHeader  = "X-Server" // the node's name
)

// download answers a request for a download until the client or the server ends it.
func (s *Server) download(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(serverHeader, s.node.Name)
	w.Header().Set("Content-Length", "1000000000000")
	block := make([]byte, 0, downloadBlock)
	tick := time.NewTicker(downloadEvery)
	defer tick.Stop()
	for next := uint64(0); ; {
		for block = block[:0]; len(block) < downloadBlock; next++ {
			block = binary.BigEndian.AppendUint64(block, next)
		}
		if _, err := w.Write(block); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}

// listenEcho starts a thread that sends every datagram back with the node's name
// behind it. The node need not hold the address yet.
func (s *Server) listenEcho(addr netip.AddrPort) error {
	family, level, freebind := unix.AF_INET, unix.IPPROTO_IP, unix.IP_FREEBIND
	if addr.Addr().Is6() {
		family, level, freebind = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_FREEBIND
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	tv := unix.NsecToTimeval(int64(100 * time.Millisecond)) // wakes up so often to see whether it is to end
	err = errors.Join(
		unix.SetsockoptInt(fd, level, freebind, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv),
		unix.Bind(fd, sockaddr(addr)),
	)
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	s.echoes.Go(func() {
		defer unix.Close(fd)
		b := make([]byte, 512)
		for !s.stopped.Load() {
			k, from, err := unix.Recvfrom(fd, b[:256], 0)
			if err != nil {
				continue
			}
			_ = unix.Sendto(fd, append(b[:k], s.node.Name...), 0, from)
		}
	})
	return nil
}

// Sicken makes the health page fail, or succeed again.
func (s *Server) Sicken(sick bool) { s.sick.Store(sick) }

// Requests returns how many requests have been answered, health checks aside.
func (s *Server) Requests() int64 { return s.requests.Load() }

// Stop ends the server at once: connections are reset, new ones refused.
func (s *Server) Stop() {
	_ = s.http.Close()
	s.stopped.Store(true)
	s.echoes.Wait()
}

// HoldVIP makes the node a real server for direct routing: it takes packets to
// the address without answering ARP for it.
func (n *Node) HoldVIP(vip netip.Addr) {
	n.lab.tb.Helper()
	n.Sysctl("net.ipv4.conf.all.arp_ignore", "1")
	n.Sysctl("net.ipv4.conf.all.arp_announce", "2")
	n.Address("lo", vip.String()+"/32")
}

// Get requests a page over a connection of its own, with a time limit.
func (n *Node) Get(url string, timeout time.Duration) (Answer, error) {
	var a Answer
	client := n.Client(timeout)
	defer client.CloseIdleConnections()
	resp, err := client.Get(url)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return a, fmt.Errorf("get %s: status %d", url, resp.StatusCode)
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, 4096)).Decode(&a)
	return a, err
}

// Client returns an HTTP client that connects from the node, once per request.
func (n *Node) Client(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
				var c net.Conn
				err := n.Do(func() error {
					var err error
					c, err = new(net.Dialer).DialContext(ctx, "tcp", addr) // an address: one attempt, on this thread
					return err
				})
				return c, err
			},
		},
	}
}
