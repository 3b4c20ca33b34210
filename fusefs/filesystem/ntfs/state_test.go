package ntfs

import (
	"strings"
	"testing"

	"vmsync/fusefs/filesystem/fstest"
)

func TestHibernatedWindowsIsNoted(t *testing.T) {
	for content, noted := range map[string]bool{"hibr and memory": true, "HIBR and memory": true, "wake": false, "": false} {
		image := fstest.Make(t, 20<<20, "mkfs.ntfs", "-F", "-q", "-Q")
		dir := mount(t, image, mountOptions)
		write(t, dir, "hiberfil.sys", []byte(content))
		unmount(t, dir, image)
		notes := openImage(t, image).Info().Notes
		if (len(notes) == 1 && strings.Contains(notes[0], "hibernated")) != noted {
			t.Errorf("with %q notes are %q", content, notes)
		}
	}
}
