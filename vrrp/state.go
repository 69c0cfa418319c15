package vrrp

import "strconv"

var stateNames = [...]string{
	StateInit:   "init",
	StateBackup: "backup",
	StateMaster: "master",
	StateFault:  "fault",
}

// String returns the name of the state in lower case, as operators and
// scenarios write it.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "state(" + strconv.Itoa(int(s)) + ")"
}

// String returns the version as a decimal number.
func (v Version) String() string { return strconv.Itoa(int(v)) }
