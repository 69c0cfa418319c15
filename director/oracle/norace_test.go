//go:build !race

package oracle

// perLine is what a line costs: one allocation, of the reader of the test.
const perLine = 1
