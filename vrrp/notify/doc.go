// Package notify tells others when a virtual router or a group changes state: by
// a command, a line in a named pipe, or an HTTP POST.
//
// What happens to an event is decided by values alone: which targets hear of it
// (States), what they are told (render.go), what is let go where too much waits
// (queue). Notifier is the edge. Notify may be called from any goroutine, the
// election's included: it appends to queues and returns. Run owns the deliveries,
// at most one at a time for each target, so that events arrive in their order and
// a target that hangs holds up no other. Targets that are equal are one target,
// whoever names them: a pipe has one writer, and the events of several virtual
// routers reach one command one after the other, in the order of Notify.
//
// A Notifier remembers the present state of each subject. A repetition is not an
// event, a target that comes later is told the present state, and a subject that
// disappears is said to have stopped. When Run is told to end, what is waiting is
// delivered within two seconds, or given up.
//
// The package does not decide who is master, does not log transitions, and does
// not keep events over a restart.
package notify
