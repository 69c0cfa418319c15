package track

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFiles changes files in every way that people and programs do, and waits for
// what the tracker makes of it.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	bell := make(chan struct{}, 1)
	w := New(Options{Bell: func() {
		select {
		case bell <- struct{}{}:
		default:
		}
	}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	w.Set(map[string][]Item{
		"a": {{Target: Target{Kind: File, Name: in("a")}, Weight: 2}},
		"b": {{Target: Target{Kind: File, Name: in("sub/b")}}},
	})
	waitFor(t, "a first look", func() bool { return !w.Lookup("a").Pending && !w.Lookup("b").Pending })
	write := func(name, text string) func() error {
		return func() error { return os.WriteFile(in(name), []byte(text), 0o644) }
	}
	var open *os.File
	for _, step := range []struct {
		name   string
		do     func() error
		adjust int    // of a
		fault  bool   // of b
		note   string // that of a or b holds it
	}{
		{"absent", func() error { return nil }, 0, false, "sub"},
		{"created", write("a", "7\n"), 14, false, "sub"},
		{"written", write("a", " -60 "), -120, false, "sub"},
		{"renamed onto", func() error { return errors.Join(write("new", "5")(), os.Rename(in("new"), in("a"))) }, 10, false, "sub"},
		{"garbage keeps the last", write("a", "eins"), 10, false, "not a number"},
		{"too long", write("a", strings.Repeat("1", 100)), 10, false, "longer than"},
		{"removed", func() error { return os.Remove(in("a")) }, 0, false, "sub"},
		{"held open", func() (err error) {
			open, err = os.Create(in("a"))
			return errors.Join(err, func() error { _, err := open.WriteString("9"); return err }())
		}, 18, false, "sub"},
		{"emptied, and written at once", func() error {
			_, err := open.WriteAt([]byte("8"), 0)
			return errors.Join(err, open.Close())
		}, 16, false, "sub"},
		{"a pipe in its place", func() error { return errors.Join(unix.Mkfifo(in("pipe"), 0o644), os.Rename(in("pipe"), in("a"))) }, 16, false, "not a file"},
		{"the number is a fault", func() error { return errors.Join(os.Remove(in("a")), write("a", "-254")()) }, 0, false, "sub"},
		{"the directory comes", func() error { return errors.Join(write("a", "0")(), os.Mkdir(in("sub"), 0o755), write("sub/b", "1")()) }, 0, true, ""},
		{"no fault any more", write("sub/b", "0"), 0, false, ""},
		{"fault", write("sub/b", "-3"), 0, true, ""},
		{"the directory goes", func() error { return os.RemoveAll(in("sub")) }, 0, false, "sub"},
		{"and comes again", func() error { return errors.Join(os.Mkdir(in("sub"), 0o755), write("sub/b", "1")()) }, 0, true, ""},
	} {
		start := time.Now()
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		good := func() bool {
			a, b := w.Lookup("a"), w.Lookup("b")
			notes := a.Items[0].Note + b.Items[0].Note
			return a.Adjust == step.adjust && b.Fault == step.fault && (step.note != "") == (notes != "") && strings.Contains(notes, step.note)
		}
		for end := time.After(5 * time.Second); !good(); {
			select {
			case <-bell:
			case <-time.After(time.Millisecond): // a note rings no bell
			case <-end:
				t.Fatalf("%s: %+v, %+v", step.name, w.Lookup("a"), w.Lookup("b"))
			}
		}
		t.Logf("%s: after %v", step.name, time.Since(start).Round(10*time.Microsecond))
	}
}

// TestRewritingIsNoFlicker rewrites a file as shells do, which empties it first.
func TestRewritingIsNoFlicker(t *testing.T) {
	path := filepath.Join(t.TempDir(), "number")
	if err := os.WriteFile(path, []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	w := New(Options{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	w.Set(one(Item{Target: Target{Kind: File, Name: path}}))
	waitFor(t, "a first look", func() bool { return w.Lookup("web").Fault })
	for range 200 {
		if err := os.WriteFile(path, []byte("1"), 0o644); err != nil {
			t.Fatal(err)
		}
		if r := w.Lookup("web"); !r.Fault {
			t.Fatalf("%+v", r)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
