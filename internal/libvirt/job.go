package libvirt

import (
	"context"
	"errors"

	lv "libvirt.org/go/libvirt"
)

// Names of jobs as Job and BlockJob return them.
const (
	JobNone    = ""
	JobBackup  = "backup"
	JobUnknown = "unknown job"
	// JobVague is a backup of which libvirt knows nothing else: one that begins this moment,
	// or one that libvirt has lost the record of, for it died as the backup began. The latter
	// holds the domain until that has been stopped and libvirtd restarted; ending it has no
	// effect (libvirt 9.0).
	JobVague = "backup that libvirt knows nothing of"
)

// Job names the domain's running job: JobNone, JobBackup, JobVague, or what else it
// is, in words.
func (d *Domain) Job(ctx context.Context) (string, error) {
	job, err := d.job(ctx)
	if !errors.Is(err, ErrInternal) {
		return job, err
	}
	if b, backupErr := d.Backup(ctx); backupErr != nil || b != nil {
		return job, err
	}
	return JobVague, nil
}

func (d *Domain) job(ctx context.Context) (string, error) {
	return on(ctx, d, "read the domain's job", again, func(dom *lv.Domain) (string, error) {
		info, err := dom.GetJobStats(0)
		if err != nil {
			return "", err
		}
		return jobName(info), nil
	})
}

func jobName(info *lv.DomainJobInfo) string {
	if info.Type == lv.DOMAIN_JOB_NONE {
		return JobNone
	}
	if !info.OperationSet {
		return JobUnknown
	}
	switch info.Operation {
	case lv.DOMAIN_JOB_OPERATION_BACKUP:
		return JobBackup
	case lv.DOMAIN_JOB_OPERATION_MIGRATION_IN, lv.DOMAIN_JOB_OPERATION_MIGRATION_OUT:
		return "migration"
	case lv.DOMAIN_JOB_OPERATION_SAVE:
		return "save"
	case lv.DOMAIN_JOB_OPERATION_START, lv.DOMAIN_JOB_OPERATION_RESTORE:
		return "start"
	case lv.DOMAIN_JOB_OPERATION_SNAPSHOT, lv.DOMAIN_JOB_OPERATION_SNAPSHOT_REVERT, lv.DOMAIN_JOB_OPERATION_SNAPSHOT_DELETE:
		return "snapshot"
	case lv.DOMAIN_JOB_OPERATION_DUMP:
		return "dump"
	default:
		return JobUnknown
	}
}

// BlockJob names the copy, commit or other job that runs on a disk; JobNone if
// there is none.
func (d *Domain) BlockJob(ctx context.Context, disk string) (string, error) {
	return on(ctx, d, "read the job of disk "+disk, again, func(dom *lv.Domain) (string, error) {
		info, err := dom.GetBlockJobInfo(disk, 0)
		if err != nil {
			return "", err
		}
		switch info.Type {
		case lv.DOMAIN_BLOCK_JOB_TYPE_UNKNOWN: // libvirt's way to say none
			return JobNone, nil
		case lv.DOMAIN_BLOCK_JOB_TYPE_PULL:
			return "block pull", nil
		case lv.DOMAIN_BLOCK_JOB_TYPE_COPY:
			return "block copy", nil
		case lv.DOMAIN_BLOCK_JOB_TYPE_COMMIT, lv.DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT:
			return "block commit", nil
		case lv.DOMAIN_BLOCK_JOB_TYPE_BACKUP:
			return JobBackup, nil
		default:
			return JobUnknown, nil
		}
	})
}

// AbortJob ends the domain's job, whatever it is: look first. It may return before
// the job's files are removed. Without a job the error is ErrOperationInvalid.
func (d *Domain) AbortJob(ctx context.Context) error {
	return do(ctx, d, "end the domain's job", once, func(dom *lv.Domain) error { return dom.AbortJob() })
}

// BeginBackup makes a checkpoint and begins a pull backup at the same instant, of
// all disks or, on an error, of none.
func (d *Domain) BeginBackup(ctx context.Context, backupXML, checkpointXML string) error {
	return do(ctx, d, "begin the backup", once, func(dom *lv.Domain) error {
		return dom.BackupBegin(backupXML, checkpointXML, 0)
	})
}

// Backup returns the running backup, or nil if there is none.
func (d *Domain) Backup(ctx context.Context) (*Backup, error) {
	const op = "read the backup job"
	xml, err := on(ctx, d, op, again, func(dom *lv.Domain) (string, error) { return dom.BackupGetXMLDesc(0) })
	if errors.Is(err, ErrNoBackup) || errors.Is(err, ErrOperationInvalid) {
		return nil, nil // no job, or the domain does not run
	}
	if err != nil {
		return nil, err
	}
	b, err := ParseBackup(xml)
	if err != nil {
		return nil, &Error{Op: op, Domain: d.Name, Err: err}
	}
	return b, nil
}
