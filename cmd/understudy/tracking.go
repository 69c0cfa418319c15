package main

import (
	"fmt"
	"io"
	"time"

	"github.com/understudy-ha/understudy/configs"
	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/link"
	"github.com/understudy-ha/understudy/vrrp/track"
)

// newTracker returns what watches the things that virtual routers depend on.
func (d *daemon) newTracker() *track.Tracker {
	return track.New(track.Options{
		Log:  d.log,
		Bell: func() { d.elections.ring() },
		Links: func(name string, f func(exists, up bool)) func() {
			return d.links.Watch(name, func(s link.State) { f(s.Index > 0, s.Up) })
		},
		Quorum: func(service string) (ok, known bool) {
			q := d.director.Quorum(service)
			return q == director.QuorumKept, q != director.QuorumUnknown
		},
	})
}

// tracks returns what each virtual router depends on, by its name.
func tracks(c *configs.Config) map[string][]track.Item {
	all := map[string][]track.Item{}
	for _, r := range c.Routers {
		all[r.Config.Name] = r.Track
	}
	return all
}

// trackStatus is one thing that a virtual router depends on.
type trackStatus struct {
	What   string    `json:"what"`
	State  string    `json:"state"` // "pass", "fail", "unknown"
	Since  time.Time `json:"since,omitzero"`
	Effect string    `json:"effect"` // "fault", or a weight
	Adjust int       `json:"adjust,omitzero"`
	Fault  bool      `json:"fault,omitzero"`
	Reason string    `json:"reason,omitzero"` // what was found
	Note   string    `json:"note,omitzero"`   // what is amiss with the watching
}

func trackReply(r track.Result) []trackStatus {
	var list []trackStatus
	for _, i := range r.Items {
		list = append(list, trackStatus{
			What: i.Item.String(), State: i.State.String(), Since: i.Since, Effect: i.Effect(),
			Adjust: i.Adjust, Fault: i.Fault, Reason: i.Reason, Note: i.Note,
		})
	}
	return list
}

// writeTracks prints what a virtual router depends on.
func writeTracks(w io.Writer, list []trackStatus) {
	for _, t := range list {
		word := t.State
		if t.Adjust != 0 {
			word += fmt.Sprintf(", priority %+d", t.Adjust)
		}
		if t.Reason != "" {
			word += ": " + t.Reason
		}
		if t.Note != "" {
			word += " (" + t.Note + ")"
		}
		fmt.Fprintf(w, "%s tracks %s\t\t\t\t%s\n", mark(t.State == "fail"), t.What, word)
	}
}
