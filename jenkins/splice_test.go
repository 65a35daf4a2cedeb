package jenkins

import (
	"encoding/xml"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ours is a job as this program makes it.
func ours() Pipeline {
	return Pipeline{
		Description: "Takes payments back.\nNot <b>bold</b> & not \"quoted\".", Script: "@Library('rollback') _\n\nrollbackPipeline(service: 'payments', reason: 'a && b < c')", Sandbox: true,
		Parameters: []JobParameter{
			{Class: "Choice", Name: "METHOD", Description: "how", Choices: []string{"retag", "revert"}},
			{Class: "String", Name: "TO", Description: "where \"to\"", Default: "previous"},
			{Class: "Boolean", Name: "DRY", Description: "", Default: "false"},
		},
	}
}

// stored is a configuration as a controller keeps it, with what plugins and people have put into it.
const stored = `<?xml version='1.1' encoding='UTF-8'?>
<flow-definition plugin="workflow-job@1540.v295eccc9778f">
  <actions>
    <io.acme.Badge plugin="badge@1"><text>it&apos;s &#x1b;[31mred&#x1b;[0m &#13;&#8;</text><!-- kept --></io.acme.Badge>
  </actions>
  <description>Takes payments back.&#xd;
Not &lt;b&gt;bold&lt;/b&gt; &amp; not &quot;quoted&quot;.</description>
  <displayName>Zahlungen zurück ☂</displayName>
  <keepDependencies>false</keepDependencies>
  <properties>
    <io.acme.Rights plugin="matrix-auth@3"><permission>USER:hudson.model.Item.Build:oncall</permission></io.acme.Rights>
    <hudson.model.ParametersDefinitionProperty>
      <parameterDefinitions>
        <hudson.model.ChoiceParameterDefinition>
          <name>METHOD</name>
          <description>how</description>
          <choices class="java.util.Collections$UnmodifiableList"><c class="list"><string>retag</string><string>revert</string></c><list reference="../c"/></choices>
        </hudson.model.ChoiceParameterDefinition>
        <hudson.model.StringParameterDefinition>
          <name>TO</name>
          <description>where &quot;to&quot;</description>
          <defaultValue>previous</defaultValue>
          <trim>false</trim>
        </hudson.model.StringParameterDefinition>
        <hudson.model.BooleanParameterDefinition>
          <name>DRY</name>
        </hudson.model.BooleanParameterDefinition>
      </parameterDefinitions>
    </hudson.model.ParametersDefinitionProperty>
  </properties>
  <definition class="org.jenkinsci.plugins.workflow.cps.CpsFlowDefinition" plugin="workflow-cps@4106.v7a_8a_8176d450">
    <script>@Library(&apos;rollback&apos;) _

rollbackPipeline(service: &apos;payments&apos;, reason: &apos;a &amp;&amp; b &lt; c&apos;)
</script>
    <sandbox>true</sandbox>
  </definition>
  <triggers/>
  <quietPeriod>5</quietPeriod>
  <disabled>false</disabled>
</flow-definition>`

func read(t *testing.T, text string) Pipeline {
	t.Helper()
	p, err := ReadPipeline(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

func TestReadPipeline(t *testing.T) {
	t.Parallel()
	want := ours()
	if p := read(t, want.XML()); !p.Equal(want) {
		t.Errorf("what was written is not what is read: %s", cmp.Diff(want.Plain(), p.Plain()))
	}
	if p := read(t, stored); !p.Equal(want) {
		t.Errorf("a save in Jenkins is taken for a change: %s", cmp.Diff(want.Plain(), p.Plain()))
	}
	if got, err := want.Splice(stored); err != nil || got != stored {
		t.Errorf("nothing differs, and it is changed: %v\n%s", err, cmp.Diff(stored, got))
	}
	for why, change := range map[string]func(*Pipeline){
		"description": func(p *Pipeline) { p.Description += "!" },
		"script":      func(p *Pipeline) { p.Script = strings.Replace(p.Script, "payments", "web", 1) },
		"sandbox":     func(p *Pipeline) { p.Sandbox = false },
		"disabled":    func(p *Pipeline) { p.Disabled = true },
		"source":      func(p *Pipeline) { p.Source = "x" },
		"trigger":     func(p *Pipeline) { p.Triggers = []string{"x"} },
		"order":       func(p *Pipeline) { slices.Reverse(p.Parameters) },
		"choice":      func(p *Pipeline) { p.Parameters[0].Choices = []string{"retag"} },
		"default":     func(p *Pipeline) { p.Parameters[1].Default = "x" },
		"switch":      func(p *Pipeline) { p.Parameters[2].Default = "true" },
		"meaning":     func(p *Pipeline) { p.Parameters[2].Description = "x" },
		"name":        func(p *Pipeline) { p.Parameters[2].Name = "x" },
		"class":       func(p *Pipeline) { p.Parameters[1].Class = "Text" },
		"one less":    func(p *Pipeline) { p.Parameters = p.Parameters[:2] },
	} {
		p := ours()
		change(&p)
		if p.Equal(want) || want.Equal(p) {
			t.Errorf("%s: not seen", why)
		}
	}
	for text, part := range map[string]string{
		"": "ends too early", "<flow-definition>": "cannot be read", "<flow-definition/><x/>": "two roots", "<project/>": "of a project", "no XML": "ends too early",
		"<?xml version='1.1' encoding='ISO-8859-1'?><flow-definition/>": "cannot be read",
	} {
		if _, err := ReadPipeline(text); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q: %v, want %s", text, err, part)
		}
		if _, err := want.Splice(text); err == nil {
			t.Errorf("%q is spliced", text)
		}
	}
}

func TestParametersOfARun(t *testing.T) {
	t.Parallel()
	for name, action := range map[string]string{
		"properties":  `<org.jenkinsci.plugins.workflow.multibranch.JobPropertyTrackerAction plugin="workflow-multibranch@1"><jobPropertyDescriptors><string>x</string><string>hudson.model.ParametersDefinitionProperty</string></jobPropertyDescriptors></org.jenkinsci.plugins.workflow.multibranch.JobPropertyTrackerAction>`,
		"declarative": `<org.jenkinsci.plugins.pipeline.modeldefinition.actions.DeclarativeJobPropertyTrackerAction plugin="x"><jobProperties/><triggers/><parameters><string>TO</string></parameters></org.jenkinsci.plugins.pipeline.modeldefinition.actions.DeclarativeJobPropertyTrackerAction>`,
	} {
		text := strings.Replace(strings.Replace(stored, "</actions>", action+"</actions>", 1), "<name>TO</name>", "<name>TARGET</name>", 1)
		p := read(t, text)
		if !p.ByRun || !p.Equal(ours()) || !ours().Equal(p) {
			t.Errorf("%s: a parameter that a run has set is taken for ours: %+v", name, p)
		}
		other := ours()
		other.Script = "x"
		got, err := other.Splice(text)
		if err != nil || !strings.Contains(got, "<name>TARGET</name>") {
			t.Errorf("%s: the parameters of a run are changed: %v\n%s", name, err, got)
		}
	}
	for name, action := range map[string]string{
		"other properties": `<org.jenkinsci.plugins.workflow.multibranch.JobPropertyTrackerAction><jobPropertyDescriptors><string>x</string></jobPropertyDescriptors></org.jenkinsci.plugins.workflow.multibranch.JobPropertyTrackerAction>`,
		"none declared":    `<org.jenkinsci.plugins.pipeline.modeldefinition.actions.DeclarativeJobPropertyTrackerAction><parameters/></org.jenkinsci.plugins.pipeline.modeldefinition.actions.DeclarativeJobPropertyTrackerAction>`,
	} {
		if p := read(t, strings.Replace(stored, "</actions>", action+"</actions>", 1)); p.ByRun {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// Parameters that are written into a job are known to the properties step of its next run, which replaces them then.
func TestParametersAreTracked(t *testing.T) {
	t.Parallel()
	if p := read(t, ours().XML()); !p.Tracked || p.ByRun {
		t.Errorf("a new job: %+v", p)
	}
	const tracker = "<" + classTracker + ` plugin="workflow-multibranch@1">`
	for name, text := range map[string]string{
		"none":             stored,
		"no actions":       `<flow-definition/>`,
		"empty actions":    `<flow-definition><actions/></flow-definition>`,
		"empty":            strings.Replace(stored, "</actions>", tracker+"</"+classTracker+"></actions>", 1),
		"other properties": strings.Replace(stored, "</actions>", tracker+"<jobPropertyDescriptors><string>x</string></jobPropertyDescriptors></"+classTracker+"></actions>", 1),
	} {
		want := ours()
		want.Script = "x"
		got, err := want.Splice(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if p := read(t, got); !p.Tracked || p.ByRun || strings.Count(got, "<"+classTracker) != 1 || strings.Contains(text, "<string>x<") != strings.Contains(got, "<string>x<") {
			t.Errorf("%s: %+v\n%s", name, p, got)
		}
	}
}

// without is a configuration without the elements that are ours, as tokens: what must be the same after any change.
func without(t *testing.T, text string) []string {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(readable(text)))
	mine := map[string]bool{"description": true, "script": true, "sandbox": true, "disabled": true, "triggers": true, "parameterDefinitions": true, classParameters: true, classTriggers: true, "definition": true, "properties": true, "actions": true, classTracker: true}
	frames := []string{"flow-definition", "actions", "properties", "definition"}
	var list []string
	skip := 0
	for {
		at := d.InputOffset()
		token, err := d.Token()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		raw := strings.TrimSpace(text[at:d.InputOffset()])
		switch e := token.(type) {
		case xml.StartElement:
			// The frames around what is ours are dropped, what else is in them is not.
			frame := slices.Contains(frames, e.Name.Local)
			if skip > 0 || mine[e.Name.Local] && !frame {
				skip++
			} else if !frame {
				list = append(list, raw)
			}
			continue
		case xml.EndElement:
			frame := slices.Contains(frames, e.Name.Local)
			if skip > 0 {
				skip--
			} else if !frame {
				list = append(list, raw)
			}
			continue
		}
		if skip == 0 && raw != "" {
			list = append(list, raw)
		}
	}
}

// Any of our values can be put into any configuration; what others have put there stays, byte for byte.
func TestSplice(t *testing.T) {
	t.Parallel()
	sources := map[string]string{
		"stored":       stored,
		"fresh":        ours().XML(),
		"bare":         `<flow-definition/>`,
		"bare, open":   "<flow-definition plugin='x' ></flow-definition>",
		"no property":  `<flow-definition><properties/><definition class="` + classInline + `"/></flow-definition>`,
		"from a repo":  `<flow-definition><definition class="org.jenkinsci.plugins.workflow.cps.CpsScmFlowDefinition" plugin="x"><scm/><scriptPath>Jenkinsfile</scriptPath></definition><custom a='1'>x</custom></flow-definition>`,
		"with trigger": strings.Replace(stored, "<triggers/>", "<triggers><hudson.triggers.TimerTrigger><spec>H 2 * * *</spec></hudson.triggers.TimerTrigger></triggers>", 1),
		"triggers of properties": strings.Replace(stored, "</properties>",
			"<"+classTriggers+"><triggers><hudson.triggers.SCMTrigger><spec>H * * * *</spec></hudson.triggers.SCMTrigger></triggers></"+classTriggers+"></properties>", 1),
		"mark": "\ufeff" + stored,
	}
	for name, text := range sources {
		for i := range 200 {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			want := ours()
			odd := func() string {
				alphabet := []string{"a", "<", ">", "&", "&amp;", "'", `"`, "\n", "\r\n", "]]>", "<!--", "é", "☂", "\t", " ", "$", "\\", "{", "\x01", "</script>", "\xff"}
				s := "x"
				for range r.IntN(8) {
					s += alphabet[r.IntN(len(alphabet))]
				}
				return strings.NewReplacer("\x01", "?", "\xff", "?").Replace(s)
			}
			want.Description, want.Script = odd(), odd()
			want.Sandbox, want.Disabled = r.IntN(2) == 0, r.IntN(2) == 0
			want.Parameters = want.Parameters[r.IntN(4):]
			for j := range want.Parameters {
				want.Parameters[j].Description = odd()
				if want.Parameters[j].Class == "String" {
					want.Parameters[j].Default = odd()
				}
			}
			got, err := want.Splice(text)
			if err != nil {
				t.Fatalf("%s, %d: %v", name, i, err)
			}
			if p := read(t, got); !p.Equal(want) {
				t.Fatalf("%s, %d: %s", name, i, cmp.Diff(want.Plain(), p.Plain()))
			}
			if name != "from a repo" && !slices.Equal(without(t, text), without(t, got)) {
				t.Fatalf("%s, %d: what others put there is changed: %s", name, i, cmp.Diff(without(t, text), without(t, got)))
			}
			again, err := want.Splice(got)
			if err != nil || again != got {
				t.Fatalf("%s, %d: not the same twice: %v", name, i, err)
			}
		}
	}
}

// One value that differs changes its own bytes and no others.
func TestSpliceOfOneValue(t *testing.T) {
	t.Parallel()
	want := ours()
	want.Script = strings.Replace(want.Script, "payments", "web", 1)
	stored := strings.Replace(stored, "</actions>", trackerXML+"</actions>", 1)
	got, err := want.Splice(stored)
	if err != nil {
		t.Fatal(err)
	}
	from, to := strings.Index(stored, "<script>"), strings.Index(stored, "</script>")
	if !strings.HasPrefix(got, stored[:from]) || !strings.HasSuffix(got, stored[to:]) {
		t.Errorf("more than the script is changed: %s", cmp.Diff(stored, got))
	}
	want = ours()
	want.Disabled = true
	if got, err = want.Splice(stored); err != nil || got != strings.Replace(stored, "<disabled>false", "<disabled>true", 1) {
		t.Errorf("more than the switch is changed: %v, %s", err, cmp.Diff(stored, got))
	}
}

func FuzzSplice(f *testing.F) {
	f.Add(stored, "x")
	f.Add("<flow-definition/>", "\x00</script>")
	f.Fuzz(func(t *testing.T, text, script string) {
		want := ours()
		want.Script = script
		got, err := want.Splice(text)
		if err != nil {
			return
		}
		p, err := ReadPipeline(got)
		if err != nil || !p.Equal(want) {
			t.Errorf("%v from %q", err, got)
		}
	})
}
