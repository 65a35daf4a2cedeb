package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rollback-tools/rollback/internal/rollback"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, root+"/a/rollback.yaml", "")
	write(t, root+"/a/b/c/x", "")
	write(t, root+"/yml/rollback.yml", "")
	write(t, root+"/both/rollback.yml", "")
	write(t, root+"/both/rollback.yaml", "")
	write(t, root+"/a/dir/rollback.yaml/x", "")
	write(t, root+"/other.yaml", "")
	tests := []struct {
		why, explicit, variable, dir string
		path, name                   string
		err                          string
	}{
		{why: "in the directory", dir: "a", path: "a/rollback.yaml", name: "rollback.yaml"},
		{why: "upwards", dir: "a/b/c", path: "a/rollback.yaml", name: "../../rollback.yaml"},
		{why: "the other ending", dir: "yml", path: "yml/rollback.yml", name: "rollback.yml"},
		{why: "a directory of that name is passed by", dir: "a/dir", path: "a/rollback.yaml", name: "../rollback.yaml"},
		{why: "explicit before all", dir: "a", explicit: "../other.yaml", variable: "nowhere", path: "other.yaml", name: "../other.yaml"},
		{why: "variable before search", dir: "a", variable: "../other.yaml", path: "other.yaml", name: "../other.yaml"},
		{why: "both endings", dir: "both", err: "both exist: keep one, or name it with --config"},
		{why: "explicit and missing", dir: "a", explicit: "nowhere.yaml", err: "--config nowhere.yaml: there is no such file"},
		{why: "variable and missing", dir: "a", variable: "nowhere.yaml", err: "ROLLBACK_CONFIG nowhere.yaml: there is no such file"},
		{why: "explicit directory", dir: "a", explicit: "b", err: "--config b: is a directory, want a file"},
	}
	for _, test := range tests {
		path, name, err := Find(test.explicit, func(string) string { return test.variable }, filepath.Join(root, test.dir))
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) || rollback.ExitOf(err) != rollback.Usage {
				t.Errorf("%s: error %v, want %q with exit code 2", test.why, err, test.err)
			}
			continue
		}
		if want := filepath.Join(root, test.path); err != nil || path != want || name != test.name {
			t.Errorf("%s: %s, %s, %v; want %s, %s", test.why, path, name, err, want, test.name)
		}
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	none := func(string) string { return "" }
	dir := t.TempDir()

	if f, err := Load("", none, dir); err != nil || f.Name != "" {
		t.Errorf("without a file: %v, %v; want the zero File", f, err)
	}
	write(t, dir+"/rollback.yaml", "environments:\n  prod:\n    registry: {kind: oci, host: r.example.com, caFile: certs/ca.pem}\n"+
		"    cluster: {context: prod, kubeconfig: ~/kube}\n    namespace: prod\n")
	f, err := Load("", none, dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := f.Resolve(rollback.Scope{Service: "payments", Environment: "prod"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "certs/ca.pem"); s.Registry.CAFile != want {
		t.Errorf("caFile = %s, want %s: relative to the file", s.Registry.CAFile, want)
	}
	if home, err := os.UserHomeDir(); err == nil && s.Cluster.Kubeconfig != filepath.Join(home, "kube") {
		t.Errorf("kubeconfig = %s, want it in %s", s.Cluster.Kubeconfig, home)
	}
	s, err = f.Resolve(rollback.Scope{Service: "payments", Environment: "prod"}, Given{"registry-ca-file": {"x.pem", "--registry-ca-file"}})
	if err != nil || s.Registry.CAFile != "x.pem" {
		t.Errorf("--registry-ca-file = %s, %v; want x.pem: relative to the working directory", s.Registry.CAFile, err)
	}
	if s.Origin("namespace") != "rollback.yaml:5" {
		t.Errorf("namespace comes from %s, want rollback.yaml:5", s.Origin("namespace"))
	}

	write(t, dir+"/big.yaml", strings.Repeat("#\n", MaxSize/2+1))
	if _, err := Load("big.yaml", none, dir); err == nil || err.Error() != "big.yaml:1:1: the file is larger than 1 MiB: refused" {
		t.Errorf("big file: %v", err)
	}
	write(t, dir+"/bad.yaml", "x: 1\n")
	if _, err := Load("bad.yaml", none, dir); err == nil || !strings.HasPrefix(err.Error(), "bad.yaml:1:1: unknown key") || rollback.ExitOf(err) != rollback.Usage {
		t.Errorf("bad file: %v", err)
	}
}
