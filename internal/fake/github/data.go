package github

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// This file is the git database: refs, commits, trees, blobs.

func (c *call) gitRef(name, sha string) obj {
	kind, where := "commit", "commits"
	if k, _, err := c.repo.git.read(sha); err == nil && k == "tag" {
		kind, where = "tag", "tags"
	}
	return obj{
		"ref": name, "node_id": c.repo.refNode(name), "url": c.repoURL() + "/git/" + escapePath(name),
		"object": obj{"type": kind, "sha": sha, "url": c.repoURL() + "/git/" + where + "/" + sha},
	}
}

// empty is the refusal of nearly everything in a repository without commits; nil if it has some.
func (c *call) empty() *answer {
	if c.repo.Head(c.repo.defaultBranch) != "" {
		return nil
	}
	if all, err := c.repo.git.refs("refs/heads/"); err == nil && len(all) > 0 {
		return nil
	}
	return fail(http.StatusConflict, "Git Repository is empty.")
}

func (c *call) getRef() *answer {
	if a := c.empty(); a != nil {
		return a
	}
	name := "refs/" + c.params["ref"]
	sha := c.repo.git.ref(name)
	if sha == "" {
		return notFound()
	}
	return ok(c.gitRef(name, sha))
}

func (c *call) listMatchingRefs() *answer {
	if a := c.empty(); a != nil {
		return a
	}
	all, err := c.repo.git.refs("refs/")
	if err != nil {
		return c.broken(err)
	}
	out := []obj{}
	for _, x := range all {
		if strings.HasPrefix(x.name, "refs/"+c.params["ref"]) {
			out = append(out, c.gitRef(x.name, x.sha))
		}
	}
	return ok(paged(c, out))
}

func (c *call) createRef() *answer {
	if a := c.empty(); a != nil {
		return a
	}
	var in struct{ Ref, SHA string }
	c.read(&in)
	if !refName(in.Ref) {
		return fail(http.StatusUnprocessableEntity, "Reference name must start with 'refs/' and contain at least two slashes.")
	}
	if strings.HasPrefix(in.Ref, "refs/pull/") {
		return fail(http.StatusUnprocessableEntity, "refs/pull/ is a hidden namespace")
	}
	if _, err := c.repo.git.commit(in.SHA); err != nil {
		if kind, _, err := c.repo.git.read(in.SHA); err != nil || kind != "tag" || strings.HasPrefix(in.Ref, "refs/heads/") {
			return fail(http.StatusUnprocessableEntity, "Object does not exist")
		}
	}
	if c.repo.git.ref(in.Ref) != "" {
		return fail(http.StatusUnprocessableEntity, "Reference already exists")
	}
	branch, isBranch := strings.CutPrefix(in.Ref, "refs/heads/")
	if why, err := c.workflowRefusal(in.SHA); err != nil {
		return c.broken(err)
	} else if why != "" {
		return fail(http.StatusUnprocessableEntity, "%s", why)
	}
	var err error
	if isBranch {
		if why := c.repo.direct(branch, "", in.SHA, false); why != "" {
			return fail(http.StatusUnprocessableEntity, "%s", why)
		}
		err = c.repo.move(branch, in.SHA, c.who.login, 0)
	} else {
		err = c.repo.git.setRef(in.Ref, in.SHA, noSHA)
	}
	if status(err) > 0 { // a directory where a file should be: refs/heads/a and refs/heads/a/b
		return fail(http.StatusUnprocessableEntity, "Reference update failed")
	}
	if err != nil {
		return c.broken(err)
	}
	a := created(c.gitRef(in.Ref, in.SHA))
	a.header = http.Header{"Location": {c.repoURL() + "/git/" + escapePath(in.Ref)}}
	return a
}

func (c *call) updateRef() *answer {
	var in struct {
		SHA   string
		Force bool
	}
	c.read(&in)
	name := "refs/" + c.params["ref"]
	before := c.repo.git.ref(name)
	if before == "" {
		return fail(http.StatusUnprocessableEntity, "Reference does not exist")
	}
	if _, err := c.repo.git.commit(in.SHA); err != nil {
		return fail(http.StatusUnprocessableEntity, "Object does not exist")
	}
	if !in.Force && !c.repo.git.isAncestor(before, in.SHA) {
		return fail(http.StatusUnprocessableEntity, "Update is not a fast forward")
	}
	if why, err := c.workflowRefusal(in.SHA); err != nil {
		return c.broken(err)
	} else if why != "" {
		return fail(http.StatusUnprocessableEntity, "%s", why)
	}
	var err error
	if branch, ok := strings.CutPrefix(name, "refs/heads/"); ok {
		if why := c.repo.direct(branch, before, in.SHA, in.Force); why != "" && before != in.SHA {
			return fail(http.StatusUnprocessableEntity, "%s", why)
		}
		err = c.repo.move(branch, in.SHA, c.who.login, 0)
	} else {
		err = c.repo.git.setRef(name, in.SHA, before)
	}
	if err != nil {
		return c.broken(err)
	}
	return ok(c.gitRef(name, in.SHA))
}

func (c *call) deleteRef() *answer {
	name := "refs/" + c.params["ref"]
	before := c.repo.git.ref(name)
	if before == "" {
		return fail(http.StatusUnprocessableEntity, "Reference does not exist")
	}
	var err error
	if branch, ok := strings.CutPrefix(name, "refs/heads/"); ok {
		if branch == c.repo.defaultBranch {
			return fail(http.StatusUnprocessableEntity, "Cannot delete the default branch")
		}
		if why := c.repo.direct(branch, before, "", false); why != "" {
			return fail(http.StatusUnprocessableEntity, "%s", why)
		}
		err = c.repo.move(branch, "", c.who.login, 0)
	} else {
		err = c.repo.git.setRef(name, "", before)
	}
	if err != nil {
		return c.broken(err)
	}
	return &answer{status: http.StatusNoContent}
}

func (c *call) getGitCommit() *answer {
	if a := c.empty(); a != nil {
		return a
	}
	k, err := c.repo.git.commit(c.params["commit_sha"])
	if err != nil {
		return notFound()
	}
	return ok(c.gitCommit(k))
}

func (c *call) createCommit() *answer {
	if a := c.empty(); a != nil {
		return a
	}
	type person struct {
		Name, Email string
		Date        time.Time
	}
	var in struct {
		Message, Tree, Signature string
		Parents                  []string
		Author, Committer        *person
	}
	c.read(&in)
	if in.Tree != emptyTree {
		if kind, _, err := c.repo.git.read(in.Tree); err != nil || kind != "tree" {
			return fail(http.StatusUnprocessableEntity, "Tree SHA does not exist")
		}
	}
	for _, p := range in.Parents {
		if _, err := c.repo.git.commit(p); err != nil {
			return fail(http.StatusUnprocessableEntity, "Parent SHA does not exist or is not a commit object")
		}
	}
	author := c.s.sign(c.who.login)
	committer := author
	if in.Author != nil {
		author = signature{in.Author.Name, in.Author.Email, in.Author.Date}
		if author.Time.IsZero() {
			author.Time = c.s.now()
		}
		committer = author
	}
	if in.Committer != nil {
		committer = signature{in.Committer.Name, in.Committer.Email, in.Committer.Date}
		if committer.Time.IsZero() {
			committer.Time = c.s.now()
		}
	}
	// A bot's commit with neither person nor signature given is committed and signed by GitHub.
	// https://docs.github.com/authentication/managing-commit-signature-verification/about-commit-signature-verification#signature-verification-for-bots
	bot := c.who.app != nil && in.Author == nil && in.Committer == nil && in.Signature == ""
	if bot {
		committer = c.s.github()
	}
	sha, err := c.repo.git.writeCommit(in.Tree, in.Parents, author, committer, in.Message)
	if err != nil {
		return c.broken(err)
	}
	if bot {
		c.repo.verified[sha] = true
	}
	k, err := c.repo.git.commit(sha)
	if err != nil {
		return c.broken(err)
	}
	return created(c.gitCommit(k))
}

func (c *call) treeJSON(sha string, recursive bool) (obj, error) {
	entries := []obj{}
	var walk func(sha, prefix string) error
	walk = func(sha, prefix string) error {
		list, err := c.repo.git.tree(sha)
		if err != nil {
			return err
		}
		for _, e := range list {
			o := obj{"path": prefix + e.name, "mode": e.full(), "type": e.kind(), "sha": e.sha}
			switch e.kind() {
			case "tree":
				o["url"] = c.repoURL() + "/git/trees/" + e.sha
			case "blob":
				_, data, err := c.repo.git.read(e.sha)
				if err != nil {
					return err
				}
				o["size"], o["url"] = len(data), c.repoURL()+"/git/blobs/"+e.sha
			}
			entries = append(entries, o)
			if recursive && e.kind() == "tree" {
				if err := walk(e.sha, prefix+e.name+"/"); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := walk(sha, ""); err != nil {
		return nil, err
	}
	return obj{"sha": sha, "url": c.repoURL() + "/git/trees/" + sha, "tree": entries, "truncated": false}, nil
}

func (c *call) getTree() *answer {
	if a := c.empty(); a != nil {
		return a
	}
	sha := c.params["tree_sha"]
	if commit := c.repo.resolve(sha); commit != "" {
		k, err := c.repo.git.commit(commit)
		if err != nil {
			return c.broken(err)
		}
		sha = k.tree
	}
	o, err := c.treeJSON(sha, c.query.Has("recursive"))
	if errors.Is(err, errNoObject) {
		return notFound()
	}
	if err != nil {
		return c.broken(err)
	}
	return ok(o)
}

func (c *call) createTree() *answer {
	if a := c.empty(); a != nil {
		return a
	}
	var in struct {
		BaseTree string `json:"base_tree"`
		Tree     []struct {
			Path, Mode, Type string
			SHA, Content     *string
		}
	}
	c.read(&in)
	base := in.BaseTree
	if k, err := c.repo.git.commit(base); err == nil {
		base = k.tree
	}
	if base != "" {
		if _, err := c.repo.git.tree(base); err != nil {
			return fail(http.StatusUnprocessableEntity, "base_tree is not a valid tree oid")
		}
	}
	var puts []entry
	for _, t := range in.Tree {
		if strings.HasPrefix(t.Path, workflows) && !c.who.can("workflows:write") {
			return notFound()
		}
		parts := strings.Split(t.Path, "/")
		if slices.Contains(parts, "") || slices.Contains(parts, ".") || slices.Contains(parts, "..") || slices.Contains(parts, ".git") {
			return fail(http.StatusUnprocessableEntity, "tree.path contains a malformed path component")
		}
		e := entry{mode: strings.TrimLeft(t.Mode, "0"), name: t.Path}
		switch {
		case t.Content != nil:
			sha, err := c.repo.git.write("blob", []byte(*t.Content))
			if err != nil {
				return c.broken(err)
			}
			e.sha = sha
		case t.SHA != nil:
			e.sha = *t.SHA
			if kind, _, err := c.repo.git.read(e.sha); e.kind() != "commit" && (err != nil || kind != e.kind()) {
				return fail(http.StatusUnprocessableEntity, "tree.sha %s is not a valid %s", e.sha, e.kind())
			}
		}
		puts = append(puts, e)
	}
	sha, err := c.repo.git.edit(base, puts)
	if err != nil {
		return c.broken(err)
	}
	o, err := c.treeJSON(sha, false)
	if err != nil {
		return c.broken(err)
	}
	return created(o)
}

func (c *call) createBlob() *answer {
	var in struct{ Content, Encoding string }
	c.read(&in)
	data := []byte(in.Content)
	if in.Encoding == "base64" {
		var err error
		if data, err = base64.StdEncoding.DecodeString(strings.ReplaceAll(in.Content, "\n", "")); err != nil {
			return fail(http.StatusUnprocessableEntity, "content is not valid Base64")
		}
	}
	sha, err := c.repo.git.write("blob", data)
	if err != nil {
		return c.broken(err)
	}
	return created(obj{"sha": sha, "url": c.repoURL() + "/git/blobs/" + sha})
}

func (c *call) getBlob() *answer {
	sha := c.params["file_sha"]
	kind, data, err := c.repo.git.read(sha)
	if err != nil || kind != "blob" {
		return notFound()
	}
	return ok(obj{
		"sha": sha, "node_id": c.repo.objectNode(sha), "size": len(data), "url": c.repoURL() + "/git/blobs/" + sha, "content": lines(data), "encoding": "base64",
	})
}

// lines is base64 in lines of 60, as GitHub writes it.
func lines(data []byte) string {
	text := base64.StdEncoding.EncodeToString(data)
	var b strings.Builder
	for len(text) > 0 {
		n := min(60, len(text))
		fmt.Fprintf(&b, "%s\n", text[:n])
		text = text[n:]
	}
	return b.String()
}
