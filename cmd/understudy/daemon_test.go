package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDaemon runs a whole daemon on an interface that does not exist, which
// needs no rights and no IPVS: what it tells the service manager and those who
// ask at its control socket.
func TestDaemon(t *testing.T) {
	if c, err := claimNamespace(claimName); err != nil {
		t.Skip("a director runs on this machine: ", err)
	} else {
		c.Close()
	}
	dir := t.TempDir()
	manager, err := net.ListenPacket("unixgram", filepath.Join(dir, "notify"))
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "notify"))
	told := func() string {
		t.Helper()
		b := make([]byte, 256)
		if err := manager.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, _, err := manager.ReadFrom(b)
		if err != nil {
			t.Fatalf("the service manager was not told: %v", err)
		}
		first, _, _ := strings.Cut(string(b[:n]), "\n")
		return first
	}
	file, socket := filepath.Join(dir, "understudy.toml"), filepath.Join(dir, "understudy.sock")
	listen := freePort(t)
	write := func(extra string) {
		t.Helper()
		config := fmt.Sprintf("[director]\nrouter_id = \"lb1\"\nstate = %q\n[director.api]\nsocket = %q\nlisten = %q\n"+
			"[[vrrp]]\nname = \"web\"\ninterface = \"none0\"\nvrid = 51\naddresses = [\"192.0.2.100/24\"]\n%s", dir, socket, listen, extra)
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	status := func() statusReply {
		t.Helper()
		code, stdout, stderr := try("status", "--json", "--config", file)
		var s statusReply
		if err := json.Unmarshal([]byte(stdout), &s); code != 0 || err != nil {
			t.Fatalf("status: exit status %d, %v, %s", code, err, stderr)
		}
		return s
	}

	write("")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	hangups := make(chan os.Signal, 1)
	ended := make(chan error, 1)
	go func() { ended <- runDaemon(ctx, file, hangups) }()
	if got := told(); got != "READY=1" {
		t.Fatalf("told %q, want READY=1", got)
	}
	// Ready says that the daemon works, not that it has looked at everything.
	var s statusReply
	for limit := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if s = status(); len(s.Routers) == 1 && s.Routers[0].State == "fault" && len(s.Routers[0].Addresses) == 1 {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("not in fault: %+v", s)
		}
	}
	if s.RouterID != "lb1" || s.PID != os.Getpid() || len(s.Routers) != 1 || s.Routers[0].Name != "web" || s.Routers[0].Priority != 100 {
		t.Errorf("status: %+v", s)
	}
	if code, stdout, _ := try("status", "--socket", socket); code != 0 || !strings.Contains(stdout, "none0") || !strings.Contains(stdout, "192.0.2.100/24") {
		t.Errorf("status as text: exit status %d:\n%s", code, stdout)
	}
	if code, stdout, stderr := try("trace", "--socket", socket, "web"); code != 0 || !strings.Contains(stdout, "web") {
		t.Errorf("trace: exit status %d, %q, %q", code, stdout, stderr)
	}
	if code, _, stderr := try("trace", "--socket", socket, "wbe"); code != 1 || !strings.Contains(stderr, `no virtual router "wbe"`) {
		t.Errorf("trace of nobody: exit status %d, %q", code, stderr)
	}

	scrape := func() string {
		resp, err := http.Get("http://" + listen.String() + metricsPath)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
	eventually(t, "metrics", func() bool {
		return strings.Contains(scrape(), `understudy_vrrp_state{interface="none0",router="web",state="fault",vrid="51"} 1`)
	})

	listen = freePort(t) // the reload moves the metrics
	write("priority = 120\n")
	if code, _, stderr := try("reload", "--socket", socket); code != 0 {
		t.Errorf("reload: exit status %d, %s", code, stderr)
	}
	if a, b := told(), told(); a != "RELOADING=1" || b != "READY=1" {
		t.Errorf("told %q, %q; want RELOADING=1, READY=1", a, b)
	}
	eventually(t, "metrics after a reload", func() bool {
		return strings.Contains(scrape(), "understudy_vrrp_priority{interface=\"none0\",router=\"web\",vrid=\"51\"} 120\n")
	})
	if s := status(); s.Routers[0].Priority != 120 || s.Refused != "" {
		t.Errorf("after a reload: priority %d, refused %q", s.Routers[0].Priority, s.Refused)
	}

	write("priority = 130\nvird = 52\n")
	code, _, stderr := try("reload", "--socket", socket)
	if want := file + ":13: "; code != 1 || !strings.Contains(stderr, want) || !strings.Contains(stderr, `"vrid"`) {
		t.Errorf("reload of a broken file: exit status %d, %q; want %q and what was meant", code, stderr, want)
	}
	told()
	told()
	write("priority = 130\n") // repaired, but not loaded yet
	if s := status(); s.Routers[0].Priority != 120 || !strings.Contains(s.Refused, "vird") {
		t.Errorf("after a refused reload: priority %d, refused %q", s.Routers[0].Priority, s.Refused)
	}

	stop()
	if got := told(); got != "STOPPING=1" {
		t.Errorf("told %q, want STOPPING=1", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
	if _, err := os.Stat(socket); err == nil {
		t.Error("the control socket was left behind")
	}
}
