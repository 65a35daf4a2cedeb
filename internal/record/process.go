package record

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Process names this process so that no other has the same name: "host/pid namespace/pid/start time". On Linux the
// namespace is told together with the boot it belongs to, and the start time is in clock ticks since that boot
// (https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html). Elsewhere the namespace is empty and the time is the
// program's own: the name is still unique, but Dead can prove nothing from it.
func Process() string { return process() }

var process = sync.OnceValue(func() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	pid := os.Getpid()
	namespace, start := self(pid)
	if namespace == "" {
		start = strconv.FormatInt(time.Now().UnixNano(), 10)
	}
	return strings.Join([]string{strings.ReplaceAll(host, "/", "-"), namespace, strconv.Itoa(pid), start}, "/")
})

// Dead tells whether the process of that name has provably ended: it was on this host, in this boot and pid namespace,
// and its pid is free, a zombie's, or another process'. Whatever cannot be proven is false.
func Dead(name string) bool {
	theirs, ours := strings.Split(name, "/"), strings.Split(process(), "/")
	if len(theirs) != 4 || theirs[0] != ours[0] || theirs[1] == "" || theirs[1] != ours[1] {
		return false
	}
	pid, err := strconv.Atoi(theirs[2])
	if err != nil || pid <= 0 || theirs[3] == "" {
		return false
	}
	return gone(pid, theirs[3])
}

// statOf reads state and start time out of /proc/<pid>/stat. The name in parentheses may hold blanks and parentheses.
func statOf(text string) (state, start string, ok bool) {
	i := strings.LastIndexByte(text, ')')
	if i < 0 {
		return "", "", false
	}
	f := strings.Fields(text[i+1:]) // begins with field 3, the state; the start time is field 22
	if len(f) < 20 {
		return "", "", false
	}
	return f[0], f[19], true
}
