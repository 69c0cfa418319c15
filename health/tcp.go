package health

import (
	"context"
	"net/netip"
)

// newTCPProbe returns a probe that passes when a connection is accepted.
func newTCPProbe(c Check) (Probe, error) {
	return func(ctx context.Context) (Answer, error) {
		conn, err := dialer.DialTCP(ctx, "tcp", netip.AddrPort{}, c.Target)
		if err != nil {
			return Answer{}, plain(err)
		}
		defer conn.Close()
		// A reset ends the connection on both sides at once: probes leave no
		// port in TIME-WAIT.
		return Answer{}, conn.SetLinger(0)
	}, nil
}
