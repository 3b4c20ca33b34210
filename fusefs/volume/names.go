package volume

import (
	"fmt"
	"strings"
)

// maxName leaves room in a file's name for what makes it unique.
const maxName = 200

// partitionName is the kernel's name of a partition: a "p" separates digits from digits.
func partitionName(disk string, number int) string {
	if last := disk[max(len(disk)-1, 0):]; last >= "0" && last <= "9" {
		return fmt.Sprintf("%sp%d", disk, number)
	}
	return fmt.Sprintf("%s%d", disk, number)
}

// mapperName is device-mapper's name of a logical volume.
func mapperName(group, volume string) string {
	double := func(s string) string { return strings.ReplaceAll(s, "-", "--") }
	return double(group) + "-" + double(volume)
}

// fileName makes a name that the guest chose fit for a file: LVM's and mdadm's own rules
// need nothing of it, but what is on the disk may not follow them.
func fileName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r <= ' ' || r == '/' || r == 0x7f || r == '\uFFFD' {
			return '_'
		}
		return r
	}, name)
	for len(name) > maxName {
		name = strings.ToValidUTF8(name[:maxName], "")
	}
	if name == "" || strings.HasPrefix(name, ".") {
		return "_" + name
	}
	return name
}

// unique returns a name for a file that no volume has, and takes it.
func (f *finder) unique(name string) string {
	name = f.free(fileName(name))
	f.names[name] = true
	return name
}

func (f *finder) free(name string) string {
	for n, wanted := 2, name; f.names[name]; n++ {
		name = fmt.Sprintf("%s_%d", wanted, n)
	}
	return name
}
