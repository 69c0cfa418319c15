package ipvs

import _ "unsafe" // for go:linkname

// libraryFamily is the variable in which the library keeps the number of the
// kernel's generic netlink family. The library sets it once per process, when
// the first handle is opened, and offers no way to set it again, yet the number
// changes whenever ip_vs is unloaded and loaded. Without this the process would
// have to be restarted then, with the table empty meanwhile.
//
// TestKernelReloaded fails if the variable goes by another name in another
// version of the library.
//
//go:linkname libraryFamily github.com/moby/ipvs.ipvsFamily
var libraryFamily int

// adopt makes the library use family id. No call may be under way.
func adopt(id uint16) {
	if libraryFamily != int(id) {
		libraryFamily = int(id)
	}
}
