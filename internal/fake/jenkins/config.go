package jenkins

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
)

// config.xml and createItem: what is posted is stored as Jenkins stores it (document.go), and acted on as far as this
// controller acts at all: parameters and the switch.

// roots are the root elements of what can be created.
var roots = map[string]kind{"flow-definition": job, "project": job, classFolder: folder, classMultibranch: multibranch}

const (
	classParameters = "hudson.model.ParametersDefinitionProperty"
	classSequential = "org.jenkinsci.plugins.workflow.job.properties.DisableConcurrentBuildsJobProperty"
	classTracker    = "org.jenkinsci.plugins.workflow.multibranch.JobPropertyTrackerAction"
)

// readConfig reads an item from XML.
func readConfig(text []byte) (*item, error) {
	d, err := parseDocument(text)
	if err != nil {
		return nil, err
	}
	k, ok := roots[d.name]
	if !ok {
		return nil, fmt.Errorf("com.thoughtworks.xstream.mapper.CannotResolveClassException: %s", d.name)
	}
	d.normalise()
	i := &item{kind: k, doc: d}
	i.Freestyle = d.name == "project"
	i.Disabled = d.kid("disabled").value() == "true"
	i.Parameters = d.parameters()
	return i, nil
}

// parameters are the definitions that a document has.
func (d *element) parameters() []Parameter {
	var list []Parameter
	definitions := d.kid("properties").kid(classParameters).kid("parameterDefinitions")
	if definitions == nil {
		return nil
	}
	for _, k := range definitions.kids {
		p := Parameter{
			Kind: strings.TrimSuffix(strings.TrimPrefix(k.name, "hudson.model."), "ParameterDefinition"),
			Name: k.kid("name").value(), Default: k.kid("defaultValue").value(), Description: k.kid("description").value(),
		}
		if choices := k.kid("choices"); choices != nil {
			for _, s := range choices.all("string") {
				p.Choices = append(p.Choices, s.text)
			}
		}
		list = append(list, p)
	}
	return list
}

// document is the item's configuration as it is stored now. The caller holds mu.
func (i *item) document() *element {
	if i.doc == nil { // made by a test
		i.doc = leaf(map[kind]string{folder: classFolder, multibranch: classMultibranch, job: "flow-definition"}[i.kind], "")
		if i.Freestyle {
			i.doc.name = "project"
		}
	}
	d := i.doc
	if i.kind == job {
		d.put("disabled").text = fmt.Sprint(i.Disabled)
		if !slices.EqualFunc(d.parameters(), i.Parameters, Parameter.equal) {
			d.put("properties").drop(classParameters)
			if len(i.Parameters) > 0 {
				definitions := d.put("properties").put(classParameters).put("parameterDefinitions")
				for _, p := range i.Parameters {
					definitions.kids = append(definitions.kids, p.element())
				}
			}
		}
	}
	d.normalise()
	return d
}

func (p Parameter) equal(q Parameter) bool {
	return p.Kind == q.Kind && p.Name == q.Name && p.Default == q.Default && p.Description == q.Description && slices.Equal(p.Choices, q.Choices)
}

func (p Parameter) element() *element {
	e := leaf("hudson.model."+p.Kind+"ParameterDefinition", "")
	e.put("name").text = p.Name
	if p.Description != "" {
		e.put("description").text = p.Description
	}
	if p.Kind != "Choice" {
		e.put("defaultValue").text = p.Default
		return e
	}
	choices := e.put("choices")
	choices.set("class", "java.util.Arrays$ArrayList")
	array := choices.put("a")
	array.set("class", "string-array")
	for _, c := range p.Choices {
		array.kids = append(array.kids, leaf("string", c))
	}
	return e
}

// Properties is the step of that name: it gives the build's job these parameters, one build at a time if sequential, and
// leaves the note from which Jenkins tells later that a run has set them
// (https://www.jenkins.io/doc/pipeline/steps/workflow-multibranch/). What the note of the run before does not name it does not
// replace: without one, parameters that the job has otherwise are there twice
// (https://github.com/jenkinsci/workflow-multibranch-plugin, JobPropertyStep).
func (b *Build) Properties(parameters []Parameter, sequential bool) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	i := b.job
	d := i.document()
	var others []Parameter
	tracker := d.kid("actions").kid(classTracker)
	if tracker == nil || !slices.ContainsFunc(tracker.all("string"), func(e *element) bool { return e.text == classParameters }) {
		others = i.Parameters
	}
	i.Parameters, i.Sequential = slices.Concat(others, parameters), sequential
	d = i.document()
	d.put("properties").drop(classSequential)
	if sequential {
		d.put("properties").put(classSequential).put("abortPrevious").text = "false"
	}
	d.put("actions").drop(classTracker)
	tracker = d.put("actions").put(classTracker)
	tracker.set("plugin", "workflow-multibranch")
	set := tracker.put("jobPropertyDescriptors")
	set.kids = append(set.kids, leaf("string", classParameters))
	if sequential {
		set.kids = append(set.kids, leaf("string", classSequential))
	}
	b.s.change()
}

// Config is an item's config.xml, "" if there is none of that name.
func (s *Server) Config(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.items[name]; i != nil {
		return i.document().String()
	}
	return ""
}

// Configure changes an item's config.xml behind the API's back, as somebody at the page does.
func (s *Server) Configure(name string, change func(string) string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.items[name]
	if i == nil {
		return fmt.Errorf("there is no item %s", name)
	}
	posted, err := readConfig([]byte(change(i.document().String())))
	if err != nil {
		return err
	}
	i.doc, i.Parameters, i.Disabled = posted.doc, posted.Parameters, posted.Disabled
	s.change()
	return nil
}

// Remove deletes an item and what is below it.
func (s *Server) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range s.items {
		if n == name || strings.HasPrefix(n, name+"/") {
			delete(s.items, n)
		}
	}
	s.change()
}

// bodyXML reads a posted config.
func bodyXML(w http.ResponseWriter, r *http.Request) *item {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if media != "application/xml" && media != "text/xml" {
		page(w, http.StatusBadRequest, "Error 400", "No mode given")
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, maxForm))
	if err == nil {
		var i *item
		if i, err = readConfig(b); err == nil {
			return i
		}
	}
	fail(w, err.Error())
	return nil
}

func (s *Server) serveConfig(w http.ResponseWriter, r *http.Request, user string, i *item) {
	if !s.may(w, user, "Job/Configure") {
		return
	}
	if r.Method != http.MethodPost {
		if !get(w, r) {
			return
		}
		s.mu.Lock()
		text := i.document().String()
		s.mu.Unlock()
		w.Header().Set("Content-Type", "application/xml")
		w.Header().Set("X-Jenkins", Version)
		_, _ = io.WriteString(w, text)
		return
	}
	posted := bodyXML(w, r)
	if posted == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if was := i.document().name; posted.doc.name != was {
		fail(w, fmt.Sprintf("java.io.IOException: Expecting class %s but got class %s instead", was, posted.doc.name))
		return
	}
	i.doc, i.Parameters, i.Disabled = posted.doc, posted.Parameters, posted.Disabled
	s.change()
	w.Header().Set("X-Jenkins", Version)
	w.WriteHeader(http.StatusOK)
}

// goodName is what Jenkins asks of an item's name (Jenkins.checkGoodName).
func goodName(name string) bool {
	return name != "" && name != "." && name != ".." && name == strings.TrimSpace(name) && !strings.ContainsAny(name, "?*/\\%!@#$^&|<>[]:;") &&
		!strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// failure is the page for what a person did wrong, with the reason in a header for programs.
func failure(w http.ResponseWriter, why string) {
	w.Header().Set("X-Error", why)
	page(w, http.StatusBadRequest, "Error 400", why)
}

func (s *Server) serveCreate(w http.ResponseWriter, r *http.Request, user, parent string) {
	if !post(w, r) || !s.may(w, user, "Job/Create") {
		return
	}
	name := r.URL.Query().Get("name")
	if !goodName(name) {
		failure(w, "'"+name+"' is an unsafe name")
		return
	}
	base := name
	if parent != "" {
		name = parent + "/" + name
	}
	exists := func() bool { // names differ by more than case
		for n := range s.items {
			if strings.EqualFold(n, name) {
				return true
			}
		}
		return false
	}
	s.mu.Lock()
	taken := exists()
	s.mu.Unlock()
	if taken {
		failure(w, "A job already exists with the name '"+base+"'")
		return
	}
	posted := bodyXML(w, r)
	if posted == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if exists() {
		failure(w, "A job already exists with the name '"+base+"'")
		return
	}
	posted.name = name
	s.items[name] = posted
	s.change()
	w.Header().Set("X-Jenkins", Version)
	w.WriteHeader(http.StatusOK)
}
