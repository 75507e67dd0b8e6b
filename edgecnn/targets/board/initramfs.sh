#!/bin/busybox sh
# The first program of the emulated board: load what finds the disk, and hand over to its own init.
busybox mount -t proc proc /proc
busybox mount -t devtmpfs dev /dev
for module in virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk \
    failover net_failover virtio_net virtio-rng; do
    busybox insmod "/modules/$module.ko" || echo "no module $module"
done
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    [ -b /dev/vda ] && break
    busybox sleep 0.1
done
busybox mount -t ext4 /dev/vda /root || busybox mount /dev/vda /root
cd /root || exit
busybox mount --move /dev dev
busybox umount /proc
exec busybox switch_root . /sbin/init
