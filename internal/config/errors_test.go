package config

import (
	"strings"
	"testing"
)

// TestWhatIsWrongWithAFile has whole files, and the errors they give.
func TestWhatIsWrongWithAFile(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"empty", "", []string{
			"f:1:1: the file says nothing: see vmsync config example",
		}},
		{"comments only", "# only\n", []string{
			"f:1:1: the file says nothing: see vmsync config example",
		}},
		{"a value", "x\n", []string{
			"f:1:1: the file is a single value: begin it with version: 1",
		}},
		{"a list", "- a\n", []string{
			"f:1:1: the file is a list: begin it with version: 1",
		}},
		{"another version", "version: 2\n" +
			"surces: x\n", []string{
			`f:1:10: version "2" is not known to this vmsync: write version: 1, or install the vmsync that the file was written for`,
		}},
		{"version without a value", "version:\n", []string{
			"f:1:9: version is empty: write version: 1",
		}},
		{"no version", "sources: {}\n", []string{
			"f:1:1: version is missing: write version: 1",
		}},
		{"version is a list", "version: [1]\n", []string{
			"f:1:10: version is a list: write version: 1",
		}},
		{"nothing but a version", "version: 1\n", []string{
			"f:1:1: sources is missing: write sources with a name and a URI each, like hosta: qemu+ssh://root@hosta/system",
			"f:1:1: machines is missing: write a list of machines, each with a name: or a pattern, like - name: web-*",
		}},
		{"nothing in lists", "version: 1\n" +
			"sources: {}\n" +
			"machines: []\n", []string{
			"f:2:1: sources: there are none: add one, like hosta: qemu+ssh://root@hosta/system",
			"f:3:1: machines: there are none: add one, like - name: web-*",
		}},
		{"a wrong and an empty key", "version: 1\n" +
			"source: {}\n" +
			"machines:\n", []string{
			"f:1:1: sources is missing: write sources with a name and a URI each, like hosta: qemu+ssh://root@hosta/system",
			`f:2:1: unknown key "source": did you mean sources?`,
			"f:3:1: machines has no value: give one or remove the key",
		}},
		{"a key twice", "version: 1\n" +
			"version: 1\n" +
			"sources: x\n" +
			"machines: x\n", []string{
			"f:2:1: version is there twice: keep this one or that on line 1",
			"f:3:10: sources is a single value: write keys with values below it",
			"f:4:11: machines is a single value: write a list, each item with a - in front",
		}},
		{"sources", "version: 1\n" +
			"sources:\n" +
			"  h: qemu:///session\n" +
			"  b d: qemu:///system\n" +
			"  c: {url: x}\n" +
			"  d: {uri: qemu:///system, known_hosts: /x}\n" +
			"  e: {uri: 'qemu+ssh://e/system', identity_file: x}\n" +
			"  f: qemu+ssh://root@e/system\n" +
			"  g: [a]\n" +
			"  h: y\n" +
			"machines: [x]\n", []string{
			`f:3:6: uri: URI "qemu:///session": only /system is supported; use qemu:///system for this host, qemu+ssh://[user@]host[:port]/system for another, or vmsync+tls://host[:port]/system for a source without SSH`,
			`f:4:3: sources: "b d" is no name: use letters, digits, dots, dashes and underscores, at most 64`,
			"f:5:6: uri is missing in c: write uri: qemu+ssh://root@host/system",
			`f:5:7: unknown key "url" in c: did you mean uri?`,
			"f:6:28: known_hosts: qemu:///system is this host, and SSH is not used: remove it, or use a qemu+ssh:// URI",
			`f:7:50: identity_file: "x" is not an absolute path: write it from / on`,
			"f:8:3: sources: f is the same host as e: remove one of them",
			"f:9:6: g is a list: write keys with values below it",
			"f:10:3: h is there twice: keep this one or that on line 3",
			"f:11:12: an item of machines is a single value: write keys with values below it",
		}},
		{"target", "version: 1\n" +
			"target: {uri: 'qemu+tcp://h/system', ssh_config: me}\n" +
			"sources: {a: 'qemu:///system'}\n" +
			"machines: [{name: m, every: 1h}]\n" +
			"store: x\n", []string{
			`f:2:15: uri: URI "qemu+tcp://h/system" is not supported; use qemu:///system for this host, qemu+ssh://[user@]host[:port]/system for another, or vmsync+tls://host[:port]/system for a source without SSH`,
			`f:2:50: ssh_config: "me" is not an absolute path: write it from / on`,
			`f:5:8: store: "x" is not an absolute path: write it from / on`,
		}},
		{"sources over TLS", "version: 1\n" +
			"target: vmsync+tls://t/system\n" +
			"sources:\n" +
			"  a: {uri: 'vmsync+tls://a/system', known_hosts: /x}\n" +
			"  b: {uri: 'qemu+ssh://b/system', tls_dir: /x}\n" +
			"  c: {uri: 'qemu:///system', tls_dir: /x}\n" +
			"  d: {uri: 'vmsync+tls://d/system', tls_dir: x}\n" +
			"  e: qemu+tls://e:16514/system\n" +
			"  f: qemu+ssh://a/system\n" +
			"  g: vmsync+tls://a:4433/system\n" +
			"machines: [{name: m, every: 1h}]\n", []string{
			"f:2:9: target: vmsync+tls://t/system: a host that is reached over TLS can only be a source",
			"f:4:37: known_hosts: vmsync+tls://a/system is reached over TLS, and SSH is not used: remove it",
			"f:5:35: tls_dir: qemu+ssh://b/system is not reached over TLS: remove it, or use a vmsync+tls:// URI",
			"f:6:30: tls_dir: qemu:///system is not reached over TLS: remove it, or use a vmsync+tls:// URI",
			`f:7:46: tls_dir: "x" is not an absolute path: write it from / on`,
			`f:8:6: uri: URI "qemu+tls://e:16514/system": libvirt's own TLS does not give what vmsync needs of a host: enable vmsync-nbdproxy.socket there and use vmsync+tls://e/system`,
			"f:9:3: sources: f is the same host as a: remove one of them",
		}},
		{"two local sources", "version: 1\n" +
			"sources: {a: 'qemu:///system', b: {uri: 'qemu:///system'}}\n" +
			"machines: [{name: m, every: 1h}]\n", []string{
			"f:2:32: sources: b is the same host as a: remove one of them",
		}},
		{"unknown keys and wrong kinds", head + "machines: [{name: x, evry: 15m, ruote: 1, before: x, after: [x], rate: {x: y}, [a]: b}]\n", []string{
			`f:4:22: unknown key "evry" in an item of machines: did you mean every?`,
			`f:4:33: unknown key "ruote" in an item of machines: known are name, source, every, cron, rpo, max_age, min_changed, min_changed_max_age, keep, store, target_domain, disks, exclude_disks, compress, transport, rate, quiesce, freeze_mountpoints, before, after_checkpoint, after, notify, group`,
			"f:4:51: before is a single value: write a list, each item with a - in front",
			"f:4:62: an item of after is a single value: write keys with values below it",
			"f:4:72: rate is keys with values: write a list, each item with a - in front",
			"f:4:80: this is no key: write a name, a colon and a value",
		}},
		{"an alias that is a pattern", head + "machines:\n" +
			"- name: *x\n", []string{
			"f:5:9: not YAML: unknown anchor 'x' referenced: put quotes around text that begins with *",
		}},
		{"a pattern without quotes", head + "exclude: [ *-tmp]\n" +
			"machines: []\n", []string{
			"f:4:12: not YAML: unknown anchor '-tmp' referenced: put quotes around text that begins with *",
		}},
		{"anchor and tag", head + "machines:\n" +
			"- name: &x y\n" +
			"- name: !b c\n", []string{
			"f:5:9: anchors and aliases (& and *) are not supported: use defaults and patterns, and put quotes around text that begins like that",
			"f:6:9: tags (!) are not supported: put quotes around text that begins like that",
		}},
		{"a tab", head + "machines:\n" +
			"\t- name: y\n", []string{
			"f:5:1: not YAML: found character that cannot start any token: indent with spaces, not with tabs, and put quotes around text that begins with @, % or `",
		}},
		{"a quote that is not closed", head + "machines:\n" +
			"- name: 'y\n" +
			"  every: 5m\n", []string{
			"f:5:9: not YAML: found unexpected end of stream: a quote that begins here is not closed",
		}},
		{"a bracket that is not closed", head + "machines: [{name: m}\n" +
			"exclude: []\n", []string{
			"f:5:1: not YAML: did not find expected ',' or ']': close the bracket, or put a comma between the values",
		}},
		{"wrong indentation", head + "machines:\n" +
			"  - name: m\n" +
			"   every: 5m\n", []string{
			"f:6:4: not YAML: did not find expected '-' indicator: the items of one list begin in the same column",
		}},
		{"a colon too many", head + "machines:\n" +
			"  - name: m: n\n", []string{
			"f:5:12: not YAML: mapping values are not allowed in this context: look at the indentation, and put quotes around text that has a colon and a blank in it",
		}},
		{"two documents", head + "machines:\n" +
			"- name: y\n" +
			"---\n" +
			"version: 1\n", []string{
			"f:6:1: not YAML: expected single document, found multiple: keep one of them, and remove the line ---",
		}},
		{"a NUL", head + "machines:\n" +
			"- name: \x00\n", []string{
			"f:5:9: not YAML: control characters are not allowed (value: 0): save the file as UTF-8 text",
		}},
		{"no UTF-8", head + "machines:\n" +
			"- name: ä\xff\n", []string{
			"f:5:10: not YAML: invalid leading UTF-8 octet (value: 255): save the file as UTF-8 text",
		}},
		{"too deep", head + "machines: [[[[[[[[[[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]]]]]]]]]]\n", []string{
			"f:4:31: nested too deeply: nothing here goes deeper than 20 levels",
		}},
		{"names", head + "machines: [{name: 'a/b'}, {name: '[a'}, {name: ''}, {name: [a]}, {name: a, source: c}, {name: b, source: []}, {name: c, source: [a, {b: c}]}, {every: 3m}]\n", []string{
			`f:4:19: name: "a/b" is no name of a machine: give one as virsh list shows it, or a pattern like web-*`,
			`f:4:34: name: "[a" is no pattern: close its bracket, as in web-[0-9]*`,
			`f:4:48: name: "" is no name of a machine: give one as virsh list shows it, or a pattern like web-*`,
			"f:4:60: name is a list: give a single value",
			"f:4:84: source: there is no source c: known are a, b",
			"f:4:98: source: there are none: leave the key out for all of them",
			"f:4:133: source is keys with values: give a single value",
			"f:4:143: name is missing in an item of machines: write name: web-1, or a pattern like name: web-*",
		}},
		{"exclude", head + "exclude: ['[', a/b, {}]\n" +
			"machines: [{name: m}]\n", []string{
			`f:4:11: exclude: "[" is no pattern: close its bracket, as in web-[0-9]*`,
			`f:4:16: exclude: "a/b" is no name of a machine: give one as virsh list shows it, or a pattern like web-*`,
			"f:4:21: exclude is keys with values: give a single value",
		}},
		{"no schedule", "version: 1\n" +
			"sources: {a: 'qemu:///system'}\n" +
			"defaults: {keep: 3}\n" +
			"machines:\n" +
			"  - name: m\n" +
			"  - {keep: 1, name: 'x*'}\n" +
			"  - {name: x1, every: 1h}\n", []string{
			"f:5:5: it has no schedule: give every, cron or rpo, here or in defaults",
			"f:6:5: it has no schedule: give every, cron or rpo, here or in defaults",
		}},
		{"a name twice", head + "machines:\n" +
			"  - name: m\n" +
			"  - {name: m, source: b}\n" +
			"  - {name: n, source: a}\n" +
			"  - {name: n, source: b, target_domain: o}\n" +
			"  - {name: 'w*', keep: 1}\n" +
			"  - {name: 'w*', keep: 2}\n", []string{
			"f:6:5: m is there twice: put this together with the entry on line 5, or give each a source of its own",
			"f:6:5: m would be the same replica as the entry on line 5, m in /var/lib/vmsync: give one of them another target_domain",
			"f:10:5: w* is there twice: put this together with the entry on line 9, or give each a source of its own",
		}},
		{"one replica of two machines", head + "machines:\n" +
			"  - {name: n, source: a}\n" +
			"  - {name: n, source: b}\n" +
			"  - {name: o, target_domain: n}\n" +
			"  - {name: p, target_domain: n, store: /other}\n", []string{
			"f:6:5: n would be the same replica as the entry on line 5, n in /var/lib/vmsync: give one of them another target_domain",
			"f:7:5: o would be the same replica as the entry on line 5, n in /var/lib/vmsync: give one of them another target_domain",
		}},
		{"one replica of a pattern's machines", head + "machines: [{name: 'w*', target_domain: web}]\n", []string{
			"f:4:25: target_domain: all machines that w* takes in would be one replica: write {domain} in it",
		}},
		{"replica's name too long", head + "machines: [{name: mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm, target_domain: '{domain}-{domain}'}]\n", []string{
			`f:4:172: target_domain: "mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm-mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm" cannot be a replica's name: choose a shorter one`,
		}},
		{"excluded and named", head + "exclude: [m]\n" +
			"machines: [{name: m}]\n", []string{
			"f:5:12: m is also named under exclude: remove one of them",
		}},
		{"a pattern after the one for all", head + "machines:\n" +
			"  - {name: '*'}\n" +
			"  - {name: 'w*'}\n" +
			"  - {name: m}\n", []string{
			"f:6:5: w* is never used: * on line 5 takes every machine before: move that to the end",
		}},
		{"groups", head + "machines:\n" +
			"  - {name: m, group: g}\n" +
			"  - {name: n, group: g, every: 1h}\n" +
			"  - {name: o, group: g, max_age: 1h}\n" +
			"  - {name: p, group: h, rpo: 5s}\n" +
			"  - {name: q, group: h, rpo: 6s}\n" +
			"  - {name: 'r*', group: i, cron: '@daily'}\n" +
			"  - {name: 's*', group: i, cron: '@hourly'}\n" +
			"  - {name: t, group: j, min_changed: 1M, min_changed_max_age: 1d, max_age: 9d}\n" +
			"  - {name: u, group: j, min_changed: 2M, min_changed_max_age: 1d, max_age: 9d}\n" +
			"  - {name: v, group: k}\n" +
			"  - {name: w, group: k, store: /srv}\n", []string{
			"f:6:5: every is not the same for n on a and m on a (line 5), but group g is synced together: make it the same, or take one out of the group",
			"f:7:5: max_age is not the same for o on a and m on a (line 5), but group g is synced together: make it the same, or take one out of the group",
			"f:9:5: rpo is not the same for q on a and p on a (line 8), but group h is synced together: make it the same, or take one out of the group",
			"f:11:5: cron is not the same for s* on a and r* on a (line 10), but group i is synced together: make it the same, or take one out of the group",
			"f:13:5: min_changed is not the same for u on a and t on a (line 12), but group j is synced together: make it the same, or take one out of the group",
			"f:15:5: store is not the same for w on a and v on a (line 14), but group k is synced together: make it the same, or take one out of the group",
		}},
		{"a group whose member differs by source", "version: 1\n" +
			"sources: {a: 'qemu:///system', b: 'qemu+ssh://b/system'}\n" +
			"machines:\n" +
			"  - {name: m, group: g}\n" +
			"  - {name: '*', source: b, every: 1h}\n" +
			"  - {name: 'm*', source: a, every: 2h}\n", []string{
			"f:4:5: every is not the same for m on b and m on a (line 4), but group g is synced together: make it the same, or take one out of the group",
		}},
		{"layers that contradict each other", head + "machines:\n" +
			"  - {name: 'm*', min_changed: 1M, min_changed_max_age: 1d}\n" +
			"  - {name: m1, rpo: 5s}\n" +
			"  - {name: m2, every: 2d}\n" +
			"  - {name: m3, max_age: 1h}\n", []string{
			"f:6:16: min_changed lets runs wait, and rpo does not: use every or cron instead of rpo, or min_changed: 0",
			"f:7:16: min_changed_max_age 1d is not more than every 2d, and no run would ever wait: give more",
			"f:8:16: max_age 1h would be broken before the next run: give more than 1d15m",
		}},
		{"what is wrong with defaults is told once", "version: 1\n" +
			"sources: {a: 'qemu:///system'}\n" +
			"defaults: {every: 15m, min_changed: 1M}\n" +
			"machines: [{name: m}, {name: n}, {name: 'o*'}]\n", []string{
			"f:3:24: min_changed needs min_changed_max_age: say how long runs may wait for so many changes",
		}},
		{"numbers at the top", head + "machines: [{name: m}]\n" +
			"concurrency: {total: 0, per_source: many}\n" +
			"retry: {first: 0s, max: 2d}\n" +
			"jitter: 2h\n" +
			"history: {path: x, keep_runs: 0, keep_for: 1m}\n" +
			"metrics: {listen: '9108'}\n" +
			"api: {socket: run, group: 'a b'}\n", []string{
			`f:5:22: total: "0" is not a number from 1 to 1000: give one`,
			`f:5:37: per_source: "many" is not a number from 1 to 1000: give one`,
			"f:6:16: first: 0s is out of range: give 1s to 1d",
			"f:6:25: max: 2d is out of range: give 1s to 1d",
			"f:7:9: jitter: 2h is out of range: give 0s to 1h",
			`f:8:17: path: "x" is not an absolute path: write it from / on`,
			`f:8:31: keep_runs: "0" is not a number from 1 to 1000000: give one`,
			"f:8:44: keep_for: 1m is out of range: give 1h to 3660d",
			`f:9:19: listen: "9108" is no address to listen on: write one like 127.0.0.1:9108`,
			`f:10:15: socket: "run" is not an absolute path: write it from / on`,
			`f:10:27: group: "a b" is no name: use letters, digits, dots, dashes and underscores, at most 64`,
		}},
		{"limits that contradict each other", head + "machines: [{name: m}]\n" +
			"concurrency: {total: 2, per_source: 3, per_target_host: 4}\n" +
			"retry: {first: 20m, max: 15m}\n" +
			"history: {path: /var/lib/vmsync/history.db}\n", []string{
			"f:5:25: per_source 3 is more than total 2, and could not be reached: raise total or lower this",
			"f:5:40: per_target_host 4 is more than total 2, and could not be reached: raise total or lower this",
			"f:6:21: max is shorter than first: give at least that",
			"f:7:11: path: /var/lib/vmsync/history.db is in the store, where replicas only may be: choose another folder",
		}},
		{"sections of the wrong kind", head + "machines: [{name: m}]\n" +
			"concurrency: 4\n" +
			"retry: [30s]\n" +
			"api: /run/x\n" +
			"notifications: [x]\n" +
			"history: {}\n", []string{
			"f:5:14: concurrency is a single value: write keys with values below it",
			"f:6:8: retry is a list: write keys with values below it",
			"f:7:6: api is a single value: write keys with values below it",
			"f:8:16: notifications is a list: write keys with values below it",
		}},
		{"a socket's path too long", head + "machines: [{name: m}]\n" +
			"api: {socket: /xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx}\n", []string{
			`f:5:15: socket: "/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" is longer than a socket's path may be, 107 bytes: choose a shorter one`,
		}},
		{"notifications", head + "machines: [{name: m}]\n" +
			"notifications:\n" +
			"  a: {webhook: chat.example.org, timeout: 1h, events: [all]}\n" +
			"  b: {}\n" +
			"  c: {command: [x], webhook: 'http://x/', events: []}\n" +
			"  d: {command: /bin/x}\n" +
			"  e e: {}\n" +
			"  f: x\n", []string{
			`f:6:16: webhook: "chat.example.org" is no web address: write one that begins with https://`,
			"f:6:43: timeout: 1h is out of range: give 1s to 10m",
			`f:6:56: events: "all" is not known: use rpo_broken, failed or recovered`,
			"f:7:6: b says no way: give webhook, command or smtp",
			"f:8:7: webhook and command exclude each other: make two notifications of them",
			`f:8:16: command: "x" is not an absolute path: write the program's from / on`,
			"f:8:43: events: there are none: leave the key out for all of them",
			"f:9:16: command is a single value, and no shell reads it: write a list: [/path/of/program, argument]",
			`f:10:3: notifications: "e e" is no name: use letters, digits, dots, dashes and underscores, at most 64`,
			"f:11:6: f is a single value: write keys with values below it",
		}},
		{"mail", head + "machines: [{name: m}]\n" +
			"notifications:\n" +
			"  a: {smtp: {}}\n" +
			"  b: {smtp: {host: 'h:25', port: 0, from: me, to: []}}\n" +
			"  c: {smtp: {host: h, from: m@h, to: [m@h, you], user: u, starttls: maybe}}\n" +
			"  d: {smtp: {host: h, from: m@h, to: m@h, user: u, password_file: /p, starttls: no}}\n" +
			"  e: {smtp: {host: h, from: m@h, to: m@h, port: 465}}\n", []string{
			"f:6:13: host is missing in smtp: write host: mail.example.org",
			"f:6:13: from is missing in smtp: write from: vmsync@example.org",
			"f:6:13: to is missing in smtp: write to: [admin@example.org]",
			`f:7:20: host: "h:25" is no host: write its name or address, without a port`,
			`f:7:34: port: "0" is not a number from 1 to 65535: give one`,
			`f:7:43: from: "me" is no mail address: write one like admin@example.org`,
			"f:7:47: to: nobody is named: write to: [admin@example.org]",
			"f:8:13: user and password_file belong together: give both, or neither",
			`f:8:44: to: "you" is no mail address: write one like admin@example.org`,
			`f:8:69: starttls: "maybe" is neither yes nor no: use one of them`,
			"f:9:71: starttls: without it the password could be read on its way: remove starttls: no, or user and password_file",
			"f:10:43: port: 465 is for TLS without STARTTLS, which is not supported: use 587",
		}},
		{"who is told", head + "machines: [{name: m, notify: [a, b]}, {name: n, notify: c}]\n" +
			"notifications: {a: {webhook: 'http://x/'}}\n", []string{
			"f:4:34: notify: there is no b under notifications: add it, or remove the name",
			"f:4:57: notify: there is no c under notifications: add it, or remove the name",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, want := refused(t, c.text), strings.Join(c.want, "\n"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// TestWhatIsWrongWithASetting has settings of a machine, in braces after its name, and the
// error each gives: the machine is on line 4, its name in column 19.
func TestWhatIsWrongWithASetting(t *testing.T) {
	for _, c := range [][2]string{
		{"every: 15", `4:29: every: "15" is not a length of time like 90s, 15m, 1h30m or 2d: a unit is missing, one of w, d, h, m, s and ms`},
		{"every: 1s", "4:29: every: 1s is out of range: give 5s to 366d"},
		{"every: 400d", "4:29: every: 400d is out of range: give 5s to 366d"},
		{"every: 1.5h", `4:29: every: "1.5h" is not a length of time like 90s, 15m, 1h30m or 2d: a unit is missing, one of w, d, h, m, s and ms`},
		{"every: 15m, cron: '* * * * *'", "4:34: every and cron exclude each other: keep one of them"},
		{"every: ", "4:22: every has no value: give one or remove the key"},
		{"every: [1m, 2m]", "4:29: every is a list: give a single value"},
		{"cron: '* * * *'", `4:28: cron: "* * * *" is no cron schedule (expected exactly 5 fields, found 4: [* * * *]): write five fields, minute hour day month weekday, like 0 */4 * * *`},
		{"cron: '0 0 30 2 *'", `4:28: cron: "0 0 30 2 *" never comes: there is no such day`},
		{"cron: '@every 5m'", `4:28: cron: "@every 5m": use the key every instead`},
		{"cron: '@reboot'", `4:28: cron: "@reboot" is no cron schedule (unrecognized descriptor: @reboot): write five fields, minute hour day month weekday, like 0 */4 * * *`},
		{"cron: 'TZ=x'", `4:28: cron: "TZ=x": write CRON_TZ= instead of TZ=`},
		{"cron: 'CRON_TZ=x'", `4:28: cron: "CRON_TZ=x" says no times: write five fields, minute hour day month weekday, like 0 */4 * * *`},
		{"cron: 'CRON_TZ=Nowhere/X 0 0 * * *'", `4:28: cron: "CRON_TZ=Nowhere/X 0 0 * * *" is no cron schedule (provided bad location Nowhere/X: unknown time zone Nowhere/X): write five fields, minute hour day month weekday, like 0 */4 * * *`},
		{"cron: ''", "4:28: cron: it is empty: write five fields, minute hour day month weekday, like 0 */4 * * *"},
		{"cron: '61 * * * *'", `4:28: cron: "61 * * * *" is no cron schedule (end of range (61) above maximum (59): 61): write five fields, minute hour day month weekday, like 0 */4 * * *`},
		{"rpo: 30s, max_age: 1m", "4:32: max_age: rpo says already how old the replica may be: remove max_age"},
		{"rpo: 0s", "4:27: rpo: 0s is out of range: give 1s to 366d"},
		{"max_age: 15m", "4:22: max_age 15m would be broken before the next run: give more than 15m"},
		{"min_changed: 64M", "4:22: min_changed needs min_changed_max_age: say how long runs may wait for so many changes"},
		{"min_changed: lots", `4:35: min_changed: "lots" is not a number of bytes like 50M or 50MiB: give one`},
		{"min_changed_max_age: 1d", "4:22: min_changed_max_age is for min_changed, which is not given: give it too, or remove this"},
		{"min_changed: 64M, min_changed_max_age: 10m", "4:40: min_changed_max_age 10m is not more than every 15m, and no run would ever wait: give more"},
		{"min_changed: 64M, min_changed_max_age: 1d, max_age: 1d", "4:65: max_age 1d would be broken before the next run: give more than 1d15m"},
		{"rpo: 30s, min_changed: 64M, min_changed_max_age: 1d", "4:32: min_changed lets runs wait, and rpo does not: use every or cron instead of rpo, or min_changed: 0"},
		{"keep: some", `4:28: keep: keep policy "some": "some" is not a number of 0 or more: use 0, a number, or a grid like last=8,hourly=24,daily=7,weekly=4,monthly=12`},
		{"keep: hourly=0", `4:28: keep: keep policy "hourly=0": hourly: 0 keeps nothing: leave the rule out`},
		{"keep: ''", "4:28: keep: keep policy is empty: say how many states to keep, or a grid like last=8,hourly=24,daily=7,weekly=4,monthly=12"},
		{"keep: -1", `4:28: keep: keep policy "-1": "-1" is not a number of 0 or more: use 0, a number, or a grid like last=8,hourly=24,daily=7,weekly=4,monthly=12`},
		{"disks: [vda, VDB]", `4:35: disks: "VDB" is no disk: name it by its target device, as virsh domblklist shows it, like vda`},
		{"disks: vda, exclude_disks: vdb", "4:34: exclude_disks: disks says already which ones: remove one of them"},
		{"disks: {a: b}", "4:29: disks is keys with values: write a list: [one, two]"},
		{"store: rel", `4:29: store: "rel" is not an absolute path: write it from / on`},
		{"target_domain: 'a{x}'", `4:37: target_domain: "a{x}" is no name for a replica: use {domain} and {source} for what varies, as in {domain}-replica`},
		{"target_domain: 'a/b'", `4:37: target_domain: "a/b" is no name for a replica: use {domain} and {source} for what varies, as in {domain}-replica`},
		{"target_domain: '*'", `4:37: target_domain: "*" is no name for a replica: use {domain} and {source} for what varies, as in {domain}-replica`},
		{"compress: gzip", `4:32: compress: unknown compression "gzip": use auto, none, s2, zstd or zstd:LEVEL`},
		{"compress: 'zstd:99'", `4:32: compress: unknown zstd level "99": use 1 to 22`},
		{"compress: ''", "4:32: compress: it is empty: use auto, none, s2, zstd or zstd:LEVEL"},
		{"transport: tcp", `4:33: transport: "tcp" is not known: use auto, direct or ssh`},
		{"rate: fast", `4:28: rate: "fast" is not a number of bytes like 50M or 50MiB: give bytes per second like 50M, or none`},
		{"rate: 10", `4:28: rate: "10" is less than 1000 bytes per second: give bytes per second like 50M, or none`},
		{"rate: [{from: '08:00', rate: 5M}]", "4:29: from or to is missing: write both, or none of them for the whole day"},
		{"rate: [{from: '8', to: '25:00', rate: 5M, days: mon-foo}]", "4:36: from: \"8\" is no time of day: write one from 00:00 to 24:00\n4:45: to: \"25:00\" is no time of day: write one from 00:00 to 24:00\n4:70: days: \"mon-foo\" is no day: use mon, tue, wed, thu, fri, sat or sun, or a range like mon-fri"},
		{"rate: [{}]", "4:29: rate is missing in an item of rate: write rate: 50M, or rate: none"},
		{"rate: [{rate: 5M, days: []}]", "4:40: days: there are none: leave the key out for all of them"},
		{"rate: [{rate: 5M, from: '08:00', to: '08:00'}]", "4:55: from and to are the same: leave both out for the whole day"},
		{"rate: [{rate: 5M, from: '24:00', to: '08:00'}]", "4:40: from: the day ends at 24:00: write 00:00"},
		{"quiesce: maybe", `4:31: quiesce: "maybe" is not known: use required, preferred or no`},
		{"quiesce: no, freeze_mountpoints: [/]", "4:35: freeze_mountpoints: with quiesce: no nothing is frozen: remove one of them"},
		{"freeze_mountpoints: [data]", `4:43: freeze_mountpoints: "data" is not an absolute path: write it from / on`},
		{"before: [{on: moon, command: [x], timeout: 0s, on_failure: ignore}]", "4:36: on: \"moon\" is not known: use source, target or guest\n4:51: command: \"x\" is not an absolute path: write the program's from / on\n4:65: timeout: 0s is out of range: give 1s to 1d\n4:81: on_failure: \"ignore\" is not known: use abort or warn"},
		{"before: [{on: guest, command: ls}]", "4:52: command is a single value, and no shell reads it: write a list: [/path/of/program, argument]"},
		{"after: [{command: []}]", "4:30: on is missing in an item of after: write on: source, on: target or on: guest\n4:40: command is empty: write a list: [/path/of/program, argument]"},
		{"before: [{on: source, command: [x]}]", `4:53: command: "x" is not an absolute path: write the program's from / on`},
		{"before: {on: guest}", "4:30: before is keys with values: write a list, each item with a - in front"},
		{`after: [{on: guest, command: ["a\0b"]}]`, `4:52: command: "a\x00b" has a NUL in it: remove it`},
		{"notify: x", "4:30: notify: there is no x under notifications: add it, or remove the name"},
		{"notify: [{}]", "4:31: notify is keys with values: give a single value"},
		{"group: 'a b'", `4:29: group: "a b" is no name: use letters, digits, dots, dashes and underscores, at most 64`},
	} {
		got := strings.ReplaceAll(refused(t, head+"machines: [{name: m, "+c[0]+"}]\n"), "f:4:", "4:")
		if got != c[1] {
			t.Errorf("%s: got\n%s\nwant\n%s", c[0], got, c[1])
		}
	}
}
