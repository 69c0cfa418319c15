package site

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/moby/ipvs"

	"github.com/understudy-ha/understudy/integration/lab"
)

// binaryEnv names the daemon under test.
const binaryEnv = "UNDERSTUDY_BIN"

// Binary returns the daemon under test: UNDERSTUDY_BIN.
func Binary() string { return os.Getenv(binaryEnv) }

// Build builds the daemon under test, unless UNDERSTUDY_BIN names one, and
// returns how to remove it.
func Build() (remove func(), err error) {
	if Binary() != "" {
		return func() {}, nil
	}
	dir, err := os.MkdirTemp("", "understudy-")
	if err != nil {
		return nil, fmt.Errorf("make directory for the daemon: %w", err)
	}
	bin := filepath.Join(dir, "understudy")
	cmd := exec.Command("go", "build", "-o", bin, "github.com/understudy-ha/understudy/cmd/understudy")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the daemon: %w: %s", err, out)
	}
	return func() { _ = os.RemoveAll(dir) }, os.Setenv(binaryEnv, bin)
}

// Director is a host with a daemon.
type Director struct {
	Node   *lab.Node
	Port   *lab.Port // to the LAN
	Inside *lab.Port // to the inside link, with NAT
	File   string    // its configuration

	tb     lab.TB
	site   *Site
	socket string
	proc   *lab.Process
	last   Status
	asked  time.Time // when last was heard
}

// Write replaces the configuration file.
func (d *Director) Write(config string) {
	d.tb.Helper()
	d.File = d.site.Lab.File(d.Node.Name+".toml", config)
}

// Start starts the daemon, with further arguments of "run" if there are any, and
// does not wait for anything.
func (d *Director) Start(args ...string) {
	d.tb.Helper()
	d.proc = d.Node.StartFirst(d.Node.Name+".log", Binary(), append([]string{"run", "--config", d.File}, args...)...)
}

// Stop stops the daemon cleanly and waits for its end.
func (d *Director) Stop() error {
	d.proc.Signal(syscall.SIGTERM)
	select {
	case <-d.proc.Done():
		return d.proc.Err()
	case <-time.After(20 * time.Second):
		return fmt.Errorf("%s does not stop", d.Node.Name)
	}
}

// Kill kills the daemon as kill -9 does.
func (d *Director) Kill() { d.proc.Kill() }

// Signal sends a signal to the daemon.
func (d *Director) Signal(s syscall.Signal) { d.proc.Signal(s) }

// Process is the running daemon.
func (d *Director) Process() *lab.Process { return d.proc }

// Pid returns the daemon's process number.
func (d *Director) Pid() int { return d.proc.Pid() }

// Log returns what the daemon has printed.
func (d *Director) Log() string { return d.site.Lab.Log(d.Node.Name + ".log") }

// Reload asks for a reload by the control socket.
func (d *Director) Reload() error {
	return d.post("/v1/reload")
}

// Handover asks the daemon to let its peer have a virtual router.
func (d *Director) Handover(router string) error {
	return d.post("/v1/handover?router=" + url.QueryEscape(router))
}

func (d *Director) post(path string) error {
	resp, err := d.client().Post("http://understudy"+path, "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return fmt.Errorf("status %d: %s", resp.StatusCode, b)
	}
	return nil
}

// Command runs a command of the daemon's program, for the daemon.
func (d *Director) Command(args ...string) (string, error) {
	return d.Node.Run(Binary(), append(args, "--config", d.File)...)
}

func (d *Director) client() *http.Client {
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", d.socket)
		},
	}}
}

// Status is the part of the daemon's status that sites are judged by.
type Status struct {
	PID     int `json:"pid"`
	Routers []struct {
		Name      string         `json:"name"`
		State     string         `json:"state"`
		Since     time.Time      `json:"since"`
		Reason    string         `json:"reason"`
		Master    string         `json:"master"`
		Takeovers int            `json:"takeovers"`
		Sent      int            `json:"advertisements_sent"`
		Received  int            `json:"advertisements_received"`
		Drops     map[string]int `json:"drops"`
		Addresses []struct {
			Address string `json:"address"`
			Held    bool   `json:"held"`
		} `json:"addresses"`
	} `json:"virtual_routers"`
	Services []struct {
		Name    string `json:"name"`
		InTable bool   `json:"in_table"`
		Servers []struct {
			Address   string `json:"address"`
			Weight    int    `json:"weight"`
			InTable   bool   `json:"in_table"`
			Health    string `json:"health"`
			LastError string `json:"last_error"`
			Active    int    `json:"active_connections"`
			Inactive  int    `json:"inactive_connections"`
		} `json:"servers"`
	} `json:"services"`
	Lanes []struct {
		Name    string `json:"name"`
		Repairs int    `json:"repairs"`
		Error   string `json:"error"`
	} `json:"lanes"`
}

// restTime is how long an answer of the daemon serves those who ask again: who
// waits for a state must not take the processor from those who bring it about.
const restTime = 40 * time.Millisecond

// State returns the state of the first virtual router, as of the last restTime;
// "" without an answer.
func (d *Director) State() string {
	if time.Since(d.asked) > restTime {
		d.last, _ = d.Status()
		d.asked = time.Now()
	}
	if len(d.last.Routers) == 0 {
		return ""
	}
	return d.last.Routers[0].State
}

// Status asks the daemon by its control socket.
func (d *Director) Status() (Status, error) {
	var s Status
	resp, err := d.client().Get("http://understudy/v1/status")
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

// Socket is the daemon's control socket.
func (d *Director) Socket() string { return d.socket }

// Serving reports how many real servers of the web service are in the table.
func (d *Director) Serving() int {
	d.tb.Helper()
	count := 0
	for i := range d.site.Servers {
		if d.Serves(i) {
			count++
		}
	}
	return count
}

// Serves reports whether a real server, counted from 0, is in the table for the
// web service.
func (d *Director) Serves(i int) bool {
	d.tb.Helper()
	a := netip.MustParseAddr(d.site.ServerIP(i)).As4()
	return bytes.Contains(d.table(), fmt.Appendf(nil, "\n  -> %02X%02X%02X%02X:%04X ", a[0], a[1], a[2], a[3], d.site.ServerPort()))
}

// Weight returns the weight that a real server, counted from 0, has in the table
// for the web service, or -1.
func (d *Director) Weight(i int) int {
	d.tb.Helper()
	a := netip.MustParseAddr(d.site.ServerIP(i)).As4()
	_, line, ok := bytes.Cut(d.table(), fmt.Appendf(nil, "\n  -> %02X%02X%02X%02X:%04X ", a[0], a[1], a[2], a[3], d.site.ServerPort()))
	fields := bytes.Fields(line)
	if !ok || len(fields) < 2 { // forwarding method, weight
		return -1
	}
	weight, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return -1
	}
	return weight
}

// Destinations counts the real servers in the table.
func (d *Director) Destinations() int {
	d.tb.Helper()
	return strings.Count("\n"+d.Saved(), "\n-a ")
}

// Watch returns a function that counts the real servers of one TCP service,
// with a question to the kernel about that service only.
func (d *Director) Watch(service string) func() int {
	d.tb.Helper()
	at := netip.MustParseAddrPort(service)
	var h *ipvs.Handle
	d.Node.Must("open IPVS", func() error {
		var err error
		h, err = ipvs.New("")
		return err
	})
	d.tb.Cleanup(h.Close)
	key := &ipvs.Service{AddressFamily: syscall.AF_INET, Address: at.Addr().AsSlice(), Port: at.Port(), Protocol: syscall.IPPROTO_TCP}
	return func() int {
		list, err := h.GetDestinations(key)
		if err != nil {
			return 0 // there is no such service yet
		}
		return len(list)
	}
}

// table returns the kernel's own text of the table, the cheapest look there is.
// It is for small ones: the kernel makes a page of text at a time, and where it
// goes on after the first, it counts the services of other namespaces in one place
// and not in the other, and leaves some out.
func (d *Director) table() []byte { return d.Proc("ip_vs") }

// Proc reads a file below /proc/net.
func (d *Director) Proc(name string) []byte {
	d.tb.Helper()
	b := make([]byte, 0, 64<<10)
	d.Node.Must("read "+name, func() error {
		// Of the thread, not of the process: it is the thread that is there.
		f, err := os.Open("/proc/thread-self/net/" + name)
		if err != nil {
			return err
		}
		defer f.Close()
		for {
			k, err := f.Read(b[len(b):cap(b)])
			if b = b[:len(b)+k]; errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			b = slices.Grow(b, 64<<10)
		}
	})
	return b
}

// Table returns the IPVS table as Debian's ipvsadm prints it, numeric.
func (d *Director) Table() string {
	d.tb.Helper()
	return d.Node.MustRun("ipvsadm", "-Ln")
}

// Saved returns the IPVS table as rules of Debian's ipvsadm.
func (d *Director) Saved() string {
	d.tb.Helper()
	return d.Node.MustRun("ipvsadm", "-Sn")
}

// Alone returns a director on a host of a lab without a site, with that
// configuration, to which [director] is added.
func Alone(tb lab.TB, l *lab.Lab, n *lab.Node, config string) *Director {
	tb.Helper()
	d := &Director{Node: n, tb: tb, site: &Site{Lab: l, tb: tb}}
	d.socket = l.Dir() + "/" + n.Name + ".sock"
	d.Write(fmt.Sprintf("[director]\nrouter_id = %q\nstate = %q\n[director.log]\nlevel = \"debug\"\n[director.api]\nsocket = %q\n%s",
		n.Name, l.Dir()+"/"+n.Name+".state", d.socket, config))
	return d
}

// Takeovers returns how often each virtual router has become master, by its name.
func (d *Director) Takeovers() string {
	s, err := d.Status()
	if err != nil {
		return err.Error()
	}
	var text strings.Builder
	for _, r := range s.Routers {
		text.WriteString(fmt.Sprintf("%s:%d ", r.Name, r.Takeovers))
	}
	return text.String()
}
