package health

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
)

const (
	// maxBody is how much of a body is looked at, in bytes.
	maxBody = 64 << 10
	// maxHeader bounds the header of an answer, in bytes.
	maxHeader = 64 << 10
	// maxPatterns bounds the compiled expressions that are kept to be shared.
	maxPatterns = 1000
)

// webProbe is what is prepared for the probes of one HTTP or HTTPS check.
type webProbe struct {
	request *http.Request
	target  netip.AddrPort
	codes   Codes
	body    *regexp.Regexp // nil: the body is not read
	weight  string         // name of the header with the weight, canonical; empty: not read
	tls     *tls.Config
}

// newWebProber returns the prober of HTTP and HTTPS checks. Checks with equal
// expressions share the compiled one. It is not safe for concurrent use.
func newWebProber() Prober {
	patterns := make(map[string]*regexp.Regexp)
	return func(c Check) (Probe, error) {
		p, err := newWebProbe(c)
		if err != nil {
			return nil, err
		}
		if c.Body != "" {
			p.body = patterns[c.Body]
			if p.body == nil {
				if p.body, err = regexp.Compile(c.Body); err != nil {
					return nil, fmt.Errorf("compile body: %w", err)
				}
				if len(patterns) >= maxPatterns {
					clear(patterns)
				}
				patterns[c.Body] = p.body
			}
		}
		return p.probe, nil
	}
}

func newWebProbe(c Check) (*webProbe, error) {
	p := &webProbe{target: c.Target}
	var err error
	if p.codes, err = ParseStatus(cmp.Or(c.Status, "200-299")); err != nil {
		return nil, err
	}
	u, err := url.ParseRequestURI(cmp.Or(c.Path, "/"))
	if err != nil {
		return nil, fmt.Errorf("parse path: %w", err)
	}
	u.Scheme, u.Host = string(c.Type), hostHeader(c)
	p.request = &http.Request{
		Method: cmp.Or(c.Method, http.MethodGet),
		URL:    u,
		Header: http.Header{"User-Agent": {"understudy"}},
	}
	if c.WeightHeader != "" {
		p.weight = http.CanonicalHeaderKey(c.WeightHeader)
	}
	if c.Type == TypeHTTPS {
		p.tls = &tls.Config{ServerName: u.Hostname(), InsecureSkipVerify: c.Insecure}
	}
	return p, nil
}

// hostHeader returns what stands in the Host header of a check.
func hostHeader(c Check) string {
	if c.Host == "" { // a zone is nobody's business but ours
		return netip.AddrPortFrom(c.Target.Addr().WithZone(""), c.Target.Port()).String()
	}
	if ip, err := netip.ParseAddr(c.Host); err == nil && ip.Is6() {
		return "[" + c.Host + "]"
	}
	return c.Host
}

func (p *webProbe) probe(ctx context.Context) (Answer, error) {
	// A transport for one request: nothing is shared with the probes of other
	// servers. Its goroutines end with the connection.
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialTCP(ctx, "tcp", netip.AddrPort{}, p.target)
		},
		TLSClientConfig:        p.tls,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
	}
	defer transport.CloseIdleConnections()
	// RoundTrip, unlike a Client, follows no redirect.
	resp, err := transport.RoundTrip(p.request.Clone(ctx))
	if err != nil {
		return Answer{}, plainWeb(err)
	}
	defer resp.Body.Close()
	if !p.codes.Contains(resp.StatusCode) {
		return Answer{}, fmt.Errorf("status %d, want %v", resp.StatusCode, p.codes)
	}
	answer := p.answer(resp.Header)
	if p.body == nil {
		return answer, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return Answer{}, plainWeb(err)
	}
	if !p.body.Match(body) {
		return Answer{}, fmt.Errorf("body does not match %q", p.body)
	}
	return answer, nil
}

// answer reads the weight from the header of an answer.
func (p *webProbe) answer(header http.Header) Answer {
	if p.weight == "" {
		return Answer{}
	}
	values := header[p.weight]
	switch len(values) {
	case 0:
		return Answer{}
	case 1:
		if w, ok := parseWeight(values[0]); ok {
			return Answer{Weight: w}
		}
		return Answer{Note: fmt.Sprintf("%s: %q is not a weight", p.weight, values[0])}
	}
	return Answer{Note: fmt.Sprintf("%s stands in the answer %d times", p.weight, len(values))}
}

// plainWeb says in a few words why there was no answer.
func plainWeb(err error) error {
	if verification, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("certificate: %w", verification.Err)
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return errors.New("the server does not speak TLS")
	}
	return plain(err)
}
