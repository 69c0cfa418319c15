package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director/ipvs/genl"
	"github.com/understudy-ha/understudy/director/oracle"
)

// whichFlags are those of "understudy which".
type whichFlags struct {
	socketFlags
	to    string
	last  []string
	limit time.Duration
	json  bool
}

func whichCommand() *cobra.Command {
	var flags whichFlags
	cmd := &cobra.Command{
		Use:   "which SERVICE CLIENT[:PORT]",
		Short: "Say which real server the kernel would give to a client, and why",
		Long: `Say which real server the kernel's IPVS would give to a client, and why.

SERVICE is the name of a service of the running daemon, or a service as the
kernel knows it: "tcp 192.0.2.200:80", "192.0.2.200:80" (TCP), "udp:192.0.2.200:53",
"fwmark 10"; for those no daemon is needed. CLIENT is an address, with the port
that it sends from where that matters.

The first line is the server alone. It is "none" if the client would be given
none, and "depends" if that cannot be said: the reasons name what is missing.
For both the exit status is 1. Nothing is changed and no packet is sent.`,
		Args: cobra.RangeArgs(2, 4), // the service may be two words, or three
		RunE: func(cmd *cobra.Command, args []string) error {
			service, client := strings.Join(args[:len(args)-1], " "), args[len(args)-1]
			a, err := which(cmd.Context(), &flags, liveKernel{}, service, client)
			if err != nil {
				return err
			}
			if err := writeAnswer(cmd.OutOrStdout(), a, flags.json); err != nil {
				return err
			}
			if a.Verdict != oracle.Given {
				return errSilent
			}
			return nil
		},
	}
	flags.register(cmd)
	cmd.Flags().StringVar(&flags.to, "to", "", "ADDRESS[:PORT] that the client asks for, where the service has many")
	cmd.Flags().StringArrayVar(&flags.last, "last-weight", nil,
		"SERVER=WEIGHT that a server of an mh service had before weight 0 (0: none); may be repeated")
	cmd.Flags().DurationVar(&flags.limit, "read-for", 10*time.Second, "how long to read the kernel's connection table at most")
	cmd.Flags().BoolVar(&flags.json, "json", false, "print JSON")
	return cmd
}

func writeAnswer(w io.Writer, a oracle.Answer, asJSON bool) error {
	if !asJSON {
		_, err := io.WriteString(w, a.Text())
		return err
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(a)
}

// serviceTable is the kernel's table, as far as it is read here.
type serviceTable interface {
	Service(context.Context, genl.ServiceID) (genl.Service, error)
	Services(context.Context) ([]genl.Service, error)
	Destinations(context.Context, genl.ServiceID) ([]genl.Destination, error)
	Close() error
}

// whichKernel is what a question is answered from.
type whichKernel interface {
	table() (serviceTable, error)
	connections() (io.ReadCloser, error)
	settings(scheduler string) (oracle.Kernel, error)
}

// which answers a question from the kernel's table.
func which(ctx context.Context, flags *whichFlags, k whichKernel, service, client string) (oracle.Answer, error) {
	q := oracle.Question{LastWeights: map[netip.AddrPort]int32{}}
	var err error
	if q.Client, err = oracle.ParseClient(client); err != nil {
		return oracle.Answer{}, fmt.Errorf("client: %w", err)
	}
	if flags.to != "" {
		if q.To, err = oracle.ParseClient(flags.to); err != nil {
			return oracle.Answer{}, fmt.Errorf("--to: %w", err)
		}
	}
	for _, text := range flags.last {
		server, weight, _ := strings.Cut(text, "=")
		at, err := netip.ParseAddrPort(server)
		w, werr := strconv.ParseInt(weight, 10, 32)
		if err != nil || werr != nil || w < 0 {
			return oracle.Answer{}, fmt.Errorf("--last-weight: %q is not ADDRESS:PORT=WEIGHT", text)
		}
		q.LastWeights[at] = int32(w)
	}
	id, err := oracle.ParseService(service, q.Client.Addr())
	if errors.Is(err, oracle.ErrName) {
		id, err = flags.named(ctx, service, &q)
	}
	if err != nil {
		return oracle.Answer{}, fmt.Errorf("service: %w", err)
	}
	if err := readTable(ctx, k, id, &q); err != nil {
		return oracle.Answer{}, err
	}
	if q.Kernel, err = k.settings(q.Service.Scheduler); err != nil {
		return oracle.Answer{}, err
	}
	if err := q.Check(); err != nil {
		return oracle.Answer{}, err
	}
	found, err := readConnections(k, q, flags.limit)
	if err != nil {
		return oracle.Answer{}, err
	}
	return oracle.Ask(q, found)
}

// named finds a service by its name with the running daemon.
func (f *whichFlags) named(ctx context.Context, service string, q *oracle.Question) (genl.ServiceID, error) {
	body, err := f.call(ctx, http.MethodGet, statusPath)
	if err != nil {
		return genl.ServiceID{}, fmt.Errorf("%q is neither ADDRESS:PORT nor a fwmark, and which service has that name the daemon cannot be asked: %w", service, err)
	}
	var s statusReply
	if err := json.Unmarshal(body, &s); err != nil {
		return genl.ServiceID{}, fmt.Errorf("decode the daemon's status: %w", err)
	}
	return pickNamed(s.Services, service, q)
}

// pickNamed returns the service of a name; of a group, the one that the client
// can ask for and --to names. Its configured weights go into the question.
func pickNamed(services []serviceStatus, service string, q *oracle.Question) (genl.ServiceID, error) {
	var found []genl.ServiceID
	var keys, names []string
	q.Usual = map[netip.AddrPort]int32{}
	for _, s := range services {
		names = append(names, s.Name)
		if s.Name != service && s.Service != service {
			continue
		}
		id, err := oracle.ParseService(s.Service, netip.IPv4Unspecified())
		if err != nil {
			return id, fmt.Errorf("the daemon calls %q %q: %w", s.Name, s.Service, err)
		}
		keys = append(keys, s.Service)
		if (id.Family == unix.AF_INET6) == q.Client.Addr().Is6() && (id.FWMark != 0 || !q.To.IsValid() || q.To.Addr() == id.Address) {
			found = append(found, id)
		}
		for _, server := range s.Servers {
			if at, err := netip.ParseAddrPort(server.Address); err == nil {
				q.Usual[at] = int32(server.Weight)
			}
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return genl.ServiceID{}, fmt.Errorf("%q is a group; name one of them: %s", service, strings.Join(keys, ", "))
	case len(keys) > 0:
		return genl.ServiceID{}, fmt.Errorf("client %s cannot ask for %q, which is %s", q.Client.Addr(), service, strings.Join(keys, ", "))
	case len(names) == 0:
		return genl.ServiceID{}, errors.New("the daemon has no services")
	}
	const few = 20
	list := slices.Compact(names)
	more := ""
	if len(list) > few {
		more = fmt.Sprintf(" and %d more", len(list)-few)
		list = list[:few]
	}
	return genl.ServiceID{}, fmt.Errorf("the daemon has no service %q; it has %s%s", service, strings.Join(list, ", "), more)
}

// readTable reads the service and its servers.
func readTable(ctx context.Context, k whichKernel, id genl.ServiceID, q *oracle.Question) error {
	t, err := k.table()
	if err != nil {
		return explainTable(err)
	}
	defer t.Close()
	if q.Service, err = t.Service(ctx, id); errors.Is(err, unix.ESRCH) && id.Port != 0 {
		// A service for every port takes what no other one does.
		q.To = netip.AddrPortFrom(id.Address, id.Port)
		id.Port = 0
		q.Service, err = t.Service(ctx, id)
		id.Port = q.To.Port()
	}
	if errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("the kernel has no service %s%s", oracle.Name(id), alike(ctx, t, id))
	}
	if err == nil {
		q.Destinations, err = t.Destinations(ctx, q.Service.ServiceID)
	}
	return explainTable(err)
}

func explainTable(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("read the IPVS table: %w: run this as root, or with CAP_NET_ADMIN", err)
	}
	if err != nil {
		return fmt.Errorf("read the IPVS table: %w", err)
	}
	return nil
}

// alike names the services that may have been meant.
func alike(ctx context.Context, t serviceTable, id genl.ServiceID) string {
	list, err := t.Services(ctx)
	if err != nil {
		return ""
	}
	var names []string
	for _, s := range list {
		if len(names) < 5 && s.Address == id.Address && s.FWMark == id.FWMark {
			names = append(names, oracle.Name(s.ServiceID))
		}
	}
	switch {
	case len(names) > 0:
		return "; it has " + strings.Join(names, ", ")
	case len(list) == 0:
		return ", nor any other in this network namespace"
	}
	return ""
}

// readConnections reads the kernel's connections for no longer than limit: the
// time that it takes to list them grows with the square of their number.
func readConnections(k whichKernel, q oracle.Question, limit time.Duration) (oracle.Found, error) {
	r, err := k.connections()
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		return oracle.Found{Partial: true}, nil
	}
	if err != nil {
		return oracle.Found{}, fmt.Errorf("read the kernel's connections: %w", err)
	}
	defer r.Close()
	found, err := oracle.Scan(&limitedReader{r, time.Now().Add(limit)}, q)
	if err != nil {
		return oracle.Found{}, fmt.Errorf("read the kernel's connections: %w", err)
	}
	return found, nil
}

// limitedReader reads until a time.
type limitedReader struct {
	io.Reader
	until time.Time
}

func (r *limitedReader) Read(b []byte) (int, error) {
	if time.Now().After(r.until) {
		return 0, oracle.ErrEnough
	}
	return r.Reader.Read(b)
}
