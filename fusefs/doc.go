// Package fusefs shows a store's replicas as a read-only tree of files: every state, its
// disks, their partitions, and the guests' own files. docs/FUSE.md describes the tree.
//
// The tree has two parts. The store's part, down to disks and files, has few nodes, which
// come and go with states; [nodes] keeps those that the kernel knows. The guests' part
// can have any number of files, none of which ever changes; nothing is kept for them:
// the number by which the kernel knows a file tells the filesystem and the file in it
// ([span]).
//
// A state is opened by the first look into its disks or files. From then on it is pinned
// ([store.Pin]), until nobody has opened a file of it, and nobody has looked, for
// a while.
//
// The package must never write to a store, but for pins, and never follow a
// symbolic link of a guest. What it cannot read is an error of that file: the rest goes on.
package fusefs
