package luks

import (
	"bytes"
	"testing"

	"vmsync/fusefs/device"
)

const sampleJSON = `{"keyslots":{"0":{"type":"luks2","key_size":64,"af":{"type":"luks1","stripes":4000,"hash":"sha256"},
"area":{"type":"raw","offset":"32768","size":"258048","encryption":"aes-xts-plain64","key_size":64},
"kdf":{"type":"argon2id","time":4,"memory":32768,"cpus":2,"salt":"AAAA"}}},"tokens":{},
"segments":{"0":{"type":"crypt","offset":"65536","size":"dynamic","iv_tweak":"0","encryption":"aes-xts-plain64","sector_size":512}},
"digests":{"0":{"type":"pbkdf2","keyslots":["0"],"segments":["0"],"hash":"sha256","iterations":1000,"salt":"AAAA","digest":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}},
"config":{"json_size":"12288","keyslots_size":"258048"}}`

// FuzzHeader reads headers of both versions, of which the second's checksum was right, and
// what they would decrypt under a key that fits.
func FuzzHeader(f *testing.F) {
	first := make([]byte, header1Size)
	copy(first, "LUKS\xba\xbe\x00\x01aes")
	copy(first[40:], "xts-plain64")
	copy(first[72:], "sha256")
	first[107], first[111], first[208+1], first[208+2], first[208+3] = 8, 64, 0xac, 0x71, 0xf3
	f.Add([]byte(sampleJSON), true)
	f.Add(first, false)
	f.Fuzz(func(t *testing.T, raw []byte, second bool) {
		image := make([]byte, 128<<10)
		d := device.OfReaderAt(bytes.NewReader(image), int64(len(image)))
		var header *Header
		var err error
		if second {
			header, err = (&copy2{json: raw}).header(d)
		} else {
			copy(image, raw)
			header, err = readVersion1(d)
		}
		if err != nil {
			return
		}
		if d, err := header.Open(nil); d != nil || err == nil {
			t.Fatal("opened without a key")
		}
		for _, s := range header.slots {
			if s.err == nil && s.kdf.check() != nil {
				t.Fatal("a slot that takes too much passed")
			}
			if s.err == nil && s.stripes*s.keySize < 1<<14 {
				if key, err := merge(make([]byte, s.stripes*s.keySize), s.keySize, s.stripes, s.splitHash); err == nil && len(key) != s.keySize {
					t.Fatalf("a key of %d bytes", len(key))
				}
			}
		}
		if plain, err := header.decrypted(make([]byte, 64)); err == nil {
			buf := make([]byte, 5000)
			if n, err := plain.ReadAt(buf, plain.Size()/2+1); n < len(buf) && err == nil {
				t.Fatal("a short read without an error")
			}
		}
	})
}
