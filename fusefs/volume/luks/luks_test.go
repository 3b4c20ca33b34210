package luks

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/fstest"
)

const passphrase = "correct horse"

// noise is size bytes that do not repeat.
func noise(size int) []byte {
	data := make([]byte, size)
	rand.New(rand.NewSource(1)).Read(data)
	return data
}

// qemu makes a LUKS1 image of data: an implementation of its own.
func qemu(t testing.TB, data []byte, options string) string {
	t.Helper()
	dir := t.TempDir()
	raw, path := filepath.Join(dir, "raw"), filepath.Join(dir, "luks")
	if err := os.WriteFile(raw, data, 0o600); err != nil {
		t.Fatal(err)
	}
	fstest.EncryptLUKS1(t, raw, path, passphrase, options)
	return path
}

// open opens an image and holds its content against data.
func open(t *testing.T, path, key string, data []byte) *Header {
	t.Helper()
	header, err := Read(fstest.Open(t, path))
	if err != nil {
		t.Fatal(err)
	}
	d, err := header.Open([][]byte{[]byte("wrong"), []byte(key)})
	if err != nil {
		t.Fatal(err)
	}
	if d.Size() != int64(len(data)) {
		t.Fatalf("%d bytes, want %d", d.Size(), len(data))
	}
	got := make([]byte, len(data))
	if _, err := d.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Fatal("other bytes than were encrypted")
	}
	for _, r := range [][2]int{{1, 1}, {511, 2}, {512, 512}, {700, 5000}, {4096, 8192}, {len(data) - 1, 1}, {len(data) - 600, 600}} {
		piece := make([]byte, r[1])
		if _, err := d.ReadAt(piece, int64(r[0])); err != nil || !bytes.Equal(piece, data[r[0]:r[0]+r[1]]) {
			t.Errorf("%d bytes at %d: %v, or other bytes", r[1], r[0], err)
		}
	}
	if start, end, err := d.Data(5); start != 5 || end != d.Size() || err != nil {
		t.Errorf("Data: %d to %d, %v", start, end, err)
	}
	return header
}

func TestLUKS1AsQEMUEncrypts(t *testing.T) {
	data := noise(1 << 20)
	for name, options := range map[string]string{
		"cbc essiv":   ",cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256,hash-alg=sha512",
		"cbc plain64": ",cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=plain64,hash-alg=sha1",
	} {
		t.Run(name, func(t *testing.T) {
			path := qemu(t, data, options)
			header := open(t, path, passphrase, data)
			uuid := strings.TrimSpace(fstest.Run(t, "cryptsetup", "luksUUID", path))
			if header.Version != 1 || header.UUID != uuid {
				t.Errorf("version %d, UUID %q, want %q", header.Version, header.UUID, uuid)
			}
		})
	}
}

// version2 makes a LUKS2 image of data: QEMU encrypts it under the volume key of a header
// that cryptsetup makes.
func version2(t testing.TB, data []byte) string {
	t.Helper()
	first := qemu(t, data, "")
	header, err := Read(fstest.Open(t, first))
	if err != nil {
		t.Fatal(err)
	}
	key, err := header.slots[0].unlock(header.device, []byte(passphrase))
	if err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "luks")
	fstest.Run(t, "truncate", "-s", "16M", path)
	fstest.Run(t, "cryptsetup", "luksFormat", "-q", "--type", "luks2", "--sector-size", "512", "--key-size", "512", "--key-file", keyFile(t, passphrase),
		"--volume-key-file", keyFile(t, string(key)), "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", path)
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt(image[header.payload.area.off:], 16<<20); err != nil {
		t.Fatal(err)
	}
	return path
}

// addKey adds a key slot, whose key is derived as options say.
func addKey(t testing.TB, path, key string, options ...string) {
	t.Helper()
	old, added := keyFile(t, passphrase), keyFile(t, key)
	argv := append([]string{"cryptsetup", "luksAddKey", "-q", "--key-file", old}, options...)
	fstest.Run(t, append(argv, path, added)...)
}

func keyFile(t testing.TB, key string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLUKS2(t *testing.T) {
	data := noise(1 << 20)
	path := version2(t, data)
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("damaged headers", func(t *testing.T) { damagedHeaders(t, image, data) })
	t.Run("locked", func(t *testing.T) { locked(t, path) })
	addKey(t, path, "of Argon2id", "--pbkdf", "argon2id", "--pbkdf-memory", "4096", "--pbkdf-parallel", "2", "--pbkdf-force-iterations", "4")
	addKey(t, path, "of Argon2i", "--pbkdf", "argon2i", "--pbkdf-memory", "4096", "--pbkdf-parallel", "1", "--pbkdf-force-iterations", "5")
	addKey(t, path, "of PBKDF2", "--pbkdf", "pbkdf2", "--hash", "sha512", "--pbkdf-force-iterations", "1000")
	for _, key := range []string{passphrase, "of Argon2id", "of Argon2i", "of PBKDF2"} {
		if header := open(t, path, key, data); header.Version != 2 {
			t.Errorf("version %d", header.Version)
		}
	}
}

func damagedHeaders(t *testing.T, image, data []byte) {
	for name, off := range map[string]int{"first, binary": 20, "first, magic": 0, "first, JSON": 5000, "second, binary": 16384 + 30, "second, JSON": 16384 + 5000} {
		t.Run(name, func(t *testing.T) {
			broken := bytes.Clone(image)
			broken[off] ^= 0x20
			path := filepath.Join(t.TempDir(), "luks")
			if err := os.WriteFile(path, broken, 0o600); err != nil {
				t.Fatal(err)
			}
			open(t, path, passphrase, data)
		})
	}
	image = bytes.Clone(image)
	clear(image[4096:8192])
	clear(image[16384+4096 : 16384+8192])
	if _, err := Read(device.OfReaderAt(bytes.NewReader(image), int64(len(image)))); !errors.Is(err, filesystem.ErrCorrupt) {
		t.Errorf("both damaged: %v", err)
	}
}

func locked(t *testing.T, path string) {
	header, err := Read(fstest.Open(t, path))
	if err != nil {
		t.Fatal(err)
	}
	for _, keys := range [][][]byte{nil, {[]byte("wrong"), nil, []byte(passphrase + "\n")}} {
		if d, err := header.Open(keys); d != nil || !errors.Is(err, ErrLocked) {
			t.Errorf("%d keys: %v", len(keys), err)
		}
	}
}

func TestSectorsOf4096BytesAsTheKernelEncrypts(t *testing.T) {
	// The volume key and the ciphertext of 8 sectors come from a kernel's dm-crypt.
	key := make([]byte, 64)
	for i := range key {
		key[i] = byte(i)
	}
	path := filepath.Join(t.TempDir(), "luks")
	fstest.Run(t, "truncate", "-s", "18M", path)
	fstest.Run(t, "cryptsetup", "luksFormat", "-q", "--type", "luks2", "--sector-size", "4096", "--key-size", "512", "--key-file", keyFile(t, passphrase),
		"--volume-key-file", keyFile(t, string(key)), "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", path)
	header, err := Read(fstest.Open(t, path))
	if err != nil {
		t.Fatal(err)
	}
	ciphertext, err := os.ReadFile("testdata/sectors-4096.bin")
	if err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copy(image[header.payload.area.off+sectors4096At:], ciphertext)
	header.device = device.OfReaderAt(bytes.NewReader(image), int64(len(image)))
	d, err := header.Open([][]byte{[]byte(passphrase)})
	if err != nil {
		t.Fatal(err)
	}
	plain := make([]byte, len(ciphertext))
	if _, err := d.ReadAt(plain, sectors4096At); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(plain)
	if want := sha256.Sum256(bytes.Repeat([]byte("0123456789abcde\n"), 8*4096/16)); sum != want {
		t.Fatalf("other bytes than were encrypted: %q…", plain[:64])
	}
}

// sectors4096At is where the kernel's sectors are in the encrypted device.
const sectors4096At = 1 << 20

func TestKeyDerivationsThatTakeTooMuch(t *testing.T) {
	good := kdf{kind: "argon2id", iterations: 4, memory: maxMemory, threads: 4}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*kdf){
		"memory": func(k *kdf) { k.memory = maxMemory + 1 },
		"passes": func(k *kdf) { k.memory, k.iterations = maxMemory, 65 },
		"none":   func(k *kdf) { k.iterations = 0 },
		"kind":   func(k *kdf) { k.kind = "scrypt" },
		"lanes":  func(k *kdf) { k.threads = 200 },
	} {
		changed := good
		change(&changed)
		if err := changed.check(); !errors.Is(err, filesystem.ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	data := noise(8 << 20)
	header, err := Read(fstest.Open(b, qemu(b, data, "")))
	if err != nil {
		b.Fatal(err)
	}
	d, err := header.Open([][]byte{[]byte(passphrase)})
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 1<<20)
	b.SetBytes(int64(len(buf)))
	for i := 0; b.Loop(); i++ {
		if _, err := d.ReadAt(buf, int64(i%8)<<20); err != nil {
			b.Fatal(err)
		}
	}
}

// Headers that lie apart from the data say so, and are not taken for the data themselves.
func TestHeadersOfDataElsewhere(t *testing.T) {
	for _, version := range []string{"luks1", "luks2"} {
		header, data := filepath.Join(t.TempDir(), "header"), filepath.Join(t.TempDir(), "data")
		fstest.Run(t, "truncate", "-s", "20M", header, data)
		fstest.Run(t, "cryptsetup", "luksFormat", "-q", "--type", version, "--header", header, "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000",
			data, keyFile(t, passphrase))
		h, err := Read(fstest.Open(t, header))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Open([][]byte{[]byte(passphrase)}); !errors.Is(err, filesystem.ErrUnsupported) {
			t.Errorf("%s: %v", version, err)
		}
	}
}
