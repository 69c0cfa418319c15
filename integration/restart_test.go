package integration

import (
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/integration/site"
)

// kernelState is what a director's kernel holds, in an order of its own.
type kernelState struct {
	Addresses []string
	Table     string
}

func stateOf(d *site.Director) kernelState {
	a := d.Node.Addresses("eth0")
	slices.Sort(a)
	return kernelState{a, sorted(d.Saved())}
}

// TestKill kills the daemon with SIGKILL at 50 random moments of startup,
// reload and takeover. The next start must bring the kernel to the state that
// an undisturbed daemon has, and the requests of a client must never notice.
func TestKill(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	s := site.New(t, site.Options{Interval: 100 * time.Millisecond})
	d := s.LB[0]
	full := s.Config(0)
	// Another VIP, another weight, one service fewer.
	other := strings.Replace(full, `addresses = ["10.51.0.100/24"]`, `addresses = ["10.51.0.100/24", "10.51.0.101/24"]`, 1)
	other = strings.Replace(other, "10.51.0.22:80\"\nweight = 1", "10.51.0.22:80\"\nweight = 3", 1)
	other = other[:strings.Index(other, "\n[[service]]\nname = \"echo\"")]
	if strings.Count(other, "10.51.0.101") != 1 || strings.Count(other, "weight = 3") != 1 {
		t.Fatal("the second configuration is not what it should be")
	}
	configs := []string{full, other}

	// What an undisturbed daemon does with each.
	var want []kernelState
	d.Write(configs[0])
	d.Start()
	for i, c := range configs {
		if i > 0 {
			d.Write(c)
			d.Signal(syscall.SIGHUP)
		}
		site.Eventually(t, 10*time.Second, "an undisturbed daemon to settle", func() bool {
			state := stateOf(d)
			return d.State() == "master" && strings.Count(state.Table, "-a ") == []int{6, 3}[i] && len(state.Addresses) == []int{2, 3}[i]
		})
		want = append(want, stateOf(d))
	}
	at := 1 // the configuration in the file
	converged := func() bool { return cmp.Equal(stateOf(d), want[at]) && d.State() == "master" }

	load := s.Client.Load(s.URL(), 2*time.Millisecond, 2*time.Second)
	begun := time.Now()
	for i := range 50 {
		var what string
		switch i % 3 {
		case 0: // before it has found out whether there is a master
			what = "startup"
			d.Kill()
			d.Start()
			pause(rnd, 300*time.Millisecond)
		case 1: // between reading a new configuration and carrying it out
			what = "reload"
			at = 1 - at
			d.Write(configs[at])
			d.Signal(syscall.SIGHUP)
			pause(rnd, 60*time.Millisecond)
		case 2: // about when the master-down timer runs out
			what = "takeover"
			d.Kill()
			d.Start()
			time.Sleep(300 * time.Millisecond)
			pause(rnd, 300*time.Millisecond)
		}
		d.Kill()
		d.Start()
		if err := site.Wait(10*time.Second, "convergence", converged); err != nil {
			t.Fatalf("kill %d during %s: %v (-want +got):\n%s", i, what, err, cmp.Diff(want[at], stateOf(d)))
		}
	}
	load.Stop()
	r := load.Between(begun, time.Now())
	t.Logf("50 kills in %v: %v", time.Since(begun).Round(time.Second), r)
	if r.Failed > 0 {
		t.Errorf("%d of %d requests failed, the first %v after the beginning: %v", r.Failed, r.Sent, r.FirstAt.Sub(begun), r.FirstError)
	}
}

func pause(rnd *rand.Rand, limit time.Duration) {
	time.Sleep(time.Duration(rnd.Int64N(int64(limit))))
}

// TestKillDuringTakeover kills the second director while it takes over from a
// first one that was cut off. It must end as master with everything in place.
func TestKillDuringTakeover(t *testing.T) {
	s := site.New(t, site.Options{Interval: 100 * time.Millisecond})
	s.StartPair()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	d := s.LB[1]
	backup := stateOf(d)
	master := backup
	master.Addresses = append(slices.Clone(backup.Addresses), site.VIP+"/24")
	slices.Sort(master.Addresses)
	for i := range 10 {
		s.LB[0].Port.Isolate()
		time.Sleep(s.MasterDown() - 150*time.Millisecond)
		pause(rnd, 300*time.Millisecond)
		d.Kill()
		d.Start()
		if err := site.Wait(10*time.Second, "takeover", func() bool { return d.State() == "master" && cmp.Equal(stateOf(d), master) }); err != nil {
			t.Fatalf("kill %d: %v (-want +got):\n%s", i, err, cmp.Diff(master, stateOf(d)))
		}
		s.LB[0].Port.Rejoin()
		if err := site.Wait(10*time.Second, "giving way", func() bool { return d.State() == "backup" && cmp.Equal(stateOf(d), backup) }); err != nil {
			t.Fatalf("return %d: %v (-want +got):\n%s", i, err, cmp.Diff(backup, stateOf(d)))
		}
	}
}
