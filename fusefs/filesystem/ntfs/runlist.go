package ntfs

// A run is clusters of a stream that follow each other on the device, or a hole.
type run struct {
	vcn    int64 // in the stream
	lcn    int64 // on the device, hole for none
	length int64
}

const (
	hole = -1
	// maxVCN bounds cluster numbers so that no offset in bytes overflows.
	maxVCN = 1<<63/maxClusterSize - 1
)

// decodeRuns reads the mapping pairs of an attribute: for each run a byte with the
// lengths of two numbers, how many clusters, and how far from the last run they are.
func decodeRuns(a *attribute, clusters int64) ([]run, error) {
	var runs []run
	vcn, lcn := a.lowVCN, int64(0)
	b := a.runs
	for len(b) > 0 && b[0] != 0 && vcn <= a.highVCN {
		lengthBytes, offsetBytes := int(b[0]&0x0f), int(b[0]>>4)
		if lengthBytes == 0 || lengthBytes > 8 || offsetBytes > 8 || 1+lengthBytes+offsetBytes > len(b) {
			return nil, corrupt("a run of %d and %d bytes", lengthBytes, offsetBytes)
		}
		length := signed(b[1 : 1+lengthBytes])
		if length <= 0 || length > a.highVCN+1-vcn {
			return nil, corrupt("a run of %d clusters at %d of %d", length, vcn, a.highVCN+1)
		}
		r := run{vcn, hole, length}
		if offsetBytes > 0 {
			// The sum may wrap round; it is checked as it is.
			lcn += signed(b[1+lengthBytes : 1+lengthBytes+offsetBytes])
			if lcn < 0 || length > clusters || lcn > clusters-length {
				return nil, corrupt("clusters %d to %d of %d", lcn, lcn+length, clusters)
			}
			r.lcn = lcn
		}
		runs = appendRun(runs, r)
		vcn += length
		b = b[1+lengthBytes+offsetBytes:]
	}
	if vcn != a.highVCN+1 {
		return nil, corrupt("runs end at cluster %d of %d", vcn, a.highVCN+1)
	}
	return runs, nil
}

// appendRun merges runs that follow each other on the device.
func appendRun(runs []run, r run) []run {
	if n := len(runs); n > 0 {
		last := &runs[n-1]
		if (last.lcn == hole && r.lcn == hole) || (last.lcn != hole && r.lcn == last.lcn+last.length) {
			last.length += r.length
			return runs
		}
	}
	return append(runs, r)
}

// signed reads a little-endian number of 1 to 8 bytes.
func signed(b []byte) int64 {
	n := int64(int8(b[len(b)-1]))
	for i := len(b) - 2; i >= 0; i-- {
		n = n<<8 | int64(b[i])
	}
	return n
}
