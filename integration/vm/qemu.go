package vm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A second kernel, for those who ask for it: Debian's own for servers, in an
// emulated machine of two processors, with the host's file system as its root.
const (
	kernelEnv  = "UNDERSTUDY_KERNEL"  // asks for it: where Debian's package of the kernel is unpacked
	qemu       = "qemu-system-x86_64" // of qemu-system-x86
	busybox    = "/bin/busybox"       // of busybox-static
	qemuMemory = "2048M"              // unless memEnv says otherwise
	rootTag    = "root"               // of the file system, between the two
	needQEMU   = "run 'integration/setup.sh qemu' as root"
)

// early are the modules between the kernel and the host's file system, those
// that others need first; what a kernel has built in is not there.
var early = []string{
	"virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
	"netfs", "fscache", "9pnet", "9pnet_virtio", "9p",
}

// wantsQEMU reports whether the user asks for the second kernel.
func wantsQEMU() bool { return os.Getenv(kernelEnv) != "" }

// unpacked finds the kernel's image and modules.
func unpacked() (image, modules string, err error) {
	dir, err := filepath.Abs(os.Getenv(kernelEnv))
	if err != nil {
		return "", "", fmt.Errorf("find %s: %w", kernelEnv, err)
	}
	images, _ := filepath.Glob(filepath.Join(dir, "boot/vmlinuz-*"))
	if len(images) != 1 {
		return "", "", fmt.Errorf("%s has %d kernels in boot, want one: %s", dir, len(images), needQEMU)
	}
	release := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	modules = filepath.Join(dir, "lib/modules", release)
	if _, err := os.Stat(filepath.Join(modules, "modules.dep")); err != nil {
		return "", "", fmt.Errorf("the modules of %s are not ready to be loaded (%w): %s", release, err, needQEMU)
	}
	return images[0], modules, nil
}

// qemuCommand returns the command that boots the second kernel with init, and
// tells the guest in s where its modules are. Its files go to tmp.
func qemuCommand(init, specFile, tmp string, s *spec) (*exec.Cmd, error) {
	for _, program := range []string{qemu, busybox} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("there is no %s: %s", program, needQEMU)
		}
	}
	image, modules, err := unpacked()
	if err != nil {
		return nil, err
	}
	s.Modules = filepath.Dir(modules)
	ram := filepath.Join(tmp, "initramfs")
	if err := writeRAM(ram, modules, init); err != nil {
		return nil, fmt.Errorf("make the first file system: %w", err)
	}
	mem := qemuMemory
	if m := os.Getenv(memEnv); m != "" {
		mem = m
	}
	return exec.Command(qemu, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", mem,
		"-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot", "-nodefaults",
		"-kernel", image, "-initrd", ram, "-append", "console=ttyS0 quiet loglevel=0 panic=-1 "+specEnv+"="+specFile,
		"-virtfs", "local,path=/,mount_tag="+rootTag+",security_model=none,multidevs=remap"), nil
}

// writeRAM writes the file system that the kernel begins with: a shell, the
// modules that the host's file system needs, and what mounts it and goes on
// there.
func writeRAM(path, modules, init string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	a := &archive{w: f}
	for _, dir := range []string{"bin", "dev", "proc", "m", "r"} {
		a.add(dir, 0o40755, nil)
	}
	shell, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	a.add("bin/busybox", 0o100755, shell)
	var script strings.Builder
	script.WriteString("#!/bin/busybox sh\n/bin/busybox mount -t devtmpfs dev /dev\n")
	found, err := moduleFiles(modules)
	if err != nil {
		return err
	}
	for _, name := range early {
		from := found[name]
		if from == "" {
			continue
		}
		b, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		a.add("m/"+name+".ko", 0o100644, b)
		fmt.Fprintf(&script, "/bin/busybox insmod /m/%s.ko\n", name)
	}
	fmt.Fprintf(&script, `/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose %s /r || exec /bin/busybox poweroff -f
/bin/busybox mount -t devtmpfs dev /r/dev
exec /bin/busybox switch_root /r %s
`, rootTag, init)
	a.add("init", 0o100755, []byte(script.String()))
	a.end()
	return errors.Join(a.err, f.Close())
}

// moduleFiles returns the files of a kernel's modules by their names.
func moduleFiles(modules string) (map[string]string, error) {
	found := map[string]string{}
	err := filepath.WalkDir(filepath.Join(modules, "kernel"), func(path string, _ os.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok && slices.Contains(early, name) {
			found[name] = path
		}
		return err
	})
	return found, err
}

// archive writes files as the kernel unpacks them (initramfs buffer format,
// "newc"). The first error stays.
type archive struct {
	w   io.Writer
	n   int
	err error
}

func (a *archive) add(name string, mode uint32, content []byte) {
	a.n++
	links := 1
	var b bytes.Buffer
	fmt.Fprintf(&b, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", a.n, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	b.WriteString(name + "\x00")
	pad(&b)
	b.Write(content)
	pad(&b)
	if a.err == nil {
		_, a.err = a.w.Write(b.Bytes())
	}
}

// pad fills up to a multiple of four bytes.
func pad(b *bytes.Buffer) {
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
}

func (a *archive) end() { a.add("TRAILER!!!", 0, nil) }
