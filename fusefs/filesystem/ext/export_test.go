package ext

import "vmsync/fusefs/filesystem"

// HalfMD4 is how an index of a filesystem hashes a name.
func HalfMD4(f filesystem.FS, name string) uint32 {
	hash, _ := f.(*fsys).r.sb.hashName(hashHalfMD4, name)
	return hash
}
