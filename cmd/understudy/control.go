package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// The control socket speaks HTTP over a unix socket of mode 0660: whoever may
// write to the socket may reload the daemon.
const (
	statusPath = "/v1/status" // GET: statusReply
	reloadPath = "/v1/reload" // POST: 204, or 422 with the problems as text
	tracePath  = "/v1/trace"  // GET ?router=NAME: the flight recorder as text
	// POST ?router=NAME[&release=1]: handoverReply, or 404 or 422 with the reason as
	// text. Without a name all of them.
	handoverPath = "/v1/handover"
	upgradePath  = "/v1/upgrade" // POST: upgradeReply, or 422 with the reason as text
	orderPath    = "/v1/order"   // POST orderRequest: orderReply, or 404 or 422 with the reason as text
)

// controller is what the control socket asks of the daemon.
type controller interface {
	status(ctx context.Context) statusReply
	reload(ctx context.Context) error
	trace(router string) (string, bool)
	order(ctx context.Context, q orderRequest) (orderReply, error)
	handOverTo(ctx context.Context, router string, release bool) (handoverReply, error)
	upgrade(ctx context.Context) (upgradeReply, error)
	end()
	syncStatus() syncReply
	syncProbe(ctx context.Context) (syncProbeReply, error)
}

// control serves the control socket.
type control struct {
	path string
	lock *os.File
	ln   net.Listener

	server atomic.Pointer[http.Server]
}

// inheritControl takes the socket over from the process before.
func inheritControl(path string, h *inheritance) (*control, error) {
	if h.files[controlFD] == nil || h.files[lockFD] == nil {
		return nil, errors.New("take over the control socket: it was not handed over")
	}
	ln, err := net.FileListener(h.files[controlFD])
	if err != nil {
		return nil, fmt.Errorf("take over the control socket: %w", err)
	}
	h.files[controlFD].Close()
	if had := ln.Addr().String(); had != path {
		return nil, fmt.Errorf("director.api.socket changed from %s to %s; put it back, or restart the daemon", had, path)
	}
	return &control{path: path, lock: h.files[lockFD], ln: ln}, nil
}

// own makes Close remove the socket, or leave it to another process. One that was
// taken over is left until the process before has gone.
func (c *control) own(ours bool) {
	if ln, ok := c.ln.(*net.UnixListener); ok {
		ln.SetUnlinkOnClose(ours)
	}
}

// finish answers what is asked already, and nothing more.
func (c *control) finish(ctx context.Context) {
	if server := c.server.Load(); server != nil {
		_ = server.Shutdown(ctx)
	}
}

// listenControl takes the socket. A second daemon with the same socket is an
// error: they would fight over the same addresses.
func listenControl(path string) (*control, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make directory of control socket: %w", err)
	}
	lock, err := lockBeside(path)
	switch {
	case errors.Is(err, errLocked):
		return nil, fmt.Errorf("another understudy runs with the control socket %s; stop it, or give this one, if it is for another network namespace, a socket of its own ([director.api] socket)", path)
	case err != nil:
		return nil, fmt.Errorf("open lock of control socket: %w", err)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != os.ModeSocket {
		lock.Close()
		return nil, fmt.Errorf("%s is there already and is no socket; move it away, or choose another path ([director.api] socket)", path)
	}
	// What is there now was left behind: its owner would hold the lock.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		lock.Close()
		return nil, fmt.Errorf("remove stale control socket: %w", err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("listen on control socket: %w", err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		ln.Close()
		lock.Close()
		return nil, fmt.Errorf("set mode of control socket: %w", err)
	}
	return &control{path: path, lock: lock, ln: ln}, nil
}

// Run serves until ctx ends.
func (c *control) Run(ctx context.Context, daemon controller) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+statusPath, func(w http.ResponseWriter, r *http.Request) {
		writeStatusJSON(w, daemon.status(r.Context()))
	})
	mux.HandleFunc("POST "+reloadPath, func(w http.ResponseWriter, r *http.Request) {
		if err := daemon.reload(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET "+tracePath, func(w http.ResponseWriter, r *http.Request) {
		text, ok := daemon.trace(r.FormValue("router"))
		if !ok {
			http.Error(w, fmt.Sprintf("there is no virtual router %q", r.FormValue("router")), http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, text)
	})
	mux.HandleFunc("POST "+handoverPath, func(w http.ResponseWriter, r *http.Request) { serveHandover(w, r, daemon) })
	mux.HandleFunc("POST "+upgradePath, func(w http.ResponseWriter, r *http.Request) { serveUpgrade(w, r, daemon) })
	mux.HandleFunc("POST "+orderPath, func(w http.ResponseWriter, r *http.Request) { serveOrder(w, r, daemon) })
	mux.HandleFunc("GET "+syncPath, func(w http.ResponseWriter, _ *http.Request) { serveSync(w, daemon) })
	mux.HandleFunc("POST "+syncProbePath, func(w http.ResponseWriter, r *http.Request) { serveSyncProbe(w, r, daemon) })
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      2 * time.Minute, // the longest interval and skew time, and more
		MaxHeaderBytes:    16 << 10,
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	c.server.Store(server)
	err := server.Serve(c.ln)
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

func writeStatusJSON(w http.ResponseWriter, s statusReply) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(s)
}

func serveOrder(w http.ResponseWriter, r *http.Request, daemon controller) {
	var q orderRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&q); err != nil {
		http.Error(w, fmt.Sprintf("cannot understand the order: %v", err), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), callTimeout-time.Second)
	defer cancel()
	reply, err := daemon.order(ctx, q)
	answer(w, reply, err)
}

// answer writes what a request has led to, as JSON, or as text why it was refused.
func answer(w http.ResponseWriter, reply any, err error) {
	switch {
	case errors.Is(err, errUnknown):
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(reply)
	}
}

// maxRequest bounds the body of a request, in bytes.
const maxRequest = 64 << 10

// Close gives the socket back, and removes it unless another process owns it.
func (c *control) Close() {
	_ = c.ln.Close()
	_ = c.lock.Close()
}

// callTimeout bounds every call to a daemon that names no other limit: it may be
// stopped or stuck.
const callTimeout = 15 * time.Second

// call asks the daemon behind a control socket and returns its answer.
func call(ctx context.Context, socket, method, path string, body io.Reader, limit time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(limit, callTimeout))
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, "http://understudy"+path, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	resp, err := client.Do(req)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("no daemon answers at %s; is it running? (systemctl status understudy)", socket)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("the control socket %s is not for this user; use root, or a member of the socket's group", socket)
	case err != nil:
		return nil, fmt.Errorf("ask the daemon at %s: %w", socket, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return nil, fmt.Errorf("read the daemon's answer: %w", err)
	}
	if resp.StatusCode >= 300 {
		return nil, &refusedError{text: string(answer)}
	}
	return answer, nil
}

// refusedError is what the daemon said against a request.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return strings.TrimSpace(e.text) }
