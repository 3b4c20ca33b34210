package daemon

import (
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// States that [Notify] tells, see sd_notify(3).
const (
	Ready    = systemd.SdNotifyReady
	Stopping = systemd.SdNotifyStopping
	Alive    = systemd.SdNotifyWatchdog
)

// Reloading is what tells that a service reads its configuration again; Ready follows.
func Reloading() string { return systemd.SdNotifyReloading + "\n" + systemd.SdNotifyMonotonicUsec() }

// Status is what gives systemctl status a line.
func Status(line string) string { return "STATUS=" + line }

// Notify tells systemd about the service's state. Without systemd it does nothing.
func Notify(state string) error {
	_, err := systemd.SdNotify(false, state)
	return err
}

// WatchdogEvery is how often the service is to tell that it is alive; 0 where systemd does
// not watch it.
func WatchdogEvery() (time.Duration, error) {
	limit, err := systemd.SdWatchdogEnabled(false)
	return limit / 3, err
}
