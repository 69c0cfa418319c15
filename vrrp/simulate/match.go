package simulate

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/understudy-ha/understudy/configs"
	"github.com/understudy-ha/understudy/vrrp"
)

// File is the configuration of one director.
type File struct {
	Path   string
	Config *configs.Config
}

// Election is one virtual router, and the directors that have it.
type Election struct {
	Name      string
	VRID      uint8
	IPv6      bool
	Directors []Director // the best first
	Notes     []string   // what is assumed, or not simulated
}

type key struct {
	vrid uint8
	ipv6 bool
}

// Match finds the virtual routers that the files have in common, by VRID and family. It
// is an error if one is not in all files, or if what must be the same is not. A single
// file is given an equal peer of another priority.
func Match(files []File) ([]Election, error) {
	var elections []Election
	var errs []error
	at := map[key]int{}
	for n, f := range files {
		seen := map[key]bool{}
		for _, r := range f.Config.Routers {
			k := key{r.Config.VRID, len(r.Config.Addresses) > 0 && r.Config.Addresses[0].Is6()}
			switch i, ok := at[k]; {
			case seen[k]:
				errs = append(errs, fmt.Errorf("%s has VRID %d twice, on different links, which cannot be matched with the other files", f.Path, k.vrid))
				continue
			case ok:
				errs = append(errs, differ(elections[i], f, r))
			case n == 0:
				at[k] = len(elections)
				elections = append(elections, Election{Name: r.Config.Name, VRID: k.vrid, IPv6: k.ipv6})
			default:
				errs = append(errs, fmt.Errorf("%s has VRID %d (%s), and %s has not", f.Path, k.vrid, r.Config.Name, files[0].Path))
				continue
			}
			seen[k] = true
			elections[at[k]].add(f, r)
		}
		for _, e := range elections {
			if n > 0 && !seen[key{e.VRID, e.IPv6}] {
				errs = append(errs, fmt.Errorf("%s has VRID %d (%s), and %s has not", files[0].Path, e.VRID, e.Name, f.Path))
			}
		}
	}
	if len(elections) == 0 && len(errs) == 0 {
		return nil, fmt.Errorf("%s has no [[vrrp]], there is no election to simulate", files[0].Path)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for i := range elections {
		elections[i].complete()
	}
	return elections, nil
}

// differ returns what keeps r of f from being the virtual router of the first file.
func differ(e Election, f File, r configs.VirtualRouter) error {
	first := e.Directors[0]
	var errs []error
	check := func(what string, a, b any) {
		if a != b {
			errs = append(errs, fmt.Errorf("VRID %d: %s is %v in the file of %s and %v in %s; they must be the same", e.VRID, what, a, first.Name, b, f.Path))
		}
	}
	check("version", first.Config.Version, r.Config.Version)
	check("advert_interval", first.Config.Interval, r.Config.Interval)
	if first.Config.Password != r.Config.Password {
		errs = append(errs, fmt.Errorf("VRID %d: the password in %s is another one than that of %s; they must be the same", e.VRID, f.Path, first.Name))
	}
	if !vrrp.SameAddresses(first.Config.Addresses, r.Config.Addresses) {
		errs = append(errs, fmt.Errorf("VRID %d: the addresses in %s are others than those of %s; they must be the same", e.VRID, f.Path, first.Name))
	}
	return errors.Join(errs...)
}

// add adds a director. Its own address, which decides between equal priorities, is its
// source, or unknown.
func (e *Election) add(f File, r configs.VirtualRouter) {
	c := r.Config
	c.Primary = r.Source
	name := f.Config.RouterID
	if slices.ContainsFunc(e.Directors, func(d Director) bool { return d.Name == name }) {
		name = f.Path
	}
	e.Directors = append(e.Directors, Director{Name: name, Priority: c.Priority, Config: c})
	note := func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); !slices.Contains(e.Notes, text) {
			e.Notes = append(e.Notes, text)
		}
	}
	if r.Group != "" {
		note("it is simulated alone; its group %q changes state when the slowest member would", r.Group)
	}
	if r.PreemptWhenReady {
		note("whoever comes back is taken to be ready to serve at once (preempt_when)")
	}
}

// complete gives a lone director a peer, and sorts.
func (e *Election) complete() {
	if len(e.Directors) == 1 {
		peer := e.Directors[0]
		peer.Name, peer.Assumed, peer.Config.Primary = "peer", true, netip.Addr{}
		what := "lower"
		if peer.Priority > 1 {
			peer.Priority -= min(peer.Priority-1, 50)
		} else {
			peer.Priority, what = 100, "higher"
		}
		peer.Config.Priority = peer.Priority
		e.Directors = append(e.Directors, peer)
		e.Notes = append(e.Notes, fmt.Sprintf("with one file, a peer with the same settings and a %s priority of %d is assumed", what, peer.Priority))
	}
	slices.SortStableFunc(e.Directors, func(a, b Director) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), b.Config.Primary.Compare(a.Config.Primary))
	})
	if a, b := e.Directors[0], e.Directors[1]; a.Priority == b.Priority && a.Config.Primary == b.Config.Primary {
		e.Notes = append(e.Notes, fmt.Sprintf("%s and %s have the same priority, and without source it is not known whose address is the greater: %s is assumed", a.Name, b.Name, a.Name))
	}
}
