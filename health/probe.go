package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// Probe asks a server once and returns nil if it is fit, with what it says of
// itself. It ends when ctx does. The text of the error is for operators: short,
// and without the address.
type Probe func(ctx context.Context) (Answer, error)

// Answer is what a fit server says of itself.
type Answer struct {
	Weight Weight
	Note   string // what was odd about it; not to be trusted, and bounded by the monitor
}

// Prober makes the Probe of a check. It is called once for each check.
type Prober func(c Check) (Probe, error)

// probers returns the probers of this package.
func probers() map[Type]Prober {
	web := newWebProber()
	return map[Type]Prober{TypeTCP: newTCPProbe, TypeHTTP: web, TypeHTTPS: web}
}

// dialer connects without keep-alives: a probe is over long before the first.
var dialer = net.Dialer{KeepAlive: -1}

// run probes once and returns the answer, or what went wrong, empty if nothing
// did.
func run(ctx context.Context, probe Probe, timeout time.Duration) (answer Answer, failure string) {
	defer func() {
		if p := recover(); p != nil {
			answer, failure = Answer{}, short(fmt.Sprintf("probe panicked: %v", p))
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch a, err := probe(ctx); {
	case err == nil:
		a.Note = short(a.Note)
		return a, ""
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return Answer{}, fmt.Sprintf("timeout after %v", timeout)
	default:
		return Answer{}, short(cmp.Or(err.Error(), "the probe failed without a word"))
	}
}

// maxFailure bounds the text of a failure, in bytes: some of it is the server's.
const maxFailure = 200

// short returns text as one line that does nothing to a terminal.
func short(text string) string {
	if len(text) > maxFailure {
		text = text[:maxFailure-3] + "..."
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}

// plain says in a few words what went wrong on the network: without addresses
// and ports, which the operator knows already.
func plain(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		verb := op.Op
		switch verb {
		case "dial":
			verb = "connect"
		case "remote error": // a TLS alert
			return fmt.Errorf("tls: the server says %w", op.Err)
		}
		if errno, ok := errors.AsType[syscall.Errno](op.Err); ok {
			return fmt.Errorf("%s: %w", verb, errno)
		}
		return fmt.Errorf("%s: %w", verb, op.Err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the server closed the connection without a full answer")
	}
	if text, ok := strings.CutPrefix(err.Error(), "net/http: HTTP/1.x transport connection broken: "); ok {
		return errors.New(strings.TrimPrefix(text, "net/http: "))
	}
	return err
}
