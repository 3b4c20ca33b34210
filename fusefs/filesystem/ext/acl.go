package ext

const (
	aclUser  = 0x2
	aclGroup = 0x8

	aclVersion      = 1 // on disk
	aclXattrVersion = 2 // of getxattr(2)
)

// decodeACL makes what getxattr(2) returns out of an access list on disk, where only
// entries of a named user or group have an ID.
func decodeACL(i *inode, raw []byte) ([]byte, error) {
	if len(raw) < 4 || le.Uint32(raw) != aclVersion {
		return nil, corrupt("inode %d has an access list of no known version", i.number)
	}
	acl := le.AppendUint32(nil, aclXattrVersion)
	for raw = raw[4:]; len(raw) > 0; {
		if len(raw) < 4 {
			return nil, corrupt("the access list of inode %d is cut off", i.number)
		}
		tag, id, length := le.Uint16(raw), ^uint32(0), 4
		if tag == aclUser || tag == aclGroup {
			if len(raw) < 8 {
				return nil, corrupt("the access list of inode %d is cut off", i.number)
			}
			id, length = le.Uint32(raw[4:]), 8
		}
		acl = append(acl, raw[:4]...)
		acl = le.AppendUint32(acl, id)
		raw = raw[length:]
	}
	return acl, nil
}
