// Command rollback takes production back to an earlier version, proves what the pods run, and leaves the record behind.
package main

import (
	"context"
	"os"
	"os/signal"

	"github.com/rollback-tools/rollback/commands"
)

// Set by the linker, see the Makefile.
var (
	version = "dev"
	commit  = ""
	date    = ""
)

func main() {
	// The first signal asks for an end in good order; the second one, with the default behaviour restored, ends at once.
	ctx, stop := signal.NotifyContext(context.Background(), commands.Signals()...)
	context.AfterFunc(ctx, stop)
	code := commands.Main(ctx, commands.OS(version, commit, date), os.Args[1:])
	stop()
	os.Exit(code)
}
