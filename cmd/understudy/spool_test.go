package main

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// stuck is a log that takes nothing until it is released.
type stuck struct {
	bytes.Buffer
	release chan struct{}
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.release
	return s.Buffer.Write(p)
}

func TestSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &stuck{release: make(chan struct{})}
		s := newSpool()
		var lost uint64
		go s.run(w, func(n uint64) { lost += n })
		line := []byte("line\n")
		fmt.Fprint(s, "first\n")
		synctest.Wait() // it is being written
		for range spoolLines + 7 {
			if n, err := s.Write(line); n != len(line) || err != nil {
				t.Fatalf("wrote %d, %v", n, err)
			}
		}
		copy(line, "LINE") // the caller's to use again

		began := time.Now()
		s.close()
		if took := time.Since(began); took != spoolFlush {
			t.Errorf("close took %v with a log that blocks, want %v", took, spoolFlush)
		}
		close(w.release)
		<-s.ended
		want := "first\n" + string(bytes.Repeat([]byte("line\n"), spoolLines))
		if w.String() != want {
			t.Errorf("%d bytes were written, want %d", w.Len(), len(want))
		}
		if lost != 7 {
			t.Errorf("%d lines reported lost, want 7", lost)
		}
		fmt.Fprint(s, "late\n") // does no harm
	})
}

func TestSpoolWritesEverythingBeforeTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w bytes.Buffer
		s := newSpool()
		fmt.Fprint(s, "one\n")
		go s.run(&w, func(uint64) {})
		synctest.Wait()
		fmt.Fprint(s, "two\n")
		s.close()
		if w.String() != "one\ntwo\n" {
			t.Errorf("wrote %q", w.String())
		}
	})
}
