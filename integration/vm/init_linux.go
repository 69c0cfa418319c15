package vm

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	umlModules = "/usr/lib/uml/modules"
	moduleDir  = "/run/understudy-modules"
)

// modules are loaded before the program starts; what else it needs (schedulers
// above all) its kernel loads on demand.
var modules = []string{"ip_vs", "nf_conntrack", "veth", "bridge", "dummy", "ipip", "macvlan"}

// boot is the guest's init. It never returns.
func boot() {
	s, err := load(os.Getenv(specEnv))
	if err != nil {
		fmt.Println("vm:", err)
		_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	}
	code := 1
	err = prepareGuest(s)
	if err == nil {
		fmt.Println(s.Token + " begin")
		code, err = runGuest(s)
	}
	if err != nil {
		fmt.Println(s.Token+" vm:", err)
	}
	fmt.Printf("%s end %d\n", s.Token, code)
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	os.Exit(code)
}

func load(path string) (spec, error) {
	var s spec
	b, err := os.ReadFile(path)
	if err != nil {
		return s, fmt.Errorf("read spec: %w", err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("decode spec: %w", err)
	}
	return s, nil
}

// prepareGuest mounts what a Linux has and loads the modules.
func prepareGuest(s spec) error {
	var errs []error
	mount := func(fstype, target string) {
		if err := unix.Mount(fstype, target, fstype, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			errs = append(errs, fmt.Errorf("mount %s on %s: %w", fstype, target, err))
		}
	}
	mount("proc", "/proc")
	mount("sysfs", "/sys")
	mount("tmpfs", "/run")
	for _, d := range []string{"/run/tmp", "/run/netns"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			errs = append(errs, fmt.Errorf("make %s: %w", d, err))
		}
	}
	if _, err := os.Stat("/dev/shm"); err != nil {
		_ = os.Mkdir("/dev/shm", 0o1777) // devtmpfs has none; without it programs fall back to TMPDIR
	}
	_ = unix.Mount("tmpfs", "/dev/shm", "tmpfs", 0, "")
	if err := useModules(s.Modules); err != nil {
		errs = append(errs, err)
	}
	// Without one address, a namespace has no table of local routes, and IPVS
	// takes no address for that of a host.
	if err := bringUp("lo"); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func bringUp(name string) error {
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("bring up %s: %w", name, err)
	}
	return nil
}

// useModules makes modprobe find the kernel's modules, whoever calls
// it: the kernel itself runs the program named in kernel.modprobe without any
// environment of ours, everybody else reads MODPROBE_OPTIONS.
func useModules(dir string) error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return fmt.Errorf("read kernel release: %w", err)
	}
	release := unix.ByteSliceToString(u.Release[:])
	from := filepath.Join(dir, release)
	if _, err := os.Stat(from); err != nil {
		return fmt.Errorf("find the kernel's modules: %w", err)
	}
	lib := filepath.Join(moduleDir, "lib/modules")
	if err := os.MkdirAll(lib, 0o755); err != nil {
		return fmt.Errorf("make module directory: %w", err)
	}
	if err := os.Symlink(from, filepath.Join(lib, release)); err != nil {
		return fmt.Errorf("link modules: %w", err)
	}
	wrapper := filepath.Join(moduleDir, "modprobe")
	script := "#!/bin/sh\nexec /sbin/modprobe -d " + moduleDir + " \"$@\"\n"
	if err := os.WriteFile(wrapper, []byte(script), 0o755); err != nil {
		return fmt.Errorf("write modprobe wrapper: %w", err)
	}
	if err := os.WriteFile("/proc/sys/kernel/modprobe", []byte(wrapper), 0o644); err != nil {
		return fmt.Errorf("set kernel.modprobe: %w", err)
	}
	for _, m := range modules {
		cmd := exec.Command("/sbin/modprobe", "-d", moduleDir, m)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("load %s: %w: %s", m, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// runGuest runs the program and reaps every orphan, as an init must.
func runGuest(s spec) (int, error) {
	cmd := exec.Command("/proc/self/exe", s.Args...)
	cmd.Args[0] = "understudy-vm"
	cmd.Dir = s.Dir
	cmd.Env = append(s.Env, inEnv+"=1", "TMPDIR=/run/tmp", "MODPROBE_OPTIONS=-d "+moduleDir, "GOTRACEBACK=all",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("start the program: %w", err)
	}
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 1, fmt.Errorf("wait for the program: %w", err)
		case pid == cmd.Process.Pid && ws.Signaled():
			return 128 + int(ws.Signal()), nil
		case pid == cmd.Process.Pid && ws.Exited():
			return ws.ExitStatus(), nil
		}
	}
}
