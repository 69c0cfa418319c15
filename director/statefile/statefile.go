// Package statefile keeps small files that a director writes for itself: read
// with a bound, replaced wholly or not at all.
package statefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Limit bounds a file, in bytes.
const Limit = 16 << 20

// Read returns the content of a file; nil if there is no such file.
func Read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, Limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(b) > Limit {
		return nil, fmt.Errorf("read %s: it is longer than %d bytes", path, Limit)
	}
	return b, nil
}

// Replace makes b the content of a file of mode 0600, whose directory must
// exist. Durably: it returns when the file would survive a power cut.
func Replace(path string, b []byte, durably bool) error {
	// A fixed name, so that being killed here leaves one file and not many.
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if durably {
		err = errors.Join(err, f.Sync())
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	if !durably {
		return nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
