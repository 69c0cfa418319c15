package main

import (
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

var update = flag.Bool("update", false, "write the golden files")

// expose returns the text that Prometheus gets.
func expose(t *testing.T, s *snapshot) string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(&metrics{current: func() *snapshot { return s }}); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, metricsPath, nil))
	if w.Code != http.StatusOK {
		t.Fatal(w.Body)
	}
	return w.Body.String()
}

func sampleStatus() *snapshot {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	two := 2
	return &snapshot{taken: at, took: 12 * time.Millisecond, status: statusReply{
		RouterID: "lb1", Version: "v1.2.3 go1.26", PID: 7, AsOf: at, Started: at.Add(-time.Hour), Loaded: at.Add(-time.Minute),
		Refused: "understudy.toml:3: bad", Warnings: []string{"one"},
		Routers: []routerStatus{
			{
				Name: "web", Interface: "eth0", VRID: 51, Version: 3, Priority: 150, Effective: 140, IntervalNS: 100 * time.Millisecond,
				State: "master", Since: at.Add(-30 * time.Second), Leaving: true, Transitions: 5, Takeovers: 2, Sent: 100, Received: 40,
				SendErrors: 3, LateTicks: 4, Drops: map[string]uint64{"ttl": 7, "priority": 9},
				Addresses: []addressStatus{{Address: "192.0.2.100/24", Wanted: true, Held: true}, {Address: "192.0.2.101/24", Wanted: true, Error: "refused"}},
				Routes:    []routingStatus{{Text: "default via 192.0.2.1", Wanted: true, Held: true}},
				Rules:     []routingStatus{{Text: "from 192.0.2.100 lookup 100", Wanted: true}},
				Tracks: []trackStatus{
					{What: "interface eth1", State: "pass"}, {What: "interface eth1", State: "pass"},
					{What: "route 0.0.0.0/0", State: "fail"}, {What: "process named", State: "unknown"},
				},
			},
			{Name: `we"b\6`, Interface: "eth0", VRID: 51, Version: 3, Priority: 100, IntervalNS: time.Second, State: "init"},
		},
		Groups: []groupStatus{{Name: "pair", State: "master", Members: []string{"web", `we"b\6`}}},
		Conditions: []conditionStatus{
			{Condition: "two-masters", Router: "web", Interface: "eth0", Peer: "192.0.2.2", Detail: "not a label", Since: at, Last: at, Count: 3},
			{Condition: "address-conflict", Router: "web", Interface: "eth0", Peer: "02:00:00:00:00:01", Detail: "192.0.2.100"},
			{Condition: "address-conflict", Router: "web", Interface: "eth0", Peer: "02:00:00:00:00:01", Detail: "192.0.2.101"},
		},
		Notified: []notifiedStatus{
			{Target: "/usr/local/bin/tell", Waiting: 1, Delivered: 4, Failed: 1, Failing: true},
			{Target: "/usr/local/bin/tell", Waiting: 1, Delivered: 5, Dropped: 2},
		},
		Services: []serviceStatus{{
			Name: "web", Service: "tcp 192.0.2.100:80", InTable: true, Quorum: "kept",
			Servers: []serverStatus{
				{Address: "192.0.2.21:80", Weight: 3, Effective: 2, Ordered: &two, InTable: true, Health: "up", Active: 11, Inactive: 22},
				{Address: "192.0.2.22:80", Weight: 1, Health: "down", Drained: true},
				{Address: "192.0.2.23:80", Weight: 1, Effective: 1, InTable: true, Health: "none"},
			},
		}, {Name: "marked", Service: "fwmark 10", Quorum: "unknown"}},
		Lanes: []laneStatus{
			{Name: "addresses", LastPass: at.Add(-time.Second), TookNS: 2 * time.Millisecond, Changes: 8, Repairs: 1},
			{Name: "ipvs", Error: "refused"},
		},
		Sysctl: []sysctlStatus{{}, {}},
	}}
}

func TestMetrics(t *testing.T) {
	got := expose(t, sampleStatus())
	const golden = "testdata/metrics.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
	problems, err := promlint.New(strings.NewReader(got)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestMetricsOfLittle: what is not known is no number.
func TestMetricsOfLittle(t *testing.T) {
	s := sampleStatus()
	s.status.Uncounted = "the kernel does not answer"
	if got := expose(t, s); strings.Contains(got, "connections{") || !strings.Contains(got, "understudy_server_up{") {
		t.Errorf("connections that nobody has counted:\n%s", got)
	}
	if got := expose(t, &snapshot{taken: time.Unix(1e9, 0)}); strings.Contains(got, "-") {
		t.Errorf("an empty status has negative numbers:\n%s", got)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(&metrics{current: func() *snapshot { return nil }})
	if families, err := registry.Gather(); err != nil || len(families) > 0 {
		t.Errorf("before the first status: %v, %v", families, err)
	}
}

// TestMetricsAreDocumented compares the names in the golden file with those in the
// manual.
func TestMetricsAreDocumented(t *testing.T) {
	manual, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	golden, err := os.ReadFile("testdata/metrics.golden")
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(understudy_[a-z_]+)").FindAllStringSubmatch(string(manual), -1) {
		got = append(got, m[1])
	}
	for _, m := range regexp.MustCompile(`(?m)^# HELP (\S+)`).FindAllStringSubmatch(string(golden), -1) {
		want = append(want, m[1])
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names in docs/operating.md (-program +manual):\n%s", diff)
	}
	for _, m := range regexp.MustCompile(`understudy_[a-z_]+`).FindAllString(string(manual), -1) {
		if !slices.Contains(want, m) {
			t.Errorf("docs/operating.md speaks of %s, which there is not", m)
		}
	}
}
