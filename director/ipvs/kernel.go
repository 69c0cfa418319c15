package ipvs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/moby/ipvs"
	"github.com/sirupsen/logrus"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// kernel is the part of *ipvs.Handle that is used, by one goroutine at a time
// but for Close.
type kernel interface {
	GetServices() ([]*ipvs.Service, error)
	GetDestinations(*ipvs.Service) ([]*ipvs.Destination, error)
	NewService(*ipvs.Service) error
	UpdateService(*ipvs.Service) error
	DelService(*ipvs.Service) error
	NewDestination(*ipvs.Service, *ipvs.Destination) error
	UpdateDestination(*ipvs.Service, *ipvs.Destination) error
	DelDestination(*ipvs.Service, *ipvs.Destination) error
	Close()
}

// familyName is IPVS_GENL_NAME.
const familyName = "IPVS"

// system is how a Table reaches the kernel.
type system struct {
	// family returns the number of the generic netlink family, or ENOENT.
	family func() (uint16, error)
	// modprobe loads ip_vs.
	modprobe func(ctx context.Context) error
	open     func() (kernel, error)
	// adopt is told the number of the family after open and before calls.
	adopt func(id uint16)
}

func linux() system {
	return system{
		family: func() (uint16, error) {
			f, err := netlink.GenlFamilyGet(familyName)
			if err != nil {
				return 0, err
			}
			return f.ID, nil
		},
		modprobe: modprobe,
		adopt:    adopt,
		open: func() (kernel, error) {
			logrus.SetOutput(io.Discard)
			h, err := ipvs.New("")
			if err != nil {
				return nil, fmt.Errorf("open netlink: %w", err)
			}
			return h, nil
		},
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
	ctx, cancel := context.WithTimeout(ctx, patience/2)
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
	ErrMissing = errors.New(`the kernel has no IPVS: load it with "modprobe ip_vs" (in a container: on its host; a kernel built without CONFIG_IP_VS cannot balance)`)
	// ErrReloaded says that IPVS is being unloaded and loaded again.
	ErrReloaded = errors.New("the ip_vs module was unloaded and loaded again just now")
	// ErrNoAnswer says that the kernel did not answer in time.
	ErrNoAnswer = errors.New("the kernel did not answer in time")
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
