package jenkins

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/rollback-tools/rollback/internal/rollback"
)

func TestJobPath(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, want string }{
		{"web", "/job/web"},
		{"deploy/payments", "/job/deploy/job/payments"},
		{"shop/feature%2Fx", "/job/shop/job/feature%252Fx"},
		{"a b/q?x#y", "/job/a%20b/job/q%3Fx%23y"},
		{"", ""}, {"/web", ""}, {"web/", ""}, {"a//b", ""}, {"a/../b", ""}, {".", ""}, {"a\nb", ""}, {"a/ b", ""}, {strings.Repeat("a", 1001), ""},
	} {
		got, err := jobPath(c.name)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q: %q, %v", c.name, got, err)
		}
		if err != nil {
			continue
		}
		if back, rest := jobOf(publicRoot + got + "/12/"); back != c.name || !slices.Equal(rest, []string{"12"}) {
			t.Errorf("%q and back: %q %q", c.name, back, rest)
		}
	}
}

func TestQueueItem(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]int64{
		"/queue/item/12/": 12, "/ci/queue/item/12": 12, "/queue/item/": 0, "/queue/item/x/": 0, "/queue/item/-1/": 0, "/queue/item/0": 0, "/item/12": 0, "": 0,
		"/queue/item/12/api/json": 0, "/queue/item/99999999999999999999": 0,
	} {
		if got := queueItem(path); got != want {
			t.Errorf("%q: %d", path, got)
		}
	}
}

func FuzzJobOf(f *testing.F) {
	f.Add("https://ci.acme.example/ci/job/deploy/job/payments/12/")
	f.Add("/job/shop/job/feature%252Fx")
	f.Add("job/%zz/job/")
	f.Fuzz(func(t *testing.T, link string) {
		name, _ := jobOf(link)
		path, err := jobPath(name)
		if err != nil {
			return
		}
		if back, rest := jobOf("http://x" + path + "/"); back != name || len(rest) > 0 {
			t.Errorf("%q is %q, and back %q %q", link, name, back, rest)
		}
	})
}

func FuzzBuild(f *testing.F) {
	f.Add([]byte(`{"_class":"r","number":3,"building":false,"result":"SUCCESS","queueId":9,"url":"https://ci.acme.example/job/a/3/","timestamp":1,"duration":2,"estimatedDuration":-1,
		"actions":[{},{"parameters":[{"name":"A","value":true},{"name":"B","value":1.5},{"name":"C"}]},{"lastBuiltRevision":{"SHA1":"1111111111111111111111111111111111111111"}}]}`))
	f.Add([]byte(`{"_class":"r","building":true,"result":null,"actions":[null],"duration":1e300,"timestamp":-5}`))
	f.Add([]byte(`{"_class":"r","url":"javascript:x","result":"\u001b[31m"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var a buildAnswer
		if decode(b, &a) != nil {
			return
		}
		got := a.build("web")
		if got.State == rollback.BuildFinished != (got.Result != "") && a.Result == oneLine(a.Result) || got.Took < 0 || got.Estimate < 0 {
			t.Errorf("%+v", got)
		}
		if got.URL != "" && !strings.HasPrefix(got.URL, "http") || oneLine(got.Result) != got.Result {
			t.Errorf("%+v", got)
		}
	})
}

func FuzzQueue(f *testing.F) {
	f.Add([]byte(`{"_class":"hudson.model.Queue$LeftItem","id":4,"cancelled":true,"why":null,"executable":null,"task":{"url":"http://x/job/web/"}}`))
	f.Add([]byte(`{"_class":"i","id":4,"why":"a\u001b[2Jb","executable":{"number":7},"actions":[{"parameters":[{"name":"A","value":"x"}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var a itemAnswer
		if decode(b, &a) != nil {
			return
		}
		got := a.build("web")
		if got.State != rollback.BuildQueued && got.State != rollback.BuildCancelled || got.Number != 0 || oneLine(got.Why) != got.Why {
			t.Errorf("%+v", got)
		}
	})
}

func FuzzJob(f *testing.F) {
	f.Add([]byte(`{"_class":"j","buildable":true,"property":[{},{"parameterDefinitions":[{"name":"A","type":"ChoiceParameterDefinition","choices":["x",1],"defaultParameterValue":{"value":"x"}},
		{"name":"B","type":"BooleanParameterDefinition","defaultParameterValue":{"value":false}},{"name":"P","type":"PasswordParameterDefinition","defaultParameterValue":{}},{"name":"F","type":"F","defaultParameterValue":null}]}]}`))
	f.Add([]byte(`{"_class":"j","builds":[{"number":2},{"number":1}],"property":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var a jobAnswer
		if decode(b, &a) != nil {
			return
		}
		for _, p := range a.parameters() {
			if p.Kind == "" {
				t.Errorf("%+v", p)
			}
		}
		builds := merge("web", a, []rollback.Build{{Job: "web", Queue: 1}})
		if !slices.IsSortedFunc(builds, func(a, b rollback.Build) int {
			if a.Number == 0 || b.Number == 0 {
				return 0
			}
			return b.Number - a.Number
		}) {
			t.Errorf("%+v", builds)
		}
	})
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "null", "[]", "{}", `{"_class":""}`, `{"_class":"x","number":"one"}`, `{"_class":"x"`, "<html>", `"x"`, `{"_class":1}`} {
		var a buildAnswer
		if err := decode([]byte(text), &a); err == nil {
			t.Errorf("%q was taken for a build", text)
		}
	}
}

// gojenkins' interface says what it can carry; the parts that we do not use still behave.
func TestRequesterInterface(t *testing.T) {
	t.Parallel()
	s, c := world(t)
	ctx := ctxFor(t)
	r := c.jenkins.Requester
	var xml string
	resp, err := r.GetXML(ctx, "/job/deploy/job/web/config.xml", &xml, nil)
	if err != nil || resp.StatusCode != 200 || !strings.Contains(xml, "<flow-definition ") {
		t.Fatalf("%q, %v", xml, err)
	}
	off := strings.Replace(xml, "<disabled>false", "<disabled>true", 1)
	if resp, err := r.PostXML(ctx, "/job/deploy/job/web/config.xml", off, nil, nil); err != nil || resp.StatusCode != 200 || s.Enabled(web) {
		t.Errorf("%v", err)
	}
	if resp, err := r.PostJSON(ctx, "/job/deploy/job/web/enable", nil, nil, nil); err != nil || resp.StatusCode != 200 || !s.Enabled(web) {
		t.Errorf("%v", err)
	}
	if _, err := r.Post(ctx, "/job/deploy/job/web/enable", failingReader{}, nil, nil); err == nil {
		t.Error("sent half a form")
	}
	if _, err := r.PostFiles(ctx, "/x", nil, nil, nil, nil); err == nil {
		t.Error("sent files")
	}
	var text string
	if _, err := r.Get(ctx, "/job/deploy/job/web/", &text, nil); err == nil {
		t.Errorf("a page for people was taken for text: %q", text)
	}
	// A missing job is an error, not its page.
	if _, err := r.GetXML(ctx, "/job/nothing/config.xml", &text, nil); callError(t, err).Kind != rollback.NotFound || text != "" {
		t.Errorf("%q, %v", text, err)
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errFull }

func FuzzOneLine(f *testing.F) {
	f.Add("a\x1b[31m\nb\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := oneLine(s)
		if oneLine(got) != got || len([]rune(got)) > 301 || bytes.ContainsAny([]byte(got), "\x00\x07\x1b\n\r\t") {
			t.Errorf("%q: %q", s, got)
		}
	})
}
