package main

import "time"

// statusReply is the daemon's account of itself, as JSON on the control socket.
// Times are RFC 3339, durations nanoseconds where the name ends in _ns. Fields
// are added, never renamed.
type statusReply struct {
	RouterID string         `json:"router_id"`
	Version  string         `json:"version"`
	PID      int            `json:"pid"`
	Config   string         `json:"config"`
	AsOf     time.Time      `json:"as_of"`
	Started  time.Time      `json:"started"`
	Loaded   time.Time      `json:"loaded"`                // when the running configuration was loaded
	Refused  string         `json:"last_refused,omitzero"` // why the last reload was refused, if it was
	Warnings []string       `json:"warnings,omitempty"`    // of the running configuration
	Routers  []routerStatus `json:"virtual_routers"`
	Groups   []groupStatus  `json:"groups,omitempty"`

	Notified   []notifiedStatus  `json:"notified,omitempty"`
	Conditions []conditionStatus `json:"conditions,omitempty"` // what is not as it should be between the directors

	Services []serviceStatus `json:"services"`
	Lanes    []laneStatus    `json:"lanes"`
	// Uncounted says why there are no numbers of connections; those below are 0 then.
	Uncounted string `json:"connections_error,omitzero"`
	Unheard   string `json:"listen_error,omitzero"` // why there are no metrics at [director.api] listen

	Sysctl   []sysctlStatus `json:"sysctl,omitempty"`        // settings of the kernel that are not as they should be
	Timeouts string         `json:"timeouts_error,omitzero"` // why the timeouts of connections are not as configured
	Orders   []orderStatus  `json:"orders_unused,omitempty"` // by hand, for servers that are not configured
	Lost     string         `json:"orders_lost,omitzero"`    // what became of orders by hand that could not be read

	Exclusive bool `json:"exclusive,omitzero"` // the whole IPVS table is the daemon's, not only its services
}

// orderStatus is an order of an operator that concerns nobody now.
type orderStatus struct {
	Service string    `json:"service"`
	Server  string    `json:"server"`
	Since   time.Time `json:"since"`
}

// routerStatus is one virtual router.
type routerStatus struct {
	Name           string            `json:"name"`
	Interface      string            `json:"interface"`
	VRID           uint8             `json:"vrid"`
	Version        uint8             `json:"version"`
	Priority       uint8             `json:"priority"`           // configured
	Effective      uint8             `json:"effective_priority"` // with what tracking adds
	Tracks         []trackStatus     `json:"tracks,omitempty"`
	IntervalNS     time.Duration     `json:"advert_interval_ns"`
	State          string            `json:"state"`
	Since          time.Time         `json:"since,omitzero"`
	Reason         string            `json:"reason"`
	Leaving        bool              `json:"leaving,omitzero"` // has said farewell and serves until it hears its successor
	Group          string            `json:"group,omitzero"`
	Master         string            `json:"master,omitzero"` // primary address of the current master
	MasterPriority uint8             `json:"master_priority,omitzero"`
	PreemptHeld    string            `json:"preempt_held,omitzero"` // why this director does not preempt although it would
	Transitions    uint64            `json:"transitions"`
	Takeovers      uint64            `json:"takeovers"`
	Addresses      []addressStatus   `json:"addresses"`
	Routes         []routingStatus   `json:"routes,omitempty"`
	Rules          []routingStatus   `json:"rules,omitempty"`
	Sent           uint64            `json:"advertisements_sent"`
	Received       uint64            `json:"advertisements_received"`
	SendErrors     uint64            `json:"send_errors"`     // advertisements that the kernel refused
	LateTicks      uint64            `json:"late_ticks"`      // deadlines met later than half an interval
	Drops          map[string]uint64 `json:"drops,omitempty"` // by reason
}

// conditionStatus is something between a virtual router here and another host that
// is not as it should be.
type conditionStatus struct {
	Condition string    `json:"condition"`
	Router    string    `json:"virtual_router"`
	Interface string    `json:"interface"`
	Peer      string    `json:"peer"` // its address, or the hardware address of whoever has one of ours
	Detail    string    `json:"detail"`
	Since     time.Time `json:"since"`
	Last      time.Time `json:"last"`
	Count     uint64    `json:"count"` // how often it was shown
}

// notifiedStatus is one who is told of changes of state.
type notifiedStatus struct {
	Target    string    `json:"target"` // a program, a path, or scheme and host of a URL
	Waiting   int       `json:"waiting"`
	Delivered uint64    `json:"delivered"`
	Failed    uint64    `json:"failed"`
	Dropped   uint64    `json:"dropped"` // overtaken by later ones
	Failing   bool      `json:"failing,omitzero"`
	LastError string    `json:"last_error,omitzero"`
	LastAt    time.Time `json:"last_at,omitzero"`
}

// groupStatus is one group of virtual routers.
type groupStatus struct {
	Name    string   `json:"name"`
	State   string   `json:"state"`
	Members []string `json:"virtual_routers"`
}

// addressStatus is one virtual IP address.
type addressStatus struct {
	Address string `json:"address"`
	Wanted  bool   `json:"wanted"`
	Held    bool   `json:"held"`
	Error   string `json:"error,omitzero"`
}

// routingStatus is one route or rule of a virtual router.
type routingStatus struct {
	Text   string `json:"text"` // as ip-route(8) and ip-rule(8) show it
	Wanted bool   `json:"wanted"`
	Held   bool   `json:"held"`
	Error  string `json:"error,omitzero"`
}

// serviceStatus is one virtual service.
type serviceStatus struct {
	Name          string         `json:"name"`
	Service       string         `json:"service"` // "tcp 192.0.2.1:80", "fwmark 10"
	Scheduler     string         `json:"scheduler"`
	PersistenceNS time.Duration  `json:"persistence_ns,omitzero"`
	InTable       bool           `json:"in_table"`
	Quorum        string         `json:"quorum"` // "kept", "lost", "unknown"
	Error         string         `json:"error,omitzero"`
	Servers       []serverStatus `json:"servers"`
}

// serverStatus is one real server of a service.
type serverStatus struct {
	Address   string    `json:"address"`
	Forward   string    `json:"forward"`
	Weight    int       `json:"weight"`                // configured
	Effective int       `json:"effective_weight"`      // in the kernel
	Intent    string    `json:"intent"`                // "hold", "keep", "drain", "absent"
	Reason    string    `json:"reason"`                // for the intent
	Sorry     bool      `json:"sorry,omitzero"`        // serves while there is no quorum
	Drained   bool      `json:"drained,omitzero"`      // by hand
	Ordered   *int      `json:"weight_order,omitzero"` // by hand, in place of the weight
	OrderedAt time.Time `json:"ordered_at,omitzero"`
	Draining  time.Time `json:"draining_since,omitzero"`
	Growing   time.Time `json:"slow_start_since,omitzero"`
	InTable   bool      `json:"in_table"`
	Health    string    `json:"health"` // "unknown", "up", "down"; "none" without a check
	Since     time.Time `json:"since,omitzero"`
	LastError string    `json:"last_error,omitzero"`
	Active    int       `json:"active_connections"`
	Inactive  int       `json:"inactive_connections"`
	Error     string    `json:"error,omitzero"` // of programming the kernel
}

// laneStatus is one kind of kernel object: "addresses" or "ipvs".
type laneStatus struct {
	Name     string        `json:"name"`
	LastPass time.Time     `json:"last_pass,omitzero"`
	TookNS   time.Duration `json:"took_ns"`
	Changes  uint64        `json:"changes"` // made to the kernel since start
	Repairs  uint64        `json:"repairs"` // changes made against what others did to the kernel
	Error    string        `json:"error,omitzero"`
}
