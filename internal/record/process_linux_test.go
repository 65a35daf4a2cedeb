package record

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestMain is also the other process of TestDead: it says its name and waits for the end of its input.
func TestMain(m *testing.M) {
	if os.Getenv("RECORD_TEST_PROCESS") != "" {
		fmt.Println(Process())
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestDead(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := exec.Command(exe)
	other.Env = append(os.Environ(), "RECORD_TEST_PROCESS=1")
	stdin, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	name, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	name = strings.TrimSpace(name)
	if name == Process() || strings.Count(name, "/") != 3 {
		t.Errorf("the other process is %q, this one %q", name, Process())
	}
	if Dead(name) || Dead(Process()) {
		t.Error("a living process is taken for dead")
	}
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// Its output ends when it ends; it is a zombie until Wait, and that is dead enough.
	if _, err := stdout.Read(make([]byte, 1)); err == nil {
		t.Error("it still says something")
	}
	_ = other.Wait()
	_ = stdin.Close()
	if !Dead(name) {
		t.Errorf("%q has ended, and that is not seen", name)
	}

	p := strings.Split(Process(), "/")
	for what, c := range map[string]struct {
		name string
		want bool
	}{
		"our pid, used by another before": {strings.Join([]string{p[0], p[1], p[2], "1"}, "/"), true},
		"another host":                    {"elsewhere/" + strings.Join(strings.Split(name, "/")[1:], "/"), false},
		"another namespace or boot":       {strings.Join([]string{p[0], p[1] + "x", p[2], "1"}, "/"), false},
		"unknown namespace":               {strings.Join([]string{p[0], "", p[2], "1"}, "/"), false},
		"no start time":                   {strings.Join([]string{p[0], p[1], p[2], ""}, "/"), false},
		"no pid":                          {strings.Join([]string{p[0], p[1], "x", "1"}, "/"), false},
		"a process group":                 {strings.Join([]string{p[0], p[1], "-1", "1"}, "/"), false},
		"pid 0":                           {strings.Join([]string{p[0], p[1], "0", "1"}, "/"), false},
		"empty":                           {"", false},
		"short":                           {"a/b", false},
	} {
		if got := Dead(c.name); got != c.want {
			t.Errorf("%s: Dead(%q) = %v", what, c.name, got)
		}
	}
}

func TestStat(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"12 (a) b) R 1 12 12 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 9 0 3456 1 2": "R 3456",
		"12 (x) Z 1 12 12 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 9 0 7":           "Z 7",
		"12 (x) Z 1 12": "", "": "", "12 x": "",
	} {
		state, start, ok := statOf(text)
		if got := strings.TrimSpace(state + " " + start); got != want || ok != (want != "") {
			t.Errorf("%q: %q %v", text, got, ok)
		}
	}
}
