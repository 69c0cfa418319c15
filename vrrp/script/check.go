package script

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// maxLinks is how many symbolic links the kernel follows in one path
// (MAXSYMLINKS of include/linux/namei.h).
const maxLinks = 40

// Check reports why the program of args may not run as the given user, DefaultUser
// if that is empty: its path is not absolute, it is no executable file, the user
// does not exist, or it would run as root though somebody else could change it.
func Check(args []string, user string) error {
	who, err := find(user)
	if err != nil {
		return err
	}
	return who.check(args)
}

func (a account) check(args []string) error {
	if len(args) == 0 {
		return errors.New("run nothing: the command is empty; name a program")
	}
	program := args[0]
	if !path.IsAbs(program) {
		return fmt.Errorf("run %s: the path is not absolute; begin it with a slash", program)
	}
	for _, arg := range args {
		if strings.ContainsRune(arg, 0) {
			return fmt.Errorf("run %s: an argument has a zero byte, which no program can be given; remove it", program)
		}
	}
	info, err := os.Stat(program)
	switch {
	case err != nil:
		return fmt.Errorf("run %s: %w; correct the path", program, reason(err))
	case !info.Mode().IsRegular():
		return fmt.Errorf("run %s: it is not a file; name a program", program)
	case info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("run %s: it is not executable; chmod +x", program)
	}
	if a.root {
		return trusted(program)
	}
	return nil
}

// trusted reports what of an absolute path, its symbolic links resolved,
// somebody else than root could put something else in the place of.
func trusted(program string) error {
	at, rest := "/", strings.Split(program, "/")
	if err := rootOnly(at, program); err != nil {
		return err
	}
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, name)
		info, err := os.Lstat(next)
		if err != nil {
			return fmt.Errorf("run %s as root: %w", program, err)
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			if err := rootOnly(next, program); err != nil {
				return err
			}
			at = next
			continue
		}
		if links++; links > maxLinks {
			return fmt.Errorf("run %s as root: there are too many symbolic links in its path; name the file itself", program)
		}
		target, err := os.Readlink(next)
		if err != nil {
			return fmt.Errorf("run %s as root: %w", program, err)
		}
		if path.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return nil
}

// rootOnly reports whether somebody else than root can write the file or
// directory, in the path of program.
func rootOnly(file, program string) error {
	info, err := os.Lstat(file)
	if err != nil {
		return fmt.Errorf("run %s as root: %w", program, err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return fmt.Errorf("run %s as root: the owner of %s cannot be found out", program, file)
	case stat.Uid != 0:
		return fmt.Errorf("run %s as root: %s belongs to user %d; chown root, or set another user", program, file, stat.Uid)
	case stat.Mode&0o002 != 0:
		return fmt.Errorf("run %s as root: everybody can write %s; chmod o-w, or set another user", program, file)
	case stat.Mode&0o020 != 0 && stat.Gid != 0:
		return fmt.Errorf("run %s as root: group %d can write %s; chmod g-w, or set another user", program, stat.Gid, file)
	}
	return nil
}

// reason strips the path from a file system error.
func reason(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}
