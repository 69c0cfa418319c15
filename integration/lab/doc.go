// Package lab builds networks of hosts on one machine, out of network
// namespaces, veth pairs and bridges, and measures them as a client would.
//
// A Lab owns what it made and takes it away when it is closed: processes first,
// then namespaces, and with them every link. A Node is a host; a Switch is a
// bridge in a namespace of its own; a Port is a cable between the two that can
// be cut at the switch's end, so that the host loses its carrier. Nothing here
// touches the links, routes or rules of the machine itself.
//
// The package knows nothing of the product. Errors of building are reported to
// the TB that the Lab was made with, which ends the test or the demonstration.
package lab
