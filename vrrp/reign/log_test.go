package reign

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestLog plays the succession of processes: what one leaves the next one reads.
func TestLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "reigns")
	open := func() *Log {
		t.Helper()
		l, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	key := Key{Link: "eth0", VRID: 51, Version: 3}
	other := Key{Link: "eth0", VRID: 51, Version: 3, IPv6: true}

	first := open()
	if _, ok := first.Take(key); ok {
		t.Error("a new file knows of a master")
	}
	at := time.Now()
	first.Slot(key).Sent(at, time.Second)
	first.Slot(other).Sent(at, time.Second)
	first.Slot(other).Ended()

	second := open()
	last, ok := second.Take(key)
	if d := last.Sent.Sub(at).Abs(); !ok || d > time.Millisecond || last.Interval != time.Second {
		t.Errorf("left: %+v, %t, %v off", last, ok, d)
	}
	if _, ok := second.Take(other); ok {
		t.Error("one that was no longer master counts as one")
	}
	if _, ok := second.Take(key); ok {
		t.Error("told of again, when it may be master no more")
	}
	// What it does not confirm is forgotten.
	if _, ok := open().Take(key); ok {
		t.Error("known after a process that was never master")
	}
}

// TestASuccessorThatFails: a process that opens the file and ends, as the one before
// goes on, leaves no trace.
func TestASuccessorThatFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "reigns")
	a, b := Key{Link: "eth0", VRID: 51, Version: 3}, Key{Link: "eth0", VRID: 52, Version: 3}
	first, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	slot := first.Slot(a)
	first.Slot(b)
	slot.Sent(time.Now(), time.Second)
	failed, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	failed.Slot(b)
	slot.Sent(time.Now(), time.Second)
	next, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := next.Take(a); !ok {
		t.Error("the master is not known")
	}
	if _, ok := next.Take(b); ok {
		t.Error("the backup is taken for the master")
	}
}

// TestBroken: a file that holds anything else is as good as none.
func TestBroken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "reigns")
	key := Key{Link: "eth0", VRID: 51, Version: 3}
	for name, spoil := range map[string]func(b []byte) []byte{
		"another boot": func(b []byte) []byte { b[8] ^= 1; return b },
		"short":        func(b []byte) []byte { return b[:headSize+3] },
		"noise": func(b []byte) []byte {
			for i := range b {
				b[i] = byte(i * 37)
			}
			return b
		},
		"the future": func(b []byte) []byte { b[headSize+8+7] = 0x7f; return b },
		"empty":      func([]byte) []byte { return nil },
	} {
		l, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		l.Slot(key).Sent(time.Now(), time.Second)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, spoil(b), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err = Open(path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if last, ok := l.Take(key); ok {
			t.Errorf("%s: believed, %+v", name, last)
		}
	}
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("a directory was opened")
	}
}

// TestRoom: without room nothing is noted, and nothing breaks.
func TestRoom(t *testing.T) {
	l, err := Open(filepath.Join(t.TempDir(), "reigns"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range slots + 3 {
		s := l.Slot(Key{Link: "eth" + string(rune('a'+i/256)), VRID: uint8(i), Version: 3})
		s.Sent(time.Now(), time.Second)
		s.Ended()
		if (s == nil) != (i >= slots) {
			t.Fatalf("slot %d: %v", i, s)
		}
	}
	var none *Log
	none.Slot(Key{}).Sent(time.Now(), time.Second)
	if _, ok := none.Take(Key{}); ok {
		t.Error("no memory knows of a master")
	}
}
