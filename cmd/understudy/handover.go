package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/understudy-ha/understudy/configs"
	"github.com/understudy-ha/understudy/vrrp"
)

// handover is what became of a request to hand over.
type handover struct {
	count uint64 // requests so far
	holds bool   // it does not preempt its successor
	given bool   // it has been seen not to be master since
}

// handoverReply is what a request to hand over led to.
type handoverReply struct {
	Routers []handedOver `json:"virtual_routers"`
}

// handedOver is what became of one virtual router.
type handedOver struct {
	Name      string        `json:"name"`
	State     string        `json:"state"`
	Successor string        `json:"successor,omitzero"` // its primary address
	TookNS    time.Duration `json:"took_ns,omitzero"`   // until the successor was heard
}

// forgive lets those preempt again that are master: their successor has failed since.
// The caller holds setting.
func (e *elections) forgive() {
	states := e.status()
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, h := range e.handed {
		master := states[name].State == vrrp.StateMaster
		switch {
		case !h.holds:
		case !master:
			h.given = true
		case h.given:
			h.holds = false
		}
		e.handed[name] = h
	}
}

// named returns the virtual routers that a name stands for: one, those of a group,
// or all for "".
func (e *elections) named(name string) ([]configs.VirtualRouter, error) {
	e.setting.Lock()
	defer e.setting.Unlock()
	var list []configs.VirtualRouter
	for _, r := range e.routers {
		if name == "" || r.Config.Name == name || r.Group != "" && r.Group == name {
			list = append(list, r)
		}
	}
	if len(list) == 0 {
		if name == "" {
			return nil, errors.New("there is no virtual router")
		}
		return nil, fmt.Errorf("%w: there is no virtual router and no group %q", errUnknown, name)
	}
	// The others of a group go with it.
	groups := map[string]bool{}
	for _, r := range list {
		groups[r.Group] = r.Group != ""
	}
	for _, r := range e.routers {
		if groups[r.Group] && !slices.ContainsFunc(list, func(o configs.VirtualRouter) bool { return o.Config.Name == r.Config.Name }) {
			list = append(list, r)
		}
	}
	return list, nil
}

// handOver makes virtual routers that are master give way to another director, and
// returns when each has been succeeded, or goes on because nobody wants it.
func (e *elections) handOver(ctx context.Context, name string) (handoverReply, error) {
	list, err := e.named(name)
	if err != nil {
		return handoverReply{}, err
	}
	states := e.status()
	list = slices.DeleteFunc(list, func(r configs.VirtualRouter) bool { return states[r.Config.Name].State != vrrp.StateMaster })
	if len(list) == 0 {
		return handoverReply{}, errors.New("this director is not master, there is nothing to hand over")
	}
	for _, r := range list {
		if r.Config.Priority == vrrp.PriorityOwner {
			return handoverReply{}, fmt.Errorf("%s owns its addresses (priority 255) and would take them back at once; lower its priority, reload and ask again", r.Config.Name)
		}
	}
	began := time.Now()
	e.request(list, true)
	reply := handoverReply{Routers: []handedOver{}}
	for _, r := range list {
		one, err := e.succeeded(ctx, r.Config.Name, began)
		if err != nil {
			return reply, err
		}
		reply.Routers = append(reply.Routers, one)
	}
	if kept := unwanted(list, reply.Routers); len(kept) > 0 {
		// It must be able to win again what it would not give away.
		e.request(kept, false)
		i := slices.IndexFunc(reply.Routers, func(one handedOver) bool { return one.Successor == "" })
		return reply, fmt.Errorf("nobody has taken over %s, this director goes on as %s; look at the other one", reply.Routers[i].Name, reply.Routers[i].State)
	}
	return reply, nil
}

// unwanted returns those of list that nobody has taken over, with the others of
// their groups.
func unwanted(list []configs.VirtualRouter, results []handedOver) []configs.VirtualRouter {
	var kept []configs.VirtualRouter
	groups := map[string]bool{}
	for i, one := range results {
		if one.Successor == "" {
			kept = append(kept, list[i])
			groups[list[i].Group] = list[i].Group != ""
		}
	}
	for i, one := range results {
		if one.Successor != "" && groups[list[i].Group] {
			kept = append(kept, list[i])
		}
	}
	return kept
}

// request asks virtual routers to hand over, or lets them preempt again.
func (e *elections) request(list []configs.VirtualRouter, away bool) {
	e.mu.Lock()
	for _, r := range list {
		h := e.handed[r.Config.Name]
		h.holds, h.given = away, false
		if away {
			h.count++
		}
		e.handed[r.Config.Name] = h
	}
	e.mu.Unlock()
	e.refresh()
}

// succeeded waits until a virtual router has handed over, or goes on as master.
func (e *elections) succeeded(ctx context.Context, name string, began time.Time) (handedOver, error) {
	// Looking costs what there is to look at. A router leaves for longer than that.
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	asked := false // the router has read the request
	for {
		s, ok := e.status()[name]
		asked = asked || s.Leaving || s.State != vrrp.StateMaster || time.Since(began) > 2*s.Config.Interval+time.Second
		switch {
		case !ok:
			return handedOver{Name: name, State: "gone"}, nil
		case asked && !s.Leaving:
			one := handedOver{Name: name, State: s.State.String()}
			if s.State != vrrp.StateMaster && s.Master.IsValid() {
				one.Successor, one.TookNS = s.Master.String(), max(s.Since.Sub(began), 0)
			}
			return one, nil
		}
		select {
		case <-ctx.Done():
			return handedOver{}, ctx.Err()
		case <-tick.C:
		}
	}
}

// release lets virtual routers preempt again that were handed over.
func (e *elections) release(name string) error {
	list, err := e.named(name)
	if err != nil {
		return err
	}
	e.request(list, false)
	return nil
}

// handedAway reports whether a virtual router does not preempt because it was handed
// over by hand.
func (e *elections) handedAway(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.handed[name].holds
}

// away returns the virtual routers that do not preempt because they were handed over
// by hand.
func (e *elections) away() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var names []string
	for name, h := range e.handed {
		if h.holds {
			names = append(names, name)
		}
	}
	return names
}

// serveHandover carries out POST handoverPath?router=NAME, with release=1 the
// opposite.
func serveHandover(w http.ResponseWriter, r *http.Request, daemon controller) {
	reply, err := daemon.handOverTo(r.Context(), r.FormValue("router"), r.FormValue("release") != "")
	answer(w, reply, err)
}

// handOverTo makes virtual routers give way, or lets them preempt again.
func (d *daemon) handOverTo(ctx context.Context, router string, release bool) (handoverReply, error) {
	if release {
		return handoverReply{Routers: []handedOver{}}, d.elections.release(router)
	}
	d.handOver(ctx) // of connections
	reply, err := d.elections.handOver(ctx, router)
	for _, one := range reply.Routers {
		d.log.Info("handed over by hand", "vrrp", one.Name, "state", one.State, "successor", one.Successor, "took", one.TookNS)
	}
	return reply, err
}

func handoverCommand() *cobra.Command {
	flags := socketFlags{timeout: 100 * time.Second} // the longest interval and skew time, and more
	var release bool
	cmd := &cobra.Command{
		Use:   "handover [NAME]",
		Short: "Give a virtual router, a group or everything to the other director",
		Long: `Give a virtual router, a group or everything to the other director, without losing a packet.

The master says farewell and goes on serving until it hears its successor; the
command returns then. If nobody takes over it stays master and the exit status is
1. Afterwards this director does not preempt the other one, whatever its
priority, until that one fails, or until "understudy handover --release", or a
restart. The other members of a group go with the one that is named.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{}
			if len(args) > 0 {
				query.Set("router", args[0])
			}
			if release {
				query.Set("release", "1")
			}
			body, err := flags.call(cmd.Context(), http.MethodPost, handoverPath+"?"+query.Encode())
			if err != nil {
				return err
			}
			var reply handoverReply
			if err := json.Unmarshal(body, &reply); err != nil {
				return fmt.Errorf("decode the daemon's answer: %w", err)
			}
			writeHandover(cmd.OutOrStdout(), reply)
			return nil
		},
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&release, "release", false, "let it preempt again")
	return cmd
}

func writeHandover(w io.Writer, reply handoverReply) {
	for _, one := range reply.Routers {
		fmt.Fprintf(w, "%s: %s, master is %s after %v\n", one.Name, one.State, one.Successor, one.TookNS.Round(100*time.Microsecond))
	}
}
