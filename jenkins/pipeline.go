package jenkins

import (
	"fmt"
	"slices"
	"strings"
)

// Pipeline is what this program says about a pipeline job with its script in the job: everything else in the job's
// configuration belongs to others.
type Pipeline struct {
	Description string
	Script      string
	Sandbox     bool
	Disabled    bool
	Parameters  []JobParameter
	// Triggers start builds by themselves: class and specification of each.
	Triggers []string
	// Source is the class of a definition that has no script in the job, such as one that takes it from a repository; "" for ours.
	Source string
	// ByRun tells that a run of the job has set its parameters. They belong to the pipeline then, and the next run sets them again.
	ByRun bool
	// Tracked tells that the properties step of the next run replaces the parameters. One that does not know of them adds a
	// second set: Jenkins lists each twice then, until the run after that.
	Tracked bool
}

// JobParameter is the definition of one parameter. The class is without package and ending: "String", "Choice", "Boolean".
type JobParameter struct {
	Class       string
	Name        string
	Description string
	Default     string   // of a choice: nothing, the first one counts
	Choices     []string // of a choice
}

const (
	classInline     = "org.jenkinsci.plugins.workflow.cps.CpsFlowDefinition"
	classParameters = "hudson.model.ParametersDefinitionProperty"
	classTriggers   = "org.jenkinsci.plugins.workflow.job.properties.PipelineTriggersJobProperty"
	// The notes that a run leaves about what it set: the properties step, and a declarative pipeline.
	classTracker = "org.jenkinsci.plugins.workflow.multibranch.JobPropertyTrackerAction"
	// wroteThem stands in the first of them while the parameters are ours: nothing but ids of properties is looked for there,
	// and a run writes it anew (JobPropertyStep of the plugin workflow-multibranch).
	wroteThem        = "rollback-jobs-apply"
	classDeclarative = "org.jenkinsci.plugins.pipeline.modeldefinition.actions.DeclarativeJobPropertyTrackerAction"
)

// plain is text without what Jenkins and browsers change about it: line ends, and blanks around it.
func plain(s string) string {
	return strings.TrimSpace(strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n"))
}

// Plain is p as it compares: without what a save in Jenkins may change.
func (p Pipeline) Plain() Pipeline {
	p.Description, p.Script = plain(p.Description), plain(p.Script)
	p.Parameters = slices.Clone(p.Parameters)
	for i, q := range p.Parameters {
		p.Parameters[i].Description, p.Parameters[i].Default = plain(q.Description), plain(q.Default)
		if q.Class == "Boolean" && q.Default != "true" {
			p.Parameters[i].Default = "false"
		}
	}
	return p
}

func (q JobParameter) equal(r JobParameter) bool {
	return q.Class == r.Class && q.Name == r.Name && q.Description == r.Description && q.Default == r.Default && slices.Equal(q.Choices, r.Choices)
}

// Equal compares values, not bytes. Parameters that a run has set are not compared.
func (p Pipeline) Equal(q Pipeline) bool {
	p, q = p.Plain(), q.Plain()
	return p.Description == q.Description && p.Script == q.Script && p.Sandbox == q.Sandbox && p.Disabled == q.Disabled && p.Source == q.Source &&
		slices.Equal(p.Triggers, q.Triggers) && (p.ByRun || q.ByRun || slices.EqualFunc(p.Parameters, q.Parameters, JobParameter.equal))
}

// ReadPipeline reads a pipeline job's config.xml.
func ReadPipeline(text string) (Pipeline, error) {
	root, err := parseConfig(text)
	if err != nil {
		return Pipeline{}, err
	}
	if root.name != "flow-definition" {
		return Pipeline{}, fmt.Errorf("the configuration of a %s, not of a pipeline job", oneLine(root.name))
	}
	return root.pipeline(), nil
}

func (root *node) pipeline() Pipeline {
	p := Pipeline{Description: root.kid("description").value(), Disabled: isTrue(root.kid("disabled"))}
	definition := root.kid("definition")
	switch class := definition.attr("class"); class {
	case classInline:
		p.Script, p.Sandbox = definition.kid("script").value(), isTrue(definition.kid("sandbox"))
	case "":
		p.Source = "none"
	default:
		p.Source = class
	}
	properties := root.kid("properties")
	for _, list := range []*node{root.kid("triggers"), properties.kid(classTriggers).kid("triggers")} {
		for _, t := range list.children() {
			p.Triggers = append(p.Triggers, strings.TrimSpace(t.name+" "+plain(t.kid("spec").value())))
		}
	}
	slices.Sort(p.Triggers)
	for _, d := range properties.kid(classParameters).kid("parameterDefinitions").children() {
		q := JobParameter{
			Class: strings.TrimSuffix(strings.TrimPrefix(d.name, "hudson.model."), "ParameterDefinition"),
			Name:  d.kid("name").value(), Description: d.kid("description").value(), Default: d.kid("defaultValue").value(),
		}
		for _, s := range d.kid("choices").all("string") {
			q.Choices = append(q.Choices, s.value())
		}
		p.Parameters = append(p.Parameters, q)
	}
	for _, action := range root.kid("actions").children() {
		switch action.name {
		case classTracker:
			lists := func(what string) bool {
				return slices.ContainsFunc(action.all("string"), func(n *node) bool { return n.value() == what })
			}
			p.Tracked = lists(classParameters)
			p.ByRun = p.ByRun || p.Tracked && !lists(wroteThem)
		case classDeclarative:
			p.ByRun = p.ByRun || len(action.kid("parameters").all("string")) > 0
		}
	}
	return p
}

func isTrue(n *node) bool { return strings.TrimSpace(n.value()) == "true" }

// XML is the config.xml of a new job.
func (p Pipeline) XML() string {
	var b strings.Builder
	b.WriteString("<?xml version='1.1' encoding='UTF-8'?>\n<flow-definition plugin=\"workflow-job\">\n  <actions>\n    ")
	b.WriteString(trackerXML)
	b.WriteString("\n  </actions>\n  ")
	b.WriteString(element("description", p.Description))
	b.WriteString("\n  <keepDependencies>false</keepDependencies>\n  <properties>\n    ")
	b.WriteString(p.parametersXML())
	b.WriteString("\n  </properties>\n  ")
	b.WriteString(p.definitionXML())
	fmt.Fprintf(&b, "\n  <triggers/>\n  <disabled>%t</disabled>\n</flow-definition>\n", p.Disabled)
	return b.String()
}

// The note of who has set the parameters, as XML.
const (
	trackedXML = "<string>" + classParameters + "</string><string>" + wroteThem + "</string>"
	setXML     = "<jobPropertyDescriptors>" + trackedXML + "</jobPropertyDescriptors>"
	trackerXML = "<" + classTracker + " plugin=\"workflow-multibranch\">" + setXML + "</" + classTracker + ">"
)

func (p Pipeline) definitionXML() string {
	return "<definition class=\"" + classInline + "\" plugin=\"workflow-cps\">\n    " + element("script", p.Script) +
		"\n    " + element("sandbox", fmt.Sprint(p.Sandbox)) + "\n  </definition>"
}

func (p Pipeline) parametersXML() string {
	return "<" + classParameters + ">\n      " + p.definitionsXML() + "\n    </" + classParameters + ">"
}

func (p Pipeline) definitionsXML() string {
	var b strings.Builder
	b.WriteString("<parameterDefinitions>\n")
	for _, q := range p.Parameters {
		class := "hudson.model." + q.Class + "ParameterDefinition"
		fmt.Fprintf(&b, "        <%s>\n          %s\n          %s\n", class, element("name", q.Name), element("description", q.Description))
		switch q.Class {
		case "Choice":
			b.WriteString("          <choices class=\"java.util.Arrays$ArrayList\">\n            <a class=\"string-array\">\n")
			for _, c := range q.Choices {
				b.WriteString("              " + element("string", c) + "\n")
			}
			b.WriteString("            </a>\n          </choices>\n")
		default:
			b.WriteString("          " + element("defaultValue", q.Default) + "\n")
			if q.Class == "String" {
				b.WriteString("          <trim>true</trim>\n")
			}
		}
		fmt.Fprintf(&b, "        </%s>\n", class)
	}
	b.WriteString("      </parameterDefinitions>")
	return b.String()
}

// folderXML is the config.xml of a new folder.
func folderXML(description string) string {
	return "<?xml version='1.1' encoding='UTF-8'?>\n<com.cloudbees.hudson.plugins.folder.Folder plugin=\"cloudbees-folder\">\n  <actions/>\n  " +
		element("description", description) + "\n  <properties/>\n</com.cloudbees.hudson.plugins.folder.Folder>\n"
}

var escapeXML = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;", "\r", "&#xd;")

// element is a leaf as XML. Characters that XML cannot hold become question marks.
func element(name, text string) string {
	if text == "" {
		return "<" + name + "/>"
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' && r != '\r' || r == 0xfffe || r == 0xffff {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	return "<" + name + ">" + escapeXML.Replace(text) + "</" + name + ">"
}
