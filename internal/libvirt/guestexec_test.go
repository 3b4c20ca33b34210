package libvirt

import (
	"encoding/base64"
	"reflect"
	"strings"
	"testing"
)

func TestAnswersOfGuestsAreRead(t *testing.T) {
	for reply, want := range map[string]GuestExit{
		`{"return":{"exited":false}}`:                                                         {Status: -1},
		`{"return":{"exited":true,"exitcode":0,"out-data":"aGkK"}}`:                           {Exited: true, Stdout: []byte("hi\n")},
		`{"return":{"exitcode":3,"exited":true,"err-data":"bm8=","err-truncated":true}}`:      {Exited: true, Status: 3, Stderr: []byte("no"), Truncated: true},
		`{"return":{"signal":9,"exited":true,"out-truncated":true}}`:                          {Exited: true, Status: -1, Signal: 9, Truncated: true},
		`{"return":{"exited":true,"exitcode":-1073741510,"what-is-newer":{"than":["this"]}}}`: {Exited: true, Status: -1073741510},
	} {
		var s guestStatus
		if err := readReply(reply, &s); err != nil {
			t.Errorf("%s: %v", reply, err)
		}
		if got := s.exit(); !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: %+v", reply, got)
		}
	}
}

func TestAnswersOfHostileGuestsAreRefused(t *testing.T) {
	for name, reply := range map[string]string{
		"nothing":     "",
		"no JSON":     "hello",
		"cut":         `{"return":{"exited":tr`,
		"two":         `{"return":{}}{"return":{}}`,
		"wrong type":  `{"return":{"exited":"yes"}}`,
		"no object":   `{"return":[1,2,3]}`,
		"no base64":   `{"return":{"exited":true,"out-data":"*"}}`,
		"huge number": `{"return":{"exited":true,"exitcode":1e30}}`,
		"deep":        `{"return":` + strings.Repeat("[", 100000),
		"too long":    `{"return":{"out-data":"` + base64.StdEncoding.EncodeToString(make([]byte, maxAgentReply)) + `"}}`,
	} {
		var s guestStatus
		if err := readReply(reply, &s); err == nil || !strings.Contains(err.Error(), "the guest agent's answer") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAgentsThatAreSetUpNotToRunPrograms(t *testing.T) {
	for reply, lacks := range map[string]bool{
		`{"return":{"version":"7.2","supported_commands":[{"enabled":true,"name":"guest-exec","success-response":true}]}}`: false,
		`{"return":{"supported_commands":[{"enabled":false,"name":"guest-exec"}]}}`:                                        true,
		`{"return":{"supported_commands":[{"enabled":true,"name":"guest-exec-status"}]}}`:                                  true,
	} {
		var i agentInfo
		if err := readReply(reply, &i); err != nil {
			t.Fatal(err)
		}
		if i.lacks(guestExec) != lacks {
			t.Errorf("%s: lacks is not %v", reply, lacks)
		}
	}
}
