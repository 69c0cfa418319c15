package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/integration/lab"
	"github.com/understudy-ha/understudy/integration/site"
)

// TestWiretap shows that the witness sees each message that changes a table,
// and takes none for one that does not.
func TestWiretap(t *testing.T) {
	n := lab.New(t).Node("lb")
	w := n.Wiretap()
	for _, args := range [][]string{
		{"-A", "-t", "10.51.0.100:80", "-s", "rr"},
		{"-a", "-t", "10.51.0.100:80", "-r", "10.51.0.21:80", "-g"},
		{"-e", "-t", "10.51.0.100:80", "-r", "10.51.0.21:80", "-g", "-w", "7"},
		{"-Ln"},
		{"-E", "-t", "10.51.0.100:80", "-s", "wrr"},
		{"-d", "-t", "10.51.0.100:80", "-r", "10.51.0.21:80"},
		{"-Z"},
		{"-D", "-t", "10.51.0.100:80"},
		{"-C"},
	} {
		n.MustRun("ipvsadm", args...)
	}
	const service = "10.51.0.100:80"
	want := []string{
		"new_service " + service, "new_dest " + service, "set_dest " + service, "set_service " + service,
		"del_dest " + service, "zero", "del_service " + service, "flush",
	}
	var got []string
	site.Eventually(t, 5*time.Second, "the last command", func() bool {
		list, err := w.Writes(0)
		if err != nil {
			t.Fatal(err)
		}
		got = nil
		for _, c := range list {
			got = append(got, strings.TrimSpace(c.Name+" "+c.Service))
		}
		return len(got) >= len(want)
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	if len(w.Since(0)) <= len(want) {
		t.Error("nothing but writes was seen, though the table was listed")
	}
}
