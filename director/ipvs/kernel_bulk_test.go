package ipvs_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	moby "github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/directortest"
	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// crowd returns the messages that make a table of services with servers.
func crowd(services, servers int) []genl.Message {
	var messages []genl.Message
	for i := range services {
		s := genl.Service{ServiceID: webID(80), Scheduler: "rr", Netmask: 0xffffffff}
		s.Address = netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		messages = append(messages, genl.Message{Op: genl.NewService, Service: s})
		for j := range servers {
			d := genl.Destination{Address: netip.AddrFrom4([4]byte{10, 2, byte(j >> 8), byte(j)}), Port: 80, Weight: 1, Method: genl.DirectRoute}
			messages = append(messages, genl.Message{Op: genl.NewDest, Service: s, Dest: d})
		}
	}
	return messages
}

// TestKernelManyChanges has a few of 11,000 changes fail, anywhere.
func TestKernelManyChanges(t *testing.T) {
	table, c := needKernel(t), needConn(t)
	var changes []director.Change[director.Key, director.Spec]
	bad := map[director.Key]error{}
	absent := directortest.Service(director.UDP, "10.9.9.9:9")
	for i := range 1000 {
		web := director.ServiceKey{Protocol: director.TCP, Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 80)}
		spec := director.ServiceSpec{Scheduler: "rr"}
		key := director.Key{Service: web}
		lost := i == 517
		if lost {
			spec.Scheduler = "nosuch"
			bad[key] = unix.ENOENT
		}
		changes = append(changes, director.Change[director.Key, director.Spec]{Op: director.Create, Key: key, New: director.Spec{Service: spec}})
		for j := range 10 {
			key.Server = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, byte(i >> 8), byte(i)}), uint16(1000+j))
			change := director.Change[director.Key, director.Spec]{Op: director.Create, Key: key, New: director.Spec{Server: director.ServerSpec{Weight: 1, Forward: director.NAT}}}
			if i%100 == 50 && j == 5 {
				change.Key.Service = absent
			}
			if lost || change.Key.Service == absent {
				bad[change.Key] = unix.ESRCH
			}
			changes = append(changes, change)
		}
	}
	begun := time.Now()
	err := table.Apply(t.Context(), changes)
	t.Logf("%d changes in %v, %d of them failed", len(changes), time.Since(begun).Round(time.Millisecond), len(bad))
	failed := map[director.Key]error{}
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		var c *director.ChangeError[director.Key]
		if !errors.As(e, &c) || !errors.Is(e, bad[c.Key]) {
			t.Fatalf("%v, want %v", e, bad[c.Key])
		}
		failed[c.Key] = c.Err
	}
	if len(failed) != len(bad) || len(bad) != 1+10+10 {
		t.Errorf("%d changes failed, want %d", len(failed), len(bad))
	}
	list, err := table.List(t.Context())
	if err != nil || len(list) != len(changes)-len(bad) {
		t.Errorf("List = %d entries, %v, want %d", len(list), err, len(changes)-len(bad))
	}
	for key := range bad {
		if _, ok := list[key]; ok {
			t.Errorf("%v is there", key)
		}
	}

	// Every one fails: their answers must not be lost.
	var messages []genl.Message
	for i := range 11_000 {
		messages = append(messages, genl.Message{Op: genl.DelDest, Service: genl.Service{ServiceID: webID(uint16(i))},
			Dest: genl.Destination{Address: netip.MustParseAddr("192.0.2.9")}})
	}
	errs, err := c.Do(t.Context(), messages)
	if i := slices.IndexFunc(errs, func(err error) bool { return !errors.Is(err, unix.ESRCH) }); err != nil || len(errs) != len(messages) || i >= 0 {
		t.Errorf("%d errors, %v; number %d is not ESRCH", len(errs), err, i)
	}
}

// TestKernelDeletesWhatNobodyWants finds services that no configuration can name.
func TestKernelDeletesWhatNobodyWants(t *testing.T) {
	table, c := needKernel(t), needConn(t)
	odd := genl.Service{ServiceID: genl.ServiceID{Family: unix.AF_INET6, Protocol: 6, Address: netip.MustParseAddr("::ffff:192.0.2.1"), Port: 80}, Scheduler: "rr", Netmask: 128}
	none := genl.Service{ServiceID: webID(80), Scheduler: "rr", Netmask: 0xffffffff}
	none.Protocol = 0
	done(t, c, genl.Message{Op: genl.NewService, Service: odd}, genl.Message{Op: genl.NewService, Service: none})
	list, err := table.List(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("List = %v, %v, want two services", list, err)
	}
	var changes []director.Change[director.Key, director.Spec]
	for k := range list {
		changes = append(changes, director.Change[director.Key, director.Spec]{Op: director.Delete, Key: k})
	}
	if err := table.Apply(t.Context(), changes); err != nil {
		t.Error(err)
	}
	if list, err := table.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("after their deletion List = %v, %v", list, err)
	}
}

// TestKernelRefusedAddresses shows that an operator reads why.
func TestKernelRefusedAddresses(t *testing.T) {
	table := needKernel(t)
	for service, server := range map[string]string{"192.0.2.1:80": "224.0.0.1:80", "[2001:db8::1]:80": "[fe80::1]:80"} {
		web := directortest.Service(director.TCP, service)
		key := director.Key{Service: web, Server: netip.MustParseAddrPort(server)}
		err := table.Apply(t.Context(), []director.Change[director.Key, director.Spec]{
			{Op: director.Create, Key: director.Key{Service: web}, New: director.Spec{Service: director.ServiceSpec{Scheduler: "rr"}}},
			{Op: director.Create, Key: key, New: director.Spec{Server: director.ServerSpec{Weight: 1, Forward: director.NAT}}},
		})
		if !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), "unicast") {
			t.Errorf("a server at %s: %v", server, err)
		}
	}
}

// TestKernelListing compares the time that listing takes with the older
// library's, in one run.
func TestKernelListing(t *testing.T) {
	table, c := needKernel(t), needConn(t)
	if _, err := table.Timeouts(t.Context()); err != nil {
		t.Fatal(err)
	}
	done(t, c, crowd(1000, 10)...)
	h, err := moby.New("")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var ours, theirs []time.Duration
	for range 5 {
		n, begun := 0, time.Now()
		if err := c.All(t.Context(), func(_ *genl.Service, d []genl.Destination) error { n += len(d); return nil }); err != nil || n != 10_000 {
			t.Fatalf("All = %d servers, %v", n, err)
		}
		ours = append(ours, time.Since(begun))
		n, begun = 0, time.Now()
		services, err := h.GetServices()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range services {
			d, err := h.GetDestinations(s)
			if err != nil {
				t.Fatal(err)
			}
			n += len(d)
		}
		if n != 10_000 {
			t.Fatalf("the library lists %d servers", n)
		}
		theirs = append(theirs, time.Since(begun))
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	t.Logf("1,000 services with 10 servers each: genl %v, the library %v (medians of 5)", ours[2].Round(time.Millisecond), theirs[2].Round(time.Millisecond))
	if ours[2] > theirs[2]/2 {
		t.Errorf("a listing takes %v, and %v with the library", ours[2], theirs[2])
	}
}

// TestKernelLargeService has a dump of many parts.
func TestKernelLargeService(t *testing.T) {
	c := needConn(t)
	const n = 3000
	messages := crowd(1, n)
	done(t, c, messages...)
	list, err := c.Destinations(t.Context(), messages[0].Service.ServiceID)
	if err != nil || len(list) != n {
		t.Fatalf("%d servers, %v, want %d", len(list), err, n)
	}
	seen := map[netip.Addr]bool{}
	for _, d := range list {
		seen[d.Address] = true
	}
	if len(seen) != n {
		t.Errorf("%d different servers, want %d", len(seen), n)
	}
	// Given up amid a dump, the socket is good for the next call.
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, err := c.Destinations(ctx, messages[0].Service.ServiceID)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if s, err := c.Services(t.Context()); err != nil || len(s) != 1 {
			t.Fatalf("Services after a dump was given up: %d, %v", len(s), err)
		}
	}
}

// TestKernelTwoUsers changes the table while it is listed all the time.
func TestKernelTwoUsers(t *testing.T) {
	table, c := needKernel(t), needConn(t)
	done(t, c, crowd(300, 10)...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	listed := make(chan error, 1)
	go func() {
		for {
			list, err := table.List(ctx)
			if ctx.Err() != nil {
				listed <- nil
				return
			}
			if err != nil || len(list) < 300*11 {
				listed <- fmt.Errorf("%d entries: %w", len(list), err)
				return
			}
		}
	}()
	web := directortest.Service(director.TCP, "192.0.2.1:80")
	for i := range 200 {
		change := director.Change[director.Key, director.Spec]{Op: director.Create, Key: director.Key{Service: web}, New: director.Spec{Service: director.ServiceSpec{Scheduler: "rr"}}}
		if i%2 == 1 {
			change.Op = director.Delete
		}
		if err := table.Apply(t.Context(), []director.Change[director.Key, director.Spec]{change}); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-listed; err != nil {
		t.Error(err)
	}
}
