package main

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"time"

	"vmsync/internal/event"
	"vmsync/tests/lab"
)

// fault is one thing that goes wrong.
type fault struct {
	name   string
	weight int                  // how often it is chosen
	in     func(scenePlan) bool // where it is possible; nil: everywhere
	at     func(roundPlan) bool // when; nil: always
	// inject does it. It returns false while what it strikes is not there yet.
	inject func(context.Context, *round) (bool, error)
	// mend does what the world does afterwards, with no thought of vmsync: who plugs in a
	// cable. Hosts and machines that are off are started anyway. Nil: nothing.
	mend func(context.Context, *round) error
	// lasts is how long the fault stays at most while the sync goes on; 0: until its end.
	lasts time.Duration
	// writes says that it takes writes after it, during the sync, to do any harm.
	writes bool
	// frozen says that the guest may stay frozen until the next sync.
	frozen bool
	// clean says that a machine which it turns off keeps track of its changes.
	clean bool
}

// faults are all there are.
var faults = []fault{
	{name: "vmsync killed", weight: 6, inject: func(_ context.Context, r *round) (bool, error) { return r.run.signal(syscall.SIGKILL) }},
	{name: "vmsync interrupted", weight: 2, inject: func(_ context.Context, r *round) (bool, error) { return r.run.signal(syscall.SIGINT) }},
	{name: "source's agent killed", weight: 6, inject: killed(source, "vmsync agent")},
	{name: "target's agent killed", weight: 8, inject: killed(target, "vmsync agent")},
	{name: "both agents killed", weight: 2, inject: both(killed(source, "vmsync agent"), killed(target, "vmsync agent"))},
	{name: "source's agent and guard killed", weight: 4, at: afterBegin, inject: killed(source, "vmsync guard", "vmsync agent"), frozen: true},
	{name: "guard killed", weight: 2, at: afterBegin, inject: killed(source, "vmsync guard")},
	{name: "source's vmsync-nbd killed", weight: 4, at: whileCopying, inject: killed(source, "vmsync-nbd serve")},
	{name: "target's vmsync-nbd killed", weight: 4, at: whileCopying, inject: killed(target, "vmsync-nbd apply")},
	{name: "qemu-nbd killed", weight: 4, at: whileCopying, inject: killed(target, "qemu-nbd")},
	{name: "qemu-img killed", weight: 4, at: whileSettling, inject: killed(target, "qemu-img ")},
	{name: "source's libvirtd killed", weight: 4, inject: libvirtdKilled(source)},
	{name: "target's libvirtd killed", weight: 4, inject: libvirtdKilled(target)},
	{name: "machine killed", weight: 3, inject: machineKilled, mend: machineOff},
	{name: "machine shut down", weight: 3, inject: machineShutDown, mend: machineOff, clean: true},
	{name: "source crashed", weight: 3, in: func(s scenePlan) bool { return !s.smallSource }, inject: crashed(source)},
	{name: "target crashed", weight: 4, in: func(s scenePlan) bool { return !s.smallTarget }, inject: crashed(target)},
	{name: "third host crashed", weight: 2, at: func(p roundPlan) bool { return p.from == fromThird }, inject: crashed(third)},
	{name: "source cut off for 5 s", weight: 1, inject: unplugged(source), mend: plugged(source), lasts: 5 * time.Second},
	{name: "target cut off for 5 s", weight: 1, inject: unplugged(target), mend: plugged(target), lasts: 5 * time.Second},
	{name: "source cut off for long", weight: 1, inject: unplugged(source), mend: plugged(source)},
	{name: "target cut off for long", weight: 1, inject: unplugged(target), mend: plugged(target)},
	{name: "store full", weight: 40, in: func(s scenePlan) bool { return s.smallTarget }, inject: filled(target, smallStore), mend: freed(target, smallStore)},
	{name: "scratch space full", weight: 40, in: func(s scenePlan) bool { return s.smallSource }, inject: filled(source, smallImages), mend: freedImages, writes: true},
	{name: "guest's agent hung", weight: 6, in: func(s scenePlan) bool { return s.guest }, inject: agentHung, mend: agentGoesOn},
}

// afterBegin holds for moments at which the guard exists.
func afterBegin(p roundPlan) bool {
	return strings.HasPrefix(p.step.point, "source-after") || p.step.phase == event.PhaseBegin || p.step.phase == event.PhaseTransfer
}

// whileCopying holds for moments at which the data plane exists, or is about to.
func whileCopying(p roundPlan) bool {
	return strings.HasPrefix(p.step.point, "source-after") || p.step.phase == event.PhaseInspect || p.step.phase == event.PhaseBegin || p.step.phase == event.PhaseTransfer
}

// whileSettling holds for moments after which images are worked on.
func whileSettling(p roundPlan) bool {
	return strings.HasPrefix(p.step.point, atTarget) || p.step.phase == event.PhaseBegin || p.step.phase == event.PhaseFinish
}

// Which host a fault strikes.
func source(c *campaign) *lab.Host { return c.hosta }
func target(c *campaign) *lab.Host { return c.hostb }
func third(c *campaign) *lab.Host  { return c.op }

type which func(*campaign) *lab.Host

// killed kills the processes that have one of the texts in their command lines, in
// this order.
func killed(h which, texts ...string) func(context.Context, *round) (bool, error) {
	return func(_ context.Context, r *round) (bool, error) {
		all := 0
		for _, text := range texts {
			n, err := h(r.c).SignalAll(text, syscall.SIGKILL)
			if err != nil {
				return false, err
			}
			all += n
		}
		return all > 0, nil
	}
}

func both(a, b func(context.Context, *round) (bool, error)) func(context.Context, *round) (bool, error) {
	return func(ctx context.Context, r *round) (bool, error) {
		first, err := a(ctx, r)
		if err != nil {
			return false, err
		}
		second, err := b(ctx, r)
		return first || second, err
	}
}

// libvirtdKilled kills libvirtd, which systemd starts again.
func libvirtdKilled(h which) func(context.Context, *round) (bool, error) {
	return func(ctx context.Context, r *round) (bool, error) {
		// Systemd gives up on a service that dies often. That would be another fault.
		if _, err := h(r.c).Run(ctx, "systemctl", "reset-failed", "libvirtd.service"); err != nil {
			return false, err
		}
		return killed(h, "/usr/sbin/libvirtd")(ctx, r)
	}
}

func machineKilled(ctx context.Context, r *round) (bool, error) {
	return killed(source, "guest="+r.machine.m.Name()+",")(ctx, r)
}

// machineShutDown is what the guest decides, or, where there is none, its owner.
func machineShutDown(ctx context.Context, r *round) (bool, error) {
	how := "destroy"
	if r.machine.guest {
		how = "shutdown"
	}
	_, err := r.c.hosta.Run(ctx, "virsh", how, r.machine.m.Name())
	if err != nil {
		// It may be busy with the backup for a moment.
		r.note("%v", err)
		return false, nil
	}
	return true, nil
}

// machineOff waits until the machine is off: a guest that is frozen cannot shut down, and
// libvirt notices the end of qemu some time after it.
func machineOff(ctx context.Context, r *round) error {
	return eventually(ctx, time.Minute, "the machine is shut off", func() (bool, error) {
		state, err := r.machine.m.State(ctx)
		return state == "shut off", err
	})
}

// restartMachine does what a machine's owner is told to do when libvirt has lost the record
// of a backup job: it died as one began.
func (r *round) restartMachine(ctx context.Context) error {
	if _, err := r.c.hosta.Run(ctx, "virsh", "destroy", r.machine.m.Name()); err != nil {
		return err
	}
	if err := machineOff(ctx, r); err != nil {
		return err
	}
	if _, err := r.c.hosta.Run(ctx, "systemctl", "restart", "libvirtd"); err != nil {
		return err
	}
	restarted, err := r.c.restart(ctx, r.s)
	if err != nil {
		return err
	}
	if !restarted[r.machine] {
		return errors.New("it was not off")
	}
	return r.machine.check(ctx)
}

// qemuCrashed tells whether the machine's last qemu to end has failed an assertion then.
// That of 7.2 does where it is told to end while a backup begins. What it tracks is lost
// then, as if it had been killed.
func (r *round) qemuCrashed() (bool, error) {
	log, err := r.c.hosta.ReadFile("/var/log/libvirt/qemu/" + r.machine.m.Name() + ".log")
	if err != nil {
		return false, err
	}
	ends := strings.Split(string(log), "terminating on signal")
	last, _, _ := strings.Cut(ends[len(ends)-1], "shutting down")
	return strings.Contains(last, "Assertion `"), nil
}

func crashed(h which) func(context.Context, *round) (bool, error) {
	return func(ctx context.Context, r *round) (bool, error) { return true, h(r.c).Crash(ctx) }
}

func unplugged(h which) func(context.Context, *round) (bool, error) {
	return func(ctx context.Context, r *round) (bool, error) { return true, h(r.c).Link(ctx, false) }
}

func plugged(h which) func(context.Context, *round) error {
	return func(ctx context.Context, r *round) error { return r.c.plugIn(ctx, h(r.c)) }
}

func filled(h which, dir string) func(context.Context, *round) (bool, error) {
	return func(_ context.Context, r *round) (bool, error) { return true, h(r.c).Fill(dir, r.plan.leave) }
}

func freed(h which, dir string) func(context.Context, *round) error {
	return func(_ context.Context, r *round) error { return h(r.c).Unfill(dir) }
}

// freedImages frees the room for scratch files, which is the images' own, too. A machine
// whose own writes did not fit there was stopped by them, not by the backup, and its
// owner lets it go on. Where they fit, only the backup can have stopped it: that is
// vmsync's to mend, and left alone here.
func freedImages(ctx context.Context, r *round) error {
	if err := freed(source, smallImages)(ctx, r); err != nil {
		return err
	}
	if !r.machine.guest || room(r.plan.during) <= r.plan.leave {
		return nil
	}
	out, err := r.c.hosta.Run(ctx, "virsh", "domstate", "--reason", r.machine.m.Name())
	if err != nil || !strings.Contains(out, "I/O error") {
		return err
	}
	r.note("the machine was stopped by its own writes")
	if err := r.machine.m.Resume(ctx); err != nil {
		return err
	}
	// What was asked of it meanwhile has been given up, and is answered first.
	return eventually(ctx, time.Minute, "the guest answers", func() (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err := r.machine.m.Control(ctx, "true")
		return err == nil, err
	})
}

// room is how many bytes writes may take in an image: the clusters that they touch.
func room(writes []write) int64 {
	var sum int64
	for _, w := range writes {
		sum += (w.offset%pageSize + w.length + pageSize - 1) / pageSize * pageSize
	}
	return sum
}

func agentHung(ctx context.Context, r *round) (bool, error) { return true, r.machine.m.AgentStop(ctx) }

func agentGoesOn(ctx context.Context, r *round) error { return r.machine.m.AgentCont(ctx) }
