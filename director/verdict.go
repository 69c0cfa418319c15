package director

import (
	"net/netip"
	"time"

	"github.com/understudy-ha/understudy/health"
)

// Verdict is what should become of a real server, and why.
type Verdict struct {
	Intent   Intent
	Reason   Reason
	Weight   int       // with Hold and Keep
	Full     int       // the weight that it has when it is fit
	Deadline time.Time // with Drain: when it goes at the latest; zero: when the service's drain time is over
	ByHand   bool      // with Drain: it may take as long as its connections do
	Unsaid   bool      // with Keep: it is for the check to say the weight, which it has not yet
}

// circumstances are what verdicts on the servers of a service depend on,
// besides its configuration.
type circumstances struct {
	health func(health.Check) health.Status
	order  func(ServerName) Order
}

// judge gives the verdict on a server as such, whatever the others do; fit says
// that it was when it was last judged.
func (c circumstances) judge(service *Service, server *Server, fit bool) Verdict {
	order := c.order(ServerName{Service: service.Name, Server: server.Address})
	if order.Drain {
		return drained(order)
	}
	v := Verdict{Intent: Hold, Reason: ReasonUnchecked}
	var status health.Status
	if server.Check.Type != health.TypeNone {
		status = c.health(server.Check)
		switch status.State {
		case health.Up:
			v.Reason = ReasonUp
		case health.Down:
			v.Intent, v.Reason = Absent, ReasonDown
		default:
			v.Intent, v.Reason = Keep, ReasonUnproved
			v.Unsaid = server.Check.WeightHeader != "" && !order.Weighted
			// Only what another process has left has to prove itself: a reload that
			// changes the check is no reason to doubt a server.
			if service.Policy.Alpha && !fit {
				v.Intent = Absent
			}
		}
	}
	v.Full = status.Weight.Of(server.Spec.Weight)
	if order.Weighted {
		v.Full = order.Weight
	}
	v.Full = min(max(v.Full, 0), maxWeight)
	if v.Intent == Absent && service.Policy.ZeroWhileDown {
		return Verdict{Intent: Hold, Reason: v.Reason, Full: v.Full}
	}
	v.Weight = v.Full
	return v
}

// judgeStray gives the verdict on a server that the configuration does not
// name. An operator who drains it by hand is not overruled by a reload.
func (c circumstances) judgeStray(service *Service, addr netip.AddrPort) Verdict {
	if order := c.order(ServerName{Service: service.Name, Server: addr}); order.Drain {
		return drained(order)
	}
	return Verdict{Intent: Drain, Reason: ReasonDropped}
}

func drained(o Order) Verdict {
	return Verdict{Intent: Drain, Reason: ReasonDrained, ByHand: true, Deadline: o.Deadline}
}

// maxWeight is the largest weight that every scheduler of the kernel and its
// tools agree on.
const maxWeight = 65535

// forSorry gives the verdict on the sorry server of a service.
func forSorry(service *Service, q Quorum) Verdict {
	switch q {
	case QuorumLost:
		return Verdict{Intent: Hold, Reason: ReasonNoQuorum, Weight: service.Policy.Sorry.Spec.Weight}
	case QuorumKept:
		return Verdict{Intent: Drain, Reason: ReasonQuorum}
	}
	return Verdict{Intent: Keep, Reason: ReasonUndecided, Weight: service.Policy.Sorry.Spec.Weight}
}
