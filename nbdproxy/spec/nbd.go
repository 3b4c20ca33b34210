package spec

// NBD asks `vmsync-nbd serve` to be an NBD server as well: it offers the exports,
// read-only, under the disks' names to any NBD client. With a stream, the server
// ends when the session does; without one, the session is done when stdin ends.
type NBD struct {
	Unix string `json:"unix,omitempty"` // path of a unix socket, created mode 0600
	// TCP is an address, host:port; port 0 stands for any that is free. Unless it is of
	// the loopback interface, TLS is needed.
	TCP string `json:"tcp,omitempty"`
	// TLS is the path of a folder with the files that libvirt and qemu use: ca-cert.pem,
	// server-cert.pem and server-key.pem, perhaps ca-crl.pem. Clients need a
	// certificate of that authority.
	TLS string `json:"tls,omitempty"`
	// Clients are the common or distinguished names of the TLS clients that are let
	// in; empty for all of the authority's.
	Clients []string `json:"clients,omitempty"`
}
