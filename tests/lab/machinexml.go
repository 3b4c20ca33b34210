package lab

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"path/filepath"
	"strings"
	"text/template"

	"vmsync/tests/lab/guest"
)

// domainTemplate is an ordinary small domain. It is of type qemu because the
// lab cannot count on hardware acceleration, and a pc because that hot-plugs at
// once, where q35 waits for a button.
const domainTemplate = `<domain type='qemu'>
  <name>{{.Name | xml}}</name>
  <title>Lab machine {{.Name | xml}}</title>
  <metadata>
    <lab:machine xmlns:lab='urn:vmsync:lab' kind='{{if .Guest}}guest{{else}}paused{{end}}'/>
  </metadata>
  <memory unit='MiB'>256</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
{{- if .Guest}}
    <kernel>{{.KernelDir}}/lab-vmlinuz</kernel>
    <initrd>{{.KernelDir}}/lab-initrd</initrd>
    <cmdline>{{.CmdLine}}</cmdline>
{{- else}}
    <boot dev='hd'/>
{{- end}}
  </os>
  <features>
    <acpi/>
  </features>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
{{- range .Disks}}
{{template "disk" .}}
{{- end}}
{{- if .SCSI}}
    <controller type='scsi' model='virtio-scsi'/>
{{- end}}
    <serial type='pty'/>
    <console type='pty'/>
{{- if and .Guest (not .NoAgent)}}
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
{{- end}}
{{- if .Guest}}
    <channel type='unix'>
      <target type='virtio' name='lab.control.0'/>
    </channel>
{{- end}}
    <rng model='virtio'>
      <backend model='random'>/dev/urandom</backend>
    </rng>
    <memballoon model='virtio'/>
  </devices>
</domain>
`

const diskTemplate = `{{define "disk"}}    <disk type='file' device='disk'>
      <driver name='qemu' type='{{.Format | xml}}' discard='unmap'/>
      <source file='{{.Path | xml}}'/>
      <target dev='{{.Target | xml}}' bus='{{bus .Target}}'/>
{{- if .Serial}}
      <serial>{{.Serial | xml}}</serial>
{{- end}}
    </disk>{{end}}`

// bus is the bus that a target's name stands for.
func bus(target string) string {
	if strings.HasPrefix(target, "sd") {
		return "scsi"
	}
	return "virtio"
}

func escapeXML(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder does not fail
	return b.String()
}

func parseTemplates() (*template.Template, error) {
	t := template.New("domain").Funcs(template.FuncMap{"xml": escapeXML, "bus": bus})
	if _, err := t.Parse(domainTemplate); err != nil {
		return nil, err
	}
	return t.Parse(diskTemplate)
}

// domainXML is the definition of a machine whose disks have all defaults.
func domainXML(spec MachineSpec) (string, error) {
	t, err := parseTemplates()
	if err != nil {
		return "", err
	}
	data := struct {
		MachineSpec
		KernelDir, CmdLine string
		SCSI               bool
	}{MachineSpec: spec, KernelDir: filepath.Clean(kernelDir), CmdLine: guest.CmdLine}
	for _, d := range spec.Disks {
		data.SCSI = data.SCSI || bus(d.Target) == "scsi"
	}
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return "", fmt.Errorf("write the XML of machine %s: %w", spec.Name, err)
	}
	return b.String(), nil
}

// diskXML is the definition of one disk.
func diskXML(d DiskSpec) (string, error) {
	t, err := parseTemplates()
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	err = t.ExecuteTemplate(&b, "disk", d)
	return b.String(), err
}
