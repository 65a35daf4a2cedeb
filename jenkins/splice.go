package jenkins

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// A config.xml is changed by replacing the bytes of what is ours and nothing else: what plugins and people put into it is
// theirs, and a decoder that does not know it would lose it.

// node is an element and where it stands: [start,end) with its tags, [inner,close) between them.
type node struct {
	name                     string
	attrs                    []xml.Attr
	start, inner, close, end int
	text                     string // of the element itself, not of its children
	kids                     []*node
}

// controls are references to control characters, which XML 1.1 allows and Go's decoder does not.
var controls = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`&#(x0*(1?[0-9a-fA-F]|7[fF])|0*([12]?[0-9]|3[01]|127));`)
})

// readable is a config.xml with what Go's decoder refuses replaced, byte for byte: Jenkins writes version 1.1 of XML.
func readable(text string) string {
	if head, rest, ok := strings.Cut(text, "?>"); ok && strings.HasPrefix(strings.TrimPrefix(head, "\ufeff"), "<?xml") {
		text = strings.Replace(head, "1.1", "1.0", 1) + "?>" + rest
	}
	return controls().ReplaceAllStringFunc(text, func(ref string) string {
		switch strings.TrimLeft(strings.ToLower(strings.Trim(ref, "&#;")), "0") {
		case "9", "10", "13", "x9", "x09", "xa", "x0a", "xd", "x0d":
			return ref
		}
		return strings.Repeat("?", len(ref))
	})
}

// parseConfig reads a config.xml.
func parseConfig(text string) (*node, error) {
	decoder := xml.NewDecoder(strings.NewReader(readable(text)))
	var root *node
	var open []*node
	for {
		at := int(decoder.InputOffset())
		token, err := decoder.Token()
		switch {
		case err == io.EOF && root != nil && len(open) == 0:
			return root, nil
		case err == io.EOF:
			return nil, errors.New("a configuration that ends too early")
		case err != nil:
			return nil, fmt.Errorf("a configuration that cannot be read: %s", oneLine(err.Error()))
		}
		switch t := token.(type) {
		case xml.StartElement:
			n := &node{name: t.Name.Local, attrs: slices.Clone(t.Attr), start: at, inner: int(decoder.InputOffset())}
			switch {
			case len(open) > 0:
				above := open[len(open)-1]
				above.kids = append(above.kids, n)
			case root != nil:
				return nil, errors.New("a configuration with two roots")
			default:
				root = n
			}
			open = append(open, n)
		case xml.EndElement:
			n := open[len(open)-1]
			open = open[:len(open)-1]
			n.close, n.end = at, int(decoder.InputOffset())
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].text += string(t)
			}
		}
	}
}

// kid is the first child of a name. A node that is not there has none.
func (n *node) kid(name string) *node {
	for _, k := range n.children() {
		if k.name == name {
			return k
		}
	}
	return nil
}

func (n *node) children() []*node {
	if n == nil {
		return nil
	}
	return n.kids
}

// all are the elements of a name below, however deep, in order.
func (n *node) all(name string) []*node {
	var list []*node
	for _, k := range n.children() {
		if k.name == name {
			list = append(list, k)
		}
		list = append(list, k.all(name)...)
	}
	return list
}

func (n *node) attr(name string) string {
	if n != nil {
		for _, a := range n.attrs {
			if a.Name.Local == name {
				return a.Value
			}
		}
	}
	return ""
}

func (n *node) value() string {
	if n == nil {
		return ""
	}
	return n.text
}

// put replaces the child of a name below a node by XML, or adds it.
func put(text string, n *node, name, with string) string {
	if k := n.kid(name); k != nil {
		return text[:k.start] + with + text[k.end:]
	}
	if n.inner == n.end { // <name/>
		open := strings.TrimRight(strings.TrimSuffix(text[n.start:n.end], "/>"), " \t\r\n")
		return text[:n.start] + open + ">" + with + "</" + n.name + ">" + text[n.end:]
	}
	return text[:n.close] + with + text[n.close:]
}

// Splice is a job's config.xml with the values of p in place of its own, and every other byte as it was.
func (p Pipeline) Splice(text string) (string, error) {
	// Each step looks at the text that the one before has left.
	step := func(differs func(found Pipeline) bool, edit func(root *node) string) error {
		root, err := parseConfig(text)
		if err != nil {
			return err
		}
		if root.name != "flow-definition" {
			return fmt.Errorf("the configuration of a %s, not of a pipeline job", oneLine(root.name))
		}
		if differs(root.pipeline().Plain()) {
			text = edit(root)
		}
		return nil
	}
	want, before := p.Plain(), text
	steps := []struct {
		differs func(Pipeline) bool
		edit    func(*node) string
	}{
		{func(f Pipeline) bool { return f.Description != want.Description },
			func(root *node) string { return put(text, root, "description", element("description", p.Description)) }},
		{func(f Pipeline) bool { return f.Source != "" },
			func(root *node) string { return put(text, root, "definition", p.definitionXML()) }},
		{func(f Pipeline) bool { return f.Script != want.Script },
			func(root *node) string {
				return put(text, root.kid("definition"), "script", element("script", p.Script))
			}},
		{func(f Pipeline) bool { return f.Sandbox != want.Sandbox },
			func(root *node) string {
				return put(text, root.kid("definition"), "sandbox", element("sandbox", fmt.Sprint(p.Sandbox)))
			}},
		{func(f Pipeline) bool { return f.Disabled != want.Disabled },
			func(root *node) string {
				return put(text, root, "disabled", element("disabled", fmt.Sprint(p.Disabled)))
			}},
		{func(f Pipeline) bool { return len(f.Triggers) > 0 },
			func(root *node) string {
				if k := root.kid("properties").kid(classTriggers); k != nil {
					return text[:k.start] + text[k.end:]
				}
				return text
			}},
		{func(f Pipeline) bool { return len(f.Triggers) > 0 },
			func(root *node) string { return put(text, root, "triggers", "<triggers/>") }},
		{func(f Pipeline) bool {
			return !f.ByRun && !slices.EqualFunc(f.Parameters, want.Parameters, JobParameter.equal)
		},
			func(root *node) string {
				properties := root.kid("properties")
				switch property := properties.kid(classParameters); {
				case properties == nil:
					return put(text, root, "properties", "<properties>"+p.parametersXML()+"</properties>")
				case property == nil:
					return put(text, properties, classParameters, p.parametersXML())
				default:
					return put(text, property, "parameterDefinitions", p.definitionsXML())
				}
			}},
		{func(f Pipeline) bool { return text != before && !f.Tracked && !f.ByRun },
			func(root *node) string {
				actions := root.kid("actions")
				tracker := actions.kid(classTracker)
				switch set := tracker.kid("jobPropertyDescriptors"); {
				case actions == nil:
					return put(text, root, "actions", "<actions>"+trackerXML+"</actions>")
				case tracker == nil:
					return put(text, actions, classTracker, trackerXML)
				case set == nil:
					return put(text, tracker, "jobPropertyDescriptors", setXML)
				default: // of other properties
					return put(text, set, "", trackedXML)
				}
			}},
	}
	for _, s := range steps {
		if err := step(s.differs, s.edit); err != nil {
			return "", err
		}
	}
	if found, err := ReadPipeline(text); err != nil || !found.Equal(p) {
		return "", errors.Join(errors.New("the configuration has a form that cannot be changed safely"), err)
	}
	return text, nil
}
