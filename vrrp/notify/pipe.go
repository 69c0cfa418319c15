package notify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lookAgain is how often a pipe that is full is looked at anew: its reader may
// have put another one in its place.
const lookAgain = time.Second

var errFull = errors.New("the pipe is full; nobody reads it")

// pipe writes a line for each event into a named pipe. It holds both ends of it,
// so that what is written while nobody reads waits in the kernel (64 KiB) for who
// comes, and that the end of a reader ends nothing.
type pipe struct {
	path string
	file *os.File // nil: not open
}

func (p *pipe) send(ctx context.Context, e Event, waiting func(error)) error {
	line := e.line() // shorter than PIPE_BUF: it is written whole, or not at all
	for {
		file, err := p.open()
		if err != nil {
			return err
		}
		err = write(ctx, file, line)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			err = fmt.Errorf("write %s: %w", p.path, errFull)
			if ctx.Err() != nil {
				return err
			}
			waiting(err)
		default:
			p.close()
			return fmt.Errorf("write %s: %w", p.path, err)
		}
	}
}

// write writes a line until ctx ends, or it is time to look again: then the error
// is os.ErrDeadlineExceeded.
func write(ctx context.Context, file *os.File, line []byte) error {
	if err := file.SetWriteDeadline(time.Now().Add(lookAgain)); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = file.SetWriteDeadline(time.Unix(1, 0)) })()
	_, err := file.Write(line)
	return err
}

// open returns the pipe that has the path now.
func (p *pipe) open() (*os.File, error) {
	if p.file != nil {
		if p.current() {
			return p.file, nil
		}
		p.close()
	}
	if err := unix.Mkfifo(p.path, 0o600); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("make pipe %s: %w", p.path, err)
	}
	// What is no pipe is not opened: to open a device may do something.
	if info, err := os.Lstat(p.path); err == nil && info.Mode()&fs.ModeNamedPipe == 0 {
		return nil, notPipe(p.path)
	}
	fd, err := unix.Open(p.path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", p.path, err)
	}
	file := os.NewFile(uintptr(fd), p.path)
	if info, err := file.Stat(); err != nil || info.Mode()&fs.ModeNamedPipe == 0 {
		_ = file.Close()
		return nil, notPipe(p.path)
	}
	p.file = file
	return file, nil
}

// current reports whether the open pipe is still that of the path.
func (p *pipe) current() bool {
	ours, err1 := p.file.Stat()
	named, err2 := os.Lstat(p.path)
	return err1 == nil && err2 == nil && os.SameFile(ours, named)
}

func (p *pipe) close() {
	if p.file != nil {
		_ = p.file.Close()
		p.file = nil
	}
}
