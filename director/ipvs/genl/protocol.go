package genl

// From linux/ip_vs.h. The commands that change something are the values of Op.
const (
	familyName    = "IPVS" // IPVS_GENL_NAME
	familyVersion = 1      // IPVS_GENL_VERSION

	getService = 4
	getDest    = 8
	getDaemon  = 11
	getConfig  = 13
	getInfo    = 15

	// IPVS_CMD_ATTR_*
	cmdService    = 1
	cmdDest       = 2
	cmdDaemon     = 3
	cmdTimeoutTCP = 4
	cmdTimeoutFin = 5
	cmdTimeoutUDP = 6

	// IPVS_SVC_ATTR_*
	svcFamily    = 1
	svcProtocol  = 2
	svcAddress   = 3
	svcPort      = 4
	svcFWMark    = 5
	svcScheduler = 6
	svcFlags     = 7
	svcTimeout   = 8
	svcNetmask   = 9
	svcStats     = 10
	svcEngine    = 11
	svcStats64   = 12

	// IPVS_DEST_ATTR_*
	destAddress    = 1
	destPort       = 2
	destMethod     = 3
	destWeight     = 4
	destUpper      = 5
	destLower      = 6
	destActive     = 7
	destInactive   = 8
	destPersistent = 9
	destStats      = 10
	destFamily     = 11 // since Linux 3.18
	destStats64    = 12
	destTunType    = 13 // since Linux 5.3
	destTunPort    = 14
	destTunFlags   = 15

	// IPVS_DAEMON_ATTR_*
	daemonState     = 1
	daemonInterface = 2
	daemonID        = 3
	daemonMaxLen    = 4 // this and what follows: since Linux 4.3
	daemonGroup     = 5
	daemonGroup6    = 6
	daemonPort      = 7
	daemonTTL       = 8

	// IPVS_STATS_ATTR_*, of both widths, are 1 to 10 in the order of the
	// fields of Stats.
	statsCount = 10

	// IPVS_INFO_ATTR_*
	infoVersion  = 1
	infoConnSize = 2

	methodMask = 7 // IP_VS_CONN_F_FWD_MASK

	schedulerLimit = 16 // bytes with the final zero: IP_VS_SCHEDNAME_MAXLEN
	engineLimit    = 16 // IP_VS_PENAME_MAXLEN
	interfaceLimit = 16 // IP_VS_IFNAME_MAXLEN
)
