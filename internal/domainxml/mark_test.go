package domainxml

import "testing"

func TestIsReplica(t *testing.T) {
	for element, want := range map[string]bool{
		`<replica role="replica" pair="0a1b2c3d"/>`:                                        true,
		`<vmsync:replica xmlns:vmsync="https://vmsync/xmlns/replica/1.0" role="replica"/>`: true,
		`<replica role="promoted"/>`:                                                       false,
		`<other role="replica"/>`:                                                          false,
		`<replica role="replica"`:                                                          false,
		``:                                                                                 false,
	} {
		if got := IsReplica(element); got != want {
			t.Errorf("%s: %v", element, got)
		}
	}
}
