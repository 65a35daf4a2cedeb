package jenkins

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rollback-tools/rollback/internal/fake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client asks the controller as curl does in the manual: with a token, a password or nothing.
type client struct {
	t    *testing.T
	s    *Server
	h    http.Handler
	jar  http.CookieJar
	user string
	pass string
}

type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) json(t *testing.T) map[string]any {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal([]byte(r.body), &o); err != nil || r.status != 200 || !strings.HasPrefix(r.header.Get("Content-Type"), "application/json") {
		t.Fatalf("%d %q: %v", r.status, r.body, err)
	}
	return o
}

func newClient(t *testing.T, o Options) *client {
	s := New(o)
	t.Cleanup(s.Close)
	s.AddJob("demo", Job{Parameters: []Parameter{{Kind: "String", Name: "NAME", Default: "bob"}, {Kind: "Choice", Name: "KIND", Choices: []string{"alpha", "beta"}}, {Kind: "Boolean", Name: "FLAG", Default: "false"}}})
	s.AddJob("team/plain", Job{})
	s.AddMultibranch("mb")
	s.AddJob("mb/"+Branch("feature/x"), Job{})
	return &client{t: t, s: s, h: s, user: UserName, pass: Token}
}

func (c *client) do(method, target string, body io.Reader, header ...string) reply {
	c.t.Helper()
	r := httptest.NewRequest(method, "http://127.0.0.1:8080"+target, body)
	if c.user != "" {
		r.SetBasicAuth(c.user, c.pass)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if c.jar != nil {
		for _, cookie := range c.jar.Cookies(r.URL) {
			r.AddCookie(cookie)
		}
	}
	w := httptest.NewRecorder()
	c.h.ServeHTTP(w, r)
	if c.jar != nil {
		c.jar.SetCookies(r.URL, w.Result().Cookies())
	}
	return reply{w.Code, w.Result().Header, w.Body.String()}
}

func (c *client) get(target string) reply { c.t.Helper(); return c.do("GET", target, nil) }

func (c *client) post(target string, form ...string) reply {
	c.t.Helper()
	v := url.Values{}
	for i := 0; i+1 < len(form); i += 2 {
		v.Set(form[i], form[i+1])
	}
	return c.do("POST", target, strings.NewReader(v.Encode()), "Content-Type", "application/x-www-form-urlencoded")
}

// The statuses that the manual lists, one by one.
func TestStatuses(t *testing.T) {
	t.Parallel()
	anonymous := func(c *client) { c.user = "" }
	for _, c := range []struct {
		name           string
		change         func(*client)
		method, target string
		form           []string
		status         int
	}{
		{"trigger without parameters", nil, "POST", "/job/team/job/plain/build", nil, 201},
		{"trigger with parameters", nil, "POST", "/job/demo/buildWithParameters", []string{"NAME", "x y & z", "KIND", "beta", "FLAG", "true"}, 201},
		{"build on a job with parameters", nil, "POST", "/job/demo/build", nil, 400},
		{"buildWithParameters on a job without", nil, "POST", "/job/team/job/plain/buildWithParameters", nil, 500},
		{"unknown choice", nil, "POST", "/job/demo/buildWithParameters", []string{"KIND", "gamma"}, 500},
		{"unknown name", nil, "POST", "/job/demo/buildWithParameters", []string{"NAEM", "x"}, 201},
		{"GET on build", nil, "GET", "/job/demo/build", nil, 405},
		{"GET on stop", func(c *client) { c.post("/job/demo/buildWithParameters") }, "GET", "/job/demo/1/stop", nil, 405},
		{"POST on api/json", nil, "POST", "/job/demo/api/json?tree=name", nil, 405},
		{"missing job", nil, "POST", "/job/nothing/build", nil, 404},
		{"missing build", nil, "GET", "/job/demo/7/api/json?tree=number", nil, 404},
		{"bad token", func(c *client) { c.pass = "wrong" }, "GET", "/api/json?tree=url", nil, 401},
		{"unknown user", func(c *client) { c.user = "nobody" }, "GET", "/api/json?tree=url", nil, 401},
		{"anonymous", anonymous, "GET", "/api/json?tree=url", nil, 403},
		{"anonymous sign-in page", anonymous, "GET", "/login", nil, 200},
		{"password without crumb", func(c *client) { c.pass = Password }, "POST", "/job/team/job/plain/build", nil, 403},
		{"password reads", func(c *client) { c.pass = Password }, "GET", "/job/demo/api/json?tree=name", nil, 200},
		{"no right to build", func(c *client) { c.s.Deny("Job/Build") }, "POST", "/job/team/job/plain/build", nil, 403},
		{"no right to configure", func(c *client) { c.s.Deny("Job/Configure") }, "GET", "/job/demo/config.xml", nil, 403},
		{"no right to see", func(c *client) { c.s.Deny("Job/Read") }, "GET", "/job/demo/api/json?tree=name", nil, 404},
		{"no right at all", func(c *client) { c.s.Deny("Overall/Read") }, "GET", "/whoAmI/api/json", nil, 403},
		{"disabled", func(c *client) { c.post("/job/demo/disable") }, "POST", "/job/demo/buildWithParameters", nil, 409},
		{"cancel of an unknown item", nil, "POST", "/queue/cancelItem?id=77", nil, 404},
		{"cancel", func(c *client) { c.s.Hold(true); c.post("/job/team/job/plain/build") }, "POST", "/queue/cancelItem?id=1", nil, 204},
		{"cancel without the right", func(c *client) {
			c.s.Hold(true)
			c.post("/job/team/job/plain/build")
			c.s.Deny("Job/Cancel")
		}, "POST", "/queue/cancelItem?id=1", nil, 422},
		{"cancel of what has left", func(c *client) { c.post("/job/team/job/plain/build") }, "POST", "/queue/cancelItem?id=1", nil, 404},
		{"unknown queue item", nil, "GET", "/queue/item/9/api/json?tree=id", nil, 404},
		{"branch", nil, "GET", "/job/mb/job/feature%252Fx/api/json?tree=name", nil, 200},
		{"branch escaped once", nil, "GET", "/job/mb/job/feature%2Fx/api/json?tree=name", nil, 404},
		{"folder has no builds", nil, "POST", "/job/team/build", nil, 404},
		{"enable", nil, "POST", "/job/demo/enable", nil, 302},
		{"disable", nil, "POST", "/job/demo/disable", nil, 302},
		{"bad delay", nil, "POST", "/job/team/job/plain/build?delay=soon", nil, 400},
		{"no depth", nil, "GET", "/job/demo/api/json?depth=1", nil, 400},
		{"bad tree", nil, "GET", "/job/demo/api/json?tree=builds[number", nil, 400},
		{"unknown page", nil, "GET", "/job/demo/wfapi/describe", nil, 404},
		{"root", nil, "GET", "/", nil, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			con := newClient(t, Options{})
			if c.change != nil {
				c.change(con)
			}
			var got reply
			if c.method == "POST" {
				got = con.post(c.target, c.form...)
			} else {
				got = con.get(c.target)
			}
			if got.status != c.status {
				t.Errorf("%d, want %d: %s", got.status, c.status, got.body)
			}
			if got.status >= 400 && !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") {
				t.Errorf("an error of type %q", got.header.Get("Content-Type"))
			}
		})
	}
}

func TestBuildsFromQueueToEnd(t *testing.T) {
	t.Parallel()
	c := newClient(t, Options{Root: "https://ci.acme.example"})
	c.s.OnBuild(func(ctx context.Context, b *Build) string {
		b.Stage("build")
		b.Checkout("1111111111111111111111111111111111111111")
		return Manual(ctx, b)
	})
	c.s.Hold(true)
	r := c.post("/job/demo/buildWithParameters", "NAME", "x y & z", "FLAG", "TRUE", "OTHER", "dropped")
	if r.status != 201 || r.header.Get("Location") != "https://ci.acme.example/queue/item/1/" {
		t.Fatalf("%d %q", r.status, r.header.Get("Location"))
	}
	if r := c.post("/job/demo/buildWithParameters", "NAME", "x y & z", "FLAG", "true"); r.status != 303 || !strings.HasSuffix(r.header.Get("Location"), "/queue/item/1/") {
		t.Errorf("the same again: %d %q", r.status, r.header.Get("Location"))
	}
	if r := c.post("/job/demo/buildWithParameters", "NAME", "other"); r.status != 201 {
		t.Errorf("another: %d", r.status)
	}
	o := c.get("/queue/item/1/api/json?tree=why,blocked,cancelled,executable[number],task[name,url]").json(t)
	if o["why"] != "Waiting for next available executor" || o["executable"] != nil || o["_class"] != "hudson.model.Queue$BuildableItem" || o["task"].(object)["url"] != "https://ci.acme.example/job/demo/" {
		t.Errorf("%v", o)
	}
	if _, has := o["cancelled"]; has {
		t.Error("an item that waits does not say whether it was cancelled")
	}
	o = c.get("/queue/api/json?tree=items[id]").json(t)
	if got := fmt.Sprint(o["items"]); !strings.Contains(got, "id:2") || !strings.Contains(got, "id:1]") {
		t.Errorf("%s", got)
	}
	c.s.Hold(false)
	o = c.get("/queue/item/1/api/json?tree=why,cancelled,executable[number,url]").json(t)
	if o["cancelled"] != false || o["executable"].(object)["number"] != 1.0 || o["executable"].(object)["url"] != "https://ci.acme.example/job/demo/1/" {
		t.Errorf("%v", o)
	}
	b := c.s.Builds("demo")[0]
	if err := c.s.Wait(t.Context(), func() bool { return strings.Contains(c.get("/job/demo/1/consoleText").body, "Checking out") }); err != nil {
		t.Fatal(err)
	}
	const tree = "number,building,inProgress,result,queueId,duration,actions[parameters[name,value],lastBuiltRevision[SHA1]]"
	o = c.get("/job/demo/1/api/json?tree=" + tree).json(t)
	if o["building"] != true || o["result"] != nil || o["queueId"] != 1.0 {
		t.Errorf("%v", o)
	}
	text, err := json.Marshal(o["actions"])
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"name":"FLAG","value":true`, `"name":"KIND","value":"alpha"`, `"name":"NAME","value":"x y \u0026 z"`, `"SHA1":"1111111111111111111111111111111111111111"`, `{}`} {
		if !strings.Contains(string(text), part) {
			t.Errorf("%s not in %s", part, text)
		}
	}
	if strings.Contains(string(text), "OTHER") {
		t.Error("an unknown parameter was kept")
	}
	b.SetResult("UNSTABLE")
	if o := c.get("/job/demo/1/api/json?tree=building,result").json(t); o["building"] != true || o["result"] != "UNSTABLE" {
		t.Errorf("%v", o)
	}
	b.Finish("")
	if err := c.s.Wait(t.Context(), func() bool { return b.Result() != "" }); err != nil {
		t.Fatal(err)
	}
	if o := c.get("/job/demo/1/api/json?tree=building,result").json(t); o["building"] != false || o["result"] != "UNSTABLE" {
		t.Errorf("%v", o)
	}
	if v := c.s.Violations(); len(v) > 0 {
		t.Errorf("%q", v)
	}
}

func TestProgressiveText(t *testing.T) {
	t.Parallel()
	c := newClient(t, Options{})
	c.s.OnBuild(Manual)
	c.post("/job/team/job/plain/build")
	b := c.s.Builds("team/plain")[0]
	const log = "/job/team/job/plain/1/logText/progressiveText"
	r := c.get(log + "?start=0")
	if r.header.Get("X-More-Data") != "true" || r.header.Get("X-Text-Size") != fmt.Sprint(len(r.body)) || !strings.Contains(r.body, "\x1b[8mha:////") || !strings.Contains(r.body, "[Pipeline] Start") {
		t.Errorf("%+v", r)
	}
	if plain := c.get("/job/team/job/plain/1/consoleText").body; strings.Contains(plain, "\x1b") || !strings.Contains(plain, "[Pipeline] Start") {
		t.Errorf("%q", plain)
	}
	b.Print("more\n")
	r = c.get(log + "?start=" + r.header.Get("X-Text-Size"))
	if r.body != "more\n" {
		t.Errorf("%q", r.body)
	}
	b.Finish("FAILURE")
	if err := c.s.Wait(t.Context(), func() bool { return b.Result() == "FAILURE" }); err != nil {
		t.Fatal(err)
	}
	r = c.get(log + "?start=" + r.header.Get("X-Text-Size"))
	if _, more := r.header["X-More-Data"]; more || !strings.HasSuffix(r.body, "Finished: FAILURE\n") {
		t.Errorf("%+v", r)
	}
	beyond := c.get(log + "?start=999999")
	if beyond.status != 200 || beyond.header.Get("X-Text-Size") != r.header.Get("X-Text-Size") {
		t.Errorf("%+v", beyond)
	}
	if r := c.get(log + "?start=x"); r.status != 400 {
		t.Errorf("%+v", r)
	}
}

func TestCrumbs(t *testing.T) {
	t.Parallel()
	c := newClient(t, Options{})
	c.pass = Password
	var err error
	if c.jar, err = cookiejar.New(nil); err != nil {
		t.Fatal(err)
	}
	crumb := func() string {
		o := c.get("/crumbIssuer/api/json").json(t)
		if o["crumbRequestField"] != "Jenkins-Crumb" {
			t.Errorf("%v", o)
		}
		return o["crumb"].(string)
	}
	build := func(crumb string) int {
		return c.do("POST", "/job/team/job/plain/build", nil, "Jenkins-Crumb", crumb).status
	}
	good := crumb()
	if got := build(good); got != 201 {
		t.Errorf("with crumb and session: %d", got)
	}
	if got := build("x"); got != 403 {
		t.Errorf("with another crumb: %d", got)
	}
	c.s.EndSessions()
	if got := build(good); got != 403 {
		t.Errorf("after the session's end: %d", got)
	}
	if got := build(crumb()); got != 201 {
		t.Errorf("with a new one: %d", got)
	}
	good = crumb()
	c.jar = nil
	if got := build(good); got != 403 {
		t.Errorf("without cookies: %d", got)
	}
	c.pass = Token
	if got := build(""); got != 201 {
		t.Errorf("a token needs none: %d", got)
	}
	c.s.AddUser("ada", User{Password: "p"})
	c.user, c.pass = "ada", ""
	if got := c.get("/whoAmI/api/json").status; got != 401 {
		t.Errorf("no token fits no token: %d", got)
	}
	off := newClient(t, Options{NoCrumbs: true})
	off.pass = Password
	if got := off.post("/job/team/job/plain/build").status; got != 201 {
		t.Errorf("switched off: %d", got)
	}
	if got := off.get("/crumbIssuer/api/json").status; got != 404 {
		t.Errorf("switched off: %d", got)
	}
}

func TestAborts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		stubborn, post string
		freestyle      bool
		status         int
		ends           bool
	}{
		{"", "stop", false, 302, true}, {"term", "stop", false, 302, false}, {"term", "term", false, 302, true}, {"term", "kill", false, 302, true},
		{"kill", "term", false, 302, false}, {"kill", "kill", false, 302, true}, {"never", "kill", false, 302, false}, {"", "term", true, 404, false},
	} {
		con := newClient(t, Options{})
		con.s.AddJob("j", Job{Stubborn: c.stubborn, Freestyle: c.freestyle, Script: Manual})
		con.post("/job/j/build")
		b := con.s.Builds("j")[0]
		if got := con.post("/job/j/1/" + c.post).status; got != c.status {
			t.Errorf("%+v: %d", c, got)
		}
		if !c.ends {
			b.Finish("FAILURE")
		}
		if err := con.s.Wait(t.Context(), func() bool { return b.Result() != "" }); err != nil {
			t.Fatal(err)
		}
		if got := b.Result(); got != map[bool]string{true: "ABORTED", false: "FAILURE"}[c.ends] {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestRestart(t *testing.T) {
	t.Parallel()
	c := newClient(t, Options{})
	c.s.OnBuild(Manual)
	c.s.Push("team/plain", "1111111111111111111111111111111111111111")
	c.s.Down()
	if r := c.get("/job/demo/api/json?tree=name"); r.status != 503 || !strings.Contains(r.body, "getting ready") {
		t.Errorf("%+v", r)
	}
	b := c.s.Builds("team/plain")[0]
	b.Print("still here\n")
	c.s.Up(1)
	if r := c.get("/job/demo/api/json?tree=name"); r.status != 302 || !strings.Contains(r.header.Get("Location"), "/login?from=") {
		t.Errorf("%+v", r)
	}
	if r := c.get("/queue/item/1/api/json?tree=id"); r.status != 404 {
		t.Errorf("%+v", r)
	}
	if text := c.get("/job/team/job/plain/1/consoleText").body; !strings.Contains(text, "still here") {
		t.Errorf("%q", text)
	}
	if b.Asked() != "1111111111111111111111111111111111111111" || b.Job() != "team/plain" || b.Number() != 1 {
		t.Errorf("%+v", b)
	}
}

func TestQueueInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, Options{Quiet: 5 * time.Second, Executors: 1})
		c.s.OnBuild(func(ctx context.Context, b *Build) string {
			if !b.Sleep(ctx, time.Minute) {
				return ""
			}
			return "SUCCESS"
		})
		c.post("/job/team/job/plain/build")
		c.post("/job/demo/buildWithParameters?delay=0sec")
		time.Sleep(6 * time.Second)
		o := c.get("/queue/api/json?tree=items[id,why]").json(t)
		if got := fmt.Sprint(o["items"]); !strings.Contains(got, "id:1 why:Waiting for next available executor") || len(c.s.Builds("demo")) != 1 {
			t.Errorf("%s", got)
		}
		time.Sleep(time.Minute) // demo's build ends, and the other begins
		o = c.get("/job/team/job/plain/1/api/json?tree=building").json(t)
		if o["building"] != true {
			t.Errorf("%v", o)
		}
		time.Sleep(time.Minute)
		o = c.get("/job/team/job/plain/1/api/json?tree=building,duration,result").json(t)
		if o["building"] != false || o["duration"] != 60000.0 || o["result"] != "SUCCESS" {
			t.Errorf("%v", o)
		}
		if r := c.get("/queue/item/1/api/json?tree=executable[number]"); r.status != 200 {
			t.Errorf("%+v", r)
		}
		time.Sleep(5 * time.Minute)
		if r := c.get("/queue/item/1/api/json?tree=executable[number]"); r.status != 404 {
			t.Errorf("%+v", r)
		}
	})
}

func TestConfigXML(t *testing.T) {
	t.Parallel()
	c := newClient(t, Options{})
	const job = `<?xml version='1.1' encoding='UTF-8'?>
<flow-definition plugin="workflow-job"><description/><properties><hudson.model.ParametersDefinitionProperty><parameterDefinitions>
  <hudson.model.StringParameterDefinition><name>NAME</name><defaultValue>bob</defaultValue><trim>true</trim></hudson.model.StringParameterDefinition>
  <hudson.model.ChoiceParameterDefinition><name>KIND</name><choices class="java.util.Arrays$ArrayList"><a class="string-array"><string>alpha</string><string>beta</string></a></choices></hudson.model.ChoiceParameterDefinition>
</parameterDefinitions></hudson.model.ParametersDefinitionProperty></properties><triggers/><disabled>false</disabled></flow-definition>`
	xml := func(target, body string) int {
		return c.do("POST", target, strings.NewReader(body), "Content-Type", "application/xml").status
	}
	for _, step := range []struct {
		target, body string
		status       int
	}{
		{"/createItem?name=made", job, 200},
		{"/createItem?name=made", job, 400},
		{"/createItem?name=a/b", job, 400},
		{"/createItem", job, 400},
		{"/createItem?name=broken", "<flow-definition>", 500},
		{"/createItem?name=what", "<what/>", 500},
		{"/createItem?name=dir", "<" + classFolder + "/>", 200},
		{"/job/dir/createItem?name=f1", job, 200},
		{"/job/made/config.xml", strings.Replace(job, "<disabled>false", "<disabled>true", 1), 200},
	} {
		if got := xml(step.target, step.body); got != step.status {
			t.Errorf("%s: %d, want %d", step.target, got, step.status)
		}
	}
	if got := c.post("/createItem?name=form").status; got != 400 {
		t.Errorf("a form: %d", got)
	}
	if c.s.Enabled("made") || !c.s.Enabled("dir/f1") {
		t.Error("disabled is not what was posted")
	}
	o := c.get("/job/dir/job/f1/api/json?tree=property[parameterDefinitions[name,type,choices,defaultParameterValue[value]]]").json(t)
	if got := fmt.Sprint(o); !strings.Contains(got, "choices:[alpha beta]") || !strings.Contains(got, "value:bob") || !strings.Contains(got, "ChoiceParameterDefinition") {
		t.Errorf("%s", got)
	}
	text := c.get("/job/dir/job/f1/config.xml").body
	if got := xml("/createItem?name=copy", text); got != 200 || len(c.s.items["copy"].Parameters) != 2 || !slices.Equal(c.s.items["copy"].Parameters[1].Choices, []string{"alpha", "beta"}) {
		t.Errorf("%d from %s", got, text)
	}
	o = c.get("/job/dir/api/json?tree=jobs[name]").json(t)
	if got := fmt.Sprint(o["jobs"]); !strings.Contains(got, "name:f1") {
		t.Errorf("%s", got)
	}
}

func TestViolations(t *testing.T) {
	t.Parallel()
	c := newClient(t, Options{})
	for _, target := range []string{"/job/demo/api/json", "/job/demo/api/json?depth=1", "/job//demo/api/json?tree=name", "/job/demo/api/json?tree=nonsense", "/job/mb/job/a%2Fb/api/json?tree=name"} {
		before := len(c.s.Violations())
		c.get(target)
		if len(c.s.Violations()) == before {
			t.Errorf("%s is none", target)
		}
	}
	c.post("/job/demo/buildWithParameters?NAME=secret")
	if v := c.s.Violations(); !strings.Contains(v[len(v)-1], "parameter NAME in the URL") {
		t.Errorf("%q", v)
	}
}

func TestFaultsReachEveryOperation(t *testing.T) {
	t.Parallel()
	c := newClient(t, Options{Path: "/ci"})
	c.s.Inject(fake.Fault{Status: 418})
	for target, op := range map[string]string{
		"/ci/api/json": "GET root", "/ci/": "GET root", "/ci/whoAmI/api/json": "GET whoAmI", "/ci/crumbIssuer/api/json": "GET crumbIssuer",
		"/ci/queue/api/json": "GET queue", "/ci/queue/item/1/api/json": "GET queue item", "/ci/job/demo/api/json": "GET job", "/ci/job/demo/1/api/json": "GET build",
		"/ci/job/demo/1/logText/progressiveText?start=0": "GET progressiveText", "/ci/job/demo/config.xml": "GET config.xml", "/elsewhere": "GET ?",
	} {
		if got := c.get(target).status; got != 418 || c.s.Count(op) == 0 {
			t.Errorf("%s: %d, %d of %s", target, got, c.s.Count(op), op)
		}
	}
	for target, op := range map[string]string{
		"/ci/queue/cancelItem?id=1": "POST cancelItem", "/ci/job/demo/build": "POST build", "/ci/job/demo/buildWithParameters": "POST buildWithParameters",
		"/ci/job/demo/1/stop": "POST stop", "/ci/job/demo/disable": "POST disable", "/ci/createItem?name=x": "POST createItem",
	} {
		if c.post(target); c.s.Count(op) != 1 {
			t.Errorf("%s: %d of %s", target, c.s.Count(op), op)
		}
	}
}

func TestTree(t *testing.T) {
	t.Parallel()
	var v any
	if err := json.Unmarshal([]byte(`{"_class":"j","name":"n","builds":[{"_class":"b","number":3,"url":"u"},{"number":2,"url":"v"},{"number":1}],"nothing":null}`), &v); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ tree, want string }{
		{"name", `{"_class":"j","name":"n"}`},
		{"other,nothing", `{"_class":"j","nothing":null}`},
		{"builds[number]", `{"_class":"j","builds":[{"_class":"b","number":3},{"number":2},{"number":1}]}`},
		{"builds[number]{0,2}", `{"_class":"j","builds":[{"_class":"b","number":3},{"number":2}]}`},
		{"builds[number]{1,}", `{"_class":"j","builds":[{"number":2},{"number":1}]}`},
		{"builds[number]{,1}", `{"_class":"j","builds":[{"_class":"b","number":3}]}`},
		{"builds[number]{2}", `{"_class":"j","builds":[{"number":1}]}`},
		{"builds[number]{7,9}", `{"_class":"j","builds":[]}`},
		{"builds[number]{2,1},name", `{"_class":"j","builds":[],"name":"n"}`},
	} {
		fields, err := parseTree(c.tree)
		if err != nil {
			t.Errorf("%s: %v", c.tree, err)
			continue
		}
		if got, err := json.Marshal(pick(v, fields, nil)); err != nil || string(got) != c.want {
			t.Errorf("%s: %s, want %s", c.tree, got, c.want)
		}
	}
	for _, bad := range []string{"", ",", "a,", "a[", "a[]", "a[b", "a]", "a{", "a{}", "a{x}", "a{-1,2}", "a{1,2", "a b", strings.Repeat("a[", 30)} {
		if _, err := parseTree(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func FuzzTree(f *testing.F) {
	f.Add("builds[number,actions[parameters[name,value]]]{0,20},name")
	f.Add("a[b]{,3}")
	f.Fuzz(func(t *testing.T, s string) {
		fields, err := parseTree(s)
		if err != nil {
			return
		}
		got := pick(object{"a": []any{object{"b": 1}, 2, nil}, "name": "n"}, fields, nil).(object)
		if len(got) > 2 {
			t.Errorf("%q: %v", s, got)
		}
	})
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte("<?xml version='1.1'?><flow-definition><properties><hudson.model.ParametersDefinitionProperty><parameterDefinitions><hudson.model.StringParameterDefinition><name>A</name></hudson.model.StringParameterDefinition></parameterDefinitions></hudson.model.ParametersDefinitionProperty></properties></flow-definition>"))
	f.Add([]byte("<project><disabled>true</disabled></project>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := readConfig(b)
		if err != nil {
			return
		}
		for _, p := range i.Parameters {
			if d := p.definition(); d["name"] != p.Name {
				t.Errorf("%+v: %v", p, d)
			}
		}
	})
}
