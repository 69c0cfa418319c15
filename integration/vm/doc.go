// Package vm runs a program of ours in a kernel that has IPVS.
//
// A machine whose own kernel has IPVS, and a user who is root there, is used as
// it is. Everywhere else the program boots Debian's user-mode kernel (package
// user-mode-linux) on the host's own file system, with itself as init: the
// guest needs no image, no root and no virtualisation. Inside, it mounts what a
// Linux expects, starts itself once more as an ordinary process, and powers off
// with that process's exit status as the last word on the console.
//
// UNDERSTUDY_KERNEL asks for a second kernel instead: it names a directory with
// Debian's package of a kernel unpacked, which boots in an emulated machine of
// two processors (qemu without hardware support) with the host's file system as
// its root. User code is slower there by an order of magnitude.
//
// The package sets up a kernel and nothing else: networks are the business of
// package lab.
package vm
