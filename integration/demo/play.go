package main

import (
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
)

const (
	interval = 100 * time.Millisecond                        // of advertisements, as in the files
	detect   = 2*200*time.Millisecond + 200*time.Millisecond // interval × fall + timeout, as in the files
	rise     = 2 * 200 * time.Millisecond                    // interval × rise
	slack    = 50 * time.Millisecond                         // what a kernel without real-time timers adds
)

// act is one step of the demonstration and what came of it.
type act struct {
	what   string
	took   time.Duration
	probes lab.Report
	web    lab.Requests
	wrong  []string
}

// show runs the acts.
type show struct {
	site  *site.Site
	probe *lab.Prober
	load  *lab.Load
	acts  []act
	began time.Time
}

// play runs the demonstration and returns its exit status.
func play(tb *stage) int {
	s := &show{began: time.Now()}
	s.site = site.New(tb, site.Options{Interval: interval, Files: files()})
	fmt.Print(`
   client 10.51.0.10 ──┐
                       ├── LAN 10.51.0.0/24 ──┬── rs1 10.51.0.21
   lb1 10.51.0.11 ─────┤                      ├── rs2 10.51.0.22
   lb2 10.51.0.12 ─────┘                      └── rs3 10.51.0.23
   VIP 10.51.0.100, direct routing, VRRP every 100 ms, health checks every 200 ms

`)
	if !s.start() {
		for _, d := range s.site.LB {
			fmt.Printf("log of %s:\n%s\n", d.Node.Name, d.Log())
		}
		return 1
	}
	s.spread()
	s.serverDies()
	s.serverReturns()
	s.masterStops()
	s.masterReturns("lb1 is started again and takes its place back", func() { s.site.LB[0].Start() })
	s.masterDies()
	s.masterReturns("lb1 is started, its cable plugged in, and it preempts", s.revive)
	return s.summary()
}

// say prints one line of the commentary.
func (s *show) say(format string, args ...any) {
	fmt.Printf("%6.2fs  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, args...))
}

// quote prints what a command said, set off from the commentary.
func quote(text string) {
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		fmt.Print("        │ ", line)
	}
	fmt.Println()
}

// act runs one step under the eyes of the client. do returns when the step is
// over, or what went wrong.
func (s *show) act(what string, do func() error) *act {
	fmt.Println()
	s.say("── %s", what)
	begin := time.Now()
	a := act{what: what}
	if err := do(); err != nil {
		a.wrong = append(a.wrong, err.Error())
	}
	a.took = time.Since(begin)
	time.Sleep(2 * interval) // what comes right after belongs to it
	end := time.Now()
	a.probes = s.probe.Between(begin, end)
	a.web = s.load.Between(begin, end)
	s.say("the client: %v; HTTP: %d requests, %d failed", a.probes, a.web.Sent, a.web.Failed)
	s.acts = append(s.acts, a)
	return &s.acts[len(s.acts)-1]
}

func (a *act) judge(right bool, format string, args ...any) {
	if !right {
		a.wrong = append(a.wrong, fmt.Sprintf(format, args...))
	}
}

func (s *show) states() string {
	return fmt.Sprintf("lb1 is %s, lb2 is %s", word(s.site.LB[0].State()), word(s.site.LB[1].State()))
}

func word(state string) string {
	if state == "" {
		return "down"
	}
	return state
}

// start starts both directors and the client's probes.
func (s *show) start() bool {
	s.say("── two directors start, each with its own file: understudy run --config %s", s.site.LB[0].File)
	for _, d := range s.site.LB {
		d.Start()
	}
	if err := s.site.WaitReady(); err != nil {
		s.say("WRONG: %v", err)
		return false
	}
	s.say("%s; both have the whole IPVS table", s.states())
	s.say("understudy status on lb1:")
	out, err := s.site.LB[0].Node.Run(site.Binary(), "status", "--socket", s.site.LB[0].Socket())
	if err != nil {
		out = err.Error()
	}
	quote(out)
	s.say("ipvsadm -Ln on lb1:")
	quote(s.site.LB[0].Table())
	s.probe = s.site.Client.Probe(s.site.Echo(), time.Millisecond)
	s.load = s.site.Client.Load(s.site.URL(), 10*time.Millisecond, time.Second)
	begin := time.Now()
	if err := site.Wait(3*time.Second, "an answer", func() bool { return s.probe.Answered(begin) }); err != nil {
		s.say("WRONG: %v", err)
		return false
	}
	s.say("a client probes the VIP every millisecond (UDP) and requests %s over and over", s.site.URL())
	return true
}

func (s *show) spread() {
	a := s.act("requests are spread over the real servers", func() error {
		time.Sleep(2 * time.Second)
		return nil
	})
	s.say("answers: %v", a.web.By)
	for _, n := range s.site.Servers {
		share := a.web.By[n.Name]
		a.judge(share >= a.web.Sent/3-1 && share <= a.web.Sent/3+2, "%s answered %d of %d", n.Name, share, a.web.Sent)
	}
	a.judge(a.web.Failed == 0 && a.probes.Lost == 0, "requests or probes were lost with nothing broken")
}

func (s *show) serverDies() {
	a := s.act("rs2 dies", func() error {
		s.site.ServerPorts[1].Isolate()
		return site.Wait(3*time.Second, "rs2 out of the table", func() bool { return s.site.LB[0].Serving() == 2 })
	})
	s.say("rs2 left the table after %v", a.took.Round(time.Millisecond))
	quote(s.site.LB[0].Table())
	a.judge(a.took <= detect+2*slack, "left the table after %v, want at most %v", a.took, detect+2*slack)
	a.judge(a.probes.Lost <= a.probes.Sent/3+2, "more probes lost than rs2 was sent")
	a.judge(a.probes.By["rs1"] > 0 && a.probes.By["rs3"] > 0, "the others did not go on")
}

func (s *show) serverReturns() {
	a := s.act("rs2 comes back", func() error {
		s.site.ServerPorts[1].Rejoin()
		return site.Wait(3*time.Second, "rs2 back in the table", func() bool { return s.site.LB[0].Serving() == 3 })
	})
	s.say("rs2 was back after %v", a.took.Round(time.Millisecond))
	a.judge(a.took <= rise+2*slack, "back after %v, want at most %v", a.took, rise+2*slack)
	a.judge(a.probes.Lost == 0 && a.web.Failed == 0, "its return cost probes or requests")
}

func (s *show) masterStops() {
	a := s.act("the master, lb1, is stopped", func() error {
		if err := s.site.LB[0].Stop(); err != nil {
			return fmt.Errorf("lb1 did not stop cleanly: %w", err)
		}
		return site.Wait(3*time.Second, "lb2 master", func() bool { return s.site.LB[1].State() == "master" })
	})
	s.say("%s; on lb1 nothing of ours is left: addresses %v", s.states(), s.site.LB[0].Node.Addresses("eth0"))
	quote(s.site.LB[0].Table())
	skew := interval * 156 / 256
	a.judge(a.probes.Gap <= skew+slack, "longest gap %v, want at most the skew time %v + %v", a.probes.Gap, skew, slack)
	a.judge(len(s.site.LB[0].Node.Addresses("eth0")) == 1, "addresses were left behind")
	a.judge(!strings.Contains(s.site.LB[0].Table(), site.VIP), "services were left behind")
}

func (s *show) masterReturns(what string, do func()) {
	a := s.act(what, func() error {
		do()
		return site.Wait(6*time.Second, "lb1 master, lb2 backup", func() bool {
			return s.site.LB[0].State() == "master" && s.site.LB[1].State() == "backup" && s.site.LB[0].Serving() == 3
		})
	})
	s.say("%s", s.states())
	a.judge(a.probes.Gap <= interval+slack, "longest gap %v, want at most %v", a.probes.Gap, interval+slack)
}

func (s *show) masterDies() {
	bound := s.site.MasterDown() + slack
	a := s.act("the master, lb1, is killed (kill -9) and its cable cut", func() error {
		s.site.LB[0].Port.Cut()
		s.site.LB[0].Kill()
		return site.Wait(3*time.Second, "lb2 master", func() bool { return s.site.LB[1].State() == "master" })
	})
	s.say("%s", s.states())
	a.judge(a.probes.Gap <= bound, "longest gap %v, want at most the master-down interval %v + %v", a.probes.Gap, s.site.MasterDown(), slack)
}

// revive starts lb1 while its cable is still out, so that it clears what the
// killed daemon left in its kernel, and then plugs it in.
func (s *show) revive() {
	d := s.site.LB[0]
	d.Start()
	_ = site.Wait(3*time.Second, "lb1 to see that its link is down", func() bool {
		return d.State() == "fault" && len(d.Node.Addresses("eth0")) == 1
	})
	s.say("%s: %s was left by the killed daemon, and is gone", s.states(), site.VIP)
	d.Port.Mend()
}

// summary prints the table of acts and returns the exit status.
func (s *show) summary() int {
	fmt.Println()
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "STEP\tTOOK\tPROBES\tLOST\tLONGEST GAP\tREQUESTS\tFAILED\tVERDICT")
	status := 0
	for _, a := range s.acts {
		verdict := "right"
		if len(a.wrong) > 0 {
			verdict, status = "WRONG: "+strings.Join(a.wrong, "; "), 1
		}
		fmt.Fprintf(w, "%s\t%v\t%d\t%d\t%v\t%d\t%d\t%s\n", a.what, a.took.Round(time.Millisecond),
			a.probes.Sent, a.probes.Lost, a.probes.Gap.Round(time.Millisecond), a.web.Sent, a.web.Failed, verdict)
	}
	_ = w.Flush()
	if status != 0 {
		for _, d := range s.site.LB {
			fmt.Printf("\nlog of %s:\n%s", d.Node.Name, d.Log())
		}
	}
	return status
}
