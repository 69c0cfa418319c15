package health

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestParseWeight(t *testing.T) {
	tests := []struct {
		in   string
		want Weight
		ok   bool
	}{
		{"0", Weight{Set: true}, true},
		{"65535", Weight{Set: true, Value: 65535}, true},
		{"007", Weight{Set: true, Value: 7}, true},
		{"0%", Weight{Set: true, Percent: true}, true},
		{"100%", Weight{Set: true, Percent: true, Value: 100}, true},
		{"65536", Weight{}, false},
		{"101%", Weight{}, false},
		{"99999999999999999999", Weight{}, false},
		{"", Weight{}, false},
		{"%", Weight{}, false},
		{"+1", Weight{}, false},
		{"-1", Weight{}, false},
		{"1_0", Weight{}, false},
		{"1 ", Weight{}, false},
		{"5%%", Weight{}, false},
		{"0x1", Weight{}, false},
		{"1.5", Weight{}, false},
		{"\u0661", Weight{}, false},
	}
	for _, test := range tests {
		if got, ok := parseWeight(test.in); got != test.want || ok != test.ok {
			t.Errorf("parseWeight(%q) = %+v, %v, want %+v, %v", test.in, got, ok, test.want, test.ok)
		}
	}
}

func FuzzParseWeight(f *testing.F) {
	for _, s := range []string{"0", "65535", "100%", "-1", "+5%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		w, ok := parseWeight(s)
		if !ok {
			if w != (Weight{}) {
				t.Errorf("%q is refused, as %+v", s, w)
			}
			return
		}
		if again, ok := parseWeight(w.String()); !ok || again != w {
			t.Errorf("%q is %+v, written %q, read again %+v", s, w, w, again)
		}
		for _, configured := range []int{0, 1, 65535} {
			if got := w.Of(configured); got < 0 || got > maxWeight {
				t.Errorf("%v of %d is %d", w, configured, got)
			}
		}
	})
}

func TestWeightOf(t *testing.T) {
	tests := []struct {
		w                Weight
		configured, want int
	}{
		{Weight{}, 7, 7},
		{Weight{Set: true}, 7, 0},
		{Weight{Set: true, Value: 65535}, 0, 65535},
		{Weight{Set: true, Percent: true, Value: 50}, 10, 5},
		{Weight{Set: true, Percent: true, Value: 100}, 65535, 65535},
		{Weight{Set: true, Percent: true, Value: 0}, 10, 0},
		{Weight{Set: true, Percent: true, Value: 1}, 10, 1}, // not nothing
		{Weight{Set: true, Percent: true, Value: 50}, 0, 0},
	}
	for _, test := range tests {
		if got := test.w.Of(test.configured); got != test.want {
			t.Errorf("%q of %d = %d, want %d", test.w, test.configured, got, test.want)
		}
	}
}

func TestHTTPWeight(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, v := range r.URL.Query()["w"] {
			w.Header().Add("x-weight", v)
		}
		if r.URL.Path == "/busy" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprint(w, "body")
	}))
	defer server.Close()
	tests := []struct {
		name, path, header, body string
		want                     Answer
		note                     string // that of the answer contains it
	}{
		{name: "weight", path: "/?w=12", header: "X-Weight", want: Answer{Weight: Weight{Set: true, Value: 12}}},
		{name: "with a body", path: "/?w=12", header: "X-Weight", body: "body", want: Answer{Weight: Weight{Set: true, Value: 12}}},
		{name: "percent", path: "/?w=12%25", header: "x-wEIGHT", want: Answer{Weight: Weight{Set: true, Percent: true, Value: 12}}},
		{name: "absent", path: "/", header: "X-Weight"},
		{name: "not asked for", path: "/?w=12"},
		{name: "garbage", path: "/?w=many", header: "X-Weight", note: `X-Weight: "many" is not a weight`},
		{name: "hostile", path: "/?w=" + strings.Repeat("%ff", 5000), header: "X-Weight", note: `X-Weight: "`},
		{name: "twice", path: "/?w=1&w=2", header: "X-Weight", note: "stands in the answer 2 times"},
		{name: "of a failure", path: "/busy?w=12", header: "X-Weight"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			probe, err := newWebProber()(Check{
				Type: TypeHTTP, Target: server.Listener.Addr().(*net.TCPAddr).AddrPort(), Path: test.path, WeightHeader: test.header, Body: test.body,
			})
			if err != nil {
				t.Fatal(err)
			}
			got, failure := run(t.Context(), probe, 10*time.Second)
			if (failure == "") != (test.name != "of a failure") {
				t.Fatalf("failure %q", failure)
			}
			if len(got.Note) > maxFailure || strings.Contains(got.Note, "\xff") || !strings.Contains(got.Note, test.note) || test.note == "" && got.Note != "" {
				t.Errorf("note %q, want %q", got.Note, test.note)
			}
			if got.Note = ""; got != test.want {
				t.Errorf("answer %+v, want %+v", got, test.want)
			}
		})
	}
}

// A change of weight rings the bell like a change of verdict; a failure keeps
// the weight, and an answer without one takes it back.
func TestMonitorWeight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, 0)
		c, other := tcp(1), tcp(2)
		l.Set([]Check{c, other})
		l.until(t, c, Up)
		l.until(t, other, Up)
		steps := []struct {
			name  string
			says  Answer
			dead  error
			want  Weight
			note  string
			bells int64
		}{
			{name: "a weight", says: Answer{Weight: Weight{Set: true, Value: 3}}, want: Weight{Set: true, Value: 3}, bells: 1},
			{name: "the same again", says: Answer{Weight: Weight{Set: true, Value: 3}}, want: Weight{Set: true, Value: 3}},
			{name: "another", says: Answer{Weight: Weight{Set: true, Percent: true, Value: 3}}, want: Weight{Set: true, Percent: true, Value: 3}, bells: 1},
			{name: "one failure", dead: errRefused, want: Weight{Set: true, Percent: true, Value: 3}},
			{name: "garbage", says: Answer{Note: "what"}, note: "what", bells: 1},
			{name: "more garbage", says: Answer{Note: "what else"}, note: "what else"},
		}
		for _, step := range steps {
			before := l.bells.Load()
			l.rung.Clear()
			l.change(func() { l.says[c.Target], l.dead[c.Target] = step.says, step.dead })
			time.Sleep(c.Interval)
			synctest.Wait()
			s := l.Lookup(c)
			if s.Weight != step.want || s.Note != step.note || s.State != Up {
				t.Errorf("%s: %+v, want the weight %q and the note %q", step.name, s, step.want, step.note)
			}
			if n := l.bells.Load() - before; n != step.bells {
				t.Errorf("%s: the bell rang %d times, want %d", step.name, n, step.bells)
			}
			if _, rang := l.rung.Load(c); rang != (step.bells > 0) {
				t.Errorf("%s: the bell rang for the check: %v", step.name, rang)
			}
			if _, rang := l.rung.Load(other); rang {
				t.Errorf("%s: the bell rang for another check", step.name)
			}
		}
		if n := strings.Count(l.log.String(), "no weight that can be read"); n != 1 {
			t.Errorf("garbage is logged %d times, want once:\n%s", n, &l.log)
		}
	})
}
