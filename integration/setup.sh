#!/bin/sh
# Installs what building, the kernel tests and the demonstration need, from
# Debian's packages. Does nothing where everything is there. Needs root, or sudo
# without a question; otherwise it says the one line to run.
#
# "setup.sh qemu" installs what the second kernel needs as well, unpacks that
# kernel below .cache/kernel without installing it, and prints where.
set -eu

PATH=$(cd "$(dirname "$0")/.." && pwd)/.cache/go/bin:$PATH:/usr/local/go/bin:/usr/sbin:/sbin
need=
have() { command -v "$1" >/dev/null 2>&1; }
want() { have "$1" || need="$need $2"; }

want linux.uml user-mode-linux
want ipvsadm ipvsadm
want keepalived keepalived
want /usr/lib/frr/vrrpd frr
want modprobe kmod
want gcc gcc
[ -e /usr/include/stdlib.h ] || need="$need libc6-dev"
[ -e /etc/ssl/certs/ca-certificates.crt ] || need="$need ca-certificates"
if ! have go; then need="$need golang-go"; fi
if [ "${1:-}" = qemu ]; then
	want qemu-system-x86_64 qemu-system-x86
	[ -x /bin/busybox ] || need="$need busybox-static"
fi

if [ -n "$need" ]; then
	if [ "$(id -u)" = 0 ]; then
		sudo=
	elif have sudo && sudo -n true 2>/dev/null; then
		sudo="sudo -n"
	else
		echo "missing packages; run as root: apt-get update && apt-get install -y --no-install-recommends$need" >&2
		exit 1
	fi
	echo "installing:$need"
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get update -qq
	# A keepalived or FRR of ours runs only inside the lab: Debian's policy hook
	# keeps the packages from starting one on this machine.
	$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $need >/dev/null
fi

# Debian's Go may be older than the one that go.mod names. Any Go can fetch the
# toolchain, which is published as a module; it goes to .cache/go, where the
# Makefile looks first.
case $(go version) in
*go1.2[6-9]* | *go1.[3-9][0-9]*) ;;
*)
	toolchain=golang.org/toolchain@v0.0.1-go1.26.8.linux-$(go env GOARCH)
	echo "fetching Go 1.26.8"
	(cd / && go mod download "$toolchain")
	dir=$(dirname "$0")/../.cache/go
	rm -rf "$dir" "$dir.new"
	mkdir -p "$dir.new"
	cp -R "$(go env GOMODCACHE)/$toolchain/." "$dir.new"
	chmod -R u+w "$dir.new"
	chmod +x "$dir.new"/bin/* "$dir.new"/pkg/tool/*/*
	mv "$dir.new" "$dir"
	;;
esac

# Debian's kernel for servers, as its package has it.
if [ "${1:-}" = qemu ]; then
	dir=$(cd "$(dirname "$0")/.." && pwd)/.cache/kernel
	if ! ls "$dir"/lib/modules/*/modules.dep >/dev/null 2>&1; then
		rm -rf "$dir" "$dir.new"
		mkdir -p "$dir.new/package"
		image=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: *//p' | head -n 1)
		(cd "$dir.new/package" && apt-get download -qq "$image" >/dev/null 2>&1) ||
			{ echo "cannot download ${image:-linux-image-amd64}; run as root: apt-get update" >&2; exit 1; }
		dpkg -x "$dir.new"/package/*.deb "$dir.new"
		rm -r "$dir.new/package"
		for modules in "$dir.new"/lib/modules/*; do
			depmod -b "$dir.new" "${modules##*/}"
		done
		mv "$dir.new" "$dir"
	fi
	echo "$dir"
fi
