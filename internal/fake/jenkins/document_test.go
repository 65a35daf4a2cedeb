package jenkins

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

func (c *client) xml(target, body string) reply {
	return c.do("POST", target, strings.NewReader(body), "Content-Type", "application/xml")
}

// What is stored is not what was posted: as a controller does.
func TestStoredConfiguration(t *testing.T) {
	t.Parallel()
	c := newClient(t, Options{})
	const posted = `<?xml version="1.1" encoding="UTF-8"?>
<flow-definition plugin="workflow-job"><disabled>true</disabled><custom x='1'><y/></custom><description>it's "so" &amp; &lt;on&gt;&#xd;
</description><definition class="org.jenkinsci.plugins.workflow.cps.CpsFlowDefinition" plugin="workflow-cps"><script>  echo 'x'
</script></definition></flow-definition>`
	if r := c.xml("/createItem?name=made", posted); r.status != 200 || r.body != "" {
		t.Fatalf("%+v", r)
	}
	const want = `<?xml version='1.1' encoding='UTF-8'?>
<flow-definition plugin="workflow-job@1540.v295eccc9778f">
  <actions/>
  <description>it&apos;s &quot;so&quot; &amp; &lt;on&gt;&#xd;
</description>
  <keepDependencies>false</keepDependencies>
  <properties/>
  <definition class="org.jenkinsci.plugins.workflow.cps.CpsFlowDefinition" plugin="workflow-cps@4106.v7a_8a_8176d450">
    <script>  echo &apos;x&apos;
</script>
  </definition>
  <triggers/>
  <disabled>true</disabled>
  <custom x="1">
    <y/>
  </custom>
</flow-definition>`
	got := c.get("/job/made/config.xml").body
	if got != want || c.s.Config("made") != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if r := c.xml("/job/made/config.xml", got); r.status != 200 || c.s.Config("made") != want {
		t.Errorf("a round trip changes it: %+v\n%s", r, c.s.Config("made"))
	}
	// The switch and the configuration are the same thing.
	if r := c.post("/job/made/enable"); r.status != 302 || !strings.Contains(c.s.Config("made"), "<disabled>false</disabled>") {
		t.Errorf("%+v\n%s", r, c.s.Config("made"))
	}
	if err := c.s.Configure("made", func(s string) string { return strings.Replace(s, "<disabled>false", "<disabled>true", 1) }); err != nil || c.s.Enabled("made") {
		t.Error(err)
	}
	if c.s.Configure("nothing", strings.ToUpper) == nil || c.s.Configure("made", func(string) string { return "<" }) == nil || c.s.Config("nothing") != "" {
		t.Error("what cannot be configured is")
	}
	c.s.Remove("made")
	if r := c.get("/job/made/config.xml"); r.status != 404 {
		t.Errorf("%+v", r)
	}
}

func TestFoldersByXML(t *testing.T) {
	t.Parallel()
	c := newClient(t, Options{})
	const folderXML = `<com.cloudbees.hudson.plugins.folder.Folder plugin="cloudbees-folder"><description>of the team</description><properties/></com.cloudbees.hudson.plugins.folder.Folder>`
	const jobXML = `<flow-definition><description>a job</description></flow-definition>`
	for _, x := range []struct {
		target, body string
		status       int
		says         string // in X-Error, or on the page
	}{
		{"/createItem?name=outer", folderXML, 200, ""},
		{"/job/outer/createItem?name=inner", folderXML, 200, ""},
		{"/job/outer/job/inner/createItem?name=job", jobXML, 200, ""},
		{"/job/outer/job/inner/createItem?name=job", jobXML, 400, "A job already exists with the name 'job'"},
		{"/job/outer/job/inner/createItem?name=JOB", jobXML, 400, "A job already exists with the name 'JOB'"},
		{"/job/outer/createItem?name=inner", jobXML, 400, "A job already exists with the name 'inner'"},
		{"/job/outer/createItem?name=a%2Fb", jobXML, 400, "unsafe name"},
		{"/job/outer/createItem?name=..", jobXML, 400, "unsafe name"},
		{"/job/outer/createItem?name=%20a", jobXML, 400, "unsafe name"},
		{"/job/outer/job/inner/job/job/createItem?name=x", jobXML, 404, ""},
		{"/job/mb/createItem?name=x", jobXML, 404, ""},
		{"/job/none/createItem?name=x", jobXML, 404, ""},
		{"/job/outer/createItem?name=x", "<flow-definition>", 500, ""},
		{"/job/outer/createItem?name=x", "<flow-definition/><more/>", 500, "only one root"},
		{"/job/outer/createItem?name=x", "", 500, ""},
		{"/job/outer/config.xml", jobXML, 500, "Expecting class"},
		{"/job/outer/job/inner/job/job/config.xml", folderXML, 500, "Expecting class"},
	} {
		r := c.xml(x.target, x.body)
		if r.status != x.status || x.says != "" && !strings.Contains(r.header.Get("X-Error")+r.body, x.says) {
			t.Errorf("%s %s: %d %s, want %d %s", x.target, x.body, r.status, r.header.Get("X-Error"), x.status, x.says)
		}
	}
	o := c.get("/job/outer/api/json?tree=description,jobs[fullName,description,jobs[fullName,description]]").json(t)
	for _, part := range []string{"description:of the team", "fullName:outer/inner ", "description:a job fullName:outer/inner/job", "_class:" + classJob} {
		if !strings.Contains(fmt.Sprint(o), part) {
			t.Errorf("%q is missing in %v", part, o)
		}
	}
	c.s.Deny("Job/Create")
	if r := c.xml("/createItem?name=x", jobXML); r.status != 403 || r.header.Get("X-Required-Permission") != "hudson.model.Item.Create" {
		t.Errorf("%+v", r)
	}
	c.s.Deny("Job/Configure")
	if r := c.xml("/job/outer/config.xml", folderXML); r.status != 403 || r.header.Get("X-Required-Permission") != "hudson.model.Item.Configure" {
		t.Errorf("%+v", r)
	}
}

// The step properties: the parameters are the run's, and the configuration tells who set them.
func TestPropertiesOfARun(t *testing.T) {
	t.Parallel()
	c := newClient(t, Options{})
	sequential := true
	c.s.OnBuild(func(_ context.Context, b *Build) string {
		b.Properties([]Parameter{{Kind: "Choice", Name: "KIND", Choices: []string{"a", "b"}, Description: "which"}}, sequential)
		return ""
	})
	if r := c.xml("/createItem?name=made", "<flow-definition/>"); r.status != 200 {
		t.Fatalf("%+v", r)
	}
	run := func(n int) {
		c.s.Push("made", "")
		if err := c.s.Wait(t.Context(), func() bool { b := c.s.Builds("made"); return len(b) == n && b[n-1].Result() != "" }); err != nil {
			t.Fatal(err)
		}
	}
	run(1)
	text := c.get("/job/made/config.xml").body
	for _, part := range []string{
		"<" + classTracker + ` plugin="workflow-multibranch@`, "<string>" + classParameters + "</string>", "<string>" + classSequential + "</string>",
		"<" + classSequential + ">", "<name>KIND</name>", "<description>which</description>", "<string>b</string>",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in\n%s", part, text)
		}
	}
	o := c.get("/job/made/api/json?tree=concurrentBuild,property[parameterDefinitions[name,description,choices]]").json(t)
	if got := fmt.Sprint(o); !strings.Contains(got, "name:KIND") || !strings.Contains(got, "description:which") || !strings.Contains(got, "concurrentBuild:false") {
		t.Error(got)
	}
	sequential = false
	run(2)
	if text := c.s.Config("made"); strings.Contains(text, classSequential) || strings.Count(text, "<"+classTracker) != 1 || strings.Count(text, "<name>KIND") != 1 {
		t.Errorf("a second run adds to the first:\n%s", text)
	}
}

// Parameters that a job has from elsewhere are there beside those of its first run, unless the note says that they are to go.
func TestPropertiesBesideOthers(t *testing.T) {
	t.Parallel()
	for actions, want := range map[string][]int{
		"": {2, 1},
		"<" + classTracker + "><jobPropertyDescriptors><string>x</string></jobPropertyDescriptors></" + classTracker + ">":                       {2, 1},
		"<" + classTracker + "><jobPropertyDescriptors><string>" + classParameters + "</string></jobPropertyDescriptors></" + classTracker + ">": {1, 1},
	} {
		c := newClient(t, Options{})
		c.s.OnBuild(func(_ context.Context, b *Build) string {
			b.Properties([]Parameter{{Kind: "String", Name: "TO"}}, true)
			return ""
		})
		made := "<flow-definition><actions>" + actions + "</actions><properties><" + classParameters + "><parameterDefinitions><hudson.model.StringParameterDefinition><name>TO</name>" +
			"</hudson.model.StringParameterDefinition></parameterDefinitions></" + classParameters + "></properties></flow-definition>"
		if r := c.xml("/createItem?name=made", made); r.status != 200 {
			t.Fatalf("%+v", r)
		}
		for i, n := range want {
			c.s.Push("made", "")
			if err := c.s.Wait(t.Context(), func() bool { b := c.s.Builds("made"); return len(b) == i+1 && b[i].Result() != "" }); err != nil {
				t.Fatal(err)
			}
			if got := strings.Count(c.s.Config("made"), "<name>TO</name>"); got != n {
				t.Errorf("%q: %d after run %d, want %d", actions, got, i+1, n)
			}
		}
	}
}
