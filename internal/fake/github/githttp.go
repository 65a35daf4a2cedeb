package github

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
)

// updateHook is what a push is held against, ref by ref; the rules come in the environment, a line each: ref, rule, text.
// A rule "refuse" holds always, "workflow", "signed" and "linear" look at the commits that come with the push, "force" at
// what goes.
const updateHook = `#!/bin/sh
ref=$1 old=$2 new=$3
tab=$(printf '\t')
zero=0000000000000000000000000000000000000000
no() {
	echo "error: $1" >&2
	exit 1
}
case $ref in refs/pull/*) no "deny updating a hidden ref" ;; esac
printf '%s\n' "$FAKE_GITHUB_RULES" | while IFS="$tab" read -r on rule text; do
	[ "$on" = "$ref" ] || [ "$on" = '*' ] || continue
	case $rule in
	refuse) no "$text" ;;
	force)
		[ "$old" = $zero ] || { [ "$new" != $zero ] && git merge-base --is-ancestor "$old" "$new"; } || no "$text"
		;;
	esac
	[ "$new" = $zero ] && continue
	case $rule in
	linear) [ -z "$(git rev-list --min-parents=2 "$new" --not --all)" ] || no "$text" ;;
	workflow) [ -z "$(git log --format= --name-only -m "$new" --not --all -- .github/workflows)" ] || no "$text" ;;
	signed)
		for c in $(git rev-list "$new" --not --all); do
			git cat-file commit "$c" | sed '/^$/q' | grep -q '^gpgsig' || no "$text"
		done
		;;
	esac
done
`

// gitRequest takes a request of a git client apart: "acme/payments", "upload-pack" and the rest of the path.
func gitRequest(r *http.Request) (repo, service, rest string, ok bool) {
	p := strings.TrimPrefix(r.URL.Path, "/")
	parts := strings.SplitN(p, "/", 3)
	if len(parts) != 3 {
		return "", "", "", false
	}
	repo = parts[0] + "/" + strings.TrimSuffix(parts[1], ".git")
	switch parts[2] {
	case "info/refs":
		return repo, "info-refs", parts[2], true
	case "git-upload-pack", "git-receive-pack":
		return repo, strings.TrimPrefix(parts[2], "git-"), parts[2], true
	}
	return "", "", "", false
}

// pushRules are the lines for updateHook.
func (r *Repository) pushRules(who *access, branches []string) string {
	var b strings.Builder
	line := func(ref, rule, text string) {
		fmt.Fprintf(&b, "%s\t%s\t%s\n", ref, rule, strings.Join(strings.Fields(text), " "))
	}
	for _, name := range branches {
		p, ref := r.rules(name), "refs/heads/"+name
		if p.Branch == "" {
			continue
		}
		text := func(why string) string { return "GH013: " + p.refusal(why) }
		if p.Classic {
			text = func(why string) string { return "GH006: Protected branch update failed for " + ref + ". " + why }
		}
		exists := r.Head(name) != ""
		switch {
		case !exists && p.NoCreation:
			line(ref, "refuse", text("Cannot create ref due to creations being restricted."))
		case exists && p.MergeQueue:
			line(ref, "refuse", text("Changes must be made through the merge queue"))
		case exists && p.PullRequest:
			line(ref, "refuse", text("Changes must be made through a pull request."))
		case exists && len(p.Checks) > 0:
			line(ref, "refuse", text(checksText(r.missingChecks(p, ""))))
		}
		if p.NoForcePush {
			line(ref, "force", text("Cannot force-push to this branch"))
		}
		if p.LinearHistory && exists {
			line(ref, "linear", text("This branch must not contain merge commits."))
		}
		if p.SignedCommits {
			line(ref, "signed", text("Commits must have verified signatures."))
		}
	}
	if !who.can("workflows:write") {
		line("*", "workflow", who.workflowText(workflows))
	}
	return b.String()
}

// serveGit is git's own protocol over HTTP. https://git-scm.com/docs/http-protocol
func (s *Server) serveGit(w http.ResponseWriter, r *http.Request, name, service, rest string) {
	pushing := service == "receive-pack" || service == "info-refs" && r.URL.Query().Get("service") == "git-receive-pack"
	var who *access
	var repo *Repository
	var moved string
	anonymous := true
	s.mu.Lock()
	if _, password, ok := r.BasicAuth(); ok {
		anonymous = false
		who = s.valid(password)
	} else if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		anonymous = false
		who = s.valid(token)
	}
	repo = s.lookup(name)
	if repo != nil && !strings.EqualFold(repo.full(), name) {
		moved = repo.full()
	}
	visible := repo != nil && who.sees(repo)
	mayRead, mayWrite := who.can("contents:read"), who != nil && who.can("contents:write") && repo != nil && !repo.archived
	s.mu.Unlock()

	refuse := func(status int, text string) {
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text) // the client may be gone
	}
	switch {
	case !anonymous && who == nil || anonymous && (repo == nil || !repo.public || pushing):
		w.Header().Set("WWW-Authenticate", `Basic realm="GitHub"`)
		refuse(http.StatusUnauthorized, "Repository not found.")
		return
	case !visible:
		refuse(http.StatusNotFound, "Repository not found.")
		return
	case moved != "":
		to := "/" + moved + ".git/" + rest
		if r.URL.RawQuery != "" {
			to += "?" + r.URL.RawQuery
		}
		http.Redirect(w, r, to, http.StatusMovedPermanently)
		return
	case !mayRead || pushing && !mayWrite:
		refuse(http.StatusForbidden, "Permission to "+name+".git denied.")
		return
	}

	command := "upload-pack"
	if pushing {
		command = "receive-pack"
	}
	w.Header().Set("Cache-Control", "no-cache")
	if service == "info-refs" {
		if r.Method != http.MethodGet || r.URL.Query().Get("service") != "git-"+command {
			refuse(http.StatusForbidden, "Please upgrade your git client.")
			return
		}
		out, err := s.gitService(r, repo, command, nil, "", "--http-backend-info-refs")
		if err != nil {
			s.violation("git:info-refs", "the fake itself", err)
			refuse(http.StatusInternalServerError, err.Error())
			return
		}
		w.Header().Set("Content-Type", "application/x-git-"+command+"-advertisement")
		if r.Header.Get("Git-Protocol") != "version=2" || pushing {
			line := "# service=git-" + command + "\n"
			_, _ = fmt.Fprintf(w, "%04x%s0000", len(line)+4, line)
		}
		_, _ = w.Write(out) // the client may be gone
		return
	}
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-git-"+command+"-request" {
		refuse(http.StatusUnsupportedMediaType, "Unsupported Media Type")
		return
	}
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			refuse(http.StatusBadRequest, err.Error())
			return
		}
		defer z.Close()
		body = z
	}
	w.Header().Set("Content-Type", "application/x-git-"+command+"-result")
	if !pushing {
		if err := s.stream(w, r, repo, body); err != nil && r.Context().Err() == nil {
			panic(http.ErrAbortHandler) // git said why to the client; what is sent is sent
		}
		return
	}
	var out []byte
	var err error
	s.do(func() {
		var before []ref
		if before, err = repo.git.refs("refs/heads/"); err != nil {
			return
		}
		commands, branches, e := pushCommands(body)
		if err = e; err != nil {
			return
		}
		rules := repo.pushRules(who, branches)
		out, err = s.gitService(r, repo, "receive-pack", io.MultiReader(bytes.NewReader(commands), body), rules)
		if err == nil {
			err = repo.noticed(before, who.login)
		}
	})
	if err != nil {
		s.violation("git:receive-pack", "the fake itself", err)
		refuse(http.StatusInternalServerError, err.Error())
		return
	}
	_, _ = w.Write(out) // the client may be gone
}

// pushCommands reads the head of a push, pkt-lines "old new ref" up to the flush, and the branches in them.
func pushCommands(body io.Reader) (all []byte, branches []string, err error) {
	for len(all) < 1<<20 {
		var size [4]byte
		if _, err := io.ReadFull(body, size[:]); err != nil {
			return nil, nil, err
		}
		all = append(all, size[:]...)
		n, err := strconv.ParseUint(string(size[:]), 16, 16)
		if err != nil {
			return nil, nil, err
		}
		if n < 4 {
			return all, branches, nil
		}
		line := make([]byte, n-4)
		if _, err := io.ReadFull(body, line); err != nil {
			return nil, nil, err
		}
		all = append(all, line...)
		text, _, _ := strings.Cut(string(line), "\x00")
		if f := strings.Fields(text); len(f) == 3 {
			if branch, ok := strings.CutPrefix(f[2], "refs/heads/"); ok {
				branches = append(branches, branch)
			}
		}
	}
	return nil, nil, errors.New("the push names too many refs")
}

func (s *Server) gitCommand(r *http.Request, repo *Repository, command, rules string, args ...string) *exec.Cmd {
	ctx := context.WithoutCancel(r.Context())
	c := exec.CommandContext(ctx, "git", append(append([]string{command, "--stateless-rpc"}, args...), ".")...)
	c.Dir, c.Env = repo.git.dir, append(append([]string(nil), repo.git.env...), "FAKE_GITHUB_RULES="+rules)
	if v := r.Header.Get("Git-Protocol"); v == "version=2" || v == "version=1" {
		c.Env = append(c.Env, "GIT_PROTOCOL="+v)
	}
	return c
}

func (s *Server) gitService(r *http.Request, repo *Repository, command string, in io.Reader, rules string, args ...string) ([]byte, error) {
	c := s.gitCommand(r, repo, command, rules, args...)
	c.Stdin = in
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil && len(out) == 0 {
		return nil, fmt.Errorf("git %s: %w: %s", command, err, errs.String())
	}
	return out, nil
}

// stream serves a fetch, which may be large.
func (s *Server) stream(w io.Writer, r *http.Request, repo *Repository, in io.Reader) error {
	c := s.gitCommand(r, repo, "upload-pack", "")
	c.Stdin, c.Stdout = in, w
	return c.Run()
}
