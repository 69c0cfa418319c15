// Command demo shows a pair of directors at work: it builds a site in a lab,
// starts the daemons from configs/examples/demo, breaks one thing after the
// other, and says what a client saw. It exits with status 0 only if every step
// came out right.
package main
