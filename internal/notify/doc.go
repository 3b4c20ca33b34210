// Package notify tells people and programs what happened to machines: by a webhook, a
// command or a mail, as a configuration says.
//
// A [Sender] sends one message, once. A [Notifier] has a queue for each destination, with a
// goroutine that sends what is in it, in order, gathers what comes at about the same time
// into one message, and tries again what was not taken. Telling it something never waits.
// What is given up, or left when it is closed, is in the log: nothing is lost without a
// word, and nothing is kept on disk. A destination may get the same event twice, as when
// its answer was lost: events have ids.
//
// The package must never put a secret, as a webhook's address or a password, into an error
// or a log, never trust what the other side answers, and never run a command in a shell.
package notify
