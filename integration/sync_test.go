package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
)

// Whether directors synchronise connections, and how.
const (
	noSync     = ""
	bothWays   = "[director.sync]\ninterface = \"eth0\"\nid = 51\nsecret = \"s\"\n"
	masterOnly = bothWays + "role = \"follow\"\nvrrp = \"web\"\n" // the master sends, the backup receives
)

// syncSite is a pair of directors that synchronise connections, and preempt as
// preempt_when says.
func syncSite(t *testing.T, when, synchronise string) *site.Site {
	t.Helper()
	s := site.New(t, site.Options{Interval: 200 * time.Millisecond, Extra: synchronise})
	for i, d := range s.LB {
		text := s.Config(i)
		with := strings.Replace(text, "\nversion = 3\n", "\nversion = 3\npreempt_when = \""+when+"\"\n", 1)
		if with == text {
			t.Fatal("the configuration is not what it should be")
		}
		d.Write(with)
	}
	return s
}

// syncStatus is the part of "understudy sync status --json" that is judged.
type syncStatus struct {
	Ready   bool   `json:"ready"`
	Reason  string `json:"ready_reason"`
	Daemons []struct {
		State string `json:"state"`
	} `json:"daemons"`
	Entries struct {
		Total  int `json:"total"`
		Synced int `json:"synced"`
	} `json:"entries"`
	Peers []struct {
		RouterID string `json:"router_id"`
		Alive    bool   `json:"alive"`
		Master   bool   `json:"master"`
		Entries  struct {
			Total   int `json:"total"`
			Lasting int `json:"lasting"`
		} `json:"entries"`
	} `json:"peers"`
	Fetched *struct {
		State string `json:"state"`
		Sent  int    `json:"sent"`
	} `json:"fetched"`
	Advice []string `json:"advice"`
}

// rest is the time between two looks at a daemon: in the user-mode kernel they
// take the processor from what is looked at.
const rest = 250 * time.Millisecond

// ask asks the daemon of a director; what it says is zero without an answer.
func ask(d *site.Director, path string, to any) bool {
	time.Sleep(rest)
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", d.Socket())
		},
	}}
	resp, err := client.Get("http://understudy" + path)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(to) == nil
}

func syncOf(d *site.Director) (s syncStatus) {
	ask(d, "/v1/sync", &s)
	return s
}

func openSessions(s *site.Site) *lab.Sessions {
	return s.Client.Open(netip.MustParseAddrPort(site.VIP+":80"), lab.SessionOptions{Count: 100, Every: 2 * time.Second, Patience: 6 * time.Second})
}

// unbroken waits until every session has had an answer since, and fails if one
// broke.
func unbroken(t *testing.T, sessions *lab.Sessions, what string) {
	t.Helper()
	since := time.Now()
	site.Eventually(t, 20*time.Second, "an answer on every session after "+what, func() bool { return sessions.Proven(since) })
	if b := sessions.Broken(); len(b) > 0 {
		t.Fatalf("%s broke %d sessions, first %v", what, len(b), b[0])
	}
	if n := len(sessions.By()); n == 0 {
		t.Fatalf("no session is left after %s", what)
	}
}

// TestSync: 100 connections and a download go on over a director that comes
// back, one that leaves, and one whose link is cut; a synthetic connection shows
// that entries arrive.
func TestSync(t *testing.T) {
	t.Run("both", func(t *testing.T) { testSync(t, bothWays, 2) })
	t.Run("follow", func(t *testing.T) { testSync(t, masterOnly, 1) })
}

// testSync is TestSync with directors whose kernels run so many daemons each.
func testSync(t *testing.T, synchronise string, daemons int) {
	s := syncSite(t, "ready", synchronise)
	first, second := s.LB[0], s.LB[1]
	second.Start()
	site.Eventually(t, 20*time.Second, "the second director to serve alone", func() bool {
		return second.State() == "master" && second.Serving() == len(s.Servers)
	})
	sessions := openSessions(s)

	// The better one comes to a peer whose connections it does not know.
	begin := time.Now()
	first.Start()
	site.Eventually(t, 30*time.Second, "the first director to take over", func() bool { return first.State() == "master" })
	got := syncOf(first)
	t.Logf("%v after its start the first director took over: %+v", time.Since(begin), got)
	if !got.Ready || got.Reason != "synchronised" || got.Fetched == nil || got.Fetched.State != "done" || got.Fetched.Sent < 101 {
		t.Errorf("it was not ready, or fetched nothing")
	}
	unbroken(t, sessions, "a takeover by a director that came back")

	for _, d := range s.LB {
		site.Eventually(t, 10*time.Second, "the directors to know each other", func() bool {
			st := syncOf(d)
			return len(st.Peers) == 1 && st.Peers[0].Alive && st.Peers[0].Entries.Lasting >= 101 && len(st.Daemons) == daemons
		})
		if d == second && daemons == 1 {
			continue // it tells nobody of anything
		}
		out, err := d.Node.Run(site.Binary(), "sync", "probe", "--socket", d.Socket())
		if err != nil || !strings.Contains(out, "arrived at lb") {
			t.Errorf("probe: %q, %v", out, err)
		}
		t.Log(strings.TrimSpace(out))
	}
	text := first.Node.MustRun(site.Binary(), "sync", "status", "--socket", first.Socket())
	t.Logf("\n%s", text)
	for _, want := range []string{"ready: synchronised", "lb2", "fetched from lb2"} {
		if !strings.Contains(text, want) {
			t.Errorf("the status does not say %q", want)
		}
	}

	// New connections, and a stop at once: the kernel has told of few of them.
	more := openSessions(s)
	if err := first.Stop(); err != nil {
		t.Error(err)
	}
	site.Eventually(t, 5*time.Second, "the second director to take over", func() bool { return second.State() == "master" })
	unbroken(t, sessions, "a clean stop")
	unbroken(t, more, "a clean stop, right after the start of the sessions")

	if out := first.Node.MustRun("ipvsadm", "-L", "--daemon"); out != "" {
		t.Errorf("daemons after a clean stop: %s", out)
	}
	if out := first.Saved(); out != "" {
		t.Errorf("table after a clean stop: %s", out)
	}

	first.Start()
	site.Eventually(t, 30*time.Second, "the first director to take over again", func() bool { return first.State() == "master" })
	unbroken(t, sessions, "the second return")
	unbroken(t, more, "the second return")
	first.Port.Cut()
	site.Eventually(t, 5*time.Second, "the second director to take over", func() bool { return second.State() == "master" })
	unbroken(t, sessions, "a cut link")
	unbroken(t, more, "a cut link")
}

// TestSyncIsWhatHelps: without synchronisation the same return breaks sessions,
// so that what TestSync shows is not an accident.
func TestSyncIsWhatHelps(t *testing.T) {
	s := syncSite(t, "always", noSync)
	first, second := s.LB[0], s.LB[1]
	second.Start()
	site.Eventually(t, 20*time.Second, "the second director to serve alone", func() bool {
		return second.State() == "master" && second.Serving() == len(s.Servers)
	})
	sessions := openSessions(s)
	first.Start()
	site.Eventually(t, 30*time.Second, "the first director to take over", func() bool { return first.State() == "master" })
	site.Eventually(t, 20*time.Second, "sessions to break", func() bool { return len(sessions.Broken()) > 50 })
}

// TestSyncHold: a better director that does not become ready leaves the master
// alone until the limit, says why, and takes over at once from one that dies.
func TestSyncHold(t *testing.T) {
	s := syncSite(t, "ready", bothWays)
	first, second := s.LB[0], s.LB[1]
	second.Start()
	site.Eventually(t, 20*time.Second, "the second director to serve alone", func() bool {
		return second.State() == "master" && second.Serving() == len(s.Servers)
	})
	openSessions(s)
	// Its kernel ignores what the other's says, so that it stays behind.
	text := strings.Replace(s.Config(0), "\nid = 51\n", "\nid = 52\n", 1)
	text = strings.Replace(text, "\nversion = 3\n", "\nversion = 3\npreempt_when = \"ready\"\nready_limit = \"1m\"\n", 1)
	first.Write(text)
	begin := time.Now()
	first.Start()
	var st struct {
		Routers []struct {
			State string `json:"state"`
			Held  string `json:"preempt_held"`
		} `json:"virtual_routers"`
	}
	look := func() bool {
		st.Routers = nil
		return ask(first, "/v1/status", &st) && len(st.Routers) == 1
	}
	site.Eventually(t, 15*time.Second, "it to say why it waits", func() bool { return look() && st.Routers[0].Held == "behind a peer" })
	for time.Since(begin) < 10*time.Second {
		if first.State() == "master" {
			t.Fatal("it took over although it is not ready")
		}
		time.Sleep(200 * time.Millisecond)
	}
	advice := fmt.Sprint(syncOf(first).Advice)
	if !strings.Contains(advice, "lb2 has sync id 51 and this director has 52") {
		t.Errorf("advice: %s", advice)
	}
	second.Kill()
	site.Eventually(t, 3*s.MasterDown()+site.Slack(), "it to take over from a dead master", func() bool { return first.State() == "master" })
}
