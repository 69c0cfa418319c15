package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/understudy-ha/understudy/configs"
	"github.com/understudy-ha/understudy/director"
)

// maxWeight is the largest weight of a real server.
const maxWeight = 65535

// orderRequest asks for a change of the order for a server, on the control
// socket. What is not given stays as it is.
type orderRequest struct {
	Service string        `json:"service"`
	Server  string        `json:"server"` // IP:PORT, or an IP that only one server of the service has
	Drain   *bool         `json:"drain,omitempty"`
	LimitNS time.Duration `json:"limit_ns,omitempty"` // of Drain; 0: none
	Weight  *int          `json:"weight,omitempty"`   // -1: the configured one
}

// orderReply is what an order led to.
type orderReply struct {
	Service     string `json:"service"`
	Server      string `json:"server"`
	InTable     bool   `json:"in_table"`
	Weight      int    `json:"weight"`      // in the kernel
	Connections int    `json:"connections"` // that a drain waits for
	Health      string `json:"health"`
}

// errUnknown says that an order names what the configuration does not.
var errUnknown = errors.New("not configured")

// order carries out an orderRequest and returns when the kernel holds what
// follows from it.
func (d *daemon) order(ctx context.Context, q orderRequest) (orderReply, error) {
	config, _, _ := d.running()
	name, err := d.find(config, q)
	if err != nil {
		return orderReply{}, err
	}
	if q.Weight != nil && (*q.Weight < -1 || *q.Weight > maxWeight) {
		return orderReply{}, fmt.Errorf("weight %d is not between 0 and %d", *q.Weight, maxWeight)
	}
	order, err := d.take(q, name)
	if err != nil {
		return orderReply{}, err
	}
	d.log.Info("order taken", "service", name.Service, "server", name.Server.String(),
		"drain", order.Drain, "weighted", order.Weighted, "weight", order.Weight)
	if err := d.director.Attend(ctx, name.Service); err != nil {
		return orderReply{}, fmt.Errorf("the order is kept, but the kernel does not follow yet: %w", err)
	}
	reply := orderReply{Service: name.Service, Server: name.Server.String(), Health: "none"}
	for _, s := range d.director.Status(ctx).Services {
		if s.Name != name.Service {
			continue
		}
		for _, r := range s.Servers {
			if r.Address == name.Server {
				reply.InTable = reply.InTable || r.Held
				reply.Weight = max(reply.Weight, r.Have.Weight)
				reply.Connections += r.Counters.Open(s.Key)
				if r.Checked {
					reply.Health = r.Health.State.String()
				}
			}
		}
	}
	return reply, nil
}

// take keeps an order.
func (d *daemon) take(q orderRequest, name director.ServerName) (director.Order, error) {
	// A process that is to follow has read the orders.
	if !d.replacing.TryRLock() {
		return director.Order{}, errors.New("an upgrade is under way; ask again")
	}
	defer d.replacing.RUnlock()
	if d.replacement != 0 {
		return director.Order{}, fmt.Errorf("%w: %d; ask again", errReplaced, d.replacement)
	}
	now := time.Now()
	return d.orders.Change(name, func(o director.Order) director.Order {
		o.Since = now
		if q.Drain != nil {
			o.Drain, o.Deadline = *q.Drain, time.Time{}
			if o.Drain && q.LimitNS > 0 {
				o.Deadline = now.Add(q.LimitNS)
			}
		}
		if q.Weight != nil {
			o.Weighted, o.Weight = *q.Weight >= 0, max(*q.Weight, 0)
		}
		return o
	})
}

// find returns the name of the server that q means. An order for one that is no
// longer configured can still be undone.
func (d *daemon) find(config *configs.Config, q orderRequest) (director.ServerName, error) {
	addr, port, err := parseServer(q.Server)
	if err != nil {
		return director.ServerName{}, err
	}
	means := func(a netip.AddrPort) bool { return a.Addr() == addr && (port < 0 || int(a.Port()) == port) }
	var found []netip.AddrPort
	var names []string
	known := false
	for _, s := range config.Director.Services {
		names = append(names, s.Name)
		if s.Name != q.Service {
			continue
		}
		known = true
		for _, r := range s.Servers {
			if means(r.Address) {
				found = append(found, r.Address)
			}
		}
	}
	for _, o := range d.orders.List() {
		if o.Service == q.Service && means(o.Server) && !slices.Contains(found, o.Server) {
			known, found = true, append(found, o.Server)
		}
	}
	switch {
	case !known:
		return director.ServerName{}, fmt.Errorf("%w: there is no service %q; the services are %s", errUnknown, q.Service, some(names))
	case len(found) == 0:
		return director.ServerName{}, fmt.Errorf("%w: service %q has no server %s", errUnknown, q.Service, q.Server)
	case len(found) > 1:
		return director.ServerName{}, fmt.Errorf("service %q has %d servers at %s; write the port too", q.Service, len(found), q.Server)
	}
	return director.ServerName{Service: q.Service, Server: found[0]}, nil
}

// some joins names, but not a thousand of them.
func some(names []string) string {
	const limit = 20
	if len(names) > limit {
		return strings.Join(names[:limit], ", ") + fmt.Sprintf(" and %d more", len(names)-limit)
	}
	return strings.Join(names, ", ")
}

// parseServer reads IP:PORT or IP, whose port is -1.
func parseServer(text string) (addr netip.Addr, port int, err error) {
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr(), int(ap.Port()), nil
	}
	addr, err = netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		return addr, 0, fmt.Errorf("%q is no server; write its address as IP:PORT or [IPv6]:PORT", text)
	}
	return addr, -1, nil
}

func drainCommand() *cobra.Command {
	var flags socketFlags
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "drain SERVICE SERVER",
		Short: "Give a real server no new connections, and remove it when it has none left",
		Long: `Give a real server no new connections from now on, and take it out of the table
when its last one has ended, or after --limit. It stays out, over reloads,
restarts and reboots, until "understudy undrain". The command returns when the
kernel has it.

With persistence, clients that the server has served come back to it unless
net.ipv4.vs.expire_quiescent_template is 1.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			drain := true
			if limit < 0 {
				return fmt.Errorf("--limit %v is negative", limit)
			}
			return flags.order(cmd, orderRequest{Service: args[0], Server: args[1], Drain: &drain, LimitNS: limit})
		},
	}
	flags.register(cmd)
	cmd.Flags().DurationVar(&limit, "limit", 0, "remove it after this time, connections or not (default: never)")
	return cmd
}

func undrainCommand() *cobra.Command {
	var flags socketFlags
	cmd := &cobra.Command{
		Use:   "undrain SERVICE SERVER",
		Short: "Let a drained real server serve again",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			drain := false
			return flags.order(cmd, orderRequest{Service: args[0], Server: args[1], Drain: &drain})
		},
	}
	flags.register(cmd)
	return cmd
}

func weightCommand() *cobra.Command {
	var flags socketFlags
	cmd := &cobra.Command{
		Use:   "weight SERVICE SERVER WEIGHT|default",
		Short: "Give a real server another weight than the configured one",
		Long: `Give a real server another weight, 0 to 65535, in place of the configured one and
of what its check says. It holds over reloads, restarts and reboots, until
"understudy weight SERVICE SERVER default".`,
		Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			weight := -1
			if args[2] != "default" {
				n, err := strconv.Atoi(args[2])
				if err != nil || n < 0 || n > maxWeight {
					return fmt.Errorf("%q is no weight; write a number from 0 to %d, or default", args[2], maxWeight)
				}
				weight = n
			}
			return flags.order(cmd, orderRequest{Service: args[0], Server: args[1], Weight: &weight})
		},
	}
	flags.register(cmd)
	return cmd
}

// order sends a request and prints what came of it.
func (f *socketFlags) order(cmd *cobra.Command, q orderRequest) error {
	body, err := json.Marshal(q)
	if err != nil {
		return fmt.Errorf("encode the order: %w", err)
	}
	answer, err := f.send(cmd.Context(), http.MethodPost, orderPath, bytes.NewReader(body))
	if err != nil {
		return err
	}
	var r orderReply
	if err := json.Unmarshal(answer, &r); err != nil {
		return fmt.Errorf("decode the daemon's answer: %w", err)
	}
	fmt.Fprintln(cmd.OutOrStdout(), r)
	return nil
}

// String returns the reply as a line for an operator.
func (r orderReply) String() string {
	at := r.Service + " " + r.Server + ": "
	switch {
	case !r.InTable && r.Health == "down":
		return at + "not in the table (down)"
	case !r.InTable:
		return at + "not in the table"
	case r.Weight == 0 && r.Connections == 1:
		return at + "weight 0, 1 connection open"
	case r.Weight == 0:
		return at + fmt.Sprintf("weight 0, %d connections open", r.Connections)
	}
	return at + fmt.Sprintf("weight %d", r.Weight)
}
