// Command rollback takes production back to an earlier version, proves what the pods run, and leaves the record behind.
package main

import (
	"os"

	"github.com/rollback-tools/rollback/commands"
)

// Set by the linker, see the Makefile.
var (
	version = "dev"
	commit  = ""
	date    = ""
)

func main() {
	os.Exit(commands.Main(commands.Told(), commands.OS(version, commit, date), os.Args[1:]))
}
