package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/integration/site"
	"github.com/understudy-ha/understudy/integration/vm"
)

// TestFlushedByHand empties the table under load, again and again. It must come
// back each time, and the requests with it.
func TestFlushedByHand(t *testing.T) {
	s := site.New(t, site.Options{Interval: 100 * time.Millisecond})
	s.StartPair()
	d := s.LB[0]
	want := sorted(d.Saved())
	load := s.Client.Load(s.URL(), 5*time.Millisecond, time.Second)
	for range 3 {
		d.Node.MustRun("ipvsadm", "-C")
		begun := time.Now()
		site.Eventually(t, 5*time.Second, "the table to come back", func() bool { return sorted(d.Saved()) == want })
		t.Logf("back after %v", time.Since(begun).Round(time.Millisecond))
		time.Sleep(100 * time.Millisecond) // a request that was under way
		begun = time.Now()
		site.Eventually(t, 5*time.Second, "requests", func() bool { return load.Between(begun, time.Now()).Sent >= 10 })
		if r := load.Between(begun, time.Now()); r.Failed > 0 {
			t.Errorf("with the table back: %v: %v", r, r.FirstError)
		}
	}
	sound(t, d)
}

// TestHandsWhileReloading has an operator edit the table at random while the
// director reloads other files. At the end the table must be what an
// undisturbed director makes of the last file.
func TestHandsWhileReloading(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	s := site.New(t, site.Options{Interval: 100 * time.Millisecond, Extra: handServices(0)})
	// Somebody else's service is nobody's to touch.
	foreign := "-A -t 10.51.0.99:99 -s wlc\n-a -t 10.51.0.99:99 -r 10.51.0.21:99 -g -w 5\n"
	for _, d := range s.LB {
		for line := range strings.Lines(foreign) {
			d.Node.MustRun("ipvsadm", strings.Fields(line)...)
		}
	}
	s.StartPair()
	d, calm := s.LB[0], s.LB[1]

	const edits, reloads = 200, 20
	refused := 0
	for n := range edits {
		if n%(edits/reloads) == 0 {
			s.Options.Extra = handServices(n * reloads / edits)
			d.Write(s.Config(0))
			if err := d.Reload(); err != nil {
				t.Fatal(err)
			}
		}
		args := handEdit(rnd)
		if _, err := d.Node.Run("ipvsadm", args...); err != nil {
			refused++ // what it names may not be there at the moment
		}
	}
	t.Logf("%d edits, %d of them refused by the kernel", edits, refused)
	if refused > edits*3/4 {
		t.Errorf("%d of %d edits were refused: the table was hardly disturbed", refused, edits)
	}
	// Services made by hand beside ours are somebody else's, and stay.
	strays := handServicesMade(d.Saved())
	calm.Write(s.Config(1))
	if err := calm.Reload(); err != nil {
		t.Fatal(err)
	}
	var want, got string
	if err := site.Wait(15*time.Second, "the desired table", func() bool {
		want, got = sorted(calm.Saved()), sorted(without(d.Saved(), strays))
		return want == got && strings.Count(want, "-a ") == 6+1+3*handCount
	}); err != nil {
		t.Errorf("%v (-undisturbed +edited):\n%s", err, cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")))
	}
	if !strings.Contains(got, strings.Split(foreign, "\n")[1]) {
		t.Errorf("somebody else's service was touched:\n%s", got)
	}
	sound(t, d)
}

// handCount is how many services with three servers handServices has.
const handCount = 5

// handServices are services of which each generation differs from the last.
func handServices(generation int) string {
	var b strings.Builder
	for i := range handCount {
		scheduler := []string{"rr", "wlc", "sh"}[(generation+i)%3]
		fmt.Fprintf(&b, "[[service]]\nname = \"hand%d\"\naddress = \"%s:%d\"\nscheduler = %q\nforward = \"dr\"\n", i, site.VIP, 5000+i, scheduler)
		for k := range 3 {
			fmt.Fprintf(&b, "[[service.server]]\naddress = \"10.51.0.%d:%d\"\nweight = %d\n", 40+(generation+k)%5, 5000+i, 1+(generation+k)%3)
		}
	}
	return b.String()
}

// handEdit is an edit as an operator, or a script of his, may make it.
func handEdit(rnd *rand.Rand) []string {
	service := []string{"-t", fmt.Sprintf("%s:%d", site.VIP, 5000+rnd.IntN(handCount))}
	switch rnd.IntN(4) {
	case 0:
		service = []string{"-t", site.VIP + ":80"}
	case 1:
		service = []string{"-u", fmt.Sprintf("%s:%d", site.VIP, site.EchoPort)}
	}
	_, port, _ := strings.Cut(service[1], ":")
	server := []string{"-r", fmt.Sprintf("10.51.0.%d:%s", []int{21, 22, 23, 40, 41, 42, 43, 44, 77, 78}[rnd.IntN(10)], port)}
	weight := []string{"-w", fmt.Sprint(rnd.IntN(5))}
	scheduler := []string{"-s", []string{"rr", "wrr", "lc", "sh"}[rnd.IntN(4)]}
	switch rnd.IntN(8) {
	case 0:
		return append([]string{"-D"}, service...)
	case 1:
		return append(append([]string{"-E"}, service...), scheduler...)
	case 2, 3:
		return append(append([]string{"-d"}, service...), server...)
	case 4:
		return append(append(append([]string{"-e"}, service...), server...), append(weight, "-g")...)
	case 5:
		stray := []string{"-t", fmt.Sprintf("%s:%d", strayVIP, 6000+rnd.IntN(5))}
		return append(append([]string{"-A"}, stray...), scheduler...)
	default:
		return append(append(append([]string{"-a"}, service...), server...), append(weight, []string{"-g", "-i"}[rnd.IntN(2)])...)
	}
}

// strayVIP has the services that handEdit makes beside ours.
const strayVIP = "10.51.0.97"

// handServicesMade returns the rules for services that handEdit made.
func handServicesMade(saved string) []string {
	var list []string
	for line := range strings.Lines(saved) {
		if strings.Contains(line, " "+strayVIP+":") {
			list = append(list, line)
		}
	}
	return list
}

func without(saved string, lines []string) string {
	for _, line := range lines {
		saved = strings.Replace(saved, line, "", 1)
	}
	return saved
}

// sound fails the test if a daemon has ended or panicked.
func sound(t *testing.T, d *site.Director) {
	t.Helper()
	select {
	case <-d.Process().Done():
		t.Errorf("the daemon has ended: %v", d.Process().Err())
	default:
	}
	if log := d.Log(); strings.Contains(log, "panic") || strings.Contains(log, "goroutine ") {
		t.Errorf("the daemon panicked:\n%s", log)
	}
}

// TestModuleReloaded takes ip_vs away under a running director and puts it
// back: the election goes on, and the table is filled again.
func TestModuleReloaded(t *testing.T) {
	if !vm.Inside() {
		t.Skip("would unload ip_vs from the kernel of this machine")
	}
	s := site.New(t, site.Options{Interval: 100 * time.Millisecond})
	options := os.Getenv("MODPROBE_OPTIONS")
	t.Setenv("MODPROBE_OPTIONS", "-d /nonexistent") // so that the daemons do not load it either
	s.StartPair()
	t.Setenv("MODPROBE_OPTIONS", options)
	d := s.LB[0]
	want := sorted(d.Saved())
	before, err := d.Status()
	if err != nil {
		t.Fatal(err)
	}
	loader, err := os.ReadFile("/proc/sys/kernel/modprobe")
	if err != nil {
		t.Fatal(err)
	}
	// Nobody loads it again before we do.
	if err := os.WriteFile("/proc/sys/kernel/modprobe", []byte("/bin/false"), 0o644); err != nil {
		t.Fatal(err)
	}
	load := func() {
		if err := os.WriteFile("/proc/sys/kernel/modprobe", loader, 0o644); err != nil {
			t.Error(err)
		}
		if out, err := exec.Command("modprobe", "ip_vs").CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
	t.Cleanup(load)
	// Services hold the module: it goes before the directors have put them back.
	unload(t, func() {
		for _, d := range s.LB {
			_, _ = d.Node.Run("ipvsadm", "-C")
		}
	})
	site.Eventually(t, 15*time.Second, "the status to tell", func() bool {
		st, err := d.Status()
		return err == nil && st.Lanes[1].Error != ""
	})
	if _, err := os.Stat("/sys/module/ip_vs"); err == nil {
		t.Fatal("somebody has loaded ip_vs again")
	}
	st, err := d.Status()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("without ip_vs: %s", st.Lanes[1].Error)
	if st.Routers[0].State != "master" || st.Routers[0].Takeovers != before.Routers[0].Takeovers {
		t.Errorf("the election was disturbed: %+v", st.Routers[0])
	}

	load()
	begun := time.Now()
	for _, d := range s.LB {
		site.Eventually(t, 15*time.Second, "the table to come back", func() bool {
			saved, err := d.Node.Run("ipvsadm", "-Sn")
			return err == nil && sorted(saved) == want
		})
	}
	t.Logf("back after %v", time.Since(begun).Round(time.Millisecond))
	if a, err := s.Client.Get(s.URL(), 2*time.Second); err != nil || a.Server == "" {
		t.Errorf("a request with the table back: %+v, %v", a, err)
	}
	for _, d := range s.LB {
		sound(t, d)
	}
}
