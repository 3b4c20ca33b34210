package domainxml

// TPM is a domain's trusted platform module.
type TPM struct {
	// Backend is "emulator" for a software TPM that libvirt runs; else the state is
	// elsewhere: "passthrough", "external".
	Backend string
	Version string // "1.2" or "2.0"; "" leaves it to libvirt
	// Source is set where the state is at a place of the user's choice and not in
	// libvirt's own folder.
	Source bool
	// Secret is the UUID of the libvirt secret that the state is encrypted with; "" if it
	// is not.
	Secret string
}

// TPM returns the domain's TPM. A domain has at most one that keeps a state; a proxy,
// which keeps none, is not looked at.
func (d *Document) TPM() (TPM, bool) {
	devices := child(d.root, "devices")
	if devices == nil {
		return TPM{}, false
	}
	for _, e := range children(devices, "tpm") {
		if e.SelectAttrValue("model", "") == "spapr-tpm-proxy" {
			continue
		}
		backend := child(e, "backend")
		if backend == nil {
			continue
		}
		t := TPM{Backend: backend.SelectAttrValue("type", ""), Version: backend.SelectAttrValue("version", "")}
		t.Source = t.Backend == "emulator" && child(backend, "source") != nil
		if encryption := child(backend, "encryption"); encryption != nil {
			t.Secret = encryption.SelectAttrValue("secret", "")
		}
		return t, true
	}
	return TPM{}, false
}
