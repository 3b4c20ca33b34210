package partition

import "fmt"

// gptType names the types that guests use most, as sfdisk does.
func gptType(guid string) string {
	switch guid {
	case "c12a7328-f81f-11d2-ba4b-00a0c93ec93b":
		return "EFI System"
	case "21686148-6449-6e6f-744e-656564454649":
		return "BIOS boot"
	case "0fc63daf-8483-4772-8e79-3d69d8477de4":
		return "Linux filesystem"
	case "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f":
		return "Linux swap"
	case "e6d6d379-f507-44c2-a23c-238f2a3df928":
		return "Linux LVM"
	case "a19d880f-05fc-4d3b-a006-743f0f84911e":
		return "Linux RAID"
	case "933ac7e1-2eb4-4f13-b844-0e14e2aef915":
		return "Linux home"
	case "bc13c2ff-59e6-4262-a352-b275fd6f7172":
		return "Linux extended boot"
	case "4f68bce3-e8cd-4db1-96e7-fbcaf984b709":
		return "Linux root (x86-64)"
	case "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7":
		return "Microsoft basic data"
	case "e3c9e316-0b5c-4db8-817d-f92df00215ae":
		return "Microsoft reserved"
	case "de94bba4-06d1-4d40-a16a-bfd50179d6ac":
		return "Windows recovery environment"
	case "516e7cb6-6ecf-11d6-8ff8-00022d09712b":
		return "FreeBSD UFS"
	case "516e7cba-6ecf-11d6-8ff8-00022d09712b":
		return "FreeBSD ZFS"
	case "6a898cc3-1dd2-11b2-99a6-080020736631":
		return "Solaris /usr & Apple ZFS"
	}
	return guid
}

// mbrType names the types that guests use most, as sfdisk does.
func mbrType(kind byte) string {
	switch kind {
	case 0x01:
		return "FAT12"
	case 0x04, 0x06:
		return "FAT16"
	case 0x07:
		return "HPFS/NTFS/exFAT"
	case 0x0b, 0x0c:
		return "W95 FAT32"
	case 0x27:
		return "Hidden NTFS WinRE"
	case 0x82:
		return "Linux swap / Solaris"
	case 0x83:
		return "Linux"
	case 0x8e:
		return "Linux LVM"
	case 0xa5:
		return "FreeBSD"
	case 0xef:
		return "EFI (FAT-12/16/32)"
	case 0xfd:
		return "Linux raid autodetect"
	}
	return fmt.Sprintf("0x%02x", kind)
}
