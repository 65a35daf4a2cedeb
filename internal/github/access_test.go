package github

import (
	"crypto/x509"
	"strings"
	"testing"

	fakegh "github.com/rollback-tools/rollback/internal/fake/github"
	"github.com/rollback-tools/rollback/internal/rollback"
)

// One call tells who we are and what we may do; as an App, which is no user, too.
func TestAccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegh.RepositoryOptions{AutoMerge: true})
	a, err := w.Access(t.Context())
	if err != nil || a.Who != fakegh.Login || a.Permission != "WRITE" || !a.MayWrite() || !a.AutoMerge || a.Archived || string(a.Head) != w.repo.Head("main") || a.Pushed.IsZero() {
		t.Errorf("%+v %v", a, err)
	}
	w.server.AddApp(fakegh.App{ID: 12, Installation: 345, Key: &appKey().PublicKey})
	app, _ := w.forge(Config{App: &App{ID: 12, Installation: 345, KeyFile: keyFile(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(appKey()))}})
	if a, err = app.Access(t.Context()); err != nil || a.Who != "GitHub App 12" || !a.MayWrite() {
		t.Errorf("%+v %v", a, err)
	}

	w.server.Deny("contents:write")
	if a, err = w.Access(t.Context()); err != nil || a.Permission != "READ" || a.MayWrite() {
		t.Errorf("read-only: %+v %v", a, err)
	}
	w.server.Deny()
	w.repo.Configure(func(o *fakegh.RepositoryOptions) { o.Archived = true })
	if a, err = w.Access(t.Context()); err != nil || !a.Archived || a.MayWrite() {
		t.Errorf("archived: %+v %v", a, err)
	}
	w.repo.Configure(func(o *fakegh.RepositoryOptions) { o.Archived = false })

	for _, c := range []struct {
		what string
		cfg  Config
		kind rollback.CallKind
		fix  string
	}{
		{"no such branch", Config{Token: fakegh.Token, Branch: "release"}, rollback.NotFound, "set branch in rollback.yaml"},
		{"no such repository", Config{Token: fakegh.Token, Repo: "acme/nothing"}, rollback.NotFound, "may see acme/nothing"},
		{"wrong token", Config{Token: "ghp_wrong0000000000000000000000000000", TokenFrom: "GITHUB_TOKEN"}, rollback.Expired, "GITHUB_TOKEN"},
	} {
		f, _ := w.forge(c.cfg)
		if _, err := f.Access(t.Context()); rollback.KindOf(err) != c.kind || !strings.Contains(rollback.FixOf(err), c.fix) {
			t.Errorf("%s: %v, fix %q", c.what, err, rollback.FixOf(err))
		}
	}
	w.repo.Rename("acme/ledger")
	if _, err := w.Access(t.Context()); rollback.KindOf(err) != rollback.Rejected || !strings.Contains(rollback.FixOf(err), "acme/ledger") {
		t.Errorf("renamed: %v", err)
	}
}
