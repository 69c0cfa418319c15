package configs

import (
	"fmt"
	"net/netip"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/health"
)

// httpKeys are the keys of a check that only HTTP and HTTPS have.
var httpKeys = []string{"method", "path", "host", "status", "body", "insecure", "weight_header"}

// merged is the check of one server: each key from the server's check if it is
// there, else from the service's, else the default.
type merged struct {
	server, service *record // either may be nil
}

// from returns the record that a key is taken from.
func (m merged) from(name string) *record {
	if m.server != nil && (m.server.given(name) || m.service == nil) {
		return m.server
	}
	if m.service == nil || m.service.field(name) == nil {
		return m.server
	}
	return m.service
}

func (m merged) good(names ...string) bool {
	return !slices.ContainsFunc(names, func(n string) bool { return !m.from(n).good(n) })
}

func (m merged) text(name string) string            { return m.from(name).text(name) }
func (m merged) integer(name string) int64          { return m.from(name).integer(name) }
func (m merged) duration(name string) time.Duration { return m.from(name).duration(name) }

// serviceCheck reads the [service.check] that servers start from.
func (b *builder) serviceCheck(service *record) health.Check {
	m := merged{service: service.table("check")}
	if m.service == nil || !m.good("type") {
		return health.Check{Type: health.TypeNone}
	}
	return b.probe(m)
}

// serverCheck reads the check of the server sr at the given address; base is
// that of its service.
func (b *builder) serverCheck(base health.Check, service, sr *record, k director.ServiceKey, server netip.AddrPort) health.Check {
	m := merged{server: sr.table("check"), service: service.table("check")}
	c := base
	if m.server != nil {
		if !m.good("type") {
			return health.Check{Type: health.TypeNone}
		}
		if !m.server.given("type") && base.Type == health.TypeNone {
			b.errorf(m.server.file, m.server.line, "check has no type, nor is there a [service.check] to take it from; add type = \"tcp\", \"http\" or \"https\"")
			return base
		}
		c = b.probe(m)
	}
	if c.Type != health.TypeNone {
		c.Target = b.target(m, sr, k, server)
	}
	return c
}

// probe reads everything of a check but its target. A problem is reported
// where the wrong key stands, once, however many servers take it over.
func (b *builder) probe(m merged) health.Check {
	c := health.Check{Type: health.Type(m.text("type"))}
	if c.Type == health.TypeNone {
		return c
	}
	c.Interval, c.Timeout = m.duration("interval"), m.duration("timeout")
	c.Rise, c.Fall = int(m.integer("rise")), int(m.integer("fall"))
	if m.good("interval", "timeout") && c.Timeout > c.Interval {
		r, name := m.later("timeout", "interval")
		b.once(r, name, "timeout = %q is longer than interval = %q, so that checks would overlap; shorten it", short(c.Timeout), short(c.Interval))
	}
	if c.Type == health.TypeHTTP || c.Type == health.TypeHTTPS {
		b.web(m, &c)
		return c
	}
	for _, r := range []*record{m.server, m.service} {
		for _, name := range httpKeys {
			if r != nil && r.given(name) && m.meant(r) {
				b.once(r, name, "%s is for checks of type http and https, not %s; remove it, or change the type", name, c.Type)
			}
		}
	}
	return c
}

// meant reports whether the keys of r were written for the type that the check
// has, so that one that does not fit is a mistake. Those of a service whose
// server has another type are not.
func (m merged) meant(r *record) bool {
	return r == m.server || r == m.from("type")
}

// later returns which of two keys was written closer to the server, to blame a
// conflict on: the first one if both are as close.
func (m merged) later(first, second string) (*record, string) {
	if m.server != nil && !m.server.given(first) && m.server.given(second) {
		return m.server, second
	}
	if r := m.from(first); r.given(first) || !m.from(second).given(second) {
		return r, first
	}
	return m.from(second), second
}

// once reports a problem with a key unless it was reported before, for
// another server.
func (b *builder) once(r *record, name, format string, args ...any) {
	f := r.field(name)
	what := fmt.Sprintf(format, args...)
	if b.blamed[f] == what {
		return
	}
	if b.blamed == nil {
		b.blamed = make(map[*field]string)
	}
	b.blamed[f] = what
	r.problem(name, "%s", what)
}

// target returns what is probed: the server, unless the check says otherwise.
func (b *builder) target(m merged, sr *record, k director.ServiceKey, server netip.AddrPort) netip.AddrPort {
	addr, port := server.Addr(), server.Port()
	if r := m.server; r != nil && r.given("address") && r.good("address") {
		a, err := hostAddress(r.text("address"))
		if err != nil {
			r.problem("address", "address = %s %v", quote(r.text("address")), err)
			return netip.AddrPort{}
		}
		addr = a
	}
	if m.from("port").given("port") {
		port = uint16(m.integer("port"))
	} else if port == 0 {
		port = k.Address.Port()
	}
	if !server.IsValid() {
		return netip.AddrPort{}
	}
	if port == 0 && m.good("port") {
		sr.problem("address", "the server has port 0, so that there is none to check; set port in its check")
	}
	return netip.AddrPortFrom(addr, port)
}

// web reads what HTTP and HTTPS have beyond TCP.
func (b *builder) web(m merged, c *health.Check) {
	c.Method, c.Path, c.Host, c.Body = m.text("method"), m.text("path"), m.text("host"), m.text("body")
	c.Insecure = m.from("insecure").boolean("insecure")
	if m.good("path") && !b.paths.of(c.Path, validPath) {
		b.once(m.from("path"), "path", "path = %s is not the path of a URL; begin with a slash, and escape spaces and # as %%20 and %%23", quote(c.Path))
	}
	if r := m.from("host"); m.good("host") && r.given("host") && !validHost(c.Host) {
		b.once(r, "host", "host = %s is not a host name; write a name or address, with a port if need be", quote(c.Host))
	}
	c.Status = b.status(m)
	if r := m.from("body"); m.good("body") && c.Body != "" {
		switch err := b.bodies.of(c.Body, validBody); {
		case len(c.Body) > maxBody:
			b.once(r, "body", "body is %d bytes long; use a regular expression of at most %d", len(c.Body), maxBody)
		case err != nil:
			b.once(r, "body", "body is not a regular expression (%v); see the RE2 syntax", regexpFault(err))
		case m.good("method") && c.Method == "HEAD":
			r, name := m.later("body", "method")
			b.once(r, name, "body cannot match with method = \"HEAD\", whose answers have none; use GET, or remove body")
		}
	}
	if r := m.from("weight_header"); m.good("weight_header") && m.text("weight_header") != "" {
		c.WeightHeader = textproto.CanonicalMIMEHeaderKey(m.text("weight_header"))
		if !validHeader(c.WeightHeader) {
			b.once(r, "weight_header", "weight_header = %s is not the name of a header; write for example \"X-Weight\"", quote(m.text("weight_header")))
		}
	}
	if r := m.from("insecure"); c.Insecure && c.Type == health.TypeHTTP {
		if m.meant(r) {
			b.once(r, "insecure", "insecure = true is for type = \"https\"; remove it, or change the type")
		}
		c.Insecure = false
	}
}

// memo remembers what was found out about texts: a thousand servers may have
// the same.
type memo[T any] map[string]T

func (m *memo[T]) of(s string, find func(string) T) T {
	v, known := (*m)[s]
	if !known {
		if *m == nil {
			*m = make(memo[T])
		}
		v = find(s)
		(*m)[s] = v
	}
	return v
}

// validPath reports whether s is the path of a URL, as it stands in a request.
func validPath(s string) bool {
	u, err := url.ParseRequestURI(s)
	return err == nil && u.Host == "" && strings.HasPrefix(s, "/") && !strings.ContainsAny(s, "# ") && printable(s)
}

// maxBody bounds a regular expression, in bytes.
const maxBody = 1024

func validBody(s string) error {
	if len(s) > maxBody {
		return nil // that is another problem
	}
	_, err := regexp.Compile(s)
	return err
}

func regexpFault(err error) string {
	return strings.TrimPrefix(err.Error(), "error parsing regexp: ")
}

// validHost reports whether s can stand in a Host header.
func validHost(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:[]"
	return s != "" && len(s) <= 255 && strings.Trim(s, letters) == ""
}

// validHeader reports whether s is a field name (RFC 9110 section 5.1).
func validHeader(s string) bool {
	const marks = "!#$%&'*+-.^_`|~"
	return len(s) <= maxName && strings.IndexFunc(s, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune(marks, c))
	}) < 0
}

// status returns the accepted codes in canonical form: sorted, without
// overlap.
func (b *builder) status(m merged) string {
	r := m.from("status")
	f := r.field("status")
	type span struct{ low, high uint64 }
	var spans []span
	for _, e := range r.list("status") {
		low, high, isRange := strings.Cut(e.text, "-")
		if !isRange {
			high = low
		}
		l, err1 := strconv.ParseUint(low, 10, 16)
		h, err2 := strconv.ParseUint(high, 10, 16)
		if err1 != nil || err2 != nil || l < 100 || h > 599 || l > h {
			if f.good {
				b.errorf(r.file, e.line, "status holds %s, which is no code or range of codes from 100 to 599; write for example \"200-299\" or \"304\"", quote(e.text))
			}
			continue
		}
		spans = append(spans, span{l, h})
	}
	if len(spans) < len(r.list("status")) {
		f.good = false // reported, and so not again for the next server
	}
	slices.SortFunc(spans, func(a, b span) int { return int(a.low) - int(b.low) })
	var merged []span
	for _, s := range spans {
		if n := len(merged); n > 0 && s.low <= merged[n-1].high+1 {
			merged[n-1].high = max(merged[n-1].high, s.high)
			continue
		}
		merged = append(merged, s)
	}
	var words []string
	for _, s := range merged {
		word := strconv.FormatUint(s.low, 10)
		if s.high > s.low {
			word += "-" + strconv.FormatUint(s.high, 10)
		}
		words = append(words, word)
	}
	return strings.Join(words, ",")
}
