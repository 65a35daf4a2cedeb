package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// mistake is what keeps a file from being YAML at all. line counts from 1.
type mistake struct {
	line, column int
	text         string
}

// root reads data into YAML nodes, without giving them a meaning: nil for a file with nothing but comments.
func root(data []byte) (*yaml.Node, *mistake) {
	if m := characters(data); m != nil {
		return nil, m
	}
	doc, second, err := documents(data)
	if err != nil {
		return nil, explain(data, err)
	}
	if second != nil {
		return nil, &mistake{max(second.Line, 1), 0, "a second document starts here: want one, remove this --- and join the two"}
	}
	if doc == nil || len(doc.Content) == 0 {
		return nil, nil
	}
	return doc.Content[0], nil
}

// characters refuses what no text file holds, before the YAML reader refuses it without a line.
func characters(data []byte) *mistake {
	if bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}) {
		return &mistake{1, 1, "the file is UTF-16: save it as UTF-8"}
	}
	line, column := 1, 1
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return &mistake{line, column, fmt.Sprintf("byte 0x%02x is not UTF-8: save the file as UTF-8", data[i])}
		case r == '\n':
			line, column = line+1, 0
		case r == '\r' && (i+1 == len(data) || data[i+1] != '\n'), r == 0x85, r == 0x2028, r == 0x2029: // YAML counts lines by them, editors do not
			return &mistake{line, column, fmt.Sprintf("line break U+%04X: end lines with LF or CR LF", r)}
		case r < ' ' && r != '\t' && r != '\r', r >= 0x7f && r <= 0x9f, r == 0xfffe, r == 0xffff, r == '\ufeff' && i > 0:
			return &mistake{line, column, fmt.Sprintf("character U+%04X is not allowed in YAML: remove it", r)}
		}
		i += size
		column++
	}
	return nil
}

// documents reads the first document and tells whether another one follows.
func documents(data []byte) (first, second *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil { // the library reports its own bugs so; for the user it is a file it cannot read
			err = errors.New("yaml: cannot be read as YAML")
		}
	}()
	d := yaml.NewDecoder(bytes.NewReader(data))
	var a, b yaml.Node
	switch err := d.Decode(&a); {
	case errors.Is(err, io.EOF):
		return nil, nil, nil
	case err != nil:
		return nil, nil, err
	}
	switch err := d.Decode(&b); {
	case errors.Is(err, io.EOF):
		return &a, nil, nil
	case err != nil:
		return nil, nil, err
	}
	return &a, &b, nil
}

// plainWords are the YAML library's messages and what they mean to somebody who edits a file.
var plainWords = []struct{ says, means string }{
	{"found character that cannot start any token", "this character cannot start a value: put the value in quotes, and indent with spaces, not with tabs"},
	{"tab character", "a tab is used for indentation: YAML wants spaces"},
	{"mapping values are not allowed in this context", "a key is not expected here: check the indentation, and put a value that holds \": \" in quotes"},
	{"could not find expected ':'", "a key without its colon: write key: value"},
	{"did not find expected key", "a key is expected here: check that the indentation is that of the keys above"},
	{"did not find expected '-' indicator", "the indentation does not fit the list above: each item starts with \"- \" in the same column"},
	{"did not find expected ',' or '}'", "a { is not closed, or a comma is missing between two keys"},
	{"did not find expected ',' or ']'", "a [ is not closed, or a comma is missing between two items"},
	{"did not find expected node content", "a value is expected here"},
	{"found unexpected end of stream", "a quote is opened and never closed"},
	{"found unexpected document indicator", "a quote is opened and not closed before the end of the document"},
	{"found unknown escape character", "unknown escape after a backslash: use single quotes for text with backslashes"},
	{"block sequence entries are not allowed", "a list is not expected here: put each \"- \" item on a line of its own"},
	{"did not find expected alphabetic or numeric character", "* and & start an alias or anchor in YAML: put the value in quotes"},
	{"exceeded max depth", "the nesting is too deep"},
	{"did not find expected <document start>", "nothing more is expected here: check that the indentation is that of the lines above"},
	{"directive", "a line that starts with % is a directive in YAML: put it in quotes or remove it"},
	{"undefined tag handle", "! starts a tag in YAML: put the value in quotes"},
	{"tag", "! starts a tag in YAML: put the value in quotes"},
}

var (
	atLine        = lazily(`^line (\d+): `)
	unknownAnchor = lazily(`^unknown anchor '(.*)' referenced$`)
)

// explain turns the library's message into plain words at the line where the trouble starts.
func explain(data []byte, err error) *mistake {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := troubled(data, err.Error())
	if m := unknownAnchor().FindStringSubmatch(text); m != nil {
		return &mistake{line, 0, fmt.Sprintf("alias *%s has no anchor &%[1]s above it", m[1])}
	}
	if m := atLine().FindStringSubmatch(text); m != nil {
		text = text[len(m[0]):]
		if line == 0 {
			line, _ = strconv.Atoi(m[1])
		}
	}
	line = max(line, 1)
	for _, w := range plainWords {
		if strings.Contains(text, w.says) {
			text = w.means
			break
		}
	}
	at := lineOf(data, line)
	switch indent := at[:len(at)-len(strings.TrimLeft(at, " \t"))]; {
	case strings.Contains(indent, "\t"):
		text = "a tab is used for indentation: YAML wants spaces"
	case needsQuotes(at):
		text = "a value with {service} or {environment} inside { } or [ ] needs quotes"
	}
	return &mistake{line, 0, text}
}

var unquoted = lazily(`[^"'\s{,\[:][^"',]*\{(service|environment)\}|\{(service|environment)\}[^"',}\s]`)

// needsQuotes tells whether a line has a placeholder without quotes inside a flow mapping or list, where braces end the value.
func needsQuotes(line string) bool {
	open := strings.IndexAny(line, "{[")
	if open < 0 || strings.HasPrefix(line[open:], inService) || strings.HasPrefix(line[open:], inEnvironment) {
		return false
	}
	return unquoted().MatchString(line[open+1:])
}

// troubled finds the line on which reading stops, because the library often names the start of the block around it, or
// no line at all: the shortest beginning of the file that fails in the same way ends there.
func troubled(data []byte, message string) int {
	ends := []int{0}
	for i, c := range data {
		if c == '\n' {
			ends = append(ends, i+1)
		}
	}
	if ends[len(ends)-1] != len(data) {
		ends = append(ends, len(data))
	}
	good, bad := 0, len(ends)-1 // in lines: good does not fail this way, bad does
	for good+1 < bad {
		middle := (good + bad) / 2
		if _, _, err := documents(data[:ends[middle]]); err != nil && err.Error() == message {
			bad = middle
		} else {
			good = middle
		}
	}
	return bad
}

func lineOf(data []byte, line int) string {
	for range line - 1 {
		_, rest, ok := bytes.Cut(data, []byte("\n"))
		if !ok {
			return ""
		}
		data = rest
	}
	first, _, _ := bytes.Cut(data, []byte("\n"))
	return string(first)
}
