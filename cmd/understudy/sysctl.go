package main

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/configs"
	"github.com/understudy-ha/understudy/director/sysctl"
)

// sysctlStatus is a setting of the kernel that is not as it should be.
type sysctlStatus struct {
	Key      string `json:"key"`
	Have     string `json:"have"` // empty: the kernel has no such key
	Want     string `json:"want"`
	Why      string `json:"why"`
	Fix      string `json:"fix,omitzero"` // the command that sets it
	Severity string `json:"severity"`     // "required", "advised", "hint"
	Error    string `json:"error,omitzero"`
}

// sysctlStatuses returns findings as the status shows them.
func sysctlStatuses(findings []sysctl.Finding) []sysctlStatus {
	var list []sysctlStatus
	for _, f := range findings {
		list = append(list, sysctlStatus{
			Key: f.Key, Have: f.Have, Want: f.Want, Why: f.Why, Fix: f.Fix, Severity: f.Severity.String(), Error: f.Err,
		})
	}
	return list
}

// writeSysctls prints settings for people: what is wrong marked with "!", hints
// only where all is asked for.
func writeSysctls(w io.Writer, list []sysctlStatus, all bool) {
	for _, s := range list {
		mark := "!"
		if s.Severity == sysctl.Hint.String() {
			if mark = " "; !all {
				continue
			}
		}
		have := "is " + s.Have
		if s.Have == "" {
			have = "is not there"
		}
		want := s.Want + " is " + s.Severity
		if mark == " " {
			want = "consider " + s.Want
		}
		fmt.Fprintf(w, "%s %s %s, %s: %s\n", mark, s.Key, have, want, s.Why)
		if s.Error != "" {
			fmt.Fprintf(w, "%s   %s\n", mark, s.Error)
		}
		if s.Fix != "" {
			fmt.Fprintf(w, "%s   %s\n", mark, s.Fix)
		}
	}
}

// machine is what a configuration is compared with.
type machine struct {
	settings sysctl.Table
	files    fs.FS // the root of the file system
	release  string
	link     func(name string) bool // is there
}

// thisMachine is the one that the program runs on.
func thisMachine() machine {
	m := machine{settings: sysctl.Kernel{}, files: os.DirFS("/"), link: func(name string) bool {
		_, err := net.InterfaceByName(name)
		return err == nil
	}}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		m.release = unix.ByteSliceToString(uts.Release[:])
	}
	return m
}

// compare prints what the machine lacks for a configuration and reports whether
// it would work there.
func (m machine) compare(w io.Writer, c *configs.Config) bool {
	good := true
	missing := func(format string, args ...any) {
		good = false
		fmt.Fprintf(w, "! "+format+"\n", args...)
	}
	for _, name := range links(c) {
		if !m.link(name) {
			missing("interface %s is not here; create it, or correct the configuration", name)
		}
	}
	_, err := m.settings.Read("net.ipv4.vs.conntrack")
	loaded := err == nil
	for _, name := range m.lacking(modules(c)) {
		if name != "ip_vs" || !loaded {
			missing("the kernel %s has no module %s; install the package with its modules, or change what needs it", m.release, name)
		}
	}
	findings := slices.DeleteFunc(sysctl.Look(m.settings, c.Kernel()), func(f sysctl.Finding) bool {
		return !loaded && strings.HasPrefix(f.Key, "net.ipv4.vs.")
	})
	for _, f := range findings {
		good = good && f.Severity < sysctl.Required
	}
	writeSysctls(w, sysctlStatuses(findings), true)
	if !loaded && len(c.Director.Services) > 0 {
		fmt.Fprintln(w, "  ip_vs is not loaded, so that its settings are not compared; modprobe ip_vs")
	}
	return good
}

// links returns the interfaces that a configuration names.
func links(c *configs.Config) []string {
	var names []string
	for _, r := range c.Routers {
		names = append(names, r.Link)
	}
	if c.Sync != nil {
		names = append(names, c.Sync.Interface)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// modules returns those that a configuration needs: ip_vs, which comes first,
// and what it loads by itself.
func modules(c *configs.Config) []string {
	var names []string
	for _, s := range c.Director.Services {
		names = append(names, "ip_vs_"+s.Spec.Scheduler)
		if s.Spec.Engine != "" {
			names = append(names, "ip_vs_pe_"+s.Spec.Engine)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return append([]string{"ip_vs"}, slices.Compact(names)...)
}

// lacking returns those modules that are neither loaded nor to be had.
func (m machine) lacking(names []string) []string {
	left := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		_, err := fs.Stat(m.files, path.Join("sys/module", name))
		return err == nil
	})
	for _, list := range []string{"modules.dep", "modules.builtin"} {
		left = m.without(left, path.Join("lib/modules", m.release, list))
	}
	return left
}

// maxModules bounds a list of modules, in bytes.
const maxModules = 16 << 20

// without returns names less those in a list of modules, such as
// "kernel/net/netfilter/ipvs/ip_vs_rr.ko.xz: kernel/...".
func (m machine) without(names []string, list string) []string {
	f, err := m.files.Open(list)
	if err != nil || len(names) == 0 {
		return names
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, maxModules))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		file, _, _ := strings.Cut(lines.Text(), ":")
		name, _, _ := strings.Cut(path.Base(file), ".ko")
		names = slices.DeleteFunc(names, func(n string) bool { return n == name })
	}
	return names
}
