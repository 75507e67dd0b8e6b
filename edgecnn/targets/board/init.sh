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

# What a runtime may have: all that runs after this line, the system's own processes are elsewhere on a real board.
limit=$(sed -n 's/.*edgecnn\.limit=\([0-9]*\).*/\1/p' /proc/cmdline)
echo +memory > /sys/fs/cgroup/cgroup.subtree_control
mkdir -p /sys/fs/cgroup/board
[ -n "$limit" ] && echo "$limit" > /sys/fs/cgroup/board/memory.max
echo $$ > /sys/fs/cgroup/board/cgroup.procs

echo "edgecnn board is up"
exec /usr/sbin/sshd -D -e
