package e2e

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"vmsync/nbdproxy/stream"
	"vmsync/replicator"
	"vmsync/tests/lab"
)

// uefiMachine is a machine with UEFI variables, among them some that no template has,
// and an emulated TPM.
func uefiMachine(t *testing.T) (m *lab.Machine, nvram string) {
	t.Helper()
	nvram = "/var/lib/libvirt/qemu/nvram/uefi_VARS.fd"
	m = makeMachine(t, lab.MachineSpec{Name: "uefi", Disks: []lab.DiskSpec{qcow2("vda", 64*mib)}, XMLHook: func(xml string) string {
		xml = strings.Replace(xml, "<boot dev='hd'/>", "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>"+
			"<nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'>"+nvram+"</nvram><boot dev='hd'/>", 1)
		return strings.Replace(xml, "</devices>", "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm></devices>", 1)
	}})
	destroy(t, m)
	f, err := os.OpenFile(hosta.Path(nvram), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("BootOrder of this machine"), 4096); err != nil {
		t.Fatal(err)
	}
	startPaused(t, m)
	return m, nvram
}

// sentState is what the header of a stream file on hosta says of its state.
func sentState(t *testing.T, file string) *replicator.StreamState {
	t.Helper()
	f, err := os.Open(hosta.Path(streams + "/" + file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h, _, err := stream.ReadHeader(f)
	if err != nil {
		t.Fatal(err)
	}
	s, err := replicator.ParseStreamState(h.State)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStreamCarriesTheFirmware(t *testing.T) {
	m, nvram := uefiMachine(t)
	send(t, m, "1")
	s := sentState(t, "1")
	want, err := hosta.ReadFile(nvram)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(s.NVRAM, want) || !bytes.Contains(s.NVRAM, []byte("BootOrder of this machine")) {
		t.Errorf("UEFI variables: %d bytes, want %d", len(s.NVRAM), len(want))
	}
	files, err := replicator.ReadTPM(s.TPM)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range files {
		want, err := hosta.ReadFile("/var/lib/libvirt/swtpm/" + uuidOf(t, m) + "/" + f.Name)
		if err != nil || !bytes.Equal(f.Data, want) {
			t.Errorf("%s: %d bytes, want %d: %v", f.Name, len(f.Data), len(want), err)
		}
		found = found || strings.HasSuffix(f.Name, ".permall") && len(f.Data) > 0
	}
	if !found {
		t.Errorf("no state among %d files of the TPM", len(files))
	}
}

func TestFirmwareThatCannotBeReadIsNamedAndTheDisksAreCopied(t *testing.T) {
	m, nvram := uefiMachine(t)
	dirty(t, m, "vda", 0, mib, 1)
	o := trySync(t, m.Name())
	succeeded(t, o)
	if w := o.messages("warning"); strings.Contains(w, "UEFI") || strings.Contains(w, "TPM") {
		t.Errorf("warnings: %q", w)
	}
	for _, file := range []string{nvram, "/var/lib/libvirt/swtpm/" + uuidOf(t, m) + "/tpm2"} {
		hide(t, hosta, file)
	}
	dirty(t, m, "vda", mib, mib, 2)
	o = trySync(t, m.Name())
	succeeded(t, o)
	w := o.messages("warning")
	for _, want := range []string{"domain " + m.Name() + ": the UEFI variables are not replicated: ", nvram, "domain " + m.Name() + ": the state of the TPM is not replicated: ", "/tpm2: no such file"} {
		if !strings.Contains(w, want) {
			t.Errorf("warnings %q lack %q", w, want)
		}
	}
	sameAsSource(t, m, "vda")
}

// TestAlteredFirmwareIsNotBooted has UEFI variables rot on the target where the replica's
// domain has to be defined anew.
func TestAlteredFirmwareIsNotBooted(t *testing.T) {
	m, _ := uefiMachine(t)
	name := m.Name()
	dirty(t, m, "vda", 0, mib, 1)
	sync(t, name)
	folder := storeDir + "/" + name + "/"
	damaged := head(t, name).NVRAM
	f, err := os.OpenFile(hostb.Path(folder+damaged), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("bootOrder"), 4096); err != nil {
		t.Fatal(err)
	}
	run := manifest(t, name).Run[0].Image
	if err := os.Remove(hostb.Path(folder + run)); err != nil {
		t.Fatal(err)
	}
	admins(t, "discard-run", name).exits(t, 1, "state "+head(t, name).ID+": "+damaged+" is not as received", "vmsync verify "+name)
	dirty(t, m, "vda", mib, mib, 2)
	o := trySync(t, name)
	succeeded(t, o)
	if w := o.messages("warning"); !strings.Contains(w, damaged+" is not as received") {
		t.Errorf("warnings: %q", w)
	}
	fresh := manifest(t, name).RunNVRAM
	got, err := hostb.ReadFile(folder + fresh)
	if err != nil || !bytes.Contains(got, []byte("BootOrder of this machine")) {
		t.Errorf("the replica's UEFI variables are not the newest state's: %d bytes, %v", len(got), err)
	}
	sameAsSource(t, m, "vda")
}

// TestReplicaStartsWithTheFirmwareOfItsState starts a replica, whose firmware then
// writes, and looks at what it has and at what the state keeps.
func TestReplicaStartsWithTheFirmwareOfItsState(t *testing.T) {
	m, nvram := uefiMachine(t)
	sync(t, m.Name())
	dirty(t, m, "vda", 0, mib, 1)
	sync(t, m.Name())
	want, err := hosta.ReadFile(nvram)
	if err != nil {
		t.Fatal(err)
	}
	s := head(t, m.Name())
	folder := storeDir + "/" + m.Name() + "/"
	kept, err := hostb.ReadFile(folder + s.NVRAM)
	if err != nil || !bytes.Equal(kept, want) {
		t.Errorf("the state keeps %d bytes of UEFI variables, not %d: %v", len(kept), len(want), err)
	}
	archive, err := hostb.ReadFile(folder + s.TPM)
	if err != nil {
		t.Fatal(err)
	}
	files, err := replicator.ReadTPM(archive)
	if err != nil {
		t.Fatal(err)
	}
	replica := hostb.Machine(m.Name())
	if err := replica.StartPaused(t.Context()); err != nil {
		t.Fatal(err)
	}
	run := manifest(t, m.Name()).RunNVRAM
	if got, err := hostb.ReadFile(folder + run); err != nil || !bytes.Contains(got, []byte("BootOrder of this machine")) {
		t.Errorf("the replica's UEFI variables are not the source's: %d bytes, %v", len(got), err)
	}
	for _, f := range files {
		got, err := hostb.ReadFile("/var/lib/libvirt/swtpm/" + manifest(t, m.Name()).TargetUUID + "/" + f.Name)
		if err != nil || len(got) != len(f.Data) {
			t.Errorf("%s of the replica's TPM: %d bytes, not %d: %v", f.Name, len(got), len(f.Data), err)
		}
	}
	if err := replica.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again, err := hostb.ReadFile(folder + s.NVRAM); err != nil || !bytes.Equal(again, want) {
		t.Errorf("the state's UEFI variables changed: %v", err)
	}
}
