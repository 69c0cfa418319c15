package sysctl

import (
	"errors"
	"fmt"
	"strings"
)

// Setting is a value that a key is to have.
type Setting struct {
	Key   string // as sysctl(8) writes it: dots between the parts, a slash for a dot within one
	Value string // one line
}

// Bounds of what is read and written, in bytes.
const (
	maxKey   = 255
	maxValue = 255
)

// CheckKey says what is wrong with a key, and what to do, as an error that
// continues "KEY ". A good one is below net and names one file.
func CheckKey(key string) error {
	if len(key) > maxKey {
		return fmt.Errorf("is %d bytes long; use at most %d", len(key), maxKey)
	}
	parts := strings.Split(key, ".")
	if parts[0] != "net" || len(parts) < 3 {
		return errors.New("is not a key below net; write for example \"net.ipv4.vs.conn_reuse_mode\"")
	}
	for _, part := range parts {
		name := strings.ReplaceAll(part, "/", ".")
		if name == "" || name == "." || name == ".." || strings.IndexFunc(name, odd) >= 0 {
			return errors.New("is not the name of a key; separate the parts with one dot, and write a slash for a dot in the name of an interface")
		}
	}
	return nil
}

// CheckValue is CheckKey for a value.
func CheckValue(value string) error {
	if value == "" || len(value) > maxValue || strings.TrimSpace(value) != value || strings.IndexFunc(strings.ReplaceAll(value, " ", "_"), odd) >= 0 {
		return fmt.Errorf("is not a value; use 1 to %d printable bytes without a space at either end", maxValue)
	}
	return nil
}

// odd reports what stands in no name that the kernel gives.
func odd(c rune) bool { return c <= ' ' || c > '~' }

// file returns the path of a key below /proc/sys, which CheckKey has found
// good.
func file(key string) string {
	parts := strings.Split(key, ".")
	for i, part := range parts {
		parts[i] = strings.ReplaceAll(part, "/", ".")
	}
	return strings.Join(parts, "/")
}

// same reports whether the kernel means one value by both: it separates
// numbers by tabs.
func same(a, b string) bool {
	return strings.Join(strings.Fields(a), " ") == strings.Join(strings.Fields(b), " ")
}
