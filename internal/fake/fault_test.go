package fake

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestUnfired(t *testing.T) {
	s := &Switchboard{
		Next: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
		Op:   func(r *http.Request) string { return r.URL.Path },
	}
	s.Inject(Fault{Op: "/a", Status: 503})           // fires twice
	s.Inject(Fault{Op: "/b", Status: 503, Times: 2}) // fires once
	s.Inject(Fault{Op: "/c", Status: 503, Times: 1})
	s.Inject(Fault{Op: "/d", Status: 503, Skip: 2}) // passes twice
	s.Inject(Fault{Op: "/e", Status: 503})          // nobody asks
	for _, path := range []string{"/a", "/a", "/b", "/c", "/c", "/d", "/d"} {
		s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
	}
	s.Clear()
	want := []string{
		`the fault in "/b" fired 1 times, want 2; 0 more requests were to pass before it`,
		`the fault in "/d" fired 0 times, want 1; 0 more requests were to pass before it`,
		`the fault in "/e" fired 0 times, want 1; 0 more requests were to pass before it`,
	}
	got := s.Unfired()
	if len(got) != len(want) {
		t.Fatalf("unfired: %q, want %q", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("unfired: %q, want %q", got[i], want[i])
		}
	}
	for path, status := range map[string]int{"/a": 200, "/b": 200, "/d": 200} { // cleared
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != status {
			t.Errorf("%s answers %d after Clear, want %d", path, w.Code, status)
		}
	}
}

// A write whose answer is lost is done, also when whoever asked is gone by then.
func TestAfter(t *testing.T) {
	done := ""
	s := &Switchboard{
		Next: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err = errors.Join(err, r.Context().Err()); err != nil {
				t.Error(err)
			}
			done += string(body)
		}),
		Op: func(r *http.Request) string { return r.URL.Path },
	}
	ctx, gone := context.WithCancel(t.Context())
	s.Inject(Fault{Op: "/a", When: func(r *http.Request) bool { return r.Method == "PUT" }, Hold: func(*http.Request) { gone() }, After: true, Status: 500})
	for _, q := range []struct {
		ctx          context.Context
		method, body string
		status       int
	}{{t.Context(), "POST", "other, ", 200}, {ctx, "PUT", "lost", 500}} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequestWithContext(q.ctx, q.method, "/a", strings.NewReader(q.body)))
		if w.Code != q.status {
			t.Errorf("%s answers %d, want %d", q.method, w.Code, q.status)
		}
	}
	if want := "other, lost"; done != want {
		t.Errorf("done is %q, want %q", done, want)
	}
}

// An answer that has begun may hang, too.
func TestHangsAfterItsBeginning(t *testing.T) {
	s := &Switchboard{Next: http.NotFoundHandler(), Op: func(r *http.Request) string { return r.URL.Path }}
	s.Inject(Fault{Status: 200, Body: "begun", Hang: true})
	web := httptest.NewServer(s)
	defer web.Close()
	r, err := http.Get(web.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	begun := make([]byte, len("begun"))
	if _, err := io.ReadFull(r.Body, begun); err != nil || string(begun) != "begun" {
		t.Errorf("%q, %v", begun, err)
	}
	s.Close()
	if rest, err := io.ReadAll(r.Body); err == nil || len(rest) > 0 {
		t.Errorf("it ends with %q, %v", rest, err)
	}
}
