package domainxml

import (
	"strings"
	"testing"
)

func TestACopyIsAnotherMachine(t *testing.T) {
	doc, err := Parse(`<domain type='kvm'>
  <name>vm1</name>
  <genid>43dc0cf8-809b-4adb-9bea-a9abb5f3d90e</genid>
  <os>
    <loader type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader>
    <nvram template='/usr/share/OVMF/OVMF_VARS.fd'>/var/lib/libvirt/qemu/nvram/vm1_VARS.fd</nvram>
  </os>
  <devices>
    <disk type='block' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source dev='/dev/vg/vm1'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='network'>
      <mac address='52:54:00:aa:bb:cc'/>
      <source network='default'/>
    </interface>
    <interface type='bridge'>
      <source bridge='br0'/>
    </interface>
  </devices>
</domain>`)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.UseFile("vda", "/there/vda.img", "raw"); err != nil {
		t.Fatal(err)
	}
	doc.Distinguish()
	doc.RemoveNVRAM()
	got, err := doc.String()
	if err != nil {
		t.Fatal(err)
	}
	want := `<domain type="kvm">
  <name>vm1</name>
  <genid/>
  <os>
    <loader type="pflash">/usr/share/OVMF/OVMF_CODE.fd</loader>
  </os>
  <devices>
    <disk type="file" device="disk">
      <driver name="qemu" type="raw"/>
      <source file="/there/vda.img"/>
      <target dev="vda" bus="virtio"/>
    </disk>
    <interface type="network">
      <source network="default"/>
    </interface>
    <interface type="bridge">
      <source bridge="br0"/>
    </interface>
  </devices>
</domain>`
	if strings.ReplaceAll(got, "'", `"`) != want {
		t.Errorf("got\n%s", got)
	}
}
