package script

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// unprivileged is the user of programs where the daemon is root and nothing else
// is said.
const unprivileged = "nobody"

// DefaultUser returns who runs a Command that names no user: nobody if this
// process is root, otherwise the user that it runs as.
func DefaultUser() string {
	if os.Geteuid() == 0 {
		return unprivileged
	}
	uid := strconv.Itoa(os.Geteuid())
	if u, err := user.LookupId(uid); err == nil {
		return u.Username
	}
	return uid
}

// account is who runs a program.
type account struct {
	name       string
	root       bool
	credential *syscall.Credential // nil: the user that this process has already
}

// find returns the account of a user; of DefaultUser if name is empty.
func find(name string) (account, error) {
	us := os.Geteuid()
	if name == "" && us != 0 {
		return account{name: DefaultUser()}, nil
	}
	if name == "" {
		name = unprivileged
	}
	u, err := user.Lookup(name)
	if err != nil {
		return account{}, fmt.Errorf("find user %s: no such user; create it, or name another", name)
	}
	uid, err := number(u.Uid)
	if err != nil {
		return account{}, fmt.Errorf("find user %s: its number is %w", name, err)
	}
	a := account{name: name, root: uid == 0}
	switch {
	case int(uid) == us:
		return a, nil
	case us != 0:
		return account{}, fmt.Errorf("become user %s: only root can; remove user, or run the daemon as root", name)
	}
	a.credential = &syscall.Credential{Uid: uid}
	if a.credential.Gid, err = number(u.Gid); err != nil {
		return account{}, fmt.Errorf("find group of user %s: its number is %w", name, err)
	}
	gids, err := u.GroupIds()
	if err != nil {
		return account{}, fmt.Errorf("find groups of user %s: %w", name, err)
	}
	for _, s := range gids {
		gid, err := number(s)
		if err != nil {
			return account{}, fmt.Errorf("find groups of user %s: a number is %w", name, err)
		}
		a.credential.Groups = append(a.credential.Groups, gid)
	}
	return a, nil
}

func number(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q", s)
	}
	return uint32(n), nil
}
