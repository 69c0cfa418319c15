package vrrp

import "time"

// SkewTime is how much later than the best router this one takes over, given the
// interval of the master. RFC 9568 section 6.1: ((256 - Priority) *
// Active_Adver_Interval) / 256. RFC 3768 section 6.1: ((256 - Priority) / 256)
// seconds, whatever the interval.
func (c Config) SkewTime(masterInterval time.Duration) time.Duration {
	if c.Version == V2 {
		masterInterval = time.Second
	}
	return (256 - time.Duration(c.Priority)) * masterInterval / 256
}

// MasterDownInterval is how long a backup waits for the next advertisement
// before it takes over. RFC 9568 section 6.1: (3 * Active_Adver_Interval) +
// Skew_Time. RFC 3768 section 6.1: (3 * Advertisement_Interval) + Skew_time.
func (c Config) MasterDownInterval(masterInterval time.Duration) time.Duration {
	return 3*masterInterval + c.SkewTime(masterInterval)
}

// preempts reports Preempt_Mode, which is off while the router is held. RFC 9568
// section 6.1: the router that owns the addresses always preempts, independent of
// the setting of this flag.
func (c Config) preempts() bool {
	return c.Preempt && !c.Hold || c.Priority == PriorityOwner
}

// held reports whether it is only for Hold that a master with that priority is
// left alone.
func (c Config) held(priority uint8) bool {
	return c.Hold && c.Preempt && c.Priority != PriorityOwner && priority < c.Priority
}

// preemptDelay is how long a lower master is left alone. An owner waits for nobody.
func (c Config) preemptDelay() time.Duration {
	if c.Priority == PriorityOwner {
		return 0
	}
	return max(c.PreemptDelay, 0)
}

func (c Config) bounded() Config {
	c.Interval = max(c.Interval, UnitV3)
	return c
}

// screen applies the checks of RFC 9568 section 7.1 and RFC 3768 section 7.1 to
// what Parse cannot judge: whether ev is meant for the virtual router that c
// describes.
func (c Config) screen(ev Received) Drop {
	a := ev.Advert
	switch {
	case a.Version != c.Version:
		return DropVersion
	case a.VRID != c.VRID:
		return DropVRID
	case !sameFamily(ev.Src, c.Primary):
		return DropFamily
	// A packet from our own address tells nothing about anybody else: it is ours,
	// looped back by a switch, or a second router misuses the address.
	case ev.Src == c.Primary:
		return DropOwnAddress
	case a.Interval < UnitV3:
		return DropInterval
	case a.Version == V3 && c.Primary.Is4() && c.Checksum != ChecksumAny && a.Plain != (c.Checksum == ChecksumRFC9568):
		return DropChecksum
	}
	if c.Version != V2 {
		return DropNone
	}
	// RFC 3768 section 5.3.6: "A packet with unknown authentication type or that
	// does not match the locally configured authentication method MUST be discarded."
	if (a.AuthType == AuthSimple) != (c.Password != "") || a.AuthType > AuthSimple {
		return DropAuthType
	}
	if a.Password != c.Password {
		return DropPassword
	}
	// RFC 3768 section 7.1: "MUST verify that the Adver Interval in the packet is
	// the same as the locally configured for this virtual router".
	if a.Interval != c.Interval {
		return DropInterval
	}
	return DropNone
}
