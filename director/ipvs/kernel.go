package ipvs

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// kernel is the part of *genl.Conn that a Table uses, by one goroutine at a
// time.
type kernel interface {
	All(ctx context.Context, f func(*genl.Service, []genl.Destination) error) error
	Destinations(ctx context.Context, id genl.ServiceID) ([]genl.Destination, error)
	Do(ctx context.Context, messages []genl.Message) ([]error, error)
	Family() uint16
	Close() error
}

// system is how a Table reaches the kernel.
type system struct {
	open func() (kernel, error) // or ErrMissing
	// modprobe loads ip_vs.
	modprobe func(ctx context.Context) error
}

func linux() system {
	return system{
		open: func() (kernel, error) {
			c, err := genl.Open()
			if err != nil {
				return nil, err
			}
			return c, nil
		},
		modprobe: modprobe,
	}
}

// modprobe runs modprobe ip_vs; without such a program it does nothing.
func modprobe(ctx context.Context) error {
	path, err := exec.LookPath("modprobe")
	if err != nil {
		// A service's PATH may lack the directory it is in.
		if path, err = exec.LookPath("/sbin/modprobe"); err != nil {
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, genl.Patience/2)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "ip_vs")
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out[:min(len(out), 500)])))
	}
	return nil
}

var (
	// ErrMissing says that the kernel has no IPVS.
	ErrMissing = genl.ErrMissing
	// ErrReloaded says that IPVS is being unloaded and loaded again.
	ErrReloaded = genl.ErrReloaded
	// ErrNoAnswer says that the kernel did not answer in time.
	ErrNoAnswer = genl.ErrNoAnswer
	// ErrClosed says that the Table was closed.
	ErrClosed = errors.New("the table is closed")
)

// explain adds what to do about an error of the kernel.
func explain(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w (IPVS needs CAP_NET_ADMIN)", err)
	}
	return err
}
