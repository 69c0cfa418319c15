package simulate

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/configs"
	"github.com/understudy-ha/understudy/vrrp"
)

var updateFlag = flag.Bool("update", false, "rewrite the golden files")

const examples = "../../configs/examples/"

func files(t *testing.T, paths ...string) (all []File) {
	t.Helper()
	for _, path := range paths {
		c, err := configs.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, File{Path: filepath.Base(path), Config: c})
	}
	return all
}

// TestGolden shows whole reports.
func TestGolden(t *testing.T) {
	tests := []struct {
		name  string
		paths []string
		o     Options
	}{
		{"pair", []string{examples + "pair/lb1.toml", examples + "pair/lb2.toml"}, Options{Seed: 1, Hours: 24, Pause: 500 * time.Millisecond}},
		{"alone", []string{examples + "vrrp-only/a.toml"}, Options{Seed: 1, Hours: 24, Pause: 3 * time.Second, Loss: 0.02}},
		{"fast", []string{"testdata/fast1.toml", "testdata/fast2.toml"}, Options{Seed: 7, Hours: 1, Pause: 20 * time.Millisecond}},
		{"old", []string{"testdata/old1.toml", "testdata/old2.toml"}, Options{Seed: 1, Hours: 24, Loss: 0.01}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			elections, err := Match(files(t, tt.paths...))
			if err != nil {
				t.Fatal(err)
			}
			var text bytes.Buffer
			var values []JSON
			for i, r := range RunAll(elections, tt.o) {
				if err := r.WriteText(&text, elections[i], tt.o); err != nil {
					t.Fatal(err)
				}
				values = append(values, r.JSON(elections[i]))
			}
			b, err := json.MarshalIndent(values, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, tt.name+".txt", text.Bytes())
			golden(t, tt.name+".json", append(b, '\n'))
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *updateFlag {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got)\n%s", path, diff)
	}
}

func TestMatchErrors(t *testing.T) {
	tests := []struct {
		name  string
		paths []string
		want  []string
	}{
		{"others", []string{"testdata/fast1.toml", "testdata/other.toml"}, []string{
			"VRID 7: version is 3 in the file of lb1 and 2 in other.toml; they must be the same",
			"VRID 7: advert_interval is 10ms in the file of lb1 and 1s in other.toml",
			"VRID 7: the password in other.toml",
			"VRID 7: the addresses in other.toml",
			"other.toml has VRID 18 (same), and fast1.toml has not",
			"fast1.toml has VRID 8 (same), and other.toml has not",
		}},
		{"nothing in common", []string{"testdata/fast1.toml", "testdata/old1.toml"}, []string{"fast1.toml has VRID 7 (fast), and old1.toml has not"}},
		{"no router", []string{"testdata/nothing.toml"}, []string{"nothing.toml has no [[vrrp]]"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Match(files(t, tt.paths...))
			if err == nil {
				t.Fatal("they match")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in\n%v", want, err)
				}
			}
		})
	}
}

// pair returns two directors of priority 150 and 100.
func pair(change func(c *vrrp.Config)) (all []Director) {
	for i, name := range []string{"lb1", "lb2"} {
		c := vrrp.Config{Name: "web", VRID: 51, Version: vrrp.V3, Priority: uint8(150 - 50*i), Interval: time.Second, Preempt: true}
		change(&c)
		all = append(all, Director{Name: name, Priority: c.Priority, Config: c})
	}
	return all
}

// TestBounds holds what is found out by trial to what the RFC says: the master-down
// interval of the backup is 3.609 s.
func TestBounds(t *testing.T) {
	r := Run(pair(func(*vrrp.Config) {}), Options{Seed: 3, Hours: 100, Pause: 5 * time.Second})
	near := func(what string, got, want time.Duration) {
		t.Helper()
		if d := (got - want).Abs(); d > 120*time.Millisecond { // 40 trials in an interval
			t.Errorf("%s: %v, want about %v", what, got, want)
		}
	}
	const down = 3609 * time.Millisecond
	near("a crash right before an advertisement", r.Crash.Shortest, down-time.Second)
	near("a crash right after one", r.Crash.Longest, down)
	near("a farewell", r.Stop.Longest, 609*time.Millisecond)
	near("the shortest pause", r.Pause, down-time.Second)
	near("the pause that is always too long", r.Certain, down)
	near("a restart", r.Restart, 2*time.Second)
	near("a sudden delay", r.Delay, down-time.Second)
	if r.StopGap.Longest != 0 || r.CrashGap.Longest < r.Crash.Longest || r.Backup {
		t.Errorf("a stop is answered, a crash is not, a pause of the backup does nothing: %+v", r)
	}
	if r.Deaf.Two < r.Deaf.Length-4*time.Second || r.Mute.Two != 0 {
		t.Errorf("cuts: %+v, %+v", r.Deaf, r.Mute)
	}
	for i, l := range r.Losses {
		if i > 0 && l.PerDay() < r.Losses[i-1].PerDay() {
			t.Errorf("%g loses less than %g", l.Rate, r.Losses[i-1].Rate)
		}
		// Three in a row: p^3 (1-p) of all intervals, while the backup is one.
		if want := l.Rate * l.Rate * l.Rate * (1 - l.Rate) * 86400; l.Takeovers > 50 && l.Rate < 0.25 && (l.PerDay() < want*0.7 || l.PerDay() > want*1.4) {
			t.Errorf("loss of %g: %.0f a day, want about %.0f", l.Rate, l.PerDay(), want)
		}
	}
	if a := r.Advice; a.Interval != 2*time.Second {
		t.Errorf("for a pause of 5s an interval of %v is advised", a.Interval)
	}
}

// TestReturn: without preemption it stays backup, with a delay it waits for it.
func TestReturn(t *testing.T) {
	o := Options{Seed: 1, Hours: 1, Pause: time.Second}
	if r := Run(pair(func(c *vrrp.Config) { c.Preempt = false }), o); !r.Return.Never || r.Return.Longest != 0 {
		t.Errorf("without preemption: %+v", r.Return)
	}
	if r := Run(pair(func(c *vrrp.Config) { c.PreemptDelay = 10 * time.Second }), o); r.Return.Never || r.Return.Shortest < 10*time.Second {
		t.Errorf("with a delay: %+v", r.Return)
	}
}

// TestSeed: the same seed, the same report; another, another.
func TestSeed(t *testing.T) {
	d := pair(func(*vrrp.Config) {})
	o := Options{Seed: 1, Hours: 10, Pause: time.Second}
	if diff := cmp.Diff(Run(d, o), Run(d, o)); diff != "" {
		t.Errorf("it differs from itself:\n%s", diff)
	}
	other := o
	other.Seed = 2
	if cmp.Equal(Run(d, o), Run(d, other)) {
		t.Error("another seed does the same")
	}
}
