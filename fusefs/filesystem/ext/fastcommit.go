package ext

// Tags of fast commits (fs/ext4/fast_commit.h), which are little-endian: kind and length
// in 16 bits each, and a value.
const (
	fastAddRange = 1
	fastPad      = 7
	fastTail     = 8
	fastHead     = 9

	fastTagHeader = 4
)

// fastCommits tells whether the journal holds fast commits that belong to the end of the
// log: changes after the last full commit, written as operations and not as blocks. They
// count from one tail with a right checksum on.
func (j *journal) fastCommits(transaction uint32) (bool, error) {
	b := make([]byte, j.r.sb.blockSize)
	sum := uint32(0)
	for block := j.end + 1; block < j.fastEnd; block++ {
		if err := j.read(b, block); err != nil {
			return false, err
		}
		if block == j.end+1 && le.Uint16(b) != fastHead {
			return false, nil
		}
		for at := 0; at+fastTagHeader <= len(b); {
			kind, length := le.Uint16(b[at:]), int(le.Uint16(b[at+2:]))
			value := b[at+fastTagHeader:]
			if length > len(value) || kind < fastAddRange || kind > fastHead || (kind >= fastTail && length < 8) {
				return false, nil
			}
			value = value[:length]
			switch {
			case kind == fastTail:
				sum = checksum(sum, b[at:at+fastTagHeader+4])
				return le.Uint32(value) == transaction && le.Uint32(value[4:]) == sum, nil
			case kind == fastHead && le.Uint32(value[4:]) != transaction:
				return false, nil
			}
			sum = checksum(sum, b[at:at+fastTagHeader+length])
			at += fastTagHeader + length
		}
	}
	return false, nil
}
