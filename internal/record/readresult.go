package record

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseResult reads what WriteResult wrote, from wherever the file has been since. Values stay on one line, as written.
// A text without the version and the exit code that every result begins with is none.
func ParseResult(text []byte) (map[string]string, error) {
	kv := map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n")
		key, value, ok := strings.Cut(line, "=")
		if !ok || !resultKey(key) {
			return nil, fmt.Errorf("the line %.60q is not key=value", line)
		}
		if _, twice := kv[key]; twice {
			return nil, fmt.Errorf("the key %s is there twice", key)
		}
		kv[key] = value
	}
	if kv["schemaVersion"] != "1" {
		return nil, fmt.Errorf("schemaVersion=%q, this program reads 1", kv["schemaVersion"])
	}
	if n, err := strconv.Atoi(kv["exit"]); err != nil || n < 0 || n > 255 {
		return nil, fmt.Errorf("exit=%q is no exit code", kv["exit"])
	}
	return kv, nil
}
