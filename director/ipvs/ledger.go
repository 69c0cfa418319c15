package ipvs

import (
	"encoding/json"
	"fmt"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/statefile"
)

var (
	_ director.Ledger[director.ServiceKey] = (*Ledger[director.ServiceKey])(nil)
	_ director.Ledger[director.AddrKey]    = (*Ledger[director.AddrKey])(nil)
)

const ledgerVersion = 1

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
	b, err := statefile.Read(l.path)
	if b == nil || err != nil {
		return nil, err
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
	for i, k := range file.Keys {
		k = spelled(k)
		file.Keys[i] = k
		if !nameable(k) {
			return nil, fmt.Errorf("it names %v, which cannot exist", k)
		}
	}
	return file.Keys, nil
}

// spelled returns k as List spells it. A ledger may say the family of an address
// that says it by itself; taken as it is, the name would be that of a service
// which no configuration names, and the one in service would be removed.
func spelled[K Named](k K) K {
	if s, ok := any(k).(director.ServiceKey); ok && s.FWMark == 0 {
		s.IPv6 = false
		return any(s).(K)
	}
	return k
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
	return statefile.Replace(l.path, append(b, '\n'), false)
}
