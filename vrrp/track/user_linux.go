package track

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// nobody runs the commands of a daemon that is root, unless told otherwise.
const nobody = "nobody"

// runAs is whom a command runs as.
type runAs struct {
	uid        uint32
	credential *syscall.Credential // nil: as the daemon
}

// lookUp returns whom a command of the user called name runs as, with all groups
// that the user is in; with "" it is nobody for a daemon that is root, and
// otherwise the daemon's own user.
func lookUp(name string) (runAs, error) {
	own := os.Geteuid()
	if name == "" && own != 0 {
		return runAs{uid: uint32(own)}, nil
	}
	if name == "" {
		name = nobody
	}
	u, err := user.Lookup(name)
	if err != nil {
		return runAs{}, fmt.Errorf("look up user %s: %w", name, err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return runAs{}, fmt.Errorf("look up user %s: %w", name, err)
	}
	if own != 0 {
		if int(uid) != own {
			return runAs{}, fmt.Errorf("run as %s: only root can run a command as somebody else", name)
		}
		return runAs{uid: uint32(uid)}, nil
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return runAs{}, fmt.Errorf("look up group of %s: %w", name, err)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return runAs{}, fmt.Errorf("look up groups of %s: %w", name, err)
	}
	c := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	for _, id := range ids {
		g, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return runAs{}, fmt.Errorf("look up groups of %s: %w", name, err)
		}
		c.Groups = append(c.Groups, uint32(g))
	}
	return runAs{uid: uint32(uid), credential: c}, nil
}

// CheckRoot returns why the executable at path is not fit to be run as user, if
// that is root and there is such a file: somebody else could change what it does.
// That it does not exist is an error that fs.ErrNotExist matches.
func CheckRoot(user, path string) error {
	if user != "root" {
		if as, err := lookUp(user); err != nil || as.uid != 0 || user == "" {
			return nil // it is looked at again before it runs
		}
	}
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		if pe, ok := errors.AsType[*fs.PathError](err); ok {
			err = pe.Err
		}
		return err
	}
	return trusted(resolved)
}

// trusted returns why the executable at path, which has no symbolic links in it,
// can be changed or replaced by others than root.
func trusted(path string) error {
	for at := path; ; at = filepath.Dir(at) {
		info, err := os.Lstat(at)
		if err != nil {
			return err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		mode := info.Mode()
		switch {
		case !ok:
			return fmt.Errorf("%s has no owner", at)
		case at == path && !mode.IsRegular():
			return fmt.Errorf("%s is not a file", at)
		case at == path && mode&0o111 == 0:
			return fmt.Errorf("%s is not executable", at)
		case stat.Uid != 0:
			return fmt.Errorf("%s is not owned by root", at)
		case mode&0o022 != 0 && !(mode.IsDir() && mode&os.ModeSticky != 0):
			return fmt.Errorf("%s can be written by others than root", at)
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}
