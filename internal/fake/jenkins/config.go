package jenkins

import (
	"encoding/xml"
	"io"
	"mime"
	"net/http"
	"strings"
)

// config.xml and createItem: as much of a job's XML as this controller acts on, and no more.

type (
	configXML struct {
		XMLName    xml.Name
		Properties struct {
			Parameters struct {
				Definitions struct {
					List []definitionXML `xml:",any"`
				} `xml:"parameterDefinitions"`
			} `xml:"hudson.model.ParametersDefinitionProperty"`
		} `xml:"properties"`
		Disabled string `xml:"disabled,omitempty"`
	}
	definitionXML struct {
		XMLName xml.Name
		Name    string `xml:"name"`
		Default string `xml:"defaultValue,omitempty"`
		Choices struct {
			Array struct {
				Strings []string `xml:"string"`
			} `xml:"a"`
		} `xml:"choices"`
	}
)

// roots are the root elements of what can be created.
var roots = map[string]kind{"flow-definition": job, "project": job, classFolder: folder, classMultibranch: multibranch}

// readConfig reads an item from XML.
func readConfig(text []byte) (*item, error) {
	var c configXML
	// Jenkins writes XML 1.1, which Go does not read; the difference is in control characters.
	text = []byte(strings.Replace(string(text), "version='1.1'", "version='1.0'", 1))
	text = []byte(strings.Replace(string(text), `version="1.1"`, `version="1.0"`, 1))
	if err := xml.Unmarshal(text, &c); err != nil {
		return nil, err
	}
	k, ok := roots[c.XMLName.Local]
	if !ok {
		return nil, xml.UnmarshalError("com.thoughtworks.xstream.mapper.CannotResolveClassException: " + c.XMLName.Local)
	}
	i := &item{kind: k}
	i.Disabled = c.Disabled == "true"
	i.Freestyle = c.XMLName.Local == "project"
	for _, d := range c.Properties.Parameters.Definitions.List {
		class := strings.TrimSuffix(strings.TrimPrefix(d.XMLName.Local, "hudson.model."), "ParameterDefinition")
		i.Parameters = append(i.Parameters, Parameter{Kind: class, Name: d.Name, Default: d.Default, Choices: d.Choices.Array.Strings})
	}
	return i, nil
}

// writeConfig is an item as XML.
func (i *item) writeConfig() ([]byte, error) {
	root := map[kind]string{folder: classFolder, multibranch: classMultibranch, job: "flow-definition"}[i.kind]
	c := configXML{XMLName: xml.Name{Local: root}, Disabled: map[bool]string{true: "true", false: "false"}[i.Disabled]}
	for _, p := range i.Parameters {
		d := definitionXML{XMLName: xml.Name{Local: "hudson.model." + p.Kind + "ParameterDefinition"}, Name: p.Name, Default: p.Default}
		d.Choices.Array.Strings = p.Choices
		c.Properties.Parameters.Definitions.List = append(c.Properties.Parameters.Definitions.List, d)
	}
	b, err := xml.MarshalIndent(c, "", "  ")
	return append([]byte("<?xml version='1.1' encoding='UTF-8'?>\n"), b...), err
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
		b, err := i.writeConfig()
		s.mu.Unlock()
		if err != nil {
			fail(w, err.Error())
			return
		}
		w.Header().Set("Content-Type", "application/xml")
		w.Header().Set("X-Jenkins", Version)
		_, _ = w.Write(b)
		return
	}
	posted := bodyXML(w, r)
	if posted == nil {
		return
	}
	s.mu.Lock()
	i.Parameters, i.Disabled = posted.Parameters, posted.Disabled
	s.change()
	s.mu.Unlock()
	w.Header().Set("X-Jenkins", Version)
	w.WriteHeader(http.StatusOK)
}

func (s *Server) serveCreate(w http.ResponseWriter, r *http.Request, user, parent string) {
	if !post(w, r) || !s.may(w, user, "Job/Create") {
		return
	}
	name := r.URL.Query().Get("name")
	if name == "" || strings.ContainsAny(name, "?*/\\%!@#$^&|<>[]:;") {
		page(w, http.StatusBadRequest, "Error 400", "‘"+name+"’ is an unsafe name")
		return
	}
	posted := bodyXML(w, r)
	if posted == nil {
		return
	}
	if parent != "" {
		name = parent + "/" + name
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.items[name] != nil {
		page(w, http.StatusBadRequest, "Error 400", "A job already exists with the name ‘"+name+"’")
		return
	}
	posted.name = name
	s.items[name] = posted
	s.change()
	w.Header().Set("X-Jenkins", Version)
	w.WriteHeader(http.StatusOK)
}
