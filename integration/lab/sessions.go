package lab

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// Sessions are connections that a client has established and goes on using:
// HTTP keep-alive connections with a request every so often, and one download
// that never ends. Each belongs to the server that it was begun with. A session
// breaks once and is not opened again.
type Sessions struct {
	every, patience time.Duration
	host            string
	stop            chan struct{}
	wg              sync.WaitGroup

	mu     sync.Mutex
	all    []*session
	breaks []Break
}

// session is one connection. Everything but conn and number belongs to the
// mutex of Sessions.
type session struct {
	conn     net.Conn
	number   int // -1: the download
	server   string
	proven   time.Time // when the last request that was answered was sent, or the last data came
	over     bool      // broken or ended
	ended    bool      // by us
	answers  int
	received int64
}

// Break is how a session ended that should not have.
type Break struct {
	At      time.Time
	Session string
	Server  string
	Reason  string
}

func (b Break) String() string {
	return fmt.Sprintf("%s: %s with %s: %s", b.At.Format("15:04:05.000"), b.Session, b.Server, b.Reason)
}

// SessionOptions say how sessions are used.
type SessionOptions struct {
	Count    int           // of the keep-alive connections, beside the download
	Every    time.Duration // from one request of a connection to the next
	Patience time.Duration // for an answer, or for more of the download
}

// errNotOurs is an answer by somebody else than the session's server.
var errNotOurs = errors.New("answered by another server")

// Open opens the sessions from the node, one after the other, and waits until
// each has had an answer.
func (n *Node) Open(target netip.AddrPort, o SessionOptions) *Sessions {
	n.lab.tb.Helper()
	s := &Sessions{every: o.Every, patience: o.Patience, host: target.String(), stop: make(chan struct{})}
	n.lab.tb.Cleanup(s.Close)
	first := make(chan error, o.Count+1)
	n.Must(fmt.Sprintf("open %d sessions to %v", o.Count+1, target), func() error {
		for i := range o.Count + 1 {
			ctx, cancel := context.WithTimeout(context.Background(), o.Patience)
			conn, err := new(net.Dialer).DialContext(ctx, "tcp4", target.String())
			cancel()
			if err != nil {
				return err
			}
			q := &session{conn: conn, number: i - 1}
			s.mu.Lock()
			s.all = append(s.all, q)
			s.mu.Unlock()
			s.wg.Go(func() {
				if q.number < 0 {
					s.download(q, first)
					return
				}
				s.converse(q, first)
			})
		}
		return nil
	})
	for range o.Count + 1 {
		if err := <-first; err != nil {
			n.lab.tb.Fatalf("open sessions to %v: %v", target, err)
		}
	}
	return s
}

// converse requests the page of one keep-alive connection again and again.
func (s *Sessions) converse(q *session, first chan<- error) {
	defer q.conn.Close()
	r := bufio.NewReaderSize(q.conn, 1024)
	request := []byte("GET / HTTP/1.1\r\nHost: " + s.host + "\r\n\r\n")
	// Spread over the interval, so that they do not all come at once.
	due := time.Now().Add(s.every * time.Duration(q.number%100) / 100)
	for answered := 0; ; answered++ {
		sent := time.Now()
		server, err := s.ask(q.conn, r, request)
		if answered == 0 {
			first <- err
		}
		if !s.note(q, sent, server, 0, err) {
			return
		}
		due = due.Add(s.every)
		select {
		case <-s.stop:
			return
		case <-time.After(time.Until(due)):
		}
	}
}

// ask makes one request and returns who answered it.
func (s *Sessions) ask(conn net.Conn, r *bufio.Reader, request []byte) (string, error) {
	if err := conn.SetDeadline(time.Now().Add(s.patience)); err != nil {
		return "", err
	}
	if _, err := conn.Write(request); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var a Answer
	if err := json.NewDecoder(io.LimitReader(resp.Body, 4096)).Decode(&a); err != nil {
		return "", fmt.Errorf("read answer: %w", err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK || resp.Close {
		return "", fmt.Errorf("status %d, close %v", resp.StatusCode, resp.Close)
	}
	return a.Server, nil
}

// download reads numbers that must follow each other.
func (s *Sessions) download(q *session, first chan<- error) {
	defer q.conn.Close()
	r := bufio.NewReaderSize(q.conn, 4096)
	body, server, err := s.begin(q.conn, r)
	first <- err
	if !s.note(q, time.Now(), server, 0, err) {
		return
	}
	defer body.Close()
	block := make([]byte, downloadBlock)
	var next uint64
	for {
		err := q.conn.SetReadDeadline(time.Now().Add(s.patience))
		if err == nil {
			_, err = io.ReadFull(body, block)
		}
		for b := block; err == nil && len(b) > 0; b = b[8:] {
			if got := binary.BigEndian.Uint64(b); got != next {
				err = fmt.Errorf("corrupted: number %d where %d belongs", got, next)
			}
			next++
		}
		if !s.note(q, time.Now(), server, len(block), err) {
			return
		}
	}
}

// begin asks for the download and returns its body, and who sends it.
func (s *Sessions) begin(conn net.Conn, r *bufio.Reader) (io.ReadCloser, string, error) {
	if err := conn.SetDeadline(time.Now().Add(s.patience)); err != nil {
		return nil, "", err
	}
	if _, err := io.WriteString(conn, "GET "+downloadPath+" HTTP/1.1\r\nHost: "+s.host+"\r\n\r\n"); err != nil {
		return nil, "", err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, "", err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, "", fmt.Errorf("status %d", resp.StatusCode)
	}
	return resp.Body, resp.Header.Get(serverHeader), nil
}

// note keeps the outcome of a request sent at a time, or of a part of the
// download, and reports whether the session goes on.
func (s *Sessions) note(q *session, sent time.Time, server string, received int, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.server == "" {
		q.server = server
	}
	if err == nil && server != q.server {
		err = fmt.Errorf("%w: %s", errNotOurs, server)
	}
	switch {
	case q.over:
		return false
	case err == nil:
		q.proven = sent
		q.answers++
		q.received += int64(received)
		return true
	case q.ended: // we have closed it ourselves
	default:
		s.breaks = append(s.breaks, Break{time.Now(), q.String(), q.server, reason(err)})
	}
	q.over = true
	return false
}

func (q *session) String() string {
	local := q.conn.LocalAddr().String()
	if q.number < 0 {
		return "download from " + local
	}
	return fmt.Sprintf("connection %d from %s", q.number, local)
}

// reason says what happened to a connection in the words of a client.
func reason(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "closed by the other side"
	}
	return err.Error()
}

// Broken returns the sessions that broke, in the order in which they did.
func (s *Sessions) Broken() []Break {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Break(nil), s.breaks...)
}

// Proven reports whether every session that is not over has had an answer to a
// request sent after since, and the download has gone on.
func (s *Sessions) Proven(since time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.all {
		if !q.over && !q.ended && !q.proven.After(since) {
			return false
		}
	}
	return true
}

// By counts the sessions that go on, by server.
func (s *Sessions) By() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	by := map[string]int{}
	for _, q := range s.all {
		if !q.over && !q.ended {
			by[q.server]++
		}
	}
	return by
}

// Downloads returns the server that the download is from, or "" if it is over.
func (s *Sessions) Downloads() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.all {
		if q.number < 0 && !q.over && !q.ended {
			return q.server
		}
	}
	return ""
}

// End closes up to limit of the sessions with a server, as a client does that
// has had enough, and returns how many it closed.
func (s *Sessions) End(server string, limit int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := 0
	for _, q := range s.all {
		if q.server == server && !q.over && !q.ended && count < limit {
			q.ended = true
			_ = q.conn.Close()
			count++
		}
	}
	return count
}

// Close ends all sessions. What it closes is not broken.
func (s *Sessions) Close() {
	s.mu.Lock()
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	for _, q := range s.all {
		q.ended = true
		_ = q.conn.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *Sessions) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	answers, open := 0, 0
	var received int64
	for _, q := range s.all {
		answers += q.answers
		received += q.received
		if !q.over && !q.ended {
			open++
		}
	}
	return fmt.Sprintf("%d of %d sessions open, %d broken, %d answers, %d KiB downloaded", open, len(s.all), len(s.breaks), answers, received>>10)
}
