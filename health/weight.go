package health

import (
	"strconv"
	"strings"
)

// maxWeight is the greatest weight that a server can say.
const maxWeight = 65535

// parseWeight reads "0" to "65535", or "0%" to "100%".
func parseWeight(text string) (Weight, bool) {
	number, percent := strings.CutSuffix(text, "%")
	most := maxWeight
	if percent {
		most = 100
	}
	value, err := strconv.ParseUint(number, 10, 16)
	if err != nil || int(value) > most {
		return Weight{}, false
	}
	return Weight{Set: true, Percent: percent, Value: int(value)}, true
}

// Of returns the weight of a server that is configured to have the given one.
// So much of it as is not nothing is at least 1.
func (w Weight) Of(configured int) int {
	switch {
	case !w.Set:
		return configured
	case w.Percent:
		return max(configured*w.Value/100, min(configured, w.Value, 1))
	}
	return w.Value
}

// String returns the weight as the server says it; empty if it does not.
func (w Weight) String() string {
	switch {
	case !w.Set:
		return ""
	case w.Percent:
		return strconv.Itoa(w.Value) + "%"
	}
	return strconv.Itoa(w.Value)
}
