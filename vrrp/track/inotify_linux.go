package track

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// fileEvent is what inotify tells of a directory (inotify(7)).
type fileEvent struct {
	watch int32
	mask  uint32
	name  string // of the file in it; empty: the directory itself
}

// inotifyMask is everything after which a file may be another or hold something
// else.
const inotifyMask = unix.IN_CLOSE_WRITE | unix.IN_MODIFY | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM |
	unix.IN_DELETE | unix.IN_ATTRIB | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

type inotify struct {
	fd   int
	file *os.File
	raw  syscall.RawConn
	buf  []byte
}

func newInotify() (*inotify, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open inotify: %w", err)
	}
	file := os.NewFile(uintptr(fd), "inotify")
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open inotify: %w", err), file.Close())
	}
	return &inotify{fd: fd, file: file, raw: raw, buf: make([]byte, 1<<16)}, nil
}

// add watches a directory. For one that is watched it returns the same number.
func (i *inotify) add(dir string) (int32, error) {
	var wd int
	var cause error
	err := i.raw.Control(func(fd uintptr) { wd, cause = unix.InotifyAddWatch(int(fd), dir, inotifyMask) })
	if err := errors.Join(err, cause); err != nil {
		return 0, fmt.Errorf("watch %s: %w", dir, err)
	}
	return int32(wd), nil
}

func (i *inotify) remove(wd int32) {
	// It fails where the directory is gone, and its watch with it.
	_ = i.raw.Control(func(fd uintptr) { _, _ = unix.InotifyRmWatch(int(fd), uint32(wd)) })
}

func (i *inotify) next() ([]fileEvent, error) {
	n, err := i.file.Read(i.buf)
	if err != nil {
		return nil, fmt.Errorf("read inotify: %w", err)
	}
	return parseInotify(i.buf[:n])
}

func (i *inotify) Close() error { return i.file.Close() }

// parseInotify decodes events (struct inotify_event of linux/inotify.h). The error
// is errOverflow where some were lost.
func parseInotify(b []byte) ([]fileEvent, error) {
	var events []fileEvent
	for len(b) >= unix.SizeofInotifyEvent {
		size := uint64(unix.SizeofInotifyEvent) + uint64(binary.NativeEndian.Uint32(b[12:]))
		if size > uint64(len(b)) {
			break
		}
		e := fileEvent{watch: int32(binary.NativeEndian.Uint32(b)), mask: binary.NativeEndian.Uint32(b[4:])}
		name, _, _ := bytes.Cut(b[unix.SizeofInotifyEvent:size], []byte{0})
		e.name = string(name)
		if e.mask&unix.IN_Q_OVERFLOW != 0 {
			return events, errOverflow
		}
		events = append(events, e)
		b = b[size:]
	}
	if len(b) > 0 {
		return events, errOverflow
	}
	return events, nil
}

// fileResync is how often a file is read of whose changes inotify does not tell:
// on the network, or behind a symbolic link.
const fileResync = 5 * time.Second
