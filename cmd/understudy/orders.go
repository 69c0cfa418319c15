package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/statefile"
)

const ordersVersion = 1

// ordersFile keeps the orders of operators in a file of mode 0600, durably: they
// hold until they are undone, over a reboot too.
type ordersFile struct{ path string }

var _ director.OrderStore = ordersFile{}

// ordersContent is the content of an ordersFile, as JSON.
type ordersContent struct {
	Version int                   `json:"version"`
	Orders  []director.NamedOrder `json:"orders"`
}

// newOrdersFile returns the file in the state directory for the daemon of a
// control socket, by the socket's name: it may be in another directory next time.
func newOrdersFile(state, socket string) ordersFile {
	name := filepath.Base(socket)
	return ordersFile{path: filepath.Join(state, strings.TrimSuffix(name, filepath.Ext(name))+".orders")}
}

// lock makes the file that of this process until the returned one is closed: two
// daemons with one would each replace the other's orders by its own. Where
// nothing can be written there is nothing to lock, which Store will tell.
func (f ordersFile) lock() (io.Closer, error) {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
		return io.NopCloser(nil), nil
	}
	lock, err := lockBeside(f.path)
	switch {
	case errors.Is(err, errLocked):
		return nil, fmt.Errorf("another understudy keeps its orders in %s; give this one another directory ([director] state), or a control socket of another name ([director.api] socket)", f.path)
	case err != nil:
		return io.NopCloser(nil), nil
	}
	return lock, nil
}

// Load returns what was last stored; nothing if there is no such file.
func (f ordersFile) Load() ([]director.NamedOrder, error) {
	b, err := statefile.Read(f.path)
	if b == nil && err == nil {
		return nil, nil
	}
	var orders []director.NamedOrder
	if err == nil {
		if orders, err = parseOrders(b); err == nil {
			return orders, nil
		}
		err = fmt.Errorf("parse %s: %w", f.path, err)
	}
	// Kept for whoever wants to know what was in it: the next order replaces
	// the file.
	return nil, errors.Join(err, os.Rename(f.path, f.damaged()))
}

// damaged is where a file goes that cannot be read.
func (f ordersFile) damaged() string { return f.path + ".damaged" }

// lost says what to do about orders that could not be read, at this start or an
// earlier one, until somebody has seen to them; empty if there are none.
func (f ordersFile) lost() string {
	if _, err := os.Lstat(f.damaged()); err != nil {
		return ""
	}
	return fmt.Sprintf("the orders in %s could not be read and do not hold; give them again, and remove that file", f.damaged())
}

func parseOrders(b []byte) ([]director.NamedOrder, error) {
	var content ordersContent
	if err := json.Unmarshal(b, &content); err != nil {
		return nil, err
	}
	if content.Version != ordersVersion {
		return nil, fmt.Errorf("version %d is not %d", content.Version, ordersVersion)
	}
	for _, o := range content.Orders {
		if o.Service == "" || !o.Server.IsValid() || o.Weight < 0 || o.Weight > maxWeight {
			return nil, fmt.Errorf("there is no order like %+v", o)
		}
	}
	return content.Orders, nil
}

// Store replaces the file, and returns when it would survive a power cut.
func (f ordersFile) Store(orders []director.NamedOrder) error {
	b, err := json.MarshalIndent(ordersContent{Version: ordersVersion, Orders: orders}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode orders: %w", err)
	}
	if err = os.MkdirAll(filepath.Dir(f.path), 0o755); err == nil {
		err = statefile.Replace(f.path, append(b, '\n'), true)
	}
	if err != nil {
		return fmt.Errorf("%w; or choose another directory with [director] state", err)
	}
	return nil
}
