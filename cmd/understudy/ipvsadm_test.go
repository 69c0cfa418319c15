package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/cmd/understudy/ipvsadm"
)

// TestIPVSAdmCommand shows that all options reach the package, and that the
// statuses of ipvsadm come out.
func TestIPVSAdmCommand(t *testing.T) {
	for _, tt := range []struct {
		args   []string
		status int
		stderr string // what it begins with
	}{
		{[]string{"-h"}, 0, ""},
		{[]string{"--help"}, 0, ""},
		{[]string{"-a", "-t", "192.168.100.200:80", "-r", "192.168.100.2333"}, 2,
			`understudy: -r "192.168.100.2333": 192.168.100.2333 is no IPv4 address`},
		{[]string{"--lis"}, 255, "understudy: there is no option --lis; is it --list?"},
	} {
		status, stdout, stderr := try(append([]string{"ipvsadm"}, tt.args...)...)
		if status != tt.status || !strings.HasPrefix(stderr, tt.stderr) || tt.stderr == "" && stderr != "" {
			t.Errorf("%v: status %d, %q; want %d, %q", tt.args, status, stderr, tt.status, tt.stderr)
		}
		if help := strings.HasPrefix(stdout, "Looks at and changes the kernel's table"); help != (tt.status == 0) {
			t.Errorf("%v printed %q", tt.args, stdout)
		}
	}
}

// TestTableOwner asks a daemon that answers, one that does not, and none.
func TestTableOwner(t *testing.T) {
	reply := statusReply{Config: "/etc/some.toml", Exclusive: true, Services: []serviceStatus{{Name: "web", Service: "tcp 192.0.2.1:80"}, {Name: "mark", Service: "fwmark 5"}}}
	listen := func(name string, handle http.HandlerFunc) socketFlags {
		path := filepath.Join(t.TempDir(), name)
		ln, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: handle}
		go func() { _ = server.Serve(ln) }()
		t.Cleanup(func() { _ = server.Close() })
		return socketFlags{socket: path}
	}
	answers := listen("a", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && r.URL.Path == statusPath {
			_ = json.NewEncoder(w).Encode(reply)
		}
	})
	want := &ipvsadm.Owner{Config: "/etc/some.toml", Exclusive: true, Services: []string{"tcp 192.0.2.1:80", "fwmark 5"}}
	if d := cmp.Diff(want, tableOwner(t.Context(), answers)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	stuck := listen("s", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	begin := time.Now()
	if got := tableOwner(t.Context(), stuck); got != nil || time.Since(begin) > 5*time.Second {
		t.Errorf("%v after %v", got, time.Since(begin))
	}
	mad := listen("m", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "?") })
	for _, flags := range []socketFlags{mad, {socket: filepath.Join(t.TempDir(), "none")}} {
		if got := tableOwner(t.Context(), flags); got != nil {
			t.Errorf("%v, want nothing from %v", got, flags)
		}
	}
}
