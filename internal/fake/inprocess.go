package fake

import (
	"net/http"
	"net/http/httptest"
)

// InProcess answers requests without a network. In virtual time (testing/synctest) a call then takes its latency and nothing
// else, however busy the machine is.
type InProcess struct{ Handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (p InProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	p.Handler.ServeHTTP(w, r)
	return w.Result(), nil
}
