#!/bin/sh
# The init of the emulated board: file systems, network, the RAM limit of the kernel's command line, and sshd.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm /run
busybox mount -t devpts devpts /dev/pts
busybox mount -t tmpfs tmpfs /dev/shm
busybox mount -t tmpfs -o mode=755 tmpfs /run
busybox mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/sshd
chown 1000:1000 /home/pi  # the disk was made without root
busybox hostname edgecnn-board
busybox ip link set lo up
busybox ip addr add 10.0.2.15/24 dev eth0
busybox ip link set eth0 up

# What a runtime may have: `shell.sh` puts all that is started over ssh into this group, sshd itself stays out of it.
limit=$(sed -n 's/.*edgecnn\.limit=\([0-9]*\).*/\1/p' /proc/cmdline)
echo +memory > /sys/fs/cgroup/cgroup.subtree_control
group=/sys/fs/cgroup/board
mkdir -p $group
chmod 666 /sys/fs/cgroup/cgroup.procs $group/cgroup.procs
[ -n "$limit" ] && echo "$limit" > $group/memory.max

# A program that just does not fit reads its own libraries from the disk over and over, for hours, before the kernel
# gives up. One that fits reads next to nothing twice: 500 pages within half a second, two times in a row, are taken for
# out of memory (2600 a second were seen at worst). Built-ins, since what runs here takes the board's time too.
watch() {
    before=0 now=0 often=0
    while sleep 0.5; do
        while read -r key value; do
            [ "$key" = workingset_refault_file ] && now=$value
        done < $group/memory.stat
        if [ $((now - before)) -gt 500 ]; then often=$((often + 1)); else often=0; fi
        [ $often -ge 2 ] && pkill -KILL python3
        before=$now
    done
}
[ -n "$limit" ] && watch &

echo "edgecnn board is up"
exec /usr/sbin/sshd -D -e
