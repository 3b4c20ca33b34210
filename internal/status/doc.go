// Package status shows people how machines stand, as the service says: as a table, whose
// columns fit the terminal. Package watch below it is the view that lives.
//
// What is shown comes from other hosts; what a terminal would take for a command is
// escaped. The package must never ask the service for anything, and never change a thing.
package status
