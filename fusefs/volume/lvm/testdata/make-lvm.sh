#!/bin/bash
# Makes lvm.tar.zst anew: the four disks of a machine with one logical volume of each
# kind, and what the kernel of a libguestfs appliance reads of each. It needs guestfish and
# zstd; where the machine has no kernel of its own, SUPERMIN_KERNEL and SUPERMIN_MODULES
# name one with device-mapper's modules.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
truncate -s 64M a.img b.img c.img d.img

cat > inside.sh <<'INSIDE'
set -e -o pipefail
export LVM_SUPPRESS_FD_WARNINGS=1
lvm() { command lvm "$@" --config 'global/thin_check_executable="" global/cache_check_executable="" activation/monitoring=0' >/dev/null 2>/tmp/lvm.err || { echo "$@"; cat /tmp/lvm.err; exit 1; }; }
modprobe -a dm-mod dm-thin-pool dm-raid raid1 raid10 raid456 dm-mirror dm-snapshot dm-cache dm-cache-smq dm-writecache dm-zero 2>/dev/null || true

# Each 4 KiB block names the volume and its place.
fill() { # device name first count
	for ((i = $3; i < $3 + $4; i++)); do printf '%-4096s' "$2 block $i"; done |
		dd of=/dev/$1 bs=4096 seek=$3 conv=notrunc iflag=fullblock status=none
}

# The kernel's names come in any order, and the appliance has a disk of its own.
udevadm settle
for d in /dev/sd?; do
	[ $(blockdev --getsize64 $d) != 67108864 ] || set -- "$@" $d
done

sfdisk -q $2 <<-TABLE
	label: gpt
	size=1MiB, type=21686148-6449-6E6F-744E-656564454649
	type=E6D6D379-F507-44C2-A23C-238F2A3DF928
TABLE
udevadm settle
lvm pvcreate $1
lvm pvcreate --metadatacopies 2 ${2}2
lvm pvcreate --metadatacopies 0 $3
lvm pvcreate --metadatacopies 0 $4
lvm vgcreate -s 128k vg-a $1 ${2}2 $3 $4

lvm lvcreate -Zn -an -n plain -l 4 vg-a $1
lvm lvcreate -Zn -an -n two-stripes --type striped -i 2 -I 16k -l 8 vg-a
lvm lvcreate -Zn -an -n three_stripes --type striped -i 3 -I 4k -l 9 vg-a
lvm lvextend -l +5 vg-a/plain ${2}2
lvm lvextend -l +3 vg-a/plain $1
lvm lvcreate -Zn -an -n mirror --type mirror -m 1 --mirrorlog core -l 4 vg-a
lvm lvcreate -y -n raid1 --type raid1 -m 1 -l 4 vg-a
lvm lvcreate -y -n raid0 --type raid0 -i 3 -I 8k -l 6 vg-a
lvm lvcreate -y -n raid10 --type raid10 -i 2 -I 16k -m 1 -l 4 vg-a
lvm lvcreate -y -n raid5 --type raid5 -i 2 -l 4 vg-a
lvm lvcreate -Zn -y -n zero --type zero -l 2 vg-a
lvm lvcreate -Zn -y -n error --type error -l 2 vg-a
lvm lvcreate -Zn -an -n pv2only -l 2 vg-a $3
lvm vgchange -ay vg-a
for lv in plain two-stripes three_stripes mirror raid1 raid0 raid10 raid5 pv2only; do
	fill vg-a/$lv $lv 0 $(($(blockdev --getsize64 /dev/vg-a/$lv) / 4096))
done

# A snapshot that keeps copies of what changed, out of order.
lvm lvcreate -Zn -y -n origin -l 6 vg-a
fill vg-a/origin origin 0 192
lvm lvcreate -y -n snap -s -c 8k -l 4 vg-a/origin
fill vg-a/origin later 100 10
fill vg-a/origin later 7 3
fill vg-a/snap own 150 2

# A thin pool: a volume with holes, one that shares with it, one over a volume outside.
lvm lvcreate -y --type thin-pool -n pool -c 64k -l 40 --poolmetadatasize 2m -Zy vg-a
lvm lvcreate -y -T vg-a/pool -V 200M -n thin
fill vg-a/thin thin 0 40
fill vg-a/thin thin 700 5
fill vg-a/thin thin 51199 1
lvm lvcreate -y -s vg-a/thin -n thinsnap -kn
fill vg-a/thin later 3 2
fill vg-a/thinsnap snap 701 1
fill vg-a/thinsnap snap 20000 1
lvm lvcreate -Zn -y -n outside -l 3 vg-a
fill vg-a/outside outside 0 96
lvm lvchange -an vg-a/outside
lvm lvchange -pr vg-a/outside
lvm lvcreate -y -s --thinpool vg-a/pool vg-a/outside -n inside -kn
lvm lvchange -ay vg-a/outside
fill vg-a/inside inside 17 1
lvm lvcreate -y -T vg-a/pool -V 8M -n unwritten

# What cannot be read without knowing what a cache holds.
lvm lvcreate -Zn -y -n cached -l 4 vg-a $1
lvm lvcreate -y --type cache --cachemode writeback -n cache -l 16 vg-a/cached ${2}2

sync
lvs -a -o lv_name,size,segtype,devices vg-a >&2 || true
for lv in $(cd /dev/vg-a && ls); do
	[ $lv = error ] && continue
	echo "$lv $(blockdev --getsize64 /dev/vg-a/$lv) $(sha256sum < /dev/vg-a/$lv | cut -d' ' -f1)"
done
lvm vgchange -an vg-a
sync
INSIDE

guestfish -a a.img -a b.img -a c.img -a d.img run : debug sh "echo $(base64 -w0 inside.sh) | base64 -d > /tmp/in.sh; bash /tmp/in.sh 2>&1" > sums
cat sums
grep -E ' [0-9]+ [0-9a-f]{64}$' sums > sums.txt
tar -c --sparse --sort=name --mtime=@0 --owner=0 --group=0 a.img b.img c.img d.img sums.txt | zstd -19 --long=27 -q -f -o "$here/lvm.tar.zst"
ls -l "$here/lvm.tar.zst"
