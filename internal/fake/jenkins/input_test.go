package jenkins

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// paused is a controller whose job demo waits at an input; got has what the step returned.
func paused(t *testing.T, i Input) (c *client, b *Build, got chan string) {
	t.Helper()
	c = newClient(t, Options{})
	got = make(chan string, 1)
	c.s.AddJob("demo", Job{Script: func(ctx context.Context, b *Build) string {
		a, ok := b.Ask(ctx, i)
		text, _ := json.Marshal(a.Values)
		got <- fmt.Sprint(ok, " ", a.By, " ", string(text))
		if !ok {
			return ""
		}
		return "SUCCESS"
	}})
	c.post("/job/demo/build")
	b = c.s.Builds("demo")[0]
	if err := c.s.Wait(t.Context(), func() bool { return len(b.Pending()) > 0 }); err != nil {
		t.Fatal(err)
	}
	return c, b, got
}

var (
	approval = Input{ID: "approveIt", Message: "Roll back?"}
	choice   = Input{ID: "Release", Message: "Where to?", OK: "Go", Parameters: []Parameter{
		{Kind: "Choice", Name: "TARGET", Choices: []string{"canary", "all"}}, {Kind: "String", Name: "NOTE", Default: "none"}, {Kind: "Boolean", Name: "LOUD"}}}
)

const full = `{"parameter":[{"name":"TARGET","value":"all"},{"name":"NOTE","value":"x & y"},{"name":"LOUD","value":true}]}`

// What each call answers, what the step returns, and which calls are noted.
func TestInputs(t *testing.T) {
	t.Parallel()
	by := func(names ...string) Input { i := approval; i.Submitters = names; return i }
	named := func(i Input) Input { i.SubmitterParameter = "BY"; return i }
	for _, c := range []struct {
		name   string
		input  Input
		change func(*client)
		target string // below the build
		form   []string
		status int
		got    string // "" while it stays open
		noted  string
	}{
		{name: "submit", input: choice, target: "input/Release/submit", form: []string{"json", full, "proceed", "Go"}, status: 302, got: `true rollback {"LOUD":true,"NOTE":"x \u0026 y","TARGET":"all"}`},
		{name: "wfapi", input: choice, target: "wfapi/inputSubmit?inputId=Release", form: []string{"json", full}, status: 200, got: `true rollback {"LOUD":true,"NOTE":"x \u0026 y","TARGET":"all"}`},
		{name: "proceed", input: approval, target: "input/ApproveIt/proceed", form: []string{"json", `{"parameter":[]}`}, status: 200, got: "true rollback null"},
		{name: "proceedEmpty", input: approval, target: "input/ApproveIt/proceedEmpty", status: 200, got: "true rollback null"},
		{name: "the danger", input: choice, target: "input/Release/proceedEmpty", status: 200, got: "true rollback null", noted: "returns null"},
		{name: "values missing", input: choice, target: "input/Release/submit", form: []string{"json", `{"parameter":{"name":"TARGET","value":"all"}}`, "proceed", "Go"}, status: 302,
			got: `true rollback {"TARGET":"all"}`, noted: "no value for NOTE"},
		{name: "with the submitter", input: named(approval), target: "input/ApproveIt/submit", form: []string{"json", "{}", "proceed", "x"}, status: 302, got: `true rollback {"BY":"rollback"}`},
		{name: "as written", input: approval, target: "input/approveIt/proceedEmpty", status: 404},
		{name: "as written, wfapi", input: approval, target: "wfapi/inputSubmit?inputId=approveIt", form: []string{"json", "{}"}, status: 500},
		{name: "bad choice", input: choice, target: "input/Release/submit", form: []string{"json", strings.Replace(full, "all", "none", 1), "proceed", "Go"}, status: 500},
		{name: "bad choice, wfapi", input: choice, target: "wfapi/inputSubmit?inputId=Release", form: []string{"json", strings.Replace(full, "all", "none", 1)}, status: 500},
		{name: "unknown name", input: choice, target: "input/Release/submit", form: []string{"json", strings.Replace(full, "NOTE", "MOTE", 1), "proceed", "Go"}, status: 500},
		{name: "no form", input: choice, target: "input/Release/submit", form: []string{"proceed", "Go"}, status: 400},
		{name: "no JSON", input: choice, target: "input/Release/submit", form: []string{"json", "{", "proceed", "Go"}, status: 400},
		{name: "abort", input: approval, target: "input/ApproveIt/abort", status: 200, got: "false  null"},
		{name: "submit without proceed", input: approval, target: "input/ApproveIt/submit", form: []string{"json", "{}"}, status: 302, got: "false  null", noted: "aborts"},
		{name: "another submitter", input: by("alice"), target: "input/ApproveIt/proceedEmpty", status: 400},
		{name: "another submitter, wfapi", input: by("alice"), target: "wfapi/inputSubmit?inputId=ApproveIt", form: []string{"json", "{}"}, status: 500},
		{name: "a submitter", input: by("alice", UserName), target: "input/ApproveIt/proceedEmpty", status: 200, got: "true rollback null"},
		{name: "no right to build", input: approval, change: func(c *client) { c.s.Deny("Job/Build") }, target: "input/ApproveIt/proceedEmpty", status: 400},
		{name: "no right to cancel", input: by("alice"), change: func(c *client) { c.s.Deny("Job/Cancel") }, target: "input/ApproveIt/abort", status: 400},
		{name: "nothing there", input: approval, target: "input/ApproveIt/other", status: 404},
		{name: "no plugin", input: approval, change: func(c *client) { c.s.RestAPI(false) }, target: "wfapi/inputSubmit?inputId=ApproveIt", form: []string{"json", "{}"}, status: 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			con, b, got := paused(t, c.input)
			if c.change != nil {
				c.change(con)
			}
			if r := con.post("/job/demo/1/"+c.target, c.form...); r.status != c.status {
				t.Errorf("%d %s, want %d", r.status, r.body, c.status)
			}
			if c.got == "" {
				if len(b.Pending()) != 1 {
					t.Error("it is not open any more")
				}
			} else if text := <-got; text != c.got {
				t.Errorf("the step returned %s, want %s", text, c.got)
			}
			noted := strings.Join(con.s.Violations(), "\n")
			if c.noted == "" && noted != "" || !strings.Contains(noted, c.noted) {
				t.Errorf("noted: %q, want %q", noted, c.noted)
			}
		})
	}
}

func TestPendingInputs(t *testing.T) {
	t.Parallel()
	c, b, got := paused(t, choice)
	var list []map[string]any
	r := c.get("/job/demo/1/wfapi/pendingInputActions")
	if err := json.Unmarshal([]byte(r.body), &list); err != nil || len(list) != 1 {
		t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	text := fmt.Sprint(list[0])
	for _, want := range []string{"id:Release", "message:Where to?", "proceedText:Go", "choices:[canary all]", "defaultVal:none", "proceedUrl:/job/demo/1/wfapi/inputSubmit?inputId=Release",
		"abortUrl:/job/demo/1/input/Release/abort", "type:BooleanParameterDefinition"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in %s", want, text)
		}
	}
	if o := c.get("/job/demo/1/wfapi/describe").json(t); o["status"] != "PAUSED_PENDING_INPUT" {
		t.Error(o)
	}
	for target, status := range map[string]int{
		"/job/demo/1/input/api/json": 404, "/job/demo/1/input/": 200, "/job/demo/1/input/Release/": 200, "/job/demo/1/input/release/": 404,
		"/job/demo/1/input/Release/proceed": 405, "/job/demo/1/input/Other/proceed": 404, "/job/demo/1/wfapi/inputSubmit?inputId=Release": 405, "/job/demo/1/wfapi/nothing": 404,
	} {
		if r := c.get(target); r.status != status {
			t.Errorf("GET %s: %d, want %d", target, r.status, status)
		}
	}
	if len(b.Pending()) != 1 {
		t.Error("a look has changed something")
	}
	// A restart between question and answer changes nothing but the sessions.
	c.s.Down()
	if r := c.post("/job/demo/1/input/Release/abort"); r.status != 503 {
		t.Errorf("%d while it is down", r.status)
	}
	c.s.Up(0)
	if r := c.post("/job/demo/1/input/Release/submit", "json", full, "proceed", "Go"); r.status != 302 {
		t.Errorf("%d after the restart", r.status)
	}
	<-got
	if r := c.post("/job/demo/1/input/Release/abort"); r.status != 404 {
		t.Errorf("%d for an input that was answered", r.status)
	}
	if r := c.get("/job/demo/1/wfapi/pendingInputActions"); r.body != "[]" {
		t.Error(r.body)
	}
	c.s.RestAPI(false)
	if r := c.get("/job/demo/1/wfapi/pendingInputActions"); r.status != 404 {
		t.Errorf("%d without the plugin", r.status)
	}
}

// Ids as Jenkins makes them.
func TestInputID(t *testing.T) {
	t.Parallel()
	for i, want := range map[*Input]string{{ID: "lowerCase-id_1"}: "LowerCase-id_1", {ID: "Release"}: "Release", {Message: "Go?"}: InputID(Input{Message: "Go?"})} {
		if got := InputID(*i); got != want {
			t.Errorf("%+v: %s, want %s", i, got, want)
		}
	}
	if id := InputID(Input{Message: "Go?"}); len(id) != 32 || strings.ToUpper(id[:1]) != id[:1] || id == InputID(Input{Message: "Stop?"}) {
		t.Error(id)
	}
}

func TestArtifactsAndStages(t *testing.T) {
	t.Parallel()
	c := newClient(t, Options{})
	c.s.AddJob("demo", Job{Script: func(_ context.Context, b *Build) string {
		b.Stage("Plan")
		b.Archive("rollback-record/payments-prod/result.txt", "exit=0\n")
		b.Archive("a.jsonl", "{}\n")
		b.Stage("Run")
		return "UNSTABLE"
	}})
	c.post("/job/demo/build")
	b := c.s.Builds("demo")[0]
	if err := c.s.Wait(t.Context(), func() bool { return b.Result() != "" }); err != nil {
		t.Fatal(err)
	}
	if o := c.get("/job/demo/1/api/json?tree=artifacts[relativePath]").json(t); fmt.Sprint(o["artifacts"]) != "[map[relativePath:a.jsonl] map[relativePath:rollback-record/payments-prod/result.txt]]" {
		t.Error(o)
	}
	if r := c.get("/job/demo/1/artifact/rollback-record/payments-prod/result.txt"); r.body != "exit=0\n" || r.header.Get("Content-Type") != "text/plain" {
		t.Errorf("%+v", r)
	}
	if r := c.get("/job/demo/1/artifact/other.txt"); r.status != 404 {
		t.Error(r.status)
	}
	var stages []string
	o := c.get("/job/demo/1/wfapi/describe").json(t)
	for _, s := range o["stages"].([]any) {
		stages = append(stages, fmt.Sprint(s.(map[string]any)["name"], " ", s.(map[string]any)["status"]))
	}
	if !slices.Equal(stages, []string{"Plan SUCCESS", "Run UNSTABLE"}) || o["status"] != "UNSTABLE" {
		t.Errorf("%v %v", stages, o["status"])
	}
	if v := c.s.Violations(); len(v) > 0 {
		t.Error(v)
	}
}

// Aborting the build ends the question, too.
func TestAbortAtAnInput(t *testing.T) {
	t.Parallel()
	c, b, got := paused(t, approval)
	c.post("/job/demo/1/stop")
	if text := <-got; text != "false  null" {
		t.Error(text)
	}
	if err := c.s.Wait(t.Context(), func() bool { return b.Result() == "ABORTED" }); err != nil {
		t.Fatal(err)
	}
	if len(b.Pending()) > 0 {
		t.Error("still open")
	}
}
