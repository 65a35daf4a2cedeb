package jenkins

import (
	"cmp"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
)

// A configuration as XStream stores it: version 1.1 of XML, two blanks of indentation, quotes and apostrophes escaped, fields
// in the order of their class, versions behind the names of plugins. Whoever reads back what it wrote meets other bytes.

// element is one element of a configuration. A nil element has no kids and no text.
type element struct {
	name  string
	attrs [][2]string
	text  string // of a leaf
	kids  []*element
}

func leaf(name, text string) *element { return &element{name: name, text: text} }

// parseDocument reads XML as far as XStream reads it.
func parseDocument(text []byte) (*element, error) {
	s := strings.TrimPrefix(string(text), "\ufeff")
	// Go does not read XML 1.1; the difference is in control characters.
	if head, rest, ok := strings.Cut(s, "?>"); ok && strings.HasPrefix(head, "<?xml") {
		s = strings.Replace(head, "1.1", "1.0", 1) + "?>" + rest
	}
	decoder := xml.NewDecoder(strings.NewReader(s))
	var open []*element
	var root *element
	for {
		token, err := decoder.Token()
		switch {
		case err == io.EOF && root != nil && len(open) == 0:
			return root, nil
		case err != nil:
			return nil, errors.New("org.xmlpull.v1.XmlPullParserException: " + err.Error())
		}
		switch t := token.(type) {
		case xml.StartElement:
			e := leaf(t.Name.Local, "")
			for _, a := range t.Attr {
				e.attrs = append(e.attrs, [2]string{a.Name.Local, a.Value})
			}
			switch {
			case len(open) > 0:
				above := open[len(open)-1]
				above.kids = append(above.kids, e)
			case root != nil:
				return nil, errors.New("org.xmlpull.v1.XmlPullParserException: only one root is allowed")
			default:
				root = e
			}
			open = append(open, e)
		case xml.EndElement:
			e := open[len(open)-1]
			if open = open[:len(open)-1]; len(e.kids) > 0 {
				e.text = ""
			}
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].text += string(t)
			}
		}
	}
}

// kid is the first kid of a name, nil if there is none.
func (e *element) kid(name string) *element {
	if e == nil {
		return nil
	}
	if i := slices.IndexFunc(e.kids, func(k *element) bool { return k.name == name }); i >= 0 {
		return e.kids[i]
	}
	return nil
}

// put is the kid of a name, made if there is none.
func (e *element) put(name string) *element {
	k := e.kid(name)
	if k == nil {
		k = leaf(name, "")
		e.kids = append(e.kids, k)
	}
	return k
}

func (e *element) drop(name string) {
	e.kids = slices.DeleteFunc(e.kids, func(k *element) bool { return k.name == name })
}

func (e *element) value() string {
	if e == nil {
		return ""
	}
	return e.text
}

// all are the elements of a name, however deep, in order.
func (e *element) all(name string) []*element {
	var list []*element
	for _, k := range e.kids {
		if k.name == name {
			list = append(list, k)
		}
		list = append(list, k.all(name)...)
	}
	return list
}

func (e *element) set(attr, value string) {
	for i := range e.attrs {
		if e.attrs[i][0] == attr {
			e.attrs[i][1] = value
			return
		}
	}
	e.attrs = append(e.attrs, [2]string{attr, value})
}

// versions are the plugins of this controller.
var versions = map[string]string{
	"workflow-job": "1540.v295eccc9778f", "workflow-cps": "4106.v7a_8a_8176d450", "workflow-multibranch": "806.vb_b_688f609ee9",
	"cloudbees-folder": "6.1026.ve06c0e8d7e0c", "git": "5.7.0", "pipeline-groovy-lib": "752.vdddedf804e72",
}

// owners are the plugins that the classes of roots belong to.
var owners = map[string]string{"flow-definition": "workflow-job", classFolder: "cloudbees-folder", classMultibranch: "workflow-multibranch"}

// fields are those of a pipeline job, in the order in which they are written. The ones with a default are always written.
var fields = []struct {
	name, standard string
	always         bool
}{
	{"actions", "", true}, {"description", "", true}, {"displayName", "", false}, {"keepDependencies", "false", true}, {"properties", "", true},
	{"definition", "", false}, {"triggers", "", true}, {"authToken", "", false}, {"quietPeriod", "", false}, {"disabled", "false", true},
}

// normalise does to a document what loading and saving does.
func (e *element) normalise() {
	if plugin := owners[e.name]; plugin != "" {
		e.set("plugin", plugin)
	}
	if e.name == "flow-definition" {
		for _, f := range fields {
			if f.always && e.kid(f.name) == nil {
				e.kids = append(e.kids, leaf(f.name, f.standard))
			}
		}
		order := func(k *element) int {
			for i, f := range fields {
				if f.name == k.name {
					return i
				}
			}
			return len(fields)
		}
		slices.SortStableFunc(e.kids, func(a, b *element) int { return cmp.Compare(order(a), order(b)) })
	}
	e.tidy()
}

func (e *element) tidy() {
	for i, a := range e.attrs {
		if name, _, _ := strings.Cut(a[1], "@"); a[0] == "plugin" && versions[name] != "" {
			e.attrs[i][1] = name + "@" + versions[name]
		}
	}
	if e.name == "hudson.model.StringParameterDefinition" && e.kid("trim") == nil {
		e.put("trim").text = "false"
	}
	for _, k := range e.kids {
		k.tidy()
	}
}

var (
	escapeText = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;", "\r", "&#xd;")
	header     = "<?xml version='1.1' encoding='UTF-8'?>\n"
)

// String is the document as it lies on the disk.
func (e *element) String() string {
	var b strings.Builder
	b.WriteString(header)
	e.write(&b, "")
	return b.String()
}

func (e *element) write(b *strings.Builder, indent string) {
	b.WriteString(indent + "<" + e.name)
	for _, a := range e.attrs {
		b.WriteString(" " + a[0] + `="` + escapeText.Replace(a[1]) + `"`)
	}
	switch {
	case len(e.kids) > 0:
		b.WriteString(">\n")
		for _, k := range e.kids {
			k.write(b, indent+"  ")
			b.WriteString("\n")
		}
		b.WriteString(indent + "</" + e.name + ">")
	case e.text != "":
		b.WriteString(">" + escapeText.Replace(e.text) + "</" + e.name + ">")
	default:
		b.WriteString("/>")
	}
}
