package qemu

import (
	"context"
	"encoding/json"
	"fmt"

	"vmsync/internal/proc"
)

// maxInfo bounds what qemu-img may say of one image, in bytes.
const maxInfo = 1 << 20

// Info is what an image says of itself.
type Info struct {
	Size          int64  // virtual size in bytes
	Compat        string // version of the format: "1.1" or "0.10"
	Backing       string // backing file, as it is written in the image; empty for none
	BackingFormat string
	DataFile      string // file that the data are in, where that is not the image
	Corrupt       bool   // qemu once found it damaged
}

// Inspect reads the header of a qcow2 image, and nothing of its backing file. It works on
// an image that is in use.
func Inspect(ctx context.Context, path string) (Info, error) {
	out, err := proc.Output(ctx, proc.Cmd{Argv: []string{ImgProgram, "info", "--force-share", "--output=json", "-f", "qcow2", "--", path},
		Package: "qemu-utils", Env: cLocale()}, maxInfo)
	if err != nil {
		return Info{}, fmt.Errorf("%s info: %w", ImgProgram, Classify(err))
	}
	var said struct {
		Size          int64  `json:"virtual-size"`
		Backing       string `json:"backing-filename"`
		BackingFormat string `json:"backing-filename-format"`
		Specific      struct {
			Data struct {
				Compat   string `json:"compat"`
				DataFile string `json:"data-file"`
				Corrupt  bool   `json:"corrupt"`
			} `json:"data"`
		} `json:"format-specific"`
	}
	if err := json.Unmarshal(out, &said); err != nil {
		return Info{}, fmt.Errorf("%s info: %w", ImgProgram, err)
	}
	d := said.Specific.Data
	return Info{Size: said.Size, Compat: d.Compat, Backing: said.Backing, BackingFormat: said.BackingFormat, DataFile: d.DataFile, Corrupt: d.Corrupt}, nil
}
