//go:build race

package oracle

// perLine is what a line costs: the reader of the test makes one allocation, the
// race detector another.
const perLine = 2
