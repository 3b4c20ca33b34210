// Package units reads and writes amounts the way people give them: lengths of time, sizes
// and rates, the same on the command line and in the configuration. It is pure. It must
// never guess: an amount without a unit that could mean several things is refused.
package units
