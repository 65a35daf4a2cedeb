package commands

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rollback-tools/rollback/internal/rollback"
)

// printer writes lines for people. Everything it writes has been redacted, and control characters in foreign text are
// shown, not obeyed.
type printer struct {
	w      io.Writer
	colour bool
	redact func(string) string
	width  int    // of the terminal, in columns; 0 where there is none
	failed *error // where it is kept that something could not be written; nil where that does not matter
}

// printer is the one for prose: standard error.
func (e *Env) printer() *printer {
	p := &printer{w: e.Stderr, redact: e.redactor.String}
	e.dress(p, e.Terminal)
	return p
}

// data is the printer for what the command is about: standard output, never coloured.
func (e *Env) data() *printer {
	return &printer{w: e.Stdout, redact: e.redactor.String, failed: &e.unwritten}
}

// dress gives a printer what a terminal has.
func (e *Env) dress(p *printer, terminal bool) {
	if terminal {
		p.colour, p.width = e.Getenv("NO_COLOR") == "", e.Width()
	}
}

func (p *printer) line(s string) {
	if _, err := fmt.Fprintln(p.w, p.redact(clean(s))); err != nil && p.failed != nil {
		*p.failed = err
	}
}

func (p *printer) paint(code, s string) string { return paint(p.colour, code, s) }
func (p *printer) red(s string) string         { return p.paint("31", s) }
func (p *printer) green(s string) string       { return p.paint("32", s) }
func (p *printer) yellow(s string) string      { return p.paint("33", s) }
func (p *printer) dim(s string) string         { return p.paint("2", s) }
func (p *printer) bold(s string) string        { return p.paint("1", s) }
func paint(colour bool, code, text string) string {
	if !colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// clean replaces control characters, which foreign text (log lines, commit titles) may hold to fool a terminal, except
// the colours this program sets.
func clean(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\x1b':
			if end := strings.IndexByte(s[i:], 'm'); end > 0 && end < 8 && strings.Trim(s[i+1:i+end], "[0123456789;") == "" {
				b.WriteString(s[i : i+end+1])
				i += end + 1
				continue
			}
			b.WriteString("�")
		case r == '\n' || r == '\t' || r >= ' ' && r != 0x7f && (r < 0x80 || r > 0x9f):
			b.WriteString(s[i : i+n])
		default:
			b.WriteString("�")
		}
		i += n
	}
	return b.String()
}

// json writes v indented, redacted.
func (e *Env) json(v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(e.Stdout, e.redactor.String(string(data)))
	return err
}

// card prints a plan for the person who decides.
func (p *printer) card(pl *rollback.Plan, now time.Time) {
	title := map[rollback.Act]string{
		rollback.ActRun: "roll back by " + pl.Method, rollback.ActRetag: "move the tag only", rollback.ActRestart: "restart only",
		rollback.ActUndo: "undo the last rollback", rollback.ActVerify: "verify",
	}[pl.Act]
	if pl.Act != rollback.ActVerify && len(pl.Steps) == 1 {
		title = "nothing to change: production is there already"
	}
	p.line(p.bold(pl.Scope.String()) + "  " + title + p.dim("  "+pl.ID))
	p.line("")
	p.row("current", side(pl.Current, now), serving(pl))
	if pl.Act != rollback.ActRestart || pl.Target.Digest != pl.Current.Digest { // after a retag alone a restart goes elsewhere
		p.row("target", p.bold(side(pl.Target, now)))
	}
	if pl.Why != "" {
		p.row("", p.dim(pl.Why))
	}
	if len(pl.Evidence) > 0 && (pl.Act == rollback.ActRun || pl.Act == rollback.ActRetag) {
		p.row("evidence", strings.Join(pl.Evidence, "; "))
	}
	switch {
	case pl.Act == rollback.ActVerify || pl.Act == rollback.ActRestart:
	case pl.Unlisted != "":
		p.row("undoes", p.dim(pl.Unlisted))
	case len(pl.Undoes) > 0:
		p.row("undoes", count(len(pl.Undoes), "version", "versions"))
		for i, u := range pl.Undoes {
			if i == 8 {
				p.row("", p.dim(fmt.Sprintf("… and %d more (--json lists all)", len(pl.Undoes)-8)))
				break
			}
			p.hang(blank+"  ", undone(u, now))
		}
	}
	if len(pl.Keys) > 0 && pl.Act != rollback.ActVerify && pl.Act != rollback.ActRestart {
		p.row("issues", strings.Join(pl.Keys, ", "))
	}
	p.row("registry", fmt.Sprintf("%s/%s:%s", pl.Registry.Host, pl.Registry.Name, pl.Tag), as(pl.Registry.Caller))
	p.row("cluster", strings.TrimSpace(pl.Cluster.Context+" "+pl.Cluster.Server), "namespace "+pl.Namespace, as(pl.Cluster.User))
	if len(pl.Workloads) > 0 && pl.Does(rollback.StepRestart) {
		for i, w := range pl.Workloads {
			label := ""
			if i == 0 {
				label = "restarts"
			}
			text := fmt.Sprintf("%s  %s", w.Ref, count(w.Pods, "pod", "pods"))
			if w.Stamped {
				text += "  (done already)"
			}
			p.row(label, text)
		}
	}
	if pl.Reason != "" {
		p.row("reason", strings.Join(strings.Fields(pl.Reason), " "), p.dim("— "+pl.By.User)) // in one line, whatever was pasted
	}
	if len(pl.Findings) > 0 {
		p.line("")
		p.findings(pl.Findings, pl.Accepted)
	}
	p.line("")
	if pl.Act != rollback.ActVerify {
		for i, s := range pl.Steps {
			label := ""
			if i == 0 {
				label = "steps"
			}
			p.hang(fmt.Sprintf("  %-9s %d. %-9s ", label, i+1, s.Name), s.Text)
		}
	}
	if pl.Verdict == rollback.Safe {
		p.row("verdict", p.green("safe"))
	} else {
		var codes []string // the findings above say the rest
		for _, f := range pl.Findings {
			if f.Severity == rollback.Block && !slices.Contains(pl.Accepted, f.Code) && !slices.Contains(codes, f.Code) {
				codes = append(codes, f.Code)
			}
		}
		p.row("verdict", p.red("unsafe")+": "+strings.Join(codes, ", "))
	}
}

func (p *printer) findings(list []rollback.Finding, accepted []string) {
	for _, f := range list {
		mark := map[rollback.Severity]string{rollback.Block: p.red("✗ block"), rollback.Warn: p.yellow("! warn "), rollback.Info: p.dim("· info ")}[f.Severity]
		if f.Severity == rollback.Block && slices.Contains(accepted, f.Code) {
			mark = p.yellow("! taken")
		}
		p.hang("  "+mark+"  ", f.Text+" "+p.dim("["+f.Code+"]"))
		if f.Remedy != "" {
			p.line("           → " + f.Remedy)
		}
	}
}

func (p *printer) row(label string, parts ...string) {
	parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" })
	p.hang(fmt.Sprintf("  %-9s ", label), strings.Join(parts, "  "))
}

// blank is the label of a row that has none.
const blank = "            "

// hang writes text behind what leads to it, on a terminal in lines that fit and begin below one another. What is there to be
// typed is not written by it: a line that the terminal breaks is copied whole.
func (p *printer) hang(lead, text string) {
	indent := visible(lead)
	room := p.width - indent
	if room < 20 || visible(text) <= room {
		p.line(lead + text)
		return
	}
	for text = p.redact(clean(text)); text != ""; { // a secret may have blanks, and must not escape by being broken
		end := len(text)
		if visible(text) > room {
			end = 0
			for i := range text { // the last blank that fits, or the first one
				if text[i] != ' ' {
					continue
				}
				if end > 0 && visible(text[:i]) > room {
					break
				}
				end = i
			}
			if end == 0 {
				end = len(text)
			}
		}
		p.line(lead + strings.TrimRight(text[:end], " "))
		lead, text = strings.Repeat(" ", indent), strings.TrimLeft(text[end:], " ")
	}
}

// visible is how many columns a text takes, without the colours in it.
func visible(s string) int {
	n, hidden := 0, false
	for _, r := range s {
		switch {
		case r == '\x1b':
			hidden = true
		case hidden:
			hidden = r != 'm'
		default:
			n++
		}
	}
	return n
}

func side(s rollback.Side, now time.Time) string {
	if s.Digest == "" {
		return "nothing"
	}
	parts := []string{}
	if s.Commit != "" {
		parts = append(parts, s.Commit.Short())
	} else {
		parts = append(parts, "(no commit tag)")
	}
	parts = append(parts, s.Digest.Short())
	switch {
	case !s.PushedAt.IsZero():
		parts = append(parts, "pushed "+rollback.Span(now.Sub(s.PushedAt))+" ago")
	case !s.CreatedAt.IsZero():
		parts = append(parts, "built "+rollback.Span(now.Sub(s.CreatedAt))+" ago")
	}
	if s.Change != nil {
		parts = append(parts, changed(s.Change))
	}
	return strings.Join(parts, "  ")
}

func undone(u rollback.UndoneVersion, now time.Time) string {
	text := u.Commit.Short()
	if u.Change != nil {
		text += "  " + changed(u.Change)
	} else if !u.PushedAt.IsZero() {
		text += "  pushed " + rollback.Span(now.Sub(u.PushedAt)) + " ago"
	}
	return text
}

// changed is a commit in one phrase: what, by whom, in which pull request.
func changed(c *rollback.Change) string {
	title := strings.TrimSuffix(c.Title, fmt.Sprintf(" (#%d)", c.PR)) // a squash merge repeats the number
	text := rollback.Printable(title) + " (" + rollback.Printable(c.Author) + ")"
	if c.PR > 0 {
		text += fmt.Sprintf(" #%d", c.PR)
	}
	return text
}

// serving says how many pods run the current image.
func serving(pl *rollback.Plan) string {
	pods, ready := 0, 0
	for _, r := range pl.Running {
		if r.Image == pl.Current.Digest {
			pods += r.Pods
			ready += r.Ready
		}
	}
	if pods == 0 {
		return "on no pod"
	}
	return fmt.Sprintf("on %s, %d ready", count(pods, "pod", "pods"), ready)
}

func as(who string) string {
	if who == "" {
		return ""
	}
	return "as " + who
}

// count puts a number before the right word.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// table writes rows in columns.
func (p *printer) table(head []string, rows [][]string) {
	for i, line := range columns(head, rows) {
		if i == 0 {
			line = p.dim(line)
		}
		p.line(line)
	}
}

// columns are the lines of a table, two spaces between the columns, the last one as long as it is.
func columns(head []string, rows [][]string) (lines []string) {
	width := make([]int, len(head))
	all := append([][]string{head}, rows...)
	for _, r := range all {
		for i, c := range r {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	for _, r := range all {
		var b strings.Builder
		for j, c := range r {
			b.WriteString(c)
			if j < len(r)-1 {
				b.WriteString(strings.Repeat(" ", width[j]-utf8.RuneCountInString(c)+2))
			}
		}
		lines = append(lines, strings.TrimRight(b.String(), " "))
	}
	return lines
}
