package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

const metricsPath = "/metrics" // GET: the metrics, as Prometheus scrapes them

const noStatus = "there is no status yet; ask again"

const (
	// maxScrapers bounds the connections; more wait until one of them is closed.
	maxScrapers = 32
	// rebindEvery is how often an address that cannot be listened on is tried.
	rebindEvery = 250 * time.Millisecond
	// rebindQuietly is for how long that is not worth a line in the log: the process
	// before this one may be about to end.
	rebindQuietly = 3 * time.Second
)

// monitoring serves the metrics and the status to whoever reaches its address, which
// may change. Nothing can be changed there. It listens when it can: a director does
// its work without.
type monitoring struct {
	log       *slog.Logger
	snapshots *snapshots
	handler   http.Handler
	moved     chan struct{} // capacity 1: the address may have changed

	mu      sync.Mutex
	address netip.AddrPort // invalid: none
	err     error          // why it cannot be listened on
	said    string         // of err, in the log
	since   time.Time      // of err
}

// newMonitoring makes a server that gets what it tells from gather.
func newMonitoring(gather func(context.Context) statusReply, log *slog.Logger) *monitoring {
	m := &monitoring{
		log: log, snapshots: newSnapshots(gather),
		moved: make(chan struct{}, 1),
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(&metrics{current: m.snapshots.newest},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	exposition := promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, // half of the metrics is better than none
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+metricsPath, func(w http.ResponseWriter, r *http.Request) {
		s := m.snapshots.fresh(r.Context())
		if s == nil {
			http.Error(w, noStatus, http.StatusServiceUnavailable)
			return
		}
		// Not what the client would have best: there are two forms, whoever asks.
		page, ask := &s.metrics, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: metricsPath}, Header: http.Header{}}
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			page = &s.zipped
			ask.Header.Set("Accept-Encoding", "gzip")
		}
		page.send(w, func(w http.ResponseWriter) { exposition.ServeHTTP(w, ask) })
	})
	mux.HandleFunc("GET "+statusPath, func(w http.ResponseWriter, r *http.Request) {
		s := m.snapshots.fresh(r.Context())
		if s == nil {
			http.Error(w, noStatus, http.StatusServiceUnavailable)
			return
		}
		s.json.send(w, func(w http.ResponseWriter) { writeStatusJSON(w, s.status) })
	})
	m.handler = mux
	return m
}

// set makes an address the one to listen on; an invalid one is none.
func (m *monitoring) set(address netip.AddrPort) {
	m.mu.Lock()
	changed := address != m.address
	m.address = address
	m.mu.Unlock()
	if !changed {
		return
	}
	select {
	case m.moved <- struct{}{}:
	default:
	}
}

// trouble says why there is nobody at the address; empty: there is, or needs not be.
func (m *monitoring) trouble() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		return ""
	}
	return m.err.Error()
}

// Run serves until ctx ends.
func (m *monitoring) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() { m.snapshots.Run(ctx) })
	retry := time.NewTicker(rebindEvery)
	defer retry.Stop()
	for ctx.Err() == nil {
		select {
		case <-m.moved: // here, as read below
		default:
		}
		m.mu.Lock()
		address := m.address
		m.mu.Unlock()
		var again <-chan time.Time
		if address.IsValid() {
			err := m.serve(ctx, address)
			m.note(address, err)
			if err == nil {
				continue
			}
			again = retry.C
		} else {
			m.note(address, nil)
		}
		select {
		case <-ctx.Done():
		case <-m.moved:
		case <-again:
		}
	}
	return nil
}

// serve listens on address until ctx ends or the address changes, which is no error.
func (m *monitoring) serve(ctx context.Context, address netip.AddrPort) error {
	network := "tcp4"
	if address.Addr().Is6() {
		network = "tcp" // all of them is those of IPv4 too
	}
	ln, err := new(net.ListenConfig).Listen(ctx, network, address.String())
	if err != nil {
		return fmt.Errorf("serve metrics: %w", err)
	}
	m.note(address, nil)
	m.log.Info("serving metrics", "address", ln.Addr())
	server := &http.Server{
		Handler:           m.handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(m.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(netutil.LimitListener(ln, maxScrapers)) }()
	select {
	case err := <-ended:
		_ = server.Close()
		return fmt.Errorf("serve metrics: %w", err)
	case <-ctx.Done():
	case <-m.moved:
	}
	_ = server.Close()
	<-ended
	return nil
}

// note remembers, and says, whether the address can be listened on.
func (m *monitoring) note(address netip.AddrPort, err error) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.since = now
	}
	m.err = err
	switch {
	case err == nil:
		m.said = ""
	case err.Error() != m.said && now.Sub(m.since) >= rebindQuietly:
		m.said = err.Error()
		m.log.Error("no metrics, trying again", "address", address, "err", err)
	}
}
