package record

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// self is our pid namespace (with the boot's id: namespace numbers begin anew with each boot) and our start time; "" for
// the namespace if /proc is not there or shows another namespace than ours.
func self(pid int) (namespace, start string) {
	if seen, err := os.Readlink("/proc/self"); err != nil || seen != strconv.Itoa(pid) {
		return "", ""
	}
	ns, err := os.Readlink("/proc/self/ns/pid") // "pid:[4026531836]"
	if err != nil {
		return "", ""
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", ""
	}
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return "", ""
	}
	_, start, ok := statOf(string(stat))
	if !ok {
		return "", ""
	}
	return strings.Trim(strings.TrimPrefix(ns, "pid:"), "[]") + "@" + strings.TrimSpace(string(boot)), start
}

// gone tells whether the process with that pid and start time has ended. The signal is asked first: /proc may hide the
// processes of other users (hidepid), and what is hidden is not dead.
func gone(pid int, start string) bool {
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		return true
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	state, since, ok := statOf(string(stat))
	if !ok {
		return false
	}
	// Z: ended, and nobody has asked for its exit code, as is usual in containers without an init.
	return since != start || state == "Z" || state == "X"
}
