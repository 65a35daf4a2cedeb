package jenkins

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rollback-tools/rollback/internal/fake"
	"github.com/rollback-tools/rollback/internal/fake/jenkins"
	"github.com/rollback-tools/rollback/internal/rollback"
)

const aNote = "\x1b[8mha:////4AbC+/=:x\x1b[0m"

// noteForm says the same as the filter, in one line, for whole texts.
var noteForm = regexp.MustCompile("\x1b\\[8mha:[A-Za-z0-9+/=:]*\x1b\\[0m")

// filtered is a text after the filter, cut into pieces of the given sizes over and over.
func filtered(t testing.TB, text []byte, sizes ...int) string {
	var out bytes.Buffer
	f := &noteFilter{to: &out}
	for i := 0; len(text) > 0; i++ {
		n := min(len(text), max(1, sizes[i%len(sizes)]))
		if got, err := f.Write(text[:n]); got != n || err != nil {
			t.Fatalf("wrote %d of %d, %v", got, n, err)
		}
		text = text[n:]
	}
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestNoteFilter(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("A", maxNote+10)
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"plain\n", "plain\n"},
		{aNote + "[Pipeline] sh\n", "[Pipeline] sh\n"},
		{"a" + aNote + aNote + "b", "ab"},
		{"\x1b[8mha:\x1b[0m", ""},
		{"\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"},
		{"\x1b[8mhidden\x1b[0m", "\x1b[8mhidden\x1b[0m"},
		{"\x1b[8mha:no base64!\x1b[0m", "\x1b[8mha:no base64!\x1b[0m"},
		{"\x1b[8mha:abc" + aNote + "x", "\x1b[8mha:abcx"},
		{"\x1b\x1b" + aNote, "\x1b\x1b"},
		{"end \x1b[8mha:abc", "end \x1b[8mha:abc"},
		{"end \x1b[8m", "end \x1b[8m"},
		{"\x1b[8mha:" + long + "\x1b[0m", "\x1b[8mha:" + long + "\x1b[0m"},
	} {
		for _, size := range []int{1, 2, 3, 5, 7, 11, 1 << 20} {
			if len(c.in) > maxNote && size < 100 {
				continue
			}
			if got := filtered(t, []byte(c.in), size); got != c.want {
				t.Errorf("%.80q in pieces of %d: %.80q, want %.80q", c.in, size, got, c.want)
			}
		}
	}
}

type refusing struct{ after int }

var errFull = errors.New("disk full")

func (r *refusing) Write(p []byte) (int, error) {
	if r.after -= len(p); r.after < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestNoteFilterPassesErrorsOn(t *testing.T) {
	t.Parallel()
	f := &noteFilter{to: &refusing{}}
	if _, err := f.Write([]byte("x")); !errors.Is(err, errFull) {
		t.Error(err)
	}
	if _, err := f.Write([]byte("\x1b[8m")); err != nil {
		t.Error(err)
	}
	if err := f.Flush(); !errors.Is(err, errFull) {
		t.Error(err)
	}
}

func FuzzNoteFilter(f *testing.F) {
	f.Add([]byte("a"+aNote+"b\x1b[0m"), 1, 3)
	f.Add([]byte("\x1b[8mha:abc\x1b[8mha:d\x1b[0mrest\x1b[8m"), 2, 7)
	f.Add([]byte("\x1b\x1b[\x1b[8mha:\x1b[0"), 5, 1)
	f.Fuzz(func(t *testing.T, text []byte, a, b int) {
		if len(text) > 4096 {
			return
		}
		want := noteForm.ReplaceAllString(string(text), "")
		if got := filtered(t, text, a%64, b%64); got != want {
			t.Errorf("%q in pieces of %d and %d: %q, want %q", text, a, b, got, want)
		}
	})
}

// A log is read while it grows, breaks off and is replaced: every byte once and in order, and no note.
func TestFollowLog(t *testing.T) {
	t.Parallel()
	s, c := world(t)
	b := make(chan *jenkins.Build, 1)
	s.OnBuild(func(ctx context.Context, build *jenkins.Build) string {
		b <- build
		return jenkins.Manual(ctx, build)
	})
	text := &page{}
	type result struct {
		b   rollback.Build
		err error
	}
	done := make(chan result, 1)
	ctx := ctxFor(t)
	first := start(t, c, web, "", nil)
	go func() {
		b, err := c.Follow(ctx, first.Build, text)
		done <- result{b, err}
	}()
	build := <-b
	seen := func(part string) {
		t.Helper()
		before := s.Count("GET progressiveText")
		for !strings.Contains(text.String(), part) {
			if ctx.Err() != nil {
				t.Fatalf("%q not seen in %q", part, text)
			}
			if s.Count("GET progressiveText") > before+2000 {
				t.Fatalf("%q not seen in %q", part, text)
			}
			<-soon(0)
		}
	}
	seen("Start of Pipeline")
	build.Print("one \x1b[8mha:////AB")
	seen("one ")
	build.Print("CD==\x1b[0mtwo\n")
	seen("one two\n")
	want := "Started by user rollback\n[Pipeline] Start of Pipeline\none two\n"
	if text.String() != want {
		t.Errorf("%q\nwant %q", text, want)
	}
	build.ReplaceLog("anew\n")
	seen(logReplaced + "anew\n")
	build.Finish("")
	end := <-done
	if end.err != nil || !end.b.Succeeded() {
		t.Fatalf("%+v, %v", end.b, end.err)
	}
	want += logReplaced + "anew\n[Pipeline] End of Pipeline\nFinished: SUCCESS\n"
	if text.String() != want {
		t.Errorf("%q\nwant %q", text, want)
	}
}

// answers is a Jenkins of which only one build and its log are left; the log's answers break off where the test says so.
func answers(t *testing.T, log string, breaks []int, more func(n int) bool) *Controller {
	n := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "progressiveText") {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"_class":"x","number":1,"building":false,"result":"SUCCESS"}`)
			return
		}
		var from int
		if _, err := fmt.Sscan(r.URL.Query().Get("start"), &from); err != nil || from > len(log) {
			t.Errorf("start %q", r.URL.Query().Get("start"))
			from = 0
		}
		w.Header().Set("Content-Type", "text/plain;charset=utf-8")
		w.Header().Set("X-Text-Size", fmt.Sprint(len(log)))
		if more != nil && more(n) {
			w.Header().Set("X-More-Data", "true")
		}
		n++
		if n <= len(breaks) {
			w.Header().Set("Content-Length", fmt.Sprint(len(log)-from))
			_, _ = w.Write([]byte(log[from:min(len(log), from+breaks[n-1])]))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write([]byte(log[from:]))
	}))
	t.Cleanup(server.Close)
	return client(t, server.URL)
}

func TestLogBreaksOff(t *testing.T) {
	t.Parallel()
	log := "first line\n" + aNote + "second line\n" + strings.Repeat("more of it\n", 9000)
	want := noteForm.ReplaceAllString(log, "")
	for _, breaks := range [][]int{{0}, {5}, {15}, {40000, 50, 90000}} {
		c := answers(t, log, breaks, nil)
		var text bytes.Buffer
		b, err := c.Follow(ctxFor(t), rollback.Build{Job: web, Number: 1}, &text)
		if err != nil || !b.Succeeded() || text.String() != want {
			t.Errorf("breaks %v: %d bytes of %d, %v", breaks, text.Len(), len(want), err)
		}
	}
	// It always breaks off: the result is told, and that the log is not whole.
	c := answers(t, log, []int{9, 9, 9, 9, 9, 9, 9, 9}, nil)
	var text bytes.Buffer
	b, err := c.Follow(ctxFor(t), rollback.Build{Job: web, Number: 1}, &text)
	if f := callError(t, err); f.Kind != rollback.Broken || !b.Succeeded() || text.String() != "first lin" {
		t.Errorf("%+v, %v, %q", b, err, text.String())
	}
	// It says there is more for ever, and sends nothing.
	c = answers(t, log, nil, func(int) bool { return true })
	text.Reset()
	if b, err := c.Follow(ctxFor(t), rollback.Build{Job: web, Number: 1}, &text); err != nil || !b.Succeeded() || text.String() != want {
		t.Errorf("%+v, %v", b, err)
	}
	// Nobody takes the log.
	c = answers(t, log, nil, nil)
	if _, err := c.Follow(ctxFor(t), rollback.Build{Job: web, Number: 1}, &refusing{after: 10}); !errors.Is(err, errFull) || rollback.KindOf(err) != "" {
		t.Errorf("%v", err)
	}
}

// A log may take longer than a try, as long as something comes.
func TestSlowLog(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "progressiveText") {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"_class":"x","number":1,"building":false,"result":"SUCCESS"}`)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("X-Text-Size", "8")
		for range 8 {
			<-next
			fmt.Fprint(w, "x")
			_ = http.NewResponseController(w).Flush()
		}
	}))
	defer server.Close()
	c := client(t, server.URL)
	c.r.timeout = time.Second
	go func() {
		tick := time.NewTicker(150 * time.Millisecond)
		defer tick.Stop()
		for range 8 {
			<-tick.C
			next <- struct{}{}
		}
	}()
	var text bytes.Buffer
	begin := time.Now()
	if _, err := c.Follow(ctxFor(t), rollback.Build{Job: web, Number: 1}, &text); err != nil || text.String() != "xxxxxxxx" {
		t.Errorf("%q, %v", text.String(), err)
	}
	if took := time.Since(begin); took < c.r.timeout {
		t.Errorf("took %s: shorter than a try may", took)
	}
}

func TestLogThatIsGone(t *testing.T) {
	t.Parallel()
	s, c := world(t)
	b := start(t, c, web, "", nil)
	s.Inject(fake.Fault{Op: "GET progressiveText", Status: 404})
	done, err := c.Follow(ctxFor(t), b.Build, &page{})
	if callError(t, err).Kind != rollback.NotFound || done.Number != 1 {
		t.Errorf("%+v, %v", done, err)
	}
}
