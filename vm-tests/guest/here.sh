#!/bin/sh
# Boots a system on this machine's own kernel, in namespaces: here.sh DISK TESTS WORK. At a machine's full speed, and with its kernel; no
# guest, so nothing is tried here that a kernel outlives: no restart, no cut of the power, no settings of the kernel.
#
# DISK is a root file system with systemd, of which a copy is used; TESTS the folder with the repository and the tests; WORK a folder
# for that copy and for what the system says.
set -eu

disk=$1
tests=$2
work=$3

# A group of its own, so that nothing of it is left in the caller's, and nothing of it runs on.
group=/sys/fs/cgroup/defenseclaw-here-$$
[ -e /sys/fs/cgroup/cgroup.procs ] || group=/sys/fs/cgroup/unified/defenseclaw-here-$$

end() {
    trap - EXIT HUP INT TERM
    echo 1 >"$group/cgroup.kill" 2>/dev/null || true
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
        [ -d "$group" ] || break
        sleep 0.5
    done
    rm -f "$work/root.ext4"
}

if [ "${4:-}" != inside ]; then
    rm -f "$work/root.ext4" "$work/out"
    mkdir -p "$work/root"
    cp --sparse=always "$disk" "$work/root.ext4"
    : >"$work/out"
    mkdir "$group"
    trap end EXIT
    trap 'exit 1' HUP INT TERM
    # Whoever kills this shell ends the system, too.
    /bin/sh -c 'echo $$ >"$1/cgroup.procs"; shift; exec setpriv --pdeathsig KILL unshare --mount --pid --fork --uts --ipc --net --cgroup \
        --kill-child /bin/sh "$@" inside' - "$group" "$0" "$disk" "$tests" "$work" >"$work/init" 2>&1 &
    system=$!
    tail -n +1 -f --pid=$system "$work/out"
    wait $system || true
    # Of a system that did not come up.
    [ -s "$work/out" ] || cat "$work/init"
    exit 0
fi

root=$work/root
mount --make-rprivate /
mount -o loop "$work/root.ext4" "$root"
mkdir -p "$root/srv/test" "$root/srv/state"
mount --bind "$tests" "$root/srv/test"
mount -o remount,bind,ro "$root/srv/test"
touch "$root/srv/state/out"
mount --bind "$work/out" "$root/srv/state/out"
mount -t proc proc "$root/proc"
# The kernel is the machine's: its settings stay as they are.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
[ ! -e "$root/proc/sysrq-trigger" ] || mount --bind /dev/null "$root/proc/sysrq-trigger"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t securityfs -o ro securityfs "$root/sys/kernel/security" || true
mount -t bpf bpf "$root/sys/fs/bpf"
[ ! -e /sys/kernel/tracing/events ] || mount --bind /sys/kernel/tracing "$root/sys/kernel/tracing"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs tmpfs "$root/dev"
for node in null zero full random urandom tty; do
    touch "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"

rm -f "$root/etc/apt/sources.list" "$root"/etc/apt/sources.list.d/*.list
units=$root/etc/systemd/system
for timer in apt-daily apt-daily-upgrade dpkg-db-backup e2scrub_all fstrim systemd-tmpfiles-clean; do
    ln -sf /dev/null "$units/$timer.timer"
done
for service in kmod-static-nodes modprobe@ systemd-udevd systemd-udev-trigger systemd-modules-load systemd-sysctl systemd-binfmt console-getty systemd-logind; do
    ln -sf /dev/null "$units/$service.service"
done
for socket in systemd-udevd-control systemd-udevd-kernel; do
    ln -sf /dev/null "$units/$socket.socket"
done
[ -s "$root/etc/machine-id" ] || tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
echo here >"$root/etc/hostname"
# It has no console: what the tests say goes into a file.
sed -e 's|^StandardOutput=tty|StandardOutput=append:/srv/state/out|' -e 's|^StandardError=tty|StandardError=append:/srv/state/out|' \
    -e '/^TTYPath/d' "$tests/guest.service" >"$units/guest.service"
mkdir -p "$units/multi-user.target.wants"
ln -sf ../guest.service "$units/multi-user.target.wants/guest.service"
ip link set lo up

cd "$root"
mkdir -p .before
pivot_root . .before
# shellcheck disable=SC2016
exec chroot . /bin/sh -c 'umount -l /.before; exec env -i container=namespaces PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    setpriv --bounding-set -sys_module,-sys_rawio,-sys_time,-mknod /sbin/init --log-target=console systemd.getty_auto=no systemd.firstboot=no'
