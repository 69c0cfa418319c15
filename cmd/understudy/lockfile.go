package main

import (
	"errors"
	"os"
	"syscall"
)

// errLocked says that another process has a lock.
var errLocked = errors.New("another process has the lock")

// lockBeside locks the file at path for this process, by a file beside it, until
// the returned one is closed. If another process has the lock the error is
// errLocked.
func lockBeside(path string) (*os.File, error) {
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, errLocked
	}
	return lock, nil
}
