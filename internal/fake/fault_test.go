package fake

import (
	"net/http"
	"net/http/httptest"
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
