// Package config reads the service's configuration: which machines are replicated, from
// where, how often, and who is told of it. [Parse] turns a file's text into a [Config],
// whose values are complete and checked, and [Config.Resolve] says what holds for one
// machine. docs/CONFIG.md has every key.
//
// The model is three layers of the same keys: defaults, the first entry whose pattern
// matches the machine's name, and the entry with exactly that name. Of a key that several
// layers have, the last one counts. Every combination that Resolve can meet is checked by
// Parse already, so that a configuration that was taken has no surprises left.
//
// What is wrong is told with file, line and column, all of it at once as far as possible.
//
// The package is pure: the same text gives the same answer on every host, but for names of
// time zones that a host may not know. It must never
// act on what it reads: it looks nothing up, opens no file but the one that [Load] is
// given, does not look whether keys or programs that the text names exist, and starts
// nothing. A Config does not change once it is made, and may be read by many goroutines.
package config
