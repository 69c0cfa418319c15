package connsync

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// ProbeService is the virtual service, over UDP, that synthetic connections go
// through. It is in the IPVS table of every director that synchronises, has one
// server on the director itself, and nothing ever leaves the host through it.
// Whoever cleans the table has to leave it alone.
var ProbeService = netip.MustParseAddrPort("127.117.0.1:8849")

var probeServer = netip.MustParseAddrPort("127.0.0.1:8849")

var probeID = genl.ServiceID{Family: familyV4, Protocol: protoUDP, Address: ProbeService.Addr(), Port: ProbeService.Port()}

// probeMessages make the service and its server.
func probeMessages() []genl.Message {
	s := genl.Service{ServiceID: probeID, Scheduler: "rr", Netmask: 0xffffffff}
	return []genl.Message{
		{Op: genl.NewService, Service: s},
		{Op: genl.NewDest, Service: s, Dest: genl.Destination{
			Address: probeServer.Addr(), Port: probeServer.Port(), Method: genl.LocalNode, Weight: 1,
		}},
	}
}

// probeClient draws the client of a synthetic connection: another one each time,
// so that an entry of an earlier one, which the kernel keeps for minutes, is not
// taken for it.
func probeClient() netip.AddrPort {
	a := netip.AddrFrom4([4]byte{127, byte(118 + rand.IntN(100)), byte(rand.IntN(256)), byte(1 + rand.IntN(254))})
	return netip.AddrPortFrom(a, uint16(20000+rand.IntN(40000)))
}

// sysctlDir is where IPVS keeps its settings.
const sysctlDir = "/proc/sys/net/ipv4/vs/"

// Settings are those of the kernel that decide what is synchronised.
type Settings struct {
	Threshold   int // sync_threshold: packets before a connection is told of ...
	Period      int // ... and again every so many
	Refresh     int // sync_refresh_period in seconds; 0: off
	Version     int // sync_version
	PersistMode int // sync_persist_mode: 1 keeps connections with a template to itself
	BackupOnly  int // backup_only
}

// readSettings reads the settings; what the kernel does not have is as it was
// before it had it.
func readSettings() (Settings, error) {
	s := Settings{Version: 1}
	var errs []error
	for _, f := range []struct {
		name string
		to   []*int
	}{
		{"sync_threshold", []*int{&s.Threshold, &s.Period}},
		{"sync_refresh_period", []*int{&s.Refresh}},
		{"sync_version", []*int{&s.Version}},
		{"sync_persist_mode", []*int{&s.PersistMode}},
		{"backup_only", []*int{&s.BackupOnly}},
	} {
		b, err := os.ReadFile(sysctlDir + f.name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		words := strings.Fields(string(b))
		for i, to := range f.to {
			if err == nil && i < len(words) {
				*to, err = strconv.Atoi(words[i])
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("read net.ipv4.vs.%s: %w", f.name, err))
		}
	}
	return s, errors.Join(errs...)
}

// maxPackets bounds the packets of a synthetic connection.
const maxPackets = 200

// packets returns how many make the kernel tell of a connection.
func (s Settings) packets() (int, error) {
	if s.Threshold < 0 || s.Threshold+1 > maxPackets {
		return 0, fmt.Errorf("net.ipv4.vs.sync_threshold is %d packets; a synthetic connection has at most %d", s.Threshold, maxPackets)
	}
	return s.Threshold + 1, nil
}

// sendProbe makes a connection through ProbeService from client, and returns
// when it began.
func sendProbe(ctx context.Context, client netip.AddrPort, packets int) error {
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(client))
	if err != nil {
		return fmt.Errorf("open socket for a synthetic connection (is lo up?): %w", err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for range packets {
		if _, err := c.WriteToUDPAddrPort([]byte("understudy"), ProbeService); err != nil {
			return fmt.Errorf("send on a synthetic connection: %w", err)
		}
	}
	return nil
}

// removeProbe removes the service, which may never have been made.
func (s *Sync) removeProbe() {
	ctx, cancel := context.WithTimeout(context.Background(), keepFor)
	defer cancel()
	k, err := genl.Open()
	if err != nil {
		return // without IPVS there is none
	}
	defer k.Close()
	errs, err := k.Do(ctx, []genl.Message{{Op: genl.DelService, Service: genl.Service{ServiceID: probeID}}})
	for _, e := range errs {
		if e != nil && !errors.Is(e, unix.ESRCH) {
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		s.log.Warn("the service for synthetic connections was not removed", "service", "udp "+ProbeService.String(), "err", err)
	}
}

// ensureProbe makes the service if it is not there. It is there but for the
// first time, and after somebody has cleared the table.
func ensureProbe(ctx context.Context, k *genl.Conn) error {
	errs, err := k.Do(ctx, probeMessages())
	for _, e := range errs {
		if e != nil && !errors.Is(e, unix.EEXIST) {
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		return fmt.Errorf("make the service for synthetic connections, udp %v: %w", ProbeService, err)
	}
	return nil
}
