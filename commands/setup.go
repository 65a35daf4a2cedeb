package commands

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/rollback-tools/rollback/internal/config"
	"github.com/rollback-tools/rollback/internal/rollback"
)

func (e *Env) initCommand() *cli.Command {
	return &cli.Command{
		Name: "init", Category: set, Usage: "write a commented rollback.yaml to start from",
		Description: "Writes to the working directory, or to --out (- for standard output). An existing file is never overwritten.",
		Flags:       e.flags(option{name: "out", usage: "file to write, - for standard output (default: rollback.yaml)"}),
		Action: func(c *cli.Context) error {
			path := e.text(c, optOut)
			if path == "-" {
				_, err := e.Stdout.Write(config.Init())
				return err
			}
			if path == "" {
				path = config.FileNames[0]
			}
			full := path
			if !filepath.IsAbs(full) {
				full = filepath.Join(e.Dir, full)
			}
			f, err := os.OpenFile(full, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			if errors.Is(err, fs.ErrExist) {
				return rollback.UsageErrorf("%s exists and was left as it is; to see the starter file: rollback init --out -", path)
			}
			if err != nil {
				var pe *fs.PathError
				if errors.As(err, &pe) {
					err = pe.Err // the path is told already
				}
				return rollback.UsageErrorf("%s: %w", path, err)
			}
			if _, err = f.Write(config.Init()); err == nil {
				err = f.Close()
			}
			if err != nil {
				return fmt.Errorf("writing %s: %w", path, err)
			}
			e.printer().line("wrote " + path + ": fill in account, region, cluster and namespace, then: rollback doctor --environment prod --service payments")
			fmt.Fprintln(e.Stdout, path)
			return nil
		},
	}
}

// shells are those that completions has a script for.
var shells = []string{"bash", "zsh", "fish"}

// completions are the shell scripts; they ask the program itself, so they never go stale. Where the program has nothing to
// offer, the word may be a file.
var completions = map[string]string{
	"bash": `_rollback() {
  local cur="${COMP_WORDS[COMP_CWORD]}" word what
  COMPREPLY=()
  while IFS=$'\t' read -r word what; do
    COMPREPLY+=("$word")
  done < <("${COMP_WORDS[@]:0:COMP_CWORD}" "$cur" --generate-bash-completion 2>/dev/null)
}
complete -o bashdefault -o default -F _rollback rollback
`,
	"zsh": `#compdef rollback
_rollback() {
  local -a words_ texts
  local word what
  while IFS=$'\t' read -r word what; do
    words_+=("$word")
    texts+=("$word${what:+  -- $what}")
  done < <("${(@)words[1,CURRENT-1]}" "${words[CURRENT]}" --generate-bash-completion 2>/dev/null)
  if (( ${#words_} )); then
    compadd -l -d texts -- "${words_[@]}"
  else
    _files
  fi
}
compdef _rollback rollback
`,
	"fish": `function __rollback_complete
    set -l words (commandline -opc)
    set -l found ($words (commandline -ct) --generate-bash-completion 2>/dev/null)
    if set -q found[1]
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c rollback -f -a '(__rollback_complete)'
`,
}

func (e *Env) completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Category: set, Usage: "print a shell completion script",
		Description: "bash: source <(rollback completion --shell bash)\nzsh:  source <(rollback completion --shell zsh)\nfish: rollback completion --shell fish | source",
		Flags:       e.flags(option{name: "shell", usage: "bash, zsh or fish"}),
		Action: func(c *cli.Context) error {
			shell := e.text(c, option{name: "shell"})
			script, ok := completions[shell]
			if !ok {
				return rollback.UsageErrorf("--shell %q: want bash, zsh or fish", shell)
			}
			_, err := fmt.Fprint(e.Stdout, script)
			return err
		},
	}
}
