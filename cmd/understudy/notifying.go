package main

import (
	"time"

	"github.com/understudy-ha/understudy/configs"
	"github.com/understudy-ha/understudy/vrrp"
	"github.com/understudy-ha/understudy/vrrp/notify"
	"github.com/understudy-ha/understudy/vrrp/speaker"
)

// hearers returns who is told of what. Every virtual router and group is named,
// heard or not.
func hearers(c *configs.Config) map[notify.Subject][]notify.Target {
	all := map[notify.Subject][]notify.Target{}
	add := func(s notify.Subject, targets []notify.Target) {
		list := make([]notify.Target, len(targets))
		for i, t := range targets {
			t.RouterID = c.RouterID
			list[i] = t
		}
		all[s] = list
	}
	for _, r := range c.Routers {
		add(notify.Subject{Kind: notify.KindRouter, Name: r.Config.Name}, r.Notify)
	}
	for _, g := range c.Groups {
		add(notify.Subject{Kind: notify.KindGroup, Name: g.Name}, g.Notify)
	}
	return all
}

// changed tells of a change of state of a virtual router. It does not block.
func (e *elections) changed(t speaker.Transition) {
	e.notifier.Notify(notify.Event{
		Subject: notify.Subject{Kind: notify.KindRouter, Name: t.Router},
		From:    notify.StateOf(t.From), To: notify.StateOf(t.To), Reason: t.Reason.String(),
		Priority: t.Priority, Interface: t.Link, VRID: t.VRID, At: t.At,
	})
}

// groupChanged returns what tells of a change of state of the group called name.
func (e *elections) groupChanged(name string) func(from, to vrrp.State) {
	return func(from, to vrrp.State) {
		e.notifier.Notify(notify.Event{
			Subject: notify.Subject{Kind: notify.KindGroup, Name: name},
			From:    notify.StateOf(from), To: notify.StateOf(to), Reason: vrrp.ReasonGroup.String(), At: time.Now(),
		})
	}
}
