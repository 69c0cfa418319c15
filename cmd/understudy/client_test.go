package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/understudy-ha/understudy/configs"
)

// TestSocketPath shows that a command finds its daemon, and no other one, when
// the configuration has an error: that is what a reload is refused for.
func TestSocketPath(t *testing.T) {
	const api = "[director.api]\nsocket = \"/run/u/one.sock\"\n"
	dir := t.TempDir()
	for _, c := range []struct {
		name, content string
		flags         []string // besides --config
		want          string
		refused       string // part of the error
	}{
		{"asked for", "", []string{"--socket", "/run/u/two.sock"}, "/run/u/two.sock", ""},
		{"good", api + "[[vrrp]]\nname = \"a\"\ninterface = \"eth0\"\nvrid = 1\naddresses = [\"192.0.2.1/24\"]\n", nil, "/run/u/one.sock", ""},
		{"error elsewhere", api + "[[vrrp]]\nvird = 1\n", nil, "/run/u/one.sock", ""},
		{"error elsewhere, no socket", "[[vrrp]]\nvird = 1\n", nil, configs.DefaultSocket, ""},
		{"no TOML", api + "[[vrrp]\n", nil, "", "--socket"},
		{"wrong type", "[director.api]\nsocket = 1\n", nil, "", "--socket"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(dir, strings.ReplaceAll(c.name, " ", "-")+".toml")
			if err := os.WriteFile(file, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := statusCommand()
			var flags socketFlags
			cmd.ResetFlags()
			flags.register(cmd)
			if err := cmd.ParseFlags(append(c.flags, "--config", file)); err != nil {
				t.Fatal(err)
			}
			got, err := flags.path()
			if got != c.want || (err != nil) != (c.refused != "") || err != nil && !strings.Contains(err.Error(), c.refused) {
				t.Errorf("got %q, %v; want %q and an error about %q", got, err, c.want, c.refused)
			}
		})
	}
	t.Run("no such file, asked for", func(t *testing.T) {
		flags := socketFlags{config: filepath.Join(dir, "none")}
		if got, err := flags.path(); err == nil {
			t.Errorf("got %q, want an error", got)
		}
	})
}
