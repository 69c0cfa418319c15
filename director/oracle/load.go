package oracle

// The schedulers that go by load walk the servers in the table's order and
// leave the first one only for a better one.

// leastLoaded returns the available server with the lowest load for its weight
// (if weighted), or -1.
func leastLoaded(servers []server, weighted bool, load func(server) int64) int {
	best := -1
	for i, s := range servers {
		if !s.available() {
			continue
		}
		if best < 0 {
			best = i
			continue
		}
		have, new := load(servers[best]), load(s)
		if weighted {
			have, new = have*int64(s.Weight), new*int64(servers[best].Weight)
		}
		if new < have {
			best = i
		}
	}
	return best
}

// overhead is the load of lc and wlc: an active connection counts as 256
// inactive ones.
func overhead(s server) int64 { return int64(s.Active)<<8 + int64(s.Inactive) }

// expected is the load of sed and nq: with the connection that is coming.
func expected(s server) int64 { return int64(s.Active) + 1 }

// neverQueue is nq: the first idle server, or the choice of sed.
func neverQueue(servers []server) int {
	for i, s := range servers {
		if s.available() && s.Active == 0 {
			return i
		}
	}
	return leastLoaded(servers, true, expected)
}

// heaviest returns the available server of the highest weight that fits, or -1.
func heaviest(servers []server, fits func(server) bool) int {
	best := -1
	for i, s := range servers {
		if s.available() && fits(s) && (best < 0 || s.Weight > servers[best].Weight) {
			best = i
		}
	}
	return best
}
