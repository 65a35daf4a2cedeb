package commands

// What trigger asks on the terminal, and how the build's log, our own lines and an open question share one screen.

import (
	"bufio"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/rollback-tools/rollback/internal/rollback"
	"github.com/rollback-tools/rollback/jenkins"
)

// ask asks on the terminal what an input asks: its parameters one by one, or whether to go on.
func (f *follower) ask(in jenkins.Input) {
	message := strings.TrimSpace(in.Message)
	if message == "" {
		message = "The build waits for its approval."
	}
	if !f.screen.shown(message) { // Jenkins writes it into the log, but not where values are asked for
		for line := range strings.Lines(message) {
			f.screen.line("  " + strings.TrimRight(line, "\r\n"))
		}
	}
	if len(in.Parameters) > 0 {
		f.askParameter(in, 0, map[string]string{})
		return
	}
	text := "Approve? No ends the build. [y/N] "
	if f.confirm {
		text = fmt.Sprintf("Type %s to approve; anything else ends the build: ", f.scope.Service)
	}
	f.put(&question{input: in.ID, take: func(line string) bool {
		if f.confirm && line == f.scope.Service || !f.confirm && yes(line) {
			f.answer(in, nil)
		} else {
			f.turnDown(in)
		}
		return true
	}}, text)
}

// askParameter asks for the ith parameter and those behind it, and sends them together.
func (f *follower) askParameter(in jenkins.Input, i int, values map[string]string) {
	p := in.Parameters[i]
	read := func(line string) (value string, ok bool) { return line, true }
	text := p.Name + ": "
	switch {
	case p.Kind == rollback.ChoiceParameter:
		for n, c := range p.Choices {
			f.screen.line(fmt.Sprintf("  %2d  %s", n+1, c))
		}
		text = fmt.Sprintf("Number [1-%d]: ", len(p.Choices))
		read = func(line string) (string, bool) {
			n, err := strconv.Atoi(line)
			if err != nil || n < 1 || n > len(p.Choices) {
				return "", false
			}
			return p.Choices[n-1], true
		}
	case p.Kind == rollback.BooleanParameter:
		text = p.Name + " [y/N] "
		read = func(line string) (string, bool) { return strconv.FormatBool(yes(line)), true }
	case p.Default != nil && *p.Default != "":
		text = fmt.Sprintf("%s [%s]: ", p.Name, *p.Default)
		read = func(line string) (string, bool) {
			if line == "" {
				line = *p.Default
			}
			return line, true
		}
	}
	f.put(&question{input: in.ID, take: func(line string) bool {
		value, ok := read(line)
		if !ok {
			f.screen.ask(text)
			return false
		}
		if values[p.Name] = value; i+1 < len(in.Parameters) {
			f.askParameter(in, i+1, values)
			return false
		}
		f.answer(in, values)
		return true
	}}, text)
}

// put asks a question. What was typed before it answers nothing.
func (f *follower) put(q *question, text string) {
	f.e.unasked()
	if f.lines == nil {
		lines := make(chan string, 16)
		f.lines = lines
		go func() { // ends with the program
			defer close(lines)
			for r := bufio.NewReader(f.e.Stdin); ; {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				lines <- line
			}
		}()
	}
	for early := true; early; {
		select {
		case _, ok := <-f.lines:
			if early = ok; !ok { // nobody is there to answer
				f.question = q
				f.typed("", false)
				return
			}
		default:
			early = false
		}
	}
	f.question = q
	f.screen.ask(text)
}

// typed takes a line from the terminal; not ok is the end of what is typed.
func (f *follower) typed(line string, ok bool) {
	q := f.question
	switch {
	case !ok:
		f.lines, f.deaf, f.question = nil, true, nil
		f.screen.settle()
		if q == nil {
			return
		}
		if q.input == "" { // to abort wants a yes
			f.quit = "left alone"
			return
		}
		f.settled[q.input] = false // told by its link from now on
	case q == nil:
	default:
		f.screen.answered()
		if q.take(strings.TrimSpace(line)) && f.question == q {
			f.question = nil
		}
	}
}

// screen is standard error with one question open at its end: what is printed meanwhile comes before it.
type screen struct {
	mu   sync.Mutex
	p    *printer
	open string
	log  []string // the last lines of the build's log
}

// remembered is how much of the log is still in sight when a question is asked.
const remembered = 10

// logged shows a line of the build's log.
func (s *screen) logged(text string) {
	s.line(s.p.dim("│ ") + text)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log[max(0, len(s.log)-remembered+1):], text)
}

// shown tells whether a text is among the last lines of the log.
func (s *screen) shown(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(strings.Join(s.log, "\n"), text)
}

func (s *screen) line(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open != "" {
		fmt.Fprintln(s.p.w)
	}
	s.p.line(text)
	if s.open != "" {
		fmt.Fprint(s.p.w, s.open)
	}
}

func (s *screen) ask(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = s.p.redact(clean(text))
	fmt.Fprint(s.p.w, s.open)
}

// answered closes the question: whoever typed has ended the line.
func (s *screen) answered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = ""
}

// settle closes the question without an answer.
func (s *screen) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open != "" {
		fmt.Fprintln(s.p.w)
		s.open = ""
	}
}

// buildLog shows a build's log line by line, apart from our own lines. Jenkins' marks of steps are left out, but for stages.
type buildLog struct {
	screen *screen
	held   []byte
	mu     sync.Mutex
	yes    bool // an input was approved since somebody asked
}

// longestLine is where a line without an end is cut.
const longestLine = 16 << 10

func (l *buildLog) Write(p []byte) (int, error) {
	l.held = append(l.held, p...)
	for {
		i := slices.Index(l.held, '\n')
		if i < 0 && len(l.held) < longestLine {
			return len(p), nil
		}
		next := i + 1
		if i < 0 || i > longestLine {
			i, next = longestLine, longestLine
		}
		l.show(string(l.held[:i]))
		l.held = slices.Clone(l.held[next:])
	}
}

// flush shows a last line that has no end.
func (l *buildLog) flush() {
	if len(l.held) > 0 {
		l.show(string(l.held))
		l.held = nil
	}
}

func (l *buildLog) show(line string) {
	line = strings.TrimRight(line, "\r")
	if step, is := strings.CutPrefix(line, "[Pipeline] "); is {
		if stage, is := strings.CutPrefix(step, "{ ("); is {
			l.screen.line(l.screen.p.bold("── " + strings.TrimSuffix(stage, ")")))
		}
		return
	}
	if strings.HasPrefix(line, "Approved by ") {
		l.screen.settle() // a question that is still open has its answer
		l.mu.Lock()
		l.yes = true
		l.mu.Unlock()
	}
	l.screen.logged(line)
}

// approved tells whether an input was approved since the last time.
func (l *buildLog) approved() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.yes
	l.yes = false
	return was
}
