package track

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestJudge(t *testing.T) {
	plain, file := Target{Kind: Interface, Name: "eth1"}, Target{Kind: File, Name: "/run/weight"}
	type effect struct {
		State  State
		Fault  bool
		Adjust int
	}
	number := func(n int) Observation { return Observation{State: passing(n == 0), Number: n} }
	tests := []struct {
		name string
		item Item
		in   Observation
		want effect
	}{
		{"fault passes", Item{Target: plain}, Observation{State: Pass}, effect{Pass, false, 0}},
		{"fault fails", Item{Target: plain}, Observation{State: Fail}, effect{Fail, true, 0}},
		{"fault unknown", Item{Target: plain}, Observation{}, effect{Unknown, false, 0}},
		{"fault reversed passes", Item{Target: plain, Reverse: true}, Observation{State: Pass}, effect{Fail, true, 0}},
		{"fault reversed fails", Item{Target: plain, Reverse: true}, Observation{State: Fail}, effect{Pass, false, 0}},
		{"fault reversed unknown", Item{Target: plain, Reverse: true}, Observation{}, effect{Unknown, false, 0}},
		{"positive passes", Item{Target: plain, Weight: 20}, Observation{State: Pass}, effect{Pass, false, 20}},
		{"positive fails", Item{Target: plain, Weight: 20}, Observation{State: Fail}, effect{Fail, false, 0}},
		{"positive unknown", Item{Target: plain, Weight: 20}, Observation{}, effect{Unknown, false, 20}},
		{"negative passes", Item{Target: plain, Weight: -20}, Observation{State: Pass}, effect{Pass, false, 0}},
		{"negative fails", Item{Target: plain, Weight: -20}, Observation{State: Fail}, effect{Fail, false, -20}},
		{"negative unknown", Item{Target: plain, Weight: -20}, Observation{}, effect{Unknown, false, 0}},
		{"positive reversed fails", Item{Target: plain, Weight: 20, Reverse: true}, Observation{State: Fail}, effect{Pass, false, 20}},
		{"negative reversed passes", Item{Target: plain, Weight: -20, Reverse: true}, Observation{State: Pass}, effect{Fail, false, -20}},
		{"number 0 is no fault", Item{Target: file}, number(0), effect{Pass, false, 0}},
		{"any other is one", Item{Target: file}, number(-7), effect{Fail, true, 0}},
		{"reversed, 0 is one", Item{Target: file, Reverse: true}, number(0), effect{Fail, true, 0}},
		{"number by weight", Item{Target: file, Weight: -2}, number(30), effect{Fail, false, -60}},
		{"number by weight, reversed", Item{Target: file, Weight: -2, Reverse: true}, number(30), effect{Pass, false, 60}},
		{"least number by weight", Item{Target: file, Weight: 1}, number(-253), effect{Fail, false, -253}},
		{"below that it is a fault", Item{Target: file, Weight: 1}, number(-254), effect{Fail, true, 0}},
		{"number not read yet", Item{Target: file, Weight: 1}, Observation{}, effect{Unknown, false, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.item.judge(tt.in)
			if got := (effect{s.State, s.Fault, s.Adjust}); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

func drawItem(t *rapid.T) (Item, Observation) {
	i := Item{
		Target:  Target{Kind: rapid.SampledFrom([]Kind{Interface, Command, Process, File, Route, Service}).Draw(t, "kind"), Name: rapid.StringN(1, 4, 4).Draw(t, "name")},
		Weight:  rapid.IntRange(-MaxWeight, MaxWeight).Draw(t, "weight"),
		Reverse: rapid.Bool().Draw(t, "reverse"),
	}
	o := Observation{State: rapid.SampledFrom([]State{Unknown, Pass, Fail}).Draw(t, "state"), Since: epoch}
	if i.Kind == File && o.State != Unknown {
		o.Number = rapid.IntRange(-MaxNumber, MaxNumber).Draw(t, "number")
		o.State = passing(o.Number == 0)
	}
	return i, o
}

func draw(t *rapid.T) (items []Item, seen map[Target]Observation) {
	seen = map[Target]Observation{}
	for range rapid.IntRange(0, 8).Draw(t, "items") {
		i, o := drawItem(t)
		items = append(items, i)
		seen[i.Target] = o
	}
	return items, seen
}

func TestPriorityStaysInItsRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items, seen := draw(t)
		r := Evaluate(items, epoch, func(t Target) Observation { return seen[t] })
		base := uint8(rapid.IntRange(1, 254).Draw(t, "priority"))
		got := r.Priority(base)
		if got < 1 || got > 254 {
			t.Fatalf("priority %d", got)
		}
		if want := int(base) + r.Adjust; want >= 1 && want <= 254 && int(got) != want {
			t.Fatalf("priority %d, want %d", got, want)
		}
		if r.Priority(255) != 255 {
			t.Fatal("the owner's priority changed")
		}
	})
}

// TestReverseExchangesPassAndFail also says that reversing twice is nothing.
func TestReverseExchangesPassAndFail(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		i, o := drawItem(t)
		if i.Kind == File && i.Weight != 0 {
			other, mirrored := i, o
			other.Reverse, mirrored.Number = !i.Reverse, -o.Number
			a, b := i.judge(o), other.judge(mirrored)
			if a.Adjust != b.Adjust || a.Fault != b.Fault || a.State != b.State {
				t.Fatalf("%+v, mirrored %+v", a, b)
			}
			return
		}
		other, opposite := i, o
		other.Reverse = !i.Reverse
		switch o.State {
		case Pass:
			opposite.State = Fail
		case Fail:
			opposite.State = Pass
		}
		a, b := i.judge(o), other.judge(opposite)
		if a.Adjust != b.Adjust || a.Fault != b.Fault || a.State != b.State {
			t.Fatalf("%+v, reversed and opposite %+v", a, b)
		}
	})
}

func TestResultIsThatOfItsItems(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items, seen := draw(t)
		r := Evaluate(items, epoch, func(t Target) Observation { return seen[t] })
		sum, fault, pending := 0, false, false
		for _, i := range r.Items {
			sum += i.Adjust
			fault = fault || i.Fault
			pending = pending || i.State == Unknown
			if i.State == Unknown && i.Fault {
				t.Fatalf("fault for nothing: %+v", i)
			}
		}
		if len(r.Items) != len(items) || r.Adjust != sum || r.Fault != fault || r.Pending != pending || r.Fault != (r.Reason() != "") {
			t.Fatalf("%+v", r)
		}
	})
}

func TestPendingEnds(t *testing.T) {
	items := []Item{{Target: Target{Kind: Service, Name: "web"}}}
	for _, tt := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {pendingLimit - 1, true}, {pendingLimit, false}} {
		r := Evaluate(items, epoch.Add(tt.after), func(Target) Observation { return Observation{Since: epoch} })
		if r.Pending != tt.want {
			t.Errorf("after %v: %t", tt.after, r.Pending)
		}
	}
}

func TestRan(t *testing.T) {
	target := Target{Kind: Command, Rise: 2, Fall: 3}
	tests := []struct{ name, runs, want string }{
		{"the first pass counts", "+", "P"},
		{"the first failure counts", "-", "F"},
		{"fall", "+--+---", "PPPPPPF"},
		{"rise", "-+-++", "FFFFP"},
		{"all of it", "+---++--+", "PPPFFPPPP"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o, got := Observation{Since: epoch}, ""
			for i, c := range tt.runs {
				was := o.State
				now := epoch.Add(time.Duration(i+1) * time.Second)
				o = o.ran(target, now, c == '+', "because")
				got += map[State]string{Unknown: "?", Pass: "P", Fail: "F"}[o.State]
				if (o.State != was) != o.Since.Equal(now) {
					t.Errorf("run %d: since %v", i, o.Since)
				}
			}
			if got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestWords(t *testing.T) {
	command := Target{Kind: Command, Command: Args("/bin/x", "a b", "")}
	if diff := cmp.Diff([]string{"/bin/x", "a b", ""}, command.Command.Words()); diff != "" {
		t.Error(diff)
	}
	for want, item := range map[string]Item{
		"command /bin/x a b ":                    {Target: command},
		"interface eth1":                         {Target: Target{Kind: Interface, Name: "eth1"}},
		"process haproxy, at least 2, reversed":  {Target: Target{Kind: Process, Name: "haproxy", Count: 2}, Reverse: true},
		"route 0.0.0.0/0 via 192.0.2.1 dev eth0": {Target: Target{Kind: Route, Prefix: prefix("0.0.0.0/0"), Via: address("192.0.2.1"), Device: "eth0"}},
		"quorum of service web":                  {Target: Target{Kind: Service, Name: "web"}},
	} {
		if got := item.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
