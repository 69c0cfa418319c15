package configs

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/understudy-ha/understudy/vrrp"
	"github.com/understudy-ha/understudy/vrrp/track"
)

// trackKinds are the keys of which a track has one.
var trackKinds = []struct {
	key  string
	kind track.Kind
	with []string // further keys that it may have
}{
	{"interface", track.Interface, nil},
	{"command", track.Command, []string{"interval", "timeout", "rise", "fall", "user"}},
	{"process", track.Process, []string{"count"}},
	{"file", track.File, nil},
	{"route", track.Route, []string{"via", "device"}},
	{"service", track.Service, nil},
}

// trackOptions are the keys that some kinds of track have.
var trackOptions = []string{"interval", "timeout", "rise", "fall", "user", "count", "via", "device"}

const (
	// maxTracks bounds the tracks of a virtual router.
	maxTracks = 64
	// maxCommand bounds a command, in bytes with one more for each word; the
	// kernel takes 128 KiB for each (execve(2)).
	maxCommand = 64 << 10
)

// tracks reads every [[vrrp.track]] of a virtual router.
func (b *builder) tracks(r *record) []track.Item {
	var items []track.Item
	seen := map[track.Item]where{}
	all := r.tables("track")
	if len(all) > maxTracks {
		r.problem("track", "there are %d [[vrrp.track]]; use at most %d, or combine them in a command", len(all), maxTracks)
		return nil
	}
	for _, t := range all {
		i, ok := b.track(r, t)
		if !ok {
			continue
		}
		if first, again := seen[i]; again {
			b.errorf(t.file, t.line, "the same track stands at %s already; remove one of the two", first)
			continue
		}
		seen[i] = where{t.file, t.line}
		items = append(items, i)
	}
	return items
}

// track turns one [[vrrp.track]] into its value. It returns false where that is
// not the one that is meant.
func (b *builder) track(r, t *record) (item track.Item, ok bool) {
	kind := -1
	for n, k := range trackKinds {
		switch {
		case !t.given(k.key):
		case kind >= 0:
			advice := "remove one of the two"
			if k.key == "route" && trackKinds[kind].key == "interface" {
				advice = "write device for the interface of a route"
			}
			t.problem(k.key, "the track has both %s and %s; %s", trackKinds[kind].key, k.key, advice)
			return item, false
		default:
			kind = n
		}
	}
	if kind < 0 {
		b.errorf(t.file, t.line, "%s does not say what to track; add one of interface, command, process, file, route and service", t.name)
		return item, false
	}
	k := trackKinds[kind]
	ok = t.good(k.key)
	for _, name := range trackOptions {
		if !t.given(name) {
			continue
		}
		if !slices.Contains(k.with, name) {
			t.problem(name, "%s is not for a track with %s; remove it", name, k.key)
			ok = false
		}
		ok = ok && t.good(name)
	}
	item.Kind, item.Reverse = k.kind, t.boolean("reverse")
	item.Weight = b.trackWeight(r, t)
	switch k.kind {
	case track.Command:
		ok = b.trackCommand(t, &item.Target) && ok
	case track.Route:
		ok = b.trackRoute(t, &item.Target) && ok
	default:
		item.Name = t.text(k.key)
	}
	if !ok {
		return item, false
	}
	switch name := item.Name; k.kind {
	case track.Interface:
		if ok = b.checkInterface(t, "interface"); ok && r.good("interface") && name == r.text("interface") {
			t.warn("interface", "interface = %s is that of the virtual router, which is tracked in any case; remove this", quote(name))
		}
	case track.Process:
		item.Count = int(t.integer("count"))
		if ok = name != "" && len(name) <= maxProcess && printable(name) && !strings.Contains(name, "/"); !ok {
			t.problem("process", "process = %s is not the name of a process; use 1 to %d printable bytes without a slash, as ps -e prints it", quote(name), maxProcess)
		}
	case track.File:
		if ok = absolute(name); !ok {
			t.problem("file", "file = %s is not the absolute path of a file; write for example \"/run/understudy/weight\"", quote(name))
		}
	case track.Service:
		b.tracked = append(b.tracked, t)
	}
	return item, ok
}

// maxProcess bounds the name of a process, in bytes (NAME_MAX of linux/limits.h).
const maxProcess = 255

// absolute reports whether s is the whole path of something that can be a file.
func absolute(s string) bool {
	return strings.HasPrefix(s, "/") && path.Clean(s) == s && s != "/" && len(s) <= maxState && printable(s)
}

func (b *builder) trackWeight(r, t *record) int {
	if !t.given("weight") || !t.good("weight") {
		return 0
	}
	switch w := t.integer("weight"); {
	case w == 0:
		t.problem("weight", "weight = 0 adds nothing; choose -253 to 253, or remove it: without a weight it is a fault")
	case r.good("priority") && r.integer("priority") == vrrp.PriorityOwner:
		t.problem("weight", "weight cannot change the priority 255 of the owner of the addresses; lower that, or remove the weight: without one it is a fault")
	}
	return int(t.integer("weight"))
}

func (b *builder) trackCommand(t *record, to *track.Target) bool {
	ok, size := t.good("command", "interval", "timeout", "rise", "fall", "user"), 0
	var words []string
	for _, e := range t.list("command") {
		if strings.ContainsRune(e.text, 0) {
			b.errorf(t.file, e.line, "command holds a zero byte, which no command can be given; remove it")
			ok = false
		}
		words = append(words, e.text)
		size += len(e.text) + 1
	}
	to.Interval, to.Timeout = t.duration("interval"), t.duration("timeout")
	to.Rise, to.Fall, to.User = int(t.integer("rise")), int(t.integer("fall")), b.programUser(t)
	if t.good("interval", "timeout") && to.Timeout > to.Interval {
		name := "timeout"
		if !t.given(name) {
			name = "interval"
		}
		t.problem(name, "timeout = %q is longer than interval = %q, so that runs would overlap; shorten it", short(to.Timeout), short(to.Interval))
		ok = false
	}
	if !ok || len(words) == 0 {
		return false
	}
	switch {
	case !absolute(words[0]):
		t.problem("command", "command begins with %s, which is not the absolute path of a file; write for example [\"/usr/local/bin/uplink-ok\"]: there is no shell, and no search path", quote(words[0]))
		return false
	case size > maxCommand:
		t.problem("command", "command is %d bytes long; use at most %d", size, maxCommand)
		return false
	}
	to.Command = track.Args(words...)
	return true
}

func (b *builder) trackRoute(t *record, to *track.Target) bool {
	ok := true
	fail := func(key, format string, args ...any) {
		t.problem(key, "%s", fmt.Sprintf(format, args...))
		ok = false
	}
	if t.good("route") {
		s := t.text("route")
		p, err := netip.ParsePrefix(s)
		switch {
		case err != nil && s == "default":
			fail("route", "route = \"default\" does not say which; write \"0.0.0.0/0\" or \"::/0\"")
		case err != nil:
			fail("route", "route = %s is not a network with its prefix length; write for example \"0.0.0.0/0\" or \"2001:db8::/32\"", quote(s))
		case p.Addr().Is4In6():
			fail("route", "route = %s is an IPv4 network in IPv6 form; write it as IPv4", quote(s))
		case p != p.Masked():
			fail("route", "route = %s has bits beyond its length; write %q", quote(s), p.Masked())
		}
		to.Prefix = p
	}
	if t.given("via") && t.good("via") {
		a, err := hostAddress(t.text("via"))
		switch {
		case err != nil:
			fail("via", "via = %s %v", quote(t.text("via")), err)
		case ok && to.Prefix.Addr().Is6() && a.Is4():
			fail("via", "via = %s is an IPv4 address, by which no IPv6 route goes; write an IPv6 address", quote(t.text("via")))
		}
		to.Via = a
	}
	if t.given("device") && t.good("device") {
		to.Device = t.text("device")
		ok = b.checkInterface(t, "device") && ok
	}
	return ok
}

// checkTracked checks that the services exist whose quorum is tracked.
func (b *builder) checkTracked() {
	var names []string
	for _, t := range b.tracked {
		name := t.text("service")
		if _, ok := b.tables.names[name]; ok {
			continue
		}
		if names == nil {
			for _, s := range b.config.Director.Services {
				names = append(names, s.Name)
			}
		}
		advice := "name one that there is"
		if near := nearest(name, names); near != "" {
			advice = "did you mean " + quote(near) + "?"
		}
		t.problem("service", "service = %s is not the name of a [[service]]; %s", quote(name), advice)
	}
}
