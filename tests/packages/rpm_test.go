package packages

import (
	"debug/elf"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// rpmHere is rpm on a host whose programs dpkg has installed.
const rpmHere = "rpm --force-debian --nodeps --dbpath /var/lib/rpm-test "

// TestRPMInstallsUpgradesAndRemoves has rpm run the package's scripts.
func TestRPMInstallsUpgradesAndRemoves(t *testing.T) {
	afterwards(t, hostb, "rm -rf /etc/vmsync /var/lib/vmsync-service /var/lib/rpm-test")
	on(t, hostb, rpmHere+"-i "+bring(t, hostb, rpm(oldVersion)))
	says(t, hostb, "vmsync --version", "vmsync version "+oldDescribed)
	says(t, hostb, "systemctl is-enabled vmsync.service", "disabled")
	says(t, hostb, "stat -c '%n %a' /run/vmsync /var/lib/vmsync", "/run/vmsync 755\n/var/lib/vmsync 711")

	m := machine(t, "rpm-one")
	install(t, hosta, oldVersion)
	put(t, hostb, configFile, strings.ReplaceAll(configText, "kept-*", "rpm-*"))
	put(t, hostb, flagsFile, flagsText)
	on(t, hostb, "systemctl enable --now vmsync.service vmsync-sync@nobody.timer")
	fresh(t, m)

	before := show(t, "MainPID", "vmsync.service")
	on(t, hostb, rpmHere+"-U "+bring(t, hostb, rpm(newVersion)))
	says(t, hostb, "vmsync --version", "vmsync version "+newDescribed)
	says(t, hostb, "systemctl is-active vmsync.service; systemctl is-enabled vmsync.service", "active\nenabled")
	if after := show(t, "MainPID", "vmsync.service"); after == before || after == "0" {
		t.Errorf("the service was not restarted: process %s, then %s", before, after)
	}
	says(t, hostb, "cat "+flagsFile, strings.TrimSpace(flagsText))
	fresh(t, m)

	on(t, hostb, "vmsync pause rpm-one")
	eventually(t, "no sync is under way", func() bool { return standing(t, "rpm-one").Running == nil })
	kept := replicas(t)
	on(t, hostb, rpmHere+"-e vmsync")
	if now := replicas(t); now != kept || !strings.Contains(now, "manifest.json") {
		t.Errorf("a replica was changed:\n%s\nnow\n%s", kept, now)
	}
	says(t, hostb, "systemctl list-unit-files --no-legend 'vmsync*'; find /etc/systemd/system -name '*vmsync*'", "")
	says(t, hostb, "systemctl is-active vmsync.service", "inactive")
	says(t, hostb, "head -1 "+configFile+"; ls /etc/vmsync | grep sync.conf; ls /var/lib/vmsync-service", "version: 1\nsync.conf.rpmsave\nhistory.db")
}

// TestBothPackagesHaveTheSameFiles compares them, and looks at what only one has.
func TestBothPackagesHaveTheSameFiles(t *testing.T) {
	ofRPM := lines(t, "rpm", "-qlp", filepath.Join(built, rpm(newVersion)))
	var ofDeb []string
	for _, line := range lines(t, "dpkg-deb", "-c", filepath.Join(built, deb(newVersion))) {
		name := strings.TrimPrefix(strings.Split(strings.Fields(line)[5], " -> ")[0], ".")
		if !strings.HasSuffix(name, "/") {
			ofDeb = append(ofDeb, name)
		}
	}
	only := func(a, b []string) (all []string) {
		for _, name := range a {
			if !slices.Contains(b, name) {
				all = append(all, name)
			}
		}
		return all
	}
	if got, want := only(ofDeb, ofRPM), []string{"/usr/share/doc/vmsync/copyright", "/usr/share/zsh/vendor-completions/_vmsync"}; !slices.Equal(got, want) {
		t.Errorf("only the Debian package has %q, want %q", got, want)
	}
	// It names folders only where they are its own: not /usr/bin, say, which is another package's.
	folders := []string{"/etc/vmsync", "/etc/vmsync/sync", "/usr/lib/systemd/system-preset", "/usr/share/doc/vmsync",
		"/usr/share/doc/vmsync/contrib", "/usr/share/doc/vmsync/contrib/grafana", "/usr/share/doc/vmsync/contrib/prometheus", "/usr/share/doc/vmsync/examples",
		"/usr/share/doc/vmsync/source-account"}
	if got := only(ofRPM, ofDeb); !slices.Equal(got, folders) {
		t.Errorf("only the RPM package has %q, want %q", got, folders)
	}
	if got := lines(t, "rpm", "-qpc", filepath.Join(built, rpm(newVersion))); !slices.Equal(got, []string{flagsFile}) {
		t.Errorf("configuration of the RPM package: %q", got)
	}
}

// TestPackagesDependOnTheirLibraries compares dependencies with what the programs are
// linked with.
func TestPackagesDependOnTheirLibraries(t *testing.T) {
	dir := t.TempDir()
	lines(t, "dpkg-deb", "-x", filepath.Join(built, deb(newVersion)), dir)
	programs := []string{filepath.Join(dir, "usr/bin/vmsync"), filepath.Join(dir, "usr/bin/vmsync-nbd")}

	requires := lines(t, "rpm", "-qp", "--requires", filepath.Join(built, rpm(newVersion)))
	for _, p := range programs {
		f, err := elf.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		libraries, err := f.ImportedLibraries()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range libraries {
			if !slices.ContainsFunc(requires, func(r string) bool { return strings.HasPrefix(r, l+"(") }) {
				t.Errorf("%s needs %s, and the RPM package does not require it: %q", filepath.Base(p), l, requires)
			}
		}
	}

	put := exec.Command("sh", "-c", `mkdir debian && printf 'Source: x\n\nPackage: vmsync\nArchitecture: any\n' >debian/control && dpkg-shlibdeps -O "$@" 2>/dev/null`, "sh", programs[0], programs[1])
	put.Dir = dir
	out, err := put.Output()
	if err != nil {
		t.Fatal(err)
	}
	depends := strings.Join(lines(t, "dpkg-deb", "-f", filepath.Join(built, deb(newVersion)), "Depends"), "")
	for _, need := range regexp.MustCompile(`[a-z0-9]+ \([^)]*\)`).FindAllString(string(out), -1) {
		if !strings.Contains(depends, need) {
			t.Errorf("the programs need %s, and the Debian package depends on %s", need, depends)
		}
	}
}

// lines are what a command prints.
func lines(t *testing.T, argv ...string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).Output()
	if err != nil {
		t.Fatalf("%q: %v", argv, err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}
