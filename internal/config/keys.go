package config

// The keys of each part of the file, in the order in which messages list them.

func topKeys() []string {
	return []string{"version", "target", "store", "sources", "defaults", "exclude", "machines", "concurrency", "retry", "jitter", "notifications", "api", "metrics", "history"}
}

func settingKeys() []string {
	return []string{"every", "cron", "rpo", "max_age", "min_changed", "min_changed_max_age", "keep", "store", "target_domain", "disks", "exclude_disks",
		"compress", "transport", "rate", "quiesce", "freeze_mountpoints", "before", "after_checkpoint", "after", "notify", "group"}
}

func hostKeys() []string {
	return []string{"uri", "identity_file", "known_hosts", "ssh_config", "tls_dir"}
}

func windowKeys() []string { return []string{"from", "to", "days", "rate"} }

func hookKeys() []string { return []string{"on", "command", "timeout", "on_failure"} }

func smtpKeys() []string {
	return []string{"host", "port", "from", "to", "user", "password_file", "starttls"}
}

func concurrencyKeys() []string { return []string{"total", "per_source", "per_target_host"} }

func retryKeys() []string { return []string{"first", "max"} }

func apiKeys() []string { return []string{"socket", "group"} }

func metricsKeys() []string { return []string{"listen"} }

func historyKeys() []string { return []string{"path", "keep_runs", "keep_for"} }

func notificationKeys() []string { return []string{"webhook", "command", "smtp", "timeout", "events"} }

func entryKeys() []string { return append([]string{"name", "source"}, settingKeys()...) }
