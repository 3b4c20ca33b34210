package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vmsync/tests/lab"
)

// keepEvidence writes what may explain a failed round into a folder and returns its
// path. It does what it can.
func (c *campaign) keepEvidence(ctx context.Context, r *round, failure error) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	dir := filepath.Join(c.evidence, fmt.Sprintf("seed-%d-round-%d", c.seed, r.plan.number))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err.Error()
	}
	for _, m := range r.s.machines {
		r.note("machine %s, whose disks were known %v, now: %v", m.m.Name(), m.sure, m.check(ctx))
	}
	put := func(name, text string) { _ = os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644) }
	put("failure", fmt.Sprintf("%v\n\nrepeat: %s\n\nscene: %+v\n\nround: %+v\n\n%s\n",
		failure, c.repeat(r.plan.number), r.s.plan, r.plan, strings.Join(r.notes, "\n")))
	for i, run := range r.runs {
		put(fmt.Sprintf("sync-%d", i), run.text())
	}
	for _, h := range c.lab.Hosts() {
		for name, command := range map[string]string{
			"journal":   "journalctl --no-pager -o short-precise",
			"processes": "ps -ef",
			"libvirt":   "virsh list --all; for d in $(virsh list --all --name); do virsh domstate --reason $d; virsh domjobinfo $d; virsh checkpoint-list $d; virsh dumpxml $d; done",
			"qemu":      "tail -n 200 /var/log/libvirt/qemu/*.log",
			"run":       "find /run/vmsync -ls; cat " + orders,
			"images":    "find " + lab.ImageDir + " -ls; for i in " + lab.ImageDir + "/*.qcow2 " + lab.ImageDir + "/*/*.qcow2; do qemu-img info -U $i; done",
		} {
			out, err := h.Command(ctx, "sh", "-c", command+" 2>&1").CombinedOutput()
			if err != nil {
				out = append(out, err.Error()...)
			}
			put(h.Name()+"-"+name, string(out))
		}
	}
	for i, p := range r.s.pairs {
		folder := "'" + p.plan.store + "/" + p.plan.domain + "'"
		out, _ := c.hostb.Command(ctx, "sh", "-c", "cd "+folder+" && cat manifest.json; find . -ls; for i in disks/* run/*; do qemu-img info -U $i; qemu-img map -U --output=json $i; done").CombinedOutput()
		put(fmt.Sprintf("replica-%d", i), string(out))
	}
	return dir
}

// repeat is the command that repeats a round, with those before it in its scene.
func (c *campaign) repeat(round int) string {
	return fmt.Sprintf("go run ./tests/faults -seed %d -only %d", c.seed, round)
}
