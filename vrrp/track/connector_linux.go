package track

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// From linux/cn_proc.h and linux/connector.h.
const (
	cnIdxProc, cnValProc = 1, 1 // CN_IDX_PROC, CN_VAL_PROC
	mcastListen          = 1    // PROC_CN_MCAST_LISTEN
	mcastIgnore          = 2    // PROC_CN_MCAST_IGNORE

	cnHeader    = 20 // struct cn_msg: idx, val, seq, ack, len, flags
	eventHeader = 16 // struct proc_event up to event_data: what, cpu, timestamp_ns

	eventNone = 0x00000000
	eventFork = 0x00000001
	eventExec = 0x00000002
	eventComm = 0x00000200
	eventExit = 0x80000000
)

// acknowledgeTime is how long the kernel is waited for to acknowledge a
// subscription. It says nothing at all to whoever is in another namespace of users
// or processes than the first.
const acknowledgeTime = 200 * time.Millisecond

// connector is a subscription to process events (CONFIG_PROC_EVENTS).
type connector struct{ *socket }

func dialProcesses() (feed[procEvent], error) {
	c, err := dialConnector()
	if err != nil {
		return nil, fmt.Errorf("subscribe to process events: %w", err)
	}
	return c, nil
}

func dialConnector() (*connector, error) {
	n, err := openNetlink(unix.NETLINK_CONNECTOR, cnIdxProc)
	if err != nil {
		return nil, err
	}
	c := &connector{n}
	if err := c.listen(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return c, nil
}

// listen subscribes and waits for the acknowledgement. Events before it are of no
// interest: all processes are looked at afterwards.
func (c *connector) listen() error {
	token := uint32(time.Now().UnixNano()) // answers to others come here, too
	if err := c.send(connectorMessage(token, mcastListen)); err != nil {
		return err
	}
	if err := c.deadline(acknowledgeTime); err != nil {
		return err
	}
	acknowledged, refused := false, error(nil)
	for !acknowledged {
		err := c.receive(1, func(b []byte) {
			if code, ok := parseAcknowledgement(b, token); ok {
				acknowledged = true
				if code != 0 {
					refused = fmt.Errorf("kernel says: %w", unix.Errno(code))
				}
			}
		})
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return errors.New("the kernel does not answer, as in another namespace of processes or users than the first")
		case err != nil && !errors.Is(err, errOverflow):
			return err
		}
	}
	return errors.Join(refused, c.deadline(0))
}

func (c *connector) next() ([]procEvent, error) {
	var events []procEvent
	var bad error
	err := c.receive(drainReads, func(b []byte) {
		var err error
		if events, err = appendProcEvents(events, b); err != nil {
			bad = errOverflow
		}
	})
	if errors.Is(err, errOverflow) {
		return events, errOverflow
	}
	if err != nil {
		return nil, fmt.Errorf("receive process events: %w", err)
	}
	return events, bad
}

// Close also tells older kernels that there is one listener less: they count.
func (c *connector) Close() error {
	_ = c.send(connectorMessage(0, mcastIgnore))
	return c.socket.Close()
}

// connectorMessage builds a struct cn_msg with an enum proc_cn_mcast_op. Of what it
// is given the kernel returns the acknowledgement number alone, plus one.
func connectorMessage(token, op uint32) []byte {
	b := make([]byte, cnHeader, cnHeader+4)
	binary.NativeEndian.PutUint32(b, cnIdxProc)
	binary.NativeEndian.PutUint32(b[4:], cnValProc)
	binary.NativeEndian.PutUint32(b[12:], token)
	binary.NativeEndian.PutUint16(b[16:], 4)
	return request(unix.NLMSG_DONE, 0, 0, binary.NativeEndian.AppendUint32(b, op))
}

// procMessage returns the struct proc_event in the body of a netlink message, and
// the acknowledgement number of the struct cn_msg around it.
func procMessage(body []byte) (event []byte, ack uint32, ok bool) {
	if len(body) < cnHeader || binary.NativeEndian.Uint32(body) != cnIdxProc || binary.NativeEndian.Uint32(body[4:]) != cnValProc {
		return nil, 0, false
	}
	size := int(binary.NativeEndian.Uint16(body[16:]))
	if event = body[cnHeader:]; size < eventHeader || size > len(event) {
		return nil, 0, false
	}
	return event[:size], binary.NativeEndian.Uint32(body[12:]), true
}

// parseAcknowledgement returns the errno with which a datagram acknowledges the
// request with a token, if it does.
func parseAcknowledgement(b []byte, token uint32) (code int, ok bool) {
	for m, err := range messages(b) {
		if err != nil {
			return 0, false
		}
		event, ack, good := procMessage(m.body)
		if good && ack == token+1 && len(event) >= eventHeader+4 && binary.NativeEndian.Uint32(event) == eventNone {
			// Some versions give it a minus.
			code := int64(int32(binary.NativeEndian.Uint32(event[eventHeader:])))
			return int(max(code, -code)), true
		}
	}
	return 0, false
}

// appendProcEvents decodes a datagram. An error says that something was lost.
func appendProcEvents(events []procEvent, b []byte) ([]procEvent, error) {
	for m, err := range messages(b) {
		if err != nil {
			return events, err
		}
		event, _, ok := procMessage(m.body)
		if !ok {
			return events, errTruncated
		}
		data := event[eventHeader:]
		word := func(i int) int { return int(int32(binary.NativeEndian.Uint32(data[4*i:]))) }
		what := binary.NativeEndian.Uint32(event)
		switch {
		case what == eventFork && len(data) >= 16: // parent_pid, parent_tgid, child_pid, child_tgid
			if word(2) == word(3) {
				events = append(events, procEvent{what: procFork, pid: word(2), parent: word(1)})
			}
		case (what == eventExec || what == eventComm) && len(data) >= 8: // process_pid, process_tgid
			// A thread other than the first that executes a program becomes the first.
			if word(0) == word(1) || what == eventExec {
				events = append(events, procEvent{what: procName, pid: word(1)})
			}
		case what == eventExit && len(data) >= 8: // process_pid, process_tgid
			if word(0) == word(1) {
				events = append(events, procEvent{what: procExit, pid: word(1)})
			}
		case what == eventFork || what == eventExec || what == eventComm || what == eventExit:
			return events, errTruncated
		}
	}
	return events, nil
}
