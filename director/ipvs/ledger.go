package ipvs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/understudy-ha/understudy/director"
)

var (
	_ director.Ledger[director.ServiceKey] = (*Ledger[director.ServiceKey])(nil)
	_ director.Ledger[director.AddrKey]    = (*Ledger[director.AddrKey])(nil)
)

const (
	ledgerVersion = 1
	ledgerLimit   = 16 << 20 // bytes
)

// Named are the names that a Ledger holds.
type Named interface {
	director.ServiceKey | director.AddrKey
}

// Ledger is a file that names kernel objects, of mode 0600 and replaced as a
// whole. It is not synced: whatever loses it empties the kernel's table too.
// Its place should be emptied at boot, such as a directory under /run.
type Ledger[K Named] struct {
	path string
}

// ledgerFile is its content, as JSON.
type ledgerFile[K Named] struct {
	Version int `json:"version"`
	Keys    []K `json:"keys"`
}

// NewLedger returns a Ledger in the file path, whose directory must exist when
// something is stored.
func NewLedger[K Named](path string) *Ledger[K] { return &Ledger[K]{path: path} }

// Load returns what was last stored; nothing if there is no such file.
func (l *Ledger[K]) Load() ([]K, error) {
	f, err := os.Open(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, ledgerLimit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", l.path, err)
	}
	if len(b) > ledgerLimit {
		return nil, fmt.Errorf("read %s: it is longer than %d bytes", l.path, ledgerLimit)
	}
	keys, err := parseLedger[K](b)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", l.path, err)
	}
	return keys, nil
}

func parseLedger[K Named](b []byte) ([]K, error) {
	var file ledgerFile[K]
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, err
	}
	if file.Version != ledgerVersion {
		return nil, fmt.Errorf("version %d is not %d", file.Version, ledgerVersion)
	}
	for _, k := range file.Keys {
		if !nameable(k) {
			return nil, fmt.Errorf("it names %v, which cannot exist", k)
		}
	}
	return file.Keys, nil
}

// nameable reports whether the kernel can have an object named k.
func nameable[K Named](k K) bool {
	switch k := any(k).(type) {
	case director.ServiceKey:
		return possible(k)
	case director.AddrKey:
		return k.Link != "" && k.Prefix.IsValid()
	}
	return false
}

// Store replaces the file.
func (l *Ledger[K]) Store(keys []K) error {
	b, err := json.Marshal(ledgerFile[K]{Version: ledgerVersion, Keys: keys})
	if err != nil {
		return fmt.Errorf("encode ledger: %w", err)
	}
	// A fixed name, so that being killed here leaves one file and not many.
	f, err := os.OpenFile(l.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), l.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", l.path, err), os.Remove(f.Name()))
	}
	return nil
}
