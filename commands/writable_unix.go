//go:build unix

package commands

import "golang.org/x/sys/unix"

// writable tells whether files can be made in a directory, without making one.
func writable(dir string) error { return unix.Access(dir, unix.W_OK|unix.X_OK) }
