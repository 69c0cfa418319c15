package vrrp

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// secret stands for a password in every text form: equal passwords stay equal,
// and none is shown.
const (
	secret      = "secret"
	otherSecret = "other"
)

var errQuote = errors.New("unterminated quote")

// Fields splits a line of a scenario into words at blanks. A word, or the value
// after its first "=", may be quoted as in Go. A "#" at the start of a word
// begins a comment.
func Fields(line string) ([]string, error) {
	var words []string
	for {
		line = strings.TrimLeft(line, " \t\r")
		if line == "" || line[0] == '#' {
			return words, nil
		}
		end := strings.IndexAny(line, " \t\r\"")
		if end < 0 {
			return append(words, line), nil
		}
		if line[end] != '"' {
			words = append(words, line[:end])
			line = line[end:]
			continue
		}
		quoted, err := strconv.QuotedPrefix(line[end:])
		if err != nil {
			return nil, errQuote
		}
		value, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, errQuote
		}
		words = append(words, line[:end]+value)
		line = line[end+len(quoted):]
	}
}

// quote returns s as one word.
func quote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r == '"' || r == '#' || r == '=' || r > '~'
	}) {
		return s
	}
	return strconv.Quote(s)
}

// pairs yields the key=value words. A word without "=" has the value "true".
func pairs(words []string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, w := range words {
			key, value, ok := strings.Cut(w, "=")
			if !ok {
				value = "true"
			}
			if !yield(key, value) {
				return
			}
		}
	}
}

// AppendText appends c as the words after "router NAME" in a scenario. The
// password is replaced by a word that stands for it.
func (c Config) AppendText(b []byte) ([]byte, error) {
	b = fmt.Appendf(b, "version=%d vrid=%d priority=%d interval=%v preempt=%t preempt_delay=%v primary=%s",
		c.Version, c.VRID, c.Priority, c.Interval, c.Preempt, c.PreemptDelay, quote(c.Primary.String()))
	if c.Hold {
		b = append(b, " hold"...)
	}
	if c.Checksum != ChecksumRFC5798 {
		b = fmt.Appendf(b, " checksum=%d", c.Checksum)
	}
	if c.Grouped {
		b = append(b, " grouped"...)
	}
	if c.Password != "" {
		b = append(b, " password="+secret...)
	}
	if len(c.Addresses) > 0 {
		b = append(b, " addresses="...)
		for i, a := range c.Addresses {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, quote(a.String())...)
		}
	}
	return b, nil
}

// UnmarshalText sets the fields of c that text names, in the form of AppendText.
func (c *Config) UnmarshalText(text []byte) error {
	words, err := Fields(string(text))
	if err != nil {
		return fmt.Errorf("parse configuration: %w", err)
	}
	return c.set(words)
}

func (c *Config) set(words []string) error {
	for key, value := range pairs(words) {
		var err error
		switch key {
		case "version":
			err = parseUint8(value, (*uint8)(&c.Version))
		case "vrid":
			err = parseUint8(value, &c.VRID)
		case "priority":
			err = parseUint8(value, &c.Priority)
		case "interval":
			c.Interval, err = time.ParseDuration(value)
		case "preempt":
			c.Preempt, err = strconv.ParseBool(value)
		case "hold":
			c.Hold, err = strconv.ParseBool(value)
		case "checksum":
			err = parseUint8(value, (*uint8)(&c.Checksum))
		case "grouped":
			c.Grouped, err = strconv.ParseBool(value)
		case "preempt_delay":
			c.PreemptDelay, err = time.ParseDuration(value)
		case "primary":
			err = parseAddr(value, &c.Primary)
		case "password":
			c.Password = value
		case "addresses":
			c.Addresses = nil
			for s := range strings.SplitSeq(value, ",") {
				var a netip.Addr
				if err = parseAddr(s, &a); err != nil {
					break
				}
				c.Addresses = append(c.Addresses, a)
			}
		default:
			err = errors.New("unknown key")
		}
		if err != nil {
			return fmt.Errorf("parse configuration: %s: %w", key, err)
		}
	}
	return nil
}

// parseUint8 parses a decimal number of 0..255 into v.
func parseUint8(s string, v *uint8) error {
	n, err := strconv.ParseUint(s, 10, 8)
	*v = uint8(n)
	return err
}

// parseAddr parses what netip.Addr.String writes, "invalid IP" for the zero
// value included.
func parseAddr(s string, v *netip.Addr) (err error) {
	if s == (netip.Addr{}).String() {
		*v = netip.Addr{}
		return nil
	}
	*v, err = netip.ParseAddr(s)
	return err
}

// index returns the position of name among names.
func index[T ~uint8](name string, names []string, v *T) error {
	for i, n := range names {
		if n == name {
			*v = T(i)
			return nil
		}
	}
	return fmt.Errorf("unknown word %q", name)
}
