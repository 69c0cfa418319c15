package configs

import (
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/understudy-ha/understudy/vrrp/notify"
)

const (
	// maxTargets bounds who is told of one virtual router or group.
	maxTargets = 16
	// maxURL bounds a URL, in bytes.
	maxURL = 2048
	// maxUser is the longest name of a user (LOGIN_NAME_MAX of most systems is
	// above it, useradd's limit is it).
	maxUser = 32
)

var notifyStates = map[string]notify.State{
	"master": notify.StateMaster, "backup": notify.StateBackup, "fault": notify.StateFault, "stop": notify.StateStop,
}

// notifyTargets reads the notify of a [[vrrp]] or a [[group]]; what is wrong is
// left out.
func (b *builder) notifyTargets(r *record) []notify.Target {
	var targets []notify.Target
	for i, t := range r.tables("notify") {
		if i == maxTargets {
			b.errorf(t.file, t.line, "%s stands here more than %d times; let one of them tell others", t.name, maxTargets)
			break
		}
		if target, ok := b.notifyTarget(t); ok {
			targets = append(targets, target)
		}
	}
	return targets
}

func (b *builder) notifyTarget(r *record) (notify.Target, bool) {
	t := notify.Target{Timeout: r.duration("timeout"), RouterID: b.config.RouterID}
	for _, e := range r.list("on") {
		t.On |= notify.Of(notifyStates[e.text])
	}
	which := ""
	for _, name := range []string{"command", "fifo", "url"} {
		switch {
		case !r.given(name):
		case which != "":
			r.problem(name, "%s and %s stand in one %s; make two of it", which, name, r.name)
			return t, false
		default:
			which = name
		}
	}
	if which == "" {
		b.errorf(r.file, r.line, "%s tells nobody; add command = [\"...\"], fifo = \"...\" or url = \"...\"", r.name)
		return t, false
	}
	if r.given("user") && which != "command" {
		r.problem("user", "user is for a command, which %s is not; remove it", which)
	}
	if r.given("timeout") && which == "fifo" {
		r.problem("timeout", "timeout is for a command or a url; remove it, who reads a fifo may take its time")
	}
	if !r.good(which) {
		return t, false
	}
	switch which {
	case "command":
		t.User = b.programUser(r)
		t.Command = b.notifyCommand(r)
		return t, len(t.Command) > 0
	case "fifo":
		t.FIFO = r.text("fifo")
		if !path.IsAbs(t.FIFO) || strings.HasSuffix(t.FIFO, "/") || !printable(t.FIFO) {
			r.problem("fifo", "fifo = %s is not the absolute path of a named pipe; write for example \"/run/understudy/notify\"", quote(t.FIFO))
			return t, false
		}
	case "url":
		t.URL = r.text("url")
		if why := badURL(t.URL); why != "" {
			r.problem("url", "url %s; write for example \"https://www.example.com/events\"", why)
			return t, false
		}
	}
	return t, true
}

// notifyCommand returns the command of a target, nil if it cannot be one.
func (b *builder) notifyCommand(r *record) []string {
	list := r.list("command")
	args := make([]string, 0, len(list))
	for i, e := range list {
		switch {
		case strings.ContainsRune(e.text, 0):
			b.errorf(r.file, e.line, "command holds %s, with a zero byte, which no program can be given; remove it", quote(e.text))
			return nil
		case i == 0 && (!path.IsAbs(e.text) || strings.HasSuffix(e.text, "/") || !printable(e.text)):
			b.errorf(r.file, e.line, "command begins with %s, which is not the absolute path of a program; write for example [\"/usr/local/sbin/page\", \"{name}\", \"{state}\"], there is no shell that would look for it", quote(e.text))
			return nil
		case i == 0 && strings.ContainsAny(e.text, "{}"):
			b.errorf(r.file, e.line, "command begins with %s; name one program, only its arguments have placeholders", quote(e.text))
			return nil
		}
		for _, word := range notify.Unknown(e.text) {
			advice := "these are {" + strings.Join(notify.Placeholders, "}, {") + "}"
			if near := nearest(strings.Trim(word, "{}"), notify.Placeholders); near != "" {
				advice = "did you mean {" + near + "}?"
			}
			b.warnf(r.file, e.line, "%s in command is not a placeholder, and is passed on as it is; %s", word, advice)
		}
		args = append(args, e.text)
	}
	return args
}

func (b *builder) programUser(r *record) string {
	if !r.given("user") || !r.good("user") {
		return ""
	}
	s := r.text("user")
	if s == "" || len(s) > maxUser || !printable(s) || strings.ContainsAny(s, " :/") {
		r.problem("user", "user = %s is not the name of a user; write one of /etc/passwd, or remove it", quote(s))
		return ""
	}
	return s
}

// badURL says why s is not a URL to post to, without a part of it that may be
// secret.
func badURL(s string) string {
	u, err := url.Parse(s)
	switch {
	case len(s) > maxURL:
		return "is " + strconv.Itoa(len(s)) + " bytes long"
	case err != nil || !printable(s) || strings.Contains(s, " ") || u.Opaque != "":
		return "is not one"
	case u.Scheme != "http" && u.Scheme != "https":
		return "is not for http or https"
	case u.Hostname() == "":
		return "names no host"
	case u.Fragment != "":
		return "has a fragment, which no server is told"
	}
	if p := u.Port(); p != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return "has no port from 1 to 65535"
		}
	}
	return ""
}
