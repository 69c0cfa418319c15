package genl

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// A batch is what goes into one system call. Its answers, should all messages
// fail, fit in the queue of the socket even if that has the usual size.
const (
	batchMessages = 128
	batchBytes    = 32 << 10
)

// Do carries out the messages in order, many to a system call, and goes on
// after one that fails. The result has one error per message, nil where it was
// carried out; it is nil if all were. The second error says that the outcome is
// not known (the socket failed, the kernel did not answer, ctx ended): it is
// also that of each message whose outcome is not known.
func (c *Conn) Do(ctx context.Context, messages []Message) ([]error, error) {
	if len(messages) == 0 {
		return nil, nil
	}
	r := results{n: len(messages)}
	x, err := c.begin(ctx)
	if err != nil {
		r.rest(0, err)
		return r.errs, err
	}
	defer x.end()
	for done := 0; done < len(messages); {
		n, err := c.batch(x, messages[done:], func(i int, err error) { r.set(done+i, err) })
		if err != nil {
			err = c.explain(ctx, err)
			r.rest(done, err)
			return r.errs, err
		}
		done += n
	}
	if i := slices.IndexFunc(r.errs, func(err error) bool { return errors.Is(err, unix.ENOENT) }); i >= 0 {
		if err := c.verify(x, r.errs[i]); !errors.Is(err, unix.ENOENT) {
			err = c.explain(ctx, err)
			r.rest(0, err)
			return r.errs, err
		}
	}
	return r.errs, nil
}

// results are the errors of n messages; none are made until one fails.
type results struct {
	n    int
	errs []error
}

func (r *results) set(i int, err error) {
	if r.errs == nil {
		r.errs = make([]error, r.n)
	}
	r.errs[i] = err
}

// rest sets the error of everything from i on.
func (r *results) rest(i int, err error) {
	for ; i < r.n; i++ {
		r.set(i, err)
	}
}

// batch sends as many of the messages as fit, and calls failed with those that
// failed. Only the last asks for an acknowledgement: the kernel takes them in
// order, and answers a failure in any case.
func (c *Conn) batch(x *exchange, messages []Message, failed func(i int, err error)) (n int, err error) {
	b, last := c.out[:0], -1
	var numbered [batchMessages]int // which message has which number
	sent := uint32(0)
	for n < len(messages) && sent < batchMessages && len(b) < batchBytes {
		start := len(b)
		m := &messages[n]
		b = begin(b, c.family, 0, c.seq+1+sent, uint8(m.Op), familyVersion)
		if b, err = appendMessage(b, m); err != nil {
			failed(n, err)
			b = b[:start]
		} else {
			finish(b, start)
			last = start
			numbered[sent] = n
			sent++
		}
		n++
	}
	c.out = b
	if sent == 0 {
		return n, nil
	}
	native.PutUint16(b[last+6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	c.seq += sent
	if err := x.send(b); err != nil {
		return 0, c.abandon(err)
	}
	err = c.answers(x, func(m message) (bool, error) {
		if m.kind != unix.NLMSG_ERROR || !c.ours(m, sent) {
			return false, nil
		}
		i := sent - 1 - (c.seq - m.seq)
		if err := answer(m); errors.Is(err, errShort) {
			return true, c.abandon(err)
		} else if err != nil {
			failed(numbered[i], err)
		}
		return i == sent-1, nil
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}
