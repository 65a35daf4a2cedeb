//go:build unix

package commands

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// writable tells whether files can be made in a directory, without making one.
func writable(dir string) error { return unix.Access(dir, unix.W_OK|unix.X_OK) }

// room is an error where the disk of a directory is full; one that does not tell is taken to have room.
func room(dir string) error {
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil || disk.Blocks == 0 || disk.Bavail > 0 && (disk.Ffree > 0 || disk.Files == 0) {
		return nil
	}
	return fmt.Errorf("%s: %w", dir, unix.ENOSPC)
}
