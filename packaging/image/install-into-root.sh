#!/bin/sh
# Installs evictd into the root filesystem of an image, mounted at ROOT. As root:
#   install-into-root.sh ROOT evictd_VERSION_ARCH.deb
#   install-into-root.sh ROOT evictd-VERSION.ARCH.rpm
# Nothing is started: both units are enabled for the boots of the VMs, whose user-data brings the configuration.
set -eu

usage() { echo "usage: $0 ROOT PACKAGE.deb|PACKAGE.rpm" >&2; exit 2; }
[ $# -eq 2 ] || usage
root=$1 package=$2

[ "$(id -u)" = 0 ] || { echo "$0: run it as root: it installs a package" >&2; exit 1; }
[ -d "$root/etc" ] && [ -d "$root/usr" ] ||
  { echo "$0: $root is no root filesystem: it lacks /etc or /usr; mount it first" >&2; exit 1; }
# With it the package's scripts would talk to the systemd of this machine.
[ ! -e "$root/run/systemd/system" ] ||
  { echo "$0: $root/run is that of a running system; unmount it first" >&2; exit 1; }

case $package in
  # Its scripts are run by chroot, so dpkg needs no more of the root than an installed Debian has.
  *.deb) dpkg --root="$root" --install "$package" ;;
  *.rpm) rpm --root="$(realpath "$root")" --upgrade "$package" ;;
  *) usage ;;
esac

systemctl --root="$root" enable --quiet evictd.service evictd-restore.service

# Of a VM that evictd ran on before it became the image. The journal is bound to a boot and would be closed as by a
# reboot, but its hooks for that have no business on a new VM.
rm -rf "$root/var/lib/evictd"

for unit in evictd.service evictd-restore.service; do
  echo "$unit: $(systemctl --root="$root" is-enabled "$unit")"
done
