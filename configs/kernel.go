package configs

import "github.com/understudy-ha/understudy/director/sysctl"

// Kernel returns what decides on the settings of the kernel.
func (c *Config) Kernel() sysctl.Config {
	k := sysctl.Config{Director: c.Director, Set: c.Sysctl.Set, Values: c.Sysctl.Values}
	switch {
	case c.Sync == nil:
	case c.Sync.Follow == "":
		k.Sync = sysctl.SyncBoth
	default:
		k.Sync = sysctl.SyncFollow
	}
	return k
}
