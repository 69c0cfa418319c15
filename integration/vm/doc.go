// Package vm runs a program of ours in a kernel that has IPVS.
//
// A machine whose own kernel has IPVS, and a user who is root there, is used as
// it is. Everywhere else the program boots Debian's user-mode kernel (package
// user-mode-linux) on the host's own file system, with itself as init: the
// guest needs no image, no root and no virtualisation. Inside, it mounts what a
// Linux expects, starts itself once more as an ordinary process, and powers off
// with that process's exit status as the last word on the console.
//
// The package sets up a kernel and nothing else: networks are the business of
// package lab.
package vm
