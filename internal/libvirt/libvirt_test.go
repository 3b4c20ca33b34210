package libvirt

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	lv "libvirt.org/go/libvirt"
)

func TestBackupXMLMixesFullAndIncrementalDisks(t *testing.T) {
	b := Backup{Socket: "/run/a b/'s'.sock", Disks: []BackupDisk{
		{Name: "vda", Incremental: "cp1", Scratch: "/img/a&b.scratch", Export: "vda", Bitmap: "backup-vda"},
		{Name: "vdb", Scratch: "/img/b.scratch", Export: "vdb"},
		{Name: "sda", Excluded: true},
	}}
	got, err := b.XML()
	if err != nil {
		t.Fatal(err)
	}
	want := `<domainbackup mode="pull">
  <server transport="unix" socket="/run/a b/&#39;s&#39;.sock"></server>
  <disks>
    <disk name="vda" backup="yes" type="file" backupmode="incremental" incremental="cp1" exportname="vda" exportbitmap="backup-vda">
      <scratch file="/img/a&amp;b.scratch"></scratch>
    </disk>
    <disk name="vdb" backup="yes" type="file" backupmode="full" exportname="vdb">
      <scratch file="/img/b.scratch"></scratch>
    </disk>
    <disk name="sda" backup="no"></disk>
  </disks>
</domainbackup>`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	back, err := ParseBackup(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&b, back); diff != "" {
		t.Error(diff)
	}
}

func TestForeignBackupsHaveNoSocket(t *testing.T) {
	for _, in := range []string{
		`<domainbackup mode='push'><disks><disk name='vda' backup='yes' type='file'><target file='/x'/></disk></disks></domainbackup>`,
		`<domainbackup mode='pull'><server transport='tcp' name='::1' port='10809'/></domainbackup>`,
		`<domainbackup mode='pull'/>`,
	} {
		b, err := ParseBackup(in)
		if err != nil || b.Socket != "" {
			t.Errorf("%s: %+v, %v", in, b, err)
		}
	}
}

func TestCheckpointXMLNamesEveryDisk(t *testing.T) {
	c := Checkpoint{Name: "vmsync-0a1b2c3d-1", Disks: []string{"vda"}, Others: []string{"sda"}}
	got, err := c.XML()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseCheckpoint(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&c, back); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(got, `<disk name="sda" checkpoint="no">`) {
		t.Error(got)
	}
}

func TestCheckpointToBeKnownAgainSaysWhenItWasMade(t *testing.T) {
	c := Checkpoint{Name: "vmsync-0a1b2c3d-1", Disks: []string{"vda"}}
	got, err := c.xml(time.Unix(1795288848, 5))
	if err != nil {
		t.Fatal(err)
	}
	// Without it libvirt says "missing creationTime from existing checkpoint".
	if !strings.Contains(got, "<creationTime>1795288848</creationTime>") {
		t.Error(got)
	}
	if plain, err := c.XML(); err != nil || strings.Contains(plain, "creationTime") {
		t.Errorf("%v\n%s", err, plain)
	}
}

func TestImagesOfACheckpointAreRead(t *testing.T) {
	got, err := parseCheckpointImages(`<domaincheckpoint><name>c</name><disks><disk name='vda' checkpoint='bitmap'/></disks>
	  <domain type='kvm'><devices>
	    <disk type='file' device='disk'><source file='/a b'/><target dev='vda'/></disk>
	    <disk type='block' device='disk'><source dev='/dev/b'/><target dev='vdb'/></disk>
	    <disk type='network' device='disk'><source protocol='nbd' name='x'/><target dev='vdc'/></disk>
	    <disk type='file' device='cdrom'><target dev='sda'/></disk>
	  </devices></domain></domaincheckpoint>`)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"vda": "/a b", "vdb": "/dev/b"}, got); diff != "" {
		t.Error(diff)
	}
	if got, err := parseCheckpointImages("<domaincheckpoint><name>c</name></domaincheckpoint>"); err != nil || len(got) > 0 {
		t.Errorf("without a domain: %v, %v", got, err)
	}
}

func TestCheckpointOfLibvirtIsRead(t *testing.T) {
	c, err := ParseCheckpoint(`<domaincheckpoint>
  <name>c2</name>
  <parent><name>c1</name></parent>
  <creationTime>1700000000</creationTime>
  <disks>
    <disk name='vda' checkpoint='bitmap' bitmap='c2'/>
    <disk name='sda' checkpoint='no'/>
  </disks>
  <domain><name>not me</name><devices><disk><target dev='vdz'/></disk></devices></domain>
</domaincheckpoint>`)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&Checkpoint{Name: "c2", Disks: []string{"vda"}, Others: []string{"sda"}}, c); diff != "" {
		t.Error(diff)
	}
}

func TestOtherXMLIsRefused(t *testing.T) {
	if _, err := ParseCheckpoint("<domaincheckpoint/>"); err == nil {
		t.Error("a checkpoint without a name was read")
	}
	if _, err := ParseCheckpoint("<domain/>"); err == nil {
		t.Error("a domain was read as a checkpoint")
	}
	if _, err := ParseBackup("<domain/>"); err == nil {
		t.Error("a domain was read as a backup")
	}
}

func TestCapabilitiesGiveHostAndQemuUser(t *testing.T) {
	const in = `<capabilities><host><uuid>aaaa</uuid>
<secmodel><model>apparmor</model><doi>0</doi></secmodel>
<secmodel><model>dac</model><doi>0</doi><baselabel type='kvm'>+64055:+64056</baselabel><baselabel type='qemu'>+64055:+64056</baselabel></secmodel>
</host><guest><uuid>no</uuid></guest></capabilities>`
	h, err := parseCapabilities(in)
	if err != nil || h != (Host{UUID: "aaaa", QemuUID: 64055, QemuGID: 64056}) {
		t.Errorf("got %+v, %v", h, err)
	}
	h, err = parseCapabilities("<capabilities><host><uuid>aaaa</uuid></host></capabilities>")
	if err != nil || h.QemuUID != -1 {
		t.Errorf("without DAC: %+v, %v", h, err)
	}
	for _, bad := range []string{"", "<capabilities/>", strings.Replace(in, "+64055:+64056", "qemu", 1)} {
		if _, err := parseCapabilities(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestErrorsAreClassifiedByCode(t *testing.T) {
	for code, want := range map[lv.ErrorNumber]error{
		lv.ERR_NO_DOMAIN:               ErrNoDomain,
		lv.ERR_NO_DOMAIN_CHECKPOINT:    ErrNoCheckpoint,
		lv.ERR_CHECKPOINT_INCONSISTENT: ErrCheckpointInconsistent,
		lv.ERR_AGENT_UNRESPONSIVE:      ErrAgentUnresponsive,
		lv.ERR_AGENT_COMMAND_TIMEOUT:   ErrAgentUnresponsive,
		lv.ERR_AGENT_COMMAND_FAILED:    ErrAgentCommand,
		lv.ERR_OPERATION_INVALID:       ErrOperationInvalid,
		lv.ERR_INTERNAL_ERROR:          ErrInternal,
		lv.ERR_OPERATION_TIMEOUT:       ErrTimeout,
	} {
		// A text that says something else must not matter.
		err := fmt.Errorf("wrapped: %w", newError("op", "web", lv.Error{Code: code, Message: "Domaine non trouvé"}, false))
		if !errors.Is(err, want) {
			t.Errorf("code %d is not %v: %v", code, want, err)
		}
		if !strings.Contains(err.Error(), "op (domain web): Domaine non trouvé") {
			t.Errorf("text: %v", err)
		}
	}
}

func TestLostConnectionIsNoInternalError(t *testing.T) {
	err := newError("op", "", lv.Error{Code: lv.ERR_INTERNAL_ERROR, Message: "client socket is closed"}, true)
	if !errors.Is(err, ErrDisconnected) || errors.Is(err, ErrInternal) {
		t.Errorf("got %v (%v)", err, err.Kind)
	}
	if denied := newError("op", "", lv.Error{Code: lv.ERR_AUTH_FAILED}, true); !errors.Is(denied, ErrDenied) {
		t.Errorf("got %v (%v)", denied, denied.Kind)
	}
}

func TestStatesReadLikeVirsh(t *testing.T) {
	for s, want := range map[State]string{
		{lv.DOMAIN_RUNNING, 1}:                              "running",
		{lv.DOMAIN_PAUSED, int(lv.DOMAIN_PAUSED_IOERROR)}:   "paused (I/O error)",
		{lv.DOMAIN_SHUTOFF, int(lv.DOMAIN_SHUTOFF_CRASHED)}: "shut off (crashed)",
		{lv.DomainState(99), 0}:                             "unknown state",
	} {
		if s.String() != want {
			t.Errorf("%+v reads %q, want %q", s, s.String(), want)
		}
	}
	if (State{lv.DOMAIN_SHUTDOWN, 0}).BackupPossible() {
		t.Error("a domain that shuts down can be backed up")
	}
}

func TestJobsAreNamedByOperation(t *testing.T) {
	for want, info := range map[string]lv.DomainJobInfo{
		JobNone:     {Type: lv.DOMAIN_JOB_NONE, OperationSet: true, Operation: lv.DOMAIN_JOB_OPERATION_BACKUP},
		JobBackup:   {Type: lv.DOMAIN_JOB_UNBOUNDED, OperationSet: true, Operation: lv.DOMAIN_JOB_OPERATION_BACKUP},
		"migration": {Type: lv.DOMAIN_JOB_UNBOUNDED, OperationSet: true, Operation: lv.DOMAIN_JOB_OPERATION_MIGRATION_OUT},
		JobUnknown:  {Type: lv.DOMAIN_JOB_UNBOUNDED},
	} {
		if got := jobName(&info); got != want {
			t.Errorf("%+v is %q, want %q", info, got, want)
		}
	}
}
