package sysctl

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// Table is where settings are read and written. The error of a key that there
// is not is fs.ErrNotExist.
type Table interface {
	Read(key string) (string, error)
	Write(key, value string) error
}

// Kernel is the Table of the kernel: that of the network namespace which the
// calling thread is in.
type Kernel struct{}

// root is where the kernel shows its settings.
const root = "/proc/sys"

// maxRead bounds what is read of one setting, in bytes.
const maxRead = 4096

// Read returns the value of a key on one line.
func (Kernel) Read(key string) (string, error) {
	f, err := open(key, os.O_RDONLY)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", key, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRead))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", key, reason(err))
	}
	return strings.Join(strings.Fields(string(data)), " "), nil
}

// Write sets a key.
func (Kernel) Write(key, value string) error {
	if err := CheckValue(value); err != nil {
		return fmt.Errorf("write %s: %q %w", key, value, err)
	}
	f, err := open(key, os.O_WRONLY)
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	// The kernel takes a setting as one write.
	_, err = f.WriteString(value + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s = %s: %w", key, value, reason(err))
	}
	return nil
}

// open opens the file of a key. Nothing outside root can be reached.
func open(key string, flag int) (*os.File, error) {
	if err := CheckKey(key); err != nil {
		return nil, fmt.Errorf("the name %w", err)
	}
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	f, err := dir.OpenFile(file(key), flag, 0)
	if err != nil {
		return nil, reason(err)
	}
	return f, nil
}

// reason strips the path from a file system error: the message has the key.
func reason(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}
