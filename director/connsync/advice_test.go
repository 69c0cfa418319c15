package connsync

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

func TestAdvice(t *testing.T) {
	now := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	good := Status{
		AsOf: now, Enabled: true, Config: testConfig("a"), Settings: Settings{Threshold: 3, Period: 50, Refresh: 10, Version: 1},
		Peers: []PeerStatus{{Name: "b", Alive: true, Confirmed: true, Heard: now, ID: 7, Flags: FlagReceiving}},
	}
	for _, tt := range []struct {
		name   string
		change func(*Status)
		want   string // empty: no advice
	}{
		{"good", func(*Status) {}, ""},
		{"off", func(s *Status) { *s = Status{Drops: [NumDrops]uint64{DropSecret: 1}} }, ""},
		{"silent", func(s *Status) { s.Peers[0].Alive, s.Peers[0].Heard = false, now.Add(-time.Minute) }, "b has not been heard for 1m0s"},
		{"deaf", func(s *Status) { s.Peers[0].Confirmed, s.Peers[0].Alive = false, false }, "does not hear us"},
		{"other id", func(s *Status) { s.Peers[0].ID = 9 }, "b has sync id 9 and this director has 7"},
		{"another pair", func(s *Status) { s.Peers[0].ID = 9 }, "or another group if it is of another pair"},
		{"does not receive", func(s *Status) { s.Peers[0].Flags = 0 }, "backup daemon does not run"},
		{"sends instead", func(s *Status) { s.Config.Follow, s.Peers[0].Flags = "web", FlagSending }, ""},
		{"follows, and does neither", func(s *Status) { s.Config.Follow, s.Peers[0].Flags = "web", 0 }, "backup daemon does not run"},
		{"backup_only", func(s *Status) { s.Settings.BackupOnly, s.Daemons = 1, []genl.Daemon{{State: genl.DaemonBackup}} }, "backup_only=0"},
		{"backup_only of one that follows", func(s *Status) {
			s.Config.Follow, s.Settings.BackupOnly, s.Daemons = "web", 1, []genl.Daemon{{State: genl.DaemonBackup}}
		}, ""},
		{"missed", func(s *Status) { s.Peers[0].Missed = 2 }, "did not arrive at b"},
		{"nobody", func(s *Status) { s.Peers = nil }, "no other director has been heard on eth0"},
		{"link", func(s *Status) { s.Peers, s.SocketErr = nil, "interface eth0 is down" }, "interface eth0 is down"},
		{"refresh", func(s *Status) { s.Settings.Refresh = 0 }, "sync_refresh_period=10"},
		{"version", func(s *Status) { s.Settings.Version = 0 }, "sync_version=1"},
		{"secret", func(s *Status) { s.Drops[DropSecret], s.Dropped[DropSecret] = 3, now }, "another secret"},
		{"name", func(s *Status) { s.Drops[DropName], s.Dropped[DropName] = 3, now.Add(-time.Minute) }, "same router_id"},
		{"what was put right", func(s *Status) { s.Drops[DropSecret], s.Dropped[DropSecret] = 3, now.Add(-time.Hour) }, ""},
		{"was deaf, is gone", func(s *Status) {
			s.Peers[0].Confirmed, s.Peers[0].Alive, s.Peers[0].Heard = false, false, now.Add(-time.Minute)
		}, "b has not been heard for 1m0s"},
		{"id of the other is 0", func(s *Status) { s.Peers[0].ID = 0 }, "what b sends is ignored here"},
		{"id here is 0", func(s *Status) { s.Config.ID = 0 }, "what is sent here is ignored by b"},
	} {
		s := good
		s.Peers = slices.Clone(good.Peers)
		tt.change(&s)
		got := s.Advice()
		if tt.want == "" && len(got) == 0 || tt.want != "" && len(got) == 1 && strings.Contains(got[0], tt.want) {
			continue
		}
		t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
	}
}
