package configs

import (
	"fmt"
	"strings"
)

// maxWord bounds what is compared and repeated of a word from a file.
const maxWord = 64

// quote returns s quoted, cut where it is long.
func quote(s string) string {
	if len(s) > maxWord {
		return fmt.Sprintf("%q...", s[:maxWord])
	}
	return fmt.Sprintf("%q", s)
}

// nearest returns the candidate that word was probably meant to be, or "".
// Case, and a dash for an underscore, count for nothing.
func nearest(word string, candidates []string) string {
	if len(word) > maxWord {
		return ""
	}
	best, least := "", 1+max(1, len(word)/3)
	for _, c := range candidates {
		if d := distance(fold(word), fold(c)); d < least {
			best, least = c, d
		}
	}
	return best
}

func fold(s string) string {
	return strings.ReplaceAll(strings.ToLower(s), "-", "_")
}

// distance counts the letters to insert, remove, replace or swap with their
// neighbour to turn a into b (optimal string alignment).
func distance(a, b string) int {
	var before, last []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
