package github

// The owners of files (https://docs.github.com/en/repositories/managing-your-repositorys-settings-and-features/customizing-your-repository/about-code-owners).

import (
	"regexp"
	"slices"
	"strings"
)

// codeOwners are those who own any of the paths, in the order of the file. The last line that fits a path counts; a line
// without owners says that nobody owns it. Lines that GitHub would not take are passed over, as GitHub does.
func codeOwners(text string, paths []string) []string {
	type line struct {
		fits   *regexp.Regexp
		owners []string
	}
	var lines []line
	for l := range strings.Lines(text) {
		l, _, _ = strings.Cut(strings.TrimSpace(l), " #")
		if l == "" || strings.HasPrefix(l, "#") {
			continue
		}
		fields := strings.Fields(strings.ReplaceAll(l, `\ `, "\x00"))
		re := ownersPattern(strings.ReplaceAll(fields[0], "\x00", " "))
		if re == nil {
			continue
		}
		var owners []string
		for _, o := range fields[1:] {
			if strings.HasPrefix(o, "@") { // addresses cannot be asked for a review
				owners = append(owners, o)
			}
		}
		lines = append(lines, line{re, owners})
	}
	var out []string
	for _, p := range paths {
		for _, l := range slices.Backward(lines) {
			if !l.fits.MatchString(p) {
				continue
			}
			for _, o := range l.owners {
				if !slices.Contains(out, o) {
					out = append(out, o)
				}
			}
			break
		}
	}
	return out
}

// ownersPattern turns a pattern into a regular expression. It is .gitignore's form without !, [ ] and escapes.
func ownersPattern(p string) *regexp.Regexp {
	if strings.ContainsAny(p, "![]") || strings.HasPrefix(p, `\#`) {
		return nil
	}
	anchored := strings.Contains(strings.TrimSuffix(p, "/"), "/")
	dir := strings.HasSuffix(p, "/")
	p = strings.Trim(p, "/")
	var b strings.Builder
	b.WriteString("^")
	if !anchored {
		b.WriteString("(?:.*/)?")
	}
	for i := 0; i < len(p); i++ {
		switch {
		case strings.HasPrefix(p[i:], "**/"):
			b.WriteString("(?:.*/)?")
			i += 2
		case strings.HasPrefix(p[i:], "**"):
			b.WriteString(".*")
			i++
		case p[i] == '*':
			b.WriteString("[^/]*")
		case p[i] == '?':
			b.WriteString("[^/]")
		default:
			b.WriteString(regexp.QuoteMeta(p[i : i+1]))
		}
	}
	switch {
	case dir:
		b.WriteString("/.*$")
	case strings.HasSuffix(p, "/*"): // docs/* owns the files of docs, not those of the folders below
		b.WriteString("$")
	default:
		b.WriteString("(?:/.*)?$")
	}
	re, err := regexp.Compile(b.String())
	if err != nil {
		return nil
	}
	return re
}
