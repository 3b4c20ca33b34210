#!/bin/bash
# Makes sectors-4096.bin anew: what the kernel of a libguestfs appliance (see
# ../../lvm/testdata/make-lvm.sh) encrypts with sectors of 4096 bytes, 8 of them, 1 MiB into
# a LUKS2 device whose volume key is the bytes 0 to 63.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
truncate -s 20M a.img
cat > inside.sh <<'INSIDE'
set -e
for ((i = 0; i < 64; i++)); do printf "\\x$(printf %02x $i)"; done > /tmp/key
printf password > /tmp/pass
modprobe -a dm-mod dm-crypt 2>/dev/null || true
udevadm settle
for d in /dev/sd?; do
	[ $(blockdev --getsize64 $d) != 20971520 ] || disk=$d
done
cryptsetup luksFormat -q --type luks2 --sector-size 4096 --key-size 512 --key-file /tmp/pass --volume-key-file /tmp/key \
	--pbkdf pbkdf2 --pbkdf-force-iterations 1000 $disk
cryptsetup open --key-file /tmp/pass $disk plain
for ((i = 0; i < 2048; i++)); do echo 0123456789abcde; done | dd of=/dev/mapper/plain bs=4096 seek=256 iflag=fullblock conv=fsync status=none
cryptsetup close plain
dd if=$disk bs=1M skip=17 count=1 status=none | head -c 32768 | base64 -w0
INSIDE
guestfish -a a.img run : debug sh "echo $(base64 -w0 inside.sh) | base64 -d > /tmp/in.sh; bash /tmp/in.sh 2>/dev/null" | base64 -d > "$here/sectors-4096.bin"
ls -l "$here/sectors-4096.bin"
