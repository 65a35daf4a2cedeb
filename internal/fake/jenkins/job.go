package jenkins

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Parameter is one parameter of a job. The kind is the class of its definition without the ending: "String", "Text",
// "Choice", "Boolean", "Password", "File". The default of a choice is its first.
type Parameter struct {
	Kind    string
	Name    string
	Default string
	Choices []string
	// Description is what the page says about it.
	Description string
}

// Job is a pipeline job, or a branch of a multibranch project.
type Job struct {
	Parameters []Parameter
	// Learns are the parameters that the Jenkinsfile declares: Jenkins knows them after the first run.
	Learns     []Parameter
	Disabled   bool
	Sequential bool   // one build at a time
	Script     Script // the life of its builds; nil: the server's (OnBuild)
	// Stubborn is what it takes to end a build: "stop" (the default), "term", "kill", or "never".
	Stubborn  string
	Freestyle bool // no pipeline: builds know stop alone, and logs have no notes
}

type kind int

const (
	folder kind = iota
	multibranch
	job
)

const (
	classFolder      = "com.cloudbees.hudson.plugins.folder.Folder"
	classMultibranch = "org.jenkinsci.plugins.workflow.multibranch.WorkflowMultiBranchProject"
	classJob         = "org.jenkinsci.plugins.workflow.job.WorkflowJob"
	classBuild       = "org.jenkinsci.plugins.workflow.job.WorkflowRun"
)

// item is a folder, a multibranch project or a job.
type item struct {
	Job
	kind kind
	name string // full name; each part as Jenkins stores it: the branch feature/x is feature%2Fx

	doc    *element // its configuration, nil as long as nobody asked
	builds []*Build
}

// base is the last part of the name.
func (i *item) base() string { return path.Base(i.name) }

// path is the item's place below the root URL.
func (i *item) path() string { return jobPath(i.name) }

func jobPath(name string) string {
	p := ""
	for part := range strings.SplitSeq(name, "/") {
		p += "/job/" + url.PathEscape(part)
	}
	return p
}

// AddFolder makes a folder and the ones above it.
func (s *Server) AddFolder(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.folders(name)
}

func (s *Server) folders(name string) {
	for n := name; n != "." && n != ""; n = path.Dir(n) {
		if s.items[n] == nil {
			s.items[n] = &item{kind: folder, name: n}
		}
	}
}

// AddMultibranch makes a multibranch project. Its branches are jobs below it, named with Branch.
func (s *Server) AddMultibranch(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.folders(path.Dir(name))
	s.items[name] = &item{kind: multibranch, name: name}
}

// Branch is the name that a branch's job has below its project.
func Branch(branch string) string { return strings.ReplaceAll(url.PathEscape(branch), "/", "%2F") }

// AddJob makes a job, and the folders above it that do not exist. Its name has its folders, separated by "/".
func (s *Server) AddJob(name string, j Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.folders(path.Dir(name))
	s.items[name] = &item{Job: j, kind: job, name: name}
	s.change()
}

// Enabled tells whether a job takes builds.
func (s *Server) Enabled(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.items[name]
	return i != nil && !i.Disabled
}

// Push asks for a build of a commit, as a webhook does. It tells the queue item, or 0 if there is no such job or it is off.
func (s *Server) Push(name, commit string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.items[name]
	if i == nil || i.kind != job || i.Disabled {
		return 0
	}
	q, _ := s.schedule(i, i.defaults(), "", commit, s.options.Quiet)
	return q.id
}

// defaults are the values of a job's parameters that nobody gave.
func (i *item) defaults() map[string]string {
	values := map[string]string{}
	for _, p := range i.Parameters {
		values[p.Name] = p.standard()
	}
	return values
}

func (p Parameter) standard() string {
	switch {
	case p.Kind == "Choice" && len(p.Choices) > 0:
		return p.Choices[0]
	case p.Kind == "Boolean":
		return fmt.Sprint(p.Default == "true")
	}
	return p.Default
}

// values are a job's parameters as a trigger gives them: unknown names are dropped, missing ones have their defaults, and a
// choice that is none is an error.
func (i *item) values(form url.Values) (map[string]string, error) {
	values := i.defaults()
	for _, p := range i.Parameters {
		if !form.Has(p.Name) {
			continue
		}
		v := form.Get(p.Name)
		switch p.Kind {
		case "Choice":
			if !slices.Contains(p.Choices, v) {
				return nil, fmt.Errorf("java.lang.IllegalArgumentException: Illegal choice for parameter %s: %s", p.Name, v)
			}
		case "Boolean":
			v = fmt.Sprint(strings.EqualFold(v, "true"))
		}
		values[p.Name] = v
	}
	return values, nil
}

// definition is a parameter as the remote API tells it.
func (p Parameter) definition() object {
	o := object{"_class": "hudson.model." + p.Kind + "ParameterDefinition", "name": p.Name, "type": p.Kind + "ParameterDefinition", "description": nil,
		"defaultParameterValue": object{"_class": "hudson.model." + p.Kind + "ParameterValue", "name": p.Name, "value": p.standard()}}
	if p.Description != "" {
		o["description"] = p.Description
	}
	switch p.Kind {
	case "Choice":
		choices := []any{}
		for _, c := range p.Choices {
			choices = append(choices, c)
		}
		o["choices"] = choices
		o["defaultParameterValue"].(object)["_class"] = "hudson.model.StringParameterValue"
	case "Boolean":
		o["defaultParameterValue"].(object)["value"] = p.standard() == "true"
	case "Password":
		delete(o["defaultParameterValue"].(object), "value") // values of passwords are not exported
		if p.Default == "" {
			o["defaultParameterValue"] = nil
		}
	case "File":
		o["defaultParameterValue"] = nil
	}
	return o
}

// actions are the actions of a build or a queue item. Those without anything to tell are empty, as in the real API.
func actions(values map[string]string, defined []Parameter, user string, commits []string) []any {
	cause := object{"_class": "hudson.model.Cause$UserIdCause", "shortDescription": "Started by user " + user, "userId": user, "userName": user}
	if user == "" {
		cause = object{"_class": "com.cloudbees.jenkins.GitHubPushCause", "shortDescription": "Started by GitHub push"}
	}
	list := []any{object{"_class": "hudson.model.CauseAction", "causes": []any{cause}}, object{}}
	var parameters []any
	for _, p := range defined {
		v, ok := values[p.Name]
		if !ok {
			continue
		}
		o := object{"_class": "hudson.model." + p.Kind + "ParameterValue", "name": p.Name, "value": v}
		switch p.Kind {
		case "Choice":
			o["_class"] = "hudson.model.StringParameterValue"
		case "Boolean":
			o["value"] = v == "true"
		case "Password":
			delete(o, "value")
		}
		parameters = append(parameters, o)
	}
	if parameters != nil {
		list = append(list, object{"_class": "hudson.model.ParametersAction", "parameters": parameters})
	}
	for _, c := range commits {
		list = append(list, object{"_class": "hudson.plugins.git.util.BuildData", "buildsByBranchName": object{}, "scmName": "",
			"lastBuiltRevision": object{"SHA1": c, "branch": []any{object{"SHA1": c, "name": "refs/remotes/origin/main"}}},
			"remoteUrls":        []any{"https://github.com/acme/payments.git"}})
	}
	return append(list, object{}, object{"_class": "org.jenkinsci.plugins.workflow.job.views.FlowGraphAction"})
}

// tell is an item as the remote API tells it. The caller holds mu.
func (s *Server) tell(i *item, root string) object {
	o := object{"_class": i.class(), "name": i.base(), "fullName": i.name, "displayName": i.base(), "fullDisplayName": strings.ReplaceAll(i.name, "/", " » "),
		"url": root + i.path() + "/", "description": i.description()}
	if i.kind != job {
		o["jobs"] = s.list(i.name, root)
		return o
	}
	property := []any{object{"_class": "org.jenkinsci.plugins.workflow.job.properties.DisableResumeJobProperty"}}
	if len(i.Parameters) > 0 {
		definitions := []any{}
		for _, p := range i.Parameters {
			definitions = append(definitions, p.definition())
		}
		property = append(property, object{"_class": "hudson.model.ParametersDefinitionProperty", "parameterDefinitions": definitions})
	}
	builds := []any{}
	for _, b := range slices.Backward(i.builds) {
		builds = append(builds, b.tell(root))
	}
	o["property"], o["builds"] = property, builds[:min(len(builds), 100)]
	o["actions"] = []any{object{}}
	o["buildable"] = !i.Disabled
	o["disabled"] = i.Disabled
	o["concurrentBuild"] = !i.Sequential
	o["nextBuildNumber"] = len(i.builds) + 1
	o["color"] = "blue"
	o["lastBuild"] = nil
	if len(builds) > 0 {
		o["lastBuild"] = builds[0]
	}
	o["inQueue"], o["queueItem"] = false, nil
	for _, q := range s.queue {
		if q.job == i {
			o["inQueue"], o["queueItem"] = true, s.queueItem(q, root)
		}
	}
	return o
}

// class is the item's class in the remote API.
func (i *item) class() string {
	if i.Freestyle {
		return "hudson.model.FreeStyleProject"
	}
	return []string{classFolder, classMultibranch, classJob}[i.kind]
}

// description is what the item's page says, nil if that is nothing.
func (i *item) description() any {
	if i.doc == nil || i.doc.kid("description").value() == "" {
		return nil
	}
	return i.doc.kid("description").value()
}

// list are the items below a folder, and what is below those, in short.
func (s *Server) list(name, root string) []any {
	jobs := []any{}
	for _, below := range s.below(name) {
		o := object{"_class": below.class(), "name": below.base(), "fullName": below.name, "url": root + below.path() + "/", "description": below.description()}
		if below.kind == job {
			o["color"] = "blue"
		} else {
			o["jobs"] = s.list(below.name, root)
		}
		jobs = append(jobs, o)
	}
	return jobs
}

// below are the items directly below a folder, by name. The caller holds mu.
func (s *Server) below(name string) []*item {
	var items []*item
	for n, i := range s.items {
		if n == "" {
			continue
		}
		dir := path.Dir(n)
		if dir == "." {
			dir = ""
		}
		if dir == name {
			items = append(items, i)
		}
	}
	slices.SortFunc(items, func(a, b *item) int { return strings.Compare(a.name, b.name) })
	return items
}
