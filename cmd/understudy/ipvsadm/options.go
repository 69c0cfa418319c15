package ipvsadm

import (
	"slices"
	"strings"
)

// argument says whether an option has one.
type argument uint8

const (
	none argument = iota
	required
	// optional: the rest of a cluster of short options, what follows '=', or the
	// next argument unless that begins with '-'.
	optional
)

// group holds the options of which a command line may have one.
type group uint8

const (
	serviceGroup group = iota + 1
	schedulerGroup
	persistentGroup
	maskGroup
	opsGroup
	flagsGroup
	engineGroup
	serverGroup
	forwardGroup
	weightGroup
	upperGroup
	lowerGroup
	tunTypeGroup
	tunPortGroup
	tunNoSumGroup
	tunSumGroup
	tunRemoteGroup
	connectionGroup
	numericGroup
	statsGroup
	rateGroup
	exactGroup
	thresholdsGroup
	persistentConnGroup
	tunInfoGroup
	unsortedGroup
	timeoutGroup
	daemonGroup
	interfaceGroup
	syncIDGroup
	maxLenGroup
	multicastGroup
	multicastPortGroup
	ttlGroup
	ipv6Group // may be repeated
	sortGroup // may be repeated, goes with every verb, and does nothing
)

// option is one that a command line may have: a verb, or what goes with one.
type option struct {
	long  string
	short byte // 0: none
	arg   argument
	group group // of what is no verb
	verb  Verb
}

// name returns the option as one types it.
func (o *option) name() string {
	if o.short != 0 {
		return "-" + string(rune(o.short))
	}
	return "--" + o.long
}

var options = []option{
	{long: "add-service", short: 'A', verb: AddService},
	{long: "edit-service", short: 'E', verb: EditService},
	{long: "delete-service", short: 'D', verb: DeleteService},
	{long: "clear", short: 'C', verb: Clear},
	{long: "restore", short: 'R', verb: Restore},
	{long: "save", short: 'S', verb: Save},
	{long: "add-server", short: 'a', verb: AddServer},
	{long: "edit-server", short: 'e', verb: EditServer},
	{long: "delete-server", short: 'd', verb: DeleteServer},
	{long: "list", short: 'L', verb: List},
	{short: 'l', verb: List},
	{long: "zero", short: 'Z', verb: Zero},
	{long: "set", verb: SetTimeouts},
	{long: "start-daemon", arg: required, verb: StartDaemon},
	{long: "stop-daemon", arg: required, verb: StopDaemon},
	{long: "help", short: 'h', verb: Help},
	{long: "version", short: 'v', verb: Version},

	{long: "tcp-service", short: 't', arg: required, group: serviceGroup},
	{long: "udp-service", short: 'u', arg: required, group: serviceGroup},
	{long: "sctp-service", arg: required, group: serviceGroup},
	{long: "fwmark-service", short: 'f', arg: required, group: serviceGroup},
	{long: "ipv6", short: '6', group: ipv6Group},
	{long: "scheduler", short: 's', arg: required, group: schedulerGroup},
	{long: "persistent", short: 'p', arg: optional, group: persistentGroup},
	{long: "netmask", short: 'M', arg: required, group: maskGroup},
	{long: "ops", short: 'o', group: opsGroup},
	{long: "sched-flags", short: 'b', arg: required, group: flagsGroup},
	{long: "pe", arg: required, group: engineGroup},

	{long: "real-server", short: 'r', arg: required, group: serverGroup},
	{long: "gatewaying", short: 'g', group: forwardGroup},
	{long: "ipip", short: 'i', group: forwardGroup},
	{long: "masquerading", short: 'm', group: forwardGroup},
	{long: "weight", short: 'w', arg: required, group: weightGroup},
	{long: "u-threshold", short: 'x', arg: required, group: upperGroup},
	{long: "l-threshold", short: 'y', arg: required, group: lowerGroup},
	{long: "tun-type", arg: required, group: tunTypeGroup},
	{long: "tun-port", arg: required, group: tunPortGroup},
	{long: "tun-nocsum", group: tunNoSumGroup},
	{long: "tun-csum", group: tunSumGroup},
	{long: "tun-remcsum", group: tunRemoteGroup},

	{long: "connection", short: 'c', group: connectionGroup},
	{long: "numeric", short: 'n', group: numericGroup},
	{long: "stats", group: statsGroup},
	{long: "rate", group: rateGroup},
	{long: "exact", short: 'X', group: exactGroup},
	{long: "thresholds", group: thresholdsGroup},
	{long: "persistent-conn", group: persistentConnGroup},
	{long: "tun-info", group: tunInfoGroup},
	{long: "nosort", group: unsortedGroup},
	{long: "sort", group: sortGroup},
	{long: "timeout", group: timeoutGroup},
	{long: "daemon", group: daemonGroup},

	{long: "mcast-interface", arg: required, group: interfaceGroup},
	{long: "syncid", arg: required, group: syncIDGroup},
	{long: "sync-maxlen", arg: required, group: maxLenGroup},
	{long: "mcast-group", arg: required, group: multicastGroup},
	{long: "mcast-port", arg: required, group: multicastPortGroup},
	{long: "mcast-ttl", arg: required, group: ttlGroup},
}

// allowed are the options that go with each verb, besides --sort.
var allowed = map[Verb][]group{
	AddService:    {serviceGroup, ipv6Group, schedulerGroup, persistentGroup, maskGroup, opsGroup, flagsGroup, engineGroup},
	EditService:   {serviceGroup, ipv6Group, schedulerGroup, persistentGroup, maskGroup, opsGroup, flagsGroup, engineGroup},
	DeleteService: {serviceGroup, ipv6Group},
	Zero:          {serviceGroup, ipv6Group},
	AddServer: {serviceGroup, ipv6Group, serverGroup, forwardGroup, weightGroup, upperGroup, lowerGroup,
		tunTypeGroup, tunPortGroup, tunNoSumGroup, tunSumGroup, tunRemoteGroup},
	EditServer: {serviceGroup, ipv6Group, serverGroup, forwardGroup, weightGroup, upperGroup, lowerGroup,
		tunTypeGroup, tunPortGroup, tunNoSumGroup, tunSumGroup, tunRemoteGroup},
	DeleteServer: {serviceGroup, ipv6Group, serverGroup},
	Save:         {numericGroup},
	List: {serviceGroup, ipv6Group, connectionGroup, numericGroup, statsGroup, rateGroup, exactGroup, thresholdsGroup,
		persistentConnGroup, tunInfoGroup, unsortedGroup, timeoutGroup, daemonGroup, syncIDGroup},
	StartDaemon: {interfaceGroup, syncIDGroup, maxLenGroup, multicastGroup, multicastPortGroup, ttlGroup},
	StopDaemon:  {syncIDGroup},
}

// excludes are pairs of options of List that do not go together.
var excludes = [][2]group{
	{connectionGroup, serviceGroup}, {timeoutGroup, serviceGroup}, {daemonGroup, serviceGroup},
	{timeoutGroup, connectionGroup}, {daemonGroup, connectionGroup}, {daemonGroup, timeoutGroup},
	{connectionGroup, statsGroup}, {connectionGroup, rateGroup}, {connectionGroup, thresholdsGroup},
	{timeoutGroup, statsGroup}, {timeoutGroup, rateGroup}, {timeoutGroup, thresholdsGroup}, {timeoutGroup, persistentConnGroup},
	{daemonGroup, statsGroup}, {daemonGroup, rateGroup}, {daemonGroup, thresholdsGroup}, {daemonGroup, persistentConnGroup},
}

// findLong returns the option with a long name.
func findLong(name string) *option {
	i := slices.IndexFunc(options, func(o option) bool { return o.long == name && name != "" })
	if i < 0 {
		return nil
	}
	return &options[i]
}

// findShort returns the option with a letter.
func findShort(letter byte) *option {
	i := slices.IndexFunc(options, func(o option) bool { return o.short == letter && letter != 0 })
	if i < 0 {
		return nil
	}
	return &options[i]
}

// completions returns the options whose long names begin with prefix.
func completions(prefix string) []string {
	var names []string
	for _, o := range options {
		if prefix != "" && strings.HasPrefix(o.long, prefix) {
			names = append(names, "--"+o.long)
		}
	}
	return names
}
