package main

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
	"github.com/understudy-ha/understudy/director/oracle"
)

// liveKernel is the kernel of this machine, in the network namespace of the
// process. Paths are below root; empty: the real ones.
type liveKernel struct{ root string }

func (liveKernel) table() (serviceTable, error) { return genl.Open() }

func (k liveKernel) connections() (io.ReadCloser, error) {
	return os.Open(filepath.Join("/", k.root, "proc/net/ip_vs_conn"))
}

// narrow are the machines whose kernels have words of 32 bits, by the start of
// their names.
var narrow = []string{"i386", "i486", "i586", "i686", "armv5", "armv6", "armv7", "riscv32"}

// settings reads how the kernel was built and set. What cannot be read is as the
// kernel has it by default.
func (k liveKernel) settings(scheduler string) (oracle.Kernel, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return oracle.Kernel{}, fmt.Errorf("ask for the kernel's version: %w", err)
	}
	release, machine := unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:])
	if scheduler == "mh" && slices.ContainsFunc(narrow, func(n string) bool { return strings.HasPrefix(machine, n) }) {
		return oracle.Kernel{}, fmt.Errorf("on a 32-bit kernel (%s) mh hashes in another way, which is not known here", machine)
	}
	out := oracle.Kernel{
		ExpireQuiescent: k.sysctl("expire_quiescent_template", 0) != 0,
		ExpireNodest:    k.sysctl("expire_nodest_conn", 0) != 0,
		ReuseMode:       k.sysctl("conn_reuse_mode", 1),
	}
	if scheduler == "sh" || scheduler == "mh" {
		out.SHBits, out.MHIndex = k.tableSizes(release)
	}
	return out, nil
}

// sysctl reads one of net.ipv4.vs.
func (k liveKernel) sysctl(name string, standard int) int {
	b, err := os.ReadFile(filepath.Join("/", k.root, "proc/sys/net/ipv4/vs", name))
	if err != nil {
		return standard
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return standard
	}
	return n
}

// tableSizes reads the kernel's build options for sh and mh; 0 where they are
// not known.
func (k liveKernel) tableSizes(release string) (sh, mh int) {
	if f, err := os.Open(filepath.Join("/", k.root, "proc/config.gz")); err == nil {
		defer f.Close()
		if z, err := gzip.NewReader(f); err == nil {
			if sh, mh, err = buildOptions(z); err == nil {
				return sh, mh
			}
		}
	}
	for _, name := range []string{"boot/config-" + release, "lib/modules/" + release + "/config"} {
		if f, err := os.Open(filepath.Join("/", k.root, name)); err == nil {
			defer f.Close()
			if sh, mh, err = buildOptions(f); err == nil {
				return sh, mh
			}
		}
	}
	return 0, 0
}

var errNoOptions = errors.New("the configuration of a kernel without ip_vs")

// buildOptions reads CONFIG_IP_VS_SH_TAB_BITS and CONFIG_IP_VS_MH_TAB_INDEX.
func buildOptions(r io.Reader) (sh, mh int, err error) {
	const longest = 16 << 20 // bytes; real ones have a third of one
	lines := bufio.NewScanner(io.LimitReader(r, longest))
	known := false
	for lines.Scan() {
		key, value, ok := strings.Cut(lines.Text(), "=")
		if !ok {
			continue
		}
		n, err := strconv.Atoi(value)
		switch {
		case err != nil:
		case key == "CONFIG_IP_VS_SH_TAB_BITS":
			sh, known = n, true
		case key == "CONFIG_IP_VS_MH_TAB_INDEX":
			mh, known = n, true
		}
	}
	if err := lines.Err(); err != nil {
		return 0, 0, fmt.Errorf("read build options: %w", err)
	}
	if !known {
		return 0, 0, errNoOptions
	}
	return sh, mh, nil
}
