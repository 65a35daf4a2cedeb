package commands

import (
	"context"
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

// Told is a context that ends with the first of these signals; it is made once, for the whole program. A second ^C or SIGTERM
// ends the program at once. A hangup is no such order, however often it comes: when one terminal is closed, the kernel and the
// shell send it two or three times (setsid(2), and "SIGHUP" in bash(1)), and a service manager SIGTERM besides.
func Told() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	ordered, hung := make(chan os.Signal, 1), make(chan os.Signal, 1)
	for _, s := range Signals() {
		if s == syscall.SIGHUP {
			signal.Notify(hung, s)
		} else {
			signal.Notify(ordered, s)
		}
	}
	go func() {
		for {
			select {
			case <-ordered:
				signal.Stop(ordered)
			case <-hung:
			}
			cancel()
		}
	}()
	return ctx
}

// unbroken lets a rollback go on when whoever reads its output is gone (`rollback run … 2>&1 | head`): dying of SIGPIPE would
// leave production half way.
func unbroken() { signal.Ignore(syscall.SIGPIPE) }
