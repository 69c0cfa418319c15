package reign

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	magic = 0x7265_6967_6e31 // "reign1"
	// slots bounds the virtual routers that are remembered: those of 32 links.
	slots    = 8192
	headSize = 64
	slotSize = 32
	fileSize = headSize + slots*slotSize
)

// Key names a virtual router on a host.
type Key struct {
	Link    string
	VRID    uint8
	Version uint8
	IPv6    bool
}

// hash is never zero.
func (k Key) hash() uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%d/%d/%t", k.Link, k.VRID, k.Version, k.IPv6)
	return max(h.Sum64(), 1)
}

// Last is what the predecessor of this process has left of a virtual router.
type Last struct {
	Sent     time.Time     // its last advertisement as master
	Interval time.Duration // advertised then
}

// record is a slot in the file, of slotSize bytes. Each word is written whole.
type record struct {
	key      atomic.Uint64
	sent     atomic.Int64 // of the clock below, in nanoseconds; 0: not master
	interval atomic.Int64 // in nanoseconds
	_        [8]byte
}

// Log is the memory of this process, and of the one before it.
type Log struct {
	mem []byte

	base time.Time // when the clock showed at
	at   int64     // in nanoseconds

	mu   sync.Mutex      // guards what follows
	last map[uint64]Last // of the predecessor
	used map[uint64]*record
	next int
}

// Open reads what is left in the file and makes it that of this process. Only one
// process at a time may use a file, which the caller sees to.
func Open(path string) (*Log, error) {
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open memory of masters: %w", err)
	}
	defer f.Close() // the mapping stays
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("%s is no file; remove it", path), err)
	}
	// Every page must be there: a store to a mapping that cannot be backed ends
	// the process.
	if err = f.Truncate(fileSize); err == nil {
		err = unix.Fallocate(int(f.Fd()), 0, 0, fileSize)
	}
	if err != nil {
		return nil, fmt.Errorf("make room for the memory of masters: %w", err)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, fileSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("map memory of masters: %w", err)
	}
	l := &Log{mem: mem, last: map[uint64]Last{}, used: map[uint64]*record{}, base: time.Now()}
	l.at = monotonic()
	l.read(boot)
	clear(mem)
	l.head()[0], l.head()[1] = magic, boot
	return l, nil
}

// monotonic returns the clock of the kernel that neither steps nor depends on the
// process, in nanoseconds.
func monotonic() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // this clock is always there
	return ts.Nano()
}

// bootID returns a number that differs from boot to boot.
func bootID() (uint64, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return 0, fmt.Errorf("tell this boot from others: %w", err)
	}
	h := fnv.New64a()
	h.Write([]byte(strings.TrimSpace(string(b))))
	return h.Sum64(), nil
}

func (l *Log) head() *[2]uint64 { return (*[2]uint64)(unsafe.Pointer(&l.mem[0])) }

// record returns the slot with the number i. The mapping begins at a page, so that
// every word in it is aligned.
func (l *Log) record(i int) *record {
	return (*record)(unsafe.Pointer(&l.mem[headSize+i*slotSize]))
}

func (l *Log) read(boot uint64) {
	if *l.head() != [2]uint64{magic, boot} {
		return
	}
	for i := range slots {
		r := l.record(i)
		key, sent, interval := r.key.Load(), r.sent.Load(), r.interval.Load()
		if key != 0 && sent > 0 && sent <= l.at && interval > 0 {
			l.last[key] = Last{Sent: l.base.Add(time.Duration(sent - l.at)), Interval: time.Duration(interval)}
		}
	}
}

// Take returns what the predecessor of this process has left of a virtual router
// that it was master of when it ended. What happens after that it does not tell of:
// it returns it once.
func (l *Log) Take(k Key) (Last, bool) {
	if l == nil {
		return Last{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	last, ok := l.last[k.hash()]
	delete(l.last, k.hash())
	return last, ok
}

// Slot returns where to note what a virtual router does; nil, which notes nothing,
// if there is no room.
func (l *Log) Slot(k Key) *Slot {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key := k.hash()
	r := l.used[key]
	if r == nil {
		if l.next == slots {
			return nil
		}
		r = l.record(l.next)
		l.next++
		r.key.Store(key)
		l.used[key] = r
	}
	return &Slot{log: l, key: key, record: r}
}

// Slot is where one virtual router is noted. A nil Slot notes nothing.
type Slot struct {
	log    *Log
	key    uint64
	record *record
}

// Sent notes an advertisement as master.
func (s *Slot) Sent(now time.Time, interval time.Duration) {
	if s == nil {
		return
	}
	// A successor that did not get so far has opened the file, too.
	s.record.key.Store(s.key)
	s.record.interval.Store(int64(interval))
	s.record.sent.Store(s.log.at + int64(now.Sub(s.log.base)))
}

// Ended notes that it is not master any more.
func (s *Slot) Ended() {
	if s != nil {
		s.record.sent.Store(0)
	}
}
