package commands

import (
	"os"
	"os/signal"
	"syscall"
)

// Signals are those that ask for an end in good order: record written, lock released. SIGHUP comes when the terminal is closed
// or the connection is lost; where it is ignored, as nohup does, it stays so.
func Signals() []os.Signal {
	list := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		list = append(list, syscall.SIGHUP)
	}
	return list
}

// unbroken lets a rollback go on when whoever reads its output is gone (`rollback run … 2>&1 | head`): dying of SIGPIPE would
// leave production half way.
func unbroken() { signal.Ignore(syscall.SIGPIPE) }
