#!/bin/busybox sh
# First program of a guest with a disk: loads what the disk needs, mounts it, and hands over to the system on it. A second disk
# holds the tests, and the unit that runs them.
b=/bin/busybox

end() {
    echo "DEFENSECLAW-GUEST: $*"
    $b sync
    $b umount /root 2>/dev/null
    $b poweroff -f
    # The machine takes a moment.
    while :; do $b sleep 1; done
}

echo DEFENSECLAW-GUEST-BEGUN
$b mkdir -p /proc /sys /dev /root
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev
for module in /modules/*.ko; do
    [ ! -e "$module" ] || $b insmod "$module" || end "failure $module could not be loaded"
done
tries=0
until [ -b /dev/vda ]; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || end "failure there is no disk"
    $b usleep 100000
done
$b mount -t ext4 -o rw /dev/vda /root || end "failure the disk cannot be mounted"

# A root file system for another architecture than that of the machine that made it: its programs first run here.
if [ -x /root/debootstrap/debootstrap ]; then
    $b mount -t proc proc /root/proc
    PATH=/usr/sbin:/usr/bin:/sbin:/bin $b chroot /root /debootstrap/debootstrap --second-stage || end "failure debootstrap"
    $b umount /root/proc
    $b rm -f /root/var/cache/apt/archives/*.deb
    $b umount /root || end "failure the disk is still in use"
    end "success"
fi

$b mkdir -p /root/srv/test /root/srv/state
$b mount -t ext4 -o ro /dev/vdb /root/srv/test || end "failure there is no disk with the tests"
# Nothing but the tests' repository is known, and nothing runs by the clock.
$b rm -f /root/etc/apt/sources.list /root/etc/apt/sources.list.d/*.list
units=/root/etc/systemd/system
for timer in apt-daily apt-daily-upgrade dpkg-db-backup e2scrub_all fstrim systemd-tmpfiles-clean; do
    $b ln -sf /dev/null $units/$timer.timer
done
[ -s /root/etc/machine-id ] || $b tr -d - </proc/sys/kernel/random/uuid >/root/etc/machine-id
echo guest >/root/etc/hostname
$b cp /root/srv/test/guest.service $units/guest.service
$b mkdir -p $units/multi-user.target.wants
$b ln -sf ../guest.service $units/multi-user.target.wants/guest.service
$b mount --move /dev /root/dev
$b umount /sys
$b umount /proc
exec $b switch_root -c /dev/console /root /sbin/init
