package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestWeb posts to a server.
func TestWeb(t *testing.T) {
	want, err := event.body("lb1")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	mux := http.NewServeMux()
	mux.HandleFunc("/good", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, fmt.Sprint(r.Method, " ", r.Header.Get("Content-Type"), " ", string(body)))
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("/kept", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/good", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/found", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/good", http.StatusFound) })
	mux.HandleFunc("/round", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/round", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/scheme", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://"+r.Host+"/good", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/much", func(w http.ResponseWriter, r *http.Request) {
		for range 1000 {
			_, _ = w.Write(make([]byte, maxAnswer))
		}
	})
	slow := make(chan struct{})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) { <-slow })
	server := httptest.NewServer(mux)
	defer server.Close()
	defer close(slow)
	for _, tt := range []struct {
		name, path, err string
		times           int // that the event arrived
	}{
		{"good", "/good", "", 1},
		{"redirect that keeps the method", "/kept", "", 1},
		{"redirect that does not", "/found", "answered 302 Found (try 1)", 0},
		{"redirect for ever", "/round", "redirected more than 3 times (try 1)", 0},
		{"redirect to another scheme", "/scheme", "redirected from http to https, which is not followed (try 1)", 0},
		{"not there", "/nothing?token=secret", "answered 404 Not Found (try 1)", 0},
		{"long answer", "/much", "", 0},
		{"slow", "/slow", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got = nil
			s := newWeb(Target{URL: server.URL + tt.path, Timeout: 10 * time.Second, RouterID: "lb1"})
			defer s.close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			// One try: what would come again is below, with its pauses.
			s.pauses = nil
			if tt.name == "slow" {
				s.client.Timeout = 50 * time.Millisecond
				err := s.send(ctx, event, noWait)
				if err == nil || !strings.Contains(err.Error(), "Client.Timeout exceeded") || strings.Contains(err.Error(), "/slow") {
					t.Errorf("send() = %v", err)
				}
				return
			}
			err := s.send(ctx, event, noWait)
			switch {
			case tt.err == "" && err != nil:
				t.Errorf("send() = %v", err)
			case tt.err != "" && (err == nil || err.Error() != "post to "+server.URL+": "+tt.err):
				t.Errorf("send() = %v, want %s", err, tt.err)
			}
			if len(got) != tt.times {
				t.Fatalf("it arrived %d times", len(got))
			}
			if tt.times == 1 && got[0] != "POST application/json "+string(want) {
				t.Errorf("it got %s", got[0])
			}
		})
	}
}

// answers is a transport that answers with codes, one after the other; 0 is an error.
type answers struct {
	codes []int
	at    []time.Duration // of the requests, since the first
	first time.Time
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	if a.first.IsZero() {
		a.first = time.Now()
	}
	a.at = append(a.at, time.Since(a.first))
	code := a.codes[0]
	a.codes = a.codes[1:]
	switch code {
	case 0:
		return nil, errors.New("connection refused")
	case -1:
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: code, Body: http.NoBody, Request: r}, nil
}

func TestWebTriesAgain(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		name  string
		codes []int
		at    []time.Duration
		err   string
	}{
		{"second try", []int{0, 200}, []time.Duration{0, s / 2}, ""},
		{"last try", []int{503, 429, 0, 201}, []time.Duration{0, s / 2, 3 * s / 2, 7 * s / 2}, ""},
		{"given up", []int{500, 500, 500, 500}, []time.Duration{0, s / 2, 3 * s / 2, 7 * s / 2}, "answered 500 Internal Server Error (try 4)"},
		{"refused for good", []int{503, 403}, []time.Duration{0, s / 2}, "answered 403 Forbidden (try 2)"},
		{"hangs", []int{-1, 200}, []time.Duration{0, 3*s + s/2}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &answers{codes: tt.codes}
				w := newWeb(Target{URL: "http://h/x", Timeout: 3 * s})
				w.client.Transport = a
				err := w.send(t.Context(), event, noWait)
				if tt.err == "" && err != nil || tt.err != "" && (err == nil || err.Error() != "post to http://h: "+tt.err) {
					t.Errorf("send() = %v, want %q", err, tt.err)
				}
				if fmt.Sprint(a.at) != fmt.Sprint(tt.at) {
					t.Errorf("tried after %v, want %v", a.at, tt.at)
				}
			})
		})
	}
}

// TestWebAtTheEnd checks that neither a try nor a pause outlasts the context.
func TestWebAtTheEnd(t *testing.T) {
	for _, codes := range [][]int{{-1}, {500}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			w := newWeb(Target{URL: "http://h/x"})
			w.client.Transport = &answers{codes: codes}
			began := time.Now()
			if err := w.send(ctx, event, noWait); err == nil || time.Since(began) != 100*time.Millisecond {
				t.Errorf("send() = %v after %s", err, time.Since(began))
			}
		})
	}
}
