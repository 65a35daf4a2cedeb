package commands

import "golang.org/x/sys/unix"

// dropTyped drops what was typed on a terminal and not read yet (tcflush(3)).
func dropTyped(fd uintptr) error {
	return unix.IoctlSetPointerInt(int(fd), unix.TIOCFLUSH, unix.TCIFLUSH)
}
