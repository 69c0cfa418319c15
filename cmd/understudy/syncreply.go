package main

import (
	"time"

	"github.com/understudy-ha/understudy/director/connsync"
	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

// syncReply is how the connections of the directors are synchronised, as JSON on
// the control socket. Times are RFC 3339, durations nanoseconds where the name
// ends in _ns. Fields are added, never renamed.
type syncReply struct {
	RouterID  string    `json:"router_id"`
	AsOf      time.Time `json:"as_of"`
	Enabled   bool      `json:"enabled"` // there is a [director.sync]; without it only ready and reason are there
	Ready     bool      `json:"ready"`   // to take over from a director that serves well
	Reason    string    `json:"ready_reason"`
	Interface string    `json:"interface,omitzero"`
	ID        uint8     `json:"id"`
	Group     string    `json:"group,omitzero"`
	Port      uint16    `json:"port,omitzero"`
	Follow    string    `json:"follow,omitzero"`

	Daemons   []syncDaemon      `json:"daemons"`
	Repairs   uint64            `json:"repairs"` // daemons of the kernel started or stopped since the start
	Entries   syncEntries       `json:"entries"`
	Counted   time.Time         `json:"entries_counted,omitzero"`
	CountNS   time.Duration     `json:"count_took_ns"`
	Peers     []syncPeer        `json:"peers"`
	Fetched   *syncResync       `json:"fetched,omitempty"` // the last resync from a peer
	Served    *syncResync       `json:"served,omitempty"`  // the last one to a peer
	OneWay    uint64            `json:"one_way"`           // messages of directors that do not hear us
	Drops     map[string]uint64 `json:"drops,omitempty"`   // messages of directors, by reason
	Threshold int               `json:"sync_threshold"`
	Period    int               `json:"sync_period"`
	Refresh   int               `json:"sync_refresh_period"`
	Advice    []string          `json:"advice,omitempty"`
}

// syncDaemon is a synchronisation daemon of the kernel.
type syncDaemon struct {
	State     string `json:"state"` // "master" sends, "backup" receives
	Interface string `json:"interface"`
	ID        uint8  `json:"id"`
	MaxLen    uint16 `json:"maxlen"`
	Group     string `json:"group"`
	Port      uint16 `json:"port"`
	TTL       uint8  `json:"ttl"`
}

// syncEntries are connections in a kernel's table.
type syncEntries struct {
	Total   uint32 `json:"total"`
	Own     uint32 `json:"own"`
	Synced  uint32 `json:"synced"`  // learnt from a peer
	Lasting uint32 `json:"lasting"` // established or templates, by which tables are compared
}

// syncPeer is another director.
type syncPeer struct {
	RouterID  string        `json:"router_id"`
	Address   string        `json:"address"`
	Alive     bool          `json:"alive"`
	HearsUs   bool          `json:"hears_us"`
	Heard     time.Time     `json:"heard"`
	Master    bool          `json:"master"`
	Sending   bool          `json:"sending"`
	Receiving bool          `json:"receiving"`
	Ready     bool          `json:"ready"`
	ID        uint8         `json:"id"`
	Entries   syncEntries   `json:"entries"`
	Probed    time.Time     `json:"probed,omitzero"` // when our last synthetic connection that it has was made
	LagNS     time.Duration `json:"lag_ns,omitzero"` // from then until its kernel had it
	Missed    int           `json:"missed"`          // synthetic connections since, that did not arrive
}

// syncResync is a transfer of all connections.
type syncResync struct {
	Peer    string    `json:"peer"`
	State   string    `json:"state"`
	Began   time.Time `json:"began,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
	Sent    uint32    `json:"sent"`
	Omitted uint32    `json:"omitted"`
}

// syncProbeReply is what became of a synthetic connection.
type syncProbeReply struct {
	Peers []syncProbe `json:"peers"`
}

type syncProbe struct {
	RouterID string        `json:"router_id"`
	Arrived  bool          `json:"arrived"`
	LagNS    time.Duration `json:"lag_ns"` // so long it took, or has been waited for
}

// newSyncReply puts a status into words.
func newSyncReply(routerID string, s connsync.Status) syncReply {
	out := syncReply{
		RouterID: routerID, AsOf: s.AsOf, Enabled: s.Enabled, Ready: s.Ready, Reason: s.Reason.String(),
		Daemons: []syncDaemon{}, Peers: []syncPeer{}, Advice: s.Advice(),
		Threshold: s.Settings.Threshold, Period: s.Settings.Period, Refresh: s.Settings.Refresh,
	}
	if !s.Enabled {
		return out
	}
	c := s.Config
	out.Interface, out.ID, out.Group, out.Port, out.Follow = c.Interface, c.ID, c.Group.String(), c.Port, c.Follow
	for _, d := range s.Daemons {
		state := "backup"
		if d.State == genl.DaemonMaster {
			state = "master"
		}
		out.Daemons = append(out.Daemons, syncDaemon{State: state, Interface: d.Interface, ID: d.ID, MaxLen: d.MaxLen, Group: d.Group.String(), Port: d.Port, TTL: d.TTL})
	}
	out.Repairs, out.Entries, out.Counted, out.CountNS = s.Repairs, newSyncEntries(s.Counts), s.CountedAt, s.CountTook
	for _, p := range s.Peers {
		out.Peers = append(out.Peers, syncPeer{
			RouterID: p.Name, Address: p.Address.String(), Alive: p.Alive, HearsUs: p.Confirmed, Heard: p.Heard,
			Master: p.Flags&connsync.FlagMaster != 0, Sending: p.Flags&connsync.FlagSending != 0,
			Receiving: p.Flags&connsync.FlagReceiving != 0, Ready: p.Flags&connsync.FlagReady != 0,
			ID: p.ID, Entries: newSyncEntries(p.Counts), Probed: p.Probe.At, LagNS: p.Probe.Lag, Missed: p.Missed,
		})
	}
	if f := s.Fetched; f.State != connsync.ResyncNone {
		out.Fetched = &syncResync{Peer: f.Peer, State: f.State.String(), Began: f.Began, Ended: f.Ended, Sent: f.Sent, Omitted: f.Omitted}
	}
	if v := s.Served; v.Peer != "" {
		state := "failed"
		switch {
		case v.Running:
			state = "running"
		case v.Done:
			state = "done"
		}
		out.Served = &syncResync{Peer: v.Peer, State: state, Began: v.Began, Ended: v.Ended, Sent: v.Sent, Omitted: v.Omitted}
	}
	out.OneWay = s.OneWay
	for i, n := range s.Drops {
		if n > 0 {
			if out.Drops == nil {
				out.Drops = map[string]uint64{}
			}
			out.Drops[connsync.Drop(i).String()] = n
		}
	}
	return out
}

func newSyncEntries(c connsync.Counts) syncEntries {
	return syncEntries{Total: c.Total, Own: c.Total - min(c.Synced, c.Total), Synced: c.Synced, Lasting: c.Lasting}
}
