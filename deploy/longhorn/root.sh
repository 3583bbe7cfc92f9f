#!/bin/bash
# Puts together the root folder of the one image that all parts of Longhorn run in: Longhorn's programs, what they call,
# taken from this machine, and the libraries of both.
#   root.sh ROOT BUILT ENGINE SCRIPTS: the folder to make, those of the built programs and of the instance manager's
#   scripts, and the engine's program
set -euo pipefail
root=$1 built=$2 engine=$3 scripts=$4

rm -rf "$root"
mkdir -p "$root"/{dev,etc,host,lib/modules,proc,run,sys,tmp,usr/bin,usr/local/bin,usr/local/sbin,usr/sbin,var/log}
ln -s usr/bin "$root/bin"
ln -s usr/sbin "$root/sbin"
ln -s ../run "$root/var/run" # relative, so that it is found through /proc/PID/root too

# put PROGRAM FOLDER [NAME]
put() {
	install -m 755 "$1" "$root/$2/${3:-$(basename "$1")}"
	local libraries
	libraries=$(ldd "$1" 2>/dev/null | grep -o '/[^ ]*') || return 0 # a static program or a script has none
	xargs cp --dereference --parents --target-directory "$root" <<<"$libraries"
}

for name in bash cat cp diff ls mkdir mount nsenter qemu-img rm sh sleep tee test umount; do
	put "$(type -P "$name")" usr/bin "$name"
done
put "$built/longhorn-manager" usr/local/sbin
put "$built/longhorn-instance-manager" usr/local/bin
put "$built/backing-image-manager" usr/local/bin
put "$built/probe" usr/local/bin grpc_health_probe
ln -s grpc_health_probe "$root/usr/local/bin/nc"
put "$scripts/instance-manager" usr/local/bin
put "$engine" usr/local/bin longhorn
put "$(dirname "$0")/image/tgtadm" usr/sbin
