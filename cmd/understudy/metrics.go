package main

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/vrrp"
)

// metrics puts a status into Prometheus' words. It asks nobody but current, and
// keeps nothing: each collection is that status. All labels are names of
// the configuration, words of the program, or the peers of conditions, of which the
// status has a bounded number.
type metrics struct {
	current func() *snapshot // nil: there is none yet
}

// describe makes the description of a metric.
func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("understudy_"+name, help, labels, nil)
}

// The labels of a virtual router, a service and a real server.
var (
	ofRouter  = []string{"router", "interface", "vrid"}
	ofService = []string{"service", "virtual_service"}
	ofServer  = append(slices.Clip(ofService), "server")
)

var (
	buildInfo        = describe("build_info", "Version of the daemon; always 1.", "version")
	directorInfo     = describe("director_info", "Name of the director ([director] router_id); always 1.", "router_id")
	startTime        = describe("start_time_seconds", "When the daemon was started, in seconds since the epoch.")
	configLoaded     = describe("config_loaded_timestamp_seconds", "When the running configuration was loaded, in seconds since the epoch.")
	configWarnings   = describe("config_warnings", "Warnings about the running configuration.")
	lastReload       = describe("last_reload_success", "1 unless the last reload was refused, 0 then.")
	snapshotTime     = describe("snapshot_timestamp_seconds", "When the status was taken that all these metrics are from, in seconds since the epoch.")
	snapshotDuration = describe("snapshot_duration_seconds", "How long it took to take the status, in seconds.")
	kernelSettings   = describe("kernel_settings_wrong", "Settings of the kernel that are not as the configuration needs them.")

	vrrpState       = describe("vrrp_state", "1 for the state that the virtual router is in, 0 for the others.", append(slices.Clip(ofRouter), "state")...)
	vrrpSince       = describe("vrrp_state_since_timestamp_seconds", "When the virtual router came into its state, in seconds since the epoch.", ofRouter...)
	vrrpPriority    = describe("vrrp_priority", "Priority of the virtual router after tracking, 1 to 255.", ofRouter...)
	vrrpConfigured  = describe("vrrp_configured_priority", "Priority of the virtual router in the configuration, 1 to 255.", ofRouter...)
	vrrpInterval    = describe("vrrp_advertisement_interval_seconds", "Configured advertisement interval, in seconds.", ofRouter...)
	vrrpLeaving     = describe("vrrp_leaving", "1 while a master that has said farewell serves on until it hears its successor.", ofRouter...)
	vrrpTransitions = describe("vrrp_transitions_total", "Changes of state since the virtual router was added.", ofRouter...)
	vrrpTakeovers   = describe("vrrp_takeovers_total", "How often the virtual router has become master here.", ofRouter...)
	vrrpSent        = describe("vrrp_advertisements_sent_total", "Advertisements that the kernel took; with unicast peers, one for each.", ofRouter...)
	vrrpReceived    = describe("vrrp_advertisements_received_total", "Advertisements with the VRID of the virtual router, those dropped included.", ofRouter...)
	vrrpDrops       = describe("vrrp_drops_total", "Advertisements that were not acted upon, by reason.", append(slices.Clip(ofRouter), "reason")...)
	vrrpSendErrors  = describe("vrrp_send_errors_total", "Advertisements that the kernel refused to send.", ofRouter...)
	vrrpLateTicks   = describe("vrrp_late_ticks_total", "Deadlines that were met later than half an advertisement interval.", ofRouter...)
	vrrpCondition   = describe("vrrp_condition", "1 while something between the virtual router and a peer is not as it should be; no series otherwise.", "condition", "router", "interface", "peer")
	groupState      = describe("group_state", "1 for the state that the group of virtual routers is in, 0 for the others.", "group", "state")

	trackPass = describe("track_pass", "1 if what the virtual router depends on is as it should be, 0 if not; no series while it is unknown.", "router", "track")

	notifyDelivered = describe("notify_delivered_total", "Changes of state that a target was told of.", "target")
	notifyFailed    = describe("notify_failed_total", "Changes of state that a target could not be told of.", "target")
	notifyDropped   = describe("notify_dropped_total", "Changes of state that later ones have overtaken.", "target")
	notifyWaiting   = describe("notify_waiting", "Changes of state that wait for a target.", "target")
	notifyFailing   = describe("notify_failing", "1 if the target could not be told the last time.", "target")

	routingWanted = describe("routing_wanted", "1 if the route or rule of the virtual router is to be in the kernel.", "router", "kind", "object")
	routingHeld   = describe("routing_held", "1 if the route or rule of the virtual router is in the kernel.", "router", "kind", "object")
	addressWanted = describe("address_wanted", "1 if the virtual address is to be on this host.", "router", "interface", "address")
	addressHeld   = describe("address_held", "1 if the virtual address is on this host.", "router", "interface", "address")

	laneChanges  = describe("lane_changes_total", "Changes made to the kernel, by kind of object.", "lane")
	laneRepairs  = describe("lane_repairs_total", "Changes made against what others did to the kernel.", "lane")
	laneFailing  = describe("lane_failing", "1 if the last pass over the kernel's objects had an error; it is repeated.", "lane")
	lanePass     = describe("lane_last_pass_timestamp_seconds", "When the last pass began, in seconds since the epoch.", "lane")
	laneDuration = describe("lane_last_pass_duration_seconds", "How long the last pass took, in seconds.", "lane")

	serviceQuorum  = describe("service_quorum", "1 for the state of the service's quorum, 0 for the others.", append(slices.Clip(ofService), "state")...)
	serviceInTable = describe("service_in_table", "1 if the kernel's IPVS table has the service.", ofService...)

	serverUp         = describe("server_up", "1 if the check of the real server says that it is fit, 0 if not; no series without a check, or before its first verdict.", ofServer...)
	serverInTable    = describe("server_in_table", "1 if the kernel's IPVS table has the real server.", ofServer...)
	serverWeight     = describe("server_weight", "Weight of the real server in the kernel, 0 if it is not there.", ofServer...)
	serverConfigured = describe("server_configured_weight", "Weight of the real server in the configuration.", ofServer...)
	serverDrained    = describe("server_drained", "1 if an operator has drained the real server.", ofServer...)
	serverActive     = describe("server_active_connections", "Connections that the kernel counts as active (ActiveConn of ipvsadm); no series while they cannot be counted.", ofServer...)
	serverInactive   = describe("server_inactive_connections", "Connections that the kernel counts as inactive (InActConn of ipvsadm); no series while they cannot be counted.", ofServer...)
)

// The states of a virtual router and a group, of a quorum, and the reasons for
// dropping an advertisement, as labels.
var (
	states  = words(vrrp.StateInit, vrrp.StateBackup, vrrp.StateMaster, vrrp.StateFault)
	quorums = words(director.QuorumUnknown, director.QuorumKept, director.QuorumLost)
	drops   = func() (list []string) {
		for d := vrrp.DropNone + 1; d < vrrp.NumDrops; d++ {
			list = append(list, d.String())
		}
		return list
	}()
)

func words[T interface{ String() string }](values ...T) []string {
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = v.String()
	}
	return list
}

// Describe promises nothing: which metrics there are depends on the configuration.
func (m *metrics) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics of the current status.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	s := m.current()
	if s == nil {
		return
	}
	w := metricWriter(out)
	w.moment(snapshotTime, s.taken)
	w.gauge(snapshotDuration, s.took.Seconds())
	w.daemon(&s.status)
	for i := range s.status.Routers {
		w.router(&s.status.Routers[i])
	}
	w.conditions(s.status.Conditions)
	w.notified(s.status.Notified)
	for _, g := range s.status.Groups {
		w.oneOf(groupState, states, g.State, g.Name)
	}
	for _, l := range s.status.Lanes {
		w.counter(laneChanges, l.Changes, l.Name)
		w.counter(laneRepairs, l.Repairs, l.Name)
		w.flag(laneFailing, l.Error != "", l.Name)
		w.moment(lanePass, l.LastPass, l.Name)
		w.gauge(laneDuration, l.TookNS.Seconds(), l.Name)
	}
	for i := range s.status.Services {
		w.service(&s.status.Services[i], s.status.Uncounted == "")
	}
}

// metricWriter sends metrics.
type metricWriter chan<- prometheus.Metric

func (w metricWriter) send(d *prometheus.Desc, t prometheus.ValueType, value float64, labels []string) {
	m, err := prometheus.NewConstMetric(d, t, value, labels...)
	if err != nil {
		m = prometheus.NewInvalidMetric(d, err)
	}
	w <- m
}

func (w metricWriter) gauge(d *prometheus.Desc, value float64, labels ...string) {
	w.send(d, prometheus.GaugeValue, value, labels)
}

func (w metricWriter) counter(d *prometheus.Desc, value uint64, labels ...string) {
	w.send(d, prometheus.CounterValue, float64(value), labels)
}

func (w metricWriter) flag(d *prometheus.Desc, value bool, labels ...string) {
	var number float64
	if value {
		number = 1
	}
	w.gauge(d, number, labels...)
}

// moment sends a time, unless it has not come yet.
func (w metricWriter) moment(d *prometheus.Desc, t time.Time, labels ...string) {
	if !t.IsZero() {
		w.gauge(d, float64(t.UnixMilli())/1000, labels...)
	}
}

// oneOf sends a series for each choice: 1 for the one that it is.
func (w metricWriter) oneOf(d *prometheus.Desc, choice []string, is string, labels ...string) {
	for _, c := range choice {
		w.flag(d, c == is, append(slices.Clip(labels), c)...)
	}
}
