package qemu

import (
	"bytes"
	"context"
	"fmt"
	"strconv"

	"vmsync/internal/proc"
)

// Formats that [Convert] writes.
const (
	FormatQcow2 = "qcow2"
	FormatRaw   = "raw"
)

// Copy is a disk to write somewhere.
type Copy struct {
	From string // qcow2 image; what it reads as through its backing files is copied
	To   string // absolute path; a file that is there is overwritten
	// Format is [FormatQcow2] or [FormatRaw].
	Format string
	// Device says that To is a block device: it is written to as it is, ranges of zeros
	// included. It must have room for the disk.
	Device bool
}

// Convert copies a disk. progress, unless nil, gets the part that is done, 0 to 1, from
// another goroutine, which has ended when Convert returns. What was written is not
// durable yet. A full file system is [ErrNoSpace]; what was written by then is there.
func Convert(ctx context.Context, c Copy, progress func(part float64)) error {
	argv := []string{ImgProgram, "convert", "-p", "-W", "-f", "qcow2", "-O", c.Format}
	switch {
	case c.Device:
		argv = append(argv, "-n")
	case c.Format == FormatQcow2:
		argv = append(argv, "-o", "compat=1.1")
	}
	p, err := proc.Start(ctx, proc.Cmd{Argv: append(argv, "--", c.From, c.To), Package: "qemu-utils", Env: cLocale(), Stdout: &percents{tell: progress}})
	if err == nil {
		err = p.Wait()
	}
	if err != nil {
		return fmt.Errorf("%s convert: %w", ImgProgram, Classify(err))
	}
	return nil
}

// percents reads what qemu-img prints with -p: "    (12.50/100%)", each followed by a
// carriage return.
type percents struct {
	tell func(float64)
	last []byte
}

func (p *percents) Write(b []byte) (int, error) {
	if p.tell == nil {
		return len(b), nil
	}
	p.last = append(p.last, b...)
	end := bytes.LastIndexByte(p.last, ')')
	if end < 0 {
		p.last = p.last[max(0, len(p.last)-64):]
		return len(b), nil
	}
	if from := bytes.LastIndexByte(p.last[:end], '('); from >= 0 {
		number, _, _ := bytes.Cut(p.last[from+1:end], []byte("/"))
		if f, err := strconv.ParseFloat(string(number), 64); err == nil {
			p.tell(min(1, max(0, f/100)))
		}
	}
	p.last = p.last[end+1:]
	return len(b), nil
}
