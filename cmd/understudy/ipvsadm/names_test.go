package ipvsadm_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/cmd/understudy/ipvsadm"
	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// silent is a resolver that never answers.
type silent struct{}

func (silent) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (silent) LookupAddr(ctx context.Context, _ string) ([]string, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestSilentResolver shows that names cost a listing seconds, however many
// addresses it has, and a command line too.
func TestSilentResolver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		p := ipvsadm.Program{Names: &ipvsadm.Names{Resolver: silent{}}, Stdout: &out,
			Open: func() (ipvsadm.Kernel, error) { return recorded(t), nil }}
		begin := time.Now()
		if err := p.Run(t.Context(), []string{"-L"}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("a listing took %v, want 3 s", took)
		}
		if !strings.Contains(out.String(), "  -> 10.9.0.2:80                  Route") {
			t.Errorf("no numbers instead of names:\n%s", out.String())
		}
		begin = time.Now()
		if _, err := ipvsadm.Parse(t.Context(), []string{"-A", "-t", "web:80"}, p.Names); err == nil || time.Since(begin) != 3*time.Second {
			t.Errorf("%v after %v, want an error after 3 s", err, time.Since(begin))
		}
	})
}

// TestRestoreWithSilentResolver shows that names cost rules seconds, however many
// they are.
func TestRestoreWithSilentResolver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rules strings.Builder
		for i := range 100 {
			fmt.Fprintf(&rules, "-A -t web%d:80\n", i)
		}
		begin := time.Now()
		_, err := ipvsadm.ReadRules(t.Context(), strings.NewReader(rules.String()), &ipvsadm.Names{Resolver: silent{}})
		if took := time.Since(begin); err == nil || took != 3*time.Second {
			t.Errorf("%v after %v, want an error after 3 s", err, took)
		}
	})
}

// turning is a resolver that gives the addresses of a name in turn.
type turning struct {
	silent
	asked *byte
}

func (r turning) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	*r.asked++
	return []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, *r.asked})}, nil
}

// TestNameIsOneAddress shows that a name stands for the same address in all
// rules.
func TestNameIsOneAddress(t *testing.T) {
	names := &ipvsadm.Names{Resolver: turning{asked: new(byte)}}
	rules, err := ipvsadm.ReadRules(t.Context(), strings.NewReader("-A -t web:80\n-a -t web:80 -r 10.0.0.1\n"), names)
	if err != nil || len(rules) != 2 {
		t.Fatal(rules, err)
	}
	if a, b := rules[0].Command.Service.ServiceID, rules[1].Command.Service.ServiceID; a != b {
		t.Errorf("%v and %v", a, b)
	}
}

// TestOrderOfMarks shows that marks are ordered as numbers with a sign.
func TestOrderOfMarks(t *testing.T) {
	k := &fixed{}
	for _, n := range []uint32{2, 4294967295, 1} {
		k.recording.Services = append(k.recording.Services, genl.Service{ServiceID: mark(n, unix.AF_INET), Scheduler: "rr"})
		k.recording.Destinations = append(k.recording.Destinations, nil)
	}
	if got, want := run(t, k, nil, "", "-Sn").stdout, "-A -f 4294967295 -s rr\n-A -f 1 -s rr\n-A -f 2 -s rr\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
