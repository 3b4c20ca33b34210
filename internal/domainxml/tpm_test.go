package domainxml

import "testing"

func TestTPMIsFound(t *testing.T) {
	for in, want := range map[string]TPM{
		`<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>`:                                                     {Backend: "emulator", Version: "2.0"},
		`<tpm model='tpm-tis'><backend type='emulator'/></tpm>`:                                                                   {Backend: "emulator"},
		`<tpm><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>`:                                             {Backend: "passthrough"},
		`<tpm><backend type='external'><source type='unix' mode='connect' path='/s'/></backend></tpm>`:                            {Backend: "external"},
		`<tpm><backend type='emulator' version='2.0'><source type='dir' path='/d'/></backend></tpm>`:                              {Backend: "emulator", Version: "2.0", Source: true},
		`<tpm><backend type='emulator' version='1.2'><encryption secret='6dd3e4a5-1d76-44ce-961f-f119f5aad935'/></backend></tpm>`: {Backend: "emulator", Version: "1.2", Secret: "6dd3e4a5-1d76-44ce-961f-f119f5aad935"},
		`<tpm model='spapr-tpm-proxy'><backend type='passthrough'/></tpm><tpm><backend type='emulator' version='2.0'/></tpm>`:     {Backend: "emulator", Version: "2.0"},
	} {
		d := parse(t, "<domain><devices>"+in+"</devices></domain>")
		if got, ok := d.TPM(); !ok || got != want {
			t.Errorf("%s: %+v, %v", in, got, ok)
		}
	}
	for _, in := range []string{"<domain/>", "<domain><devices/></domain>", "<domain><devices><tpm/></devices></domain>"} {
		if got, ok := parse(t, in).TPM(); ok {
			t.Errorf("%s: %+v", in, got)
		}
	}
}
