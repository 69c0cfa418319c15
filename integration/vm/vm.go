package vm

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	kernel  = "linux.uml"
	specEnv = "UNDERSTUDY_VM"     // path of the spec, given to the guest's init by its kernel
	inEnv   = "UNDERSTUDY_IN_VM"  // set for the program inside
	memEnv  = "UNDERSTUDY_VM_MEM" // memory of the guest, default below
	memory  = "1024M"
)

// spec is what the guest's init needs to know.
type spec struct {
	Args  []string // of the program, without its name
	Env   []string
	Dir   string
	Token string // marks the closing line
	// Modules is the directory with the modules of kernels by release.
	Modules string
}

// Inside reports whether the program runs in a kernel that this package booted.
func Inside() bool { return os.Getenv(inEnv) != "" }

// Needs is what a program needs of the kernel.
type Needs int

// What a program may need, besides being root.
const (
	Network Needs = iota // network namespaces
	IPVS                 // and IPVS
)

// Native reports whether this machine's own kernel and user will do.
func Native(needs Needs) bool {
	if os.Geteuid() != 0 {
		return false
	}
	if needs == Network {
		return true
	}
	if _, err := netlink.GenlFamilyGet("IPVS"); err == nil {
		return true
	}
	_ = exec.Command("modprobe", "ip_vs").Run() // the family tells whether it worked
	_, err := netlink.GenlFamilyGet("IPVS")
	return err == nil
}

// Main runs body in a kernel that has what it needs, and ends the program with
// body's exit status. prepare runs first, once, on the host: it builds what body
// uses and may set environment variables for it; what it returns cleans up.
// Nothing after Main is reached.
func Main(needs Needs, prepare func() (clean func(), err error), body func() int) {
	if os.Getpid() == 1 && os.Getenv(specEnv) != "" {
		boot()
	}
	if Inside() {
		os.Exit(body())
	}
	os.Exit(host(needs, prepare, body))
}

// host is Main outside of a guest.
func host(needs Needs, prepare func() (clean func(), err error), body func() int) int {
	if prepare != nil {
		clean, err := prepare()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer clean()
	}
	if !wantsQEMU() && Native(needs) {
		return body()
	}
	code, err := run(os.Args[1:], os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// run boots the guest with args for the program and copies what it prints.
func run(args []string, out io.Writer) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("find own program: %w", err)
	}
	// Not below /dev: the guest mounts its own there.
	tmp, err := os.MkdirTemp("", "understudy-vm-")
	if err != nil {
		return 0, fmt.Errorf("make directory for the guest: %w", err)
	}
	defer os.RemoveAll(tmp)
	dir, err := os.Getwd()
	if err != nil {
		return 0, fmt.Errorf("find working directory: %w", err)
	}
	s := spec{Args: args, Env: os.Environ(), Dir: dir, Token: rand.Text(), Modules: umlModules}
	specFile := filepath.Join(tmp, "spec.json")
	var cmd *exec.Cmd
	if wantsQEMU() {
		cmd, err = qemuCommand(self, specFile, tmp, &s)
	} else {
		cmd, err = umlCommand(self, specFile, tmp, s)
	}
	if err != nil {
		return 0, err
	}
	b, err := json.Marshal(s)
	if err != nil {
		return 0, fmt.Errorf("encode spec: %w", err)
	}
	if err := os.WriteFile(specFile, b, 0o600); err != nil {
		return 0, fmt.Errorf("write spec: %w", err)
	}
	// Its own process group, so that the whole guest goes with us.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return 0, fmt.Errorf("connect console: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("boot %s: %w", filepath.Base(cmd.Path), err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(stop)
	go func() {
		for range stop {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
	}()
	code, told, last := copyConsole(pipe, out, s.Token)
	err = cmd.Wait()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // stragglers of the guest; none is the usual case
	if !told {
		return 0, fmt.Errorf("the guest ended without a word (%v); the last of its console:\n%s", err, strings.Join(last, "\n"))
	}
	return code, nil
}

// umlCommand returns the command that boots the user-mode kernel with init.
func umlCommand(init, specFile, tmp string, s spec) (*exec.Cmd, error) {
	if _, err := exec.LookPath(kernel); err != nil {
		return nil, errors.New("this kernel has no IPVS that we may use, and there is no " + kernel +
			": run 'apt-get install -y user-mode-linux ipvsadm keepalived kmod' as root, or be root where ip_vs can be loaded")
	}
	mem := memory
	if m := os.Getenv(memEnv); m != "" {
		mem = m
	}
	cmd := exec.Command(kernel, "mem="+mem, "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw", "quiet", "loglevel=0",
		"init="+init, specEnv+"="+specFile, "con=null", "con0=fd:0,fd:1", "umid=understudy-"+s.Token[:8])
	cmd.Env = append(os.Environ(), "TMPDIR="+memoryDir(), "HOME="+tmp)
	return cmd, nil
}

// memoryDir is where the guest's memory file goes: memory, if there is any.
func memoryDir() string {
	if unix.Access("/dev/shm", unix.W_OK) == nil {
		return "/dev/shm"
	}
	return os.TempDir()
}

// copyConsole copies the guest's console to out without what its kernel says
// before init, and returns the exit status from the closing line, or the last
// lines if there is no such line.
func copyConsole(in io.Reader, out io.Writer, token string) (code int, told bool, last []string) {
	r := bufio.NewReader(in)
	begun := false
	for {
		line, err := r.ReadString('\n')
		text := strings.TrimRight(line, "\r\n")
		last = append(last[max(0, len(last)-9):], text)
		switch {
		case strings.HasPrefix(text, token+" begin"):
			begun = true
		case strings.HasPrefix(text, token+" end "):
			code, _ = strconv.Atoi(strings.TrimPrefix(text, token+" end "))
			return code, true, nil
		case strings.HasPrefix(text, token+" "):
			fmt.Fprintln(out, strings.TrimPrefix(text, token+" "))
		case begun && line != "":
			fmt.Fprint(out, strings.ReplaceAll(line, "\r\n", "\n"))
		}
		if err != nil {
			return code, false, last
		}
	}
}
