package powerloss

import "fmt"

// Kind is what an operation does.
type Kind string

// The kinds of operations. Those from Create on change a folder's names, those from
// Write on a file's content; Sync makes them durable, and Mark is a promise.
const (
	Create   Kind = "create"
	Mkdir    Kind = "mkdir"
	Link     Kind = "link"
	Rename   Kind = "rename"
	Remove   Kind = "remove"
	Write    Kind = "write"
	Truncate Kind = "truncate"
	Allocate Kind = "allocate" // makes a file at least so large
	Zero     Kind = "zero"     // a range reads as zeros; the size stays
	Sync     Kind = "sync"     // of a file or a folder
	Mark     Kind = "mark"
)

// Op is one recorded operation. Files and folders are numbers; names come and go.
type Op struct {
	Kind Kind
	// Inode is the file or folder: that which is written to or synced, or which the
	// name stands for.
	Inode int
	// Dir and Name are the name that is made or removed. For a rename, Dir and Name
	// are the new name, OldDir and OldName the one before.
	Dir     int
	Name    string
	OldDir  int
	OldName string

	Offset, Length int64 // of Write, Allocate and Zero; Truncate: Length is the size
	Data           []byte
	Path           string // for people: what it was called then; a mark's text
}

func (o Op) String() string {
	switch o.Kind {
	case Write, Allocate, Zero:
		return fmt.Sprintf("%s %s [%d, +%d)", o.Kind, o.Path, o.Offset, o.Length)
	case Truncate:
		return fmt.Sprintf("truncate %s to %d", o.Path, o.Length)
	case Rename:
		return fmt.Sprintf("rename %s to %s", o.OldName, o.Path)
	default:
		return fmt.Sprintf("%s %s", o.Kind, o.Path)
	}
}

// names tells whether the operation changes a folder's names.
func (o Op) names() bool {
	switch o.Kind {
	case Create, Mkdir, Link, Rename, Remove:
		return true
	}
	return false
}

// content tells whether the operation changes a file's content.
func (o Op) content() bool {
	switch o.Kind {
	case Write, Truncate, Allocate, Zero:
		return true
	}
	return false
}

// dirs are the folders whose names the operation changes.
func (o Op) dirs() []int {
	switch {
	case !o.names():
		return nil
	case o.Kind == Rename && o.OldDir != o.Dir:
		return []int{o.OldDir, o.Dir}
	}
	return []int{o.Dir}
}
